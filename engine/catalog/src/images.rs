//! The tables `images`, `copies`, `replicas` and `recalls`.

use narrows_domain::catalog::ClientSeen;
use narrows_domain::image::{Content, Discarded, ImageCopy};
use narrows_domain::recall::Recall;
use narrows_domain::{Image, ReplicaRecord};
use narrows_format::image_log::RemoveReason;
use narrows_format::record::{CopyState, ScheduleKind, SignedRecord};
use narrows_format::{ClientId, DomainId, ImageId, PoolId, Sequence};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::Error;
use crate::columns::{Columns, nanos, number};
use crate::upsert::upsert;

pub(crate) async fn put_image(db: &mut SqliteConnection, image: &Image) -> Result<(), Error> {
    let roots = serde_json::to_string(&image.roots)?;
    sqlx::query(upsert!(
        "images",
        ["id"],
        [
            "origin",
            "client",
            "client_name",
            "policy",
            "schedule",
            "started",
            "started_second",
            "classification",
            "lineage",
            "roots",
            "slp",
            "slp_version",
            "state",
            "sender",
            "restorable",
            "signed"
        ]
    ))
    .bind(&image.id.0[..])
    .bind(&image.origin.0[..])
    .bind(&image.client.0[..])
    .bind(&image.client_name)
    .bind(&image.policy)
    .bind(schedule_word(image.schedule))
    .bind(nanos(image.started))
    .bind(image.started.seconds)
    .bind(&image.classification)
    .bind(&image.lineage[..])
    .bind(roots)
    .bind(&image.slp)
    .bind(image.slp_version)
    .bind(image.state.as_str())
    .bind(image.sender.as_ref().map(|sender| &sender.0[..]))
    .bind(image.restorable)
    .bind(image.content.as_ref().map(|content| &content.signed[..]))
    .execute(db)
    .await?;
    Ok(())
}

pub(crate) fn client_seen(row: &SqliteRow) -> Result<ClientSeen, Error> {
    let columns = Columns { table: "images", row };
    Ok(ClientSeen {
        origin: DomainId(columns.bytes("origin")?),
        client_name: columns.text("client_name")?,
        images: columns.count("images")?,
        last_backup: columns.time("last_backup")?,
        last_replica: columns.time_or_null("last_replica")?,
    })
}

pub(crate) fn image(row: &SqliteRow) -> Result<Image, Error> {
    let columns = Columns { table: "images", row };
    let schedule = schedule(&columns.text("schedule")?).ok_or_else(|| columns.corrupt("schedule"))?;
    let mut image = Image {
        id: ImageId(columns.bytes("id")?),
        origin: DomainId(columns.bytes("origin")?),
        client: ClientId(columns.bytes("client")?),
        client_name: columns.text("client_name")?,
        policy: columns.text("policy")?,
        schedule,
        started: columns.time("started")?,
        classification: columns.text("classification")?,
        lineage: columns.bytes("lineage")?,
        roots: columns.json("roots")?,
        slp: columns.text("slp")?,
        slp_version: columns.count("slp_version")?,
        state: columns.word("state")?,
        sender: columns.bytes_or_null("sender")?.map(DomainId),
        restorable: columns.flag("restorable")?,
        content: None,
    };
    if let Some(signed) = columns.blob_or_null("signed")? {
        let record = SignedRecord::decode(&signed).map_err(|_| columns.corrupt("signed"))?.record;
        image.content = Some(Content::of(&record, signed));
    }
    Ok(image)
}

pub(crate) const fn schedule_word(schedule: ScheduleKind) -> &'static str {
    match schedule {
        ScheduleKind::Manual => "manual",
        ScheduleKind::Full => "full",
        ScheduleKind::Incremental => "incremental",
        ScheduleKind::Synthetic => "synthetic",
    }
}

pub(crate) fn schedule(word: &str) -> Option<ScheduleKind> {
    Some(match word {
        "manual" => ScheduleKind::Manual,
        "full" => ScheduleKind::Full,
        "incremental" => ScheduleKind::Incremental,
        "synthetic" => ScheduleKind::Synthetic,
        _ => return None,
    })
}

pub(crate) async fn put_copy(db: &mut SqliteConnection, copy: &ImageCopy) -> Result<(), Error> {
    sqlx::query(upsert!(
        "copies",
        ["image", "number"],
        [
            "pool",
            "incarnation",
            "operation",
            "log_expires",
            "log_locked",
            "log_held",
            "expires",
            "locked",
            "held",
            "next_amend",
            "sequence",
            "stored_bytes",
            "made",
            "discarded",
            "discarded_until",
            "not_before"
        ]
    ))
    .bind(&copy.image.0[..])
    .bind(copy.number)
    .bind(&copy.pool.0[..])
    .bind(number(copy.incarnation))
    .bind(&copy.operation)
    .bind(copy.in_log.expires.map(nanos))
    .bind(copy.in_log.locked_until.map(nanos))
    .bind(copy.in_log.held)
    .bind(copy.wanted.expires.map(nanos))
    .bind(copy.wanted.locked_until.map(nanos))
    .bind(copy.wanted.held)
    .bind(copy.next_amend.map(nanos))
    .bind(number(copy.sequence.0))
    .bind(number(copy.stored_bytes))
    .bind(nanos(copy.made))
    .bind(copy.discarded.map(|discarded| reason_word(discarded.reason)))
    .bind(copy.discarded.map(|discarded| nanos(discarded.until)))
    .bind(copy.not_before.map(nanos))
    .execute(db)
    .await?;
    Ok(())
}

