//! What can be typed about the work of images and about partners.

use clap::{Args, Subcommand};

use super::ImageFilterArgs;
use crate::confirm::ConsentArgs;

/// One image.
#[derive(Debug, Args)]
pub(crate) struct OneImageArgs {
    /// UUID, name, or `latest`.
    pub(crate) image: String,
    #[command(flatten)]
    pub(crate) filter: ImageFilterArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    pub(crate) of: OneImageArgs,
    /// Only the operations of this id; `image show` lists them.
    #[arg(long, value_name = "OP")]
    pub(crate) operation: Option<String>,
    #[command(flatten)]
    pub(crate) consent: ConsentArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ReleaseArgs {
    /// UUID, name, or `latest`; several are released like `--all`.
    #[arg(value_name = "IMAGE", required_unless_present = "all", conflicts_with = "all")]
    pub(crate) images: Vec<String>,
    /// Every image that fits the filters and whose operation failed or was cancelled. What is still to be done stays.
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) filter: ImageFilterArgs,
    /// The operation that the copy is kept for; `image show` names it.
    #[arg(long, value_name = "OP")]
    pub(crate) operation: String,
    /// With `--all` or several images: only what was to go to this partner domain.
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) to_domain: Option<String>,
    /// Why; it is kept with the image.
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) consent: ConsentArgs,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches, as typed")]
pub(crate) struct ReplicateArgs {
    /// UUID, name, or `latest`.
    #[arg(required_unless_present_any = ["all", "missing"], conflicts_with_all = ["all", "missing"])]
    pub(crate) image: Option<String>,
    /// Every image that fits the filters and is not there: for a partner that came later.
    #[arg(long, conflicts_with_all = ["missing", "wait"])]
    pub(crate) all: bool,
    /// Every image whose copy there was lost, or goes earlier than was agreed.
    #[arg(long, conflicts_with = "wait")]
    pub(crate) missing: bool,
    /// The partner domain.
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) to_domain: String,
    /// The import SLP there; left out, the one that the image's SLP names for that domain, or else the one of the same name as
    /// the image's SLP.
    #[arg(long, value_name = "NAME")]
    pub(crate) import_slp: Option<String>,
    /// Wait until the other domain has imported it.
    #[arg(long)]
    pub(crate) wait: bool,
    /// With `--all` or `--missing`: only count.
    #[arg(long, conflicts_with = "image")]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) filter: ImageFilterArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RecallArgs {
    /// UUID, or a name that is known here.
    #[arg(required_unless_present = "all")]
    pub(crate) image: Option<String>,
    /// All that partners hold for this domain and that can't be read here; `replica list --unknown` lists them.
    #[arg(long, conflicts_with = "image")]
    pub(crate) all: bool,
    /// Of these, only backups that began then or later (RFC 3339).
    #[arg(long, requires = "all", value_name = "TIME")]
    pub(crate) since: Option<jiff::Timestamp>,
    /// The partner domain that has it; by itself the one that was last known to, or with --all whoever has it and sends it.
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) from: Option<String>,
    /// The SLP here that is to import it; by itself the one that imports images of its classification.
    #[arg(long, value_name = "NAME")]
    pub(crate) import_slp: Option<String>,
    /// Wait until it can be restored here.
    #[arg(long)]
    pub(crate) wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct GrantArgs {
    /// The partner's name or UUID.
    pub(crate) name: String,
    /// It may from now on: `send`, `slp-lookup`, `status`, `recall`, `heal`, `auto-import`, `relay(ORIGIN)`, or
    /// `relay(UUID=KEY)` for an origin that is no partner here; `domain show` there tells UUID and key.
    /// `auto-import(at-least=1d,at-most=90d,quota=500GiB)` says how long its copies live and how much room they take;
    /// without bounds they live a year at most.
    #[arg(value_name = "GRANT", required_unless_present = "revoke")]
    pub(crate) grants: Vec<String>,
    /// It may no longer.
    #[arg(long, value_name = "GRANT")]
    pub(crate) revoke: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DecideArgs {
    /// The partner's name or UUID.
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) consent: ConsentArgs,
}

#[derive(Debug, Args)]
#[group(id = "how", required = true, multiple = false, args = ["drain", "now"])]
pub(crate) struct UnpairArgs {
    /// The partner's name or UUID.
    pub(crate) name: String,
    /// When nothing is to be done for it any more.
    #[arg(long)]
    pub(crate) drain: bool,
    /// At once: its connections are cut, what it sent is still imported, and what is to be sent waits.
    #[arg(long)]
    pub(crate) now: bool,
    #[command(flatten)]
    pub(crate) consent: ConsentArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TopologyCommand {
    /// Draws domains, pools, trust, targets, lag and backlog.
    #[command(after_help = "Example:\n  narrowsctl --context east topology show")]
    Show,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReplicaCommand {
    /// Lists copies in other domains as they were last checked.
    #[command(
        after_help = "Examples:\n  narrowsctl --context east replica list --domain west\n  narrowsctl --context east replica list --state lost\n  narrowsctl --context east replica list --unknown"
    )]
    List {
        /// In this domain.
        #[arg(long, value_name = "DOMAIN")]
        domain: Option<String>,
        /// In this state: `arrived`, `present`, `damaged`, `import-failed`, `lost`, `expired`.
        #[arg(long)]
        state: Option<String>,
        /// Instead, those that partners hold and of which nothing is known here; they are asked now.
        #[arg(long, conflicts_with_all = ["state", "limit"])]
        unknown: bool,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Asks partners now what they hold for this domain; that happens once a day by itself.
    #[command(after_help = "Example:\n  narrowsctl --context east replica check --domain west")]
    Check {
        /// Only this partner.
        #[arg(long, value_name = "DOMAIN")]
        domain: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum CertCommand {
    /// Lists CAs and certificates with the end of their lives, and when they are renewed by themselves.
    #[command(after_help = "Example:\n  narrowsctl --context east cert list")]
    List,
    /// Renews the server's certificate now; the CA too if asked. Nothing stops by it.
    #[command(
        after_help = "Examples:\n  narrowsctl --context east cert renew\n  narrowsctl --context east cert renew --ca"
    )]
    Renew {
        /// The CA too: the one before it is believed until it ends, and partners learn of the new one by themselves.
        #[arg(long)]
        ca: bool,
        /// The CA even if it was renewed less than a month ago: whoever has been away since then is left behind.
        #[arg(long, requires = "ca")]
        force: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum CatalogCommand {
    /// Shows whether the catalog is as its pools and partners say.
    #[command(after_help = "Example:\n  narrowsctl --context east catalog show")]
    Show,
    /// Ends the time in which nothing expires because an older catalog was put back.
    ///
    /// It ends by itself once image logs and what partners hold were compared.
    #[command(after_help = "Example:\n  narrowsctl --context east catalog reconcile --force --yes")]
    Reconcile {
        /// Even if not everything was compared.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        sure: ConsentArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProblemCommand {
    /// Lists what is amiss, worst first, with the side to mend.
    #[command(after_help = "Examples:\n  narrowsctl --context east problem list\n  \
                      narrowsctl --context east problem list --limit 5000")]
    List {
        /// So many of each kind, 100 unless said; behind them it is told how many more there are.
        #[arg(long)]
        limit: Option<u32>,
    },
}
