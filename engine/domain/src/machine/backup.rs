//! A client's backup: its identity, its resumption, its completion.

use narrows_format::record::{CopyState, ImageRecord, ScheduleKind};
use narrows_format::{ClientId, DomainId, ImageId, PoolId, Timestamp};

use crate::event::{Change, Decision, PoolEvent};
use crate::image::{Image, ImageCopy, ImageState};
use crate::job::{Job, JobKey, JobKind, JobState};
use crate::limits::STAGING_KEEP;
use crate::machine::children::{self, Parent};
use crate::machine::placing::{Busy, NoPlace, Places, Troubles};
use crate::machine::{Refusal, replication};
use crate::moment::{Moment, since};
use crate::operation::{Note, Operation, OperationKey, OperationKind, OperationState, WaitReason};
use crate::partner::Partner;
use crate::replica::ReplicaRecord;
use crate::retention;
use crate::retry::Failure;
use crate::slp::SlpVersion;
use crate::slp::check::{check_schedule, reads_spanning};
use crate::storage::{Identity, Pool, StorageUnit, StorageUnitGroup};

/// A client asks to begin a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupAsk {
    /// A fresh random UUID; used unless an unfinished image of the same lineage is resumed.
    pub fresh: ImageId,
    /// Who asks, by its certificate.
    pub client: ClientId,
    /// Its name.
    pub client_name: String,
    /// The SLP.
    pub slp: String,
    /// The policy, or empty.
    pub policy: String,
    /// Kind of the schedule.
    pub schedule: ScheduleKind,
    /// Source paths, absolute.
    pub roots: Vec<String>,
}

/// A backup may begin, or go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupBegun {
    /// The image to write.
    pub image: Image,
    /// Which try this is; a session of an earlier one is void.
    pub attempt: u32,
    /// What an earlier attempt staged may be there still.
    pub resumed: bool,
    /// The pool to write to.
    pub pool: PoolId,
    /// Expiry, lock and hold to commit with.
    pub copy: CopyState,
    /// The newest whole image of the same lineage.
    pub base: Option<Image>,
}

/// What is known when a backup is asked for.
#[derive(Clone, Debug)]
pub struct BeginView<'a> {
    /// This domain.
    pub own: &'a Identity,
    /// The newest version of the SLP asked for.
    pub newest: Option<&'a SlpVersion>,
    /// The image of this lineage that is being written, with its operations and its SLP's version.
    pub unfinished: Option<(&'a Image, &'a [Operation], Option<&'a SlpVersion>)>,
    /// The newest whole image of this lineage.
    pub base: Option<&'a Image>,
    /// All storage units.
    pub units: &'a [StorageUnit],
    /// All storage unit groups.
    pub groups: &'a [StorageUnitGroup],
    /// All pools.
    pub pools: &'a [Pool],
    /// Jobs under way by storage unit, the attempt that this one replaces included.
    pub busy: Busy,
    /// Pools that take nothing just now.
    pub troubles: &'a Troubles,
    /// A second from now on that no image of this client has.
    pub free: Timestamp,
    /// The classification of the policy that it is made for; without one it is the SLP's.
    pub classification: Option<&'a str>,
}

/// Hash of what makes two backups versions of one another: origin, client, policy or SLP, and the sorted
/// source paths.
pub fn lineage(origin: DomainId, client: ClientId, policy_or_slp: &str, roots: &[String]) -> [u8; 32] {
    let mut sorted: Vec<&str> = roots.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let mut hash = blake3::Hasher::new_derive_key("narrows 2026-11 lineage");
    hash.update(&origin.0).update(&client.0);
    for text in std::iter::once(policy_or_slp).chain(sorted) {
        hash.update(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes()).update(text.as_bytes());
    }
    *hash.finalize().as_bytes()
}

impl BackupAsk {
    /// The lineage of what this will write.
    pub fn lineage(&self, origin: DomainId) -> [u8; 32] {
        let maker = if self.policy.is_empty() { &self.slp } else { &self.policy };
        lineage(origin, self.client, maker, &self.roots)
    }
}

