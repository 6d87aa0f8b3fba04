//! Carries out what the domain commands: sends images, tells partners, amends copies, probes.
//!
//! Guarantees: each command ends in an event to the control task; a command that is lost is commanded again.
//! Nothing is decided here but what a failure is: a connection, a code, a side.

mod duplicating;

pub use duplicating::own_port;

use std::collections::HashMap;

use narrows_api::{
    ApiError, Hex,
    error::codes,
    partner::{Confirmation, LendRequest, Pong, ReceiveGrant, ReceivePool, ReceiveRequest, Refused},
    paths,
    text::{time_in, time_out},
};
use narrows_domain::{
    Catalog as _, Command, Event, ImportKey, ImportReport, OperationKind, Outcome, Partner,
    event::{ReplicateOrder, ReplicationDone},
    image::{Content, Discarded},
    import::DAMAGED,
    job::Counters,
    machine::arrival::FORGED,
    operation::{Note, OperationKey},
    partner,
    retry::{Failure, FailureKind, NO_VERSION, Side},
};
use narrows_exchange::ExchangeError;
use narrows_format::{
    DomainId, ImageId, PoolId,
    node::{Child, ChildKind},
    record::CopyState,
};
use narrows_pool::images;
use tokio::{
    sync::mpsc,
    task::{self, AbortHandle, JoinError, JoinSet},
    time::timeout,
};

use crate::{
    api::{App, agent::said, answer, slps::percent},
    control::Ordered,
    damage,
    in_order::InOrder,
    limits::{CODE_BYTES_MAX, PARTNER_TIME_MAX, SENTENCE_LETTERS_MAX},
    pace,
    pairing::up,
    partners::{DataAt, Goes},
    plane::{Dial, Replicated, ReplicationError},
    servers::{
        destination::Destination,
        errand::{BaseWord, Errand, Sender},
        words::Blob,
    },
    time,
};

/// Runs until the control task has gone; what is under way then is cut off and taken up at the next start.
pub async fn run(app: App, mut commands: mpsc::Receiver<Ordered>) {
    let mut hands = Hands { app, tasks: JoinSet::new(), copies: InOrder::default(), sending: HashMap::new() };
    loop {
        tokio::select! {
            ordered = commands.recv() => match ordered {
                Some(ordered) => hands.take(ordered),
                None => return,
            },
            Some(ended) = hands.tasks.join_next_with_id() => hands.ended(ended),
        }
    }
}

struct Hands {
    app: App,
    tasks: JoinSet<()>,
    /// What is written of one copy is written in the order in which it was commanded.
    copies: InOrder<ImageId>,
    /// Replications by their task.
    sending: HashMap<task::Id, Sending>,
}

struct Sending {
    operation: OperationKey,
    attempt: u32,
    task: AbortHandle,
}

