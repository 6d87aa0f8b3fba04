//! `image timeline`, `image recall`.

use narrows_api::{
    paths,
    timeline::{RecallReply, RecallRequest, Step, Timeline, Witness},
};

use super::{Session, images::of_args};
use crate::{
    api::{Api, filled},
    cli::{OneImageArgs, RecallArgs},
    failure::Outcome,
    output::{bytes, table, time, time_or_dash},
};

pub(super) async fn show(session: &Session, api: &Api, args: OneImageArgs) -> Outcome<()> {
    let path = filled(paths::IMAGE_TIMELINE, &args.image);
    let timeline: Timeline = api.get(&path, &of_args(args.filter)).await?;
    session.style.show(&timeline, describe)
}

pub(super) async fn recall(session: &Session, api: &Api, args: RecallArgs) -> Outcome<()> {
    let request = RecallRequest { image: args.image, domain: args.from, import_slp: args.import_slp };
    let reply: RecallReply = api.post(paths::IMAGES_RECALL, &request).await?;
    session.style.show(&reply, |reply| {
        format!(
            "{} comes from {} ({} there); `import list` says when it is here",
            reply.image, request.domain, reply.state
        )
    })
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
