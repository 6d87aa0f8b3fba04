//! What can be typed about media servers.

use clap::Subcommand;

use crate::confirm::ConsentArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum MediaServerCommand {
    /// Makes the line with which one media server joins this domain: once, within a day.
    #[command(after_help = "Examples:\n  narrowsctl --context east media-server invite m1\n  \
                      narrowsd init --join 'narrows-join://...' --data /srv/m1 --listen 10.0.0.2:7400\n  \
                      narrowsctl --context east media-server invite m1 --again")]
    Invite {
        /// What it is called here.
        name: String,
        /// For one that there is, and that lost its key or its folder, or let its certificate end: it joins again, with the
        /// folder that it has or an empty one. Its name and pools stay; what it had before is believed no more.
        #[arg(long)]
        again: bool,
    },
    /// Lists them: whether they answer, what they drain, their pools, their clocks.
    #[command(after_help = "Example:\n  narrowsctl --context east media-server list")]
    List,
    /// Lets nothing new go to its pools. What runs ends, and what lies there can be restored and replicated.
    #[command(
        after_help = "Examples:\n  narrowsctl media-server drain m1\n  narrowsctl media-server drain m1 --undo"
    )]
    Drain {
        /// Its name.
        name: String,
        /// Lets what comes go there again.
        #[arg(long)]
        undo: bool,
    },
    /// Forgets one in whose pools nothing lies and before whose pools there is no storage unit.
    #[command(
        after_help = "Examples:\n  narrowsctl media-server remove m1 --dry-run\n  narrowsctl media-server remove m1 --yes\n  \
                      narrowsctl media-server remove m1 --lost"
    )]
    Remove {
        /// Its name.
        name: String,
        /// It will not come back: the copies in its pools are lost, and the storage units before them go. Make units of the
        /// same names on other pools, and what names them goes on there.
        #[arg(long)]
        lost: bool,
        #[command(flatten)]
        sure: ConsentArgs,
    },
}
