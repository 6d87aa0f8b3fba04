//! How an exchange fails.

use narrows_transport::LinkError;

use crate::store::StoreError;

/// Why an exchange ended before its time. What the caller does: [`ExchangeError::is_transient`] ones are
/// tried again, the others are shown to a person with their code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// The connection.
    #[error("connection: {0}")]
    Link(#[from] LinkError),
    /// We ended it because of what the peer sent.
    #[error("{0}")]
    Refused(Refusal),
    /// The peer ended it.
    #[error("the other side refused: {0}")]
    RefusedByPeer(Refusal),
    /// Our own store or tree failed.
    #[error("{0}")]
    Store(StoreError),
}

impl ExchangeError {
    /// The stable code, where there is one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Link(error) => error.code(),
            Self::Refused(refusal) | Self::RefusedByPeer(refusal) => Some(&refusal.code),
            Self::Store(error) => Some(&error.code),
        }
    }

    /// Whether the same may work later without anybody mending anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Link(error) => error.is_transient(),
            // What `NET-` stands for: the other side, or ours, is not ready just now.
            Self::Refused(refusal) | Self::RefusedByPeer(refusal) => refusal.code.starts_with("NET-"),
            Self::Store(error) => error.code.starts_with("NET-"),
        }
    }

    pub(crate) fn malformed(sentence: impl Into<String>) -> Self {
        Self::Refused(Refusal::new("WIRE-002", sentence))
    }

    pub(crate) fn limit(sentence: impl Into<String>) -> Self {
        Self::Refused(Refusal::new("WIRE-003", sentence))
    }

    pub(crate) fn unasked(sentence: impl Into<String>) -> Self {
        Self::Refused(Refusal::new("WIRE-004", sentence))
    }
}

/// A stable code and one sentence: all that a peer is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {sentence}")]
pub struct Refusal {
    /// For example `WIRE-004`; at most 16 bytes cross the wire.
    pub code: String,
    /// What was refused, where and why; at most 512 bytes cross the wire.
    pub sentence: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(code: impl Into<String>, sentence: impl Into<String>) -> Self {
        Self { code: code.into(), sentence: sentence.into() }
    }
}
