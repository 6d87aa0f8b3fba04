//! Restore as the client, and what a person sees of a backup: asks the API for a ticket, moves the data over the data
//! port, comes back with backoff when the server goes, and goes on with what was staged.

mod restore;
mod single;
mod tar;
mod watching;

pub(crate) use narrows_agent::attempts::{DataThread, Patience, identity_of, seconds};
pub(crate) use narrows_agent::backup::{BackupJob, BackupSummary};
pub(crate) use restore::{RestoreJob, RestoreSummary, restore};
pub(crate) use single::{SingleJob, SingleSummary, restore_single};
pub(crate) use tar::{TarJob, TarSummary, restore_tar};
pub(crate) use watching::back_up;
