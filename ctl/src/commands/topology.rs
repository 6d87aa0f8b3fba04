//! `topology show`, `replica list|check`.

use narrows_api::{
    holdings::{CheckReply, CheckRequest, UnknownQuery, UnknownReplica, UnknownReplicas},
    paths,
    topology::{ReplicaLine, ReplicaQuery, Topology, TopologyPartner, TopologyTarget},
};

use super::Session;
use crate::{
    cli::ReplicaCommand,
    failure::Outcome,
    output::{bytes, table, time, time_or_dash},
};

pub(super) async fn show(session: &Session) -> Outcome<()> {
    let topology: Topology = session.administrator()?.get(paths::TOPOLOGY, &()).await?;
    session.style.show(&topology, draw)
}

pub(super) async fn replicas(session: &Session, command: ReplicaCommand) -> Outcome<()> {
    let (domain, state, limit) = match command {
        ReplicaCommand::List { domain, unknown: true, .. } => return unknown_ones(session, domain).await,
        ReplicaCommand::List { domain, state, limit, .. } => (domain, state, limit),
        ReplicaCommand::Check { domain } => return check(session, domain).await,
    };
    let query = ReplicaQuery { domain, state, limit: Some(limit) };
    let lines: Vec<ReplicaLine> = session.administrator()?.get(paths::REPLICAS, &query).await?;
    session.style.show(&lines, |lines| {
        let row = |line: &ReplicaLine| {
            vec![
                line.image_name.clone(),
                line.domain_name.clone(),
                line.state.clone(),
                time_or_dash(line.expires),
                time(line.checked),
            ]
        };
        let rows: Vec<_> = lines.iter().map(row).collect();
        table(&["IMAGE", "DOMAIN", "STATE", "UNTIL", "CHECKED"], &rows)
    })
}

async fn unknown_ones(session: &Session, domain: Option<String>) -> Outcome<()> {
    let query = UnknownQuery { domain };
    let found: UnknownReplicas = session.administrator()?.get(paths::REPLICAS_UNKNOWN, &query).await?;
    session.style.show(&found, |found| {
        let row = |it: &UnknownReplica| {
            let image = it.image_is.as_ref();
            vec![
                it.image.to_string(),
                it.domain.clone(),
                image.map_or_else(|| "-".to_owned(), |image| image.client_name.clone()),
                time_or_dash(image.map(|image| image.started)),
                image.map_or_else(|| "-".to_owned(), |image| bytes(image.logical_bytes)),
                time_or_dash(it.expires),
                if it.damaged { "yes" } else { "no" }.to_owned(),
                if it.is_here { "yes" } else { "no" }.to_owned(),
            ]
        };
        let rows: Vec<_> = found.replicas.iter().map(row).collect();
        let headers = ["IMAGE", "DOMAIN", "CLIENT", "BEGAN", "BYTES", "UNTIL", "DAMAGED", "HERE"];
        let more = if found.more { "there are more\n" } else { "" };
        let silent = match &found.unasked[..] {
            [] => String::new(),
            silent => format!(
                "could not be asked: {}
",
                silent.join(", ")
            ),
        };
        format!("{}{more}{silent}", table(&headers, &rows))
    })
}

async fn check(session: &Session, domain: Option<String>) -> Outcome<()> {
    let request = CheckRequest { domain };
    let replies: Vec<CheckReply> =
        session.administrator()?.post_work(paths::REPLICAS_CHECK, &request).await?;
    session.style.show(&replies, |replies| {
        let row = |it: &CheckReply| {
            let counts = [it.present, it.lost, it.damaged, it.unknown].map(|count| count.to_string());
            [vec![it.domain.clone()], counts.into(), vec![it.why.clone()]].concat()
        };
        let rows: Vec<_> = replies.iter().map(row).collect();
        table(&["DOMAIN", "PRESENT", "LOST", "DAMAGED", "UNKNOWN", "WHY"], &rows)
    })
}

