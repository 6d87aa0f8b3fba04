//! `domain pause|resume|limit|grant|unpair`.

use narrows_api::{
    domains::{DomainInfo, GrantRequest, LimitRequest, Parting, UnpairReply, UnpairRequest},
    paths,
};

use super::Session;
use crate::{
    api::{Api, filled},
    cli::{GrantArgs, UnpairArgs},
    failure::Outcome,
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
    session.style.show(&info, |info| format!("{}: {} images at once", info.name, info.images_at_once))
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

fn stands(info: &DomainInfo) -> String {
    format!("{} is {}, {} images wait for it", info.name, info.state, info.backlog_images)
}

fn describe(reply: &UnpairReply) -> String {
    let mut lines = vec![format!("{} is {}", reply.domain.name, reply.domain.state)];
    if !reply.slps.is_empty() {
        lines.push(format!("SLPs that replicate to it: {}", reply.slps.join(", ")));
    }
    lines.extend(
        reply.backlog.iter().map(|line| format!("{} operations are {}", line.operations, line.state)),
    );
    if reply.imports > 0 {
        lines.push(format!("{} images that it sent are not imported", reply.imports));
    }
    lines.push(format!("{} images have a copy there, which stays", reply.replicas));
    lines.join("\n")
}
