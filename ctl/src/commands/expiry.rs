//! `image expire|undelete`.

use narrows_api::{
    expiry::{ExpireReply, ExpireRequest, UndeleteReply, UndeleteRequest},
    images::ImageFilter,
    paths,
    server::Status,
};

use super::{Session, images::find};
use crate::{
    api::{Api, filled},
    confirm::ConsentArgs,
    failure::Outcome,
    output::{bytes, time_or_dash},
};

pub(super) async fn expire(session: &Session, api: &Api, image: &str, consent: ConsentArgs) -> Outcome<()> {
    let image = find(api, image, &ImageFilter::default()).await?.image.to_string();
    let path = filled(paths::IMAGE_EXPIRE, &image);
    let plan: ExpireReply = api.post(&path, &ExpireRequest { dry_run: true }).await?;
    if consent.dry_run {
        return session.style.show(&plan, expiring);
    }
    consent.ask(session.style, &expiring(&plan), &plan.name)?;
    let gone: ExpireReply = api.post(&path, &ExpireRequest { dry_run: false }).await?;
    session.style.show(&gone, |gone| {
        format!("{} goes; `narrowsctl image undelete` brings it back for a while", gone.name)
    })
}

pub(super) async fn undelete(
    session: &Session,
    api: &Api,
    image: &str,
    expires: Option<jiff::Timestamp>,
) -> Outcome<()> {
    let image = find(api, image, &ImageFilter::default()).await?.image.to_string();
    let expires = if let Some(expires) = expires {
        expires
    } else {
        // By the domain's clock, which decides when it goes.
        let status: Status = api.get(paths::STATUS, &()).await?;
        status.now + jiff::SignedDuration::from_hours(7 * 24)
    };
    let request = UndeleteRequest { expires: Some(expires) };
    let reply: UndeleteReply = api.post(&filled(paths::IMAGE_UNDELETE, &image), &request).await?;
    session
        .style
        .show(&reply, |reply| format!("{} is back; it expires {}", reply.name, time_or_dash(reply.expires)))
}

/// What would go, for people.
fn expiring(plan: &ExpireReply) -> String {
    let elsewhere = match &plan.elsewhere[..] {
        [] => "no other domain is known to have it".to_owned(),
        domains => format!("also in {}", domains.join(", ")),
    };
    let copies = match plan.copies.len() {
        1 => "one copy".to_owned(),
        count => format!("{count} copies"),
    };
    format!("{}: {copies} in this domain ({}) would go; {elsewhere}", plan.name, bytes(plan.logical_bytes))
}