/// This domain at the top, its partners hanging from it.
fn draw(topology: &Topology) -> String {
    let mut lines = vec![topology.domain.name.clone()];
    lines.extend(topology.pools.iter().map(|pool| {
        let spanning = if pool.spanning { ", spanning" } else { "" };
        let open = if pool.is_open { "" } else { ", not open" };
        format!("|  pool {} (storage units: {}{spanning}{open})", pool.name, pool.storage_units.join(", "))
    }));
    lines.extend(
        topology
            .backlog
            .iter()
            .map(|it| format!("|  backlog to {}: {} {}", it.target, it.operations, it.state)),
    );
    let last = topology.partners.len().saturating_sub(1);
    for (at, partner) in topology.partners.iter().enumerate() {
        let bar = if at == last { " " } else { "|" };
        lines.push("|".to_owned());
        lines.push(format!("+-- {} ({})", partner.domain.name, partner.domain.state));
        lines.extend(beneath(partner).into_iter().map(|line| format!("{bar}     {line}")));
    }
    lines.join("\n")
}

fn beneath(partner: &TopologyPartner) -> Vec<String> {
    let mut lines = Vec::new();
    if !partner.domain.why.is_empty() {
        lines.push(partner.domain.why.clone());
    }
    lines.push(format!("may here: {}", partner.domain.grants.join(", ")));
    let target = |target: &TopologyTarget| {
        let unit = if target.unit.is_empty() { String::new() } else { format!(" into {}", target.unit) };
        let unlike = if target.unlike.is_empty() {
            String::new()
        } else {
            format!(", not similar: {}", target.unlike)
        };
        format!("target: pool {} ({}){unit}{unlike}", target.pool, target.direction)
    };
    lines.extend(partner.targets.iter().map(target));
    if !partner.slps.is_empty() {
        lines.push(format!("SLPs: {}", partner.slps.join(", ")));
    }
    let states: Vec<_> = partner.backlog.iter().map(|it| format!("{} {}", it.operations, it.state)).collect();
    lines.push(match partner.lag_seconds {
        Some(seconds) => format!("backlog: {}; the oldest is {} behind", states.join(", "), age(seconds)),
        None => "backlog: none".to_owned(),
    });
    lines
}

/// The largest whole unit.
fn age(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_drawn_as_they_hang_together() {
        let uuid = "00000000-0000-0000-0000-000000000001";
        let domain = |name: &str, state: &str, why: &str| {
            serde_json::json!({"domain": uuid, "name": name, "state": state, "why": why, "incarnation": 1, "url": "",
                "data_addr": "", "ca_fingerprint": "0".repeat(64), "grants": ["send", "status"]})
        };
        let partner = |name: &str, why: &str, lag: Option<u64>| {
            let backlog =
                lag.map(|_| serde_json::json!({"target": name, "state": "waiting(pause)", "operations": 3}));
            serde_json::json!({"domain": domain(name, "paused", why), "slps": ["gold"], "lag_seconds": lag,
                "targets": [{"pool": "pool", "direction": "push"}], "backlog": backlog.into_iter().collect::<Vec<_>>()})
        };
        let topology = serde_json::json!({
            "domain": domain("east", "this", ""),
            "pools": [{"pool": uuid, "name": "pool", "spanning": false, "storage_units": ["default"]}],
            "backlog": [{"target": "storage vault", "state": "waiting(window)", "operations": 2}],
            "partners": [partner("north", "does not answer: no route", None), partner("west", "", Some(3600))],
        });
        let drawn = draw(&serde_json::from_value(topology).unwrap());
        let expected = "east
|  pool pool (storage units: default)
|  backlog to storage vault: 2 waiting(window)
|
+-- north (paused)
|     does not answer: no route
|     may here: send, status
|     target: pool pool (push)
|     SLPs: gold
|     backlog: none
|
+-- west (paused)
      may here: send, status
      target: pool pool (push)
      SLPs: gold
      backlog: 3 waiting(pause); the oldest is 60 min behind";
        assert_eq!(drawn, expected);
        assert_eq!([age(119), age(7200), age(200_000)], ["119 s", "2 h", "2 days"]);
    }
}
