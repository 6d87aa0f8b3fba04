//! Reads the pool's image log by the durable cursor and brings each record to the primary.

use std::{rc::Rc, time::Duration};

use narrows_domain::{
    Change, Event,
    event::{Logged, PoolEvent},
    image::Discarded,
    import::{Arrival, Proof},
};
use narrows_format::Sequence;
use narrows_pool::images::{self, EventKind, ImageEntry};

use super::{
    desk::{NotDone, ready},
    server::{Plant, Running, Server},
};

const EVENTS_AT_ONCE: usize = 16;
/// The planted importer passes over one record in so many.
const PASSED_OVER: u64 = 3;

/// Runs until the pool is closed or the power is off.
pub(super) async fn run(server: Rc<Server>, running: Rc<Running>) {
    let pool = running.pools[0].clone();
    let mut cursor = server.cursor(&running);
    loop {
        let Ok(events) = pool.events(cursor, EVENTS_AT_ONCE).await else { return };
        if events.is_empty() && pool.event_after(cursor).await.is_err() {
            return;
        }
        for event in events {
            match handle(&server, &running, &event) {
                Ok(()) => cursor = event.sequence,
                Err(NotDone::ReadFrom(expected)) => {
                    cursor = Sequence(expected.0 - 1);
                    break;
                }
                Err(NotDone::Refused(refusal)) => return server.complain(&format!("{event:?}: {refusal}")),
                Err(NotDone::Off) => {
                    running.worlds[0].clock.sleep(Duration::from_secs(1)).await;
                    break;
                }
            }
        }
    }
}

fn handle(server: &Rc<Server>, running: &Running, event: &images::Event) -> Result<(), NotDone> {
    let ((pool, incarnation), sequence) = (running.pools[0].identity(), event.sequence);
    if server.plant == Some(Plant::PassesOver) && sequence.0.is_multiple_of(PASSED_OVER) {
        let passed = Change::Cursor(pool, incarnation, sequence);
        return server.order(|primary, _| Ok(((), ready(primary.put(&[passed])).map(|()| Vec::new())?)));
    }
    let logged = match &event.kind {
        EventKind::Committed(entry) => committed(entry),
        EventKind::Amended(image, copy) => Logged::Amend { image: *image, copy: *copy },
        EventKind::Discarded(image, images::Discarded { reason, until }) => {
            Logged::Discard { image: *image, discarded: Discarded { reason: *reason, until: *until } }
        }
        EventKind::Removed(image) => Logged::Remove { image: *image },
        EventKind::Damaged => {
            server.complain(&format!("record {} of the log is damaged", sequence.0));
            return Err(NotDone::Off);
        }
    };
    server.happened(Event::Pool(PoolEvent { pool, incarnation, sequence, logged }))
}

fn committed(entry: &ImageEntry) -> Logged {
    let record = entry.record.record.clone();
    let (signed, copy, stored_bytes) = (entry.record_bytes.clone(), entry.copy, entry.stored_bytes);
    let Some(sender) = entry.sender else {
        return Logged::Backup { record, signed, copy, stored_bytes };
    };
    let import_slp = Some(entry.target_slp.clone()).filter(|slp| !slp.is_empty());
    let asked_expiry = entry.asked_expiry;
    let arrival = Arrival { record, signed, proof: Proof::Good, sender, import_slp, asked_expiry };
    Logged::Arrival { arrival, copy, stored_bytes }
}
