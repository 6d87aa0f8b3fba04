//! Verbs that take something away: they count first, ask for the name typed, and take `--yes` in scripts.

use std::io::{self, BufRead as _, IsTerminal as _};

use narrows_api::storage::{RemoveReply, RemoveRequest};
use serde::Serialize;

use super::Session;
use crate::{
    api::Api,
    cli::SureArgs,
    failure::{Failure, Outcome},
};

/// Whether it is meant: by `--yes`, or by the name typed on a terminal.
pub(super) fn ask(session: &Session, sure: SureArgs, name: &str, what: &str) -> Outcome<()> {
    if sure.yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!("{what}: nobody is there to ask whether that is meant"))
            .help("say --yes, or --dry-run to see what would happen"));
    }
    session.style.remark(&format!("{what}. Type `{name}` to go on:"));
    let mut typed = String::new();
    io::stdin().lock().read_line(&mut typed).map_err(|error| {
        Failure::file("the answer cannot be read", std::path::Path::new("standard input"), &error)
    })?;
    if typed.trim() == name {
        return Ok(());
    }
    Err(Failure::usage("what was typed is another name: nothing was done"))
}

/// Removes an object by its route: first what names it, then whether it is meant.
pub(super) async fn remove(
    session: &Session,
    api: &Api,
    path: &str,
    (what, name): (&str, &str),
    sure: SureArgs,
) -> Outcome<()> {
    let request = |dry_run| RemoveRequest { dry_run };
    remove_by(session, api, path, (what, name), sure, request).await
}

/// The same for a request of another shape.
pub(super) async fn remove_by<R: Serialize>(
    session: &Session,
    api: &Api,
    path: &str,
    (what, name): (&str, &str),
    sure: SureArgs,
    request: impl Fn(bool) -> R,
) -> Outcome<()> {
    let counted: RemoveReply = api.post(path, &request(true)).await?;
    let reply = if sure.dry_run {
        counted
    } else {
        // What is named is refused whatever is typed: nobody is asked for nothing.
        if counted.uses.is_empty() {
            ask(session, sure, name, &format!("{what} `{name}` is named by nothing and will be removed"))?;
        }
        api.post(path, &request(false)).await?
    };
    session.style.show(&reply, |reply| {
        let mut lines = vec![match (reply.removed, reply.uses.len()) {
            (true, _) => format!("{what} `{name}` is removed"),
            (false, 0) => format!("{what} `{name}` is named by nothing and would be removed"),
            (false, _) => format!("{what} `{name}` would not be removed; it is named by"),
        }];
        lines.extend(reply.uses.iter().map(|used| format!("  {used}")));
        lines.join("\n")
    })
}
