//! A client begins a backup: the image gets its identity, the data session its ticket.

use axum::extract::State;
use narrows_api::{
    Hex,
    backups::{BackupGrant, BackupRequest, BaseImage},
    limits::ROOTS_MAX,
    text::time_out,
};
use narrows_domain::{
    Event, Image,
    machine::{BackupAsk, BackupBegun},
    operation::OperationKey,
    retry::Failure as Broken,
};
use narrows_format::{ImageId, record::ScheduleKind};

use super::{
    App,
    agent::{own_client, working},
    answer::{Answer, Body, Failure, good, malformed},
    caller::ClientCaller,
    jobs::operation_id,
};
use crate::{random, tickets::Ticket};

/// POST: begins a backup, or goes on with the unfinished one of the same lineage.
pub async fn begin(
    State(app): State<App>,
    caller: ClientCaller,
    Body(request): Body<BackupRequest>,
) -> Answer<BackupGrant> {
    let client = own_client(&app, &caller).await?;
    let working = request.run.map(|work| working(&client, work));
    let ask = BackupAsk {
        fresh: ImageId(random::uuid()),
        client: client.id,
        client_name: client.name,
        slp: request.slp.clone().unwrap_or_default(),
        policy: request.policy.clone().unwrap_or_default(),
        schedule: ScheduleKind::Manual,
        roots: roots_of(&request)?,
    };
    // What the log holds already decides whether this goes on with an unfinished image.
    app.caught_up().await?;
    let begun = match (&request.slp, &request.policy) {
        (Some(_), None) if working.is_none() => app.control.begin_backup(ask).await?,
        (None, Some(_)) => app.control.begin_policy_backup(ask, working).await?,
        _ => return Err(malformed("slp", "one of SLP and policy is needed: --slp NAME or --policy NAME")),
    };
    let (image, attempt) = (begun.image.id, begun.attempt);
    match grant(&app, begun) {
        Ok(grant) => good(grant),
        Err(Failure(error)) => {
            // Without a ticket nobody comes: its place is free again.
            let failure = Broken::interrupted("no ticket could be given");
            app.control.tell(Event::BackupInterrupted { image, attempt, failure }).await;
            Err(error.into())
        }
    }
}

fn roots_of(request: &BackupRequest) -> Result<Vec<String>, Failure> {
    let roots = &request.roots;
    if roots.is_empty() || roots.len() > ROOTS_MAX {
        return Err(malformed("roots", &format!("1 to {ROOTS_MAX} source paths are needed")));
    }
    for root in roots {
        let text = root.0.as_str();
        let is_absolute = text.starts_with('/') || text.starts_with("stdin:") || text.starts_with("device:/");
        if !is_absolute || root.to_bytes().is_none() {
            return Err(malformed("roots", &format!("{text:?} is no absolute path")));
        }
    }
    let mut texts: Vec<String> = roots.iter().map(|root| root.0.clone()).collect();
    texts.sort_unstable();
    texts.dedup();
    Ok(texts)
}

fn grant(app: &App, begun: BackupBegun) -> Result<BackupGrant, Failure> {
    let BackupBegun { image, attempt, resumed, pool, copy, base } = begun;
    let open = app.pools.get(pool)?;
    let ticket = Ticket::Backup { client: image.client, image: image.id, attempt, copy, pool };
    let ticket = app.tickets.give(ticket)?;
    let data = app.data_at(pool);
    Ok(BackupGrant {
        image: image.id,
        name: image.label(),
        ticket,
        data_addr: data.address,
        data_server: data.server,
        domain: app.who.domain,
        pool,
        incarnation: open.incarnation,
        client: image.client,
        lineage: Hex(image.lineage),
        resume: resumed,
        segment_mean: open.segment_mean,
        base: base.as_ref().and_then(base_image),
        job: operation_id(OperationKey { image: image.id, ordinal: 1 }),
    })
}

fn base_image(image: &Image) -> Option<BaseImage> {
    let content = image.content.as_ref()?;
    Some(BaseImage {
        image: image.id,
        root: Hex(content.root.0),
        root_length: content.root_length,
        started: time_out(image.started),
    })
}
