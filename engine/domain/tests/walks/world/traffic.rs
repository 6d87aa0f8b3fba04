//! What domains do as they were commanded, and what comes of it: images and words cross links that may be cut.

use std::collections::BTreeSet;

use narrows_domain::event::{DuplicateOrder, Event, Logged, PoolEvent, ReplicateOrder, ReplicationDone};
use narrows_domain::import::{Arrival, ImportReport, Outcome, Proof};
use narrows_domain::job::Counters;
use narrows_domain::model::Burnt;
use narrows_domain::operation::WaitReason;
use narrows_domain::partner::{Partner, ReceivePool, Trust};
use narrows_domain::primary::Error;
use narrows_domain::retry::{Failure, Side};
use narrows_domain::{Catalog as _, Command, ImportKey, OperationKey};
use narrows_format::record::CopyState;
use narrows_format::{DomainId, ImageId, PoolId, Sequence};

use super::backups::record_of;
use super::{Answer, World, attempt_of, attempt_told, now, order, ready};

/// The image of which a command changes a copy.
const fn copy_of(command: &Command) -> Option<ImageId> {
    match command {
        Command::AmendCopy { image, .. }
        | Command::DiscardCopy { image, .. }
        | Command::RemoveCopy { image, .. } => Some(*image),
        _ => None,
    }
}

/// What a refusal of the target makes its source wait for, by the specification (5); what is not named is for ever.
fn called(code: &str) -> Option<WaitReason> {
    match code {
        // The connection broke.
        "" => Some(WaitReason::TargetDown),
        "AIR-001" => Some(WaitReason::Clock),
        "AIR-002" | "AIR-003" | "AIR-004" => Some(WaitReason::ImportFailed),
        "AIR-012" => Some(WaitReason::Trust),
        "NET-004" => Some(WaitReason::Limit),
        _ => None,
    }
}

impl World {
    pub(super) fn is_cut(&self, one: usize, other: usize) -> bool {
        self.cut.contains(&(one.min(other), one.max(other)))
    }

    /// No word goes between these any more, or again.
    pub(crate) fn cut_or_join(&mut self, one: usize, other: usize) {
        let link = (one.min(other), one.max(other));
        if !self.cut.remove(&link) {
            self.cut.insert(link);
        }
    }

    pub(crate) fn at(&self, id: DomainId) -> usize {
        self.domains.iter().position(|domain| domain.id() == id).expect("a domain of this world")
    }

    /// Only where things happen by chance.
    fn by_chance(&mut self, one_in: usize) -> bool {
        !self.is_calm && self.dice.one_in(one_in)
    }

    pub(super) fn carry_out_one(&mut self, at: usize) {
        let count = self.domains[at].commands.len();
        if count > 0 {
            let which = self.dice.below(count);
            let commands = &mut self.domains[at].commands;
            // What is to be done to the copies of one image is done in order.
            let image = copy_of(&commands[which]);
            let first = commands.iter().position(|it| image.is_some() && copy_of(it) == image);
            let command = commands.remove(first.unwrap_or(which));
            self.carry_out(at, command);
        }
    }

    pub(crate) fn carry_out(&mut self, at: usize, command: Command) {
        match command {
            Command::Replicate(order) => self.replicate(at, &order),
            Command::Report { partner, import, report } => self.report(at, partner, import, report),
            Command::AmendCopy { image, pool, .. }
            | Command::DiscardCopy { image, pool, .. }
            | Command::RemoveCopy { image, pool } => self.change_copy(at, (image, pool), &command),
            Command::Duplicate(order) => self.duplicate(at, &order),
            Command::Probe(partner) => {
                let to = self.at(partner);
                let event = if self.is_cut(at, to) {
                    Event::PartnerDown { partner, code: String::new(), sentence: "no answer".into() }
                } else {
                    let (receive_pool, pools) = (Some(self.receive_pool(to)), Vec::new());
                    Event::PartnerUp { partner, receive_pool, pools, skew_ms: None }
                };
                self.answers.push(Answer { to: at, event });
            }
            Command::StopReplication(_) | Command::SlpMade { .. } | Command::OfferRuns(_) => {}
        }
    }

    /// If an attempt comes to nothing, it is because of this.
    fn note_met(&mut self, attempt: (usize, OperationKey, u32), meets: Option<WaitReason>) {
        self.met.extend(meets.map(|reason| (attempt, reason)));
    }