pub(crate) fn copy(row: &SqliteRow) -> Result<ImageCopy, Error> {
    let columns = Columns { table: "copies", row };
    Ok(ImageCopy {
        image: ImageId(columns.bytes("image")?),
        number: columns.count("number")?,
        pool: PoolId(columns.bytes("pool")?),
        incarnation: columns.count("incarnation")?,
        operation: columns.text("operation")?,
        in_log: state_in_log(&columns)?,
        wanted: CopyState {
            expires: columns.time_or_null("expires")?,
            locked_until: columns.time_or_null("locked")?,
            held: columns.flag("held")?,
        },
        next_amend: columns.time_or_null("next_amend")?,
        sequence: Sequence(columns.count("sequence")?),
        stored_bytes: columns.count("stored_bytes")?,
        made: columns.time("made")?,
        discarded: discarded(&columns)?,
        not_before: columns.time_or_null("not_before")?,
    })
}

pub(crate) fn discarded(columns: &Columns<'_>) -> Result<Option<Discarded>, Error> {
    let Some(until) = columns.time_or_null("discarded_until")? else { return Ok(None) };
    let reason = match columns.text("discarded")?.as_str() {
        "expired" => RemoveReason::Expired,
        "deleted" => RemoveReason::Deleted,
        "damaged" => RemoveReason::Damaged,
        _ => return Err(columns.corrupt("discarded")),
    };
    Ok(Some(Discarded { reason, until }))
}

pub(crate) const fn reason_word(reason: RemoveReason) -> &'static str {
    match reason {
        RemoveReason::Expired => "expired",
        RemoveReason::Deleted => "deleted",
        RemoveReason::Damaged => "damaged",
    }
}

/// The columns `log_expires`, `log_locked`, `log_held`.
pub(crate) fn state_in_log(columns: &Columns<'_>) -> Result<CopyState, Error> {
    Ok(CopyState {
        expires: columns.time_or_null("log_expires")?,
        locked_until: columns.time_or_null("log_locked")?,
        held: columns.flag("log_held")?,
    })
}

pub(crate) async fn drop_copy(db: &mut SqliteConnection, image: ImageId, number: u32) -> Result<(), Error> {
    let gone = sqlx::query("DELETE FROM copies WHERE image = ? AND number = ?");
    gone.bind(&image.0[..]).bind(number).execute(db).await?;
    Ok(())
}

pub(crate) async fn put_replica(db: &mut SqliteConnection, replica: &ReplicaRecord) -> Result<(), Error> {
    sqlx::query(upsert!(
        "replicas",
        ["image", "partner", "pool", "incarnation"],
        ["state", "expires", "agreed", "checked", "sequence", "revision"]
    ))
    .bind(&replica.image.0[..])
    .bind(&replica.partner.0[..])
    .bind(&replica.pool.0[..])
    .bind(number(replica.incarnation))
    .bind(replica.state.as_str())
    .bind(replica.expires.map(nanos))
    .bind(replica.agreed.map(nanos))
    .bind(nanos(replica.checked))
    .bind(number(replica.sequence.0))
    .bind(replica.revision)
    .execute(db)
    .await?;
    Ok(())
}

pub(crate) fn replica(row: &SqliteRow) -> Result<ReplicaRecord, Error> {
    let columns = Columns { table: "replicas", row };
    Ok(ReplicaRecord {
        image: ImageId(columns.bytes("image")?),
        partner: DomainId(columns.bytes("partner")?),
        pool: PoolId(columns.bytes("pool")?),
        incarnation: columns.count("incarnation")?,
        state: columns.word("state")?,
        expires: columns.time_or_null("expires")?,
        agreed: columns.time_or_null("agreed")?,
        checked: columns.time("checked")?,
        sequence: Sequence(columns.count("sequence")?),
        revision: columns.count("revision")?,
    })
}

pub(crate) async fn put_recall(db: &mut SqliteConnection, recall: &Recall) -> Result<(), Error> {
    sqlx::query(upsert!("recalls", ["image", "partner"], ["asked"]))
        .bind(&recall.image.0[..])
        .bind(&recall.partner.0[..])
        .bind(nanos(recall.asked))
        .execute(db)
        .await?;
    Ok(())
}

pub(crate) fn recall(row: &SqliteRow) -> Result<Recall, Error> {
    let columns = Columns { table: "recalls", row };
    Ok(Recall {
        image: ImageId(columns.bytes("image")?),
        partner: DomainId(columns.bytes("partner")?),
        asked: columns.time("asked")?,
    })
}
