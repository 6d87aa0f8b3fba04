//! The log: stderr, text or JSON, filtered by `NARROWS_LOG` (default `info`).
//!
//! A thread of its own writes it: a data thread makes no system call for a line, and a stuck reader of the log
//! stops nobody. When far too many lines wait, new ones are dropped.

use std::io::IsTerminal as _;

use tracing_appender::{non_blocking, non_blocking::WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Starts the log. A second call does nothing. Lines that wait are written when the guard is dropped.
#[must_use = "dropping the guard ends the log"]
pub fn start(format: LogFormat) -> WorkerGuard {
    let (writer, guard) = non_blocking(std::io::stderr());
    let filter = EnvFilter::try_from_env("NARROWS_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn,hyper=warn,rustls=warn"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal());
    // Fails only when a log was started before.
    let outcome = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    drop(outcome);
    guard
}
