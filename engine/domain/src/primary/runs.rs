//! Runs of backup policies: what is due, who takes it, how it ends.

use narrows_format::{ClientId, ImageId};

use super::storage::{CLASH, absent};
use super::{Done, Error, Primary};
use crate::catalog::{Catalog, NumberedRun, RunsAsked};
use crate::event::{Change, Command};
use crate::image::ImageState;
use crate::machine::Refusal;
use crate::machine::backup::{self, BackupAsk, BackupBegun};
use crate::machine::placing::BUSY;
use crate::moment::Moment;
use crate::operation::Note;
use crate::policy::run::{self, Made};
use crate::policy::{Run, RunOutcome, RunState, RunsOf, StoredPolicy};

/// Who works on a run, and on which try of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Working {
    /// The client, by its certificate.
    pub client: ClientId,
    /// The run's number.
    pub run: u64,
    /// Which try.
    pub attempt: u32,
    /// The agent's session.
    pub session: u64,
}

impl<C: Catalog> Primary<C> {
    /// What time brings about: windows close, agents fall silent, schedules are due.
    pub(super) async fn runs_due(&mut self, commands: &mut Vec<Command>, moment: Moment) -> Done<(), C> {
        for NumberedRun { run, .. } in self.ask(self.catalog.runs(RunsAsked::Due(moment.now))).await? {
            let policy = self.policy(&run.key.policy).await?;
            let made = self.made(&run).await?;
            let looked = run::look(&run, policy.as_ref().map(|stored| &stored.policy), made, moment.now);
            let Some(next) = looked else { continue };
            if next.state == RunState::Waiting {
                commands.push(Command::OfferRuns(next.key.client));
            }
            let (name, is_over) = (next.key.policy.clone(), next.state.is_final());
            let mut changes = vec![Change::Run(next)];
            if run.state == RunState::Running && made == Made::Nothing {
                changes.extend(
                    self.giving_up(&run, "its run was given up: its client fell silent", moment).await?,
                );
            }
            self.store(&changes).await?;
            if is_over {
                self.look_at_policies(Some(&name), commands, moment).await?;
            }
        }
        let policies = self.ask(self.catalog.policies()).await?;
        for stored in policies.into_iter().filter(|it| it.next_look.is_some_and(|look| look <= moment.now)) {
            self.look_at_policy(stored, commands, moment).await?;
        }
        Ok(())
    }

    /// Looks what one policy, or all, ask for now.
    pub(super) async fn look_at_policies(
        &mut self,
        named: Option<&str>,
        commands: &mut Vec<Command>,
        moment: Moment,
    ) -> Done<(), C> {
        for stored in self.ask(self.catalog.policies()).await? {
            if named.is_none_or(|name| name == stored.policy.name) {
                self.look_at_policy(stored, commands, moment).await?;
            }
        }
        Ok(())
    }

    async fn look_at_policy(
        &mut self,
        stored: StoredPolicy,
        commands: &mut Vec<Command>,
        moment: Moment,
    ) -> Done<(), C> {
        let windows = self.ask(self.catalog.windows()).await?;
        let clients = self.ask(self.catalog.clients()).await?;
        let live = self.ask(self.catalog.runs(RunsAsked::Live)).await?;
        let live: Vec<_> = live.into_iter().map(|numbered| numbered.run).collect();
        let mut last = Vec::new();
        for (at, schedule) in stored.policy.schedules.iter().enumerate() {
            let Some(until) = run::counted_until(&stored, at, &windows, moment.now) else { continue };
            let slots = self.catalog.last_slots(&stored.policy.name, &schedule.name, until);
            let slots = self.ask(slots).await?;
            last.extend(slots.into_iter().map(|(client, slot)| (schedule.name.clone(), client, slot)));
        }
        let (made, next_look) = run::owed(&stored, (&windows, &clients), &live, &last, moment.now);
        commands.extend(made.iter().map(|run| Command::OfferRuns(run.key.client)));
        let mut changes: Vec<_> = made.into_iter().flat_map(|run| begun(run, moment)).collect();
        if stored.next_look != next_look {
            changes.push(Change::Policy(StoredPolicy { next_look, ..stored }));
        }
        if changes.is_empty() { Ok(()) } else { self.store(&changes).await }
    }

