//! Carries out what the domain commands: sends images to partners, tells them, changes copies, probes.

use std::{rc::Rc, time::Duration};

use narrows_domain::{
    Catalog as _, Command, Event, ImportKey, ImportReport, OperationKey,
    event::{ReplicateOrder, ReplicationDone},
    image::{Content, Discarded},
    job::Counters,
    partner::ReceivePool,
    retry::Failure,
};
use narrows_exchange::{
    Base, ExchangeError, Purpose, Session, TreeChild,
    descend::{self, Push, Pushed},
    greet,
    hello::Side,
};
use narrows_format::{
    DomainId, ImageId, Location, Sequence,
    node::{Child, ChildKind},
    record::CopyState,
};
use narrows_pool::{Error, images};
use narrows_server::{
    hands::exchange_failure,
    plane::{pool_store::store_error, pool_tree::ImageTree},
};
use narrows_transport::{Link, Security};

use super::{
    desk::ready,
    gate::facts,
    oracle,
    policies::{at, domain_id, host, pool_id},
    server::{Plant, Running, Server},
};
use crate::site::{CORES, address};

/// How often who sends in turn looks whether it is its turn.
const TURN: Duration = Duration::from_millis(50);

pub(super) fn take(server: &Rc<Server>, running: &Rc<Running>, command: Command) {
    match command {
        Command::Replicate(order) => send_out(server, running, order),
        Command::StopReplication(operation) => {
            server.tale.stopped.up();
            stop(running, operation);
        }
        Command::Duplicate(order) => server.complain(&format!("there is no second pool: {order:?}")),
        Command::Report { partner, import, report } => {
            let (here, running) = (server.clone(), running.clone());
            let told = async move {
                let event = report_to(&here, &running, partner, import, report).await;
                here.tell(event);
            };
            server.world.spawn(told).detach();
        }
        Command::SlpMade { slp, .. } => server.complain(&format!("nobody may have `{slp}` made")),
        Command::OfferRuns(client) => server.complain(&format!("nobody has policies: {client}")),
        Command::Probe(partner) => {
            let (here, running) = (server.clone(), running.clone());
            let probed = async move {
                let event = match dial(&here, &running, partner).await {
                    Ok(session) => {
                        let event = up(partner, &session);
                        session.link.close().await;
                        event
                    }
                    Err(failure) => {
                        Event::PartnerDown { partner, code: failure.code, sentence: failure.sentence }
                    }
                };
                here.tell(event);
            };
            server.world.spawn(probed).detach();
        }
        Command::AmendCopy { .. } | Command::DiscardCopy { .. } | Command::RemoveCopy { .. } => {
            let (here, running) = (server.clone(), running.clone());
            let changed = async move { change_copy(&here, &running, command).await };
            server.world.spawn(changed).detach();
        }
    }
}

fn stop(running: &Running, operation: OperationKey) {
    let stopped = running.sending.borrow_mut().remove(&operation);
    drop(stopped);
}

fn send_out(server: &Rc<Server>, running: &Rc<Running>, order: ReplicateOrder) {
    let (operation, attempt) = (order.operation, order.attempt);
    stop(running, operation);
    let (here, there) = (server.clone(), running.clone());
    let task = running.worlds[1].spawn(async move {
        replicate(&here, &there, order).await;
        let ended = there
            .sending
            .borrow_mut()
            .extract_if(.., |key, (its, _)| *key == operation && *its == attempt)
            .next();
        drop(ended);
    });
    running.sending.borrow_mut().insert(operation, (attempt, task));
}

async fn replicate(server: &Rc<Server>, running: &Rc<Running>, order: ReplicateOrder) {
    let (operation, attempt) = (order.operation, order.attempt);
    if let Some(Plant::SharesHands(hands)) = server.plant {
        running.line.borrow_mut().push_back((operation, attempt));
        while !running.line.borrow().iter().take(hands).any(|first| *first == (operation, attempt)) {
            running.worlds[1].clock.sleep(TURN).await;
        }
    }
    if server.plant == Some(Plant::SaysDoneTooSoon) {
        let receive_pool = ReceivePool { pool: pool_id(at(order.partner)), incarnation: 1 };
        let (sequence, counters) = (Sequence(1), Counters::default());
        server.tell(Event::ReplicationDone(ReplicationDone {
            operation,
            attempt,
            receive_pool,
            sequence,
            counters,
        }));
    }
    let event = match send(server, running, &order).await {
        Ok(pushed) => {
            server.tale.replicated.up();
            server.tale.bases.add(u64::from(pushed.base_accepted));
            if attempt > 1 && pushed.sent.data_bytes > 0 {
                server.tale.resumed.up();
            }
            if pushed.sent.again_bytes > 0 {
                server.complain(&format!(
                    "{} bytes of {} were sent again",
                    pushed.sent.again_bytes, operation.image
                ));
            }
            let receive_pool =
                ReceivePool { pool: pushed.confirmed.pool, incarnation: pushed.confirmed.incarnation };
            let counters = Counters {
                stored_bytes: pushed.confirmed.stored_bytes,
                wire_bytes: pushed.sent.wire_bytes,
                data_bytes: pushed.sent.data_bytes,
                ..Counters::default()
            };
            let sequence = pushed.confirmed.sequence;
            Event::ReplicationDone(ReplicationDone { operation, attempt, receive_pool, sequence, counters })
        }
        Err(failure) => {
            Event::ReplicationFailed { operation, attempt, failure, counters: Counters::default() }
        }
    };
    running.line.borrow_mut().retain(|it| *it != (operation, attempt));
    server.tell(event);
}

