//! `image list|show|browse|replicate|verify`; `find` and `diff` are in `finding`, what is ordered about their work is in `orders`, what about their end in
//! `expiry`.

use std::os::unix::ffi::OsStrExt as _;

use narrows_api::{
    PathText,
    images::{
        BrowseEntry, BrowsePage, BrowseQuery, CopyInfo, ImageFilter, ImageInfo, KeptInfo, ReplicateReply,
        ReplicateRequest, VerifyReport,
    },
    jobs::JobInfo,
    paths,
};
use serde::Serialize;

use super::{Session, expiry, finding, finding::Pages, jobs, orders, timeline};
use crate::{
    api::{Api, filled},
    cli::{ImageCommand, ImageFilterArgs, ImageStateArg, ReplicateArgs},
    failure::Outcome,
    output::{bytes, counted, table, time, time_or_dash},
};

/// What `image replicate` says.
#[derive(Serialize)]
struct Replicated {
    image: String,
    job: String,
    already_present: bool,
    state: String,
    wire_bytes: u64,
    data_bytes: u64,
    resent_bytes: u64,
    stored_bytes: u64,
}

pub(super) async fn run(session: &Session, command: ImageCommand) -> Outcome<()> {
    let api = session.reader()?;
    match command {
        ImageCommand::List { leaving: true, limit, .. } => {
            let limit = u32::try_from(limit).ok();
            let filter = ImageFilter { limit, leaving: Some(true), ..ImageFilter::default() };
            let images: Vec<ImageInfo> = api.get(paths::IMAGES, &filter).await?;
            session.style.show(&images, |images| list(images))
        }
        ImageCommand::List { filter, policy, state: wanted, limit, .. } => {
            let fits = |image: &ImageInfo| {
                policy.as_ref().is_none_or(|policy| image.policy == *policy)
                    && wanted.is_none_or(|wanted| state(image) == word(wanted))
            };
            let (mut pages, mut images) = (Pages::of(of_args(filter)), Vec::new());
            while images.len() < limit
                && let Some(page) = pages.next(&api).await?
            {
                images.extend(page.into_iter().filter(fits));
            }
            images.truncate(limit);
            session.style.show(&images, |images| list(images))
        }
        ImageCommand::Show { image, filter } => {
            let info = find(&api, &image, &of_args(filter)).await?;
            session.style.show(&info, describe)
        }
        ImageCommand::Browse { image, path, filter } => {
            let image = find(&api, &image, &of_args(filter)).await?.image.to_string();
            let path = PathText::from_bytes(path.unwrap_or_default().as_os_str().as_bytes());
            let entries = browse(&api, &image, path).await?;
            session.style.show(&entries, |entries| listing(entries))
        }
        ImageCommand::Find { path, filter } => finding::find(session, &api, &path, of_args(filter)).await,
        ImageCommand::Diff { before, after, filter } => {
            finding::diff(session, &api, (&before, &after), &of_args(filter)).await
        }
        ImageCommand::Replicate(args) => replicate(session, &api, args).await,
        ImageCommand::Timeline(args) => timeline::show(session, &api, args).await,
        ImageCommand::Recall(args) => timeline::recall(session, &api, args).await,
        ImageCommand::Pause(args) => orders::pause(session, &api, args).await,
        ImageCommand::Resume(args) => orders::resume(session, &api, args).await,
        ImageCommand::Cancel(args) => orders::cancel(session, &api, args).await,
        ImageCommand::Release(args) => orders::release(session, &api, args).await,
        ImageCommand::AcceptLoss { image, consent, .. } => {
            orders::accept_loss(session, &api, image, consent).await
        }
        ImageCommand::Verify { image, filter } => {
            let image = find(&api, &image, &of_args(filter)).await?.image.to_string();
            let report: VerifyReport = api.post_work(&filled(paths::IMAGE_VERIFY, &image), &()).await?;
            session.style.show(&report, |report| {
                let segments = counted(report.segments, "segment or node", "segments and nodes");
                format!("{segments}, {}: all good", bytes(report.bytes))
            })
        }
        ImageCommand::Expire { image, consent } => expiry::expire(session, &api, &image, consent).await,
        ImageCommand::Undelete { image, expires } => expiry::undelete(session, &api, &image, expires).await,
    }
}

