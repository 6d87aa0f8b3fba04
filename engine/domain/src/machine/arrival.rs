//! A replicated image arrived: imported through its SLP, or not, and the sender told.

use narrows_format::record::CopyState;
use narrows_format::{DomainId, PoolId, Timestamp};

use crate::air::{self, Receiver, Terms, Verdict};
use crate::auto_import::AutoSlp;
use crate::event::{Change, Command, Decision, PoolEvent};
use crate::image::{self, Image, ImageCopy};
use crate::import::{Arrival, ArrivedData, Import, ImportKey, ImportState, RefusedArrival};
use crate::job::{Job, JobKey, JobKind, JobState};
use crate::limits::{ANSWER_WAIT_MAX, REVISIONS_OF_A_LIFE};
use crate::machine::children::{self, Parent};
use crate::machine::{leaving, replication, report};
use crate::moment::{Moment, after};
use crate::operation::{Note, Operation, OperationKind, OperationState};
use crate::partner::Partner;
use crate::recall::{self, Homecoming, Recall};
use crate::replica::ReplicaRecord;
use crate::retention;
use crate::settings::Settings;
use crate::slp::SlpVersion;
use crate::storage::{Identity, StorageUnit, StorageUnitGroup};

/// The code of what has no valid signature of its origin, or was relayed without a grant.
pub const UNPROVEN: &str = "AIR-012";
/// The code of what is of the day after tomorrow.
pub const FORGED: &str = "AIR-011";
/// The code of what can be done soon, and not just now.
const AGAIN: &str = "NET-003";
/// The code of what had expired when it arrived.
pub const EXPIRED: &str = "AIR-006";

/// Everything known that an import depends on.
#[derive(Clone, Debug)]
pub struct ArrivalView<'a> {
    /// This domain.
    pub own: &'a Identity,
    /// What its operator has set.
    pub settings: Settings,
    /// The catalog was found older than its pool, and is brought up to date.
    pub is_reconciling: bool,
    /// The newest version of the SLP that is to import it.
    pub slp: Option<&'a SlpVersion>,
    /// That SLP is not there yet: it is made for this partner with the first image that it imports.
    pub made_for: Option<DomainId>,
    /// Why the SLP takes nothing from the sender, or none is made.
    pub barred: Option<&'a Note>,
    /// The image of this UUID.
    pub existing: Option<&'a Image>,
    /// The image of this origin, client name and second.
    pub labelled: Option<&'a Image>,
    /// Operations of the image.
    pub operations: &'a [Operation],
    /// Copies of the image.
    pub copies: &'a [ImageCopy],
    /// Replica records of the image.
    pub replicas: &'a [ReplicaRecord],
    /// Who was asked for it here.
    pub recalls: &'a [Recall],
    /// All partners.
    pub partners: &'a [Partner],
    /// All storage units.
    pub units: &'a [StorageUnit],
    /// All storage unit groups.
    pub groups: &'a [StorageUnitGroup],
}

impl<'a> ArrivalView<'a> {
    fn sender(&self, domain: DomainId) -> Option<&'a Partner> {
        self.partners.iter().find(|partner| partner.domain == domain)
    }

    /// What the pool has of it can't be brought back any more: its removal may be on its way.
    fn is_leaving(&self, import: &Import, now: Timestamp) -> bool {
        let held = self.copies.iter().find(|copy| copy.pool == import.key.pool);
        let discarded = match held {
            Some(copy) => copy.discarded.filter(|_| copy.incarnation == import.incarnation),
            None => leaving::discarded(import).filter(|_| import.is_over()),
        };
        discarded.is_some_and(|discarded| discarded.until <= now)
    }

    /// The pool does not have any more what it was sent, or soon will not: what is said of that commit comes too late, and the
    /// image has to be sent anew.
    pub fn comes_too_late(&self, known: &Import, incarnation: u64, now: Timestamp) -> bool {
        known.incarnation == incarnation && (self.is_leaving(known, now) || self.has_gone(known))
    }

    /// It was imported, and the copy that came of it is gone.
    pub fn has_gone(&self, import: &Import) -> bool {
        import.state == ImportState::Imported && self.copies.iter().all(|copy| copy.pool != import.key.pool)
    }

    fn homecoming(&self, arrival: &Arrival, now: Timestamp) -> Homecoming {
        let whose = (arrival.record.origin, arrival.sender);
        recall::homecoming(self.own, whose, (self.existing, self.copies), self.recalls, now)
    }

    fn receiver(&self, pool: PoolId, arrival: &Arrival, now: Timestamp) -> Receiver<'a> {
        Receiver {
            own: self.own,
            pool,
            sender: self.sender(arrival.sender),
            slp: self.slp,
            barred: self.barred,
            units: self.units,
            groups: self.groups,
            existing: self.existing,
            labelled: self.labelled,
            homecoming: self.homecoming(arrival, now),
            image_format_max: self.settings.image_format_max,
        }
    }
}