impl Hands {
    fn take(&mut self, Ordered { command, work }: Ordered) {
        let app = self.app.clone();
        match command {
            Command::AmendCopy { pool, .. }
            | Command::DiscardCopy { pool, .. }
            | Command::RemoveCopy { pool, .. }
                if !app.pools.is_open(pool) =>
            {
                tracing::warn!(%pool, "a copy in a pool that is not open can't be changed");
            }
            Command::Replicate(order) => {
                let (operation, attempt) = (order.operation, order.attempt);
                self.stop(operation);
                let task = self.tasks.spawn(async move {
                    let _work = work;
                    replicate(&app, order).await;
                });
                self.sending.insert(task.id(), Sending { operation, attempt, task });
            }
            Command::StopReplication(operation) => self.end(operation),
            Command::Duplicate(order) => {
                let (operation, attempt) = (order.operation, order.attempt);
                self.stop(operation);
                let task = self.tasks.spawn(async move {
                    let _work = work;
                    duplicating::duplicate(&app, order).await;
                });
                self.sending.insert(task.id(), Sending { operation, attempt, task });
            }
            Command::Report { partner, import, report } => {
                self.tasks.spawn(async move {
                    let event = report_to(&app, partner, import, report).await;
                    app.control.tell(event).await;
                });
            }
            Command::AmendCopy { image, pool, copy } => {
                // The log's own record of it is the answer; without one it is commanded again.
                self.copies.run(&mut self.tasks, image, async move {
                    if let Err(answer::Failure(error)) = app.plane.pool(pool).amend(image, copy).await {
                        tracing::warn!(%image, %error, "a copy could not be amended");
                    }
                });
            }
            Command::DiscardCopy { image, pool, discarded: Discarded { reason, until } } => {
                let discarded = images::Discarded { reason, until };
                self.copies.run(&mut self.tasks, image, async move {
                    let outcome = app.plane.pool(pool).discard(image, discarded).await;
                    gone(&app, (image, pool), outcome, "a copy could not be let go").await;
                });
            }
            Command::RemoveCopy { image, pool } => {
                self.copies.run(&mut self.tasks, image, async move {
                    let outcome = app.plane.pool(pool).remove(image).await;
                    gone(&app, (image, pool), outcome, "a discarded copy could not be removed").await;
                });
            }
            Command::SlpMade { slp, partner } => {
                tracing::info!(slp, %partner, "an import SLP was made by itself");
            }
            Command::OfferRuns(client) => app.offers.offer(client),
            Command::Probe(partner) => {
                self.tasks.spawn(async move {
                    if let Some(event) = probe(&app, partner).await {
                        app.control.tell(event).await;
                    }
                });
            }
        }
    }

    /// What is sent, copied or taken in for it.
    fn end(&mut self, operation: OperationKey) {
        self.stop(operation);
        let app = self.app.clone();
        self.tasks.spawn(async move { stop_backup(&app, operation).await });
    }

    fn stop(&self, operation: OperationKey) {
        for sending in self.sending.values().filter(|it| it.operation == operation) {
            sending.task.abort();
        }
    }

    /// A panic is a failure like another: tried again, with growing pauses. All other commands are given
    /// again by their time if they were not answered.
    fn ended(&mut self, ended: Result<(task::Id, ()), JoinError>) {
        let (id, panicked) = match ended {
            Ok((id, ())) => (id, false),
            Err(error) => (error.id(), error.is_panic()),
        };
        let sending = self.sending.remove(&id);
        if !panicked {
            return;
        }
        tracing::error!("a task of the server panicked");
        if let Some(Sending { operation, attempt, .. }) = sending {
            let failure = Failure::interrupted("the task that sent it panicked; see the log");
            let counters = Counters::default();
            let event = Event::ReplicationFailed { operation, attempt, failure, counters };
            let control = self.app.control.clone();
            self.tasks.spawn(async move { control.tell(event).await });
        }
    }
}

/// If it is a backup that is to stop: its client is told. One that is not heard of it hears so when it ends.
async fn stop_backup(app: &App, key: OperationKey) {
    let given_up = async {
        let known = app.catalog.operation(key).await.map_err(|error| answer::internal(&error))?;
        let Some(backup) = known.filter(|it| it.kind == OperationKind::Backup) else { return Ok(()) };
        let units = app.catalog.storage_units().await.map_err(|error| answer::internal(&error))?;
        let Some(unit) = units.iter().find(|unit| backup.unit.as_ref() == Some(&unit.name)) else {
            return Ok(());
        };
        app.plane.pool(unit.pool).give_up(key.image).await
    };
    if let Err(answer::Failure(error)) = given_up.await {
        tracing::warn!(image = %key.image, %error, "the session of a backup that was cancelled could not be ended");
    }
}

/// The log's own record is the answer; for what is not in the pool there is none, and the answer is that it is not.
async fn gone<T>(
    app: &App,
    (image, pool): (ImageId, PoolId),
    outcome: Result<T, answer::Failure>,
    what: &str,
) {
    let Err(answer::Failure(error)) = outcome else { return };
    tracing::warn!(%image, %error, "{what}");
    if error.code == codes::NOT_FOUND {
        app.control.tell(Event::NotThere { image, pool }).await;
    }
}

