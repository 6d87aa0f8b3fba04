//! Commands about what was read by right.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Lists who browsed, searched, compared or restored what images have, by the right `restore-any` or the administrator's token,
    /// newest first.
    ///
    /// Each way of reading an image is one line a day (UTC), with what was asked for last and how often. It is noted before
    /// anything is given. Of each reader the newest 10,000 lines stay.
    #[command(after_help = "Examples:\n  narrowsctl --context east audit list\n  \
                            narrowsctl --context east audit list web01_1800000000 --json\n  \
                            narrowsctl --context east audit list --who 'client helpdesk' --since 2026-11-01T00:00:00Z")]
    List(AuditListArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AuditListArgs {
    /// Of this image: its name or UUID.
    pub(crate) image: Option<String>,
    /// By this reader, as it is listed: `client NAME` or `administrator NAME`.
    #[arg(long, value_name = "WHO")]
    pub(crate) who: Option<String>,
    /// Read then or later (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<jiff::Timestamp>,
    /// Read then or before (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<jiff::Timestamp>,
    /// At most so many.
    #[arg(long, default_value_t = 100)]
    pub(crate) limit: u32,
}
