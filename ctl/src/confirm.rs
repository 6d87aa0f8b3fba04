//! Consent to what can't be undone: counts first, then the name typed, or `--yes`.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use clap::Args;

use crate::{
    failure::{Failure, Outcome},
    output::Style,
};

/// How far to go.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ConsentArgs {
    /// Only say what would be done.
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,
    /// Do it without asking.
    #[arg(long)]
    pub(crate) yes: bool,
}

impl ConsentArgs {
    /// Says `what` would be done, and goes on only if the person types `name`, or said `--yes`.
    pub(crate) fn ask(self, style: Style, what: &str, name: &str) -> Outcome<()> {
        if self.yes {
            return Ok(());
        }
        if style == Style::Json || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Err(Failure::usage(format!("this asks for `{name}` to be typed, and nobody is there"))
                .because(what.to_owned())
                .help("look at it with --dry-run, then say --yes"));
        }
        eprint!("{what}\ntype {name} to go on: ");
        let mut typed = String::new();
        let read = io::stderr().flush().and_then(|()| io::stdin().lock().read_line(&mut typed));
        match read {
            Ok(_) if is_consent(&typed, name) => Ok(()),
            _ => Err(Failure::usage("it was not confirmed: nothing was done")),
        }
    }
}

fn is_consent(typed: &str, name: &str) -> bool {
    typed.trim_end_matches(['\n', '\r']) == name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::codes;

    #[test]
    fn only_the_name_itself_is_consent() {
        for (typed, expected) in
            [("west\n", true), ("west", true), ("y\n", false), ("\n", false), ("West", false)]
        {
            assert_eq!(is_consent(typed, "west"), expected, "{typed:?}");
        }
    }

    #[test]
    fn nobody_there_is_no_consent_and_a_script_says_yes() {
        let asking = ConsentArgs { dry_run: false, yes: false };
        let refused = asking.ask(Style::Json, "it would go", "west").unwrap_err();
        assert_eq!((refused.0.code.as_str(), refused.0.why.as_str()), (codes::USAGE, "it would go"));
        ConsentArgs { yes: true, ..asking }.ask(Style::Json, "it goes", "west").unwrap();
    }
}