async fn replicate(app: &App, order: ReplicateOrder) {
    let (operation, attempt, partner) = (order.operation, order.attempt, order.partner);
    let outcome = match prepare(app, &order).await {
        Ok(replication) => tokio::select! {
            sent = send(app, replication) => sent,
            why = app.parking.shutting(partner) => Err(Failure::unreachable(why)),
        },
        Err(failure) => Err(failure),
    };
    if let Err(failure) = &outcome
        && (failure.code == FORGED || failure.may_concern_all())
        && let Some(event) = probe(app, partner).await
    {
        // Whether it is the image's time or the clock over there is known by what that clock says now; and a partner that
        // speaks no version of ours, or takes nothing, is out of reach for all other images, too.
        app.control.tell(event).await;
    }
    let event = match outcome {
        Ok(done) => {
            let receive_pool = partner::ReceivePool { pool: done.pool, incarnation: done.incarnation };
            app.control.tell(answered(app, &order, receive_pool, done.skew_ms).await).await;
            Event::ReplicationDone(ReplicationDone {
                operation,
                attempt,
                receive_pool,
                sequence: done.sequence,
                counters: counters(&done),
            })
        }
        Err(failure) => {
            look_for_damage(app, &failure, (operation.image, order.pool)).await;
            // What receives may be on another server by now.
            app.partners.forget_data_address(partner);
            tracing::warn!(image = %operation.image, %partner, code = failure.code, why = failure.sentence,
                "a replication stopped");
            Event::ReplicationFailed { operation, attempt, failure, counters: Counters::default() }
        }
    };
    app.control.tell(event).await;
}

/// Before the failure is told: then the next attempt reads another copy, if there is one.
async fn look_for_damage(app: &App, failure: &Failure, (image, pool): (ImageId, PoolId)) {
    if failure.code == DAMAGED && failure.kind == FailureKind::Source {
        damage::met_by_sender(app, image, pool).await;
    }
}

/// The partner is there. Whether another pool than before receives, and whether that means that one is lost, it says
/// itself when it is asked.
async fn answered(app: &App, order: &ReplicateOrder, took: partner::ReceivePool, skew_ms: i64) -> Event {
    let known = app.catalog.partner(order.partner).await.ok().flatten();
    let is_news = |it: &Partner| {
        order.unit.is_empty() && it.receive_pool != Some(took)
            || !it.pools.is_empty() && !it.pools.contains(&took)
    };
    if known.as_ref().is_some_and(is_news)
        && let Some(event) = probe(app, order.partner).await
    {
        return event;
    }
    let (receive_pool, pools) = (None, Vec::new());
    Event::PartnerUp { partner: order.partner, receive_pool, pools, skew_ms: Some(skew_ms) }
}

fn counters(done: &Replicated) -> Counters {
    Counters {
        logical_bytes: 0,
        stored_bytes: done.stored_bytes,
        wire_bytes: done.wire_bytes,
        data_bytes: done.data_bytes,
        resent_bytes: done.resent_bytes,
    }
}

/// Has the server that has the image send it.
async fn send(app: &App, errand: Errand) -> Result<Replicated, Failure> {
    if let Some(link) = app.plane.away(errand.pool) {
        return link.send(&errand).await;
    }
    let (plane, dialler, paces, own) = (&app.plane, app.dialler(), &app.paces, app.who.domain);
    errand.carry_out(Sender { plane, dialler, paces, own }).await
}

/// What a transfer that came to its end means, in the domain's words.
pub fn ended<T>(end: Option<Result<T, ReplicationError>>) -> Result<T, Failure> {
    match end {
        Some(Ok(done)) => Ok(done),
        Some(Err(ReplicationError::Unreachable(sentence))) => Err(Failure::unreachable(sentence)),
        Some(Err(ReplicationError::Exchange(error))) => Err(exchange_failure(&error)),
        None => Err(Failure::interrupted("the server is stopping")),
    }
}

