//! The steps of an image in this domain: runs, arrivals, and what was waited for before and between them.

use narrows_api::{text::time_out, timeline::Step};
use narrows_domain::{
    Catalog as _, Image, OperationKind, OperationState, ReplicaRecord,
    catalog::NumberedJob,
    import::{Import, ImportState},
    job::{Job, JobKey, JobKind, JobState},
    operation::{Note, Operation, WaitReason},
    partner::Partner,
    storage::Pool,
    wait::{self, Part, Silence, Wait, Why},
};
use narrows_format::{DomainId, PoolId, Timestamp};

use crate::{
    api::{
        App,
        answer::{Failure, internal},
        domains::name_of,
        jobs::{reason, why},
        short,
    },
    limits::TIMELINE_JOBS_MAX,
    time::millis_between,
};

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listener {
    /// The administrator here.
    House,
    /// The domain that made it.
    Origin(DomainId),
    /// A domain that sent it: it hears nothing of others who did.
    Sender(DomainId),
}

impl Listener {
    /// Whether what was met with this partner is told in words. Others hear the code: the words name its addresses.
    fn hears_of(self, partner: Option<DomainId>) -> bool {
        match self {
            Self::House => true,
            Self::Origin(asker) | Self::Sender(asker) => partner.is_none_or(|partner| partner == asker),
        }
    }
}

/// Whether what a partner brought, first or again, was taken in.
pub(super) async fn was_sent_by(app: &App, image: &Image, partner: DomainId) -> Result<bool, Failure> {
    let arrivals = app.catalog.imports_of(image.id).await.map_err(|error| internal(&error))?;
    let is_its = |it: &Import| it.key.sender == partner && it.state == ImportState::Imported;
    Ok(image.sender == Some(partner) || arrivals.iter().any(is_its))
}

/// What happened in this domain, in order, and whether the oldest of it is left out.
pub(super) async fn own_steps(
    app: &App,
    partners: &[Partner],
    image: &Image,
    listener: Listener,
) -> Result<(Vec<Step>, bool), Failure> {
    let failed = |error: narrows_catalog::Error| internal(&error);
    let mut jobs = app.catalog.jobs_of(image.id, TIMELINE_JOBS_MAX).await.map_err(failed)?;
    let mut is_cut = jobs.len() as u64 >= u64::from(TIMELINE_JOBS_MAX);
    let mut arrivals = app.catalog.imports_of(image.id).await.map_err(failed)?;
    if let Listener::Sender(asker) = listener {
        jobs.retain(|it| it.job.kind != JobKind::Import || it.job.partner == Some(asker));
        arrivals.retain(|it| it.key.sender == asker);
    }
    let operations = app.catalog.operations(image.id).await.map_err(failed)?;
    let waits = app.catalog.waits(image.id).await.map_err(failed)?;
    let pools = app.catalog.pools().await.map_err(failed)?;
    let teller = Teller { app, partners, image, pools: &pools, operations: &operations, listener };
    // What happened at one moment follows in this order.
    let mut steps: Vec<Step> = arrivals.iter().map(|arrival| teller.arrival(arrival)).collect();
    steps.extend(jobs.iter().map(|job| teller.run(&job.job)));
    for operation in &operations {
        let silences = match &operation.target {
            Some(target) => app.catalog.silences(target.partner).await.map_err(failed)?,
            None => Vec::new(),
        };
        let its: Vec<_> = waits.iter().filter(|it| it.operation == operation.key).collect();
        let attempts = attempts(&jobs, operation);
        is_cut |= is_forgotten(operation, &attempts);
        teller.follow(operation, &attempts, (&its, &silences), &mut steps);
    }
    let replicas = app.catalog.replicas(image.id).await.map_err(failed)?;
    steps.extend(replicas.iter().filter_map(|replica| teller.shortened(replica)));
    steps.sort_by_key(|step| step.began);
    Ok((steps, is_cut))
}

/// Runs before the first of these are not remembered: what was waited for before it can't be told.
fn is_forgotten(operation: &Operation, attempts: &[&Job]) -> bool {
    let Some(kind) = kind_of(operation) else { return false };
    let prefix = JobKey::attempts(kind, operation.key);
    let attempt = |job: &Job| job.key.0.strip_prefix(&prefix).and_then(|attempt| attempt.parse::<u32>().ok());
    match attempts.first() {
        Some(first) => attempt(first).is_some_and(|attempt| attempt > 1),
        None => operation.attempt > 0,
    }
}

const fn kind_of(operation: &Operation) -> Option<JobKind> {
    match operation.kind {
        OperationKind::Backup => Some(JobKind::Backup),
        OperationKind::Replication => Some(JobKind::Replication),
        OperationKind::Duplication => Some(JobKind::Duplication),
        // Its run is keyed by the event that it came from.
        OperationKind::Import => None,
    }
}

