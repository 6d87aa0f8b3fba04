//! `context add|list|use`.

use serde::Serialize;

use super::Session;
use crate::{
    cli::ContextCommand,
    context::{Contexts, read_context},
    failure::Outcome,
    output::table,
};

/// One context, as it is listed and as what was done to it is told.
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
            contexts.add(name, &read_context(from)?)?;
            let kept = listed(contexts, name.clone())?;
            session.style.show(&kept, |kept| format!("context `{}` talks to {}", kept.name, kept.url))
        }
        ContextCommand::Use { name } => {
            contexts.set_current(name)?;
            let used = listed(contexts, name.clone())?;
            session.style.show(&used, |used| format!("context `{}` is the one in use", used.name))
        }
        ContextCommand::List => {
            let names = contexts.names()?.into_iter();
            let list = names.map(|name| listed(contexts, name)).collect::<Outcome<Vec<_>>>()?;
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

fn listed(contexts: &Contexts, name: String) -> Outcome<Listed> {
    let context = contexts.load(&name)?;
    Ok(Listed {
        current: contexts.current()?.as_ref() == Some(&name),
        name,
        url: context.url,
        domain: context.domain,
        administrator: context.token.is_some(),
    })
}
