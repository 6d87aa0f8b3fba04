//! The table `imports`.

use narrows_domain::catalog::EventFilter;
use narrows_domain::import::{Arrival, ArrivedData, Import, ImportKey, ImportState, Proof, RefusedArrival};
use narrows_domain::limits::REFUSALS_KEPT;
use narrows_domain::machine::comparing::Held;
use narrows_domain::operation::Note;
use narrows_format::record::SignedRecord;
use narrows_format::{DomainId, ImageId, PoolId, Sequence};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::Error;
use crate::columns::{Columns, nanos, number};
use crate::file::{Asked, Question, SqliteCatalog};
use crate::images::{discarded, reason_word, state_in_log};
use crate::statements::EVENTS;
use crate::upsert::upsert;

pub(crate) async fn put(db: &mut SqliteConnection, import: &Import) -> Result<(), Error> {
    let arrival = &import.arrival;
    let discarded = import.data.discarded();
    sqlx::query(upsert!(
        "imports",
        ["pool", "sequence", "sender"],
        [
            "incarnation",
            "image",
            "signed",
            "proved",
            "import_slp",
            "slp",
            "asked_expiry",
            "arrived",
            "log_expires",
            "log_locked",
            "log_held",
            "stored_bytes",
            "state",
            "next_step",
            "discarded",
            "discarded_until",
            "gone",
            "next_look",
            "note_code",
            "note",
            "damage",
            "copied_on",
            "expires",
            "revision",
            "told",
            "failures",
            "next_report"
        ]
    ))
    .bind(&import.key.pool.0[..])
    .bind(number(import.key.sequence.0))
    .bind(&import.key.sender.0[..])
    .bind(number(import.incarnation))
    .bind(&arrival.record.image.0[..])
    .bind(&arrival.signed[..])
    .bind(arrival.proof == Proof::Good)
    .bind(arrival.import_slp.as_ref())
    .bind(arrival.slp())
    .bind(arrival.asked_expiry.map(nanos))
    .bind(nanos(import.arrived))
    .bind(import.copy.expires.map(nanos))
    .bind(import.copy.locked_until.map(nanos))
    .bind(import.copy.held)
    .bind(number(import.stored_bytes))
    .bind(import.state.name())
    .bind(import.state.next_step().map(nanos))
    .bind(discarded.map(|discarded| reason_word(discarded.reason)))
    .bind(discarded.map(|discarded| nanos(discarded.until)))
    .bind(import.data == ArrivedData::Gone)
    .bind(import.next_look.map(nanos))
    .bind(import.note.as_ref().map(|note| &note.code))
    .bind(import.note.as_ref().map(|note| &note.sentence))
    .bind(&import.damage)
    .bind(import.copied_on)
    .bind(import.expires.map(nanos))
    .bind(import.revision)
    .bind(import.told)
    .bind(import.failures)
    .bind(import.next_report.map(nanos))
    .execute(db)
    .await?;
    Ok(())
}

/// Asks for the arrivals that fit.
pub(crate) fn events(filter: &EventFilter, limit: u32) -> Question<'static> {
    sqlx::query(EVENTS)
        .bind(filter.image.map(|it| it.0.to_vec()))
        .bind(filter.sender.map(|it| it.0.to_vec()))
        .bind(filter.pool.map(|it| it.0.to_vec()))
        .bind(filter.since.map(nanos))
        .bind(filter.until.map(nanos))
        .bind(filter.pending)
        .bind(limit)
}

pub(crate) fn import(row: &SqliteRow) -> Result<Import, Error> {
    let columns = Columns { table: "imports", row };
    let signed = columns.blob("signed")?;
    let record = SignedRecord::decode(&signed).map_err(|_| columns.corrupt("signed"))?.record;
    let state = ImportState::from_parts(&columns.text("state")?, columns.time_or_null("next_step")?);
    Ok(Import {
        key: ImportKey {
            pool: PoolId(columns.bytes("pool")?),
            sequence: Sequence(columns.count("sequence")?),
            sender: DomainId(columns.bytes("sender")?),
        },
        incarnation: columns.count("incarnation")?,
        arrival: Arrival {
            record,
            signed,
            proof: if columns.flag("proved")? { Proof::Good } else { Proof::Missing },
            sender: DomainId(columns.bytes("sender")?),
            import_slp: columns.text_or_null("import_slp")?,
            asked_expiry: columns.time_or_null("asked_expiry")?,
        },
        arrived: columns.time("arrived")?,
        copy: state_in_log(&columns)?,
        stored_bytes: columns.count("stored_bytes")?,
        state: state.ok_or_else(|| columns.corrupt("state"))?,
        data: match (columns.flag("gone")?, discarded(&columns)?) {
            (true, _) => ArrivedData::Gone,
            (false, Some(discarded)) => ArrivedData::Discarded(discarded),
            (false, None) => ArrivedData::Here,
        },
        next_look: columns.time_or_null("next_look")?,
        note: columns.note()?,
        damage: columns.text_or_null("damage")?,
        copied_on: columns.flag("copied_on")?,
        expires: columns.time_or_null("expires")?,
        revision: columns.count("revision")?,
        told: columns.count("told")?,
        failures: columns.count("failures")?,
        next_report: columns.time_or_null("next_report")?,
    })
}

