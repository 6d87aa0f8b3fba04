//! Who am I, and how is the server.

use axum::extract::State;
use narrows_api::{
    server::{Backlog, ClientStatus, Finding, Level, PoolInfo, Status, WhoAmI},
    text::time_out,
};
use narrows_domain::{
    Catalog as _, ImportState,
    catalog::{BacklogLine, ClientSeen},
    partner::{Partner, Reach, Trust},
};
use narrows_transport::Principal;

use super::{
    App,
    answer::{Answer, Failure, good, internal},
    caller::{Admin, Caller},
    domains::name_of,
    jobs,
};
use crate::{
    limits::{FAILED_LISTED_MAX, IMPORTS_LISTED_MAX},
    time,
};

/// GET the principal of the request.
pub async fn whoami(State(app): State<App>, caller: Caller) -> Answer<WhoAmI> {
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let own = app.who.domain;
    let (kind, name, id, domain) = match &caller.certificate {
        _ if caller.is_admin(&app) && !matches!(caller.certificate, Some(Principal::Admin { .. })) => {
            ("admin", "admin".to_owned(), String::new(), own)
        }
        Some(Principal::Admin { domain, name }) => ("admin", name.clone(), String::new(), *domain),
        Some(Principal::Client { domain, client }) => {
            let known = app.catalog.client(*client).await.map_err(|error| internal(&error))?;
            let name = known.map(|client| client.name).unwrap_or_default();
            ("client", name, client.to_string(), *domain)
        }
        Some(Principal::Server { domain }) => {
            ("server", name_of(&app, &partners, *domain), String::new(), *domain)
        }
        None => ("admin", "admin".to_owned(), String::new(), own),
    };
    let (server_domain, server_name) = (own, app.who.name.clone());
    good(WhoAmI { kind: kind.to_owned(), name, id, domain, server_domain, server_name })
}

/// GET one screen.
pub async fn status(State(app): State<App>, _admin: Admin) -> Answer<Status> {
    app.caught_up().await?;
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let seen = app.catalog.clients_seen().await.map_err(|error| internal(&error))?;
    let space = app.plane.space().await?;
    let mut problems = problems(&app, &partners).await?;
    problems.sort_by_key(|problem| problem.level);
    let running = jobs::infos(&app, None, 100).await?.into_iter().filter(|job| !job.ended).collect();
    good(Status {
        domain: app.who.domain,
        name: app.who.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now: time_out(time::now()),
        running_since: time_out(app.started),
        problems,
        pools: vec![PoolInfo {
            pool: app.who.pool,
            incarnation: app.pool_incarnation,
            storage_unit: "default".to_owned(),
            used_bytes: space.container_bytes,
            free_bytes: space.disk_available,
            total_bytes: space.disk_total,
            segments: space.index_entries,
        }],
        images: seen.iter().map(|client| client.images).sum(),
        clients: clients(&app, &partners, seen),
        backlog: backlog(&app, &partners).await?,
        jobs: running,
    })
}

/// What is amiss by what is known here; `doctor` asks the other sides too.
async fn problems(app: &App, partners: &[Partner]) -> Result<Vec<Finding>, Failure> {
    let mut problems = Vec::new();
    for partner in partners {
        let (code, message, help) = match (partner.trust, &partner.reach) {
            (Trust::Half, _) => {
                ("TRUST-001", "the pairing is half-made".to_owned(), "pair again, or wait for the other side")
            }
            (Trust::Expired, _) => ("AUTH-002", "its certificate has expired".to_owned(), "renew it there"),
            (Trust::Frozen, _) => ("TRUST-003", "its identity is in doubt".to_owned(), "decide which is it"),
            (Trust::Complete, Reach::Down { sentence, .. }) => {
                ("", format!("does not answer: {sentence}"), "`narrowsctl doctor` checks both ends")
            }
            _ => continue,
        };
        problems.push(Finding {
            level: Level::Error,
            code: code.to_owned(),
            check: "partner".to_owned(),
            side: partner.name.clone(),
            message,
            help: help.to_owned(),
        });
    }
    let imports = app.catalog.imports(IMPORTS_LISTED_MAX).await.map_err(|error| internal(&error))?;
    for import in imports {
        if !matches!(import.state, ImportState::Failed { .. } | ImportState::GivenUp | ImportState::Refused) {
            continue;
        }
        let record = &import.arrival.record;
        let note = import.note.as_ref();
        problems.push(Finding {
            level: Level::Error,
            code: note.map(|note| note.code.clone()).unwrap_or_default(),
            check: format!("import of {}", narrows_domain::image::label(&record.client_name, record.started)),
            side: app.who.name.clone(),
            message: note.map(jobs::why).unwrap_or_default(),
            help: "`narrowsctl import list` says more".to_owned(),
        });
    }
    stopped(app, partners, &mut problems).await?;
    Ok(problems)
}

/// Operations that stopped for good: nothing comes of them before a person has dealt with them.
async fn stopped(app: &App, partners: &[Partner], problems: &mut Vec<Finding>) -> Result<(), Failure> {
    let failed = app.catalog.failed_operations(FAILED_LISTED_MAX).await.map_err(|error| internal(&error))?;
    for operation in failed {
        let image = app.catalog.image(operation.key.image).await.map_err(|error| internal(&error))?;
        let image = image.map_or_else(|| operation.key.image.to_string(), |image| image.label());
        let target = operation.target.as_ref().map(|target| name_of(app, partners, target.partner));
        let to = target.as_ref().map(|name| format!(" to {name}")).unwrap_or_default();
        problems.push(Finding {
            level: Level::Error,
            code: operation.state.detail().to_owned(),
            check: format!("{} of {image}{to}", operation.kind),
            side: app.who.name.clone(),
            message: operation.note.as_ref().map(jobs::why).unwrap_or_default(),
            help: "mend the cause, then `narrowsctl image replicate` sends it again".to_owned(),
        });
    }
    Ok(())
}

/// Newest good backup and newest confirmed replica of each client.
fn clients(app: &App, partners: &[Partner], seen: Vec<ClientSeen>) -> Vec<ClientStatus> {
    let status = |client: ClientSeen| ClientStatus {
        domain_name: name_of(app, partners, client.origin),
        name: client.client_name,
        last_backup: time_out(client.last_backup),
        last_replica: client.last_replica.map(time_out),
    };
    let mut clients: Vec<_> = seen.into_iter().map(status).collect();
    clients.sort_by(|one, other| (&one.domain_name, &one.name).cmp(&(&other.domain_name, &other.name)));
    clients
}

async fn backlog(app: &App, partners: &[Partner]) -> Result<Vec<Backlog>, Failure> {
    let lines = app.catalog.backlog().await.map_err(|error| internal(&error))?;
    let line = |line: BacklogLine| Backlog {
        target: name_of(app, partners, line.partner),
        state: line.state.to_string(),
        operations: line.operations,
        oldest: Some(time_out(line.oldest)),
    };
    let mut backlog: Vec<_> = lines.into_iter().map(line).collect();
    backlog.sort_by(|one, other| (&one.target, &one.state).cmp(&(&other.target, &other.state)));
    Ok(backlog)
}
