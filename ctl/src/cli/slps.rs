//! What can be typed about storage lifecycle policies.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::confirm::ConsentArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum SlpCommand {
    /// Prints SLPs to begin with, one for each domain that takes part.
    #[command(after_help = "Examples:\n  narrowsctl slp new gold --template one-to-one --to west\n  \
                      narrowsctl slp new gold --template fan-out --to west --to north --dir policies\n  \
                      narrowsctl slp new gold --template cascade --to west --to north")]
    New(SlpNewArgs),
    /// Applies an SLP: makes it, or a new version of it.
    #[command(after_help = "Examples:\n  narrowsctl slp apply -f gold.toml\n  narrowsctl slp apply -f -\n  \
                      narrowsctl slp apply -f gold.toml --in-place")]
    Apply(SlpFileArgs),
    /// Says what applying would do.
    #[command(after_help = "Example:\n  narrowsctl slp plan -f gold.toml")]
    Plan(SlpFileArgs),
    /// Lists SLPs.
    #[command(after_help = "Example:\n  narrowsctl slp list")]
    List,
    /// Shows one.
    #[command(after_help = "Example:\n  narrowsctl slp show gold")]
    Show {
        /// Its name.
        name: String,
    },
    /// Holds the secondary work under an SLP (replications, duplications) until it is resumed; what runs stops at its next batch. Backups and imports go on.
    #[command(after_help = "Example:\n  narrowsctl slp pause gold")]
    Pause {
        /// Its name.
        name: String,
    },
    /// Lets the work of an SLP that was paused or deferred go on.
    #[command(after_help = "Example:\n  narrowsctl slp resume gold")]
    Resume {
        /// Its name.
        name: String,
    },
    /// Holds the secondary work under an SLP until a time.
    #[command(
        after_help = "Examples:\n  narrowsctl slp defer gold --for 8h\n  narrowsctl slp defer gold --until 2026-12-27T06:00:00Z"
    )]
    Defer(SlpDeferArgs),
    /// Deletes an SLP that nothing refers to, here or at a partner.
    #[command(after_help = "Example:\n  narrowsctl slp delete gold --dry-run")]
    Delete {
        /// Its name.
        name: String,
        #[command(flatten)]
        sure: ConsentArgs,
    },
    /// Plans what was not started under one version anew under another.
    #[command(after_help = "Example:\n  narrowsctl slp migrate gold --from 3 --to 4 --dry-run")]
    Migrate {
        /// Its name.
        name: String,
        /// The version whose images move.
        #[arg(long, value_name = "VERSION")]
        from: u32,
        /// The version that governs them from then on.
        #[arg(long, value_name = "VERSION")]
        to: u32,
        #[command(flatten)]
        sure: ConsentArgs,
    },
}

/// The shape of what an SLP does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TemplateArg {
    /// Backup here, a copy in one other domain.
    OneToOne,
    /// Backup here, a copy in each of several domains.
    FanOut,
    /// Backup here, a copy in the first domain, from there one in the second, and so on.
    Cascade,
}

#[derive(Debug, Args)]
pub(crate) struct SlpNewArgs {
    /// The SLP's name; import SLPs are called NAME-import.
    pub(crate) name: String,
    /// What it does.
    #[arg(long, value_enum)]
    pub(crate) template: TemplateArg,
    /// A domain that gets a copy, as it is called here; more than once for fan-out and cascade.
    #[arg(long, value_name = "DOMAIN", required = true)]
    pub(crate) to: Vec<String>,
    /// The storage unit in every domain.
    #[arg(long, value_name = "UNIT", default_value = "default")]
    pub(crate) storage: String,
    /// Write a file for each domain here instead of printing them.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct SlpFileArgs {
    /// TOML or JSON; `-` is standard input.
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Save it though the target cannot be asked.
    #[arg(long)]
    pub(crate) unverified: bool,
    /// No copy stays here, and that is meant.
    #[arg(long)]
    pub(crate) accept_no_local_copy: bool,
    /// Change the newest version as it stands, for images that are not complete too: priority, storage, window,
    /// and retention upwards only.
    #[arg(long)]
    pub(crate) in_place: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SlpDeferArgs {
    /// Its name.
    pub(crate) name: String,
    /// Until then (RFC 3339).
    #[arg(long, value_name = "TIME", required_unless_present = "span", conflicts_with = "span")]
    pub(crate) until: Option<jiff::Timestamp>,
    /// For so long from now on, e.g. `8h` or `90m`.
    #[arg(long = "for", value_name = "SPAN")]
    pub(crate) span: Option<jiff::SignedDuration>,
}