/// The runs of an operation, in order.
fn attempts<'j>(jobs: &'j [NumberedJob], operation: &Operation) -> Vec<&'j Job> {
    let Some(kind) = kind_of(operation) else { return Vec::new() };
    let prefix = JobKey::attempts(kind, operation.key);
    jobs.iter().map(|numbered| &numbered.job).filter(|job| job.key.0.starts_with(&prefix)).collect()
}

struct Teller<'a> {
    app: &'a App,
    partners: &'a [Partner],
    image: &'a Image,
    pools: &'a [Pool],
    operations: &'a [Operation],
    listener: Listener,
}

impl Teller<'_> {
    fn step(&self, what: String, state: String, (began, ended): (Timestamp, Option<Timestamp>)) -> Step {
        Step {
            domain: self.app.who.domain,
            domain_name: self.app.who.name.clone(),
            via: String::new(),
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
        let made_here = |it: &&Operation| {
            kind_of(it).is_some_and(|kind| job.key.0.starts_with(&JobKey::attempts(kind, it.key)))
        };
        let word = if job.kind == JobKind::Import { "from" } else { "to" };
        let what = match (job.partner, self.operations.iter().find(made_here)) {
            (Some(partner), _) => {
                format!("{} {word} {}", job.kind, name_of(self.app, self.partners, partner))
            }
            (None, Some(operation)) => self.title(operation),
            (None, None) => job.kind.to_string(),
        };
        // Of a run that moved an image, all of the image was dealt with once it is done.
        let whole = self.image.content.as_ref().map_or(0, |content| content.logical_bytes);
        let is_whole = job.state == JobState::Done && job.kind != JobKind::Restore;
        // Who restores what is this domain's own business.
        let is_ours = job.kind == JobKind::Restore && self.listener != Listener::House;
        let note = job.note.as_ref().filter(|_| !is_ours);
        Step {
            logical_bytes: if is_whole { whole } else { job.counters.logical_bytes },
            wire_bytes: job.counters.wire_bytes,
            stored_bytes: job.counters.stored_bytes,
            why: self.words(job.partner, note),
            ..self.step(what, job.state.to_string(), (job.started, job.ended))
        }
    }

    /// The replication event.
    fn arrival(&self, import: &Import) -> Step {
        let from = name_of(self.app, self.partners, import.key.sender);
        let times = (import.arrived, Some(import.arrived));
        let (sequence, pool) = (import.key.sequence.0, self.pool(import.key.pool));
        Step {
            logical_bytes: import.arrival.record.logical_bytes,
            stored_bytes: import.stored_bytes,
            why: format!("record {sequence} in the image log of pool {pool}"),
            ..self.step(format!("arrival from {from}"), "durable".to_owned(), times)
        }
    }

    /// What was met with a partner, or here, as the listener may hear it.
    fn words(&self, partner: Option<DomainId>, note: Option<&Note>) -> String {
        match note {
            Some(note) if self.listener.hears_of(partner) => why(note),
            Some(note) => note.code.clone(),
            None => String::new(),
        }
    }

    /// A copy at a partner that goes, or went, earlier than was agreed.
    fn shortened(&self, replica: &ReplicaRecord) -> Option<Step> {
        let why = short::words(replica, self.app.clock.now())?;
        let name = name_of(self.app, self.partners, replica.partner);
        let times = (replica.checked, Some(replica.checked));
        let step = self.step(format!("expiry in {name}"), "shorter-than-agreed".to_owned(), times);
        self.listener.hears_of(Some(replica.partner)).then_some(Step { why, ..step })
    }

    fn pool(&self, pool: PoolId) -> String {
        self.pools.iter().find(|it| it.id == pool).map_or_else(|| pool.to_string(), |it| it.name.clone())
    }

    /// What an operation does.
    fn title(&self, operation: &Operation) -> String {
        let to = match (&operation.target, operation.pool) {
            (Some(target), _) => name_of(self.app, self.partners, target.partner),
            (None, Some(pool)) if operation.kind == OperationKind::Duplication => self.pool(pool),
            (None, _) => return operation.kind.to_string(),
        };
        format!("{} to {to}", operation.kind)
    }

    /// What was waited for before its first run, between its runs, and since; and how it stands.
    fn follow(
        &self,
        operation: &Operation,
        attempts: &[&Job],
        remembered: (&[&Wait], &[Silence]),
        steps: &mut Vec<Step>,
    ) {
        // A backup is due when its client begins it, and its image's time has whole seconds.
        let is_later = operation.kind == OperationKind::Backup || is_forgotten(operation, attempts);
        let mut since = match attempts.first() {
            Some(first) if is_later => first.started,
            None if is_later => operation.since,
            _ => operation.due,
        };
        let mut before = None;
        // It had failed before it was due anew.
        let from = |since: Timestamp, end: Timestamp| {
            if operation.due <= end { since.max(operation.due) } else { since }
        };
        for attempt in attempts {
            let gap = (from(since, attempt.started), attempt.started);
            steps.extend(self.waited(operation, gap, before, remembered));
            (since, before) = (attempt.ended.unwrap_or(attempt.started), Some(*attempt));
        }
        let still = matches!(
            operation.state,
            OperationState::NotStarted | OperationState::Waiting(_) | OperationState::Paused
        );
        if still || before.is_none() {
            let gap = (from(since, operation.since), operation.since);
            steps.extend(self.waited(operation, gap, before, remembered));
        }
        steps.extend(self.now(operation, before));
    }

    fn waited(
        &self,
        operation: &Operation,
        gap: (Timestamp, Timestamp),
        before: Option<&Job>,
        (waits, silences): (&[&Wait], &[Silence]),
    ) -> Vec<Step> {
        let partner = operation.target.as_ref().map(|target| target.partner);
        let told = |Part { began, ended, why: because }: Part<'_>| {
            let (state, note) = match because {
                Why::Waited(wait) if wait.state == OperationState::Paused => {
                    ("paused".to_owned(), self.words(partner, wait.note.as_ref()))
                }
                Why::Waited(wait) => {
                    (format!("waited({})", wait.state.detail()), self.words(partner, wait.note.as_ref()))
                }
                Why::Silent(reason) => {
                    let met = if reason == WaitReason::TargetFull {
                        "it took nothing"
                    } else {
                        "it was out of reach"
                    };
                    (format!("waited({reason})"), met.to_owned())
                }
                // It was there, and nothing was heard of its import.
                Why::Turn if before.is_some_and(|job| job.state == JobState::Done) => {
                    ("pending-import".to_owned(), String::new())
                }
                Why::Turn => {
                    let note = before.and_then(|job| job.note.as_ref());
                    ("waited(turn)".to_owned(), self.words(partner, note))
                }
            };
            Step { why: note, ..self.step(self.title(operation), state, (began, Some(ended))) }
        };
        wait::parts(gap, waits.iter().copied(), silences).into_iter().map(told).collect()
    }

    /// What became of an operation after its last try, or is waited for now. What stays here and is done, or under way, is
    /// told by its run.
    fn now(&self, operation: &Operation, last: Option<&Job>) -> Option<Step> {
        let (what, since) = (self.title(operation), operation.since);
        let partner = operation.target.as_ref().map(|target| target.partner);
        let note = || self.words(partner, reason(self.partners, operation).as_ref());
        match (&operation.state, partner) {
            (OperationState::InProcess, _) => None,
            (OperationState::Complete, Some(partner)) => {
                let sent = last.filter(|job| job.state == JobState::Done).and_then(|job| job.ended);
                let what = format!("confirmation by {}", name_of(self.app, self.partners, partner));
                let times = (sent.unwrap_or(since), Some(since));
                Some(Step { why: note(), ..self.step(what, "complete".to_owned(), times) })
            }
            (OperationState::Complete, None) if last.is_some() || operation.kind == OperationKind::Import => {
                None
            }
            (state, _) if state.is_final() => {
                Some(Step { why: note(), ..self.step(what, state.to_string(), (since, Some(since))) })
            }
            (state, _) => Some(Step { why: note(), ..self.step(what, state.to_string(), (since, None)) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use narrows_domain::{OperationKey, operation::Target};
    use narrows_format::ImageId;

    use super::*;

    /// Goal: a timeline of which the beginning is missing says so.
    #[test]
    fn a_first_run_that_is_not_the_first_says_that_others_are_forgotten() {
        let begun = Timestamp { seconds: 1_800_000_000, nanos: 0 };
        let key = OperationKey { image: ImageId([7; 16]), ordinal: 2 };
        let operation = Operation {
            key,
            name: "copy".to_owned(),
            kind: OperationKind::Replication,
            target: Some(Target { partner: DomainId([2; 16]), import_slp: None }),
            expires: None,
            priority: 0,
            age: begun,
            state: OperationState::NotStarted,
            since: begun,
            due: begun,
            attempt: 40,
            failures: 0,
            next_try: None,
            behind: None,
            note: None,
            wire_bytes: 0,
            pending_since: None,
            released: None,
            unit: None,
            pool: None,
        };
        let run = |attempt| {
            let key = JobKey::operation(JobKind::Replication, key, attempt);
            Job::begin(key, JobKind::Replication, operation.key.image, begun)
        };
        assert!(!is_forgotten(&operation, &[&run(1), &run(2)]));
        assert!(is_forgotten(&operation, &[&run(9), &run(10)]));
        assert!(is_forgotten(&operation, &[]), "it ran, and nothing of that is there");
        assert!(!is_forgotten(&Operation { attempt: 0, ..operation.clone() }, &[]), "it never ran");
    }
}
