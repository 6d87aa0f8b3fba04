//! What can be typed about backup policies.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::confirm::ConsentArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Prints a policy to begin with.
    #[command(
        after_help = "Example:\n  narrowsctl policy new nightly --client web01 --slp gold /etc /srv > nightly.toml"
    )]
    New(PolicyNewArgs),
    /// Applies a policy.
    #[command(
        after_help = "Examples:\n  narrowsctl policy apply -f nightly.toml\n  narrowsctl policy apply -f -"
    )]
    Apply(PolicyFileArgs),
    /// Says what applying would do.
    #[command(after_help = "Example:\n  narrowsctl policy plan -f nightly.toml")]
    Plan(PolicyFileArgs),
    /// Lists policies.
    #[command(after_help = "Example:\n  narrowsctl policy list")]
    List,
    /// Shows one: its schedules, when they are due, and its newest runs.
    #[command(after_help = "Example:\n  narrowsctl policy show nightly")]
    Show {
        /// Its name.
        name: String,
    },
    /// Runs a policy now, whatever its schedules say; the clients' agents do it.
    #[command(
        after_help = "Examples:\n  narrowsctl policy run nightly\n  narrowsctl policy run nightly --client web01 --wait"
    )]
    Run {
        /// Its name.
        name: String,
        /// For this client only.
        #[arg(long, value_name = "NAME")]
        client: Option<String>,
        /// Wait until the backups have ended.
        #[arg(long)]
        wait: bool,
    },
    /// Holds the runs of a policy that have not begun.
    #[command(after_help = "Example:\n  narrowsctl policy pause nightly")]
    Pause {
        /// Its name.
        name: String,
    },
    /// Lets the runs of a policy go on; those whose window has closed meanwhile are missed.
    #[command(after_help = "Example:\n  narrowsctl policy resume nightly")]
    Resume {
        /// Its name.
        name: String,
    },
    /// Deletes a policy; its images stay, its runs that have not ended are cancelled.
    #[command(after_help = "Example:\n  narrowsctl policy delete nightly --dry-run")]
    Delete {
        /// Its name.
        name: String,
        #[command(flatten)]
        sure: ConsentArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PolicyNewArgs {
    /// Its name.
    pub(crate) name: String,
    /// What is backed up.
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// A client that it is for; more than once for several.
    #[arg(long, value_name = "NAME", required = true)]
    pub(crate) client: Vec<String>,
    /// The SLP of its images.
    #[arg(long, value_name = "NAME")]
    pub(crate) slp: String,
    /// The classification of the SLP, if it has one.
    #[arg(long, value_name = "NAME", default_value = "any")]
    pub(crate) class: String,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyFileArgs {
    /// TOML or JSON; `-` is standard input.
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub(crate) file: PathBuf,
}
