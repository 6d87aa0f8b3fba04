//! Jobs and imports.

use std::time::Duration;

use axum::extract::{Path, State};
use narrows_api::{
    error::codes,
    events::ArrivalInfo,
    jobs::{Counters, ImportFilter, ImportInfo, JobFilter, JobInfo, JobQuery},
    limits::{PAGE_ITEMS_MAX, WAIT_SECONDS_MAX},
    orders::RetryRequest,
    text::time_out,
};
use narrows_domain::{
    Catalog as _, Image, Import, ImportState, OperationKind,
    catalog::NumberedJob,
    image::label,
    import::{DAMAGED, RefusedArrival},
    job::{self, JobKey, JobKind, JobState},
    operation::{Note, Operation, OperationKey, OperationState, WaitReason},
    partner::{Partner, Reach, Trust},
};
use narrows_format::Timestamp;
use tokio::time::Instant;

use super::{
    App,
    answer::{Answer, Body, Failure, Params, good, internal, malformed, not_found},
    caller::{Admin, Caller},
    domains::name_of,
    images::image_name,
    policies,
};
use crate::importer;
use crate::limits::{IMPORTS_LISTED_MAX, JOB_POLL, LISTED_MAX};

/// GET the list, newest first.
pub async fn list(
    State(app): State<App>,
    _admin: Admin,
    Params(filter): Params<JobFilter>,
) -> Answer<Vec<JobInfo>> {
    let kind = match filter.kind.as_deref() {
        None => None,
        Some(text) => Some(text.parse::<JobKind>().map_err(|bad| malformed("kind", &bad.to_string()))?),
    };
    let limit = filter.limit.unwrap_or(100).min(PAGE_ITEMS_MAX);
    good(infos(&app, kind, limit).await?)
}

/// The newest jobs, of one kind if asked, behind as many at most that have not begun.
pub async fn infos(app: &App, kind: Option<JobKind>, limit: u32) -> Result<Vec<JobInfo>, Failure> {
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let is_asked = kind.is_none_or(|kind| kind == JobKind::Backup);
    let mut infos = if is_asked { policies::waiting_jobs(app, limit).await? } else { Vec::new() };
    for job in app.catalog.jobs(kind, limit).await.map_err(|error| internal(&error))? {
        let image = app.catalog.image(job.job.image).await.map_err(|error| internal(&error))?;
        infos.push(job_info(app, &partners, image.as_ref(), job));
    }
    Ok(infos)
}

/// GET one; may be held back until it has ended. The id is a job's number, a run's `run-N`, or an operation's
/// `IMAGE.ORDINAL`: that follows the operation over all its attempts.
pub async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Params(query): Params<JobQuery>,
) -> Answer<JobInfo> {
    let patience = Duration::from_secs(u64::from(query.wait_seconds.unwrap_or(0).min(WAIT_SECONDS_MAX)));
    let deadline = Instant::now() + patience;
    loop {
        let info = one(&app, &caller, &id).await?;
        let now = Instant::now();
        if info.ended || now >= deadline {
            return good(info);
        }
        tokio::time::sleep_until(deadline.min(now + JOB_POLL)).await;
    }
}

/// An operation's id as jobs are asked for.
pub fn operation_id(key: OperationKey) -> String {
    format!("{}.{}", key.image, key.ordinal)
}

fn operation_key(id: &str) -> Option<OperationKey> {
    let (image, ordinal) = id.split_once('.')?;
    Some(OperationKey { image: image.parse().ok()?, ordinal: ordinal.parse().ok()? })
}

async fn one(app: &App, caller: &Caller, id: &str) -> Result<JobInfo, Failure> {
    app.caught_up().await?;
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let image = |image| async move { app.catalog.image(image).await.map_err(|error| internal(&error)) };
    if let Some(key) = operation_key(id) {
        let operation = app.catalog.operation(key).await.map_err(|error| internal(&error))?;
        let operation = operation.ok_or_else(|| not_found("job", id))?;
        let image = image(key.image).await?.ok_or_else(|| not_found("image", &key.image.to_string()))?;
        caller.may_see(app, &image)?;
        return operation_info(app, &partners, &image, &operation).await;
    }
    if let Some(run) = policies::run_number(id) {
        if !caller.is_admin(app) {
            return Err(not_found("job", id));
        }
        return Ok(policies::as_job(policies::one_run(app, run).await?));
    }
    let number: u64 = id.parse().map_err(|_| not_found("job", id))?;
    let job = app.catalog.job(number).await.map_err(|error| internal(&error))?;
    let job = job.ok_or_else(|| not_found("job", id))?;
    let known = image(job.job.image).await?;
    match &known {
        Some(image) => caller.may_see(app, image)?,
        None if caller.is_admin(app) => {}
        None => return Err(not_found("job", id)),
    }
    Ok(job_info(app, &partners, known.as_ref(), job))
}

