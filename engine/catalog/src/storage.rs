//! The tables `pools`, `media_servers`, `storage_units`, `storage_unit_groups`, `replication_targets`, `clients`, `client_aliases`,
//! `tokens`, `cursors`, `marks` and `reconciling`.

use narrows_domain::catalog::Reconciling;
use narrows_domain::limits::TOKENS_KEPT;
use narrows_domain::moment::before;
use narrows_domain::storage::{
    Client, ClientAlias, Issued, LockRange, MediaServer, Pool, ReplicationTarget, StorageUnit,
    StorageUnitGroup,
};
use narrows_domain::token::{Token, TokenHash};
use narrows_format::{ClientId, DomainId, PoolId, Sequence, ServerId, Timestamp};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::Error;
use crate::columns::{Columns, nanos, number, time};
use crate::upsert::upsert;

pub(crate) async fn put_pool(db: &mut SqliteConnection, pool: &Pool) -> Result<(), Error> {
    sqlx::query(upsert!(
        "pools",
        ["id"],
        [
            "incarnation",
            "name",
            "spanning",
            "lock_at_least",
            "lock_at_most",
            "directories",
            "keep_free",
            "high_water",
            "low_water",
            "water_is_set",
            "removed_bytes",
            "server",
            "bandwidth"
        ]
    ))
    .bind(&pool.id.0[..])
    .bind(number(pool.incarnation))
    .bind(&pool.name)
    .bind(pool.spanning)
    .bind(pool.lock.map(|range| range.at_least.to_string()))
    .bind(pool.lock.map(|range| range.at_most.to_string()))
    .bind(serde_json::Value::from(pool.directories.clone()).to_string())
    .bind(number(pool.keep_free))
    .bind(pool.high_water)
    .bind(pool.low_water)
    .bind(pool.water_is_set)
    .bind(number(pool.removed_bytes))
    .bind(pool.server.map(|server| server.0.to_vec()))
    .bind(pool.bandwidth.map(number))
    .execute(db)
    .await?;
    Ok(())
}

pub(crate) fn pool(row: &SqliteRow) -> Result<Pool, Error> {
    let columns = Columns { table: "pools", row };
    let (at_least, at_most) = (columns.word_or_null("lock_at_least")?, columns.word_or_null("lock_at_most")?);
    Ok(Pool {
        id: PoolId(columns.bytes("id")?),
        incarnation: columns.count("incarnation")?,
        name: columns.text("name")?,
        spanning: columns.flag("spanning")?,
        server: columns.bytes_or_null("server")?.map(ServerId),
        lock: at_least.zip(at_most).map(|(at_least, at_most)| LockRange { at_least, at_most }),
        directories: columns.json("directories")?,
        keep_free: columns.count("keep_free")?,
        high_water: columns.count("high_water")?,
        low_water: columns.count("low_water")?,
        water_is_set: columns.flag("water_is_set")?,
        removed_bytes: columns.count("removed_bytes")?,
        bandwidth: columns.count_or_null("bandwidth")?,
    })
}

pub(crate) async fn put_server(db: &mut SqliteConnection, server: &MediaServer) -> Result<(), Error> {
    sqlx::query(upsert!(
        "media_servers",
        ["id"],
        ["name", "url", "data_address", "serial", "joined", "draining", "certificate_until"]
    ))
    .bind(&server.id.0[..])
    .bind(&server.name)
    .bind(&server.url)
    .bind(&server.data_address)
    .bind(&server.serial)
    .bind(nanos(server.joined))
    .bind(server.draining.map(nanos))
    .bind(server.certificate_until.map(nanos))
    .execute(db)
    .await?;
    Ok(())
}

/// The name is unique and pools refer to their server: the former one lets go of the first, then of the second.
pub(crate) async fn put_server_instead(
    db: &mut SqliteConnection,
    former: ServerId,
    server: &MediaServer,
) -> Result<(), Error> {
    let renamed = sqlx::query("UPDATE media_servers SET name = '/' || hex(id) WHERE id = ?");
    renamed.bind(&former.0[..]).execute(&mut *db).await?;
    put_server(&mut *db, server).await?;
    let moved = sqlx::query("UPDATE pools SET server = ? WHERE server = ?");
    moved.bind(&server.id.0[..]).bind(&former.0[..]).execute(&mut *db).await?;
    sqlx::query("DELETE FROM media_servers WHERE id = ?").bind(&former.0[..]).execute(db).await?;
    Ok(())
}