    /// A person asks for a policy to be run now: for one of its clients, or all. Windows do not count.
    pub async fn order_runs(
        &mut self,
        name: &str,
        client: Option<&str>,
        moment: Moment,
    ) -> Done<(Vec<NumberedRun>, Vec<Command>), C> {
        let stored = self.known_policy(name).await?;
        let names: Vec<&str> = match client {
            Some(client) if !stored.policy.clients.iter().any(|it| it == client) => {
                let sentence = format!("policy `{name}` does not name client `{client}`");
                let help = "`narrowsctl policy show` says whom it names";
                return Err(Refusal::new("SLP-013", sentence, help).into());
            }
            Some(client) => vec![client],
            None => stored.policy.clients.iter().map(String::as_str).collect(),
        };
        let clients = self.ask(self.catalog.clients()).await?;
        let called: Vec<_> = clients.iter().filter(|it| names.contains(&it.name.as_str())).collect();
        let runs: Vec<Run> =
            called.iter().map(|it| run::ordered(&stored.policy, it.id, moment.now)).collect();
        let known = self.ask(self.catalog.runs(RunsAsked::Live)).await?;
        // Asked for twice in one second: it is one.
        let is_new = |run: &&Run| !known.iter().any(|it| it.run.key == run.key);
        let changes: Vec<_> =
            runs.iter().filter(is_new).cloned().flat_map(|run| begun(run, moment)).collect();
        self.store(&changes).await?;
        let live = self.ask(self.catalog.runs(RunsAsked::Live)).await?;
        let ordered = live.into_iter().filter(|it| runs.iter().any(|run| run.key == it.run.key));
        let commands = runs.iter().map(|run| Command::OfferRuns(run.key.client)).collect();
        Ok((ordered.collect(), commands))
    }

    /// A client's agent has nothing to do and asks for work. What it did before is lost: it does one run at a time.
    pub async fn claim_run(
        &mut self,
        client: ClientId,
        session: u64,
        moment: Moment,
    ) -> Done<Option<(NumberedRun, StoredPolicy)>, C> {
        let live = self.ask(self.catalog.runs(RunsAsked::Live)).await?;
        for NumberedRun { number, run } in live.iter().filter(|it| it.run.key.client == client) {
            if run.state != RunState::Running {
                continue;
            }
            let policy = self.policy(&run.key.policy).await?;
            let has_begun = run.image.is_some();
            // Our answer did not reach it.
            if run.session == session
                && !has_begun
                && let Some(policy) = policy
            {
                return Ok(Some((NumberedRun { number: *number, run: run.clone() }, policy)));
            }
            let made = self.made(run).await?;
            let policy = policy.as_ref().map(|stored| &stored.policy);
            let lost = run::lost(run, policy, made, "its agent began anew", moment.now);
            let mut changes = vec![Change::Run(lost)];
            if made == Made::Nothing {
                changes
                    .extend(self.giving_up(run, "its run was given up: its agent began anew", moment).await?);
            }
            self.store(&changes).await?;
            // Nobody has to be told of what is due now: the one who asks is here.
            self.look_at_policies(Some(&run.key.policy), &mut Vec::new(), moment).await?;
        }
        self.settle_made(client, moment).await?;
        let live = self.ask(self.catalog.runs(RunsAsked::Live)).await?;
        let runs: Vec<_> = live.iter().map(|numbered| numbered.run.clone()).collect();
        let mut ready = Vec::new();
        for numbered in live.iter().filter(|it| it.run.key.client == client) {
            let Some(policy) = self.policy(&numbered.run.key.policy).await? else { continue };
            if run::may_begin(&numbered.run, &policy, &runs, moment.now) {
                ready.push((numbered, policy));
            }
        }
        let order = |(numbered, stored): &(&NumberedRun, StoredPolicy)| {
            (std::cmp::Reverse(stored.policy.priority), numbered.run.due, numbered.number)
        };
        let Some((numbered, policy)) = ready.into_iter().min_by_key(order) else { return Ok(None) };
        let run = run::claimed(&numbered.run, session, moment.now);
        self.store(&[Change::Run(run.clone())]).await?;
        Ok(Some((NumberedRun { number: numbered.number, run }, policy)))
    }