/// Begins a backup, or resumes the unfinished one of the same lineage under the version that it began with.
pub fn begin(
    view: &BeginView<'_>,
    ask: &BackupAsk,
    moment: Moment,
) -> Result<(BackupBegun, Decision), Refusal> {
    let mut decision = Decision::nothing();
    let resumable = view.unfinished.filter(|(image, operations, version)| {
        since(moment.now, image.started) < STAGING_KEEP
            && goes_on(view, version.or(view.newest), backup_among(operations))
    });
    if let Some((image, operations, _)) = view.unfinished
        && resumable.is_none()
    {
        let why = "the next backup of the same files began anew";
        decision = give_up(image, operations, why, moment.now);
    }
    let version = resumable.and_then(|(_, _, version)| version).or(view.newest);
    let Some(version) = version else {
        let help = "apply one: `narrowsctl slp apply -f FILE`; `narrowsctl slp list` shows what there is";
        return Err(Refusal::new("SLP-013", format!("there is no SLP `{}`", ask.slp), help));
    };
    let earlier = resumable.and_then(|(_, operations, _)| backup_among(operations));
    let (pool, unit) = place(view, version, (ask.schedule, earlier), &mut decision)?;
    let (image, mut operation) = if let Some((image, operations, _)) = resumable {
        resumed(view, (image, operations), ask, version)
    } else {
        let image = new_image(view, ask, version);
        let operation = backup_operation(&image, version);
        (image, operation)
    };
    operation.enter(OperationState::InProcess, moment.now);
    operation.attempt += 1;
    operation.unit = Some(unit);
    let key = JobKey::operation(JobKind::Backup, operation.key, operation.attempt);
    let job = Job::begin(key, JobKind::Backup, image.id, moment.now);
    let begun = BackupBegun {
        image: image.clone(),
        attempt: operation.attempt,
        resumed: resumable.is_some(),
        pool,
        copy: CopyState { expires: operation.expires, locked_until: None, held: false },
        base: view.base.cloned(),
    };
    decision.changes.extend([Change::Image(image), Change::Operation(operation), Change::Job(job)]);
    Ok((begun, decision))
}

/// What is read from now on is of now, whatever was staged before: so are its time, its schedule and its retention.
fn resumed(
    view: &BeginView<'_>,
    (image, operations): (&Image, &[Operation]),
    ask: &BackupAsk,
    version: &SlpVersion,
) -> (Image, Operation) {
    let image = Image { started: view.free, schedule: ask.schedule, ..image.clone() };
    let fresh = backup_operation(&image, version);
    let operation = match backup_among(operations) {
        Some(known) => Operation { expires: fresh.expires, age: fresh.age, ..known.clone() },
        None => fresh,
    };
    (image, operation)
}

fn backup_among(operations: &[Operation]) -> Option<&Operation> {
    operations.iter().find(|it| it.kind == OperationKind::Backup)
}

/// SLP-013, SLP-007, SLP-016, and the limit of the storage: before any data is read. Returns the pool to write
/// to, and its storage unit.
fn place(
    view: &BeginView<'_>,
    version: &SlpVersion,
    (schedule, earlier): (ScheduleKind, Option<&Operation>),
    decision: &mut Decision,
) -> Result<(PoolId, String), Refusal> {
    let slp = &version.slp;
    let Some(backup) = slp.backup() else {
        let sentence = format!("SLP `{}` does not begin with a Backup operation", slp.name);
        return Err(Refusal::new("SLP-013", sentence, "name an SLP that does"));
    };
    check_schedule(schedule, slp)
        .map_err(|finding| Refusal::new(finding.code, finding.what, finding.help))?;
    let storage = backup.storage.as_deref().unwrap_or_default();
    let chosen = choose(view, storage, earlier, decision);
    if chosen == Err(NoPlace::Unknown) {
        let sentence = format!("storage unit `{storage}` of SLP `{}` does not exist any more", slp.name);
        return Err(Refusal::new("SLP-013", sentence, "apply the SLP with a storage unit that exists"));
    }
    // The pool may have been made spanning after the SLP was applied.
    if let Some((replication, source)) = reads_spanning(slp, (view.units, view.groups, view.pools)) {
        let sentence = format!(
            "operation `{}` of SLP `{}` replicates the copy of `{}`, whose pool spans several volumes",
            replication.id, slp.name, source.id
        );
        let help = format!("give operation `{}` a storage unit whose pool does not span", source.id);
        return Err(Refusal::new("SLP-007", sentence, help));
    }
    chosen.map(|unit| (unit.pool, unit.name.clone())).map_err(|_| {
        let (units, groups, pools) = (view.units, view.groups, view.pools);
        Places { units, groups, pools, busy: &view.busy, troubles: view.troubles }.refusal(storage)
    })
}

