//! Types of the HTTP API, shared by `narrowsd`, `narrowsctl` and anybody's program.
//!
//! Guarantees: plain data with serde; unknown fields in answers are ignored by readers, so that a newer
//! server may say more. No I/O, no clock. What a field means to the lifecycle is said in the domain
//! specification; here stand shapes and units only.
//!
//! All requests go over HTTPS. The principal is the client certificate, or the administrator's token in
//! `Authorization: Bearer`. Errors have the body [`ApiError`].
#![forbid(unsafe_code)]

pub mod agent;
pub mod audit;
pub mod backups;
pub mod certificates;
pub mod clients;
pub mod context;
pub mod damage;
pub mod domains;
pub mod error;
pub mod events;
pub mod expiry;
pub mod finding;
pub mod holdings;
pub mod images;
pub mod invitation;
pub mod jobs;
pub mod limits;
pub mod media_servers;
pub mod orders;
pub mod partner;
pub mod paths;
pub mod policies;
pub mod pools;
pub mod server;
pub mod size;
pub mod slp_orders;
pub mod slps;
pub mod storage;
pub mod text;
pub mod timeline;
pub mod topology;
pub mod windows;

pub use error::{ApiError, ExitCode};
pub use text::{Hex, PathText};