/// One run, as the job list has it.
fn job_info(app: &App, partners: &[Partner], image: Option<&Image>, numbered: NumberedJob) -> JobInfo {
    let NumberedJob { number, job } = numbered;
    let peer = match job.partner {
        Some(partner) => name_of(app, partners, partner),
        None => image.map(|image| image.client_name.clone()).unwrap_or_default(),
    };
    JobInfo {
        job: number.to_string(),
        kind: job.kind.to_string(),
        image: job.image,
        image_name: image.map(|image| image_name(app, partners, image)).unwrap_or_default(),
        peer,
        state: job.state.to_string(),
        why: job.note.as_ref().map(why).unwrap_or_default(),
        code: job.note.as_ref().map(|note| note.code.clone()).unwrap_or_default(),
        ended: job.state != JobState::Running,
        started: time_out(job.started),
        sent: None,
        finished: job.ended.map(time_out),
        counters: counters(&job.counters),
    }
}

/// An operation over all its attempts.
async fn operation_info(
    app: &App,
    partners: &[Partner],
    image: &Image,
    operation: &Operation,
) -> Result<JobInfo, Failure> {
    let kind = match operation.kind {
        OperationKind::Backup => JobKind::Backup,
        OperationKind::Import => JobKind::Import,
        OperationKind::Replication => JobKind::Replication,
        OperationKind::Duplication => JobKind::Duplication,
    };
    let run = JobKey::operation(kind, operation.key, operation.attempt);
    let run = app.catalog.job_keyed(&run).await.map_err(|error| internal(&error))?;
    let run = run.map(|numbered| numbered.job);
    let totals = app.catalog.job_totals(kind, operation.key).await.map_err(|error| internal(&error))?;
    let note = reason(partners, operation);
    let ended = operation.state.is_final();
    let peer = match &operation.target {
        Some(target) => name_of(app, partners, target.partner),
        None => image.client_name.clone(),
    };
    Ok(JobInfo {
        job: operation_id(operation.key),
        kind: operation.kind.to_string(),
        image: image.id,
        image_name: image_name(app, partners, image),
        peer,
        state: operation.state.to_string(),
        why: note.as_ref().map(why).unwrap_or_default(),
        code: note.map(|note| note.code).unwrap_or_default(),
        ended,
        started: time_out(run.as_ref().map_or(operation.since, |run| run.started)),
        sent: run.as_ref().and_then(|run| run.ended).map(time_out),
        finished: ended.then(|| time_out(operation.since)),
        counters: Counters {
            logical_bytes: image.content.as_ref().map_or(0, |content| content.logical_bytes),
            // Over all attempts.
            wire_bytes: totals.wire_bytes,
            data_bytes: totals.data_bytes,
            resent_bytes: totals.resent_bytes,
            ..run.as_ref().map(|run| counters(&run.counters)).unwrap_or_default()
        },
    })
}

/// Why it stands where it stands. What is held back together with all others of its target has its reason
/// in the target's row.
pub fn reason(partners: &[Partner], operation: &Operation) -> Option<Note> {
    let target = operation.target.as_ref().map(|target| target.partner);
    let partner = partners.iter().find(|partner| Some(partner.domain) == target);
    let (OperationState::Waiting(held), Some(partner)) = (&operation.state, partner) else {
        return operation.note.clone();
    };
    let said = match (held, partner.trust, &partner.reach) {
        (WaitReason::TargetDown, _, Reach::Down { code, sentence, .. }) => {
            (if code.is_empty() { codes::UNREACHABLE } else { code }, sentence.clone())
        }
        // What has a time of its own has met it itself.
        (WaitReason::TargetFull | WaitReason::Trust, Trust::Complete, Reach::Down { code, sentence, .. })
            if operation.next_try.is_none() =>
        {
            (code.as_str(), sentence.clone())
        }
        (WaitReason::Trust, Trust::Half, _) => ("TRUST-001", "the pairing is half-made".to_owned()),
        (WaitReason::Trust, Trust::Frozen, _) => {
            ("TRUST-003", "the partner's identity is in doubt".to_owned())
        }
        (WaitReason::Trust, Trust::Expired, _) => {
            ("AUTH-002", "the partner's certificate expired".to_owned())
        }
        (WaitReason::Unpaired, ..) => ("TRUST-001", "the partner was unpaired".to_owned()),
        _ => return operation.note.clone(),
    };
    Some(Note { code: said.0.to_owned(), sentence: said.1 })
}

fn counters(of: &job::Counters) -> Counters {
    Counters {
        logical_bytes: of.logical_bytes,
        wire_bytes: of.wire_bytes,
        data_bytes: of.data_bytes,
        resent_bytes: of.resent_bytes,
        stored_bytes: of.stored_bytes,
    }
}

/// A code and its sentence, in one line.
pub fn why(note: &Note) -> String {
    match (note.code.as_str(), note.sentence.as_str()) {
        ("", sentence) => sentence.to_owned(),
        (code, "") => code.to_owned(),
        (code, sentence) => format!("{code}: {sentence}"),
    }
}

