//! `image timeline`, `image recall`.

use std::{collections::BTreeMap, time::Duration};

use narrows_api::{
    error,
    events::ArrivalInfo,
    holdings::{UnknownQuery, UnknownReplica, UnknownReplicas},
    images::{ImageFilter, ImageInfo},
    jobs::ImportInfo,
    paths,
    timeline::{RecallReply, RecallRequest, Step, Timeline, Witness},
};

use super::{
    Session,
    images::{find, of_args},
};
use crate::{
    api::{Api, filled},
    cli::{OneImageArgs, RecallArgs},
    failure::{Failure, Outcome, codes},
    output::{bytes, counted, span, table_of, time},
};

/// Between two looks whether a recalled image is here.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

pub(super) async fn show(session: &Session, api: &Api, args: OneImageArgs) -> Outcome<()> {
    let path = filled(paths::IMAGE_TIMELINE, &args.image);
    let timeline: Timeline = api.get(&path, &of_args(args.filter)).await?;
    session.style.show(&timeline, describe)
}

pub(super) async fn recall(session: &Session, api: &Api, args: RecallArgs) -> Outcome<()> {
    let Some(image) = args.image else { return recall_all(session, api, args).await };
    let request = RecallRequest { image, domain: args.from, import_slp: args.import_slp };
    let failed_before = failed(api).await?;
    let reply: RecallReply = api.post(paths::IMAGES_RECALL, &request).await?;
    if args.wait {
        return session.style.show(&arrival(api, &reply.image.to_string(), &failed_before).await?, |info| {
            format!("{} is here and can be restored", info.name)
        });
    }
    session.style.show(&reply, |reply| {
        format!(
            "{} comes from {} ({} there); `import list` says when it is here",
            reply.image, reply.domain, reply.state
        )
    })
}

/// All that the partner, or any of them, holds for us and that can't be read here. One that nobody gives ends it; what was asked
/// for before comes.
async fn recall_all(session: &Session, api: &Api, args: RecallArgs) -> Outcome<()> {
    let failed_before = failed(api).await?;
    let query = UnknownQuery { domain: args.from.clone() };
    let unknown: UnknownReplicas = api.get(paths::REPLICAS_UNKNOWN, &query).await?;
    for silent in &unknown.unasked {
        session.style.remark(&format!("{silent} could not be asked what it has"));
    }
    let is_wanted = |it: &UnknownReplica| {
        let is_since = |since| it.image_is.as_ref().is_some_and(|image| image.started >= since);
        !it.is_here && !it.damaged && args.since.is_none_or(is_since)
    };
    let mut replies = Vec::new();
    for (image, holders) in holders(unknown.replicas.iter().filter(|it| is_wanted(it))) {
        replies.push(recall_from(api, &image, &holders, args.import_slp.as_ref()).await?);
    }
    if args.wait {
        for reply in &replies {
            arrival(api, &reply.image.to_string(), &failed_before).await?;
        }
    }
    if unknown.more {
        session.style.remark("there are more: say this again when these are here");
    }
    let (one, many) = if args.wait {
        ("image is here and can be restored", "images are here and can be restored")
    } else {
        (
            "image comes; `import list` says when it is here",
            "images come; `import list` says when they are here",
        )
    };
    session.style.show(&replies, |replies| counted(replies.len(), one, many))
}

/// Who has each of these images.
fn holders<'r>(replicas: impl Iterator<Item = &'r UnknownReplica>) -> BTreeMap<String, Vec<&'r str>> {
    let mut holders: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for replica in replicas {
        let known = holders.entry(replica.image.to_string()).or_default();
        if !known.contains(&replica.domain.as_str()) {
            known.push(&replica.domain);
        }
    }
    holders
}

/// The first of them that sends it.
async fn recall_from(
    api: &Api,
    image: &str,
    holders: &[&str],
    import_slp: Option<&String>,
) -> Outcome<RecallReply> {
    let mut refused = None;
    for holder in holders {
        let (image, domain) = (image.to_owned(), Some((*holder).to_owned()));
        let request = RecallRequest { image, domain, import_slp: import_slp.cloned() };
        match api.post(paths::IMAGES_RECALL, &request).await {
            Ok(reply) => return Ok(reply),
            Err(failure) => refused = Some(failure),
        }
    }
    Err(refused.unwrap_or_else(|| Failure::usage(format!("nobody has image {image}"))))
}

async fn failed(api: &Api) -> Outcome<Vec<ArrivalInfo>> {
    let imports: Vec<ImportInfo> = api.get(paths::IMPORTS, &()).await?;
    let arrivals = imports.into_iter().map(|it| it.arrival);
    Ok(arrivals.filter(|it| it.state.starts_with("failed") || it.state.starts_with("refused")).collect())
}

fn is_not_here(failure: &Failure) -> bool {
    [error::codes::NOT_FOUND, error::codes::GONE].contains(&failure.0.code.as_str())
}

