//! One backup of one client that a policy asks for: due, offered to the client's agent, done.
//!
//! Guarantees: a due time has one run, by its key; one client does one run at a time; a run whose image is whole is never
//! done again, whoever lost sight of whom meanwhile. An agent is known by the session that it made up when it started:
//! one that asks for work under another session has lost what it was doing.

use narrows_format::record::ScheduleKind;
use narrows_format::{ClientId, ImageId, Timestamp};

use crate::limits::{ORDERED_RUN_WAIT, RUN_SILENT_MAX};
use crate::moment::after;
use crate::named::named;
use crate::operation::Note;
use crate::policy::{Policy, StoredPolicy, due::is_news};
use crate::storage::Client;
use crate::window::Window;

named! {
    /// How a run stands.
    pub enum RunState {
        /// Its client has not begun, or is to begin again.
        Waiting = "waiting",
        /// Its client works on it.
        Running = "running",
        /// Its image is whole.
        Done = "done",
        /// Its image is whole, but something was left out or went wrong around it.
        Partial = "partial",
        /// It was tried as often as its schedule says, or may not be tried again.
        Failed = "failed",
        /// Its window closed before its client began.
        Missed = "missed",
        /// Its policy was deleted, or a person cancelled it.
        Cancelled = "cancelled",
    }
}

impl RunState {
    /// Nothing more will come of it.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }
}

/// What a run is of; there is one with each key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunKey {
    /// The policy.
    pub policy: String,
    /// Its schedule; empty when a person asked for it.
    pub schedule: String,
    /// The client.
    pub client: ClientId,
    /// The due time, see [`crate::policy::due`]; when it was asked for.
    pub slot: Timestamp,
}

/// The runs of one policy, schedule and client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunsOf {
    /// The policy.
    pub policy: String,
    /// Its schedule; empty for those that a person asked for.
    pub schedule: String,
    /// The client.
    pub client: ClientId,
}

impl RunsOf {
    /// Those that this one is among.
    pub fn like(key: &RunKey) -> Self {
        Self { policy: key.policy.clone(), schedule: key.schedule.clone(), client: key.client }
    }

    /// Whether this one is among them.
    pub fn has(&self, key: &RunKey) -> bool {
        (&self.policy, &self.schedule, self.client) == (&key.policy, &key.schedule, key.client)
    }
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What it is of.
    pub key: RunKey,
    /// What its image is called.
    pub kind: ScheduleKind,
    /// Since when it is due.
    pub due: Timestamp,
    /// When its window closes: it does not begin afterwards.
    pub until: Timestamp,
    /// How it stands.
    pub state: RunState,
    /// Since when.
    pub since: Timestamp,
    /// How often it was begun.
    pub attempt: u32,
    /// How often it failed.
    pub failures: u32,
    /// It is not tried again before.
    pub next_try: Option<Timestamp>,
    /// The agent that works on it, or did.
    pub session: u64,
    /// When that agent was heard of last.
    pub heard: Timestamp,
    /// The image that it makes, once it has begun to.
    pub image: Option<ImageId>,
    /// What went wrong or is worth saying.
    pub note: Option<Note>,
}

/// How a run ended, by its agent's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// All is well.
    Done,
    /// The image is whole, but something is worth saying.
    Partial(Note),
    /// There is no image.
    Failed(Note),
}

/// Why a run waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunWait {
    /// Its policy is paused.
    Paused,
    /// It failed, and is tried again at this time.
    Retry(Timestamp),
    /// Its client works on another run.
    Limit,
    /// Its client's agent has not asked for work.
    ClientAbsent,
}

impl RunWait {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Retry(_) => "retry",
            Self::Limit => "limit",
            Self::ClientAbsent => "client-absent",
        }
    }
}

/// The code of a run whose agent was lost.
const LOST: &str = "client-lost";

/// Whether an image that a run was to make is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// Not, or not whole.
    Nothing,
    /// Whole, with all that there was.
    Whole,
    /// Whole, with something left out.
    Partial,
}