async fn replicate(session: &Session, api: &Api, args: ReplicateArgs) -> Outcome<()> {
    let Some(image) = args.image else { return orders::backfill(session, api, args).await };
    let image = find(api, &image, &of_args(args.filter)).await?.image.to_string();
    let request = ReplicateRequest { domain: args.to_domain, import_slp: args.import_slp };
    let path = filled(paths::IMAGE_REPLICATE, &image);
    let reply: ReplicateReply = api.post(&path, &request).await?;
    let job = if args.wait {
        jobs::wait(api, &reply.job).await?
    } else {
        api.get(&filled(paths::JOB, &reply.job), &()).await?
    };
    session.style.show(&replicated(&reply, &job), |_| jobs::describe(&job))
}

/// An image by UUID, name, or `latest` within a filter.
pub(super) async fn find(api: &Api, image: &str, filter: &ImageFilter) -> Outcome<ImageInfo> {
    api.get(&filled(paths::IMAGE, image), filter).await
}

/// All entries of a directory, page by page.
async fn browse(api: &Api, image: &str, path: PathText) -> Outcome<Vec<BrowseEntry>> {
    let mut query = BrowseQuery { path, ..BrowseQuery::default() };
    let mut entries = Vec::new();
    loop {
        let page: BrowsePage = api.get(&filled(paths::IMAGE_BROWSE, image), &query).await?;
        query.after = page.entries.last().map(|entry| entry.name.clone());
        entries.extend(page.entries);
        if !page.more || query.after.is_none() {
            return Ok(entries);
        }
    }
}

/// The filter as the API has it.
pub(super) fn of_args(args: ImageFilterArgs) -> ImageFilter {
    let ImageFilterArgs { client, domain, slp, since, until } = args;
    ImageFilter { client, domain, slp, since, until, leaving: None, limit: None }
}

fn replicated(reply: &ReplicateReply, job: &JobInfo) -> Replicated {
    Replicated {
        image: reply.image.to_string(),
        job: reply.job.clone(),
        already_present: reply.already_present,
        state: job.state.clone(),
        wire_bytes: job.counters.wire_bytes,
        data_bytes: job.counters.data_bytes,
        resent_bytes: job.counters.resent_bytes,
        stored_bytes: job.counters.stored_bytes,
    }
}

fn list(images: &[ImageInfo]) -> String {
    let row = |info: &ImageInfo| {
        vec![
            info.name.clone(),
            info.client_name.clone(),
            info.slp.clone(),
            time(info.started),
            info.files.to_string(),
            bytes(info.logical_bytes),
            info.stored_bytes.map_or_else(|| "-".to_owned(), bytes),
            info.replicas.iter().map(|replica| replica.domain_name.clone()).collect::<Vec<_>>().join(","),
            remarks(info),
        ]
    };
    let rows: Vec<_> = images.iter().map(row).collect();
    table(&["NAME", "CLIENT", "SLP", "STARTED", "FILES", "BYTES", "STORED", "REPLICAS", ""], &rows)
}

/// How an image stands in this domain, in one word.
pub(super) fn state(info: &ImageInfo) -> &str {
    let is_expired = !info.copies.is_empty() && info.copies.iter().all(|it| it.discarded_until.is_some());
    if info.state == "whole" && is_expired { "expired" } else { &info.state }
}

fn word(state: ImageStateArg) -> &'static str {
    match state {
        ImageStateArg::Writing => "writing",
        ImageStateArg::Whole => "whole",
        ImageStateArg::Expired => "expired",
        ImageStateArg::Abandoned => "abandoned",
        ImageStateArg::Gone => "gone",
        ImageStateArg::Lost => "lost",
    }
}

