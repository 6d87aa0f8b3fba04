//! Reads each pool's image log by a durable cursor and brings each record to the control task.
//!
//! Guarantee: every record is handled once and in order, whatever crashes: the cursor is stored in the
//! same transaction as what followed from the record. What can never be handled is listed as failed and
//! passed; what may be handled later is tried again, and what is behind it waits. It waits for the log without asking again and again.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use narrows_api::{error::codes, size::counted};
use narrows_domain::{
    Catalog as _, Change, Event,
    event::{Logged, PoolEvent},
    image::Discarded,
    import::{Arrival, Import, Proof},
    machine::arrival::UNPROVEN,
    operation::Note,
    partner::Partner,
};
use narrows_format::{DomainId, ImageId, PoolId, Sequence, record::codec::signed_part};
use narrows_pool::images::{self, Event as LogEvent, EventKind, ImageEntry};
use tokio::task::JoinSet;

use crate::{
    api::{
        App,
        answer::{Failure, internal},
    },
    control::Taken,
    limits::{EVENTS_AT_ONCE, UNPROVEN_AT_ONCE},
    pki::signing::is_signed_by,
    pools::OpenPool,
};

/// Follows the log of each pool that is open, or comes to be, until the data plane or the control task has gone.
pub async fn run(app: App) {
    let mut changes = app.pools.changes();
    let (mut following, mut tasks) = (BTreeMap::<PoolId, Arc<OpenPool>>::new(), JoinSet::new());
    loop {
        changes.borrow_and_update();
        for pool in app.pools.open_ones() {
            // One that was shut and is open again is another one: the follower of the old one ends.
            let before = following.insert(pool.pool, Arc::clone(&pool));
            if before.is_none_or(|before| !Arc::ptr_eq(&before, &pool)) {
                tasks.spawn(follow_pool(app.clone(), pool));
            }
        }
        tokio::select! {
            // None of them ends while its pool is open, unless it panics.
            Some(ended) = tasks.join_next() => match ended {
                Ok(End::Gone) if tasks.is_empty() => return,
                Ok(_) => {}
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => return,
            },
            outcome = changes.changed() => if outcome.is_err() { return },
        }
    }
}

/// Before a log that could not be followed is read again.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a log is not followed any more.
enum End {
    /// The data plane has gone.
    Gone,
    /// The pool's media server has, or the pool; it may be opened anew.
    Shut,
}

