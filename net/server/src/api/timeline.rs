//! What happened to an image, step by step, here and at partners.
//!
//! Steps are the runs that the catalog has kept, what was waited for between them, and what is waited for now. Partners
//! are asked for theirs; one that does not answer is told with its last known state. Times of others are shown by the
//! clock here, as far as the skew is known.

use axum::extract::{Path, State};
use narrows_api::{
    ApiError,
    images::ImageFilter,
    paths,
    text::time_out,
    timeline::{Step, Timeline, Witness},
};
use narrows_domain::{
    Catalog as _, Image, OperationKind, OperationState, ReplicaRecord,
    catalog::NumberedJob,
    job::{Job, JobKey, JobKind, JobState},
    operation::Operation,
    partner::{Partner, Trust},
};
use narrows_format::{DomainId, ImageId, Timestamp};

use super::{
    App,
    answer::{Answer, Failure, Params, good, internal, not_found},
    caller::{Admin, PartnerCaller, not_allowed},
    domains::name_of,
    images::{image_name, named},
    jobs::{reason, why},
};
use crate::{
    limits::TIMELINE_JOBS_MAX,
    time::{millis_between, plus_millis},
};

/// GET the whole of it.
pub async fn show(
    State(app): State<App>,
    _admin: Admin,
    Path(id): Path<String>,
    Params(filter): Params<ImageFilter>,
) -> Answer<Timeline> {
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let image = named(&app, &partners, &id, &filter).await?;
    let mut steps = own_steps(&app, &partners, &image, None).await?;
    let mut domains = Vec::new();
    for partner in others(&app, &partners, &image).await? {
        match ask(&app, partner, image.id).await {
            Ok(theirs) => {
                steps.extend(theirs);
                domains.push(witness(&app, partner, image.id, None).await?);
            }
            Err(error) => domains.push(witness(&app, partner, image.id, Some(&error)).await?),
        }
    }
    steps.sort_by_key(|step| step.began);
    good(Timeline { image: image.id, name: image_name(&app, &partners, &image), steps, domains })
}

/// GET for a partner: what happened here to an image that it made or sent.
pub async fn for_partner(
    State(app): State<App>,
    PartnerCaller(partner): PartnerCaller,
    Path(id): Path<String>,
) -> Answer<Vec<Step>> {
    let id: ImageId = id.parse().map_err(|_| not_found("image", &id))?;
    app.caught_up().await?;
    let image = app.catalog.image(id).await.map_err(|error| internal(&error))?;
    let theirs = image.filter(|it| it.origin == partner.domain || it.sender == Some(partner.domain));
    if !partner.grants.status {
        return Err(not_allowed("the grant `status`"));
    }
    let image = theirs.ok_or_else(|| not_found("image", &id.to_string()))?;
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    good(own_steps(&app, &partners, &image, Some(partner.domain)).await?)
}

/// The partners that sent it, or that it goes or went to.
async fn others<'p>(app: &App, partners: &'p [Partner], image: &Image) -> Result<Vec<&'p Partner>, Failure> {
    let operations = app.catalog.operations(image.id).await.map_err(|error| internal(&error))?;
    let replicas = app.catalog.replicas(image.id).await.map_err(|error| internal(&error))?;
    let is_one = |domain: DomainId| {
        image.sender == Some(domain)
            || image.origin == domain
            || replicas.iter().any(|it| it.partner == domain)
            || operations.iter().any(|it| it.target.as_ref().is_some_and(|target| target.partner == domain))
    };
    Ok(partners.iter().filter(|it| is_one(it.domain)).collect())
}

/// Its steps, by the clock here and under its name here.
async fn ask(app: &App, partner: &Partner, image: ImageId) -> Result<Vec<Step>, ApiError> {
    if partner.trust != Trust::Complete {
        return Err(ApiError::new("TRUST-001", "there is no complete pairing with it"));
    }
    let api = app.partners.api(partner.domain, &partner.url, &partner.name)?;
    let theirs: Vec<Step> = api.get(&paths::PARTNER_TIMELINE.replace("{id}", &image.to_string())).await?;
    let skew_ms = partner.skew_ms.unwrap_or(0).saturating_neg();
    let here = |at: jiff::Timestamp| time_out(plus_millis(narrows_api::text::time_in(at), skew_ms));
    Ok(theirs
        .into_iter()
        .map(|step| Step {
            domain: partner.domain,
            domain_name: partner.name.clone(),
            began: here(step.began),
            ended: step.ended.map(here),
            ..step
        })
        .collect())
}

async fn witness(
    app: &App,
    partner: &Partner,
    image: ImageId,
    error: Option<&ApiError>,
) -> Result<Witness, Failure> {
    let replicas = app.catalog.replicas(image).await.map_err(|error| internal(&error))?;
    let there = replicas.into_iter().filter(|it| it.partner == partner.domain);
    let last: Option<ReplicaRecord> = there.max_by_key(|it| it.checked);
    Ok(Witness {
        domain: partner.domain,
        name: partner.name.clone(),
        answered: error.is_none(),
        why: error.map(|error| format!("{}: {}", error.code, error.message)).unwrap_or_default(),
        last_known: last.as_ref().map(|it| it.state.to_string()).unwrap_or_default(),
        as_of: last.map(|it| time_out(it.checked)),
    })
}

