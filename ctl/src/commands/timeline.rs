//! `image timeline`, `image recall`.

use std::time::Duration;

use narrows_api::{
    error,
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
    output::{bytes, table, time, time_or_dash},
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

/// All that the partner holds for us and that can't be read here. One that it refuses ends it; what was asked for before comes.
async fn recall_all(session: &Session, api: &Api, args: RecallArgs) -> Outcome<()> {
    let failed_before = failed(api).await?;
    let query = UnknownQuery { domain: args.from.clone() };
    let unknown: UnknownReplicas = api.get(paths::REPLICAS_UNKNOWN, &query).await?;
    let is_wanted = |it: &UnknownReplica| {
        let is_since = |since| it.image_is.as_ref().is_some_and(|image| image.started >= since);
        !it.is_here && !it.damaged && args.since.is_none_or(is_since)
    };
    let mut replies = Vec::new();
    for image in unknown.replicas.iter().filter(|it| is_wanted(it)).map(|it| it.image.to_string()) {
        let (domain, import_slp) = (args.from.clone(), args.import_slp.clone());
        let reply: RecallReply =
            api.post(paths::IMAGES_RECALL, &RecallRequest { image, domain, import_slp }).await?;
        replies.push(reply);
    }
    if args.wait {
        for reply in &replies {
            arrival(api, &reply.image.to_string(), &failed_before).await?;
        }
    }
    if unknown.more {
        session.style.remark("there are more: say this again when these are here");
    }
    let how = if args.wait {
        "are here and can be restored"
    } else {
        "come; `import list` says when they are here"
    };
    session.style.show(&replies, |replies| format!("{} images {how}", replies.len()))
}

async fn failed(api: &Api) -> Outcome<Vec<ImportInfo>> {
    let mut imports: Vec<ImportInfo> = api.get(paths::IMPORTS, &()).await?;
    imports.retain(|it| it.state.starts_with("failed") || it.state.starts_with("refused"));
    Ok(imports)
}

fn is_not_here(failure: &Failure) -> bool {
    [error::codes::NOT_FOUND, error::codes::GONE].contains(&failure.0.code.as_str())
}

/// Waits until a copy here can be read. An import of it that failed meanwhile is a failure.
async fn arrival(api: &Api, image: &str, failed_before: &[ImportInfo]) -> Outcome<ImageInfo> {
    loop {
        match find(api, image, &ImageFilter::default()).await {
            Ok(info) if info.copies.iter().any(|copy| copy.discarded_until.is_none()) => return Ok(info),
            Err(failure) if !is_not_here(&failure) => return Err(failure),
            Ok(_) | Err(_) => {}
        }
        let is_new = |it: &ImportInfo| {
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
    let moved = |count: u64| if count == 0 { "-".to_owned() } else { bytes(count) };
    let row = |step: &Step| {
        vec![
            time(step.began),
            step.domain_name.clone(),
            step.what.clone(),
            step.state.clone(),
            step.took_ms
                .map_or_else(|| "-".to_owned(), |millis| format!("{}.{:03} s", millis / 1000, millis % 1000)),
            moved(step.logical_bytes),
            moved(step.wire_bytes),
            step.why.clone(),
        ]
    };
    let rows: Vec<_> = timeline.steps.iter().map(row).collect();
    let headers = ["BEGAN", "DOMAIN", "STEP", "STATE", "TOOK", "BYTES", "SENT", "WHY"];
    let mut text = format!("{}\n{}", timeline.name, table(&headers, &rows));
    for silent in timeline.domains.iter().filter(|it| !it.answered) {
        text.push_str(&missing(silent));
    }
    text
}

fn missing(domain: &Witness) -> String {
    let known = match domain.last_known.as_str() {
        "" => "nothing is known of a copy there".to_owned(),
        state => format!("its copy was {state} at {}", time_or_dash(domain.as_of)),
    };
    format!("{} did not tell its steps ({}); {known}\n", domain.name, domain.why)
}
