//! Windows: when work of SLPs may run.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::slps::Format;

/// Makes a window or changes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WindowRequest {
    /// The window as [`WindowText`].
    pub text: String,
    /// How it is written.
    pub format: Format,
    /// Named in errors; the file's name as a rule.
    #[serde(default)]
    pub file: String,
}

/// A window as people write it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowText {
    /// Its name.
    pub name: String,
    /// The time zone of its times, by IANA name; UTC when absent.
    #[serde(default = "utc")]
    pub zone: String,
    /// The weekly grid: `mon-fri 22:00-06:00`, `sat,sun 00:00-24:00`, `daily 01:00-05:00`.
    pub open: Vec<String>,
    /// Dates on which it does not open, as `2026-12-24`. A span belongs to the day on which it opens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<String>,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// One window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowInfo {
    /// As it is written.
    #[serde(flatten)]
    pub text: WindowText,
    /// It is open now.
    pub is_open: bool,
    /// When it opens or closes next; absent when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Timestamp>,
    /// The operations of SLPs that may run in it only.
    #[serde(default)]
    pub uses: Vec<String>,
}
