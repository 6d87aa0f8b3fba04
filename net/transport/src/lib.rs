//! Sessions: who is at the other end, and framed messages to and from them.
//!
//! [`trust`] turns certificates into principals and says which are believed. [`link`] carries framed
//! messages over one `ring` stream, inside TLS 1.3 or, asked for by name, in the clear.
//!
//! Guarantees: the principal comes from the certificate alone; every queue and buffer has a bound
//! ([`limits`]); a silent peer is noticed. What the messages mean is not known here.
#![forbid(unsafe_code)]

pub mod limits;
pub mod trust;

pub mod flow;
pub mod link;

pub use link::{Counters, Link, LinkError, Security};
pub use trust::{ClientAuth, Credentials, Identity, Principal, TrustError, TrustStore};
