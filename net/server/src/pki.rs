//! The domain's keys and certificates.
//!
//! [`authority`] is the CA that issues certificates, [`signing`] the key that signs image records. Both
//! live in the data folder's `pki/`, readable by the server's user only.

pub mod authority;
pub mod signing;

pub use authority::{Authority, Role};
pub use signing::SigningKey;

/// Keys or certificates could not be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The certificate library refused.
    #[error("a certificate could not be made or read")]
    Certificate(#[from] rcgen::Error),
    /// A key is damaged or of another kind.
    #[error("the key in {0} can't be read")]
    Key(&'static str),
    /// A name that can't stand in a certificate.
    #[error("the name {0:?} can't stand in a certificate")]
    Name(String),
    /// The disk.
    #[error("{path} can't be read or written")]
    Disk {
        /// Which file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
