//! Verbs that remove an object: first what names it, then whether that is meant.

use narrows_api::storage::{RemoveReply, RemoveRequest};
use serde::Serialize;

use super::Session;
use crate::{api::Api, confirm::ConsentArgs, failure::Outcome};

/// Removes an object by its route: first what names it, then whether it is meant.
pub(super) async fn remove(
    session: &Session,
    api: &Api,
    path: &str,
    (what, name): (&str, &str),
    sure: ConsentArgs,
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
    sure: ConsentArgs,
    request: impl Fn(bool) -> R,
) -> Outcome<()> {
    let counted: RemoveReply = api.post(path, &request(true)).await?;
    let reply = if sure.dry_run {
        counted
    } else {
        // What is named is refused whatever is typed: nobody is asked for nothing.
        if counted.uses.is_empty() {
            sure.ask(
                session.style,
                &format!("{what} `{name}` is named by nothing and will be removed"),
                name,
            )?;
        }
        // A media server that is lost may have had very many copies.
        api.post_work(path, &request(false)).await?
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