    pub(super) fn receive_pool(&self, at: usize) -> ReceivePool {
        let pool = self.domains[at].pool;
        ReceivePool { pool, incarnation: self.domains[at].incarnation(pool) }
    }

    fn replicate(&mut self, at: usize, order: &ReplicateOrder) {
        let to = self.at(order.partner);
        let counters = Counters { wire_bytes: 1, ..Counters::default() };
        let failed = |failure| Event::ReplicationFailed {
            operation: order.operation,
            attempt: order.attempt,
            failure,
            counters,
        };
        let partner = now(self.domains[to].catalog().partner(self.domains[at].id())).expect("a partner");
        // That its own certificate has expired stands against what is sent there, not here.
        let is_trusted = matches!(partner.trust, Trust::Complete | Trust::Expired);
        let (is_cut, is_full) = (self.is_cut(at, to), self.domains[to].full);
        let outcome = if is_cut {
            let is_unreachable = self.is_calm || self.dice.one_in(2);
            Err(if is_unreachable { Failure::unreachable("no route") } else { Failure::interrupted("broke") })
        } else if let Err(failure) = self.may_send(at, to) {
            Err(failure)
        } else if is_full {
            // As many as may be brought there, or as much as fits.
            let code = if order.attempt.is_multiple_of(3) { "NET-004" } else { "POOL-002" };
            Err(Failure::coded(code, Side::Target, "full"))
        } else {
            self.commit_at(at, to, order)
        };
        let meets = match &outcome {
            Err(_) if is_cut => Some(WaitReason::TargetDown),
            Err(_) if !is_trusted => Some(WaitReason::Trust),
            Err(failure) if failure.code == "POOL-002" => Some(WaitReason::TargetFull),
            Err(failure) => called(&failure.code),
            Ok(_) => Some(WaitReason::TargetDown),
        };
        self.note_met((at, order.operation, order.attempt), meets);
        // The connection may break between the commit there and its acknowledgement here.
        let event = match outcome {
            Ok(_) if self.by_chance(8) => failed(Failure::interrupted("broke")),
            Ok(sequence) => Event::ReplicationDone(ReplicationDone {
                operation: order.operation,
                attempt: order.attempt,
                receive_pool: self.receive_pool(to),
                sequence,
                counters,
            }),
            Err(failure) => failed(failure),
        };
        self.answers.push(Answer { to: at, event });
    }

    /// What the receiving server asks before a session begins.
    fn may_send(&mut self, at: usize, to: usize) -> Result<(), Failure> {
        let sender = self.domains[at].id();
        match ready(self.domains[to].primary().may_send(sender)) {
            Ok(_) => Ok(()),
            Err(Error::Refused(refusal)) => Err(Failure::coded(&refusal.code, Side::Target, "refused")),
            Err(other) => panic!("{other}"),
        }
    }

    fn commit_at(&mut self, at: usize, to: usize, order: &ReplicateOrder) -> Result<Sequence, Failure> {
        let image = now(self.domains[at].catalog().image(order.operation.image)).expect("an image to send");
        let arrival = Arrival {
            record: record_of(&image),
            signed: vec![1],
            proof: Proof::Good,
            sender: self.domains[at].id(),
            import_slp: order.import_slp.clone(),
            asked_expiry: order.expires,
        };
        let moment = self.moment(to);
        let pool = self.domains[to].pool;
        let copy: CopyState = match ready(self.domains[to].primary().admit(pool, &arrival, moment)) {
            Ok(copy) => copy,
            Err(Error::Refused(refusal)) => {
                self.note_over(image.id, at, to);
                return Err(Failure::coded(&refusal.code, Side::Target, "refused"));
            }
            // What it refuses it remembers.
            Err(Error::Catalog(Burnt)) => {
                self.crash(to);
                return Err(Failure::interrupted("it went away"));
            }
            Err(other) => panic!("{other}"),
        };
        if let Some(asked) = order.expires {
            let longest = self.asked.entry((to, image.id)).or_insert(asked.seconds);
            *longest = asked.seconds.max(*longest);
        }
        let lies = self.domains[to].lies(pool, image.id);
        if let Some(copy) = lies.copy.filter(|_| !self.logs_again) {
            let logged = Logged::Arrival { arrival, copy, stored_bytes: 0 };
            let (sequence, incarnation) = (lies.sequence, self.domains[to].incarnation(pool));
            let event = Event::ArrivedAgain(PoolEvent { pool, incarnation, sequence, logged });
            self.answers.push(Answer { to, event });
            return Ok(sequence);
        }
        Ok(self.domains[to].log(pool, Logged::Arrival { arrival, copy, stored_bytes: 7 }))
    }

