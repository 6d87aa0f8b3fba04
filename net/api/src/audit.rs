//! What was read of images by the right `restore-any` (AIR-008).

use jiff::Timestamp;
use narrows_format::ImageId;
use serde::{Deserialize, Serialize};

use crate::text;

/// Which reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditQuery {
    /// Of this image: its name or UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// By this reader, as [`AuditInfo::who`] says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// The last of them was then or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The first of them was then or before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// At most so many; 100 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// What somebody read of an image in one way, in one day (UTC).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditInfo {
    /// `administrator NAME` or `client NAME`.
    pub who: String,
    /// `browse`, `find`, `diff` or `restore`.
    pub how: String,
    /// The image.
    #[serde(with = "text::by_text")]
    pub image: ImageId,
    /// Its name.
    pub image_name: String,
    /// What was asked for last: a directory, a pattern, or where it went.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub what: String,
    /// When it was read first.
    pub began: Timestamp,
    /// When it was read last.
    pub ended: Timestamp,
    /// How often: each page of an answer counts.
    pub times: u64,
}