/// Waits until a copy here can be read. An import of it that failed meanwhile is a failure.
async fn arrival(api: &Api, image: &str, failed_before: &[ArrivalInfo]) -> Outcome<ImageInfo> {
    loop {
        match find(api, image, &ImageFilter::default()).await {
            Ok(info) if info.copies.iter().any(|copy| copy.discarded_until.is_none()) => return Ok(info),
            Err(failure) if !is_not_here(&failure) => return Err(failure),
            Ok(_) | Err(_) => {}
        }
        let is_new = |it: &ArrivalInfo| {
            !failed_before
                .iter()
                .any(|old| (old.image, old.sender, old.arrived) == (it.image, it.sender, it.arrived))
        };
        let failed = failed(api).await?;
        if let Some(failed) = failed.into_iter().find(|it| it.image.to_string() == image && is_new(it)) {
            let message = format!("image {} came, and its import is {}", failed.image_name, failed.state);
            return Err(Failure::new(codes::JOB, message)
                .because(failed.why)
                .help("mend the cause; `narrowsctl import retry` tries again"));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn describe(timeline: &Timeline) -> String {
    let rows: Vec<_> = timeline.steps.iter().map(|step| row(step, timeline.told)).collect();
    let headers = ["BEGAN", "DOMAIN", "STEP", "STATE", "TOOK", "BYTES", "SENT", "WHY"];
    let mut text = format!("{}\n{}", timeline.name, table_of(&headers, &["TOOK", "BYTES", "SENT"], &rows));
    if timeline.cut {
        text.push_str("only the newest steps here are remembered one by one\n");
    }
    for domain in timeline.domains.iter().filter(|it| it.cut) {
        let name = called(&domain.name, &domain.via);
        text.extend([name.as_str(), " has told its newest steps only\n"]);
    }
    for silent in timeline.domains.iter().filter(|it| !it.answered) {
        text.push_str(&missing(silent));
    }
    text
}

fn row(step: &Step, told: jiff::Timestamp) -> Vec<String> {
    let moved = |count: u64| if count == 0 { "-".to_owned() } else { bytes(count) };
    let took = match step.took_ms {
        // What happened at one moment.
        Some(0) => "-".to_owned(),
        Some(millis) => span(millis),
        None => {
            let so_far = told.as_millisecond().saturating_sub(step.began.as_millisecond());
            format!("{} so far", span(u64::try_from(so_far).unwrap_or(0)))
        }
    };
    vec![
        time(step.began),
        called(&step.domain_name, &step.via),
        step.what.clone(),
        step.state.clone(),
        took,
        moved(step.logical_bytes),
        moved(step.wire_bytes),
        step.why.clone(),
    ]
}

/// A domain, and who told of it if it was not heard itself.
fn called(name: &str, via: &str) -> String {
    if via.is_empty() { name.to_owned() } else { format!("{name} (by {via})") }
}

fn missing(domain: &Witness) -> String {
    let known = match (domain.last_known.as_str(), domain.as_of) {
        ("", _) => "nothing is known of a copy there".to_owned(),
        (state, Some(at)) => {
            let age = domain.age_seconds.unwrap_or(0).saturating_mul(1000);
            format!("its copy was {state} {} ago, at {}", span(age), time(at))
        }
        (state, None) => format!("its copy was {state} when it was last heard of"),
    };
    format!("{} did not tell its steps ({}); {known}\n", called(&domain.name, &domain.via), domain.why)
}

#[cfg(test)]
mod tests {
    use narrows_format::{DomainId, ImageId};

    use super::*;

    fn at(second: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn step(domain: (&str, &str), what: &str, state: &str, (began, took_ms): (i64, Option<u64>)) -> Step {
        Step {
            domain: DomainId([1; 16]),
            domain_name: domain.0.into(),
            via: domain.1.into(),
            what: what.into(),
            state: state.into(),
            began: at(began),
            ended: None,
            took_ms,
            logical_bytes: 0,
            wire_bytes: 0,
            stored_bytes: 0,
            why: String::new(),
        }
    }

    /// Goal: a line for each step, figures below one another, and whoever did not answer with what is known of it.
    #[test]
    fn a_timeline_reads_as_one_table() {
        let backup =
            Step { logical_bytes: 4_600_000, ..step(("east", ""), "backup", "done", (0, Some(1_204))) };
        let sent = Step {
            logical_bytes: 4_600_000,
            wire_bytes: 1_400_000,
            ..step(("east", ""), "replication to west", "done", (194, Some(812)))
        };
        let night = Step {
            why: "its window is shut".into(),
            ..step(("east", ""), "replication to west", "waited(window)", (2, Some(192_000)))
        };
        let pending = step(("north", "west"), "replication to south", "waiting(target-down)", (200, None));
        let south = Witness {
            domain: DomainId([4; 16]),
            name: "south".into(),
            via: "west".into(),
            answered: false,
            cut: false,
            why: "NET-001: it can't be reached".into(),
            last_known: "present".into(),
            as_of: Some(at(-7_300)),
            age_seconds: Some(7_500),
        };
        let timeline = Timeline {
            image: ImageId([7; 16]),
            name: "east/web01_1".into(),
            told: at(201),
            steps: vec![backup, night, sent, pending],
            domains: vec![south],
            cut: false,
        };
        let expected = "\
east/web01_1
BEGAN                 DOMAIN           STEP                  STATE                           TOOK   BYTES    SENT  WHY
2027-01-15 08:00:00Z  east             backup                done                         1.204 s  4.6 MB       -
2027-01-15 08:00:02Z  east             replication to west   waited(window)              3 m 12 s       -       -  its window is shut
2027-01-15 08:03:14Z  east             replication to west   done                         0.812 s  4.6 MB  1.4 MB
2027-01-15 08:03:20Z  north (by west)  replication to south  waiting(target-down)  1.000 s so far       -       -
south (by west) did not tell its steps (NET-001: it can't be reached); its copy was present 2 h 05 m ago, at 2027-01-15 05:58:20Z
";
        assert_eq!(describe(&timeline), expected);
        let cut = describe(&Timeline { cut: true, ..timeline });
        assert!(cut.contains("\nonly the newest steps here are remembered one by one\n"), "{cut}");
    }
}
