//! A domain with a policy and two clients, whose agents may die at any step.

use std::collections::BTreeMap;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use narrows_domain::catalog::{ImageFilter, NumberedRun, RunsAsked};
use narrows_domain::event::{Logged, PoolEvent};
use narrows_domain::image::ImageState;
use narrows_domain::machine::{BackupAsk, BackupBegun};
use narrows_domain::model::{Bug, MemoryCatalog};
use narrows_domain::operation::Note;
use narrows_domain::policy::{self, Run, RunKey, RunOutcome};
use narrows_domain::primary::{PolicyPlan, Working};
use narrows_domain::slp::{Format, Slp, SlpVersion, parse};
use narrows_domain::storage::{Client, Identity, Pool, StorageUnit};
use narrows_domain::window::Window;
use narrows_domain::{Catalog as _, Change, Event, Image, Moment, Primary};
use narrows_format::record::ScheduleKind;
use narrows_format::{ClientId, DomainId, ImageId, PoolId, Sequence, Timestamp};

use crate::records::record;

pub(crate) const NOW: i64 = 1_800_000_000;
const POOL: PoolId = PoolId([3; 16]);

pub(crate) const OFTEN: &str = r#"
name = "often"
clients = ["c0", "c1"]
paths = ["/srv"]
slp = "local"
[[schedule]]
name = "minutes"
kind = "incremental"
every = "1m"
retries = 3
backoff = "5s"
[[schedule]]
name = "hours"
kind = "full"
every = "1h"
retries = 1
"#;

pub(crate) const LOCAL: &str = "name = \"local\"\n[[operation]]\nid = \"backup\"\nkind = \"backup\"\n\
    storage = \"default\"\nretention = { fixed = \"30d\" }\n";

/// The model's futures are ready at once.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("nothing in the model waits"),
    }
}

pub(crate) fn note() -> Note {
    Note { code: "LOCAL-001".into(), sentence: "as the agent said".into() }
}

pub(crate) fn slp(text: &str) -> Slp {
    parse(text, Format::Toml).unwrap()
}

pub(crate) fn version(slp: Slp) -> Change {
    let made = Timestamp { seconds: NOW, nanos: 0 };
    Change::Slp(SlpVersion { slp, version: 1, made, targets: vec![], verified: true })
}

pub(crate) fn client(number: u8) -> Client {
    let enrolled = Timestamp { seconds: NOW, nanos: 0 };
    let (id, name) = (ClientId([number; 16]), format!("c{number}"));
    Client {
        id,
        name,
        serial: format!("0{number}"),
        enrolled,
        revoked: None,
        until: None,
        still_believed: Vec::new(),
        restore_any: false,
        former: Vec::new(),
    }
}

/// A domain with a pool, a unit, an SLP that stays here, and two clients.
pub(crate) fn primary(bug: Option<Bug>) -> Primary<MemoryCatalog> {
    let own = Identity { domain: DomainId([1; 16]), incarnation: 1, name: "here".into() };
    let mut primary = Primary::new(MemoryCatalog::with_bug(bug), own);
    let pool = Pool::new(POOL, "pool");
    let changes = [
        Change::Pool(pool),
        Change::StorageUnit(StorageUnit { name: "default".into(), pool: POOL, jobs_max: None }),
        version(slp(LOCAL)),
        Change::Client(client(0)),
        Change::Client(client(1)),
    ];
    ready(primary.put(&changes)).unwrap();
    primary
}

/// What an agent has in hand.
struct Agent {
    session: u64,
    work: Option<(Working, RunKey)>,
    /// The image that it writes, and the run that it is for.
    begun: Option<BackupBegun>,
}

pub(crate) struct Site {
    primary: Option<Primary<MemoryCatalog>>,
    now: i64,
    agents: [Agent; 2],
    sessions: u64,
    sequence: u64,
    images_made: u64,
    /// Whole images, by the due time of the run that was taken for them.
    whole: BTreeMap<RunKey, Vec<ImageId>>,
}

impl Site {
    pub(crate) fn new(bug: Option<Bug>) -> Self {
        let mut primary = primary(bug);
        let policy = policy::parse(OFTEN, Format::Toml).unwrap();
        let windows: Vec<Option<Window>> = vec![None; 2];
        let moment = Moment { now: Timestamp { seconds: NOW, nanos: 0 }, entropy: 1 };
        let (plan, _) = ready(primary.apply_policy(&policy, windows, moment)).unwrap();
        assert!(matches!(plan, PolicyPlan::Store(_)), "{plan:?}");
        let agent = |session| Agent { session, work: None, begun: None };
        Self {
            primary: Some(primary),
            now: NOW,
            agents: [agent(1), agent(2)],
            sessions: 2,
            sequence: 0,
            images_made: 0,
            whole: BTreeMap::new(),
        }
    }

