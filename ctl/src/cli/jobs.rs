//! Commands about jobs.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// Lists jobs, newest first.
    #[command(after_help = "Example:\n  narrowsctl --context east job list --kind replication")]
    List {
        /// `backup`, `replication`, `restore` or `import`.
        #[arg(long)]
        kind: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Shows one.
    #[command(after_help = "Example:\n  narrowsctl --context east job show 17")]
    Show {
        /// Its id.
        job: String,
    },
}