    /// Runs of a client that wait to be tried again though their image has become whole are done.
    async fn settle_made(&mut self, client: ClientId, moment: Moment) -> Done<(), C> {
        for NumberedRun { run, .. } in self.ask(self.catalog.runs(RunsAsked::Live)).await? {
            if run.key.client == client && run.state == RunState::Waiting {
                let made = self.made(&run).await?;
                if made != Made::Nothing {
                    let done = run::ended(&run, None, RunOutcome::Done, made, moment.now);
                    self.store(&[Change::Run(done)]).await?;
                    self.look_at_policies(Some(&run.key.policy), &mut Vec::new(), moment).await?;
                }
            }
        }
        Ok(())
    }

    /// An agent still works on its run.
    pub async fn hear_run(&mut self, working: Working, moment: Moment) -> Done<(), C> {
        let run = self.worked_on(working).await?;
        self.store(&[Change::Run(Run { heard: moment.now, ..run })]).await
    }

    /// An agent says how its run ended.
    /// What came due meanwhile is due now.
    pub async fn end_run(
        &mut self,
        working: Working,
        outcome: RunOutcome,
        moment: Moment,
    ) -> Done<(Run, Vec<Command>), C> {
        let run = self.worked_on(working).await?;
        let policy = self.policy(&run.key.policy).await?;
        let made = self.made(&run).await?;
        let ended = run::ended(&run, policy.as_ref().map(|it| &it.policy), outcome, made, moment.now);
        self.store(&[Change::Run(ended.clone())]).await?;
        let mut commands = vec![Command::OfferRuns(working.client)];
        let looked = self.look_at_policies(Some(&ended.key.policy), &mut commands, moment).await;
        self.note(looked);
        Ok((ended, commands))
    }

    /// A person gives up a run.
    pub async fn cancel_run(&mut self, number: u64, moment: Moment) -> Done<(), C> {
        let found = self.ask(self.catalog.runs(RunsAsked::One(number))).await?.pop();
        let run = found.ok_or_else(|| absent("run", &number.to_string()))?.run;
        if run.state.is_final() {
            let sentence = format!("run {number} is {} already", run.state);
            return Err(Refusal::new(CLASH, sentence, "there is nothing to cancel").into());
        }
        let mut changes = vec![Change::Run(run::cancelled(&run, "a person cancelled it", moment.now))];
        if self.made(&run).await? == Made::Nothing {
            changes.extend(self.giving_up(&run, "a person cancelled its run", moment).await?);
        }
        self.store(&changes).await
    }

    /// What a run has under way becomes no image any more.
    async fn giving_up(&self, run: &Run, why: &str, moment: Moment) -> Done<Vec<Change>, C> {
        let Some(image) = run.image else { return Ok(Vec::new()) };
        let operations = self.ask(self.catalog.operations(image)).await?;
        Ok(backup::given_up(&operations, why, moment.now).changes)
    }

    /// Runs whose image has become whole and that wait, or were given up as lost, are done.
    pub(super) async fn runs_made(
        &self,
        image: ImageId,
        is_partial: bool,
        moment: Moment,
    ) -> Done<Vec<Change>, C> {
        let made = if is_partial { Made::Partial } else { Made::Whole };
        let making = self.ask(self.catalog.runs(RunsAsked::Making(image))).await?;
        let done = making.iter().filter_map(|it| run::made_whole(&it.run, made, moment.now));
        Ok(done.map(Change::Run).collect())
    }