pub(crate) fn held(row: &SqliteRow) -> Result<Held, Error> {
    let columns = Columns { table: "imports", row };
    Ok(Held {
        image: ImageId(columns.bytes("image")?),
        sequence: Sequence(columns.count("sequence")?),
        revision: columns.count("revision")?,
        expires: columns.time_or_null("log_expires")?,
        is_damaged: columns.flag("damaged")?,
    })
}

const UNPROVEN: &str = "
    SELECT * FROM imports INDEXED BY imports_unproven
    WHERE NOT gone AND ((state = 'refused' AND note_code = 'AIR-012') OR (state IN ('failed', 'given-up') AND NOT proved))
        AND (pool, sequence, sender) > (?1, ?2, ?3)
    ORDER BY pool, sequence, sender LIMIT ?4";

pub(crate) const TRYABLE: &str = "
    SELECT DISTINCT image FROM imports INDEXED BY imports_tryable
    WHERE NOT gone AND (state IN ('pending', 'waiting', 'failed', 'given-up') OR (state = 'refused' AND note_code = 'AIR-012'))
        AND image > ?1
    ORDER BY image LIMIT ?2";

/// Where a portion goes on: every id is behind the empty one. That may be bound to a comparison which an index answers.
pub(crate) fn behind(after: Option<ImageId>) -> Vec<u8> {
    after.map(|image| image.0.to_vec()).unwrap_or_default()
}

impl SqliteCatalog {
    /// Images with arrivals that [may be tried again](Import::may_be_tried), behind this one, in their order.
    pub async fn tryable_images(&self, after: Option<ImageId>, limit: u32) -> Asked<Vec<ImageId>> {
        let query = sqlx::query(TRYABLE).bind(behind(after)).bind(limit);
        self.all(query, |row| Ok(ImageId(Columns { table: "imports", row }.bytes("image")?))).await
    }

    /// Arrivals that [wait for a proof](Import::is_unproven) behind this one, in the order of their keys.
    pub async fn unproven_imports(&self, after: Option<ImportKey>, limit: u32) -> Asked<Vec<Import>> {
        let (pool, sequence, sender) = after.map_or_else(
            || (Vec::new(), -1, Vec::new()),
            |key| (key.pool.0.to_vec(), number(key.sequence.0), key.sender.0.to_vec()),
        );
        let query = sqlx::query(UNPROVEN).bind(pool).bind(sequence).bind(sender).bind(limit);
        self.all(query, import).await
    }
}

const REFUSE: &str = "
    INSERT INTO refusals (image, sender, origin, label, slp, note_code, note, times, last)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
    ON CONFLICT (image, sender) DO UPDATE SET origin = excluded.origin, label = excluded.label, slp = excluded.slp,
        note_code = excluded.note_code, note = excluded.note, times = min(times + excluded.times, ?10), last = excluded.last";

const FORGET_REFUSALS: &str = "
    DELETE FROM refusals WHERE (image, sender) IN (
        SELECT image, sender FROM refusals WHERE sender = ?1 ORDER BY last DESC, image DESC LIMIT -1 OFFSET ?2)";

pub(crate) async fn refuse(db: &mut SqliteConnection, row: &RefusedArrival) -> Result<(), Error> {
    sqlx::query(REFUSE)
        .bind(&row.image.0[..])
        .bind(&row.sender.0[..])
        .bind(&row.origin.0[..])
        .bind(&row.label)
        .bind(&row.slp)
        .bind(&row.note.code)
        .bind(&row.note.sentence)
        .bind(row.times)
        .bind(nanos(row.last))
        .bind(u32::MAX)
        .execute(&mut *db)
        .await?;
    sqlx::query(FORGET_REFUSALS).bind(&row.sender.0[..]).bind(REFUSALS_KEPT).execute(db).await?;
    Ok(())
}

pub(crate) async fn admit(
    db: &mut SqliteConnection,
    (image, sender): (ImageId, DomainId),
) -> Result<(), Error> {
    let gone = sqlx::query("DELETE FROM refusals WHERE image = ? AND sender = ?");
    gone.bind(&image.0[..]).bind(&sender.0[..]).execute(db).await?;
    Ok(())
}

pub(crate) fn refused(row: &SqliteRow) -> Result<RefusedArrival, Error> {
    let columns = Columns { table: "refusals", row };
    Ok(RefusedArrival {
        image: ImageId(columns.bytes("image")?),
        sender: DomainId(columns.bytes("sender")?),
        origin: DomainId(columns.bytes("origin")?),
        label: columns.text("label")?,
        slp: columns.text("slp")?,
        note: Note { code: columns.text("note_code")?, sentence: columns.text("note")? },
        times: columns.count("times")?,
        last: columns.time("last")?,
    })
}