pub(crate) async fn drop_server(db: &mut SqliteConnection, id: ServerId) -> Result<(), Error> {
    for statement in [
        "DELETE FROM replication_targets WHERE pool IN (SELECT id FROM pools WHERE server = ?)",
        "DELETE FROM rooms_seen WHERE pool IN (SELECT id FROM pools WHERE server = ?)",
        "DELETE FROM cursors WHERE pool IN (SELECT id FROM pools WHERE server = ?)",
        "DELETE FROM pools WHERE server = ?",
        "DELETE FROM media_servers WHERE id = ?",
    ] {
        sqlx::query(statement).bind(&id.0[..]).execute(&mut *db).await?;
    }
    Ok(())
}

pub(crate) fn server(row: &SqliteRow) -> Result<MediaServer, Error> {
    let columns = Columns { table: "media_servers", row };
    Ok(MediaServer {
        id: ServerId(columns.bytes("id")?),
        name: columns.text("name")?,
        url: columns.text("url")?,
        data_address: columns.text("data_address")?,
        serial: columns.text("serial")?,
        joined: columns.time("joined")?,
        draining: columns.time_or_null("draining")?,
        certificate_until: columns.time_or_null("certificate_until")?,
    })
}

pub(crate) fn pool_copies(row: &SqliteRow) -> Result<(PoolId, u64), Error> {
    let columns = Columns { table: "copies", row };
    Ok((PoolId(columns.bytes("pool")?), columns.count("copies")?))
}

pub(crate) async fn put_unit(db: &mut SqliteConnection, unit: &StorageUnit) -> Result<(), Error> {
    sqlx::query(upsert!("storage_units", ["name"], ["pool", "jobs_max"]))
        .bind(&unit.name)
        .bind(&unit.pool.0[..])
        .bind(unit.jobs_max)
        .execute(db)
        .await?;
    Ok(())
}

pub(crate) fn unit(row: &SqliteRow) -> Result<StorageUnit, Error> {
    let columns = Columns { table: "storage_units", row };
    Ok(StorageUnit {
        name: columns.text("name")?,
        pool: PoolId(columns.bytes("pool")?),
        jobs_max: columns.count_or_null("jobs_max")?,
    })
}

pub(crate) async fn put_group(db: &mut SqliteConnection, group: &StorageUnitGroup) -> Result<(), Error> {
    sqlx::query(upsert!("storage_unit_groups", ["name"], ["units", "rule", "last"]))
        .bind(&group.name)
        .bind(serde_json::to_string(&group.units)?)
        .bind(group.rule.as_str())
        .bind(&group.last)
        .execute(db)
        .await?;
    Ok(())
}

pub(crate) fn group(row: &SqliteRow) -> Result<StorageUnitGroup, Error> {
    let columns = Columns { table: "storage_unit_groups", row };
    Ok(StorageUnitGroup {
        name: columns.text("name")?,
        units: columns.json("units")?,
        rule: columns.word("rule")?,
        last: columns.text_or_null("last")?,
    })
}

pub(crate) async fn put_target(db: &mut SqliteConnection, target: &ReplicationTarget) -> Result<(), Error> {
    sqlx::query(upsert!(
        "replication_targets",
        ["pool", "partner"],
        ["unit", "bandwidth", "schedule", "weight", "direction", "unlike"]
    ))
    .bind(&target.pool.0[..])
    .bind(&target.partner.0[..])
    .bind(&target.unit)
    .bind(target.bandwidth.map(number))
    .bind(serde_json::to_string(&target.schedule)?)
    .bind(target.weight)
    .bind(target.direction.as_str())
    .bind(&target.unlike)
    .execute(db)
    .await?;
    Ok(())
}

pub(crate) async fn drop_target(
    db: &mut SqliteConnection,
    pool: PoolId,
    partner: DomainId,
) -> Result<(), Error> {
    let gone = sqlx::query("DELETE FROM replication_targets WHERE pool = ? AND partner = ?");
    gone.bind(&pool.0[..]).bind(&partner.0[..]).execute(db).await?;
    Ok(())
}

pub(crate) fn target(row: &SqliteRow) -> Result<ReplicationTarget, Error> {
    let columns = Columns { table: "replication_targets", row };
    Ok(ReplicationTarget {
        pool: PoolId(columns.bytes("pool")?),
        partner: DomainId(columns.bytes("partner")?),
        unit: columns.text("unit")?,
        bandwidth: columns.count_or_null("bandwidth")?,
        schedule: columns.json("schedule")?,
        weight: columns.count("weight")?,
        direction: columns.word("direction")?,
        unlike: columns.text_or_null("unlike")?,
    })
}

