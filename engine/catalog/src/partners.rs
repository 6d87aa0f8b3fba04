//! The tables `partners` and `partner_lives`.

use std::fmt::Write as _;

use narrows_domain::life::LifeSeen;
use narrows_domain::partner::{Grants, Partner, Reach, ReceivePool};
use narrows_format::{DomainId, PoolId};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::Error;
use crate::columns::{Columns, nanos, number};
use crate::upsert::upsert;

pub(crate) async fn put(db: &mut SqliteConnection, partner: &Partner) -> Result<(), Error> {
    let (since, failures, next_probe, code, sentence) = match &partner.reach {
        Reach::Up => (None, None, None, "", None),
        Reach::Down { since, failures, next_probe, code, sentence } => {
            (Some(nanos(*since)), Some(*failures), Some(nanos(*next_probe)), code.as_str(), Some(sentence))
        }
    };
    let pool = partner.receive_pool.as_ref();
    sqlx::query(upsert!(
        "partners",
        ["domain"],
        [
            "incarnation",
            "name",
            "url",
            "data_address",
            "ca_pem",
            "signing_key",
            "trust",
            "paired",
            "grants",
            "receive_unit",
            "receive_pool",
            "receive_incarnation",
            "pools",
            "down_since",
            "down_failures",
            "next_probe",
            "down_code",
            "down_sentence",
            "skew_ms",
            "heard",
            "paused",
            "draining_since",
            "running_max",
            "dials",
            "dial_window"
        ]
    ))
    .bind(&partner.domain.0[..])
    .bind(number(partner.incarnation))
    .bind(&partner.name)
    .bind(&partner.url)
    .bind(&partner.data_address)
    .bind(&partner.ca_pem)
    .bind(&partner.signing_key[..])
    .bind(partner.trust.as_str())
    .bind(nanos(partner.paired))
    .bind(partner.grants.to_words().join(" "))
    .bind(&partner.receive_unit)
    .bind(pool.map(|pool| &pool.pool.0[..]))
    .bind(pool.map(|pool| number(pool.incarnation)))
    .bind(pools_text(&partner.pools))
    .bind(since)
    .bind(failures)
    .bind(next_probe)
    .bind(code)
    .bind(sentence)
    .bind(partner.skew_ms)
    .bind(partner.heard.map(nanos))
    .bind(partner.paused)
    .bind(partner.draining.map(nanos))
    .bind(partner.running_max)
    .bind(partner.dials.as_str())
    .bind(&partner.dial_window)
    .execute(db)
    .await?;
    Ok(())
}

pub(crate) fn partner(row: &SqliteRow) -> Result<Partner, Error> {
    let columns = Columns { table: "partners", row };
    let grants = Grants::from_words(columns.text("grants")?.split_whitespace());
    let pool = columns.bytes_or_null("receive_pool")?.map(PoolId);
    let incarnation = columns.count_or_null("receive_incarnation")?;
    Ok(Partner {
        domain: DomainId(columns.bytes("domain")?),
        incarnation: columns.count("incarnation")?,
        name: columns.text("name")?,
        url: columns.text("url")?,
        data_address: columns.text("data_address")?,
        ca_pem: columns.text("ca_pem")?,
        signing_key: columns.bytes("signing_key")?,
        trust: columns.word("trust")?,
        paired: columns.time("paired")?,
        grants: grants.ok_or_else(|| columns.corrupt("grants"))?,
        receive_unit: columns.text("receive_unit")?,
        receive_pool: pool.zip(incarnation).map(|(pool, incarnation)| ReceivePool { pool, incarnation }),
        pools: pools(&columns)?,
        reach: reach(&columns)?,
        skew_ms: columns.signed_or_null("skew_ms")?,
        heard: columns.time_or_null("heard")?,
        paused: columns.flag("paused")?,
        draining: columns.time_or_null("draining_since")?,
        running_max: columns.count("running_max")?,
        dials: columns.word("dials")?,
        dial_window: columns.text_or_null("dial_window")?,
    })
}

pub(crate) async fn put_life(db: &mut SqliteConnection, seen: &LifeSeen) -> Result<(), Error> {
    sqlx::query(upsert!("partner_lives", ["partner", "server"], ["life", "since"]))
        .bind(&seen.partner.0[..])
        .bind(&seen.life.server)
        .bind(seen.life.to_string())
        .bind(nanos(seen.since))
        .execute(db)
        .await?;
    Ok(())
}

pub(crate) fn life(row: &SqliteRow) -> Result<LifeSeen, Error> {
    let columns = Columns { table: "partner_lives", row };
    Ok(LifeSeen {
        partner: DomainId(columns.bytes("partner")?),
        life: columns.word("life")?,
        since: columns.time("since")?,
    })
}

/// A list of texts: the pool as SQL's `hex` writes it, a colon, its incarnation.
pub(crate) fn pools_text(pools: &[ReceivePool]) -> String {
    let text = |it: &ReceivePool| {
        let mut text = it.pool.0.iter().fold(String::with_capacity(40), |mut text, byte| {
            // Writing to a String does not fail.
            let _ = write!(text, "{byte:02X}");
            text
        });
        let _ = write!(text, ":{}", number(it.incarnation));
        text
    };
    serde_json::Value::from(pools.iter().map(text).collect::<Vec<_>>()).to_string()
}

fn pools(columns: &Columns<'_>) -> Result<Vec<ReceivePool>, Error> {
    let texts: Vec<String> = columns.json("pools")?;
    let pool = |text: &String| {
        let (digits, incarnation) = text.split_once(':')?;
        let mut pool = [0; 16];
        if digits.len() != 32 || !digits.is_ascii() {
            return None;
        }
        for (byte, at) in pool.iter_mut().zip((0..32).step_by(2)) {
            *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
        }
        Some(ReceivePool { pool: PoolId(pool), incarnation: incarnation.parse().ok()? })
    };
    texts.iter().map(pool).collect::<Option<_>>().ok_or_else(|| columns.corrupt("pools"))
}

fn reach(columns: &Columns<'_>) -> Result<Reach, Error> {
    let Some(since) = columns.time_or_null("down_since")? else { return Ok(Reach::Up) };
    Ok(Reach::Down {
        since,
        failures: columns.count("down_failures")?,
        next_probe: columns.time("next_probe")?,
        code: columns.text("down_code")?,
        sentence: columns.text("down_sentence")?,
    })
}