/// A new row for an arrival read from the log; not yet decided. Its revisions begin above all that a former life of this
/// domain can have told: the sender believes only what is newer.
pub fn seen(
    own: &Identity,
    event: &PoolEvent,
    arrival: &Arrival,
    copy: CopyState,
    stored_bytes: u64,
    moment: Moment,
) -> Import {
    Import {
        key: ImportKey { pool: event.pool, sequence: event.sequence, sender: arrival.sender },
        incarnation: event.incarnation,
        arrival: arrival.clone(),
        arrived: moment.now,
        copy,
        stored_bytes,
        state: ImportState::Pending,
        data: ArrivedData::Here,
        next_look: None,
        note: None,
        damage: None,
        copied_on: false,
        expires: arrival.asked_expiry,
        revision: first_revision(own.incarnation),
        told: 0,
        failures: 0,
        next_report: None,
    }
}

/// Expiry, lock and hold to commit an arrival with, before it is durable; refused with the code if it
/// will never be imported (AIR-005, 006, 011, 012), or if this image was given up before and its cause is not
/// mended yet (AIR-002..004): nothing is kept for another period then, and the source asks again later.
pub fn admit(
    view: &ArrivalView<'_>,
    pool: PoolId,
    (arrival, earlier): (&Arrival, &[Import]),
    moment: Moment,
) -> Result<CopyState, crate::operation::Note> {
    let held = view.copies.iter().find(|copy| copy.pool == pool).map(|copy| copy.wanted);
    let longer = |expires| held.map_or(expires, |held| retention::later(held.expires, expires));
    let expires = match air::judge(arrival, &view.receiver(pool, arrival, moment.now), moment.now) {
        Verdict::Import(terms) => terms.expires,
        Verdict::Merge(terms) => longer(terms.expires),
        Verdict::Fail(note) if earlier.iter().any(|it| it.state == ImportState::GivenUp) => return Err(note),
        // It is not decided yet, and changes nothing of what is here.
        Verdict::Wait(..) | Verdict::Fail(_) => match view.homecoming(arrival, moment.now) {
            Homecoming::Here(expires) | Homecoming::ForeignHere(expires) => expires,
            _ => longer(arrival.asked_expiry),
        },
        Verdict::Refuse(note) => return Err(note),
    };
    let kept = held.unwrap_or(CopyState { expires, locked_until: None, held: false });
    Ok(CopyState { expires, ..kept })
}

/// What is remembered of an arrival that was not let in.
pub fn refused(arrival: &Arrival, note: Note, now: Timestamp) -> RefusedArrival {
    let record = &arrival.record;
    RefusedArrival {
        image: record.image,
        sender: arrival.sender,
        origin: record.origin,
        label: image::label(&record.client_name, record.started),
        slp: arrival.slp().to_owned(),
        note,
        times: 1,
        last: now,
    }
}

fn first_revision(incarnation: u64) -> u32 {
    let former = u32::try_from(incarnation.saturating_sub(1)).unwrap_or(u32::MAX);
    former.saturating_mul(REVISIONS_OF_A_LIFE).min(u32::MAX - REVISIONS_OF_A_LIFE)
}