    fn report(&mut self, at: usize, partner: DomainId, import: ImportKey, report: ImportReport) {
        let to = self.at(partner);
        let revision = report.revision;
        if let Outcome::GivenUp { .. } = &report.outcome
            && !self.is_cut(at, to)
        {
            self.let_go.insert((report.image, to, at));
        }
        let from = self.domains[at].id();
        let failed = Event::ReportFailed { import, failure: Failure::unreachable("no route") };
        let heard = !self.is_cut(at, to) && self.handle(to, Event::ImportReported { from, report });
        let event = if heard { Event::ReportDelivered { import, revision } } else { failed };
        self.answers.push(Answer { to: at, event });
    }

    /// Copies an image to another pool; a pool takes an image once.
    fn duplicate(&mut self, at: usize, order: &DuplicateOrder) {
        let id = order.operation.image;
        let is_there = self.domains[at].lies(order.target, id).copy.is_some();
        let is_silent = self.domains[at].silent.contains(&order.target);
        if (is_silent || self.by_chance(4)) && !is_there {
            let (operation, attempt, counters) = (order.operation, order.attempt, Counters::default());
            self.note_met((at, operation, attempt), Some(WaitReason::SourceIncomplete));
            let failure = Failure::interrupted("the copy broke");
            let event = Event::ReplicationFailed { operation, attempt, failure, counters };
            self.answers.push(Answer { to: at, event });
        } else if !is_there {
            let image = now(self.domains[at].catalog().image(id)).expect("an image to copy");
            let (record, copy) = (record_of(&image), order.copy);
            self.domains[at]
                .log(order.target, Logged::Backup { record, signed: vec![1], copy, stored_bytes: 7 });
        }
    }

    /// A media server does not answer any more: nobody hears how duplications to it go on, and they are taken back.
    pub(super) fn break_off(&mut self, at: usize, pool: PoolId) {
        let here = now(self.domains[at].catalog().duplications_in_process());
        let under_way = here.into_iter().filter(|it| it.pool == Some(pool));
        let lost: BTreeSet<_> = under_way.map(|it| (it.key, it.attempt)).collect();
        let keeps = |told: Option<(OperationKey, u32)>| told.is_none_or(|told| !lost.contains(&told));
        self.domains[at].commands.retain(|command| keeps(attempt_of(command)));
        self.answers.retain(|answer| answer.to != at || keeps(attempt_told(&answer.event)));
        let moment = self.moment(at);
        let is_under_way = |key, attempt| !lost.contains(&(key, attempt));
        let outcome = ready(self.domains[at].primary().take_back(is_under_way, moment));
        order::obey(self, at, outcome);
    }

    pub(super) fn answer(&mut self) {
        if self.answers.is_empty() {
            return;
        }
        let which = self.dice.below(self.answers.len());
        let Answer { to, event } = self.answers.swap_remove(which);
        self.handle(to, event);
    }

    pub(super) fn cut_or_heal(&mut self, at: usize) {
        let other = self.dice.below(self.domains.len());
        if other != at {
            self.cut_or_join(at, other);
        }
    }

    pub(super) fn trust_or_pause(&mut self, at: usize) {
        let partners = now(self.domains[at].catalog().partners());
        let mut partner = partners[self.dice.below(partners.len())].clone();
        if self.dice.one_in(2) {
            partner.paused = !partner.paused;
        } else {
            let expired = partner.trust == Trust::Expired;
            partner.trust = if expired { Trust::Complete } else { Trust::Expired };
        }
        self.put_partner(at, partner);
    }

    pub(super) fn put_partner(&mut self, at: usize, partner: Partner) {
        let moment = self.moment(at);
        let outcome = ready(self.domains[at].primary().put_partner(partner, moment));
        order::obey(self, at, outcome);
    }
}
