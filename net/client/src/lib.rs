//! A backup client: walks and reads files as a source, writes them as a sink.
//!
//! The data's way: `walk` finds objects in recipe order, `cache` tells which of them are as the last backup left them,
//! `read` splits and fingerprints the others on helper threads, `backup` asks the target what it lacks, sends it, builds
//! the tree and commits; `restore` is the same protocol with `sink` as the target.
#![forbid(unsafe_code)]

pub mod limits;

pub mod backup;
mod beneath;
pub mod cache;
mod dial;
mod exclude;
pub mod read;
pub mod restore;
mod shown;
pub mod sink;
pub mod walk;
pub mod xattr;

pub use beneath::Beneath;
pub use dial::DataPort;
pub use exclude::Excludes;
pub use narrows_exchange::{Base, ExchangeError, Purpose, outgoing::History};
pub use narrows_wire::hello::{VERSION_MAX as WIRE_VERSION_MAX, VERSION_MIN as WIRE_VERSION_MIN};