    fn moment(&self) -> Moment {
        Moment { now: Timestamp { seconds: self.now, nanos: 0 }, entropy: 7 }
    }

    fn primary(&mut self) -> &mut Primary<MemoryCatalog> {
        self.primary.as_mut().unwrap()
    }

    fn catalog(&self) -> &MemoryCatalog {
        self.primary.as_ref().unwrap().catalog()
    }

    pub(crate) fn runs(&self) -> Vec<NumberedRun> {
        ready(self.catalog().runs(RunsAsked::Newest(None, u32::MAX))).unwrap()
    }

    pub(crate) fn images(&self) -> Vec<Image> {
        ready(self.catalog().images(&ImageFilter::default())).unwrap()
    }

    pub(crate) const fn whole_by_slot(&self) -> &BTreeMap<RunKey, Vec<ImageId>> {
        &self.whole
    }

    pub(crate) fn pass(&mut self, seconds: i64) {
        self.now += seconds;
        let moment = self.moment();
        ready(self.primary().handle(Event::Tick, moment)).unwrap();
    }

    /// An agent that has nothing in hand asks for work.
    pub(crate) fn ask(&mut self, agent: usize) {
        if self.agents[agent].work.is_some() {
            return;
        }
        let (moment, session) = (self.moment(), self.agents[agent].session);
        let id = client(u8::try_from(agent).unwrap()).id;
        let claimed = ready(self.primary().claim_run(id, session, moment)).unwrap();
        self.agents[agent].work = claimed.map(|(numbered, _)| {
            let NumberedRun { number, run: Run { key, attempt, .. } } = numbered;
            (Working { client: id, run: number, attempt, session }, key)
        });
    }

    /// Whether an agent was given something.
    pub(crate) const fn is_at_work(&self, agent: usize) -> bool {
        self.agents[agent].work.is_some()
    }

    pub(crate) fn begin(&mut self, agent: usize) {
        let Some((working, _)) = self.agents[agent].work.clone() else { return };
        if self.agents[agent].begun.is_some() {
            return;
        }
        self.images_made += 1;
        let mut fresh = [9; 16];
        fresh[..8].copy_from_slice(&self.images_made.to_le_bytes());
        let ask = BackupAsk {
            fresh: ImageId(fresh),
            client: working.client,
            client_name: format!("c{agent}"),
            slp: String::new(),
            policy: "often".into(),
            schedule: ScheduleKind::Manual,
            roots: vec!["/srv".into()],
        };
        let moment = self.moment();
        match ready(self.primary().begin_policy_backup(&ask, Some(working), moment)) {
            Ok(begun) => self.agents[agent].begun = Some(begun),
            // Given to nobody, or another one's by now.
            Err(_) => self.agents[agent].work = None,
        }
    }

    /// The image of an agent becomes durable, whether the agent lives to hear it or not.
    pub(crate) fn commit(&mut self, agent: usize) {
        let Some(begun) = self.agents[agent].begun.take() else { return };
        let image = &begun.image;
        let known = ready(self.catalog().image(image.id)).unwrap();
        if known.is_some_and(|known| known.state != ImageState::Writing) {
            return;
        }
        let record = record(image);
        self.sequence += 1;
        let logged = Logged::Backup { record, signed: vec![1], copy: begun.copy, stored_bytes: 7 };
        let event = PoolEvent { pool: POOL, incarnation: 1, sequence: Sequence(self.sequence), logged };
        let moment = self.moment();
        ready(self.primary().handle(Event::Pool(event), moment)).unwrap();
        if let Some((_, key)) = &self.agents[agent].work {
            self.whole.entry(key.clone()).or_default().push(image.id);
        }
    }

    pub(crate) fn end(&mut self, agent: usize, outcome: RunOutcome) {
        // Who has no image does not say that it is done.
        if self.agents[agent].begun.is_some() && outcome == RunOutcome::Done {
            return;
        }
        let Some((working, key)) = self.agents[agent].work.take() else { return };
        self.agents[agent].begun = None;
        let outcome = match outcome {
            RunOutcome::Done if !self.whole.contains_key(&key) => RunOutcome::Failed(note()),
            outcome => outcome,
        };
        let moment = self.moment();
        // One that is another one's by now is refused.
        drop(ready(self.primary().end_run(working, outcome, moment)));
    }

    /// The agent dies and begins anew.
    pub(crate) fn die(&mut self, agent: usize) {
        self.sessions += 1;
        self.agents[agent] = Agent { session: self.sessions, work: None, begun: None };
    }

    /// The server loses power and starts again.
    pub(crate) fn crash(&mut self) {
        let primary = self.primary.take().unwrap();
        let own = primary.identity().clone();
        let mut primary = Primary::new(primary.into_catalog(), own);
        ready(primary.recover(self.moment())).unwrap();
        self.primary = Some(primary);
    }
}
