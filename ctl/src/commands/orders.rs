//! `image pause|resume|cancel|release`, and `image replicate --all|--missing`.

use narrows_api::{
    orders::{
        AcceptLossReply, AcceptLossRequest, BackfillReply, BackfillRequest, CancelRequest, OrderReply,
        ReleaseManyReply, ReleaseManyRequest, ReleaseRequest, Which,
    },
    paths,
};

use super::{
    Session,
    images::{find, kept, of_args},
};
use crate::{
    api::{Api, filled},
    cli::{CancelArgs, OneImageArgs, ReleaseArgs, ReplicateArgs},
    confirm::ConsentArgs,
    failure::Outcome,
    output::{bytes, counted},
};

pub(super) async fn pause(session: &Session, api: &Api, args: OneImageArgs) -> Outcome<()> {
    let reply: OrderReply = api.post(&path(api, paths::IMAGE_PAUSE, args).await?, &()).await?;
    session.style.show(&reply, |reply| concerned(reply, "paused"))
}

pub(super) async fn resume(session: &Session, api: &Api, args: OneImageArgs) -> Outcome<()> {
    let reply: OrderReply = api.post(&path(api, paths::IMAGE_RESUME, args).await?, &()).await?;
    session.style.show(&reply, |reply| concerned(reply, "resumed"))
}

pub(super) async fn cancel(session: &Session, api: &Api, args: CancelArgs) -> Outcome<()> {
    let path = path(api, paths::IMAGE_CANCEL, args.of).await?;
    let planned = CancelRequest { operation: args.operation, dry_run: true };
    let plan: OrderReply = api.post(&path, &planned).await?;
    if args.consent.dry_run {
        return session.style.show(&plan, |plan| cancelling(plan, "would never exist"));
    }
    if !plan.operations.is_empty() {
        args.consent.ask(session.style, &cancelling(&plan, "will never exist"), &plan.image.name)?;
    }
    let reply: OrderReply = api.post(&path, &CancelRequest { dry_run: false, ..planned }).await?;
    session.style.show(&reply, |reply| cancelling(reply, "will never exist"))
}

pub(super) async fn release(session: &Session, api: &Api, mut args: ReleaseArgs) -> Outcome<()> {
    let image = match (args.images.len(), args.to_domain.is_none()) {
        (1, true) => args.images.remove(0),
        _ => return release_many(session, api, args).await,
    };
    let path = path(api, paths::IMAGE_RELEASE, OneImageArgs { image, filter: args.filter }).await?;
    let reason = args.reason.unwrap_or_default();
    let planned = ReleaseRequest { operation: args.operation, reason, dry_run: true };
    let plan: OrderReply = api.post(&path, &planned).await?;
    if args.consent.dry_run {
        return session.style.show(&plan, |plan| releasing(plan, "would go"));
    }
    args.consent.ask(session.style, &releasing(&plan, "goes"), &plan.image.name)?;
    let reply: OrderReply = api.post(&path, &ReleaseRequest { dry_run: false, ..planned }).await?;
    session.style.show(&reply, |reply| releasing(reply, "goes"))
}

async fn release_many(session: &Session, api: &Api, args: ReleaseArgs) -> Outcome<()> {
    let planned = ReleaseManyRequest {
        operation: args.operation,
        domain: args.to_domain,
        images: args.images,
        filter: of_args(args.filter),
        reason: args.reason.unwrap_or_default(),
        dry_run: true,
    };
    let plan: ReleaseManyReply = api.post_work(paths::IMAGES_RELEASE, &planned).await?;
    if args.consent.dry_run || plan.operations == 0 {
        return session.style.show(&plan, released);
    }
    args.consent.ask(session.style, &released(&plan), &planned.operation)?;
    let request = ReleaseManyRequest { dry_run: false, ..planned };
    let reply: ReleaseManyReply = api.post_work(paths::IMAGES_RELEASE, &request).await?;
    session.style.show(&reply, released)
}

fn released(reply: &ReleaseManyReply) -> String {
    if reply.operations == 0 {
        return "nothing of these failed or was cancelled and keeps a copy".to_owned();
    }
    let operations = counted(reply.operations, "operation", "operations");
    let images = counted(reply.images, "image", "images");
    let done = if reply.applied { "released" } else { "to be released" };
    format!("{operations} of {images} {done}: copies that were kept for nothing else go")
}

