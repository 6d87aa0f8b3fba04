//! Who am I, and how is the server.

use std::collections::BTreeMap;

use axum::extract::State;
use narrows_api::{
    server::{Backlog, ClientStatus, Finding, Level, PoolInfo, Status, WhoAmI},
    text::time_out,
};
use narrows_domain::{
    Catalog as _, Image, ImportState, ReplicaState,
    catalog::ImageFilter,
    image::ImageState,
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
use crate::{limits::IMPORTS_LISTED_MAX, time};

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
    let images = app.catalog.images(&ImageFilter::default()).await.map_err(|error| internal(&error))?;
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
        images: u64::try_from(images.iter().filter(|it| it.state == ImageState::Whole).count()).unwrap_or(0),
        clients: clients(&app, &partners, &images).await?,
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
    Ok(problems)
}

/// Newest good backup and newest confirmed replica of each client; images come newest first.
async fn clients(app: &App, partners: &[Partner], images: &[Image]) -> Result<Vec<ClientStatus>, Failure> {
    let mut by_client: BTreeMap<(String, String), ClientStatus> = BTreeMap::new();
    for image in images.iter().filter(|image| image.state == ImageState::Whole) {
        let key = (name_of(app, partners, image.origin), image.client_name.clone());
        let status = by_client.entry(key.clone()).or_insert_with(|| ClientStatus {
            name: key.1,
            domain_name: key.0,
            last_backup: time_out(image.started),
            last_replica: None,
        });
        if status.last_replica.is_none() {
            let replicas = app.catalog.replicas(image.id).await.map_err(|error| internal(&error))?;
            let is_confirmed = replicas.iter().any(|replica| replica.state == ReplicaState::Present);
            status.last_replica = is_confirmed.then(|| time_out(image.started));
        }
    }
    Ok(by_client.into_values().collect())
}

async fn backlog(app: &App, partners: &[Partner]) -> Result<Vec<Backlog>, Failure> {
    let unfinished = app.catalog.unfinished_operations(10_000).await.map_err(|error| internal(&error))?;
    let mut lines: BTreeMap<(String, String), Backlog> = BTreeMap::new();
    for operation in unfinished {
        let Some(target) = &operation.target else { continue };
        let key = (name_of(app, partners, target.partner), operation.state.to_string());
        let line = lines.entry(key.clone()).or_insert_with(|| Backlog {
            target: key.0,
            state: key.1,
            operations: 0,
            oldest: None,
        });
        line.operations += 1;
        let age = time_out(operation.age);
        line.oldest = Some(line.oldest.map_or(age, |oldest| oldest.min(age)));
    }
    Ok(lines.into_values().collect())
}