impl Run {
    fn new(key: RunKey, kind: ScheduleKind, until: Timestamp, now: Timestamp) -> Self {
        Self {
            key,
            kind,
            due: now,
            until,
            state: RunState::Waiting,
            since: now,
            attempt: 0,
            failures: 0,
            next_try: None,
            session: 0,
            heard: now,
            image: None,
            note: None,
        }
    }

    /// When something about it is due by itself.
    pub fn next_look(&self) -> Option<Timestamp> {
        match self.state {
            RunState::Waiting => Some(self.next_try.map_or(self.until, |next| next.min(self.until))),
            RunState::Running => Some(after(self.heard, RUN_SILENT_MAX)),
            _ => None,
        }
    }

    /// Why it waits, if it does; `others` are the runs that have not ended.
    pub fn waits(&self, policy: Option<&StoredPolicy>, others: &[Self], now: Timestamp) -> Option<RunWait> {
        if self.state != RunState::Waiting {
            return None;
        }
        let is_busy = |it: &Self| it.state == RunState::Running && it.key.client == self.key.client;
        Some(match self.next_try {
            _ if policy.is_some_and(|policy| policy.is_paused) => RunWait::Paused,
            Some(next) if next > now => RunWait::Retry(next),
            _ if others.iter().any(is_busy) => RunWait::Limit,
            _ => RunWait::ClientAbsent,
        })
    }

    fn enter(mut self, state: RunState, now: Timestamp) -> Self {
        (self.state, self.since, self.next_try) = (state, now, None);
        self
    }
}

/// Up to when a schedule's slots count at `now`: a later one is of a clock that ran ahead, or of a zone further east.
pub fn counted_until(
    stored: &StoredPolicy,
    at: usize,
    windows: &[Window],
    now: Timestamp,
) -> Option<Timestamp> {
    let window = stored.window(at, windows)?;
    stored.policy.schedules.get(at)?.due(&window, now).map(|due| due.slot)
}

/// The runs that are owed now and do not exist, and when to look again. `live` are those that have not ended, `last` the
/// latest slot of each schedule and client that counts.
pub fn owed(
    stored: &StoredPolicy,
    (windows, clients): (&[Window], &[Client]),
    live: &[Run],
    last: &[(String, ClientId, Timestamp)],
    now: Timestamp,
) -> (Vec<Run>, Option<Timestamp>) {
    let policy = &stored.policy;
    let (mut made, mut next) = (Vec::new(), None::<Timestamp>);
    for (at, schedule) in policy.schedules.iter().enumerate() {
        let Some(window) = stored.window(at, windows) else { continue };
        if let Some(look) = schedule.next_look(&window, now) {
            next = Some(next.map_or(look, |next| next.min(look)));
        }
        let Some(due) = schedule.due(&window, now) else { continue };
        for name in &policy.clients {
            let known = clients.iter().find(|it| it.name == *name && it.revoked.is_none());
            let Some(client) = known.map(|client| client.id) else { continue };
            let is_of_this = |name: &str, of: ClientId| name == schedule.name && of == client;
            let is_live = live
                .iter()
                .any(|it| it.key.policy == policy.name && is_of_this(&it.key.schedule, it.key.client));
            let slots = last.iter().filter(|(name, of, _)| is_of_this(name, *of));
            let last = slots.map(|(.., slot)| *slot).max();
            if is_live || !is_news(due.slot, last, now) {
                continue;
            }
            let key = RunKey {
                policy: policy.name.clone(),
                schedule: schedule.name.clone(),
                client,
                slot: due.slot,
            };
            made.push(Run::new(key, schedule.kind.into(), due.until, now));
        }
    }
    (made, next)
}

/// A run that a person asks for, of one client.
pub fn ordered(policy: &Policy, client: ClientId, now: Timestamp) -> Run {
    let slot = Timestamp { nanos: 0, ..now };
    let key = RunKey { policy: policy.name.clone(), schedule: String::new(), client, slot };
    Run::new(key, ScheduleKind::Manual, after(now, ORDERED_RUN_WAIT), now)
}

