//! The `SQLite` catalog against the model, and what only a file can do: reopen, refuse, stay.
#![expect(clippy::unwrap_used, reason = "helpers of a test: what fails in them fails the test")]

mod durable;
mod forgotten;
mod made;
mod oracle;
mod reads;