/// What the end of a session means for the replication.
pub fn exchange_failure(error: &ExchangeError) -> Failure {
    let side = match error {
        ExchangeError::Store(_) => Side::Source,
        ExchangeError::Link(_) | ExchangeError::Refused(_) | ExchangeError::RefusedByPeer(_) => Side::Target,
    };
    match error.code() {
        Some(codes::NOT_READY) | None => Failure::interrupted(error.to_string()),
        Some(code) => Failure::coded(code, side, error.to_string()),
    }
}

/// Gathers what the data plane has to know.
async fn prepare(app: &App, order: &ReplicateOrder) -> Result<Errand, Failure> {
    let gone = |what: &str| Failure::coded(codes::NOT_FOUND, Side::Source, format!("{what} is gone"));
    let catalog = |error: narrows_catalog::Error| Failure::interrupted(error.to_string());
    let image = app.catalog.image(order.operation.image).await.map_err(catalog)?;
    let image = image.ok_or_else(|| gone("the image"))?;
    let content = image.content.as_ref().ok_or_else(|| gone("the image's content"))?;
    let partner = app.catalog.partner(order.partner).await.map_err(catalog)?;
    let partner = partner.ok_or_else(|| gone("the partner"))?;
    let base = match &order.base {
        Some(base) => app.catalog.image(base.image).await.map_err(catalog)?,
        None => None,
    };
    // The time of day may have come since rates were looked at last.
    pace::renew(app).await;
    let (ticket, DataAt { address, server }) = receiving(app, &partner, order).await?;
    let copy = CopyState { expires: order.expires, locked_until: None, held: false };
    Ok(Errand {
        allowed: app.paces.of(order.pool, partner.domain).allowed(),
        image: image.id,
        pool: order.pool,
        origin: image.origin,
        lineage: Hex(image.lineage),
        root: root_of(content).into(),
        record: Blob(content.signed.clone()),
        base: base
            .and_then(|base| Some(BaseWord { image: base.id, root: root_of(base.content.as_ref()?).into() })),
        resume: order.attempt > 1,
        copy: copy.into(),
        import_slp: order.import_slp.clone().unwrap_or_default(),
        target: Destination {
            ticket: Hex(ticket),
            to: partner.domain,
            address,
            server,
            by_primary: app.parking.is_caller(partner.domain),
        },
    })
}

/// With which ticket, and where to. A unit that is to receive there is named over the API, which gives a ticket for the data
/// port of its server; so is what a media server here is to bring. What else goes to the usual unit needs no ticket.
async fn receiving(
    app: &App,
    partner: &Partner,
    order: &ReplicateOrder,
) -> Result<([u8; 32], DataAt), Failure> {
    if order.unit.is_empty() && app.plane.away(order.pool).is_none() {
        return Ok(([0; 32], usual_address(app, partner).await));
    }
    let asked = ReceiveRequest { image: order.operation.image, unit: order.unit.clone() };
    let api = app.partners.api(partner.domain, &partner.url, &partner.name);
    let granted: Result<ReceiveGrant, ApiError> = match api {
        Ok(api) => api.post(paths::PARTNER_RECEIVE, &asked).await,
        Err(error) => Err(error),
    };
    let grant = granted.map_err(|error| api_failure(&error))?;
    let at = grant.data_addr.map(|address| DataAt { address, server: grant.data_server });
    Ok((grant.ticket.0, at.unwrap_or_else(|| as_met(partner))))
}

/// Who gives what an image lacks.
pub struct Lender {
    /// The partner, or this domain itself.
    pub domain: DomainId,
    /// Its data port.
    pub at: DataAt,
    /// What it gave out for this.
    pub ticket: [u8; 32],
}