/// What time brings about: a window closes, a pause ends, an agent falls silent. `None`: nothing.
pub fn look(run: &Run, policy: Option<&Policy>, made: Made, now: Timestamp) -> Option<Run> {
    match run.state {
        RunState::Waiting if now >= run.until => {
            let mut run = run.clone();
            run.note = run.note.or_else(|| {
                let sentence = "its client did not ask for work before the window closed";
                Some(Note { code: "client-absent".to_owned(), sentence: sentence.to_owned() })
            });
            Some(run.enter(RunState::Missed, now))
        }
        RunState::Waiting if run.next_try.is_some_and(|next| next <= now) => {
            Some(Run { next_try: None, ..run.clone() })
        }
        RunState::Running if now >= after(run.heard, RUN_SILENT_MAX) => {
            Some(lost(run, policy, made, "its client fell silent", now))
        }
        _ => None,
    }
}

/// Nobody works on a run any more: its image is whole, or it is tried again.
pub fn lost(run: &Run, policy: Option<&Policy>, made: Made, why: &str, now: Timestamp) -> Run {
    let note = Note { code: LOST.to_owned(), sentence: why.to_owned() };
    ended(run, policy, RunOutcome::Failed(note), made, now)
}

/// Its image has become whole, whoever lost sight of whom: that ends it, but for one whose agent will say so itself.
pub fn made_whole(run: &Run, made: Made, now: Timestamp) -> Option<Run> {
    let is_lost = || run.note.as_ref().is_some_and(|note| note.code == LOST);
    match run.state {
        RunState::Waiting => {}
        RunState::Failed if is_lost() => {}
        _ => return None,
    }
    Some(ended(run, None, RunOutcome::Done, made, now))
}

/// The agent of a client takes a run.
pub fn claimed(run: &Run, session: u64, now: Timestamp) -> Run {
    let mut run = run.clone().enter(RunState::Running, now);
    (run.session, run.heard, run.attempt) = (session, now, run.attempt.saturating_add(1));
    run
}

/// Whether the agent of a client may take a run now.
pub fn may_begin(run: &Run, policy: &StoredPolicy, live: &[Run], now: Timestamp) -> bool {
    run.waits(Some(policy), live, now) == Some(RunWait::ClientAbsent) && now < run.until
}

/// How a run ended. One whose image is whole did not fail, whatever is said.
pub fn ended(run: &Run, policy: Option<&Policy>, outcome: RunOutcome, made: Made, now: Timestamp) -> Run {
    let mut run = run.clone();
    let note = match (outcome, made) {
        // Whoever says so: without an image nothing is backed up.
        (RunOutcome::Done | RunOutcome::Partial(_), Made::Nothing) if run.image.is_none() => Note {
            code: "no-image".to_owned(),
            sentence: "the client said that it was done, and has not brought an image".to_owned(),
        },
        (RunOutcome::Done, Made::Partial) => {
            run.note = Some(Note { code: String::new(), sentence: "files were left out".to_owned() });
            return run.enter(RunState::Partial, now);
        }
        (RunOutcome::Done, _) => {
            run.note = None;
            return run.enter(RunState::Done, now);
        }
        (RunOutcome::Partial(note), _) | (RunOutcome::Failed(note), Made::Whole | Made::Partial) => {
            run.note = Some(note);
            return run.enter(RunState::Partial, now);
        }
        (RunOutcome::Failed(note), Made::Nothing) => note,
    };
    run.note = Some(note);
    run.failures = run.failures.saturating_add(1);
    let schedule = policy.and_then(|policy| policy.schedule(&run.key.schedule));
    let again = schedule.filter(|schedule| run.failures <= schedule.retries);
    let next = again.map(|schedule| after(now, schedule.backoff.span())).filter(|next| *next < run.until);
    match next {
        Some(next) => {
            let mut run = run.enter(RunState::Waiting, now);
            run.next_try = Some(next);
            run
        }
        None => run.enter(RunState::Failed, now),
    }
}

/// A run is not wanted any more.
pub fn cancelled(run: &Run, why: &str, now: Timestamp) -> Run {
    let mut run = run.clone().enter(RunState::Cancelled, now);
    run.note = Some(Note { code: String::new(), sentence: why.to_owned() });
    run
}
