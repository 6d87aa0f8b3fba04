//! Backup policies: what to back up, of which clients, when, and under which lifecycle.
//!
//! [`Policy`] is what somebody wrote, well-formed in itself; [`check()`] says whether what it names exists and fits;
//! [`due`] says when a schedule's time has come, and [`run`] follows one backup of one client from there to its end.

pub mod calendar;
pub mod check;
pub mod due;
pub mod read;
pub mod run;

use narrows_format::Timestamp;
use narrows_format::record::ScheduleKind;
use serde::{Deserialize, Serialize};

use crate::period::Period;
use crate::slp::{self, Kind, Retention, Slp, SlpOperation, SlpVersion};
use crate::window::{OpenSpan, Window};

pub use calendar::Date;
pub use check::check;
pub use read::parse;
pub use run::{Run, RunKey, RunOutcome, RunState, RunWait, RunsOf};

/// A policy as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Names of the clients that it is for.
    pub clients: Vec<String>,
    /// Absolute paths there.
    pub paths: Vec<String>,
    /// What is left out, as `backup --exclude` takes it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Other file systems are not entered.
    #[serde(default)]
    pub one_file_system: bool,
    /// The SLP of its images; this or a `storage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slp: Option<String>,
    /// The storage unit or group of its images, which then have no lifecycle but a `retention`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
    /// How long images live that have no SLP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// The classification of its images; `any` is none.
    #[serde(default = "slp::any")]
    pub data_classification: String,
    /// Of its runs: where a client has several to do, higher goes first.
    #[serde(default = "slp::default_priority")]
    pub priority: u32,
    /// Runs on the client before each backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Hook>,
    /// Runs on the client after each backup, and is told how it went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Hook>,
    /// When; none at all is a policy that runs only when told to.
    #[serde(default, rename = "schedule", skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<Schedule>,
}

/// A program of the client's own hooks folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// The program's name there, and its arguments.
    pub run: Vec<String>,
    /// So long it may take.
    #[serde(default = "ten_minutes")]
    pub timeout: Period,
}

const fn ten_minutes() -> Period {
    Period::minutes(10)
}

/// When a policy runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Its name, unique in its policy.
    pub name: String,
    /// What its images are called; every image is whole.
    pub kind: Word,
    /// Due at whole multiples of this since 1970-01-01 UTC; this or some of `days`, `days_of_month` and `dates`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Period>,
    /// Due on these days of the week, e.g. `mon-fri,sun` or `daily`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<String>,
    /// Due on these days of each month; -1 is the last one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days_of_month: Vec<i8>,
    /// Due on these dates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dates: Vec<Date>,
    /// Not due on these dates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<Date>,
    /// When a backup may start, in local time; left out, at any time of a day in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<StartWindow>,
    /// How often a run that failed is tried again before its window closes.
    #[serde(default = "two")]
    pub retries: u32,
    /// The pause before that.
    #[serde(default = "one_minute")]
    pub backoff: Period,
    /// In place of the policy's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Hook>,
    /// In place of the policy's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Hook>,
}

const fn two() -> u32 {
    2
}

const fn one_minute() -> Period {
    Period::minutes(1)
}

/// A schedule's kind as the text spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// Full.
    Full,
    /// Incremental in name.
    Incremental,
    /// Synthetic.
    Synthetic,
    /// Optimised synthetic.
    OptimisedSynthetic,
}

impl From<Word> for ScheduleKind {
    fn from(word: Word) -> Self {
        match word {
            Word::Full => Self::Full,
            Word::Incremental => Self::Incremental,
            Word::Synthetic | Word::OptimisedSynthetic => Self::Synthetic,
        }
    }
}

/// When a backup may start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StartWindow {
    /// The window of this name.
    Named(String),
    /// One of its own.
    Own(Grid),
}

/// A window without a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grid {
    /// The zone of its times, by IANA name.
    #[serde(default = "utc")]
    pub zone: String,
    /// The weekly grid: `mon-fri 22:00-06:00`.
    pub open: Vec<String>,
    /// Dates on which it does not open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<Date>,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// A policy as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPolicy {
    /// What was written.
    pub policy: Policy,
    /// The windows that its schedules have of their own, in their order, with the offsets of their zones.
    pub windows: Vec<Option<Window>>,
    /// Its runs wait until it is resumed.
    pub is_paused: bool,
    /// When it was applied.
    pub made: Timestamp,
    /// When one of its schedules may be due.
    pub next_look: Option<Timestamp>,
}

impl Policy {
    /// The schedule of this name.
    pub fn schedule(&self, name: &str) -> Option<&Schedule> {
        self.schedules.iter().find(|schedule| schedule.name == name)
    }

    /// What runs before a backup of this schedule; by hand there is none.
    pub fn hook_before(&self, schedule: &str) -> Option<&Hook> {
        self.schedule(schedule).and_then(|it| it.before.as_ref()).or(self.before.as_ref())
    }

    /// What runs after it.
    pub fn hook_after(&self, schedule: &str) -> Option<&Hook> {
        self.schedule(schedule).and_then(|it| it.after.as_ref()).or(self.after.as_ref())
    }

    /// The lifecycle of an image without an SLP: one copy, for so long. It is no SLP that anything else could name.
    pub fn bare_lifecycle(&self) -> Option<SlpVersion> {
        let operation = SlpOperation {
            id: "backup".to_owned(),
            kind: Kind::Backup,
            source: None,
            storage: Some(self.storage.clone()?),
            target: None,
            retention: self.retention,
            window: None,
        };
        let slp = Slp {
            name: String::new(),
            data_classification: self.data_classification.clone(),
            priority: self.priority,
            operations: vec![operation],
        };
        let made = Timestamp { seconds: 0, nanos: 0 };
        Some(SlpVersion { slp, version: 0, made, targets: Vec::new(), verified: true })
    }
}

impl StoredPolicy {
    /// The window in which a schedule's runs may start; `None`: it names one that does not exist.
    pub fn window(&self, at: usize, named: &[Window]) -> Option<Window> {
        match self.policy.schedules.get(at)?.window.as_ref() {
            None => Some(always()),
            Some(StartWindow::Own(_)) => self.windows.get(at)?.clone(),
            Some(StartWindow::Named(name)) => named.iter().find(|window| window.name == *name).cloned(),
        }
    }
}

/// Open at any time; each day opens anew, so that a run belongs to the day on which it was due.
fn always() -> Window {
    const DAY_MINUTES: u16 = 24 * 60;
    Window {
        name: String::new(),
        offset_minutes: 0,
        open: (0..7).map(|day| OpenSpan { from_minute: day * DAY_MINUTES, minutes: DAY_MINUTES }).collect(),
        excluded_days: Vec::new(),
        zone: String::new(),
        transitions: Vec::new(),
    }
}
