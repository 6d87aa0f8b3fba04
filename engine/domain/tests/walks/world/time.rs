//! Time goes by: a little in each walk, until all is done at its end, and until the last copy has gone after that.

use narrows_domain::catalog::ImageFilter;
use narrows_domain::limits::FAILED_IMPORT_KEEP;
use narrows_domain::operation::{OperationKind, OperationState};
use narrows_domain::partner::{Reach, Trust};
use narrows_domain::slp::version::Unverified;
use narrows_domain::{Catalog as _, Event};

use super::{World, now, order, ready};
use crate::check;
use crate::invariant::{Held, Invariant};

/// Most times that something is due until all is done.
const LOOKS_MAX: u32 = 1500;

/// How often partners say what they hold, in seconds: once a day.
const COMPARED_EVERY: i64 = 86_400;

impl World {
    pub(super) fn pass_time(&mut self) {
        let little = i64::try_from(1 + self.dice.below(30)).unwrap();
        self.now += match self.dice.below(12) {
            0 => 3 * 3600,
            1 if self.dice.one_in(8) => i64::try_from(FAILED_IMPORT_KEEP.as_secs()).unwrap() + 60,
            1..=3 if self.is_quick => 86_400,
            4..=6 if self.is_quick => 7 * 3600,
            _ => little,
        };
        self.tick_all();
    }

    fn tick_all(&mut self) {
        for at in 0..self.domains.len() {
            self.handle(at, Event::Tick);
        }
    }

    /// One policy is there and verified; whether there was one to mend.
    pub(super) fn mend_one(&mut self) -> bool {
        let missing = self.missing.first().copied();
        let Some((at, origin)) = missing.or(self.unverified.first().copied()) else { return false };
        let mended = self.apply_slp(at, origin, Unverified::Refuse);
        if mended && !self.missing.remove(&(at, origin)) {
            self.unverified.remove(&(at, origin));
        }
        mended
    }

    /// Everything that was wrong is put right.
    pub(crate) fn mend_everything(&mut self) {
        self.cut.clear();
        for at in 0..self.domains.len() {
            self.domains[at].catalog().fail_after(None);
            self.domains[at].full = false;
            for mut partner in now(self.domains[at].catalog().partners()) {
                partner.trust = Trust::Complete;
                partner.paused = false;
                partner.draining = None;
                self.put_partner(at, partner);
            }
            order::mend(self, at);
        }
        while self.mend_one() {}
        self.mended = Some(self.now);
    }

    /// Carries out, answers and lets time pass until all is done that can be.
    pub(crate) fn come_to_rest(&mut self) -> Held {
        // Once to hear what else there is to do, and once when that is done.
        let (mut left, mut comparings) = (Ok(()), if self.is_calm { 0 } else { 2 });
        let mut compared = self.now;
        for _ in 0..LOOKS_MAX {
            self.drain()?;
            if !self.is_calm && self.now >= compared + COMPARED_EVERY {
                compared = self.now;
                self.compare_all();
                continue;
            }
            if self.finish_a_backup() {
                continue;
            }
            left = (0..self.domains.len()).try_for_each(|at| self.nothing_is_left_to_do(at));
            if left.is_err() && self.go_on() {
                continue;
            }
            if comparings == 0 {
                return left;
            }
            comparings -= 1;
            self.compare_all();
        }
        left
    }

    /// What a domain has still to do before its copies come to their end is against an invariant if it is never done.
    fn nothing_is_left_to_do(&self, at: usize) -> Held {
        let catalog = self.domains[at].catalog();
        let open = catalog.all_operations().into_iter().find(|it| !it.state.is_final());
        Invariant::AllThatCanCompletes.holds(open.is_none(), || format!("never done: {open:?}"))?;
        let imports = catalog.all_imports();
        let untold = imports.iter().find(|it| it.told < it.revision);
        Invariant::SendersKnow.holds(untold.is_none(), || format!("never told: {untold:?}"))?;
        let stays = imports.iter().find(|it| it.is_unsettled());
        Invariant::GoesInTheEnd.holds(stays.is_none(), || format!("never gone: {stays:?}"))?;
        let images = now(catalog.images(&ImageFilter::default()));
        let mut copies = images.iter().flat_map(|image| now(catalog.copies(image.id)));
        let amended = copies.find(|copy| copy.next_amend.is_some());
        Invariant::LivesAsThePolicySays.holds(amended.is_none(), || format!("never amended: {amended:?}"))?;
        let is_reconciling = self.domains[at].is_reconciling();
        Invariant::NothingGoesUncompared.holds(!is_reconciling, || "it is never compared".to_owned())?;
        let silent = now(catalog.partners()).into_iter().find(|it| it.reach != Reach::Up);
        Invariant::WaitsHaveReasons.holds(silent.is_none(), || format!("never found up: {silent:?}"))
    }

    /// To the next time at which something is due; whether there is one.
    fn go_on(&mut self) -> bool {
        let due = self.domains.iter().filter_map(|domain| {
            let due = now(domain.catalog().next_due())?;
            Some(due.seconds - domain.offset + 1)
        });
        let Some(due) = due.min() else { return false };
        self.now = self.now.max(due);
        for at in 0..self.domains.len() {
            let is_due = now(self.domains[at].catalog().next_due());
            if is_due.is_some_and(|due| due.seconds <= self.clock(at)) {
                self.handle(at, Event::Tick);
            }
        }
        true
    }

    /// What stands in logs and orders is read and done, each step judged by itself.
    fn drain(&mut self) -> Held {
        check::always(self)?;
        for _ in 0..2000 {
            let mut idle = true;
            for at in 0..self.domains.len() {
                let mut pools = self.domains[at].pools_here().into_iter();
                let unread = pools.any(|pool| self.unread(at, pool).is_some());
                idle &= !unread && self.domains[at].commands.is_empty();
                self.read_log(at);
                check::always(self)?;
                idle &= !self.reconcile_on(at);
                self.carry_out_one(at);
                check::always(self)?;
            }
            idle &= self.answers.is_empty();
            self.answer();
            check::always(self)?;
            if idle {
                break;
            }
        }
        Ok(())
    }

    /// People release what keeps copies and was given up, and time passes until nothing is left of any image.
    pub(crate) fn live_out(&mut self) -> Held {
        for at in 0..self.domains.len() {
            self.release_all(at);
        }
        for _ in 0..LOOKS_MAX {
            self.drain()?;
            if !self.go_on() {
                break;
            }
        }
        for (at, domain) in self.domains.iter().enumerate() {
            let left = self.made.keys().find(|image| domain.has(**image));
            let known = left.map(|image| now(domain.catalog().copies(*image)));
            Invariant::GoesInTheEnd.holds(left.is_none(), || format!("domain {at} still has {known:?}"))?;
        }
        Ok(())
    }

    fn release_all(&mut self, at: usize) {
        for image in self.made.keys().copied().collect::<Vec<_>>() {
            let copies = now(self.domains[at].catalog().copies(image));
            if copies.iter().any(|copy| copy.wanted.expires.is_none()) {
                order::expire(self, at, image);
            }
        }
        for operation in self.domains[at].catalog().all_operations() {
            let keeps = matches!(operation.state, OperationState::Failed(_) | OperationState::Cancelled);
            if !keeps || operation.kind == OperationKind::Backup || operation.released.is_some() {
                continue;
            }
            let (image, name, moment) = (operation.key.image, operation.name, self.moment(at));
            self.released.insert((image, at, name.clone()));
            let outcome = ready(self.domains[at].primary().release(image, &name, "it is over", moment));
            order::obey(self, at, outcome);
        }
    }
}
