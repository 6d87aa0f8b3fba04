//! Images whose time has come: let go by hand, and brought back.

use jiff::Timestamp;
use narrows_format::ImageId;
use serde::{Deserialize, Serialize};

use crate::text;

/// How to mend that an image has expired.
pub const UNDELETE_HELP: &str = "`narrowsctl image undelete` brings it back for a while after its expiry";

/// Lets all copies in this domain go now.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpireRequest {
    /// Only say what would go.
    #[serde(default)]
    pub dry_run: bool,
}

/// What goes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExpireReply {
    /// The image.
    #[serde(with = "text::by_text")]
    pub image: ImageId,
    /// Its name.
    pub name: String,
    /// Numbers of the copies.
    pub copies: Vec<u32>,
    /// Logical bytes of the image.
    pub logical_bytes: u64,
    /// Domains that hold it too, as far as known here.
    pub elsewhere: Vec<String>,
}

/// Brings discarded copies in this domain back.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UndeleteRequest {
    /// When they expire again; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// What comes back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UndeleteReply {
    /// The image.
    #[serde(with = "text::by_text")]
    pub image: ImageId,
    /// Its name.
    pub name: String,
    /// Numbers of the copies.
    pub copies: Vec<u32>,
    /// When they expire again; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}
