//! Commands about replication events.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum EventCommand {
    /// Lists replicated images that have arrived whole, as the image logs of the pools here say, newest first.
    ///
    /// An event stands for good, whatever became of the image; what was refused before it was stored is none, and stands in
    /// `import list`.
    #[command(after_help = "Examples:\n  narrowsctl --context west event list --from east\n  \
                            narrowsctl --context west event list --pending --json")]
    List(EventListArgs),
}

#[derive(Debug, Args)]
pub(crate) struct EventListArgs {
    /// Of this image: its name or UUID, as `import list` tells it.
    pub(crate) image: Option<String>,
    /// Sent by this domain.
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) from: Option<String>,
    /// In the log of this pool.
    #[arg(long, value_name = "NAME")]
    pub(crate) pool: Option<String>,
    /// Arrived then or later (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<jiff::Timestamp>,
    /// Arrived then or before (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<jiff::Timestamp>,
    /// Only pending imports: the image is not in the catalog yet.
    #[arg(long)]
    pub(crate) pending: bool,
    /// At most so many.
    #[arg(long, default_value_t = 100)]
    pub(crate) limit: u32,
}