pub(crate) async fn put_client(db: &mut SqliteConnection, client: &Client) -> Result<(), Error> {
    sqlx::query(upsert!(
        "clients",
        ["id"],
        ["name", "serial", "enrolled", "revoked", "former", "until", "still_believed", "restore_any"]
    ))
    .bind(&client.id.0[..])
    .bind(&client.name)
    .bind(&client.serial)
    .bind(nanos(client.enrolled))
    .bind(client.revoked.map(nanos))
    .bind(certificates(&client.former)?)
    .bind(client.until.map(nanos))
    .bind(certificates(&client.still_believed)?)
    .bind(client.restore_any)
    .execute(db)
    .await?;
    Ok(())
}

fn certificates(all: &[Issued]) -> Result<String, Error> {
    let pairs: Vec<_> = all.iter().map(|issued| (&issued.serial, nanos(issued.until))).collect();
    Ok(serde_json::to_string(&pairs)?)
}

fn issued(pairs: Vec<(String, i64)>) -> Vec<Issued> {
    pairs.into_iter().map(|(serial, until)| Issued { serial, until: time(until) }).collect()
}

pub(crate) fn client(row: &SqliteRow) -> Result<Client, Error> {
    let columns = Columns { table: "clients", row };
    Ok(Client {
        id: ClientId(columns.bytes("id")?),
        name: columns.text("name")?,
        serial: columns.text("serial")?,
        enrolled: columns.time("enrolled")?,
        revoked: columns.time_or_null("revoked")?,
        until: columns.time_or_null("until")?,
        still_believed: issued(columns.json("still_believed")?),
        former: issued(columns.json("former")?),
        restore_any: columns.flag("restore_any")?,
    })
}

pub(crate) async fn put_alias(db: &mut SqliteConnection, alias: &ClientAlias) -> Result<(), Error> {
    sqlx::query(upsert!("client_aliases", ["client", "name", "since"], ["until"]))
        .bind(&alias.client.0[..])
        .bind(&alias.name)
        .bind(nanos(alias.from))
        .bind(nanos(alias.until))
        .execute(db)
        .await?;
    Ok(())
}

pub(crate) fn alias(row: &SqliteRow) -> Result<ClientAlias, Error> {
    let columns = Columns { table: "client_aliases", row };
    Ok(ClientAlias {
        client: ClientId(columns.bytes("client")?),
        name: columns.text("name")?,
        from: columns.time("since")?,
        until: columns.time("until")?,
    })
}

pub(crate) async fn put_token(db: &mut SqliteConnection, token: &Token) -> Result<(), Error> {
    sqlx::query(upsert!("tokens", ["hash"], ["purpose", "subject", "made", "expires", "used"]))
        .bind(&token.hash.0[..])
        .bind(token.purpose.as_str())
        .bind(&token.subject)
        .bind(nanos(token.made))
        .bind(nanos(token.expires))
        .bind(token.used.map(nanos))
        .execute(&mut *db)
        .await?;
    let old = sqlx::query("DELETE FROM tokens WHERE expires < ?");
    old.bind(nanos(before(token.made, TOKENS_KEPT))).execute(db).await?;
    Ok(())
}

pub(crate) async fn use_token(
    db: &mut SqliteConnection,
    hash: TokenHash,
    now: Timestamp,
) -> Result<(), Error> {
    let used = sqlx::query("UPDATE tokens SET used = ? WHERE hash = ?");
    used.bind(nanos(now)).bind(&hash.0[..]).execute(db).await?;
    Ok(())
}

pub(crate) fn token(row: &SqliteRow) -> Result<Token, Error> {
    let columns = Columns { table: "tokens", row };
    Ok(Token {
        hash: TokenHash(columns.bytes("hash")?),
        purpose: columns.word("purpose")?,
        subject: columns.text("subject")?,
        made: columns.time("made")?,
        expires: columns.time("expires")?,
        used: columns.time_or_null("used")?,
    })
}

pub(crate) async fn put_cursor(
    db: &mut SqliteConnection,
    pool: PoolId,
    incarnation: u64,
    sequence: Sequence,
) -> Result<(), Error> {
    sqlx::query(upsert!("cursors", ["pool", "incarnation"], ["sequence"]))
        .bind(&pool.0[..])
        .bind(number(incarnation))
        .bind(number(sequence.0))
        .execute(db)
        .await?;
    Ok(())
}

pub(crate) fn cursor(row: &SqliteRow) -> Result<Sequence, Error> {
    Ok(Sequence(Columns { table: "cursors", row }.count("sequence")?))
}

pub(crate) fn mark(row: &SqliteRow) -> Result<u64, Error> {
    Columns { table: "marks", row }.count("mark")
}

pub(crate) fn reconciling(row: &SqliteRow) -> Result<Reconciling, Error> {
    let columns = Columns { table: "reconciling", row };
    Ok(Reconciling { since: columns.time("since")?, why: columns.text("why")? })
}
