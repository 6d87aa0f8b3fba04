//! Reads each pool's image log by a durable cursor and brings each record to the control task.
//!
//! Guarantee: every record is handled once and in order, whatever crashes: the cursor is stored in the
//! same transaction as what followed from the record. What can never be handled is listed as failed and
//! passed; what may be handled later is tried again, and what is behind it waits. It waits for the log without asking again and again.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use narrows_api::error::codes;
use narrows_domain::{
    Catalog as _, Change, Event,
    event::{Logged, PoolEvent},
    image::Discarded,
    import::{Arrival, Proof},
    operation::Note,
    partner::Partner,
};
use narrows_format::{DomainId, Sequence, record::codec::signed_part};
use narrows_pool::images::{self, Event as LogEvent, EventKind, ImageEntry};
use tokio::task::JoinSet;

use crate::{
    api::{App, answer::Failure},
    control::Taken,
    limits::EVENTS_AT_ONCE,
    pki::signing::is_signed_by,
    pools::OpenPool,
};

/// Follows the log of each pool that is open, or comes to be, until the data plane or the control task has gone.
pub async fn run(app: App) {
    let mut changes = app.pools.changes();
    let (mut following, mut tasks) = (BTreeSet::new(), JoinSet::new());
    loop {
        changes.borrow_and_update();
        for pool in app.pools.open_ones() {
            if following.insert(pool.pool) {
                let app = app.clone();
                tasks.spawn(async move {
                    follow_pool(app, &pool).await;
                    pool
                });
            }
        }
        tokio::select! {
            // None of them ends while its pool is open, unless it panics.
            Some(ended) = tasks.join_next() => match ended {
                // It was left, and may have been opened anew.
                Ok(pool) if !app.pools.is_this_open(&pool) => drop(following.remove(&pool.pool)),
                Ok(_) if tasks.is_empty() => return,
                Ok(_) => {}
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => return,
            },
            outcome = changes.changed() => if outcome.is_err() { return },
        }
    }
}

async fn follow_pool(app: App, pool: &Arc<OpenPool>) {
    let mut cursor = match app.catalog.cursor(pool.pool, pool.incarnation).await {
        Ok(cursor) => cursor,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the cursor can't be read");
            Sequence(0)
        }
    };
    pool.reached.send_replace(cursor);
    while app.pools.is_this_open(pool) {
        match follow(&app, pool, cursor).await {
            Ok(Some(reached)) => {
                cursor = reached;
                pool.reached.send_replace(reached);
            }
            Ok(None) => return,
            Err(_) if !app.pools.is_this_open(pool) => return,
            Err(Failure(error)) => {
                tracing::error!(%error, "an image log record could not be handled; it is tried again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Handles what is behind `cursor`, or waits for something; `None` when the pool is closed.
async fn follow(app: &App, pool: &OpenPool, cursor: Sequence) -> Result<Option<Sequence>, Failure> {
    let log = app.plane.pool(pool.pool);
    let events = log.events(cursor, EVENTS_AT_ONCE).await?;
    if events.is_empty() {
        return match log.event_after(cursor).await {
            Ok(_) => Ok(Some(cursor)),
            Err(narrows_pool::Error::Closed) => Ok(None),
            Err(error) => Err(crate::plane::failure(&error)),
        };
    }
    let mut reached = cursor;
    for event in events {
        let sequence = event.sequence;
        let (pool, incarnation) = (pool.pool, pool.incarnation);
        if let Some(logged) = logged(app, event).await? {
            let event = PoolEvent { pool, incarnation, sequence, logged };
            match app.control.logged(Event::Pool(event.clone())).await? {
                Taken::Done => {}
                Taken::ReadFrom(expected) => return Ok(Some(Sequence(expected.0.saturating_sub(1)))),
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

async fn logged(app: &App, event: LogEvent) -> Result<Option<Logged>, Failure> {
    Ok(match event.kind {
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

/// Whether the origin signed the record, by the key that is known here.
pub async fn prove(app: &App, origin: DomainId, signed: &[u8]) -> Result<Proof, Failure> {
    let key = if origin == app.who.domain {
        Some(app.signing.public())
    } else {
        let partners = app.catalog.partners().await;
        key_of(&partners.map_err(|error| crate::api::answer::internal(&error))?, origin)
    };
    let is_good = key.is_some_and(|key| {
        signed_part(signed).is_ok_and(|(record, signature)| is_signed_by(&key, record, signature))
    });
    Ok(if is_good { Proof::Good } else { Proof::Missing })
}
