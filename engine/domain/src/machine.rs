//! The state machine: each function takes a loaded view of what an event concerns, and says what follows.
//!
//! Guarantees: pure; an event that is late, repeated or about an earlier attempt changes nothing. Order of
//! a life: [`backup`] or [`arrival`] make an image whole and create the operations that its SLP asks
//! for; [`turn`] starts those whose target lets them, and [`barrier`] holds back what one of them found that no other gets through; [`replication`] follows them to the end, [`duplication`] those that stay in the domain; [`report`]
//! carries the target's word back; [`retire`] lets copies go when their time has come, [`leaving`] what is never imported; [`reach`] knows who answers; [`order`] is what a person says against
//! it, and [`replan`] moves it to another version of its policy.

pub mod arrival;
pub mod backup;
pub mod barrier;
pub(crate) mod children;
pub mod comparing;
pub mod duplication;
pub mod leaving;
pub mod order;
pub mod pacing;
pub mod placing;
pub mod reach;
pub mod replan;
pub mod replication;
pub mod report;
pub mod retire;
pub mod turn;

pub use backup::{BackupAsk, BackupBegun};

/// A refusal by a rule: nothing was stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {sentence}")]
pub struct Refusal {
    /// The stable code.
    pub code: String,
    /// What and why.
    pub sentence: String,
    /// How to mend it.
    pub help: String,
}

impl Refusal {
    /// From its parts.
    pub fn new(code: &str, sentence: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code: code.to_owned(), sentence: sentence.into(), help: help.into() }
    }
}
