//! The SQLite catalog against the model, and what only a file can do: reopen, refuse, stay.

mod durable;
mod made;
mod oracle;
