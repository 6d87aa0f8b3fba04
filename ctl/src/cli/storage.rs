//! What can be typed about storage: units, groups, replication targets, windows, classifications.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::confirm::ConsentArgs;

/// A number of jobs, or no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JobsMax(pub(crate) Option<u32>);

impl std::str::FromStr for JobsMax {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "unlimited" {
            return Ok(Self(None));
        }
        text.parse().map(|jobs| Self(Some(jobs))).map_err(|_| "a number of jobs, or `unlimited`".to_owned())
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum StorageUnitCommand {
    /// Lists storage units, their limits and what is under way.
    #[command(after_help = "Example:\n  narrowsctl --context east storage-unit list")]
    List,
    /// Adds one.
    #[command(
        after_help = "Examples:\n  narrowsctl storage-unit add nightly --jobs-max 4\n  narrowsctl storage-unit add spare --pool default"
    )]
    Add {
        /// Its name; groups share the names of units.
        name: String,
        /// The pool behind it; the first when none is named.
        #[arg(long, value_name = "POOL")]
        pool: Option<String>,
        /// Backups, duplications and arrivals that may write to it at once.
        #[arg(long, value_name = "JOBS|unlimited", default_value = "unlimited")]
        jobs_max: JobsMax,
    },
    /// Changes one's limit; work that waits for a place begins at once.
    #[command(
        after_help = "Examples:\n  narrowsctl storage-unit set nightly --jobs-max 8\n  narrowsctl storage-unit set nightly --jobs-max unlimited"
    )]
    Set {
        /// Its name.
        name: String,
        /// Backups, duplications and arrivals that may write to it at once; 0 lets none begin.
        #[arg(long, value_name = "JOBS|unlimited")]
        jobs_max: JobsMax,
    },
    /// Removes one that no SLP, group or partner names.
    #[command(after_help = "Example:\n  narrowsctl storage-unit remove spare --dry-run")]
    Remove {
        /// Its name.
        name: String,
        #[command(flatten)]
        sure: ConsentArgs,
    },
    /// Groups of storage units.
    #[command(subcommand, after_help = "Example:\n  narrowsctl storage-unit group list")]
    Group(GroupCommand),
}

/// Which unit of a group takes a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RuleArg {
    /// The first in order; the next ones while those before them are at their limit.
    Failover,
    /// The one behind the one that took the last.
    RoundRobin,
    /// The one with the fewest jobs under way.
    LeastUsed,
}

impl RuleArg {
    pub(crate) fn word(self) -> String {
        match self {
            Self::Failover => "failover",
            Self::RoundRobin => "round-robin",
            Self::LeastUsed => "least-used",
        }
        .to_owned()
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// Lists groups.
    #[command(after_help = "Example:\n  narrowsctl --context east storage-unit group list")]
    List,
    /// Adds one.
    #[command(
        after_help = "Example:\n  narrowsctl storage-unit group add any-a --rule round-robin nightly spare"
    )]
    Add {
        /// Its name.
        name: String,
        /// Which of its units takes a copy.
        #[arg(long, value_enum, default_value_t = RuleArg::Failover)]
        rule: RuleArg,
        /// Its units, in order.
        #[arg(required = true, value_name = "UNIT")]
        units: Vec<String>,
    },
    /// Changes one.
    #[command(
        after_help = "Examples:\n  narrowsctl storage-unit group set any-a --rule least-used\n  narrowsctl storage-unit group set any-a spare nightly"
    )]
    Set {
        /// Its name.
        name: String,
        /// Which of its units takes a copy; as it is when left out.
        #[arg(long, value_enum)]
        rule: Option<RuleArg>,
        /// Its units, in order; as they are when none is named.
        #[arg(value_name = "UNIT")]
        units: Vec<String>,
    },
    /// Removes one that no SLP names.
    #[command(after_help = "Example:\n  narrowsctl storage-unit group remove any-a --yes")]
    Remove {
        /// Its name.
        name: String,
        #[command(flatten)]
        sure: ConsentArgs,
    },
}

/// Names a target.
#[derive(Clone, Debug, Args)]
pub(crate) struct TargetNameArgs {
    /// The partner domain.
    pub(crate) domain: String,
    /// The source pool; the first when none is named.
    #[arg(long, value_name = "POOL")]
    pub(crate) pool: Option<String>,
}

/// What can be said of a target.
#[derive(Clone, Debug, Args)]
pub(crate) struct TargetArgs {
    #[command(flatten)]
    pub(crate) name: TargetNameArgs,
    /// The storage unit there; unless set, the one that receives by default.
    #[arg(long, value_name = "UNIT")]
    pub(crate) unit: Option<String>,
    /// Bytes a second at most, e.g. 500k, 20M or 1GiB, or `unlimited`, as it is unless set.
    #[arg(long, value_name = "RATE")]
    pub(crate) bandwidth: Option<Rate>,
    /// In which proportion it has a part of its pool's bandwidth (`pool set --bandwidth`) while others are sent to: 1 unless set.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) weight: Option<u32>,
    /// Which end dials: `push` or `pull`, as the partner says (`domain dial` there); not needed.
    #[arg(long, value_name = "push|pull")]
    pub(crate) direction: Option<String>,
    /// Another bandwidth while a window is open, e.g. office=2M; `none` lets nothing go meanwhile. More than once, the first
    /// window that is open counts.
    #[arg(long = "in", value_name = "WINDOW=RATE")]
    pub(crate) schedule: Vec<ScheduleArg>,
    /// Forget the bandwidths for windows.
    #[arg(long, conflicts_with = "schedule")]
    pub(crate) no_schedule: bool,
}

