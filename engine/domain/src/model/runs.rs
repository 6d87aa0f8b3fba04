//! What the model catalog knows of runs of backup policies.

use std::collections::BTreeMap;

use narrows_format::{ClientId, Timestamp};

use super::rows::Rows;
use crate::catalog::{NumberedRun, RunsAsked};
use crate::limits::{RUNS_KEPT, RUNS_KEPT_MAX, RUNS_KEPT_MIN};
use crate::moment::before;
use crate::policy::{RunKey, RunState, RunsOf};

impl Rows {
    /// See [`crate::Change::RunsPruned`].
    pub(super) fn prune_runs(&mut self, of: &RunsOf, now: Timestamp) {
        let mut newest: Vec<_> = self.runs.values().filter(|it| of.has(&it.run.key)).cloned().collect();
        newest.sort_by_key(|it| std::cmp::Reverse(it.number));
        let last = newest.iter().map(|it| it.run.key.slot).max();
        let is_good = |it: &&NumberedRun| matches!(it.run.state, RunState::Done | RunState::Partial);
        let good = newest.iter().find(is_good).map(|it| it.number);
        let then = before(now, RUNS_KEPT);
        for (rank, NumberedRun { number, run }) in newest.iter().enumerate() {
            let is_old = rank >= RUNS_KEPT_MAX || (rank >= RUNS_KEPT_MIN && run.since < then);
            let is_needed = !run.state.is_final() || Some(run.key.slot) == last || Some(*number) == good;
            if is_old && !is_needed {
                self.runs.remove(&run.key);
            }
        }
    }

    pub(super) fn runs(&self, asked: RunsAsked<'_>) -> Vec<NumberedRun> {
        let fits = |it: &&NumberedRun| match asked {
            RunsAsked::One(number) => it.number == number,
            RunsAsked::Live => !it.run.state.is_final(),
            RunsAsked::Due(now) => it.run.next_look().is_some_and(|due| due <= now),
            RunsAsked::Making(image) => it.run.image == Some(image),
            RunsAsked::Newest(policy, _) => policy.is_none_or(|policy| it.run.key.policy == policy),
        };
        let mut all: Vec<_> = self.runs.values().filter(fits).cloned().collect();
        all.sort_by_key(|it| it.number);
        if let RunsAsked::Newest(_, limit) = asked {
            all.reverse();
            all.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        }
        all
    }

    pub(super) fn last_slots(
        &self,
        policy: &str,
        schedule: &str,
        until: Timestamp,
    ) -> Vec<(ClientId, Timestamp)> {
        let mut last: BTreeMap<ClientId, Timestamp> = BTreeMap::new();
        let counts = |key: &&RunKey| key.policy == policy && key.schedule == schedule && key.slot <= until;
        for key in self.runs.keys().filter(counts) {
            let slot = last.entry(key.client).or_insert(key.slot);
            *slot = (*slot).max(key.slot);
        }
        last.into_iter().collect()
    }
}