/// A partner that gives what is lacking here of an image, if it grants that.
pub async fn lent_by(app: &App, partner: &Partner, image: ImageId) -> Result<Lender, Failure> {
    let granted: Result<ReceiveGrant, ApiError> = async {
        let api = app.partners.api(partner.domain, &partner.url, &partner.name)?;
        api.post(paths::PARTNER_LEND, &LendRequest { image }).await
    }
    .await;
    let grant = granted.map_err(|error| api_failure(&error))?;
    let at = grant.data_addr.map(|address| DataAt { address, server: grant.data_server });
    Ok(Lender { domain: partner.domain, at: at.unwrap_or_else(|| as_met(partner)), ticket: grant.ticket.0 })
}

/// The primary server of a partner, where it was met.
fn as_met(partner: &Partner) -> DataAt {
    DataAt { address: partner.data_address.clone(), server: None }
}

/// Where data for the usual unit of a partner goes: as it said last, and it is asked if it has not said. One that does not
/// answer is tried where it was met.
async fn usual_address(app: &App, partner: &Partner) -> DataAt {
    if app.partners.where_data_goes(partner.domain).is_none()
        && let Err(error) = ping(app, partner).await
    {
        tracing::debug!(partner = partner.name, %error, "where its data goes could not be asked");
    }
    match app.partners.where_data_goes(partner.domain) {
        Some(Goes::To(at)) => at,
        Some(Goes::AsMet) | None => as_met(partner),
    }
}

/// How the data port of a partner's primary is dialled.
pub async fn dial(app: &App, partner: &Partner) -> Result<Dial, Failure> {
    let DataAt { address, server } = as_met(partner);
    let (ticket, to) = (Hex([0; 32]), partner.domain);
    let by_primary = app.parking.is_caller(to);
    Destination { ticket, to, address, server, by_primary }.dial(app.dialler(), Side::Target).await
}

/// Reaches a partner's data port as a replication does: address, TLS with both certificates, hello. Returns the codecs that are
/// read there, as a set of bits.
pub async fn reach(app: &App, partner: &Partner) -> Result<u32, Failure> {
    let dialled = async { ended(app.plane.reach(dial(app, partner).await?).await) };
    match timeout(PARTNER_TIME_MAX, dialled).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::unreachable(format!("{}: no answer", partner.data_address))),
    }
}

fn root_of(content: &Content) -> Child {
    Child { fingerprint: content.root, kind: ChildKind::Node, length: content.root_length }
}

async fn report_to(app: &App, partner: DomainId, import: ImportKey, report: ImportReport) -> Event {
    let revision = report.revision;
    match deliver(app, partner, report).await {
        Ok(()) => Event::ReportDelivered { import, revision },
        Err(error) => Event::ReportFailed { import, failure: api_failure(&error) },
    }
}

async fn deliver(app: &App, partner: DomainId, report: ImportReport) -> Result<(), ApiError> {
    let known = app.catalog.partner(partner).await;
    let known = known.map_err(|error| ApiError::new(codes::INTERNAL, error.to_string()))?;
    let known = known.ok_or_else(|| ApiError::new("TRUST-001", "the sender is not a partner any more"))?;
    let api = app.partners.api(partner, &known.url, &known.name)?;
    api.post(paths::PARTNER_IMPORTS, &confirmation(report)).await
}

/// What went wrong with a partner's API, in the domain's words.
fn api_failure(error: &ApiError) -> Failure {
    let sentence = match error.why.as_str() {
        "" => error.message.clone(),
        why => format!("{}: {why}", error.message),
    };
    match error.code.as_str() {
        codes::UNREACHABLE | codes::TIMED_OUT | codes::NOT_READY => Failure::unreachable(sentence),
        code => Failure::coded(code, Side::Target, sentence),
    }
}

fn confirmation(report: ImportReport) -> Confirmation {
    let outcome = report.outcome.name().to_owned();
    let (said, expires, until) = match report.outcome {
        Outcome::Imported { expires, note } => (note, expires, None),
        Outcome::Waiting { note, until } => (Some(note), None, until),
        Outcome::Failed { note } | Outcome::GivenUp { note } | Outcome::Refused { note } => {
            (Some(note), None, None)
        }
    };
    let said = said.unwrap_or_else(|| Note { code: String::new(), sentence: String::new() });
    Confirmation {
        image: report.image,
        receive_pool: ReceivePool { pool: report.pool, incarnation: report.incarnation },
        sequence: report.sequence.0,
        revision: report.revision,
        outcome,
        code: said.code,
        why: said.sentence,
        expires: expires.map(time_out),
        until: until.map(time_out),
    }
}

