//! Commands about images: which, what is in them, and what becomes of them.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::{CancelArgs, OneImageArgs, RecallArgs, ReleaseArgs, ReplicateArgs};
use crate::confirm::ConsentArgs;

#[derive(Debug, Default, Args)]
pub(crate) struct ImageFilterArgs {
    /// Of this client.
    #[arg(long, value_name = "NAME")]
    pub(crate) client: Option<String>,
    /// Made by this domain.
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) domain: Option<String>,
    /// Under this SLP.
    #[arg(long, value_name = "NAME")]
    pub(crate) slp: Option<String>,
    /// Begun then or later (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<jiff::Timestamp>,
    /// Begun then or before (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<jiff::Timestamp>,
}

/// How an image stands in this domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImageStateArg {
    /// It is being written.
    Writing,
    /// It can be read.
    Whole,
    /// It cannot be read any more, and can be brought back for a while.
    Expired,
    /// It was never completed.
    Abandoned,
    /// It is no longer here.
    Gone,
    /// Its last copy here was lost.
    Lost,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Lists images, newest first.
    #[command(
        after_help = "Examples:\n  narrowsctl image list --client web01 --since 2026-01-01T00:00:00Z\n  \
                            narrowsctl image list --state expired\n  narrowsctl image list --leaving"
    )]
    List {
        #[command(flatten)]
        filter: ImageFilterArgs,
        /// Made for this backup policy.
        #[arg(long, value_name = "NAME")]
        policy: Option<String>,
        /// Only those that stand so.
        #[arg(long, value_enum)]
        state: Option<ImageStateArg>,
        /// Only those whose last copy in this domain goes within seven days while they live on in another.
        #[arg(long, conflicts_with_all = ["client", "domain", "slp", "since", "until", "policy", "state"])]
        leaving: bool,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Shows one image: copies, replicas, operations.
    #[command(after_help = "Example:\n  narrowsctl image show latest --client web01")]
    Show {
        /// UUID, name, or `latest`.
        image: String,
        #[command(flatten)]
        filter: ImageFilterArgs,
    },
    /// Lists a directory in an image.
    #[command(after_help = "Example:\n  narrowsctl image browse latest etc --client web01")]
    Browse {
        /// UUID, name, or `latest`.
        image: String,
        /// Directory within the image; its top when none is named.
        path: Option<PathBuf>,
        #[command(flatten)]
        filter: ImageFilterArgs,
    },
    /// Looks for paths in all images, the newest first.
    ///
    /// A pattern without a slash is held against every name, one with a slash against the whole path within the image.
    /// `*` and `?` stop at slashes, `**` does not, `[..]` is a set. With `--json` one object a line.
    #[command(after_help = "Examples:\n  narrowsctl image find --path '*.sqlite' --client web01\n  \
                            narrowsctl image find --path '/etc/ssl/**/*.pem' --since 2026-01-01T00:00:00Z")]
    Find {
        /// What a path has to fit.
        #[arg(long, value_name = "GLOB")]
        path: OsString,
        #[command(flatten)]
        filter: ImageFilterArgs,
    },
    /// Tells what differs between two images: paths added, removed and changed from the first to the second.
    ///
    /// Only what differs is read. With `--json` one object a line.
    #[command(after_help = "Example:\n  narrowsctl image diff web01_1700000000 web01_1700086400")]
    Diff {
        /// UUID, name, or `latest`.
        before: String,
        /// UUID, name, or `latest`.
        after: String,
        #[command(flatten)]
        filter: ImageFilterArgs,
    },
    /// Replicates an image, or many, to a partner domain.
    #[command(
        after_help = "Examples:\n  narrowsctl --context east image replicate latest --to-domain west --wait\n  \
                      narrowsctl --context east image replicate --all --to-domain west --dry-run\n  \
                      narrowsctl --context east image replicate --missing --to-domain west"
    )]
    Replicate(ReplicateArgs),
    /// Tells every step of an image across domains, in order.
    #[command(after_help = "Example:\n  narrowsctl --context east image timeline latest --client web01")]
    Timeline(OneImageArgs),
    /// Gets an image back from a partner: one that was made or sent from here. The partner has to grant `recall`.
    #[command(
        after_help = "Examples:\n  narrowsctl --context east image recall east/web01_1700000000 --wait\n  narrowsctl --context east image recall east/web01_1700000000 --from west --import-slp gold-import --wait\n  narrowsctl --context east image recall --all --since 2026-01-01T00:00:00Z --from west --import-slp gold-import"
    )]
    Recall(RecallArgs),
    /// Pauses what is still to be done for an image.
    #[command(after_help = "Example:\n  narrowsctl --context east image pause latest --client web01")]
    Pause(OneImageArgs),
    /// Lets the work of a paused image go on.
    #[command(after_help = "Example:\n  narrowsctl --context east image resume latest --client web01")]
    Resume(OneImageArgs),
    /// Gives up what is still to be done for an image; says first what will then never exist.
    #[command(
        after_help = "Examples:\n  narrowsctl --context east image cancel east/web01_1700000000 --dry-run\n  \
                      narrowsctl --context east image cancel latest --client web01 --operation to-dr --yes"
    )]
    Cancel(CancelArgs),
    /// Lets a copy go without an operation that it is kept for.
    #[command(
        after_help = "Examples:\n  narrowsctl --context east image release latest --operation to-dr --dry-run\n  \
                      narrowsctl --context east image release latest --operation to-dr --reason closed --yes\n  \
                      narrowsctl --context east image release --all --slp gold --operation to-dr --to-domain west --dry-run"
    )]
    Release(ReleaseArgs),
    /// Accepts that an image is lost, or goes too early at a partner, or all that are lost: they are problems no more.
    #[command(after_help = "Examples:\n  narrowsctl image accept-loss --all --dry-run\n  \
                            narrowsctl image accept-loss east/web01_1700000000 --yes")]
    AcceptLoss {
        /// UUID or name.
        #[arg(required_unless_present = "all")]
        image: Option<String>,
        /// All that are marked as lost, or of which no copy is left anywhere.
        #[arg(long, conflicts_with = "image")]
        all: bool,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Reads and checks every byte of an image.
    #[command(after_help = "Example:\n  narrowsctl --context west image verify east/web01_1700000000")]
    Verify {
        /// UUID, name, or `latest`.
        image: String,
        #[command(flatten)]
        filter: ImageFilterArgs,
    },
    /// Lets all copies of an image in this domain go now, whatever their period.
    ///
    /// Nobody can read them from then on. For a day (a week for an image of another domain) `image undelete` brings them
    /// back. What is held, locked, or still to be copied from is refused.
    #[command(after_help = "Examples:\n  narrowsctl image expire east/web01_1700000000 --dry-run\n  \
                            narrowsctl image expire east/web01_1700000000 --yes")]
    Expire {
        /// UUID or name.
        image: String,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Brings an image back that has expired or was deleted in this domain.
    #[command(after_help = "Examples:\n  narrowsctl image undelete east/web01_1700000000\n  \
                            narrowsctl image undelete east/web01_1700000000 --expires 2027-01-01T00:00:00Z")]
    Undelete {
        /// UUID or name.
        image: String,
        /// When it expires again (RFC 3339); in a week when not said.
        #[arg(long, value_name = "TIME")]
        expires: Option<jiff::Timestamp>,
    },
}