/// What is to be said of an image that is not as it should be.
fn remarks(info: &ImageInfo) -> String {
    let state = Some(state(info)).filter(|state| *state != "whole");
    state.into_iter().chain(info.partial.then_some("partial")).collect::<Vec<_>>().join(", ")
}

fn describe(info: &ImageInfo) -> String {
    let mut lines = vec![
        info.name.clone(),
        format!("image        {}", info.image),
        format!("origin       {} ({})", info.origin_name, info.origin),
        format!("client       {}", info.client_name),
        format!("slp          {} version {}", info.slp, info.slp_version),
        format!("started      {}", time(info.started)),
        format!("written      {}", time_or_dash(info.written)),
        format!("files        {}", info.files),
        format!("bytes        {}", bytes(info.logical_bytes)),
        format!("stored       {}", info.stored_bytes.map_or_else(|| "-".to_owned(), bytes)),
    ];
    if info.partial {
        lines.push("partial      files were skipped or changed while they were read".to_owned());
    }
    for copy in &info.copies {
        let expires = copy.expires.map_or_else(|| "never".to_owned(), time);
        lines.push(match copy.discarded_until {
            Some(until) => {
                let until = time(until);
                format!("copy {}       expired {expires}, can be brought back until {until}", copy.number)
            }
            None => format!("copy {}       expires {expires}", copy.number),
        });
        // A domain with one pool need not hear of it.
        if info.copies.len() > 1 || copy.pool_name != "default" {
            lines.push(format!(
                "             in pool {}, made by operation {}",
                copy.pool_name, copy.operation
            ));
        }
        lines.extend(kept(copy));
    }
    for replica in &info.replicas {
        let (expires, checked) = (time_or_dash(replica.expires), time_or_dash(replica.checked));
        let (domain, state) = (&replica.domain_name, &replica.state);
        lines.push(format!("replica      {domain} {state} until {expires}, checked {checked}"));
        if !replica.short.is_empty() {
            lines.push(format!("             shorter than was agreed: {}", replica.short));
        }
    }
    lines.extend(info.operations.iter().map(|operation| {
        let target =
            if operation.target.is_empty() { String::new() } else { format!(" to {}", operation.target) };
        let unit = if operation.unit.is_empty() { String::new() } else { format!(" in {}", operation.unit) };
        let why = if operation.why.is_empty() { String::new() } else { format!(": {}", operation.why) };
        let released = match operation.released.as_str() {
            "" => String::new(),
            reason => format!("; released: {reason}"),
        };
        format!(
            "operation    {} {}{target}{unit} {}{why}{released}",
            operation.id, operation.kind, operation.state
        )
    }));
    lines.join("\n")
}

/// Why a copy is kept, one reason a line.
pub(super) fn kept(copy: &CopyInfo) -> Vec<String> {
    let line = |kept: &KeptInfo| {
        let help = if kept.help.is_empty() { String::new() } else { format!(" ({})", kept.help) };
        format!("             kept because {}{help}", kept.sentence)
    };
    copy.kept.iter().map(line).collect()
}

fn listing(entries: &[BrowseEntry]) -> String {
    let row = |entry: &BrowseEntry| {
        let name = match &entry.target {
            Some(target) => format!("{} -> {}", entry.name.0, target.0),
            None => entry.name.0.clone(),
        };
        vec![
            entry.kind.clone(),
            format!("{:04o}", entry.mode),
            format!("{}:{}", entry.uid, entry.gid),
            entry.size.to_string(),
            time(entry.modified),
            name,
        ]
    };
    let rows: Vec<_> = entries.iter().map(row).collect();
    table(&["KIND", "MODE", "OWNER", "SIZE", "MODIFIED", "NAME"], &rows)
}