/// What happened in this domain, in order.
/// `asker` hears nothing of other partners.
async fn own_steps(
    app: &App,
    partners: &[Partner],
    image: &Image,
    asker: Option<DomainId>,
) -> Result<Vec<Step>, Failure> {
    let mut jobs =
        app.catalog.jobs_of(image.id, TIMELINE_JOBS_MAX).await.map_err(|error| internal(&error))?;
    let mut operations = app.catalog.operations(image.id).await.map_err(|error| internal(&error))?;
    if let Some(asker) = asker {
        jobs.retain(|it| it.job.partner.is_none_or(|partner| partner == asker));
        operations.retain(|it| it.target.as_ref().is_none_or(|target| target.partner == asker));
    }
    let teller = Teller { app, partners };
    let mut steps: Vec<Step> = jobs.iter().map(|job| teller.run(&job.job)).collect();
    for operation in &operations {
        let attempts = attempts(&jobs, operation);
        steps.extend(attempts.windows(2).filter_map(|pair| teller.between(pair[0], pair[1])));
        steps.extend(teller.now(operation, attempts.last().copied()));
    }
    steps.sort_by_key(|step| step.began);
    Ok(steps)
}

/// The runs of an operation, in order.
fn attempts<'j>(jobs: &'j [NumberedJob], operation: &Operation) -> Vec<&'j Job> {
    let kind = match operation.kind {
        OperationKind::Backup => JobKind::Backup,
        OperationKind::Replication => JobKind::Replication,
        OperationKind::Duplication => JobKind::Duplication,
        // Its run is keyed by the event that it came from.
        OperationKind::Import => return Vec::new(),
    };
    let prefix = JobKey::attempts(kind, operation.key);
    jobs.iter().map(|numbered| &numbered.job).filter(|job| job.key.0.starts_with(&prefix)).collect()
}

struct Teller<'a> {
    app: &'a App,
    partners: &'a [Partner],
}

impl Teller<'_> {
    fn title(&self, kind: JobKind, partner: Option<DomainId>) -> String {
        let Some(partner) = partner else { return kind.to_string() };
        let word = if kind == JobKind::Import { "from" } else { "to" };
        format!("{kind} {word} {}", name_of(self.app, self.partners, partner))
    }

    fn step(&self, what: String, state: String, (began, ended): (Timestamp, Option<Timestamp>)) -> Step {
        Step {
            domain: self.app.who.domain,
            domain_name: self.app.who.name.clone(),
            what,
            state,
            began: time_out(began),
            ended: ended.map(time_out),
            took_ms: ended.map(|ended| u64::try_from(millis_between(began, ended)).unwrap_or(0)),
            logical_bytes: 0,
            wire_bytes: 0,
            stored_bytes: 0,
            why: String::new(),
        }
    }

    /// One run of something.
    fn run(&self, job: &Job) -> Step {
        let times = (job.started, job.ended);
        Step {
            logical_bytes: job.counters.logical_bytes,
            wire_bytes: job.counters.wire_bytes,
            stored_bytes: job.counters.stored_bytes,
            why: job.note.as_ref().map(why).unwrap_or_default(),
            ..self.step(self.title(job.kind, job.partner), job.state.to_string(), times)
        }
    }

    /// What was waited for between two tries, which is why the first one ended.
    fn between(&self, before: &Job, after: &Job) -> Option<Step> {
        let began = before.ended?;
        let times = (began, Some(after.started));
        Some(Step {
            why: before.note.as_ref().map(why).unwrap_or_default(),
            ..self.step(self.title(before.kind, before.partner), "waited".to_owned(), times)
        })
    }

    /// What became of an operation after its last try, or is waited for now.
    fn now(&self, operation: &Operation, last: Option<&Job>) -> Option<Step> {
        let partner = operation.target.as_ref().map(|target| target.partner)?;
        let name = name_of(self.app, self.partners, partner);
        let sent = last.filter(|job| job.state == JobState::Done).and_then(|job| job.ended);
        let note = || reason(self.partners, operation).as_ref().map(why).unwrap_or_default();
        match &operation.state {
            OperationState::InProcess => None,
            OperationState::Complete => {
                let what = format!("confirmation by {name}");
                let began = sent.unwrap_or(operation.since);
                let confirmed = self.step(what, "complete".to_owned(), (began, Some(operation.since)));
                Some(Step { why: note(), ..confirmed })
            }
            state if state.is_final() => {
                let what = self.title(JobKind::Replication, Some(partner));
                let times = (operation.since, Some(operation.since));
                Some(Step { why: note(), ..self.step(what, state.to_string(), times) })
            }
            state => {
                let what = self.title(JobKind::Replication, Some(partner));
                Some(Step { why: note(), ..self.step(what, state.to_string(), (operation.since, None)) })
            }
        }
    }
}
