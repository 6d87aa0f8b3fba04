//! What the agent on a client and the primary server say to one another. The client is the certificate's.

use serde::{Deserialize, Serialize};

/// The agent has nothing to do: the answer is an order, or `null` when none came in time.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct NextRequest {
    /// Random, the same from the agent's start to its end: what it did under another one is lost.
    pub session: u64,
    /// The answer is held back so long at most while there is no work.
    #[serde(default)]
    pub wait_seconds: u32,
}

/// What a policy says of what is backed up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Absolute paths.
    pub paths: Vec<String>,
    /// Patterns of what is left out.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Other file systems are not entered.
    #[serde(default)]
    pub one_file_system: bool,
}

/// A run for the agent that asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOrder {
    /// Who works on what: goes into everything that is said about it.
    #[serde(flatten)]
    pub work: RunWork,
    /// The policy.
    pub policy: String,
    /// The schedule, or empty.
    #[serde(default)]
    pub schedule: String,
    /// The client's name.
    pub client: String,
    /// What is backed up.
    #[serde(flatten)]
    pub selection: Selection,
    /// Runs before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<HookOrder>,
    /// Runs after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<HookOrder>,
}

/// One try of a run by one agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunWork {
    /// The run's number.
    pub run: u64,
    /// Which try.
    pub attempt: u32,
    /// The agent's session.
    pub session: u64,
}

/// A program of the agent's hooks folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookOrder {
    /// Its bare name, and its arguments.
    pub run: Vec<String>,
    /// So long it may take.
    pub timeout_seconds: u64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All is well.
    Done,
    /// The image is whole, but something is worth saying.
    Partial,
    /// There is no image.
    Failed,
}

impl Outcome {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Partial => "partial",
            Self::Failed => "failed",
        }
    }
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndRequest {
    /// Whose.
    #[serde(flatten)]
    pub work: RunWork,
    /// How.
    pub outcome: Outcome,
    /// Stable code of what went wrong, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// One sentence on it, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sentence: String,
}
