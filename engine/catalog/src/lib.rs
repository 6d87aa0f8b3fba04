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
mod beside;
mod columns;
mod ending;
mod error;
mod images;
mod imports;
mod jobs;
mod operations;
mod partners;
mod policies;
mod rules;
mod runs;
mod scrubs;
mod space;
mod statements;
mod storage;
mod turns;
mod upsert;
mod waits;

pub use amiss::{Amiss, AmissBy};
pub use ending::{BadEnding, EndAt};
pub use error::Error;
pub use file::SqliteCatalog;
