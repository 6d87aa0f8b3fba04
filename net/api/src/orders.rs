//! What people order about the work of images: pause, resume, cancel, release, and sending many at once.

use narrows_format::{DomainId, ImageId};
use serde::{Deserialize, Serialize};

use crate::{
    images::{ImageFilter, ImageInfo},
    text,
};

/// Gives up operations of an image that are not at their end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRequest {
    /// Only those of this id; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Only say what will then never exist.
    #[serde(default)]
    pub dry_run: bool,
}

/// Lets the copy that an operation takes go without it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRequest {
    /// The operation's id.
    pub operation: String,
    /// Why; it is kept. May be empty when nothing is done.
    #[serde(default)]
    pub reason: String,
    /// Only say which operations are meant.
    #[serde(default)]
    pub dry_run: bool,
}

/// Lets what copies are kept for go that failed or was cancelled, of many images.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReleaseManyRequest {
    /// The operations' id.
    pub operation: String,
    /// Only those to this domain: name or UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// These images, by name or UUID; empty: all that fit the filter.
    #[serde(default)]
    pub images: Vec<String>,
    /// Only of these images. Its limit does not count.
    #[serde(default)]
    pub filter: ImageFilter,
    /// Why; it is kept. May be empty when nothing is done.
    #[serde(default)]
    pub reason: String,
    /// Only count.
    #[serde(default)]
    pub dry_run: bool,
}

/// How many it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseManyReply {
    /// It is done (not only counted).
    pub applied: bool,
    /// Images that have such operations.
    pub images: u64,
    /// The operations.
    pub operations: u64,
}

/// Something that will never exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Never {
    /// The operation that would have made it.
    pub operation: String,
    /// What and where, for people.
    pub what: String,
}

/// What an order did or would do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OrderReply {
    /// It is done (not only said).
    pub applied: bool,
    /// The operations that it concerns, by the id that jobs are asked for with.
    pub operations: Vec<String>,
    /// What will never exist, or would not: of a cancellation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub never: Vec<Never>,
    /// The image as it stands now.
    pub image: ImageInfo,
}

/// Which images are sent to a partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Which {
    /// All that fit the filter and are not there.
    All,
    /// Those whose copy there was lost, or goes earlier than was agreed.
    Missing,
}

/// Sends many images to a partner.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BackfillRequest {
    /// Target domain: name or UUID.
    pub domain: String,
    /// Which.
    pub which: Which,
    /// For [`Which::All`]: only these. Its limit does not count.
    #[serde(default)]
    pub filter: ImageFilter,
    /// Import SLP there; absent: that of the image's own operation for this domain, else the image's SLP name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import_slp: Option<String>,
    /// Only count.
    #[serde(default)]
    pub dry_run: bool,
}

/// How many images it is about. Their replications are followed by `job list` and the backlog of `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackfillReply {
    /// The domain.
    #[serde(with = "text::by_text")]
    pub domain: DomainId,
    /// They are ordered (not only counted).
    pub applied: bool,
    /// Images that are sent, or would be.
    pub images: u64,
    /// Their logical bytes.
    pub logical_bytes: u64,
    /// Images that are there already.
    pub present: u64,
    /// Images that are on their way already.
    pub under_way: u64,
    /// Images that were made there.
    pub own: u64,
    /// Images whose copies here have expired, or by their policy would have there (AIR-006 would meet them).
    pub expired: u64,
    /// Images that are not complete, have no copy here or may not leave (AIR-009, AIR-010).
    pub unfit: u64,
}

/// Accepts that images are lost: no copy here will come again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptLossRequest {
    /// This image: its name or UUID; absent: all that are marked as lost, or of which no copy is left anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Only count.
    #[serde(default)]
    pub dry_run: bool,
}

/// How many images it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptLossReply {
    /// It is done (not only counted).
    pub applied: bool,
    /// Images that are gone now, or would be.
    pub images: u64,
    /// Those of all lost ones that a partner had before that, and that could be recalled.
    pub held_elsewhere: u64,
}

/// Tries imports again that are not done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryRequest {
    /// Only this image; absent: all that wait, failed or were given up, a portion of them.
    #[serde(default, with = "text::by_text_option", skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageId>,
    /// Of all, the portion behind this image: the last one of the portion before.
    #[serde(default, with = "text::by_text_option", skip_serializing_if = "Option::is_none")]
    pub after: Option<ImageId>,
}
