//! Replicas stay true: what a domain holds for a partner, and whether the catalog is as its pools and partners say.

use jiff::Timestamp;
use narrows_format::{DomainId, ImageId, PoolId};
use serde::{Deserialize, Serialize};

use crate::{partner::ReceivePool, text};

/// Query of a partner's list.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct HoldingsQuery {
    /// Behind this image; from the first when absent.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::by_text_option")]
    pub after: Option<ImageId>,
    /// What this pool holds; the one that receives from the caller when absent.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::by_text_option")]
    pub pool: Option<PoolId>,
    /// What the images are is wanted too.
    #[serde(default)]
    pub described: bool,
}

/// A page of what the answering domain holds for the caller, in the order of images.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Holdings {
    /// The domain's incarnation.
    pub incarnation: u64,
    /// The CAs that its certificates come from now, newest first, PEM; empty from an older server.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ca_pem: String,
    /// The pool that holds them.
    pub pool: ReceivePool,
    /// All pools of the answering domain.
    pub pools: Vec<ReceivePool>,
    /// Up to where in that pool's image log the page is complete.
    pub reached: u64,
    /// The images.
    pub images: Vec<Holding>,
    /// There are more behind the last one.
    pub more: bool,
}

/// One image that is held.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Holding {
    /// Which.
    #[serde(with = "text::by_text")]
    pub image: ImageId,
    /// Where its commit stands in the image log.
    pub sequence: u64,
    /// Revision of the last word about it.
    pub revision: u32,
    /// When it expires; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Its bytes were found damaged (POOL-001).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub damaged: bool,
    /// What it is, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_is: Option<HeldImage>,
}

/// What an image is, for who does not know it any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldImage {
    /// Where it was made.
    #[serde(with = "text::by_text")]
    pub origin: DomainId,
    /// The client's name.
    pub client_name: String,
    /// When the backup began.
    pub started: Timestamp,
    /// Bytes that a restore of all of it writes.
    pub logical_bytes: u64,
}

/// Asks for images that partners hold and of which no replica is known here.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct UnknownQuery {
    /// Only this partner, by name or UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}

/// Images that partners hold and of which no replica is known here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownReplicas {
    /// The images.
    pub replicas: Vec<UnknownReplica>,
    /// There are more than one answer lists.
    pub more: bool,
    /// Partners that could not be asked, where all were to be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unasked: Vec<String>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownReplica {
    /// The image.
    #[serde(with = "text::by_text")]
    pub image: ImageId,
    /// Who holds it.
    pub domain: String,
    /// In which pool there.
    #[serde(with = "text::by_text")]
    pub pool: PoolId,
    /// When it expires there; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Its bytes were found damaged there.
    #[serde(default)]
    pub damaged: bool,
    /// A copy of it can be read here; only the replica is not known.
    pub is_here: bool,
    /// What it is; absent from a partner whose server does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_is: Option<HeldImage>,
}

/// Asks partners at once what they hold.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CheckRequest {
    /// Only this partner, by name or UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}

/// How what one partner holds and what is known here differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReply {
    /// The partner.
    pub domain: String,
    /// Why it could not be asked, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// They are there as they should.
    pub present: u64,
    /// They are not there though they should.
    pub lost: u64,
    /// They are damaged there.
    pub damaged: u64,
    /// They are there, and not known here.
    pub unknown: u64,
}

/// The catalog.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CatalogInfo {
    /// How often it was marked; an older copy has a lower mark.
    pub mark: u64,
    /// The domain's incarnation.
    pub incarnation: u64,
    /// It was found older than its pool, and nothing is let go until it was compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconciling: Option<Reconciling>,
}

/// The catalog was found older than its pool.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reconciling {
    /// When.
    pub since: Timestamp,
    /// By what.
    pub why: String,
    /// What is still to be compared: `image log`, names of partners.
    pub waits_for: Vec<String>,
}

/// Ends it.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct ReconcileRequest {
    /// Though not everything was compared.
    #[serde(default)]
    pub force: bool,
}
