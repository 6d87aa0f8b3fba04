//! `pool damage|scrub|heal`.

use std::time::Duration;

use narrows_api::{
    damage::{DamageInfo, DamageOrder, HealInfo, HealRequest, PassInfo, ScrubRequest},
    paths,
};

use super::Session;
use crate::{
    api::{Api, filled},
    failure::{Failure, Outcome},
    output::{bytes, counted, time},
};

/// How often it is asked whether an order is done.
const LOOK: Duration = Duration::from_millis(300);

pub(super) async fn show(session: &Session, api: &Api, pool: &str) -> Outcome<()> {
    let info: DamageInfo = api.get(&filled(paths::POOL_DAMAGE, pool), &()).await?;
    session.style.show(&info, shown)
}

pub(super) async fn scrub(
    session: &Session,
    api: &Api,
    (pool, wait): (&str, bool),
    request: ScrubRequest,
) -> Outcome<()> {
    let given: DamageOrder = api.post(&filled(paths::POOL_SCRUB, pool), &request).await?;
    end(session, api, (pool, wait), &given).await
}

pub(super) async fn heal(
    session: &Session,
    api: &Api,
    (pool, wait): (&str, bool),
    from: Option<String>,
) -> Outcome<()> {
    let given: DamageOrder = api.post(&filled(paths::POOL_HEAL, pool), &HealRequest { from }).await?;
    end(session, api, (pool, wait), &given).await
}

/// What came of an order, or that it was given.
async fn end(session: &Session, api: &Api, (pool, wait): (&str, bool), given: &DamageOrder) -> Outcome<()> {
    let path = filled(paths::POOL_DAMAGE, pool);
    if !wait {
        return session.style.show(given, |_| {
            format!(
                "pool {pool}: it goes on in the server; `narrowsctl pool damage {pool}` says how far it is"
            )
        });
    }
    let mut info: DamageInfo = api.get(&path, &()).await?;
    let bar = session.style.bar("scrub", Some(info.bytes));
    while info.done < given.order {
        if let Some(pass) = &info.pass {
            bar.set_position(pass.bytes);
        }
        bar.set_message(info.doing.clone());
        tokio::time::sleep(LOOK).await;
        info = api.get(&path, &()).await?;
    }
    bar.finish_and_clear();
    session.style.show(&info, shown)?;
    if !info.failed.is_empty() {
        return Err(Failure::new(&info.code, format!("pool `{pool}`: {}", info.failed)));
    }
    if info.damaged_images == 0 {
        return Ok(());
    }
    let sentence = format!("damaged in pool `{pool}`: {}", counted(info.damaged_images, "image", "images"));
    let help = "let a partner that holds them grant `heal` there: `narrowsctl domain grant`";
    Err(Failure::new("POOL-001", sentence).help(help))
}

fn shown(info: &DamageInfo) -> String {
    let mut lines = vec![format!("pool         {}", info.pool)];
    if !info.doing.is_empty() {
        lines.push(format!("under way    {}", info.doing));
    }
    if !info.failed.is_empty() {
        lines.push(format!("failed       {}", info.failed));
    }
    match (&info.pass, &info.last) {
        (Some(pass), _) => lines.push(format!("scrub        {}, of {}", passed(pass), bytes(info.bytes))),
        (None, Some(pass)) => lines.push(format!("last scrub   {}", passed(pass))),
        (None, None) => lines.push("last scrub   none yet".to_owned()),
    }
    lines.push(match (info.damaged_images, info.quarantined_containers) {
        (0, 0) => "damage       none".to_owned(),
        (0, count) => {
            let containers = counted(count, "container is", "containers are");
            format!("damage       none that hurts an image; {containers} in quarantine in part")
        }
        (images, _) => format!(
            "damage       {}, {}",
            counted(images, "image", "images"),
            counted(info.damaged, "place", "places")
        ),
    });
    lines.extend(info.images.iter().map(|image| format!("  image      {image}")));
    lines.extend(info.places.iter().map(|place| format!("  place      {place}")));
    lines.extend(info.healed.iter().map(attempt));
    lines.join("\n")
}

fn attempt(heal: &HealInfo) -> String {
    let HealInfo { label, from, data_bytes, code, why, .. } = heal;
    match (why.as_str(), code.as_str()) {
        ("", _) => format!("healed       {label} from {from}: {} came", bytes(*data_bytes)),
        (why, "") => format!("not healed   {label}: {why}"),
        (why, code) => format!("not healed   {label}: {from} says {code}: {why}"),
    }
}

fn passed(pass: &PassInfo) -> String {
    let when = match pass.ended {
        Some(ended) => format!("ended {}", time(ended)),
        None => format!("began {}", time(pass.began)),
    };
    let deep = if pass.deep { ", deep" } else { "" };
    let stray = match pass.stray {
        0 => String::new(),
        count => format!(
            ", {} not as written",
            counted(count, "place without content is", "places without content are")
        ),
    };
    let unread = match pass.unread {
        0 => String::new(),
        count => format!(", {} could not be read", counted(count, "container", "containers")),
    };
    let damaged = counted(pass.damaged, "damaged place", "damaged places");
    format!("{when}{deep}: {} read, {damaged}{stray}{unread}", bytes(pass.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_shown_with_who_refused() {
        let heal = HealInfo {
            image: String::new(),
            label: "web01_17".into(),
            from: "dr".into(),
            data_bytes: 0,
            code: "AUTH-005".into(),
            why: "not granted".into(),
        };
        assert_eq!(attempt(&heal), "not healed   web01_17: dr says AUTH-005: not granted");
        let healed = HealInfo { code: String::new(), why: String::new(), data_bytes: 2048, ..heal };
        assert!(attempt(&healed).starts_with("healed       web01_17 from dr: 2"), "{}", attempt(&healed));
    }
}
