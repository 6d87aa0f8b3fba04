//! The table `operations`.

use narrows_domain::barrier::Part;
use narrows_domain::catalog::BacklogLine;
use narrows_domain::operation::{Operation, OperationKey, OperationState, Target};
use narrows_format::{DomainId, ImageId, PoolId};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::Error;
use crate::columns::{Columns, nanos, number};
use crate::upsert::upsert;

pub(crate) async fn put(db: &mut SqliteConnection, operation: &Operation) -> Result<(), Error> {
    let target = operation.target.as_ref();
    sqlx::query(upsert!(
        "operations",
        ["image", "ordinal"],
        [
            "name",
            "kind",
            "partner",
            "import_slp",
            "expires",
            "priority",
            "age",
            "state",
            "detail",
            "since",
            "due",
            "pending_since",
            "attempt",
            "failures",
            "next_try",
            "behind",
            "note_code",
            "note",
            "wire_bytes",
            "released",
            "unit",
            "pool"
        ]
    ))
    .bind(&operation.key.image.0[..])
    .bind(operation.key.ordinal)
    .bind(&operation.name)
    .bind(operation.kind.as_str())
    .bind(target.map(|target| &target.partner.0[..]))
    .bind(target.and_then(|target| target.import_slp.as_ref()))
    .bind(operation.expires.map(nanos))
    .bind(operation.priority)
    .bind(nanos(operation.age))
    .bind(operation.state.name())
    .bind(operation.state.detail())
    .bind(nanos(operation.since))
    .bind(nanos(operation.due))
    .bind(operation.pending_since.map(nanos))
    .bind(operation.attempt)
    .bind(operation.failures)
    .bind(operation.next_try.map(nanos))
    .bind(operation.behind.as_ref().map(Part::as_str))
    .bind(operation.note.as_ref().map(|note| &note.code))
    .bind(operation.note.as_ref().map(|note| &note.sentence))
    .bind(number(operation.wire_bytes))
    .bind(&operation.released)
    .bind(&operation.unit)
    .bind(operation.pool.map(|pool| pool.0.to_vec()))
    .execute(db)
    .await?;
    Ok(())
}

pub(crate) fn backlog_line(row: &SqliteRow) -> Result<BacklogLine, Error> {
    let columns = Columns { table: "operations", row };
    let state = OperationState::from_parts(&columns.text("state")?, &columns.text("detail")?);
    Ok(BacklogLine {
        partner: DomainId(columns.bytes("partner")?),
        state: state.ok_or_else(|| columns.corrupt("state"))?,
        operations: columns.count("operations")?,
        oldest: columns.time("oldest")?,
    })
}

pub(crate) fn unit_jobs(row: &SqliteRow) -> Result<(String, u32), Error> {
    let columns = Columns { table: "operations", row };
    Ok((columns.text("unit")?, columns.count("jobs")?))
}

pub(crate) fn operation(row: &SqliteRow) -> Result<Operation, Error> {
    let columns = Columns { table: "operations", row };
    let state = OperationState::from_parts(&columns.text("state")?, &columns.text("detail")?);
    let import_slp = columns.text_or_null("import_slp")?;
    let partner = columns.bytes_or_null("partner")?.map(DomainId);
    Ok(Operation {
        key: OperationKey { image: ImageId(columns.bytes("image")?), ordinal: columns.count("ordinal")? },
        name: columns.text("name")?,
        kind: columns.word("kind")?,
        target: partner.map(|partner| Target { partner, import_slp }),
        expires: columns.time_or_null("expires")?,
        priority: columns.count("priority")?,
        age: columns.time("age")?,
        state: state.ok_or_else(|| columns.corrupt("state"))?,
        since: columns.time("since")?,
        due: columns.time("due")?,
        pending_since: columns.time_or_null("pending_since")?,
        attempt: columns.count("attempt")?,
        failures: columns.count("failures")?,
        next_try: columns.time_or_null("next_try")?,
        behind: columns.text_or_null("behind")?.map(Part::stored),
        note: columns.note()?,
        wire_bytes: columns.count("wire_bytes")?,
        released: columns.text_or_null("released")?,
        unit: columns.text_or_null("unit")?,
        pool: columns.bytes_or_null("pool")?.map(PoolId),
    })
}