/// Asks a partner whether it is there. `None`: it is no partner any more.
pub async fn probe(app: &App, domain: DomainId) -> Option<Event> {
    let known = app.catalog.partner(domain).await.ok().flatten()?;
    Some(match ping(app, &known).await {
        Ok((pong, skew_ms)) => heard(app, domain, &pong, skew_ms),
        Err(error) => {
            let failure = api_failure(&error);
            // One with which there is no trust is not silent: who mends that shall see it.
            let code = if failure.may_concern_all() { failure.code } else { String::new() };
            Event::PartnerDown { partner: domain, code, sentence: failure.sentence }
        }
    })
}

/// What follows from a partner's answer: it is there, unless it speaks no version that is spoken here, or takes nothing.
pub fn heard(app: &App, partner: DomainId, pong: &Pong, skew_ms: i64) -> Event {
    if let Some(sentence) = not_spoken((&app.who.name, app.config.test.wire_versions()), pong) {
        return Event::PartnerDown { partner, code: NO_VERSION.to_owned(), sentence };
    }
    match refused(pong) {
        Some(Refused { code, why: sentence }) => Event::PartnerDown { partner, code, sentence },
        None => up(partner, pong, skew_ms),
    }
}

/// Why a partner takes nothing, as it says itself. That it does not answer, or speaks no version, it can't say.
fn refused(pong: &Pong) -> Option<Refused> {
    let Refused { code, why } = pong.refuses.as_ref()?;
    let is_code = code.len() <= CODE_BYTES_MAX
        && code.starts_with(|first: char| first.is_ascii_uppercase())
        && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let why = said(why, SENTENCE_LETTERS_MAX);
    (is_code && code != NO_VERSION).then(|| Refused { code: code.clone(), why })
}

/// That a partner speaks no wire version that this domain speaks, with both ranges; `None` if it does.
pub fn not_spoken((own, ours): (&str, (u16, u16)), pong: &Pong) -> Option<String> {
    let (low, high) = pong.wire_versions;
    let sentence = || format!("it speaks wire versions {low}..={high}, `{own}` {}..={}", ours.0, ours.1);
    (low > ours.1 || high < ours.0).then(sentence)
}

/// The storage unit there to which all that is sent there goes, empty for the usual one; `None` if it goes to several, or that
/// can't be read: then nothing is asked about it, and each image finds out for itself.
async fn only_unit(app: &App, partner: DomainId) -> Option<String> {
    let targets = app.catalog.replication_targets().await.ok()?;
    let mut units = targets.into_iter().filter(|it| it.partner == partner).map(|it| it.unit);
    let first = units.next().unwrap_or_default();
    units.all(|unit| unit == first).then_some(first)
}

/// The partner's answer, and its clock minus ours in milliseconds, give or take half a round trip.
pub async fn ping(app: &App, partner: &Partner) -> Result<(Pong, i64), ApiError> {
    let api = app.partners.api(partner.domain, &partner.url, &partner.name)?;
    let path = match only_unit(app, partner.domain).await {
        Some(unit) => format!("{}?unit={}", paths::PARTNER_PING, percent(&unit)),
        None => paths::PARTNER_PING.to_owned(),
    };
    let asked = app.clock.now();
    let pong: Pong = api.get(&path).await?;
    let address = pong.data_addr.clone();
    let at = address.map(|address| DataAt { address, server: pong.data_server });
    app.partners.data_goes(partner.domain, at);
    let round_trip = time::millis_between(asked, app.clock.now());
    let skew = time::millis_between(asked, time_in(pong.clock)).saturating_sub(round_trip / 2);
    Ok((pong, skew))
}
