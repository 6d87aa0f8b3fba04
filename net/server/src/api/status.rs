//! Who am I, and how is the server.

use std::collections::BTreeMap;

use axum::extract::State;
use narrows_api::{
    server::{Backlog, ClientStatus, Status, WhoAmI},
    text::time_out,
};
use narrows_domain::{
    Catalog as _,
    catalog::{BacklogLine, ClientSeen},
    partner::Partner,
};
use narrows_transport::Principal;

use super::{
    App,
    answer::{Answer, Failure, good, internal},
    caller::{Admin, Caller},
    domains::name_of,
    images, jobs, pools, problems,
};
use crate::limits::{LEAVING_LISTED_MAX, PROBLEMS_LISTED};

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
        Some(Principal::Media { domain, server }) => {
            let known = app.servers.get(*server).map(|link| link.row().name);
            ("media-server", known.unwrap_or_default(), server.to_string(), *domain)
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
    let problems = problems::found(&app, &partners, PROBLEMS_LISTED).await?;
    let running = jobs::infos(&app, None, 100).await?.into_iter().filter(|job| !job.ended).collect();
    good(Status {
        domain: app.who.domain,
        name: app.who.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now: time_out(app.clock.now()),
        running_since: time_out(app.started),
        problems,
        pools: pools::infos(&app).await?,
        leaving: images::leaving(&app, LEAVING_LISTED_MAX).await?.len() as u64,
        images: seen.iter().map(|client| client.images).sum(),
        clients: clients(&app, &partners, seen),
        backlog: backlog(&app, &partners).await?,
        jobs: running,
    })
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
    let mut all = backlog_lines(app, partners, lines);
    all.extend(local_backlog(app).await?);
    Ok(all)
}

/// What is to be copied within the domain and is not complete, by the storage that it goes to and state.
pub async fn local_backlog(app: &App) -> Result<Vec<Backlog>, Failure> {
    let mut all: BTreeMap<(String, String), Backlog> = BTreeMap::new();
    for line in app.catalog.local_backlog().await.map_err(|error| internal(&error))? {
        let version =
            app.catalog.slp(&line.slp, Some(line.version)).await.map_err(|error| internal(&error))?;
        let spec = version.as_ref().and_then(|version| version.slp.operation(&line.operation));
        let storage = spec.and_then(|spec| spec.storage.clone()).unwrap_or_default();
        let (target, state) = (format!("storage {storage}").trim_end().to_owned(), line.state.to_string());
        let oldest = time_out(line.oldest);
        let known = all.entry((target.clone(), state.clone())).or_insert(Backlog {
            target,
            state,
            operations: 0,
            oldest: Some(oldest),
        });
        known.operations += line.operations;
        known.oldest = known.oldest.min(Some(oldest));
    }
    Ok(all.into_values().collect())
}

/// Work that is due and not complete, by target and state.
pub fn backlog_lines(app: &App, partners: &[Partner], lines: Vec<BacklogLine>) -> Vec<Backlog> {
    let line = |line: BacklogLine| Backlog {
        target: name_of(app, partners, line.partner),
        state: line.state.to_string(),
        operations: line.operations,
        oldest: Some(time_out(line.oldest)),
    };
    let mut backlog: Vec<_> = lines.into_iter().map(line).collect();
    backlog.sort_by(|one, other| (&one.target, &one.state).cmp(&(&other.target, &other.state)));
    backlog
}
