//! narrowsd: listeners, API, control plane, composition.
//!
//! Two planes. The control plane (catalog, policies, API) runs on tokio, the data plane on pinned ring
//! threads; they meet in bounded channels only.
//!
//! The way of a decision: a request comes in through [`api`], a log record through [`importer`], a question
//! of a data session through [`doorman`]; [`control`] decides and stores; [`hands`] carry out.
#![forbid(unsafe_code)]

pub mod config;
pub mod damage;
mod descriptors;
pub mod folder;
pub mod limits;
pub mod lives;
pub mod logging;
pub mod marks;
pub mod notify;
pub mod offers;
pub mod random;
pub mod switches;
pub mod time;

pub mod pki;

pub mod init;
mod parts;
pub mod run;

pub mod api;
pub mod pairing;
pub mod parking;
pub mod partners;
pub mod tickets;

pub mod alerts;
pub mod apart;
pub mod certificates;
pub mod comparing;
pub mod control;
pub mod doing;
pub mod doorman;
pub mod hands;
pub mod importer;
pub mod in_order;
pub mod pace;
pub mod verifying;
pub mod whereabouts;
pub mod zones;

pub mod plane;
pub mod pools;

pub mod joined;
pub mod servers;

pub use narrows_catalog::{Error as CatalogError, SqliteCatalog as Catalog};
