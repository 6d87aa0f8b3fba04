//! Commands about jobs.

use clap::Subcommand;

use crate::confirm::ConsentArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// Lists jobs, newest first.
    #[command(after_help = "Example:\n  narrowsctl --context east job list --kind replication")]
    List {
        /// `backup`, `replication`, `duplication`, `restore` or `import`.
        #[arg(long)]
        kind: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Follows one to its end: a line for each change, with `--json` an object for each.
    ///
    /// A bad end is a failure, and so is a wait that only a person can end.
    #[command(after_help = "Example:\n  narrowsctl --context east job watch 17")]
    Watch {
        /// Its id, as `job list` or the command that began it tells it.
        job: String,
    },
    /// Gives up the operation that a job works for; says first what will then never exist.
    ///
    /// A backup or restore that runs is ended where it runs.
    #[command(after_help = "Examples:\n  narrowsctl --context east job cancel 17 --dry-run\n  \
                            narrowsctl --context east job cancel 17 --yes")]
    Cancel {
        /// Its id, as `job list` or the command that began it tells it.
        job: String,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Shows one.
    #[command(after_help = "Example:\n  narrowsctl --context east job show 17")]
    Show {
        /// Its id, as `job list` or the command that began it tells it.
        job: String,
    },
}
