//! The domain's [`Catalog`](narrows_domain::Catalog) over `SQLite`.
//!
//! Guarantees: each [`apply`](narrows_domain::Catalog::apply) is one transaction, durable when it
//! returns (write-ahead log, `synchronous = FULL`); readers never wait for the writer; the schema is
//! brought up to date when the file is opened. It decides nothing: rules over many rows are those that
//! [`narrows_domain::Change`] names, and the model catalog says what they mean.
#![forbid(unsafe_code)]

mod file;

mod amiss;
mod answers;
mod backlog;
mod beside;
mod columns;
mod ending;
mod error;
mod images;
mod imports;
mod jobs;
mod missed;
mod operations;
mod partners;
mod policies;
mod reads;
mod rules;
mod runs;
mod scrubs;
mod space;
mod statements;
mod storage;
mod turns;
mod undone;
mod upsert;
mod waits;

pub use amiss::{Amiss, AmissBy};
pub use backlog::LocalBacklog;
pub use ending::{BadEnding, EndAt};
pub use error::Error;
pub use file::SqliteCatalog;
pub use missed::Missed;
pub use reads::{Read, Reads, ReadsFilter};
pub use undone::{CancelledLine, UndoneBy};