/// The verdict on what the log has. While an older catalog is brought up to date, all of it was let in once, by what was
/// known then: that it is not known any more takes nothing away that the pool has. Nor does the log of a pool that was put
/// back, which tells again of a copy that is here, take that away because it would not be let in today.
fn judged(view: &ArrivalView<'_>, import: &Import, now: Timestamp) -> Verdict {
    let mut receiver = view.receiver(import.key.pool, &import.arrival, now);
    if view.is_reconciling && receiver.homecoming == Homecoming::Unasked {
        receiver.homecoming = Homecoming::Recalled;
    }
    let as_committed = || {
        Verdict::Import(Terms {
            expires: import.copy.expires,
            restorable: import.arrival.record.image_format <= view.settings.image_format_max,
            note: None,
        })
    };
    let lives = import.copy.expires.is_none_or(|expires| expires > now);
    let held = view.copies.iter().find(|copy| copy.pool == import.key.pool);
    let is_told_again = held.is_some_and(|copy| copy.incarnation < import.incarnation);
    match air::judge(&import.arrival, &receiver, now) {
        // It is not that copy.
        Verdict::Refuse(note) if note.code == air::CLASH => Verdict::Refuse(note),
        Verdict::Refuse(_) | Verdict::Fail(_) | Verdict::Wait(..) if is_told_again => as_committed(),
        Verdict::Refuse(note) if view.is_reconciling && note.code == EXPIRED && lives => as_committed(),
        // Whose signature it is may be known again soon.
        Verdict::Refuse(note) if view.is_reconciling && note.code == UNPROVEN => Verdict::Fail(note),
        verdict => verdict,
    }
}

/// Decides an arrival, for the first time or again.
pub fn decide(view: &ArrivalView<'_>, import: &Import, moment: Moment) -> Decision {
    let now = moment.now;
    let mut import = import.clone();
    let sender = view.sender(import.arrival.sender);
    let mut decision = Decision::nothing();
    let is_leaving = view.is_leaving(&import, now);
    match judged(view, &import, now) {
        _ if import.data == ArrivedData::Gone => leaving::lost(&mut import, now),
        // What is sent again once it is gone is another arrival.
        _ if is_leaving && import.is_over() => {}
        Verdict::Import(_) | Verdict::Merge(_) if is_leaving => {
            let sentence = "what the pool had of it is being removed just now".to_owned();
            let (until, note) = (after(now, ANSWER_WAIT_MAX), Note { code: AGAIN.to_owned(), sentence });
            change_state(&mut import, ImportState::Waiting { until }, note, moment);
        }
        Verdict::Import(terms) | Verdict::Merge(terms) => {
            take_over(view, &mut import, terms, moment, &mut decision);
        }
        Verdict::Wait(until, note) => change_state(&mut import, ImportState::Waiting { until }, note, moment),
        Verdict::Fail(note) => {
            let keep_until = after(import.arrived, view.settings.failed_import_keep);
            let over = keep_until <= now;
            let state = if over { ImportState::GivenUp } else { ImportState::Failed { keep_until } };
            change_state(&mut import, state, note, moment);
        }
        Verdict::Refuse(note) => change_state(&mut import, ImportState::Refused, note, moment),
    }
    leaving::begin(&mut import, now);
    decision.changes.push(Change::Job(job_of(&import, moment)));
    decision.commands.extend(report::send(&mut import, sender, moment));
    decision.changes.push(Change::Import(import));
    decision
}

/// The sender sent again what the pool has: it is decided anew, on the terms that it names now, and the
/// sender is told in any case. What was given up is kept for another period from now on.
pub fn again(view: &ArrivalView<'_>, import: &Import, seen: Import, moment: Moment) -> Decision {
    let is_anew = seen.incarnation != import.incarnation;
    let renewed = Import {
        incarnation: seen.incarnation,
        data: if is_anew { seen.data } else { import.data },
        arrival: seen.arrival,
        copy: seen.copy,
        stored_bytes: if is_anew { seen.stored_bytes } else { 0 },
        // What is kept already is not kept anew, nor younger, because it was sent again.
        arrived: if import.is_over() { moment.now } else { import.arrived },
        revision: import.revision.saturating_add(1),
        next_report: Some(moment.now),
        ..import.clone()
    };
    decide(view, &renewed, moment)
}

/// The record can't be handled as it is, now or later: refused for good, and the sender told.
pub fn unfit(
    seen: Import,
    sender: Option<&Partner>,
    note: crate::operation::Note,
    moment: Moment,
) -> Decision {
    let mut import = seen;
    import.enter(ImportState::Refused, Some(note), moment.now);
    leaving::begin(&mut import, moment.now);
    let mut decision = Decision::nothing();
    decision.changes.push(Change::Job(job_of(&import, moment)));
    decision.commands.extend(report::send(&mut import, sender, moment));
    decision.changes.push(Change::Import(import));
    decision
}

