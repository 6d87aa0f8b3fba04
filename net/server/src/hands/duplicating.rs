//! Copies an image from pool to pool of this domain, as a replication to the data port of the server that has the other pool.
//!
//! The same protocol, the same receiver: only what the other pool lacks crosses, every byte is checked, and what broke
//! goes on where it was. The session is allowed by a ticket that the server gives itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use narrows_api::{Hex, error::codes};
use narrows_domain::{
    Catalog as _, Event,
    event::DuplicateOrder,
    job::Counters,
    operation::OperationKey,
    retry::{Failure, Side},
};
use narrows_format::{PoolId, Sequence};
use tokio::time::timeout;

use super::{counters, look_for_damage, root_of, send};
use crate::{
    api::{App, answer},
    limits::CATCH_UP_TIME_MAX,
    pace::Allowance,
    partners::DataAt,
    plane::Replicated,
    servers::{destination::Destination, errand::Errand, words::Blob},
    tickets::Ticket,
};

/// Carries out one order; the record in the target's log is its answer, and a failure is told.
pub(super) async fn duplicate(app: &App, order: DuplicateOrder) {
    let (operation, attempt) = (order.operation, order.attempt);
    let outcome = match prepare(app, &order).await {
        Ok(errand) => send(app, errand).await,
        Err(failure) => Err(failure),
    };
    let event = match outcome {
        Ok(done) => {
            // Until the log was read the operation is under way, and nobody takes it back.
            caught_up(app, &order, done.sequence).await;
            duplicated(operation, attempt, &done)
        }
        Err(failure) => {
            tracing::warn!(image = %operation.image, from = %order.source, to = %order.target, code = failure.code,
                why = failure.sentence, "a duplication stopped");
            look_for_damage(app, &failure, (operation.image, order.source)).await;
            if matches!(failure.code.as_str(), "POOL-002" | "POOL-004") {
                app.pools.notice();
            }
            Event::ReplicationFailed { operation, attempt, failure, counters: Counters::default() }
        }
    };
    app.control.tell(event).await;
}

fn duplicated(operation: OperationKey, attempt: u32, done: &Replicated) -> Event {
    Event::Duplicated { operation, attempt, counters: counters(done) }
}

async fn caught_up(app: &App, order: &DuplicateOrder, sequence: Sequence) {
    let Ok(pool) = app.pools.get(order.target) else { return };
    let mut reached = pool.reached.subscribe();
    let is_there = reached.wait_for(|reached| *reached >= sequence);
    // If it takes longer, the importer has said why; an attempt that is begun again finds the copy there.
    drop(timeout(CATCH_UP_TIME_MAX, is_there).await);
}

async fn prepare(app: &App, order: &DuplicateOrder) -> Result<Errand, Failure> {
    let gone = |what: &str| Failure::coded(codes::NOT_FOUND, Side::Source, format!("{what} is gone"));
    let catalog = |error: narrows_catalog::Error| Failure::interrupted(error.to_string());
    let image = app.catalog.image(order.operation.image).await.map_err(catalog)?;
    let image = image.ok_or_else(|| gone("the image"))?;
    let content = image.content.as_ref().ok_or_else(|| gone("the image's content"))?;
    for (pool, side) in [(order.source, Side::Source), (order.target, Side::Target)] {
        if let Err(answer::Failure(error)) = app.pools.get(pool) {
            return Err(Failure::coded(&error.code, side, error.message));
        }
    }
    let ticket = Ticket::Duplicate { image: image.id, copy: order.copy, pool: order.target };
    let ticket = app.tickets.give(ticket).map_err(|error| Failure::interrupted(error.message))?;
    let DataAt { address, server } = own_port(app, order.target, order.source);
    Ok(Errand {
        image: image.id,
        pool: order.source,
        origin: image.origin,
        lineage: Hex(image.lineage),
        root: root_of(content).into(),
        record: Blob(content.signed.clone()),
        // What the target has is found from the root down: a tree that has changed little costs a few questions, here.
        base: None,
        resume: order.attempt > 1,
        copy: order.copy.into(),
        import_slp: String::new(),
        allowed: Allowance::default(),
        target: Destination { ticket, to: app.who.domain, address, server, by_primary: false },
    })
}

/// Where the data port of the server that has one pool of this domain is dialled from the server that has another. A media server
/// is reached from another one by the address that it tells, this process from itself by its own.
pub fn own_port(app: &App, pool: PoolId, from: PoolId) -> DataAt {
    match (app.data_away(pool), app.plane.away(from)) {
        (Some(at), _) => at,
        (None, Some(_)) => DataAt { address: app.config.data_addr(), server: None },
        (None, None) => DataAt { address: reachable(app.config.data_listen).to_string(), server: None },
    }
}

/// Where the server reaches itself.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
