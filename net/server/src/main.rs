//! `narrowsd`: the server. Parses, starts, and says what went wrong.
#![forbid(unsafe_code)]

use std::{path::PathBuf, process::ExitCode, sync::LazyLock};

use clap::{Parser, Subcommand};
use narrows_format::{node, superblock};
use narrows_server::{
    config::Settings,
    folder::{Folder, FolderError},
    init::{self, Init, InitError, SegmentMean},
    run::{self, RunError},
};
use narrows_wire::hello;

/// Deduplicating backup storage that replicates between domains: the server.
#[derive(Parser)]
#[command(
    name = "narrowsd",
    version,
    long_version = long_version(),
    propagate_version = true,
    after_help = EXAMPLES
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  narrowsd init --domain east --data /srv/east --listen 127.0.0.1:7400
  narrowsd run --data /srv/east";

#[derive(Subcommand)]
enum Command {
    /// Makes a domain: CA, certificates, catalog, pool, administrator. Never overwrites.
    #[command(
        after_help = "Example:\n  narrowsd init --domain east --data /srv/east --listen 127.0.0.1:7400"
    )]
    Init {
        /// The domain's name.
        #[arg(long, env = "NARROWS_DOMAIN", value_name = "NAME")]
        domain: String,
        /// Where everything is to lie; empty or not there yet.
        #[arg(long, env = "NARROWS_DATA", value_name = "DIR")]
        data: PathBuf,
        /// Mean length of segments, fixed for good; smaller ones save more and cost more memory.
        #[arg(long, env = "NARROWS_SEGMENT_MEAN", value_enum, default_value_t, value_name = "SIZE")]
        segment_mean: SegmentMean,
        #[command(flatten)]
        settings: Settings,
    },
    /// Runs the server. Settings come from flags, then NARROWS_*, then DIR/narrowsd.toml.
    #[command(after_help = "Example:\n  narrowsd run --data /srv/east")]
    Run {
        /// The data folder.
        #[arg(long, env = "NARROWS_DATA", value_name = "DIR")]
        data: PathBuf,
        #[command(flatten)]
        settings: Settings,
    },
}

/// With the commit and the formats.
fn long_version() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        format!(
            "{}\ncommit: {}\nwire format: {}..{}\npool format: {}\nimage format: {}",
            env!("CARGO_PKG_VERSION"),
            env!("NARROWS_COMMIT"),
            hello::VERSION_MIN,
            hello::VERSION_MAX,
            superblock::VERSION,
            node::VERSION,
        )
    });
    &TEXT
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(run::CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, "", 1),
    };
    match arguments.command {
        Command::Init { domain, data, segment_mean, settings } => {
            match runtime.block_on(init::init(Init { name: domain, data, settings, segment_mean })) {
                Ok(made) => {
                    println!("domain {} ({}) is made. Go on with:", made.identity.name, made.identity.domain);
                    println!();
                    made.next.iter().for_each(|line| println!("    {line}"));
                    ExitCode::SUCCESS
                }
                Err(error) => {
                    let (help, code) = help_for_init(&error);
                    fail(&error, help, code)
                }
            }
        }
        Command::Run { data, settings } => match runtime.block_on(run::run(Folder::new(data), settings)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let (help, code) = help_for_run(&error);
                fail(&error, help, code)
            }
        },
    }
}

fn fail(error: &dyn std::error::Error, help: &str, code: u8) -> ExitCode {
    eprintln!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprintln!("  why: {cause}");
        source = cause.source();
    }
    if !help.is_empty() {
        eprintln!("  help: {help}");
    }
    ExitCode::from(code)
}

fn help_for_init(error: &InitError) -> (&'static str, u8) {
    match error {
        InitError::NotEmpty(_) => ("`init` never overwrites: name an empty folder", 3),
        InitError::Folder(FolderError::Initialised(_)) => ("`narrowsd run --data DIR` runs it", 3),
        InitError::Name(_) | InitError::Setting(_) => ("", 2),
        _ => ("", 1),
    }
}

fn help_for_run(error: &RunError) -> (&'static str, u8) {
    match error {
        RunError::Folder(FolderError::NotInitialised(_)) => {
            ("`narrowsd init --domain NAME --data DIR` makes one", 2)
        }
        RunError::Folder(FolderError::InUse(_)) => ("stop the other one first", 3),
        RunError::Setting(_) => ("", 2),
        _ => ("", 1),
    }
}