/// A window and its bandwidth; `None` is unlimited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScheduleArg {
    pub(crate) window: String,
    pub(crate) bandwidth: Option<u64>,
}

impl std::str::FromStr for ScheduleArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (window, rate) = text.rsplit_once('=').ok_or_else(|| "WINDOW=RATE, e.g. office=2M".to_owned())?;
        let bandwidth = match rate {
            "none" => Some(0),
            rate => Some(rate.parse::<Rate>()?.0).filter(|bytes| *bytes > 0),
        };
        Ok(Self { window: window.to_owned(), bandwidth })
    }
}

/// Bytes a second; 0 is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate(pub(crate) u64);

impl std::str::FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "unlimited" {
            return Ok(Self(0));
        }
        let bytes = narrows_api::size::bytes_in(text).filter(|bytes| *bytes > 0).map(Self);
        bytes.ok_or_else(|| "bytes a second like `500k`, `20M` or `1G`, or `unlimited`".to_owned())
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum TargetCommand {
    /// Lists where pools replicate to.
    #[command(after_help = "Example:\n  narrowsctl --context east target list")]
    List,
    /// Adds one; a pairing makes one from each pool by itself.
    #[command(after_help = "Examples:\n  narrowsctl --context east target add west --bandwidth 20M\n  \
                      narrowsctl --context east target add vault --direction pull")]
    Add(TargetArgs),
    /// Changes one.
    #[command(
        after_help = "Examples:\n  narrowsctl --context east target set west --bandwidth unlimited\n  narrowsctl target set west --in office=2M --in noon=none\n  narrowsctl target set west --weight 3"
    )]
    Set(TargetArgs),
    /// Removes one by which no SLP replicates.
    #[command(after_help = "Example:\n  narrowsctl --context east target remove west --dry-run")]
    Remove {
        #[command(flatten)]
        name: TargetNameArgs,
        #[command(flatten)]
        sure: ConsentArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum WindowCommand {
    /// Lists windows.
    #[command(after_help = "Example:\n  narrowsctl --context east window list")]
    List,
    /// Shows one: its grid, whether it is open, and who names it.
    #[command(after_help = "Example:\n  narrowsctl window show nights")]
    Show {
        /// Its name.
        name: String,
    },
    /// Makes one or changes it; what waits for it is looked at again at once.
    #[command(
        after_help = "Examples:\n  narrowsctl window apply -f nights.toml\n  narrowsctl window apply -f -\n\n\
                      A window in TOML:\n  name = \"nights\"\n  zone = \"Europe/Berlin\"\n  \
                      open = [\"mon-fri 22:00-06:00\", \"sat,sun 00:00-24:00\"]\n  excluded = [\"2026-12-24\"]"
    )]
    Apply {
        /// TOML or JSON; `-` is standard input.
        #[arg(short = 'f', long = "file", value_name = "FILE")]
        file: PathBuf,
    },
    /// Deletes one that no SLP names.
    #[command(after_help = "Example:\n  narrowsctl window delete nights --dry-run")]
    Delete {
        /// Its name.
        name: String,
        #[command(flatten)]
        sure: ConsentArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClassificationCommand {
    /// Lists data classifications, what matters most first.
    #[command(after_help = "Example:\n  narrowsctl --context east classification list")]
    List,
    /// Adds one, or gives it another rank.
    #[command(after_help = "Example:\n  narrowsctl classification add diamond --rank 50")]
    Add {
        /// Its name; partners compare it letter by letter.
        name: String,
        /// Higher matters more.
        #[arg(long, default_value_t = 0)]
        rank: u32,
    },
    /// Removes one that no SLP has.
    #[command(after_help = "Example:\n  narrowsctl classification remove bronze --yes")]
    Remove {
        /// Its name.
        name: String,
        #[command(flatten)]
        sure: ConsentArgs,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_limits_are_read() {
        for (text, bytes) in [("1", 1), ("500k", 500_000), ("20M", 20_000_000), ("unlimited", 0)] {
            assert_eq!(text.parse(), Ok(Rate(bytes)));
        }
        for text in ["", "0", "M", "-1", "5MM", "99999999999G"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        for (text, window, bandwidth) in
            [("a=b=2k", "a=b", Some(2000)), ("x=none", "x", Some(0)), ("x=unlimited", "x", None)]
        {
            assert_eq!(text.parse(), Ok(ScheduleArg { window: window.to_owned(), bandwidth }));
        }
        assert!("office".parse::<ScheduleArg>().is_err());
        assert_eq!("unlimited".parse(), Ok(JobsMax(None)));
        assert_eq!("4".parse(), Ok(JobsMax(Some(4))));
        assert!("many".parse::<JobsMax>().is_err());
    }
}