/// Whether the unit that an earlier attempt wrote to may be written to still. If not, its image is given up: it may have
/// been committed there without our knowing yet, and then its UUID must not stand for other content elsewhere.
fn goes_on(view: &BeginView<'_>, version: Option<&SlpVersion>, earlier: Option<&Operation>) -> bool {
    let Some(staged) = earlier.and_then(|operation| operation.unit.as_deref()) else { return true };
    let backup = version.and_then(|version| version.slp.backup());
    let storage = backup.and_then(|backup| backup.storage.as_deref()).unwrap_or_default();
    let (units, groups, pools) = (view.units, view.groups, view.pools);
    let places = Places { units, groups, pools, busy: &view.busy, troubles: view.troubles };
    !matches!(places.pick(storage, |unit| unit.name == staged), Err(NoPlace::Unknown | NoPlace::Shut))
}

/// What was staged lies in one unit's pool: an attempt goes on there.
fn choose<'a>(
    view: &BeginView<'a>,
    storage: &str,
    earlier: Option<&Operation>,
    decision: &mut Decision,
) -> Result<&'a StorageUnit, NoPlace> {
    let mut busy = view.busy.clone();
    let staged = earlier.and_then(|operation| operation.unit.as_deref());
    if let Some(jobs) = staged.and_then(|unit| busy.get_mut(unit))
        && earlier.is_some_and(|it| it.state == OperationState::InProcess)
    {
        *jobs = jobs.saturating_sub(1);
    }
    let (units, groups, pools) = (view.units, view.groups, view.pools);
    let places = Places { units, groups, pools, busy: &busy, troubles: view.troubles };
    match places.pick(storage, |unit| Some(unit.name.as_str()) == staged) {
        Err(NoPlace::Unknown | NoPlace::Shut) => {}
        found => return found,
    }
    let unit = places.pick(storage, |_| true)?;
    decision.changes.extend(places.having_taken(storage, &unit.name).map(Change::StorageUnitGroup));
    Ok(unit)
}

fn new_image(view: &BeginView<'_>, ask: &BackupAsk, version: &SlpVersion) -> Image {
    let classification = view.classification.unwrap_or(&version.slp.data_classification);
    let any = classification == crate::slp::ANY_CLASSIFICATION;
    Image {
        id: ask.fresh,
        origin: view.own.domain,
        client: ask.client,
        client_name: ask.client_name.clone(),
        policy: ask.policy.clone(),
        schedule: ask.schedule,
        started: view.free,
        classification: if any { String::new() } else { classification.to_owned() },
        lineage: ask.lineage(view.own.domain),
        roots: ask.roots.clone(),
        slp: version.slp.name.clone(),
        slp_version: version.version,
        state: ImageState::Writing,
        sender: None,
        restorable: true,
        content: None,
    }
}

fn backup_operation(image: &Image, version: &SlpVersion) -> Operation {
    let spec = version.slp.backup();
    let retention = spec.and_then(|spec| spec.retention);
    let name = spec.map_or_else(|| "backup".to_owned(), |spec| spec.id.clone());
    Operation {
        expires: retention.and_then(|retention| retention::expiry(retention, image.started, None)),
        priority: version.slp.priority,
        ..Operation::new(image, 1, name, OperationKind::Backup, image.started)
    }
}

fn abandon(image: &Image, operations: &[Operation], now: Timestamp, decision: &mut Decision) {
    decision.changes.push(Change::Image(Image { state: ImageState::Abandoned, ..image.clone() }));
    for operation in operations.iter().filter(|it| !it.state.is_final()) {
        let mut cancelled = operation.clone();
        cancelled.enter(OperationState::Cancelled, now);
        decision.changes.push(Change::Operation(cancelled));
    }
}

/// Nobody goes on with this image; what is under way is interrupted.
pub fn give_up(image: &Image, operations: &[Operation], why: &str, now: Timestamp) -> Decision {
    let mut decision = given_up(operations, why, now);
    abandon(image, operations, now, &mut decision);
    decision
}