    /// A client begins a backup for a policy that names it, for a run of its agent or by hand.
    pub async fn begin_policy_backup(
        &mut self,
        ask: &BackupAsk,
        working: Option<Working>,
        moment: Moment,
    ) -> Done<BackupBegun, C> {
        let StoredPolicy { policy, .. } = self.known_policy(&ask.policy).await?;
        if !policy.clients.contains(&ask.client_name) {
            let sentence = format!("policy `{}` does not name client `{}`", policy.name, ask.client_name);
            return Err(Refusal::new("AUTH-005", sentence, "an administrator adds it to the policy").into());
        }
        let run = match working {
            Some(working) => Some(self.worked_on(working).await?),
            None => None,
        };
        if let Some(run) = &run
            && self.made(run).await? != Made::Nothing
        {
            let sentence = format!("the image of this run of policy `{}` is whole", policy.name);
            return Err(Refusal::new(CLASH, sentence, "there is nothing left to do").into());
        }
        let ask = BackupAsk {
            slp: policy.slp.clone().unwrap_or_default(),
            schedule: run.as_ref().map_or(ask.schedule, |run| run.kind),
            ..ask.clone()
        };
        let planned = self.plan_backup(&ask, Some(&policy), moment).await;
        if let (Err(Error::Refused(refusal)), Some(run)) = (&planned, &run)
            && refusal.code == BUSY
            && run.note.as_ref().is_none_or(|note| note.code != BUSY)
        {
            // Its agent asks again soon; meanwhile people see what it waits for.
            let note = Some(Note { code: BUSY.to_owned(), sentence: refusal.sentence.clone() });
            self.store(&[Change::Run(Run { note, heard: moment.now, ..run.clone() })]).await?;
        }
        let (begun, mut decision) = planned?;
        let image = Some(begun.image.id);
        // What another run of this policy left unfinished is this one's now.
        for NumberedRun { run: other, .. } in
            self.ask(self.catalog.runs(RunsAsked::Making(begun.image.id))).await?
        {
            if run.as_ref().is_none_or(|run| other.key != run.key) {
                decision.changes.push(Change::Run(Run { image: None, ..other }));
            }
        }
        if let Some(run) = run {
            let note = run.note.filter(|note| note.code != BUSY);
            decision.changes.push(Change::Run(Run { image, note, heard: moment.now, ..run }));
        }
        self.store(&decision.changes).await?;
        Ok(begun)
    }

    /// The run that an agent says it works on, if it does.
    async fn worked_on(&self, working: Working) -> Done<Run, C> {
        let found = self.ask(self.catalog.runs(RunsAsked::One(working.run))).await?.pop();
        let run = found.map(|numbered| numbered.run);
        let is_its = |run: &Run| {
            (run.state, run.key.client, run.attempt, run.session)
                == (RunState::Running, working.client, working.attempt, working.session)
        };
        run.filter(is_its).ok_or_else(|| {
            let sentence = format!("run {} is not this agent's any more", working.run);
            Refusal::new(CLASH, sentence, "it asks for other work").into()
        })
    }

    /// Whether the image that a run makes is there.
    async fn made(&self, run: &Run) -> Done<Made, C> {
        let Some(id) = run.image else { return Ok(Made::Nothing) };
        let image = self.ask(self.catalog.image(id)).await?;
        Ok(match image.filter(|image| image.state == ImageState::Whole || image.state == ImageState::Gone) {
            None => Made::Nothing,
            Some(image) if image.content.as_ref().is_some_and(|content| content.flags.partial) => {
                Made::Partial
            }
            Some(_) => Made::Whole,
        })
    }
}

/// A run comes to be, and those of its kind that nobody needs any more go.
fn begun(run: Run, moment: Moment) -> [Change; 2] {
    let of = RunsOf::like(&run.key);
    [Change::Run(run), Change::RunsPruned(of, moment.now)]
}
