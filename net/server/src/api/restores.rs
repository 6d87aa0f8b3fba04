//! A client asks for an image.
//!
//! Guarantee: AIR-008. The destination is the principal of the certificate, which this domain's CA must have
//! issued. An image of this domain goes to the client that it is of, or by the right `restore-any` to another one; an image of
//! another origin goes to any client of this domain. As a tar, which may go anywhere, it is given by that right only.
//! Administrators have it, a client may be granted it, and where it was needed the job, the log and the catalog say who had what.

use axum::extract::State;
use narrows_api::{
    ApiError, Hex,
    backups::{RestoreGrant, RestoreRequest},
    error::codes,
    images::ImageFilter,
    text::hex,
};
use narrows_domain::{
    Catalog as _, Change, air,
    job::{Job, JobKey, JobKind},
    operation::Note,
    storage::Client,
};

use super::{
    App,
    answer::{Answer, Body, Failure, good, internal},
    caller::{ClientCaller, RestoreAny, not_allowed},
    expiry::readable,
    images,
};
use crate::{random, tickets::Ticket};

/// POST: a ticket for the data port.
pub async fn begin(
    State(app): State<App>,
    caller: ClientCaller,
    Body(request): Body<RestoreRequest>,
) -> Answer<RestoreGrant> {
    // Before anything is looked up: a stranger learns nothing of what is here.
    may_restore(&app, &caller, true)?;
    let client = app.catalog.client(caller.client).await.map_err(|error| internal(&error))?;
    let client = client.ok_or_else(|| not_allowed("an enrolled client"))?;
    let right = right_of(&caller, &client);
    if request.as_tar && right.is_none() {
        return Err(no_tar(&client.name).into());
    }
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let filter = ImageFilter {
        client: request.client,
        domain: request.origin,
        until: request.at,
        ..ImageFilter::default()
    };
    let image = images::named(&app, &partners, &request.image, &filter).await?;
    let is_foreign = image.origin != app.who.domain;
    let is_of_other = !is_foreign && image.client != caller.client;
    if is_of_other && right.is_none() {
        let error = ApiError::new("AUTH-005", format!("image {} is of another client", image.label())).help(
            "use a context with the administrator's token, or have `restore-any` granted: `narrowsctl client grant`",
        );
        return Err(error.into());
    }
    may_restore(&app, &caller, image.restorable)?;
    let pool = readable(&app, &image).await?;
    let Some(content) = image.content.clone() else {
        return Err(
            ApiError::new(codes::NOT_READY, format!("image {} is not complete", image.label())).into()
        );
    };
    let open = app.pools.get(pool)?;
    let by = right.filter(|_| request.as_tar || is_of_other);
    let said = by.map(|right| taken(request.as_tar, &client.name, right));
    if let Some(note) = &said {
        let audit = RestoreAny { who: format!("client {}", client.name) };
        audit.audit(&app, ("restore", &note.sentence), &image).await?;
    }
    let key = JobKey::restore(u128::from_le_bytes(random::bytes()));
    // First: a job without a ticket would wait for its session until the next start. Nobody knows the ticket yet.
    let ticket = Ticket::Restore { client: caller.client, image: image.id, pool, job: key.clone() };
    let ticket = app.tickets.give(ticket)?;
    let job = begin_job(&app, key, &image, said).await?;
    tracing::info!(
        image = %image.id, client = %caller.client, as_tar = request.as_tar, by_administrator = caller.is_admin,
        "a restore was allowed"
    );
    let data = app.data_at(pool);
    good(RestoreGrant {
        ticket,
        data_addr: data.address,
        data_server: data.server,
        domain: app.who.domain,
        pool,
        incarnation: open.incarnation,
        root: Hex(content.root.0),
        root_length: content.root_length,
        record: hex(&content.signed),
        job,
        image: images::info(&app, &partners, image).await?,
    })
}

/// By what a client may have what is not its own.
fn right_of(caller: &ClientCaller, client: &Client) -> Option<&'static str> {
    match (caller.is_admin, client.restore_any) {
        (true, _) => Some("the administrator's token"),
        (false, true) => Some("its right `restore-any`"),
        (false, false) => None,
    }
}

fn no_tar(client: &str) -> ApiError {
    let error = ApiError::new("AUTH-005", "a tar needs the right `restore-any`")
        .because("it goes wherever it is piped, as what is browsed does");
    error.help(format!(
        "use a context with the administrator's token, restore into a directory, or have it granted: \
         `narrowsctl client grant {client} restore-any`"
    ))
}

fn may_restore(app: &App, caller: &ClientCaller, restorable: bool) -> Result<(), Failure> {
    air::may_restore(&app.own(), caller.domain, restorable).map_err(|note| {
        let help = match note.code.as_str() {
            "AIR-008" => "enrol the destination here: `narrowsctl client enroll`",
            _ => "restore it with a newer server",
        };
        ApiError::new(note.code, note.sentence).help(help).into()
    })
}

/// What the list of jobs keeps of a restore that needed a right: who had it, and by which.
fn taken(as_tar: bool, client: &str, right: &str) -> Note {
    let how = if as_tar { "as a tar " } else { "" };
    Note { code: String::new(), sentence: format!("{how}to client {client}, by {right}") }
}

/// The restore itself runs between client and data plane; the end of its session, or of its unused ticket, is
/// the end of the job.
async fn begin_job(
    app: &App,
    key: JobKey,
    image: &narrows_domain::Image,
    note: Option<Note>,
) -> Result<String, Failure> {
    let mut job = Job::begin(key.clone(), JobKind::Restore, image.id, app.clock.now());
    job.note = note;
    job.counters.logical_bytes = image.content.as_ref().map_or(0, |content| content.logical_bytes);
    app.control.put(vec![Change::Job(job)]).await?;
    let numbered = app.catalog.job_keyed(&key).await.map_err(|error| internal(&error))?;
    Ok(numbered.map(|numbered| numbered.number.to_string()).unwrap_or_default())
}
