//! `domain invite|pair|list|show`; what is ordered about partners is in `partners`.

use narrows_api::{
    domains::{DomainInfo, InviteReply, InviteRequest, PairRequest},
    paths,
};

use super::{Session, partners};
use crate::{
    api::filled,
    cli::DomainCommand,
    failure::{Failure, Outcome},
    output::{counted, table, time_or_dash},
};

pub(super) async fn run(session: &Session, command: DomainCommand) -> Outcome<()> {
    let api = session.administrator()?;
    match command {
        DomainCommand::Invite { expires_in, alias } => {
            let request = InviteRequest { expires_in_seconds: expires_in.map(seconds).transpose()?, alias };
            let reply: InviteReply = api.post(paths::DOMAIN_INVITE, &request).await?;
            session.style.show(&reply, |reply| reply.line.clone())
        }
        DomainCommand::Pair { line, alias, dial_out, window } => {
            let request = PairRequest { line, alias, dial_out, window };
            let info: DomainInfo = api.post(paths::DOMAIN_PAIR, &request).await?;
            session.style.show(&info, |info| format!("{} is {}", info.name, info.state))
        }
        DomainCommand::List => {
            let domains: Vec<DomainInfo> = api.get(paths::DOMAINS, &()).await?;
            session.style.show(&domains, |domains| {
                let row = |info: &DomainInfo| {
                    let seen = time_or_dash(info.last_seen);
                    vec![info.name.clone(), info.state.clone(), info.url.clone(), seen, info.why.clone()]
                };
                let rows: Vec<_> = domains.iter().map(row).collect();
                table(&["NAME", "STATE", "URL", "LAST SEEN", "WHY"], &rows)
            })
        }
        DomainCommand::Show { name } => {
            let info: DomainInfo = api.get(&filled(paths::DOMAIN, &name), &()).await?;
            session.style.show(&info, describe)
        }
        DomainCommand::Pause { name } => partners::pause(session, &api, &name).await,
        DomainCommand::Resume { name } => partners::resume(session, &api, &name).await,
        DomainCommand::Receive { name, unit } => partners::receive(session, &api, &name, unit).await,
        DomainCommand::Limit { name, images } => partners::limit(session, &api, &name, images).await,
        DomainCommand::Dial { name, who, window } => {
            partners::dial(session, &api, (&name, who.out), window).await
        }
        DomainCommand::Grant(args) => partners::grant(session, &api, args).await,
        DomainCommand::Decide(args) => partners::decide(session, &api, args).await,
        DomainCommand::Unpair(args) => partners::unpair(session, &api, args).await,
    }
}

fn seconds(span: jiff::SignedDuration) -> Outcome<u32> {
    let seconds = u32::try_from(span.as_secs()).ok().filter(|seconds| *seconds > 0);
    seconds.ok_or_else(|| {
        Failure::usage(format!(
            "`--expires-in {span:#}`: a line works for a second at least, and some years at most"
        ))
    })
}

/// A domain for people.
pub(super) fn describe(info: &DomainInfo) -> String {
    let skew = info.clock_skew_ms.map_or_else(|| "-".to_owned(), |skew| format!("{skew} ms"));
    let rows = [
        ("name", info.name.clone()),
        ("domain", info.domain.to_string()),
        ("state", info.state.clone()),
        ("why", info.why.clone()),
        ("incarnation", info.incarnation.to_string()),
        ("url", info.url.clone()),
        ("data", info.data_addr.clone()),
        ("ca", info.ca_fingerprint.to_string()),
        ("signing key", info.signing_key.to_string()),
        ("grants", info.grants.join(", ")),
        ("received by", info.receive_unit.clone()),
        (
            "at once",
            match info.images_at_once {
                0 => String::new(),
                count => counted(count, "image", "images"),
            },
        ),
        ("dials", if info.dials.is_empty() { String::new() } else { partners::dialling(info) }),
        ("since", time_or_dash(info.since)),
        ("last seen", time_or_dash(info.last_seen)),
        ("clock", skew),
        ("backlog", info.backlog_images.to_string()),
    ];
    let given = rows.iter().filter(|(_, value)| !value.is_empty());
    let lines: Vec<String> = given.map(|(name, value)| format!("{name:12} {value}")).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_never_worked_is_not_asked_for() {
        for (span, worth) in
            [("15m", Some(900)), ("48h", Some(172_800)), ("0s", None), ("-1h", None), ("900ms", None)]
        {
            assert_eq!(seconds(span.parse().unwrap()).ok(), worth, "{span}");
        }
    }
}