/// GET the imports, newest first; or those that are not at their end, oldest first. What was refused before it was here comes
/// first, in half of the list, or more where there are fewer imports; of those that are not at their end only what was lately.
pub async fn imports(
    State(app): State<App>,
    _admin: Admin,
    Params(filter): Params<ImportFilter>,
) -> Answer<Vec<ImportInfo>> {
    app.caught_up().await?;
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let limit = filter.limit.unwrap_or(IMPORTS_LISTED_MAX).min(LISTED_MAX);
    let mut refusals = app.catalog.refusals(limit).await.map_err(|error| internal(&error))?;
    let now = app.clock.now();
    refusals.retain(|it| !filter.open || it.is_recent(now));
    let imports = if filter.open {
        app.catalog.unsettled_imports(limit).await
    } else {
        app.catalog.imports(limit).await
    };
    let mut imports = imports.map_err(|error| internal(&error))?;
    let most = limit as usize;
    refusals.truncate(most.saturating_sub(imports.len()).max(most / 2));
    imports.truncate(most.saturating_sub(refusals.len()));
    let mut infos: Vec<_> = refusals.iter().map(|it| refused_info(&app, &partners, it)).collect();
    for import in imports {
        let key = JobKey::import(import.key);
        let job = app.catalog.job_keyed(&key).await.map_err(|error| internal(&error))?;
        let finished = job.and_then(|numbered| numbered.job.ended);
        infos.push(import_info(&app, &partners, &import, finished));
    }
    good(infos)
}

/// POST: tries imports again that are not done; of all of them a portion, so that the reply has an end.
pub async fn retry(
    State(app): State<App>,
    _admin: Admin,
    Body(request): Body<RetryRequest>,
) -> Answer<Vec<ImportInfo>> {
    app.caught_up().await?;
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    if let Some(image) = request.image {
        return good(shown(&app, &partners, &importer::try_again(&app, image).await?).await?);
    }
    let (mut infos, mut after) = (Vec::new(), request.after);
    // An empty portion says that there are no more.
    while infos.is_empty() {
        let images = app.catalog.tryable_images(after, IMPORTS_LISTED_MAX).await;
        let images = images.map_err(|error| internal(&error))?;
        let Some(last) = images.last() else { break };
        after = Some(*last);
        for image in images {
            match importer::try_again(&app, image).await {
                Ok(tried) => infos.extend(shown(&app, &partners, &tried).await?),
                Err(Failure(error)) if [codes::INTERNAL, codes::NOT_READY].contains(&error.code.as_str()) => {
                    return Err(Failure(error));
                }
                // It was decided meanwhile, and there is nothing to try any more.
                Err(Failure(error)) => tracing::debug!(%image, %error, "an import is not tried again"),
            }
        }
    }
    good(infos)
}

async fn shown(app: &App, partners: &[Partner], imports: &[Import]) -> Result<Vec<ImportInfo>, Failure> {
    let mut infos = Vec::new();
    for import in imports {
        let job = app.catalog.job_keyed(&JobKey::import(import.key)).await;
        let finished = job.map_err(|error| internal(&error))?.and_then(|numbered| numbered.job.ended);
        infos.push(import_info(app, partners, import, finished));
    }
    Ok(infos)
}

/// What became of an arrival, for people and programs.
fn import_state(import: &Import) -> String {
    let code = import.note.as_ref().map(|note| note.code.as_str()).unwrap_or_default();
    match (&import.state, code) {
        (ImportState::Imported, _) => "complete".to_owned(),
        (ImportState::Waiting { .. }, "AIR-001") => "waiting(clock)".to_owned(),
        (state, "") => state.name().to_owned(),
        (state, code) => format!("{}({code})", state.name()),
    }
}

/// Why it stands there, in one line.
fn import_why(import: &Import) -> String {
    let damage = import.damage.as_ref().map(|damage| format!("{DAMAGED}: {damage}"));
    [damage, import.note.as_ref().map(why)].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// What arrived, and what became of it.
pub fn arrival_info(app: &App, partners: &[Partner], import: &Import) -> ArrivalInfo {
    let record = &import.arrival.record;
    let origin = name_of(app, partners, record.origin);
    ArrivalInfo {
        image: record.image,
        image_name: format!("{origin}/{}", label(&record.client_name, record.started)),
        origin: record.origin,
        sender: import.arrival.sender,
        sender_name: name_of(app, partners, import.arrival.sender),
        slp: import.arrival.slp().to_owned(),
        state: import_state(import),
        why: import_why(import),
        arrived: time_out(import.arrived),
    }
}

fn import_info(app: &App, partners: &[Partner], import: &Import, finished: Option<Timestamp>) -> ImportInfo {
    ImportInfo { arrival: arrival_info(app, partners, import), finished: finished.map(time_out) }
}

/// What was refused at its commit, so that nothing of it is here.
fn refused_info(app: &App, partners: &[Partner], refused: &RefusedArrival) -> ImportInfo {
    let origin = name_of(app, partners, refused.origin);
    let arrival = ArrivalInfo {
        image: refused.image,
        image_name: format!("{origin}/{}", refused.label),
        origin: refused.origin,
        sender: refused.sender,
        sender_name: name_of(app, partners, refused.sender),
        slp: refused.slp.clone(),
        state: format!("refused({})", refused.note.code),
        why: why(&refused.note),
        arrived: time_out(refused.last),
    };
    ImportInfo { arrival, finished: Some(time_out(refused.last)) }
}
