//! `domain pause|resume|limit|receive|grant|decide|unpair`.

use narrows_api::{
    domains::{
        DecideReply, DecideRequest, DialRequest, DomainInfo, GrantRequest, LimitRequest, Parting,
        ReceiveUnitRequest, UnpairReply, UnpairRequest,
    },
    paths,
};

use super::Session;
use crate::{
    api::{Api, filled},
    cli::{DecideArgs, GrantArgs, UnpairArgs},
    failure::Outcome,
    output::counted,
};

pub(super) async fn pause(session: &Session, api: &Api, name: &str) -> Outcome<()> {
    let info: DomainInfo = api.post(&filled(paths::DOMAIN_PAUSE, name), &()).await?;
    session.style.show(&info, stands)
}

pub(super) async fn resume(session: &Session, api: &Api, name: &str) -> Outcome<()> {
    let info: DomainInfo = api.post(&filled(paths::DOMAIN_RESUME, name), &()).await?;
    session.style.show(&info, stands)
}

pub(super) async fn limit(session: &Session, api: &Api, name: &str, images: u32) -> Outcome<()> {
    let request = LimitRequest { images };
    let info: DomainInfo = api.post(&filled(paths::DOMAIN_LIMIT, name), &request).await?;
    session.style.show(&info, |info| {
        format!("{}: {} at once", info.name, counted(info.images_at_once, "image", "images"))
    })
}

pub(super) async fn receive(session: &Session, api: &Api, name: &str, unit: String) -> Outcome<()> {
    let request = ReceiveUnitRequest { unit };
    let info: DomainInfo = api.post(&filled(paths::DOMAIN_RECEIVE, name), &request).await?;
    session.style.show(&info, |info| format!("what {} sends is received by {}", info.name, info.receive_unit))
}

pub(super) async fn dial(
    session: &Session,
    api: &Api,
    (name, out): (&str, bool),
    window: Option<String>,
) -> Outcome<()> {
    let info: DomainInfo = api.post(&filled(paths::DOMAIN_DIAL, name), &DialRequest { out, window }).await?;
    session.style.show(&info, dialling)
}

/// Which of two domains dials, in a sentence.
pub(super) fn dialling(info: &DomainInfo) -> String {
    let name = &info.name;
    match (info.dials.as_str(), &info.dial_window) {
        ("own", None) => {
            format!("{name} is dialled from here, and calls by the connections that stay open there")
        }
        ("own", Some(window)) => {
            format!("{name} is dialled from here while `{window}` is open, and calls by these connections")
        }
        ("partner", _) => format!("{name} dials in, and is called by its own connections"),
        _ => format!("{name} and this domain dial each other"),
    }
}

pub(super) async fn grant(session: &Session, api: &Api, args: GrantArgs) -> Outcome<()> {
    let request = GrantRequest { grant: args.grants, revoke: args.revoke };
    let info: DomainInfo = api.post(&filled(paths::DOMAIN_GRANT, &args.name), &request).await?;
    session.style.show(&info, |info| format!("{} may {}", info.name, info.grants.join(", ")))
}

pub(super) async fn unpair(session: &Session, api: &Api, args: UnpairArgs) -> Outcome<()> {
    let path = filled(paths::DOMAIN_UNPAIR, &args.name);
    let how = if args.now { Parting::Now } else { Parting::Drain };
    let planned = UnpairRequest { how, dry_run: true };
    let ties: UnpairReply = api.post(&path, &planned).await?;
    if args.consent.dry_run {
        return session.style.show(&ties, describe);
    }
    args.consent.ask(session.style, &describe(&ties), &ties.domain.name)?;
    let reply: UnpairReply = api.post(&path, &UnpairRequest { dry_run: false, ..planned }).await?;
    session.style.show(&reply, describe)
}

pub(super) async fn decide(session: &Session, api: &Api, args: DecideArgs) -> Outcome<()> {
    let path = filled(paths::DOMAIN_DECIDE, &args.name);
    let answering: DecideReply = api.post(&path, &DecideRequest { dry_run: true }).await?;
    if args.consent.dry_run {
        return session.style.show(&answering, answers);
    }
    args.consent.ask(session.style, &answers(&answering), &answering.domain.name)?;
    let reply: DecideReply = api.post(&path, &DecideRequest { dry_run: false }).await?;
    session.style.show(&reply, |reply| stands(&reply.domain))
}

fn answers(reply: &DecideReply) -> String {
    let DomainInfo { name, url, state, .. } = &reply.domain;
    let start = reply.start.map(|start| format!(", start {start} of its server")).unwrap_or_default();
    format!("{name} is {state}; at {url} incarnation {}{start} answers", reply.incarnation)
}

fn stands(info: &DomainInfo) -> String {
    let waiting = counted(info.backlog_images, "image waits", "images wait");
    format!("{} is {}, {waiting} for it", info.name, info.state)
}

fn describe(reply: &UnpairReply) -> String {
    let mut lines = vec![format!("{} is {}", reply.domain.name, reply.domain.state)];
    if !reply.slps.is_empty() {
        lines.push(format!("SLPs that replicate to it: {}", reply.slps.join(", ")));
    }
    lines.extend(reply.backlog.iter().map(|line| {
        format!("{} {}", counted(line.operations, "operation is", "operations are"), line.state)
    }));
    lines.extend(reply.stuck.iter().map(|line| {
        format!(
            "{} of them {} {} until somebody ends that, and draining waits for it: `narrowsctl image resume`, \
             `image cancel`",
            line.operations,
            if line.operations == 1 { "is" } else { "are" },
            line.state
        )
    }));
    if reply.imports > 0 {
        let (one, many) = ("image that it sent is not imported", "images that it sent are not imported");
        lines.push(counted(reply.imports, one, many));
    }
    let (one, many) = ("image has a copy there, which stays", "images have a copy there, which stays");
    lines.push(counted(reply.replicas, one, many));
    lines.join("\n")
}