async fn follow_pool(app: App, pool: Arc<OpenPool>) -> End {
    let mut cursor = match app.catalog.cursor(pool.pool, pool.incarnation).await {
        Ok(cursor) => cursor,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the cursor can't be read");
            Sequence(0)
        }
    };
    pool.reached.send_replace(cursor);
    let mut is_compared = false;
    while app.pools.is_this_open(&pool) {
        if cursor == Sequence(0)
            && let Err(Failure(error)) = begin_anew(&app, &pool).await
        {
            tracing::error!(%error, "whether the pool was put back can't be known; it is looked at again");
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        match follow(&app, &pool, cursor, &mut is_compared).await {
            Ok(Some(reached)) => {
                cursor = reached;
                pool.reached.send_replace(reached);
                continue;
            }
            Ok(None) if !pool.is_away && app.pools.is_this_open(&pool) => return End::Gone,
            Ok(None) => {}
            Err(Failure(error)) => {
                tracing::error!(%error, "an image log record could not be handled; it is tried again");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    End::Shut
}

/// Nothing of this incarnation is in the catalog. If something of an earlier one is, the pool was put back or made anew: its
/// whole log is read again, and nothing goes before that was compared.
async fn begin_anew(app: &App, pool: &OpenPool) -> Result<(), Failure> {
    let latest = app.catalog.latest_cursor(pool.pool).await.map_err(|error| internal(&error))?;
    let Some((before, read)) = latest.filter(|(before, _)| *before < pool.incarnation) else { return Ok(()) };
    let known = app.catalog.pools().await.map_err(|error| internal(&error))?;
    let name =
        known.into_iter().find(|it| it.id == pool.pool).map_or_else(|| pool.pool.to_string(), |it| it.name);
    let why = format!(
        "pool `{name}` was put back to an older state: its log had {} in incarnation {before}, and is read again",
        counted(read.0, "record", "records")
    );
    let anew = (pool.pool, pool.incarnation);
    // What was let go since they were asked last may have been let go because of them.
    app.comparisons.forget();
    app.control
        .act(move |primary, now| {
            Box::pin(async move { Ok(((), primary.pool_put_back(anew, why, now).await?)) })
        })
        .await
}

/// All of the log is in the catalog: what an earlier incarnation had and this one has not is gone.
async fn compared(app: &App, pool: &OpenPool) -> Result<(), Failure> {
    let (id, incarnation) = (pool.pool, pool.incarnation);
    loop {
        // Not all at once: what else is to be decided goes on between.
        let comparing = app.control.act(move |primary, now| {
            Box::pin(async move {
                let found = primary.pool_compared(id, incarnation, now).await?;
                Ok(found.map_or((None, Vec::new()), |(lost, commands)| (Some(lost), commands)))
            })
        });
        let Some(lost) = comparing.await? else { return Ok(()) };
        for image in lost {
            tracing::error!(%image, pool = %id, "the pool was put back, and has no copy of this image any more");
        }
    }
}

/// Handles what is behind `cursor`, or waits for something; `None` when the pool is closed.
async fn follow(
    app: &App,
    pool: &OpenPool,
    cursor: Sequence,
    is_compared: &mut bool,
) -> Result<Option<Sequence>, Failure> {
    let log = app.plane.pool(pool.pool);
    let mut events = log.events(cursor, EVENTS_AT_ONCE).await?;
    if events.is_empty() && !*is_compared {
        compared(app, pool).await?;
        *is_compared = true;
    }
    if events.is_empty() {
        match log.event_after(cursor).await {
            Ok(_) => events = log.events(cursor, EVENTS_AT_ONCE).await?,
            Err(narrows_pool::Error::Closed) => return Ok(None),
            Err(error) => return Err(crate::plane::failure(&error)),
        }
        if events.is_empty() {
            // A media server says that there is something and gives nothing: it is not asked without a pause.
            tokio::time::sleep(PAUSE).await;
            return Ok(Some(cursor));
        }
    }
    let (mut reached, is_away) = (cursor, pool.is_away);
    for event in events {
        let sequence = event.sequence;
        let (pool, incarnation) = (pool.pool, pool.incarnation);
        if let Some(logged) = logged(app, is_away, event).await? {
            let event = PoolEvent { pool, incarnation, sequence, logged };
            let begun = Instant::now();
            match app.control.logged(Event::Pool(event.clone())).await? {
                Taken::Done => {
                    tracing::debug!(sequence = sequence.0, took = ?begun.elapsed(), "a record was taken in");
                }
                Taken::ReadFrom(expected) => {
                    let from = Sequence(expected.0.saturating_sub(1));
                    if from <= cursor {
                        // What is expected is not in the log, or not yet.
                        tokio::time::sleep(PAUSE).await;
                    }
                    return Ok(Some(from));
                }
                Taken::Never(why) => {
                    tracing::error!(
                        sequence = sequence.0,
                        why,
                        "a record can't be handled and is passed over"
                    );
                    let sentence = format!("the catalog can't take it: {why}");
                    let reason = Note { code: codes::INTERNAL.to_owned(), sentence };
                    app.control.pass_over(event, reason).await?;
                }
            }
        } else {
            // What it said is not known; what follows it shall not wait for that.
            app.control.put(vec![Change::Cursor(pool, incarnation, sequence)]).await?;
        }
        reached = sequence;
    }
    Ok(Some(reached))
}

async fn logged(app: &App, is_away: bool, event: LogEvent) -> Result<Option<Logged>, Failure> {
    Ok(match event.kind {
        EventKind::Committed(entry) if is_away && entry.sender.is_none() && !is_ours(app, &entry).await? => {
            let (sequence, image) = (event.sequence.0, entry.image());
            tracing::error!(sequence, %image, code = "AIR-012", "a media server's log has a record that nobody signed");
            None
        }
        EventKind::Committed(entry) => Some(committed(app, &entry).await?),
        EventKind::Amended(image, copy) => Some(Logged::Amend { image, copy }),
        EventKind::Discarded(image, images::Discarded { reason, until }) => {
            Some(Logged::Discard { image, discarded: Discarded { reason, until } })
        }
        EventKind::Removed(image) => Some(Logged::Remove { image }),
        EventKind::Damaged => {
            tracing::error!(sequence = event.sequence.0, code = "POOL-001", "an image log record is damaged");
            None
        }
    })
}

/// Whether what a media server says was backed up or copied here is signed by who made it, or known byte for byte: its word
/// alone makes no image of this domain.
async fn is_ours(app: &App, entry: &ImageEntry) -> Result<bool, Failure> {
    let (record, signed) = (&entry.record.record, &entry.record_bytes);
    if prove(app, record.origin, signed).await? == Proof::Good {
        return Ok(true);
    }
    let known = app.catalog.image(record.image).await.map_err(|error| internal(&error))?;
    Ok(known.and_then(|image| image.content).is_some_and(|content| content.signed == *signed))
}

async fn committed(app: &App, entry: &Arc<ImageEntry>) -> Result<Logged, Failure> {
    let record = entry.record.record.clone();
    let (signed, copy, stored_bytes) = (entry.record_bytes.clone(), entry.copy, entry.stored_bytes);
    let Some(sender) = entry.sender else {
        return Ok(Logged::Backup { record, signed, copy, stored_bytes });
    };
    let proof = prove(app, record.origin, &signed).await?;
    let import_slp = Some(entry.target_slp.clone()).filter(|slp| !slp.is_empty());
    let asked_expiry = entry.asked_expiry;
    let arrival = Arrival { record, signed, proof, sender, import_slp, asked_expiry };
    Ok(Logged::Arrival { arrival, copy, stored_bytes })
}

/// The key that an origin signs with: learnt by pairing with it, or named with a grant to relay for it.
fn key_of(partners: &[Partner], origin: DomainId) -> Option<[u8; 32]> {
    let paired = partners.iter().find(|it| it.domain == origin).map(|it| it.signing_key);
    paired.or_else(|| partners.iter().find_map(|it| *it.grants.relay.get(&origin)?))
}

/// Imports that failed or were refused for want of a proof are tried again once their origin's key is known and their sender
/// may relay for it. All of them are looked at, a portion at a time: what cannot be proved hides nothing behind it.
pub async fn prove_again(app: &App) -> Result<(), Failure> {
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let mut after = None;
    loop {
        let portion = app.catalog.unproven_imports(after, UNPROVEN_AT_ONCE).await;
        let portion = portion.map_err(|error| internal(&error))?;
        let Some(last) = portion.last() else { return Ok(()) };
        after = Some(last.key);
        for import in portion.iter().filter(|import| may_be_proved(app, &partners, import)) {
            let image = import.arrival.record.image;
            // One that can't be decided just now holds up no other.
            if let Err(Failure(error)) = try_again(app, image).await {
                tracing::warn!(%image, %error, "an import that can be proved now could not be decided");
            }
        }
    }
}

/// Its origin signed it, by a key that is known now; what was refused needs a sender that may bring it, too.
fn may_be_proved(app: &App, partners: &[Partner], import: &Import) -> bool {
    let Arrival { record, signed, sender, .. } = &import.arrival;
    let relays = |it: &Partner| it.domain == *sender && it.grants.relay.contains_key(&record.origin);
    let may_bring = *sender == record.origin || partners.iter().any(relays);
    (may_bring || !import.is_refused_with(UNPROVEN))
        && proof(app, partners, record.origin, signed) == Proof::Good
}

/// Decides an image's imports anew that are not imported, by the keys that are known now.
pub async fn try_again(app: &App, image: ImageId) -> Result<Vec<Import>, Failure> {
    let imports = app.catalog.imports_of(image).await.map_err(|error| internal(&error))?;
    let proof = match imports.first() {
        Some(import) => prove(app, import.arrival.record.origin, &import.arrival.signed).await?,
        None => Proof::Missing,
    };
    let control = &app.control;
    control
        .act(move |primary, now| Box::pin(async move { primary.retry_imports(image, proof, now).await }))
        .await
}

/// Whether the origin signed the record, by the key that is known here.
pub async fn prove(app: &App, origin: DomainId, signed: &[u8]) -> Result<Proof, Failure> {
    if origin == app.who.domain {
        return Ok(proof(app, &[], origin, signed));
    }
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    Ok(proof(app, &partners, origin, signed))
}

fn proof(app: &App, partners: &[Partner], origin: DomainId, signed: &[u8]) -> Proof {
    let is_own = origin == app.who.domain;
    let key = if is_own { Some(app.signing.public()) } else { key_of(partners, origin) };
    let is_good = key.is_some_and(|key| {
        signed_part(signed).is_ok_and(|(record, signature)| is_signed_by(&key, record, signature))
    });
    if is_good { Proof::Good } else { Proof::Missing }
}
