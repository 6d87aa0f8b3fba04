//! `context add|list|use`.

use serde::Serialize;

use super::Session;
use crate::{cli::ContextCommand, context::read_context, failure::Outcome, output::table};

/// One line of the list.
#[derive(Serialize)]
struct Listed {
    name: String,
    url: String,
    domain: String,
    current: bool,
    administrator: bool,
}

pub(super) fn run(session: &Session, command: &ContextCommand) -> Outcome<()> {
    let contexts = &session.contexts;
    match command {
        ContextCommand::Add { name, from } => {
            let context = read_context(from)?;
            contexts.add(name, &context)?;
            let url = context.url;
            session.style.remark(&format!("context `{name}` talks to {url}"));
            Ok(())
        }
        ContextCommand::Use { name } => contexts.set_current(name),
        ContextCommand::List => {
            let current = contexts.current();
            let mut list = Vec::new();
            for name in contexts.names()? {
                let context = contexts.load(&name)?;
                list.push(Listed {
                    current: current.as_ref() == Some(&name),
                    name,
                    url: context.url,
                    domain: context.domain,
                    administrator: context.token.is_some(),
                });
            }
            session.style.show(&list, |list| {
                let row = |listed: &Listed| {
                    let star = if listed.current { "*" } else { "" };
                    vec![star.into(), listed.name.clone(), listed.url.clone(), listed.domain.clone()]
                };
                table(&["", "NAME", "URL", "DOMAIN"], &list.iter().map(row).collect::<Vec<_>>())
            })
        }
    }
}
