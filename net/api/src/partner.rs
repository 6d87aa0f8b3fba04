//! What paired servers say to each other. Each request but the first comes with the sender's server
//! certificate, and the domain is taken from there, never from the body.

use jiff::Timestamp;
use narrows_format::{DomainId, ImageId, PoolId, ServerId};
use serde::{Deserialize, Serialize};

use crate::{Hex, text};

/// In the head of what servers say to each other: which of its lives says it.
pub const LIFE_HEADER: &str = "narrows-life";

/// A domain introduces itself: the request of pairing, and its answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Introduction {
    /// The invitation's token, in the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Hex<32>>,
    /// UUID.
    #[serde(with = "text::by_text")]
    pub domain: DomainId,
    /// The name that it has for itself.
    pub name: String,
    /// Rises when the domain is recovered.
    pub incarnation: u64,
    /// Base URL of its API as the other side reaches it.
    pub url: String,
    /// Host and port of its data plane.
    pub data_addr: String,
    /// CA certificate, PEM.
    pub ca_pem: String,
    /// Ed25519 public key that signs its image records.
    pub signing_key: Hex<32>,
    /// The pool that receives from the other side.
    pub receive_pool: ReceivePool,
    /// Nobody can dial it: it parks connections by which it is called.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dials_out: bool,
}

/// Both directions are to be proved; the caller's addresses are those by which it is called back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConfirmRequest {
    /// Base URL of its API as the other side reaches it.
    pub url: String,
    /// Host and port of its data plane.
    pub data_addr: String,
    /// The pairing is complete for the caller: it says where it is now, and nothing else. Older servers prove the pairing anew.
    #[serde(default)]
    pub is_paired: bool,
    /// Nobody can dial it: it parks connections by which it is called.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dials_out: bool,
}

/// A pool as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivePool {
    /// Its UUID.
    #[serde(with = "text::by_text")]
    pub pool: PoolId,
    /// Rises when it is restored or rebuilt.
    pub incarnation: u64,
}

/// Who answers, and its clock.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pong {
    /// UUID.
    #[serde(with = "text::by_text")]
    pub domain: DomainId,
    /// Rises when the domain is recovered.
    pub incarnation: u64,
    /// Its clock when it answered.
    pub clock: Timestamp,
    /// Program version.
    pub version: String,
    /// Wire versions, lowest and highest.
    pub wire_versions: (u16, u16),
    /// Newest image format that it restores.
    pub image_format: u16,
    /// The pool that receives from the caller.
    pub receive_pool: ReceivePool,
    /// Host and port where data for that pool goes, if it is not where the domain was met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_addr: Option<String>,
    /// The media server that has it, or else the primary: the certificate of no other is believed there.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::by_text_option")]
    pub data_server: Option<ServerId>,
    /// All pools of the domain: what is in none of them is lost. Empty from a server that knows one only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<ReceivePool>,
    /// The receiving pool's mean segment size in bytes; 0 when it is not open.
    pub segment_mean: u32,
    /// Free bytes of that pool.
    pub free_bytes: u64,
    /// The caller is paired from its side too.
    pub paired: bool,
    /// Why nothing that the caller brings would be taken; nothing where something may be, and from a server that does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refuses: Option<Refused>,
    /// An import SLP is made for the caller where there is none of a name, within the bounds of its grant. Older servers do not say.
    #[serde(default)]
    pub auto_import: bool,
}

/// What a ping asks beside who answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PingQuestion {
    /// The storage unit there to which all that the caller brings goes, empty for the one that receives from it; nothing if it
    /// goes to several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// Why nothing is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Stable code.
    pub code: String,
    /// One sentence.
    pub why: String,
}

/// Whether the answering side reaches the data port and the API of who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// Where it dialled.
    pub address: String,
    /// Code of what it met, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// What it met; empty when it was answered.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// How it reaches the API, by which it confirms what it took in. Older servers do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<ApiReached>,
}

/// Whether an API is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiReached {
    /// Base URL that was asked.
    pub url: String,
    /// Code of what that met, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// What it met; empty when it was answered.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// Asks to bring an image to a storage unit other than the one that receives from the caller.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReceiveRequest {
    /// The image.
    #[serde(with = "text::by_text")]
    pub image: ImageId,
    /// The storage unit there; empty is the one that receives from the caller.
    pub unit: String,
}

/// Asks for what this domain lacks of an image that the two have from each other (grant `heal`).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct LendRequest {
    /// The image.
    #[serde(with = "text::by_text")]
    pub image: ImageId,
}

/// It may be brought, or taken.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReceiveGrant {
    /// To show on the data port.
    pub ticket: Hex<32>,
    /// Host and port of that data port, if it is not the one that the domain was met with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_addr: Option<String>,
    /// The media server that has it, or else the primary: the certificate of no other is believed there.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text::by_text_option")]
    pub data_server: Option<ServerId>,
}

/// What a partner may know about one of our SLPs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PartnerSlp {
    /// Its name.
    pub name: String,
    /// Its data classification, or `any`.
    pub data_classification: String,
    /// It begins with an Import whose storage includes the unit that receives from the caller.
    pub receives: bool,
    /// Storage units that it imports into, for replication targets that name one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub units: Vec<String>,
}

/// What became of an image that the receiver of this had sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Confirmation {
    /// The image.
    #[serde(with = "text::by_text")]
    pub image: ImageId,
    /// The pool that holds it.
    pub receive_pool: ReceivePool,
    /// Where the event stands in that pool's image log.
    pub sequence: u64,
    /// Rises with each word about this event; an older one than known is ignored.
    pub revision: u32,
    /// `imported`, `waiting`, `failed`, `given-up`, `refused`.
    pub outcome: String,
    /// Code of the reason, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// One sentence, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// `imported`: when the copy there may go; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// `waiting`: when it is looked at again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}
