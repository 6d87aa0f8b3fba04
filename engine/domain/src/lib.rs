//! Policies, lifecycles and replication states: pure logic.
//!
//! Guarantees: no I/O, no clock and no randomness of its own: each call is given a [`Moment`] with the
//! time and some entropy. What happens is an [`Event`]; what follows from it is a [`Decision`]: the
//! [`Change`]s to store in one transaction and the [`Command`]s for whoever moves data. [`Primary`]
//! loads what an event concerns from a [`Catalog`], decides, stores, and hands the commands back;
//! [`model::MemoryCatalog`] is that catalog in memory, for simulation and as an oracle for the real one.
//!
//! It does not move data, open connections, verify signatures or write to a pool: it is told that they
//! happened.
#![forbid(unsafe_code)]

pub mod codes;
pub mod limits;
mod named;

pub mod moment;
pub mod period;

pub mod auto_import;
pub mod barrier;
pub mod image;
pub mod import;
pub mod job;
pub mod life;
pub mod operation;
pub mod partner;
pub mod recall;
pub mod replica;
pub mod scrub;
pub mod settings;
pub mod space;
pub mod storage;
pub mod token;
pub mod topology;
pub mod volume;
pub mod wait;
pub mod window;

pub mod slp;

pub mod policy;

pub mod air;
pub mod machine;
pub mod retention;
pub mod retry;

pub mod catalog;
pub mod event;
pub mod model;
pub mod primary;

pub use catalog::Catalog;
pub use event::{Change, Command, Decision, Event};
pub use image::{Image, ImageCopy, ImageState};
pub use import::{Import, ImportKey, ImportReport, ImportState, Outcome};
pub use moment::Moment;
pub use operation::{Operation, OperationKey, OperationKind, OperationState, WaitReason};
pub use partner::{Grants, Partner};
pub use primary::Primary;
pub use replica::{ReplicaRecord, ReplicaState};
pub use settings::Settings;
