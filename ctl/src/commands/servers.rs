//! `media-server ...`.

use narrows_api::{
    media_servers::{
        DrainRequest, InviteServerReply, InviteServerRequest, MediaServerInfo, RemoveServerRequest,
    },
    paths,
    storage::RemoveReply,
};

use super::{Session, removing};
use crate::{
    api::filled,
    cli::MediaServerCommand,
    failure::Outcome,
    output::{table, time_or_dash},
};

pub(super) async fn run(session: &Session, command: MediaServerCommand) -> Outcome<()> {
    let api = session.administrator()?;
    match command {
        MediaServerCommand::Invite { name, again } => {
            let request = InviteServerRequest { name, again, expires_in_seconds: None };
            let reply: InviteServerReply = api.post(paths::MEDIA_SERVER_INVITE, &request).await?;
            session.style.show(&reply, |reply| reply.line.clone())
        }
        MediaServerCommand::List => {
            let servers: Vec<MediaServerInfo> = api.get(paths::MEDIA_SERVERS, &()).await?;
            session.style.show(&servers, |servers| list(servers))
        }
        MediaServerCommand::Drain { name, undo } => {
            let path = filled(paths::MEDIA_SERVER_DRAIN, &name);
            let server: MediaServerInfo = api.post(&path, &DrainRequest { undo }).await?;
            session.style.show(&server, drained)
        }
        MediaServerCommand::Remove { name, lost, sure } => {
            let path = filled(paths::MEDIA_SERVER_REMOVE, &name);
            let request = |dry_run| RemoveServerRequest { dry_run, lost };
            if lost {
                let counted: RemoveReply = api.post(&path, &request(true)).await?;
                if sure.dry_run {
                    return session.style.show(&counted, given_up);
                }
                let what = given_up(&counted);
                sure.ask(session.style, &what, &name)?;
                let reply: RemoveReply = api.post_work(&path, &request(false)).await?;
                return session.style.show(&reply, |_| format!("media server `{name}` is removed"));
            }
            removing::remove_by(session, &api, &path, ("media server", &name), sure, request).await
        }
    }
}

fn list(servers: &[MediaServerInfo]) -> String {
    let row = |server: &MediaServerInfo| {
        let pools = server.pools.iter().map(|pool| format!("{} ({})", pool.name, pool.copies));
        vec![
            server.name.clone(),
            server.state.clone(),
            time_or_dash(server.since),
            pools.collect::<Vec<_>>().join(", "),
            server.writing.to_string(),
            server.version.clone(),
            server.clock_skew_ms.map_or_else(|| "-".to_owned(), |skew| format!("{skew} ms")),
            time_or_dash(server.certificate_until),
            server.url.clone(),
            server.why.clone(),
        ]
    };
    let rows: Vec<_> = servers.iter().map(row).collect();
    let headers = [
        "NAME",
        "STATE",
        "SINCE",
        "POOLS (COPIES)",
        "WRITING",
        "VERSION",
        "SKEW",
        "CERTIFICATE UNTIL",
        "URL",
        "WHY",
    ];
    table(&headers, &rows)
}

/// What `remove --lost` would do.
fn given_up(counted: &RemoveReply) -> String {
    let name = &counted.name;
    let mut lines = vec![match counted.uses.len() {
        0 => format!("media server `{name}` would be removed; nothing lies in its pools or names them"),
        _ => format!("media server `{name}` would be removed, and with it what is lost:"),
    }];
    lines.extend(counted.uses.iter().map(|used| format!("  {used}")));
    lines.join("\n")
}

fn drained(server: &MediaServerInfo) -> String {
    let name = &server.name;
    match server.state.as_str() {
        "drained" => format!("{name} is drained: nothing writes to its pools, and nothing new will"),
        "draining" => format!("{name} is draining: {}", server.why),
        "down" => format!("{name} does not answer: {}", server.why),
        state => format!("{name} is {state}, and what comes may go there"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_up_is_said_before() {
        let uses = vec!["7 copies in pool `vault`".to_owned()];
        let counted = RemoveReply { name: "m1".into(), removed: false, uses };
        let text = given_up(&counted);
        assert_eq!(
            text,
            "media server `m1` would be removed, and with it what is lost:\n  7 copies in pool `vault`"
        );
        let text = given_up(&RemoveReply { uses: Vec::new(), ..counted });
        assert!(text.ends_with("nothing lies in its pools or names them"), "{text}");
    }

    #[test]
    fn what_drains_says_what_still_runs() {
        let text = "{\"name\":\"m1\",\"state\":\"draining\",\"why\":\"2 jobs still write to its pools\",\"url\":\"\",\
                    \"data_addr\":\"\",\"writing\":2,\"pools\":[{\"name\":\"vault\",\"copies\":7}]}";
        let server: MediaServerInfo = serde_json::from_str(text).unwrap();
        assert_eq!(drained(&server), "m1 is draining: 2 jobs still write to its pools");
        let shown = list(std::slice::from_ref(&server));
        assert!(shown.contains("vault (7)") && shown.contains("draining"), "{shown}");
        let done = MediaServerInfo { state: "drained".into(), writing: 0, ..server };
        assert!(drained(&done).contains("nothing writes"));
    }
}
