//! narrowsd: listeners, API, control plane, composition.
//!
//! Two planes. The control plane (catalog, policies, API) runs on tokio, the data plane on pinned ring
//! threads; they meet in bounded channels only.
#![forbid(unsafe_code)]

pub mod config;
pub mod folder;
pub mod limits;
pub mod logging;
pub mod notify;
pub mod pki;
pub mod plane;
pub mod random;
