//! The tables `slps`, `slp_holds`, `auto_slps`, `windows`, `classifications` and `policies`.

use narrows_domain::auto_import::AutoSlp;
use narrows_domain::catalog::SlpUse;
use narrows_domain::policy::{self, StoredPolicy};
use narrows_domain::slp::read::{Format, parse, to_json};
use narrows_domain::slp::{ResolvedTarget, SlpHold, SlpVersion};
use narrows_domain::storage::Classification;
use narrows_domain::window::Window;
use narrows_format::DomainId;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::Error;
use crate::columns::{Columns, nanos};
use crate::upsert::upsert;

/// The third word of a target that was checked by itself.
const CHECKED: &str = "checked";

pub(crate) async fn put_slp(db: &mut SqliteConnection, version: &SlpVersion) -> Result<(), Error> {
    let written = |it: &ResolvedTarget| {
        let checked = it.checked.then(|| CHECKED.to_owned());
        [it.name.clone(), it.domain.to_string()].into_iter().chain(checked).collect::<Vec<_>>()
    };
    let targets: Vec<_> = version.targets.iter().map(written).collect();
    sqlx::query(upsert!("slps", ["name", "version"], ["text", "made", "targets", "verified"]))
        .bind(&version.slp.name)
        .bind(version.version)
        .bind(to_json(&version.slp))
        .bind(nanos(version.made))
        .bind(serde_json::to_string(&targets)?)
        .bind(version.verified)
        .execute(db)
        .await?;
    Ok(())
}

pub(crate) fn slp(row: &SqliteRow) -> Result<SlpVersion, Error> {
    let columns = Columns { table: "slps", row };
    let named: Vec<Vec<String>> = columns.json("targets")?;
    let mut targets = Vec::with_capacity(named.len());
    for words in named {
        let [name, domain, rest @ ..] = &words[..] else { return Err(columns.corrupt("targets")) };
        let domain = domain.parse().map_err(|_| columns.corrupt("targets"))?;
        let checked = match rest {
            [] => false,
            [word] if word == CHECKED => true,
            _ => return Err(columns.corrupt("targets")),
        };
        targets.push(ResolvedTarget { name: name.clone(), domain, checked });
    }
    Ok(SlpVersion {
        slp: parse(&columns.text("text")?, Format::Json).map_err(|_| columns.corrupt("text"))?,
        version: columns.count("version")?,
        made: columns.time("made")?,
        targets,
        verified: columns.flag("verified")?,
    })
}

pub(crate) async fn put_hold(db: &mut SqliteConnection, hold: &SlpHold) -> Result<(), Error> {
    sqlx::query(upsert!("slp_holds", ["slp"], ["until"]))
        .bind(&hold.slp)
        .bind(hold.until.map(nanos))
        .execute(db)
        .await?;
    Ok(())
}

pub(crate) fn hold(row: &SqliteRow) -> Result<SlpHold, Error> {
    let columns = Columns { table: "slp_holds", row };
    Ok(SlpHold { slp: columns.text("slp")?, until: columns.time_or_null("until")? })
}

pub(crate) async fn put_auto(db: &mut SqliteConnection, made: &AutoSlp) -> Result<(), Error> {
    sqlx::query(upsert!("auto_slps", ["slp"], ["partner"]))
        .bind(&made.slp)
        .bind(&made.partner.0[..])
        .execute(db)
        .await?;
    Ok(())
}

pub(crate) fn auto(row: &SqliteRow) -> Result<AutoSlp, Error> {
    let columns = Columns { table: "auto_slps", row };
    Ok(AutoSlp { slp: columns.text("slp")?, partner: DomainId(columns.bytes("partner")?) })
}

pub(crate) async fn put_window(db: &mut SqliteConnection, window: &Window) -> Result<(), Error> {
    sqlx::query(upsert!("windows", ["name"], ["text"]))
        .bind(&window.name)
        .bind(serde_json::to_string(window)?)
        .execute(db)
        .await?;
    Ok(())
}

pub(crate) fn window(row: &SqliteRow) -> Result<Window, Error> {
    Columns { table: "windows", row }.json("text")
}

pub(crate) async fn put_classification(db: &mut SqliteConnection, row: &Classification) -> Result<(), Error> {
    sqlx::query(upsert!("classifications", ["name"], ["rank"]))
        .bind(&row.name)
        .bind(row.rank)
        .execute(db)
        .await?;
    Ok(())
}

pub(crate) fn classification(row: &SqliteRow) -> Result<Classification, Error> {
    let columns = Columns { table: "classifications", row };
    Ok(Classification { name: columns.text("name")?, rank: columns.count("rank")? })
}

pub(crate) fn slp_use(row: &SqliteRow) -> Result<SlpUse, Error> {
    let columns = Columns { table: "operations", row };
    Ok(SlpUse {
        version: columns.count("version")?,
        partner: columns.bytes_or_null("partner")?.map(DomainId),
        images: columns.count("images")?,
    })
}

pub(crate) async fn put_policy(db: &mut SqliteConnection, stored: &StoredPolicy) -> Result<(), Error> {
    sqlx::query(upsert!("policies", ["name"], ["text", "windows", "paused", "made", "next_look"]))
        .bind(&stored.policy.name)
        .bind(policy::read::to_json(&stored.policy))
        .bind(serde_json::to_string(&stored.windows)?)
        .bind(stored.is_paused)
        .bind(nanos(stored.made))
        .bind(stored.next_look.map(nanos))
        .execute(db)
        .await?;
    Ok(())
}

pub(crate) fn stored_policy(row: &SqliteRow) -> Result<StoredPolicy, Error> {
    let columns = Columns { table: "policies", row };
    let text = columns.text("text")?;
    Ok(StoredPolicy {
        policy: policy::parse(&text, Format::Json).map_err(|_| columns.corrupt("text"))?,
        windows: columns.json("windows")?,
        is_paused: columns.flag("paused")?,
        made: columns.time("made")?,
        next_look: columns.time_or_null("next_look")?,
    })
}