/// Whether what this attempt of a backup brings may still become the image. A policy's run is its newest attempt's alone, and
/// nobody's once it was given up; people may run one backup twice at once, and whoever ends first makes the image of both.
pub fn may_seal(operations: &[Operation], attempt: u32, is_of_policy: bool) -> bool {
    backup_among(operations).is_some_and(|it| match it.state {
        OperationState::Cancelled | OperationState::Failed(_) => false,
        OperationState::InProcess => !is_of_policy || it.attempt == attempt,
        _ => !is_of_policy,
    })
}

/// Nobody waits any more for what is under way: what it brings does not become the image, and its place is free.
pub fn given_up(operations: &[Operation], why: &str, now: Timestamp) -> Decision {
    let attempt = backup_among(operations).map_or(0, |it| it.attempt);
    interrupted(operations, attempt, &Failure::interrupted(why), now)
}

/// The session of a backup ended without a commit: it waits for its client.
pub fn interrupted(operations: &[Operation], attempt: u32, failure: &Failure, now: Timestamp) -> Decision {
    let running = |it: &&Operation| {
        it.kind == OperationKind::Backup && it.attempt == attempt && it.state == OperationState::InProcess
    };
    let Some(operation) = operations.iter().find(running) else { return Decision::nothing() };
    let mut operation = operation.clone();
    let mut job = Job::begin(
        JobKey::operation(JobKind::Backup, operation.key, attempt),
        JobKind::Backup,
        operation.key.image,
        operation.since,
    );
    job.end(JobState::Interrupted, now);
    job.note = Some(failure.note());
    operation.wait(WaitReason::SourceIncomplete, None, now);
    operation.note = Some(failure.note());
    Decision { changes: vec![Change::Operation(operation), Change::Job(job)], commands: Vec::new() }
}

/// What is known when a backup's commit is read from the image log.
#[derive(Clone, Debug)]
pub struct CommittedView<'a> {
    /// The image, if its beginning is known.
    pub image: Option<&'a Image>,
    /// Its operations.
    pub operations: &'a [Operation],
    /// Its copies.
    pub copies: &'a [ImageCopy],
    /// Its replica records.
    pub replicas: &'a [ReplicaRecord],
    /// The SLP version that governs it: the one that it was made under, or the newest if that one is gone.
    pub slp: Option<&'a SlpVersion>,
    /// All partners.
    pub partners: &'a [Partner],
}

/// A backup is durable: the image is whole, and what its SLP asks for is due.
pub fn committed(
    view: &CommittedView<'_>,
    event: &PoolEvent,
    (record, signed): (&ImageRecord, &[u8]),
    (copy, stored_bytes): (CopyState, u64),
    moment: Moment,
) -> Decision {
    let now = moment.now;
    let mut image = match view.image {
        Some(image) => image.clone(),
        None => Image::from_record(record, signed.to_vec(), &record.slp, record.slp_version),
    };
    // The record has the last word: a later attempt may have begun while this one was sealed.
    image.started = record.started;
    image.fill(record, signed.to_vec());
    image.slp_version = view.slp.map_or(image.slp_version, |version| version.version);
    let spec = view.slp.and_then(|version| version.slp.backup());
    let earlier = view.copies.iter().find(|it| it.pool == event.pool);
    let number =
        earlier.map_or_else(|| view.copies.iter().map(|it| it.number).max().unwrap_or(0) + 1, |it| it.number);
    let mut image_copy = ImageCopy {
        image: image.id,
        number,
        pool: event.pool,
        incarnation: event.incarnation,
        operation: spec.map_or_else(|| "backup".to_owned(), |spec| spec.id.clone()),
        in_log: copy,
        wanted: copy,
        next_amend: None,
        discarded: None,
        not_before: None,
        sequence: event.sequence,
        stored_bytes,
        made: now,
    };
    let mut decision = Decision::nothing();
    finish_backup(&image, view, stored_bytes, now, &mut decision);
    if let (Some(version), Some(spec)) = (view.slp, spec) {
        let parent = Parent {
            image: &image,
            version,
            operation: &spec.id,
            asked: image_copy.wanted.expires,
            existing: view.operations,
            replicas: view.replicas,
            partners: view.partners,
        };
        let due = children::due(&parent, now);
        replication::release(&mut image_copy, &version.slp, (view.operations, &due), now, &mut decision);
        decision.changes.extend(due.into_iter().map(Change::Operation));
    }
    decision.changes.insert(0, Change::Image(image));
    decision.changes.insert(1, Change::Copy(image_copy));
    decision
}