/// Its pool is no more: nothing will come of it if nothing has, and the sender is told soon.
pub fn lost(import: &Import, moment: Moment) -> Decision {
    let mut import = Import { data: ArrivedData::Gone, ..import.clone() };
    leaving::lost(&mut import, moment.now);
    leaving::begin(&mut import, moment.now);
    let job = Change::Job(job_of(&import, moment));
    Decision { changes: vec![job, Change::Import(import)], commands: Vec::new() }
}

fn change_state(import: &mut Import, state: ImportState, note: crate::operation::Note, moment: Moment) {
    // The same answer for the same cause is not news.
    if import.state != state || import.note.as_ref().is_none_or(|before| before.code != note.code) {
        import.enter(state, Some(note), moment.now);
    }
}

fn take_over(
    view: &ArrivalView<'_>,
    import: &mut Import,
    terms: Terms,
    moment: Moment,
    decision: &mut Decision,
) {
    let now = moment.now;
    let known = view.existing.filter(|image| is_governed(view.own, image));
    let lets_in = air::lets_in(&import.arrival, &view.receiver(import.key.pool, &import.arrival, now));
    let slp = view.slp.filter(|_| lets_in);
    let mut image = adopt(view, slp, import);
    image.restorable = terms.restorable;
    let spec = slp.filter(|_| known.is_none()).and_then(|version| version.slp.import());
    let mut copy = copy_here(view, import, spec.map_or("import", |spec| spec.id.as_str()), &terms, moment);
    let governing = view.slp.filter(|version| known.is_some_and(|image| image.slp == version.slp.name));
    if let Some(version) = governing.filter(|it| retention::copied_out(&copy, &it.slp, view.operations)) {
        // It was kept for what copies from it, and that has been.
        copy.wanted.expires = retention::after_copy(&copy, &version.slp, view.operations, now);
    }
    replication::amend(&mut copy, now, decision);
    import.expires = copy.wanted.expires;
    decision.changes.push(Change::Image(image.clone()));
    if let (Some(version), Some(spec)) = (slp, spec) {
        if let Some(partner) = view.made_for {
            let slp = version.slp.name.clone();
            decision.changes.push(Change::Slp(version.clone()));
            decision.changes.push(Change::AutoSlp(AutoSlp { slp: slp.clone(), partner }));
            decision.commands.push(Command::SlpMade { slp, partner });
        }
        let operation = import_operation(view, &image, version, &spec.id, copy.wanted.expires, moment);
        let mut existing = view.operations.to_vec();
        existing.push(operation.clone());
        decision.changes.push(Change::Operation(operation));
        let parent = Parent {
            image: &image,
            version,
            operation: &spec.id,
            asked: copy.wanted.expires,
            existing: &existing,
            replicas: view.replicas,
            partners: view.partners,
        };
        let due = children::due(&parent, now);
        replication::release(&mut copy, &version.slp, (&existing, &due), now, decision);
        decision.changes.extend(due.into_iter().map(Change::Operation));
    }
    decision.changes.push(Change::Copy(copy));
    if view.recalls.iter().any(|it| it.partner == import.arrival.sender) {
        decision.changes.push(Change::RecallGone(image.id, import.arrival.sender));
    }
    decision.changes.push(Change::ArrivalAdmitted(image.id, import.arrival.sender));
    (import.data, import.next_look) = (ArrivedData::Here, None);
    import.enter(ImportState::Imported, terms.note, now);
}

/// A policy of this domain governs it: not what is gone, nor what another domain made and only the copy of a copy has told
/// of so far.
fn is_governed(own: &Identity, image: &Image) -> bool {
    !image.state.is_gone() && (image.origin == own.domain || image.sender.is_some())
}

