//! Backup policies as people apply, hold and delete them.

use super::storage::absent;
use super::{Done, Primary};
use crate::catalog::{Catalog, RunsAsked};
use crate::event::{Change, Command};
use crate::moment::Moment;
use crate::policy::check::{Around, check};
use crate::policy::{Policy, RunState, StoredPolicy, run};
use crate::slp::Finding;
use crate::window::Window;

/// What applying a policy does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyPlan {
    /// What is stored says the same.
    Unchanged(StoredPolicy),
    /// This is stored.
    Store(StoredPolicy),
    /// Nothing is stored.
    Refused(Vec<Finding>),
}

impl<C: Catalog> Primary<C> {
    /// What [`Self::apply_policy`] would do. `windows` are the windows that the schedules have of their own.
    pub async fn plan_policy(
        &self,
        policy: &Policy,
        windows: Vec<Option<Window>>,
        moment: Moment,
    ) -> Done<PolicyPlan, C> {
        let units = self.ask(self.catalog.storage_units()).await?.into_iter().map(|unit| unit.name);
        let groups = self.ask(self.catalog.storage_unit_groups()).await?.into_iter().map(|group| group.name);
        let known = self.ask(self.catalog.classifications()).await?;
        let around = Around {
            slps: self.ask(self.catalog.slps()).await?,
            storage: units.chain(groups).collect(),
            windows: self.ask(self.catalog.windows()).await?.into_iter().map(|window| window.name).collect(),
            classifications: known.into_iter().map(|classification| classification.name).collect(),
            clients: self.ask(self.catalog.clients()).await?,
        };
        let findings = check(policy, &around);
        if !findings.is_empty() {
            return Ok(PolicyPlan::Refused(findings));
        }
        let before = self.policy(&policy.name).await?;
        let is_paused = before.as_ref().is_some_and(|before| before.is_paused);
        Ok(match before.filter(|before| before.policy == *policy && before.windows == windows) {
            Some(before) => PolicyPlan::Unchanged(before),
            None => PolicyPlan::Store(StoredPolicy {
                policy: policy.clone(),
                windows,
                is_paused,
                made: moment.now,
                next_look: Some(moment.now),
            }),
        })
    }

    /// Checks a policy and stores it; what it asks for now is due at once, what it does not ask for any more and was not
    /// begun is cancelled.
    pub async fn apply_policy(
        &mut self,
        policy: &Policy,
        windows: Vec<Option<Window>>,
        moment: Moment,
    ) -> Done<(PolicyPlan, Vec<Command>), C> {
        let plan = self.plan_policy(policy, windows, moment).await?;
        let PolicyPlan::Store(stored) = &plan else { return Ok((plan, Vec::new())) };
        let mut changes = vec![Change::Policy(stored.clone())];
        let clients = self.ask(self.catalog.clients()).await?;
        let named = clients.iter().filter(|client| policy.clients.contains(&client.name));
        let named: Vec<_> = named.map(|client| client.id).collect();
        for waiting in self.ask(self.catalog.runs(RunsAsked::Live)).await? {
            let key = &waiting.run.key;
            let is_asked_for = (key.schedule.is_empty() || policy.schedule(&key.schedule).is_some())
                && named.contains(&key.client);
            if key.policy == policy.name && waiting.run.state == RunState::Waiting && !is_asked_for {
                let gone =
                    run::cancelled(&waiting.run, "its policy does not ask for it any more", moment.now);
                changes.push(Change::Run(gone));
            }
        }
        self.store(&changes).await?;
        let mut commands = Vec::new();
        let looked = self.look_at_policies(Some(&policy.name), &mut commands, moment).await;
        self.note(looked);
        Ok((plan, commands))
    }

    /// Stores a policy's own windows with other offsets; nothing else of it changes.
    pub async fn put_policy_windows(&mut self, name: &str, windows: Vec<Option<Window>>) -> Done<(), C> {
        let stored = self.known_policy(name).await?;
        self.store(&[Change::Policy(StoredPolicy { windows, ..stored })]).await
    }

    /// Deletes a policy. Its runs that have not ended are cancelled: an agent that works on one is told so.
    pub async fn delete_policy(&mut self, name: &str, moment: Moment) -> Done<(), C> {
        self.known_policy(name).await?;
        let mut changes = vec![Change::PolicyGone(name.to_owned())];
        for live in self.ask(self.catalog.runs(RunsAsked::Live)).await? {
            if live.run.key.policy == name {
                changes.push(Change::Run(run::cancelled(&live.run, "its policy was deleted", moment.now)));
            }
        }
        self.store(&changes).await
    }

    /// Holds the runs of a policy that have not begun, or lets them go on.
    pub async fn hold_policy(
        &mut self,
        name: &str,
        is_paused: bool,
        moment: Moment,
    ) -> Done<Vec<Command>, C> {
        let stored = self.known_policy(name).await?;
        self.store(&[Change::Policy(StoredPolicy { is_paused, ..stored })]).await?;
        let mut commands = Vec::new();
        if !is_paused {
            let looked = self.look_at_policies(Some(name), &mut commands, moment).await;
            self.note(looked);
            let live = self.ask(self.catalog.runs(RunsAsked::Live)).await?;
            let of_it = live.into_iter().filter(|it| it.run.key.policy == name);
            commands.extend(of_it.map(|it| Command::OfferRuns(it.run.key.client)));
        }
        Ok(commands)
    }

    /// The policy of this name.
    pub(super) async fn policy(&self, name: &str) -> Done<Option<StoredPolicy>, C> {
        let policies = self.ask(self.catalog.policies()).await?;
        Ok(policies.into_iter().find(|stored| stored.policy.name == name))
    }

    pub(super) async fn known_policy(&self, name: &str) -> Done<StoredPolicy, C> {
        self.policy(name).await?.ok_or_else(|| absent("policy", name).into())
    }

    /// Policies for which this holds, in words for a list.
    pub(super) async fn policies_naming(
        &self,
        names: impl Fn(&Policy) -> bool + Send,
    ) -> Done<Vec<String>, C> {
        let policies = self.ask(self.catalog.policies()).await?;
        let naming = policies.iter().filter(|stored| names(&stored.policy));
        Ok(naming.map(|stored| format!("policy `{}`", stored.policy.name)).collect())
    }
}
