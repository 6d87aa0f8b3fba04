//! A client begins a backup: the image gets its identity, the data session its ticket.

use axum::extract::State;
use narrows_api::{
    ApiError, Hex,
    backups::{BackupGrant, BackupRequest, BaseImage},
    error::codes,
    limits::ROOTS_MAX,
    text::time_out,
};
use narrows_domain::{
    Catalog as _, Event, Image,
    machine::{BackupAsk, BackupBegun},
    operation::OperationKey,
    retry::Failure as Broken,
};
use narrows_format::{ImageId, record::ScheduleKind};

use super::{
    App,
    answer::{Answer, Body, Failure, good, internal, malformed},
    caller::{ClientCaller, not_allowed},
    jobs::operation_id,
};
use crate::{random, tickets::Ticket};

/// POST: begins a backup, or goes on with the unfinished one of the same lineage.
pub async fn begin(
    State(app): State<App>,
    caller: ClientCaller,
    Body(request): Body<BackupRequest>,
) -> Answer<BackupGrant> {
    if caller.domain != app.who.domain {
        return Err(not_allowed("a client of this domain"));
    }
    let client = app.catalog.client(caller.client).await.map_err(|error| internal(&error))?;
    let client = client.ok_or_else(|| not_allowed("an enrolled client"))?;
    let ask = BackupAsk {
        fresh: ImageId(random::uuid()),
        client: client.id,
        client_name: client.name,
        slp: slp_of(&request)?,
        policy: request.policy.clone().unwrap_or_default(),
        schedule: ScheduleKind::Manual,
        roots: roots_of(&request)?,
    };
    // What the log holds already decides whether this goes on with an unfinished image.
    app.caught_up().await?;
    let begun = app.control.begin_backup(ask).await?;
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

fn slp_of(request: &BackupRequest) -> Result<String, Failure> {
    match (&request.slp, &request.policy) {
        (Some(slp), _) => Ok(slp.clone()),
        (None, Some(policy)) => {
            let error = ApiError::new(codes::NOT_FOUND, format!("there is no backup policy `{policy}`"))
                .help("name an SLP: --slp NAME");
            Err(error.into())
        }
        (None, None) => Err(malformed("slp", "an SLP is needed: --slp NAME")),
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
    Ok(BackupGrant {
        image: image.id,
        name: image.label(),
        ticket,
        data_addr: app.config.data_addr(),
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
