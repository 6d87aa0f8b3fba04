//! Commands about partner domains, and what came from them.

use clap::{Args, Subcommand};

use super::{DecideArgs, GrantArgs, UnpairArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum DomainCommand {
    /// Makes the line that pairs another domain with this one.
    #[command(
        after_help = "Examples:\n  narrowsctl --context east domain invite\n  narrowsctl --context east domain invite --as west2 --expires-in 1h"
    )]
    Invite {
        /// How long the line works, e.g. `15m` or `48h`; one day unless set.
        #[arg(long, value_name = "SPAN")]
        expires_in: Option<jiff::SignedDuration>,
        /// What to call the other domain here.
        #[arg(long = "as", value_name = "NAME")]
        alias: Option<String>,
    },
    /// Pairs with the domain that made the line, in both directions.
    #[command(after_help = "Examples:\n  narrowsctl --context west domain pair 'narrows-pair://...'\n  \
                      narrowsctl --context vault domain pair 'narrows-pair://...' --dial-out --window nights")]
    Pair {
        /// The line.
        line: String,
        /// What to call the other domain here.
        #[arg(long = "as", value_name = "NAME")]
        alias: Option<String>,
        /// Nobody can dial this domain: it keeps connections open there, by which it is called.
        #[arg(long)]
        dial_out: bool,
        /// And only while this window is open.
        #[arg(long, value_name = "WINDOW", requires = "dial_out")]
        window: Option<String>,
    },
    /// Lists domains.
    #[command(after_help = "Example:\n  narrowsctl --context east domain list")]
    List,
    /// Shows one.
    #[command(after_help = "Example:\n  narrowsctl --context east domain show west")]
    Show {
        /// Name or UUID.
        name: String,
    },
    /// Has the work for a partner wait; what runs stops at its next batch.
    #[command(after_help = "Example:\n  narrowsctl --context east domain pause west")]
    Pause {
        /// Name or UUID.
        name: String,
    },
    /// Lets the work for a partner go on.
    #[command(after_help = "Example:\n  narrowsctl --context east domain resume west")]
    Resume {
        /// Name or UUID.
        name: String,
    },
    /// Bounds the work for a partner.
    #[command(after_help = "Example:\n  narrowsctl --context east domain limit west --images 2")]
    Limit {
        /// Name or UUID.
        name: String,
        /// Images under way to it at once; 4 unless set.
        #[arg(long, value_name = "COUNT")]
        images: u32,
    },
    /// Says which storage unit receives from a partner, unless its replication target names one.
    #[command(after_help = "Example:\n  narrowsctl --context west domain receive east --unit vault")]
    Receive {
        /// Name or UUID.
        name: String,
        /// A storage unit of this domain; `default` unless set.
        #[arg(long, value_name = "UNIT")]
        unit: String,
    },
    /// Says which of the two domains dials the other.
    #[command(
        after_help = "Examples:\n  narrowsctl --context vault domain dial east --out --window nights\n  \
                      narrowsctl --context vault domain dial east --both"
    )]
    Dial {
        /// Name or UUID.
        name: String,
        #[command(flatten)]
        who: WhoDials,
        /// Only while this window is open is there a connection.
        #[arg(long, value_name = "WINDOW", requires = "out")]
        window: Option<String>,
    },
    /// Changes what a partner may do here.
    #[command(after_help = "Examples:\n  narrowsctl --context north domain grant west 'relay(east)'\n  \
                      narrowsctl --context north domain grant west 'auto-import(at-most=90d,quota=500GiB)'\n  \
                      narrowsctl --context north domain grant west --revoke send")]
    Grant(GrantArgs),
    /// Takes who answers now for the right one, of a partner whose identity is in doubt (TRUST-003).
    #[command(after_help = "Examples:\n  narrowsctl --context west domain decide east --dry-run\n  \
                      narrowsctl --context west domain decide east --yes")]
    Decide(DecideArgs),
    /// Takes a pairing apart; says first what hangs on it.
    #[command(after_help = "Examples:\n  narrowsctl --context east domain unpair west --drain --dry-run\n  \
                      narrowsctl --context east domain unpair west --now --yes")]
    Unpair(UnpairArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImportCommand {
    /// Lists imports, newest first, and what was refused before it was stored.
    #[command(after_help = "Examples:\n  narrowsctl --context west import list\n  \
                      narrowsctl --context west import list --open")]
    List {
        /// Only those that are not imported, or damaged since; oldest first.
        #[arg(long)]
        open: bool,
        /// At most so many; it is said when there are more.
        #[arg(long, default_value_t = 1000)]
        limit: u32,
    },
    /// Tries imports again that wait, failed or were given up.
    #[command(after_help = "Examples:\n  narrowsctl --context west import retry\n  \
                      narrowsctl --context west import retry east/web01_1700000000")]
    Retry {
        /// Only this image: its name or UUID, as `import list` tells it.
        image: Option<String>,
    },
}

/// Which of two domains dials.
#[derive(Clone, Copy, Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct WhoDials {
    /// Only this one: it keeps connections open there, by which the other one calls.
    #[arg(long)]
    pub(crate) out: bool,
    /// Each the other one, as it is unless set.
    #[arg(long)]
    pub(crate) both: bool,
}
