//! Commands about clients.

use clap::Subcommand;

use crate::confirm::ConsentArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Enrolls this machine as a client; without a line, by the administrator's token of the context.
    #[command(after_help = "Examples:\n  narrowsctl --context east client enroll web01\n  \
                            narrowsctl client enroll web01 --line 'narrows-enroll://...'")]
    Enroll {
        /// The client's name.
        name: String,
        /// The line that an administrator made elsewhere with `--print-line`.
        #[arg(long)]
        line: Option<String>,
        /// Only print the line, to be used on the client's own machine.
        #[arg(long, conflicts_with = "line")]
        print_line: bool,
    },
    /// Lists clients.
    #[command(after_help = "Example:\n  narrowsctl --context east client list")]
    List,
    /// Shows one: its names, its policies, its certificates.
    #[command(after_help = "Example:\n  narrowsctl --context east client show web01")]
    Show {
        /// Its name.
        name: String,
    },
    /// Gives a client another name; its images keep the one that they were made under.
    #[command(after_help = "Example:\n  narrowsctl --context east client rename web01 www01")]
    Rename {
        /// Its name.
        name: String,
        /// The new one.
        new: String,
    },
    /// Gives a client another certificate: for a machine that was lost or made anew. The one before is revoked.
    #[command(after_help = "Examples:\n  narrowsctl --context east client replace web01 --dry-run\n  \
                            narrowsctl --context east client replace web01 --yes\n  \
                            narrowsctl --context east client replace web01 --print-line")]
    Replace {
        /// Its name.
        name: String,
        /// Only print the line, to be used on the client's own machine with `client enroll NAME --line`.
        #[arg(long, conflicts_with_all = ["dry_run", "yes"])]
        print_line: bool,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Gives a client a right, or takes it away. `restore-any`: it may restore, as a tar too, browse and search what is of other
    /// clients of the domain, as an administrator may; each use is written to the server's log.
    #[command(after_help = "Examples:\n  narrowsctl --context east client grant helpdesk restore-any\n  \
                            narrowsctl --context east client grant helpdesk --revoke restore-any")]
    Grant {
        /// Its name.
        name: String,
        /// It may from now on: `restore-any`.
        #[arg(value_name = "RIGHT", required_unless_present = "revoke")]
        rights: Vec<String>,
        /// It may no longer.
        #[arg(long, value_name = "RIGHT")]
        revoke: Vec<String>,
    },
    /// Believes no certificate of a client any more, at once: for a machine that is in wrong hands. Its images stay, and `client
    /// replace` makes it a client again.
    #[command(after_help = "Examples:\n  narrowsctl --context east client revoke web01 --dry-run\n  \
                            narrowsctl --context east client revoke web01 --yes")]
    Revoke {
        /// Its name.
        name: String,
        #[command(flatten)]
        consent: ConsentArgs,
    },
}