/// The image as it will stand in the catalog: under the SLP that lets it in, if one does.
fn adopt(view: &ArrivalView<'_>, slp: Option<&SlpVersion>, import: &Import) -> Image {
    let Import { arrival, .. } = import;
    if let Some(known) = view.existing {
        let mut image = known.clone();
        image.fill(&arrival.record, arrival.signed.clone());
        // One's own that came home without an import policy stays under the version that it was made under.
        let stays = slp.is_none() && known.origin == view.own.domain;
        if !stays && !is_governed(view.own, known) {
            let (name, number) = governed_by(slp, arrival);
            name.clone_into(&mut image.slp);
            image.slp_version = number;
        }
        if known.origin != view.own.domain {
            image.sender = known.sender.or(Some(import.arrival.sender));
        }
        image
    } else {
        let (name, number) = governed_by(slp, arrival);
        let mut image = Image::from_record(&arrival.record, arrival.signed.clone(), name, number);
        image.sender = Some(arrival.sender);
        image
    }
}

/// What another policy than the one that lets it in says is nothing to it.
fn governed_by<'a>(slp: Option<&'a SlpVersion>, arrival: &'a Arrival) -> (&'a str, u32) {
    slp.map_or((arrival.slp(), 0), |version| (version.slp.name.as_str(), version.version))
}

/// A pool holds one copy of an image, however often it arrived; it lives as long as the longest asked for.
fn copy_here(
    view: &ArrivalView<'_>,
    import: &Import,
    operation: &str,
    terms: &Terms,
    moment: Moment,
) -> ImageCopy {
    let held = view.copies.iter().find(|copy| copy.pool == import.key.pool);
    let number = view.copies.iter().map(|copy| copy.number).max().unwrap_or(0) + 1;
    let wanted = CopyState { expires: terms.expires, ..import.copy };
    // The commit that is known already, told once more, added nothing, and the log may have said more of the copy since.
    let place = (import.key.sequence, import.incarnation);
    let told_again = held.filter(|copy| (copy.sequence, copy.incarnation) == place);
    let added = if told_again.is_some() { 0 } else { import.stored_bytes };
    match held {
        Some(copy) => ImageCopy {
            in_log: told_again.map_or(import.copy, |copy| copy.in_log),
            wanted: CopyState {
                expires: retention::later(copy.wanted.expires, wanted.expires),
                ..copy.wanted
            },
            sequence: import.key.sequence,
            incarnation: import.incarnation,
            // A log that begins anew tells all of it again.
            stored_bytes: if copy.incarnation == import.incarnation {
                copy.stored_bytes.saturating_add(added)
            } else {
                import.stored_bytes
            },
            // Where the log begins anew it says so again, if it has it still.
            discarded: copy.discarded.filter(|_| copy.incarnation == import.incarnation),
            ..copy.clone()
        },
        None => ImageCopy {
            image: import.arrival.record.image,
            number,
            pool: import.key.pool,
            incarnation: import.incarnation,
            operation: operation.to_owned(),
            in_log: import.copy,
            wanted,
            next_amend: None,
            discarded: leaving::discarded(import),
            not_before: None,
            sequence: import.key.sequence,
            stored_bytes: import.stored_bytes,
            made: moment.now,
        },
    }
}

fn import_operation(
    view: &ArrivalView<'_>,
    image: &Image,
    version: &SlpVersion,
    name: &str,
    expires: Option<Timestamp>,
    moment: Moment,
) -> Operation {
    let ordinal = view.operations.iter().map(|it| it.key.ordinal).max().unwrap_or(0) + 1;
    Operation {
        expires,
        priority: version.slp.priority,
        state: OperationState::Complete,
        attempt: 1,
        ..Operation::new(image, ordinal, name.to_owned(), OperationKind::Import, moment.now)
    }
}

fn job_of(import: &Import, moment: Moment) -> Job {
    let record = &import.arrival.record;
    let key = JobKey::import(import.key);
    let mut job = Job::begin(key, JobKind::Import, record.image, import.arrived);
    job.partner = Some(import.arrival.sender);
    job.counters.logical_bytes = record.logical_bytes;
    job.counters.stored_bytes = import.stored_bytes;
    job.note.clone_from(&import.note);
    match import.state {
        ImportState::Pending | ImportState::Waiting { .. } => {}
        ImportState::Imported => job.end(JobState::Done, moment.now),
        ImportState::Failed { .. } | ImportState::GivenUp | ImportState::Refused => {
            job.end(JobState::Failed, moment.now);
        }
    }
    job
}
