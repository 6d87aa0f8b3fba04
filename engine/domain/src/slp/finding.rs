//! One thing wrong with a policy, in the form in which it is shown: what, where, why, and how to mend it.

use std::fmt;

use crate::policy::Schedule;
use crate::slp::SlpOperation;

/// A refusal. The text that a compiler would print is its `Display`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The stable code, e.g. `SLP-005`.
    pub code: &'static str,
    /// What it is about, e.g. ``operation `to-dr` ``.
    pub object: String,
    /// The place of the operation or schedule in the text, from 1; `None` for the policy as a whole.
    pub operation: Option<usize>,
    /// What that is: `operation`, `schedule`.
    pub part: &'static str,
    /// The field, e.g. `source`.
    pub field: &'static str,
    /// The value found there; empty when it is missing.
    pub value: String,
    /// What is wrong.
    pub what: String,
    /// The rule.
    pub why: &'static str,
    /// How to mend it.
    pub help: String,
}

impl Finding {
    /// About a policy as a whole.
    pub fn policy(code: &'static str, name: &str, field: &'static str) -> Self {
        Self {
            code,
            object: format!("SLP `{name}`"),
            operation: None,
            part: "operation",
            field,
            value: String::new(),
            what: String::new(),
            why: "",
            help: String::new(),
        }
    }

    /// About one operation; `at` counts from 0.
    pub fn operation(code: &'static str, at: usize, operation: &SlpOperation, field: &'static str) -> Self {
        let object = format!("operation `{}`", operation.id);
        Self { object, operation: Some(at + 1), ..Self::policy(code, "", field) }
    }

    /// About a backup policy as a whole.
    pub fn backup_policy(code: &'static str, name: &str, field: &'static str) -> Self {
        Self { object: format!("policy `{name}`"), ..Self::policy(code, "", field) }
    }

    /// About one schedule of a backup policy; `at` counts from 0.
    pub fn schedule(code: &'static str, at: usize, schedule: &Schedule, field: &'static str) -> Self {
        let object = format!("schedule `{}`", schedule.name);
        Self { object, operation: Some(at + 1), part: "schedule", ..Self::policy(code, "", field) }
    }

    /// The value at fault.
    #[must_use]
    pub fn value(mut self, value: impl Into<String>) -> Self {
        self.value = value.into();
        self
    }

    /// What is wrong, after the object: "replicates from ...".
    #[must_use]
    pub fn what(mut self, what: impl fmt::Display) -> Self {
        self.what = format!("{} {what}", self.object);
        self
    }

    /// The rule.
    #[must_use]
    pub fn why(mut self, why: &'static str) -> Self {
        self.why = why;
        self
    }

    /// How to mend it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// Where, without the file's name: ``operation 2, field `source` ``.
    pub fn place(&self) -> String {
        match self.operation {
            Some(at) => format!("{} {at}, field `{}`", self.part, self.field),
            None => format!("field `{}`", self.field),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "error[{}]: {}\n  --> {}\n  why: {}\n  help: {}",
            self.code,
            self.what,
            self.place(),
            self.why,
            self.help
        )
    }
}