/// What a pool has under the UUID of an image that is whole here with other content; its bytes stay there, and nobody reads
/// them.
pub fn clash(
    view: &CommittedView<'_>,
    pool: PoolId,
    (record, signed): (&ImageRecord, &[u8]),
) -> Option<Note> {
    let known = view.image.filter(|image| image.state == ImageState::Whole)?.content.as_ref()?;
    (known.signed != signed).then(|| Note {
        code: crate::air::CLASH.to_owned(),
        sentence: format!(
            "pool {pool} has image {} with other content than is known here: that copy is not used",
            record.image
        ),
    })
}

/// The log of a pool that was put back tells again of a copy that is known: only its place in the log is new. What is wanted
/// of it stays, and is asked for again where a later record does not say it; `None` if no copy in this pool is known.
pub fn read_again(
    view: &CommittedView<'_>,
    event: &PoolEvent,
    in_log: CopyState,
    now: Timestamp,
) -> Option<Decision> {
    view.image.filter(|image| image.state == ImageState::Whole)?;
    let known = view.copies.iter().find(|it| it.pool == event.pool)?;
    let mut copy = ImageCopy {
        incarnation: event.incarnation,
        sequence: event.sequence,
        in_log,
        next_amend: None,
        discarded: None,
        ..known.clone()
    };
    let mut decision = Decision::nothing();
    replication::amend(&mut copy, now, &mut decision);
    decision.changes.push(Change::Copy(copy));
    Some(decision)
}

/// The record of a durable backup can't be handled: a failed job says so.
pub fn unfit(image: ImageId, reason: Note, now: Timestamp) -> Decision {
    let key = JobKey::operation(JobKind::Backup, OperationKey { image, ordinal: 1 }, 0);
    let mut job = Job::begin(key, JobKind::Backup, image, now);
    job.end(JobState::Failed, now);
    job.note = Some(reason);
    Decision { changes: vec![Change::Job(job)], commands: Vec::new() }
}

fn finish_backup(
    image: &Image,
    view: &CommittedView<'_>,
    stored_bytes: u64,
    now: Timestamp,
    decision: &mut Decision,
) {
    let Some(mut operation) = backup_among(view.operations).cloned() else { return };
    let key = JobKey::operation(JobKind::Backup, operation.key, operation.attempt);
    let mut job = Job::begin(key, JobKind::Backup, image.id, operation.since);
    let content = image.content.as_ref();
    let partial = content.is_some_and(|content| content.flags.partial);
    job.end(if partial { JobState::Partial } else { JobState::Done }, now);
    job.counters.logical_bytes = content.map_or(0, |content| content.logical_bytes);
    job.counters.stored_bytes = stored_bytes;
    operation.enter(OperationState::Complete, now);
    operation.note = None;
    decision.changes.extend([Change::Operation(operation), Change::Job(job)]);
}

#[cfg(test)]
mod tests {
    use narrows_format::Fingerprint;

    use super::*;

    /// Goal: two runs of one backup at once end in one image; a policy's is made by whoever is at it now.
    #[test]
    fn who_may_end_a_backup() {
        let record = ImageRecord::sample(ImageId([7; 16]), Fingerprint([9; 32]), 7);
        let image = Image::from_record(&record, Vec::new(), "gold", 1);
        let operation = Operation {
            attempt: 2,
            ..Operation::new(&image, 1, "backup".to_owned(), OperationKind::Backup, image.started)
        };
        let may = |state: OperationState, attempt, is_of_policy| {
            let operation = Operation { state, ..operation.clone() };
            may_seal(&[operation], attempt, is_of_policy)
        };
        assert!(may(OperationState::InProcess, 2, true) && !may(OperationState::InProcess, 1, true));
        assert!(may(OperationState::InProcess, 1, false) && may(OperationState::Complete, 1, false));
        assert!(!may(OperationState::Waiting(WaitReason::SourceIncomplete), 2, true));
        assert!(!may(OperationState::Cancelled, 2, false) && !may_seal(&[], 1, false));
    }
}