/// The partner, as its hello shows it.
fn up(partner: DomainId, session: &Session) -> Event {
    let receive_pool = Some(ReceivePool { pool: session.peer.pool, incarnation: session.peer.incarnation });
    let skew = session.peer.clock.seconds.saturating_sub(session.our_clock.seconds);
    let skew_ms = Some(skew.saturating_mul(1000));
    Event::PartnerUp { partner, receive_pool, pools: Vec::new(), skew_ms }
}

async fn dial(server: &Server, running: &Running, partner: DomainId) -> Result<Session, Failure> {
    let core = u8::try_from(server.below(u64::from(CORES))).unwrap();
    let to = address(host(at(partner)), core);
    let link = Link::dial(&running.worlds[1], to, Security::Plaintext).await;
    let link = link.map_err(|error| {
        server.tale.unanswered.up();
        Failure::unreachable(format!("{to}: {error}"))
    })?;
    let ours = facts(server.at, running, Purpose::Replicate);
    greet(link, Side::Dialled, &ours).await.map_err(|error| exchange_failure(&error))
}

/// What the data plane has to know, as the catalog has it.
fn prepare(server: &Server, running: &Running, order: &ReplicateOrder) -> Option<(Push, Option<Child>)> {
    let image = server.catalog(|catalog| ready(catalog.image(order.operation.image)).unwrap())?;
    let content = image.content?;
    let base = order.base.and_then(|base| {
        let image = server.catalog(|catalog| ready(catalog.image(base.image)).unwrap())?;
        Some((image.id, root_of(&image.content?)))
    });
    let history = running.histories.borrow_mut().entry((image.id, order.partner)).or_default().clone();
    let push = Push {
        image: image.id,
        origin: image.origin,
        lineage: image.lineage,
        base: base.map(|(image, root)| Base { image, root: root.fingerprint }),
        resume: order.attempt > 1,
        root: TreeChild { child: root_of(&content), hint: Location::UNKNOWN },
        record: content.signed,
        copy: CopyState { expires: order.expires, locked_until: None, held: false },
        import_slp: order.import_slp.clone().unwrap_or_default(),
        history: Some(history),
    };
    Some((push, base.map(|(_, root)| root)))
}

fn root_of(content: &Content) -> Child {
    Child { fingerprint: content.root, kind: ChildKind::Node, length: content.root_length }
}

async fn send(server: &Rc<Server>, running: &Running, order: &ReplicateOrder) -> Result<Pushed, Failure> {
    let Some((push, base)) = prepare(server, running, order) else {
        server.complain(&format!("there is nothing to send for {order:?}"));
        return Err(Failure::interrupted("nothing to send"));
    };
    let session = dial(server, running, order.partner).await?;
    let event = up(order.partner, &session);
    let pool = &running.pools[1];
    let tree = ImageTree::new(pool.clone(), base);
    let pushed = match pool.committed(push.image).await {
        Ok(_) => descend::push(session, &tree, &push).await,
        Err(error) => Err(ExchangeError::Store(store_error(&error))),
    };
    match pushed {
        Ok(pushed) => {
            server.tell(event);
            running.histories.borrow_mut().remove(&(push.image, order.partner));
            Ok(pushed)
        }
        Err(error) => {
            server.tale.broken.add(u64::from(error.code().is_none()));
            Err(exchange_failure(&error))
        }
    }
}

/// The word goes over a link that may break; the answer to it may be lost.
async fn report_to(
    server: &Rc<Server>,
    running: &Running,
    partner: DomainId,
    import: ImportKey,
    report: ImportReport,
) -> Event {
    let revision = report.revision;
    let session = match dial(server, running, partner).await {
        Ok(session) => session,
        Err(failure) => {
            return Event::ReportFailed { import, failure: Failure::unreachable(failure.sentence) };
        }
    };
    let from = domain_id(server.at);
    let heard = server
        .other(at(partner))
        .is_some_and(|there| there.happened(Event::ImportReported { from, report }).is_ok());
    session.link.close().await;
    let lossy = server.lossy.get();
    let is_lost = lossy > 0 && server.below(lossy) == 0;
    if heard && !is_lost {
        return Event::ReportDelivered { import, revision };
    }
    server.tale.lost_answers.up();
    Event::ReportFailed { import, failure: Failure::unreachable("no answer") }
}

/// The log's record is the answer; without one it is commanded again.
async fn change_copy(server: &Server, running: &Running, command: Command) {
    let pool = &running.pools[0];
    let (image, changed): (ImageId, _) = match command {
        Command::AmendCopy { image, copy, .. } if server.plant != Some(Plant::ForgetsAmendments) => {
            (image, pool.amend(image, copy).await)
        }
        Command::DiscardCopy { image, discarded: Discarded { reason, until }, .. } => {
            oracle::may_go(server, image);
            server.tale.discarded.up();
            (image, pool.discard(image, images::Discarded { reason, until }).await)
        }
        Command::RemoveCopy { image, .. } => {
            server.tale.removed.up();
            (image, pool.remove(image).await)
        }
        _ => return,
    };
    match changed {
        // It went before the power was lost, and the log had not been read when this was commanded again.
        Ok(_) | Err(Error::NoImage { .. } | Error::Poisoned | Error::Closed) => {}
        Err(error) => server.complain(&format!("a copy of {image} could not be changed: {error}")),
    }
}
