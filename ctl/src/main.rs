//! `narrowsctl`: parse, ask, print.
//!
//! `backup` and `restore` are the client itself: they read and write files here. Everything else is a question to a
//! domain's API. Failures look like a compiler's and end with the exit codes of the specification.
#![forbid(unsafe_code)]

mod cli;
mod commands;
mod confirm;
mod demo;
mod output;
mod version;
mod work;

use std::{io::IsTerminal as _, process};

use clap::Parser as _;
use narrows_agent::{api, context, failure};
use narrows_api::ExitCode;
use tracing_subscriber::EnvFilter;

use crate::failure::{Failure, codes};

fn main() -> process::ExitCode {
    let cli = cli::Cli::parse();
    // Standard output is not ours where it carries a file.
    let json = cli.json && !cli.gives_bytes();
    let filter = EnvFilter::try_from_env("NARROWS_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(filter)
        .init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(commands::run(cli)),
        Err(error) => Err(Failure::new(codes::BUG, "the program could not start").because(error.to_string())),
    };
    let exit = match outcome {
        Ok(exit) => exit,
        Err(failure) => {
            complain(&failure, json);
            failure.exit_code()
        }
    };
    process::ExitCode::from(exit as u8)
}

/// People and programs both read standard error; programs find the same words as an object on standard output.
fn complain(failure: &Failure, json: bool) {
    eprintln!("{failure}");
    if json && let Ok(line) = serde_json::to_string(&serde_json::json!({ "error": *failure.0 })) {
        // A reader that has gone hears nothing, and the exit code still tells.
        output::print(&format!("{line}\n")).ok();
    }
}

/// Codes are the server's as a rule; the exit code says what to do about them.
const _: () = assert!(ExitCode::Partial as u8 == 6);
