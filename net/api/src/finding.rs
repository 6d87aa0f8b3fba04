//! What is where in images, and what differs between two.

use serde::{Deserialize, Serialize};

use crate::{PathText, images::BrowseEntry};

/// Query of a search in one image.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FindQuery {
    /// Pattern: without a slash it is held against every name, with one against the whole path. `*`, `?`, `[..]`, `**`.
    pub path: PathText,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<PathText>,
}

/// What was found in a part of an image, in its order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FindPage {
    /// What fits.
    pub entries: Vec<FoundEntry>,
    /// There is more to look at: ask with `from` = this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<PathText>,
}

/// One object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FoundEntry {
    /// Path within the image.
    pub path: PathText,
    /// What it is.
    #[serde(flatten)]
    pub entry: BrowseEntry,
}

/// Query of what differs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DiffQuery {
    /// The second image: UUID or name.
    pub to: String,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<PathText>,
}

/// A part of what differs, in the order of paths.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DiffPage {
    /// What differs.
    pub changes: Vec<ChangeInfo>,
    /// There is more to compare: ask with `from` = this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<PathText>,
}

/// One path that differs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChangeInfo {
    /// Path within the images.
    pub path: PathText,
    /// `added`, `removed`, `changed`.
    pub change: String,
    /// What of it changed: `kind`, `content`, `mode`, `owner`, `time`, `attributes`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub what: Vec<String>,
    /// As the first image has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<BrowseEntry>,
    /// As the second one has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<BrowseEntry>,
}