pub(super) async fn accept_loss(
    session: &Session,
    api: &Api,
    image: Option<String>,
    consent: ConsentArgs,
) -> Outcome<()> {
    let planned = AcceptLossRequest { image, dry_run: true };
    let plan: AcceptLossReply = api.post(paths::IMAGES_ACCEPT_LOSS, &planned).await?;
    if consent.dry_run {
        return session.style.show(&plan, accepted);
    }
    consent.ask(session.style, &accepted(&plan), planned.image.as_deref().unwrap_or("all"))?;
    let request = AcceptLossRequest { dry_run: false, ..planned };
    let reply: AcceptLossReply = api.post_work(paths::IMAGES_ACCEPT_LOSS, &request).await?;
    session.style.show(&reply, accepted)
}

fn accepted(reply: &AcceptLossReply) -> String {
    let (one, many) =
        if reply.applied { ("image is", "images are") } else { ("image would be", "images would be") };
    let held = match reply.held_elsewhere {
        0 => String::new(),
        _ if reply.applied => String::new(),
        held => format!(
            "; partners have {held} of all that are marked so: `narrowsctl image recall` brings those back"
        ),
    };
    format!("{} accepted as lost{held}", counted(reply.images, one, many))
}

pub(super) async fn backfill(session: &Session, api: &Api, args: ReplicateArgs) -> Outcome<()> {
    let request = BackfillRequest {
        domain: args.to_domain,
        which: if args.missing { Which::Missing } else { Which::All },
        filter: of_args(args.filter),
        import_slp: args.import_slp,
        dry_run: args.dry_run,
    };
    let reply: BackfillReply = api.post_work(paths::IMAGES_REPLICATE, &request).await?;
    session.style.show(&reply, |reply| going(reply, &request.domain))
}

/// The path of an order about an image, which is looked up by the filters first.
async fn path(api: &Api, path: &str, args: OneImageArgs) -> Outcome<String> {
    let image = find(api, &args.image, &of_args(args.filter)).await?;
    Ok(filled(path, &image.image.to_string()))
}

fn concerned(reply: &OrderReply, done: &str) -> String {
    let operations = counted(reply.operations.len(), "operation", "operations");
    let mut lines = vec![format!("{}: {operations} {done}", reply.image.name)];
    let meant = reply.image.operations.iter().filter(|it| reply.operations.contains(&it.operation));
    lines.extend(meant.map(|it| {
        let target = if it.target.is_empty() { String::new() } else { format!(" to {}", it.target) };
        format!("{} {}{target} is {}", it.id, it.kind, it.state)
    }));
    lines.join("\n")
}

fn cancelling(reply: &OrderReply, never: &str) -> String {
    let operations = counted(reply.operations.len(), "operation", "operations");
    let mut lines = vec![format!("{}: {operations}", reply.image.name)];
    lines.extend(reply.never.iter().map(|it| format!("{} {never} ({})", it.what, it.operation)));
    lines.join("\n")
}

/// A copy is let go by this only as far as nothing else stands against it.
fn releasing(reply: &OrderReply, goes: &str) -> String {
    let mut lines = vec![format!(
        "{}: what is kept for {} {goes} once nothing else stands against it",
        reply.image.name,
        counted(reply.operations.len(), "operation", "operations")
    )];
    for copy in &reply.image.copies {
        lines.push(format!("copy {}", copy.number));
        lines.extend(kept(copy));
    }
    lines.join("\n")
}

fn going(reply: &BackfillReply, domain: &str) -> String {
    let images = counted(reply.images, "image", "images");
    let go = match (reply.applied, reply.images) {
        (false, _) => "would go to",
        (true, 1) => "goes to",
        (true, _) => "go to",
    };
    let mut lines = vec![format!("{images} ({}) {go} domain {domain}", bytes(reply.logical_bytes))];
    let rest = [
        (reply.present, "is there already", "are there already"),
        (reply.under_way, "is on its way already", "are on their way already"),
        (reply.own, "was made there", "were made there"),
        (reply.expired, "has expired here", "have expired here"),
        (
            reply.unfit,
            "is not complete, not here, or may not leave",
            "are not complete, not here, or may not leave",
        ),
    ];
    let some = rest.into_iter().filter(|(count, ..)| *count > 0);
    lines.extend(some.map(|(count, one, many)| counted(count, one, many)));
    lines.join("\n")
}
