//! What the primary and its media servers say to each other, as JSON over the API.
//!
//! Guarantees: what is read here is plain data, bounded by the limits of the API's bodies; what it means is checked where it
//! is turned into the server's own types, and nothing that the other side says makes this one panic. Bytes are base64, times
//! are exact.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use narrows_api::{
    ApiError, Hex,
    error::codes,
    finding::{DiffPage, FindPage},
    images::BrowsePage,
    text::PathText,
};
use narrows_format::{
    DomainId, Fingerprint, ImageId, PoolId, Sequence, Timestamp,
    image_log::RemoveReason,
    node::{Child, ChildKind},
    record::{CopyState, SignedRecord},
};
use narrows_pool::{
    Lack, PoolSpace,
    images::{Discarded, Event, EventKind, ImageEntry},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use narrows_api::text::{by_text, by_text_option};

use super::mending::{ContainerRead, Surveyed};
use crate::pace::Allowance;

/// The other side said something that can't be.
pub fn strange(what: &str) -> ApiError {
    ApiError::new(codes::INTERNAL, format!("what the other server said can't be: {what}"))
}

/// Bytes as base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        STANDARD.decode(String::deserialize(from)?).map(Self).map_err(de::Error::custom)
    }
}

/// A time: seconds since 1970 and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct When(i64, u32);

impl From<Timestamp> for When {
    fn from(time: Timestamp) -> Self {
        Self(time.seconds, time.nanos)
    }
}

impl From<When> for Timestamp {
    fn from(When(seconds, nanos): When) -> Self {
        Self { seconds, nanos: nanos.min(999_999_999) }
    }
}

/// Expiry, lock and hold of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyWord {
    expires: Option<When>,
    locked_until: Option<When>,
    held: bool,
}

impl From<CopyState> for CopyWord {
    fn from(copy: CopyState) -> Self {
        let CopyState { expires, locked_until, held } = copy;
        Self { expires: expires.map(When::from), locked_until: locked_until.map(When::from), held }
    }
}

impl From<CopyWord> for CopyState {
    fn from(word: CopyWord) -> Self {
        let CopyWord { expires, locked_until, held } = word;
        Self { expires: expires.map(Timestamp::from), locked_until: locked_until.map(Timestamp::from), held }
    }
}

/// The root node of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootWord {
    fingerprint: Hex<32>,
    length: u32,
}

impl From<Child> for RootWord {
    fn from(root: Child) -> Self {
        Self { fingerprint: Hex(root.fingerprint.0), length: root.length }
    }
}

impl From<RootWord> for Child {
    fn from(word: RootWord) -> Self {
        Self { fingerprint: Fingerprint(word.fingerprint.0), kind: ChildKind::Node, length: word.length }
    }
}

/// Why a copy goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReasonWord {
    /// Its time had come.
    Expired,
    /// A person asked for it.
    Deleted,
    /// It could not be read any more.
    Damaged,
}

/// A copy on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscardedWord {
    reason: ReasonWord,
    until: When,
}

impl From<Discarded> for DiscardedWord {
    fn from(discarded: Discarded) -> Self {
        let reason = match discarded.reason {
            RemoveReason::Expired => ReasonWord::Expired,
            RemoveReason::Deleted => ReasonWord::Deleted,
            RemoveReason::Damaged => ReasonWord::Damaged,
        };
        Self { reason, until: discarded.until.into() }
    }
}

impl From<DiscardedWord> for Discarded {
    fn from(word: DiscardedWord) -> Self {
        let reason = match word.reason {
            ReasonWord::Expired => RemoveReason::Expired,
            ReasonWord::Deleted => RemoveReason::Deleted,
            ReasonWord::Damaged => RemoveReason::Damaged,
        };
        Self { reason, until: word.until.into() }
    }
}

/// An image as a pool's log has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryWord {
    sequence: u64,
    record: Blob,
    copy: CopyWord,
    #[serde(with = "by_text_option")]
    sender: Option<DomainId>,
    target_slp: String,
    asked_expiry: Option<When>,
    stored_bytes: u64,
    discarded: Option<DiscardedWord>,
}

impl From<&ImageEntry> for EntryWord {
    fn from(entry: &ImageEntry) -> Self {
        Self {
            sequence: entry.sequence.0,
            record: Blob(entry.record_bytes.clone()),
            copy: entry.copy.into(),
            sender: entry.sender,
            target_slp: entry.target_slp.clone(),
            asked_expiry: entry.asked_expiry.map(When::from),
            stored_bytes: entry.stored_bytes,
            discarded: entry.discarded.map(DiscardedWord::from),
        }
    }
}

impl EntryWord {
    /// The entry, if its record is one.
    pub fn entry(self) -> Result<ImageEntry, ApiError> {
        let record = SignedRecord::decode(&self.record.0).map_err(|bad| strange(&bad.to_string()))?;
        Ok(ImageEntry {
            sequence: Sequence(self.sequence),
            record,
            record_bytes: self.record.0,
            copy: self.copy.into(),
            sender: self.sender,
            target_slp: self.target_slp,
            asked_expiry: self.asked_expiry.map(Timestamp::from),
            stored_bytes: self.stored_bytes,
            discarded: self.discarded.map(Discarded::from),
        })
    }
}

/// A record of a pool's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventWord {
    sequence: u64,
    kind: KindWord,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum KindWord {
    Committed(Box<EntryWord>),
    Amended(#[serde(with = "by_text")] ImageId, CopyWord),
    Discarded(#[serde(with = "by_text")] ImageId, DiscardedWord),
    Removed(#[serde(with = "by_text")] ImageId),
    Damaged,
}

impl From<&Event> for EventWord {
    fn from(event: &Event) -> Self {
        let kind = match &event.kind {
            EventKind::Committed(entry) => KindWord::Committed(Box::new(EntryWord::from(&**entry))),
            EventKind::Amended(image, copy) => KindWord::Amended(*image, (*copy).into()),
            EventKind::Discarded(image, discarded) => KindWord::Discarded(*image, (*discarded).into()),
            EventKind::Removed(image) => KindWord::Removed(*image),
            EventKind::Damaged => KindWord::Damaged,
        };
        Self { sequence: event.sequence.0, kind }
    }
}

impl EventWord {
    /// Bytes of the record that it carries.
    pub fn record_bytes(&self) -> usize {
        match &self.kind {
            KindWord::Committed(entry) => entry.record.0.len(),
            _ => 0,
        }
    }

    fn event(self) -> Event {
        let kind = match self.kind {
            // What can't be read is passed over like a damaged record: what follows it shall not wait for ever.
            KindWord::Committed(entry) => {
                entry.entry().map_or(EventKind::Damaged, |entry| EventKind::Committed(Arc::new(entry)))
            }
            KindWord::Amended(image, copy) => EventKind::Amended(image, copy.into()),
            KindWord::Discarded(image, discarded) => EventKind::Discarded(image, discarded.into()),
            KindWord::Removed(image) => EventKind::Removed(image),
            KindWord::Damaged => EventKind::Damaged,
        };
        Event { sequence: Sequence(self.sequence), kind }
    }
}

/// The records behind `after`, if they are in order.
pub fn events_in(words: Vec<EventWord>, after: Sequence) -> Result<Vec<Event>, ApiError> {
    let mut last = after.0;
    for word in &words {
        if word.sequence <= last || i64::try_from(word.sequence).is_err() {
            return Err(strange("records of an image log out of order"));
        }
        last = word.sequence;
    }
    Ok(words.into_iter().map(EventWord::event).collect())
}

macro_rules! spaces {
    ($($field:ident),+) => {
        /// The room of a pool.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub struct SpaceWord {
            $($field: u64,)+
            /// Whether the index has no room, rather than a container; what there is, and what it needs.
            lack: Option<(bool, u64, u64)>,
        }

        impl From<PoolSpace> for SpaceWord {
            fn from(space: PoolSpace) -> Self {
                let lack = space.lack.map(|it| (it.what == Lack::INDEX, it.available, it.needed));
                Self { $($field: space.$field,)+ lack }
            }
        }

        impl From<SpaceWord> for PoolSpace {
            fn from(word: SpaceWord) -> Self {
                let lack = word.lack.map(|(is_index, available, needed)| {
                    let what = if is_index { Lack::INDEX } else { Lack::CONTAINER };
                    Lack { what, available, needed }
                });
                Self { $($field: word.$field,)+ lack }
            }
        }
    };
}

spaces!(
    disk_total,
    disk_available,
    container_bytes,
    containers,
    staged_bytes,
    index_entries,
    index_bytes,
    index_bytes_max,
    index_runs,
    index_filter_bytes,
    index_unfiltered,
    claims,
    images
);

/// An order to one pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PoolWord {
    /// Where the room goes, and whether the pool takes writes.
    Space,
    /// Records behind this one, at most so many.
    Events(u64, usize),
    /// Waits a while for a record behind this one.
    EventAfter(u64),
    /// Changes expiry, lock or hold of a copy.
    Amend(#[serde(with = "by_text")] ImageId, CopyWord),
    /// Hides a copy from all who read.
    Discard(#[serde(with = "by_text")] ImageId, DiscardedWord),
    /// Takes a discarded copy out of the log.
    Remove(#[serde(with = "by_text")] ImageId),
    /// Ends the sessions that bring this image as a backup.
    GiveUp(#[serde(with = "by_text")] ImageId),
    /// Reads and checks a whole image.
    Verify(#[serde(with = "by_text")] ImageId),
    /// Lists a directory: root, path, name of the last entry of the page before, at most so many.
    Browse(RootWord, PathText, Option<PathText>, u32),
    /// Looks for a pattern below a root, beginning at a path.
    Find(RootWord, PathText, PathText),
    /// Compares what lies below two roots, beginning at a path.
    Compare(RootWord, RootWord, PathText),
    /// Reads the first container behind this one: whether segments are hashed, and how many bytes a second.
    Scrub(Option<u64>, bool, Option<u64>),
    /// Walks all images: which are hurt.
    Survey,
    /// Whether nothing of an image is known to be damaged.
    IsWhole(#[serde(with = "by_text")] ImageId),
    /// Copies what holds of containers whose header or table is damaged.
    Rescue,
    /// Containers of which something is in quarantine.
    Quarantine,
}

/// The answer to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PoolSaid {
    /// Room, and whether a failed write has stopped the pool.
    Space(SpaceWord, bool),
    /// Records.
    Events(Vec<EventWord>),
    /// The newest record, or that none has come.
    EventAfter(Option<u64>),
    /// What was done is durable at this place.
    Done(u64),
    /// They end.
    GivenUp,
    /// Nodes, segments, bytes; and the first damage by code and sentence.
    Verified(u64, u64, u64, Option<(String, String)>),
    /// A page; nothing when there is no such directory.
    Page(Option<BrowsePage>),
    /// A page of what was found.
    Found(FindPage),
    /// A page of what differs.
    Differs(DiffPage),
    /// What reading a container found; nothing when there is none behind.
    Read(Option<ContainerRead>),
    /// What walking all images found.
    Surveyed(Surveyed),
    /// Whether an image is whole.
    Whole(bool),
    /// How many segments and nodes were copied.
    Rescued(u64),
    /// Containers.
    Containers(Vec<u64>),
}

/// A pool is to be opened that could not be, or anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reopening {
    /// How far its log is in the catalog: incarnation, and the last record.
    pub read: Option<(u64, u64)>,
}

/// It is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reopened {
    /// Its incarnation.
    pub incarnation: u64,
    /// Its mean segment size.
    pub segment_mean: u32,
}

/// A pool that a media server is to have open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolTold {
    /// Its UUID.
    #[serde(with = "by_text")]
    pub pool: PoolId,
    /// Its name.
    pub name: String,
    /// Where it lies, its own folder first.
    pub directories: Vec<String>,
    /// How far its log is in the catalog: incarnation, and the last record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<(u64, u64)>,
}

/// A pool that is to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolWanted {
    /// Identity, name and folders.
    pub told: PoolTold,
    /// All others of this media server.
    pub others: Vec<PoolTold>,
    /// Mean segment size in bytes.
    pub segment_mean: u32,
}

/// Whom to believe of one domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustTold {
    /// The domain.
    #[serde(with = "by_text")]
    pub domain: DomainId,
    /// Its CAs, DER.
    pub cas: Vec<Blob>,
    /// Serial numbers that are revoked.
    pub revoked: Vec<Blob>,
    /// Its media servers, of whom no others are believed; absent where that is not known.
    pub media: Option<Vec<Hex<16>>>,
}

/// How fast a partner is sent to from a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaceTold {
    /// The pool.
    #[serde(with = "by_text")]
    pub pool: PoolId,
    /// The partner.
    #[serde(with = "by_text")]
    pub partner: DomainId,
    /// How fast.
    #[serde(flatten)]
    pub allowed: Allowance,
}

/// How things stand, as the primary says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stand {
    /// The pools that are to be open.
    pub pools: Vec<PoolTold>,
    /// Names the state of trust.
    pub trust_mark: Hex<32>,
    /// That state; absent when the media server said that it knows it.
    pub trust: Option<Vec<TrustTold>>,
    /// Rates.
    pub paces: Vec<PaceTold>,
}

/// How a pool stands, as its media server says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolStands {
    /// Which.
    #[serde(with = "by_text")]
    pub pool: PoolId,
    /// Its incarnation; meaningless when it is not open.
    pub incarnation: u64,
    /// Its mean segment size.
    pub segment_mean: u32,
    /// Why it is not open.
    pub shut: Option<ApiError>,
}

/// How a media server stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stood {
    /// Drawn anew at each start.
    pub run: Hex<16>,
    /// What it runs.
    pub version: String,
    /// Its clock.
    pub clock: When,
    /// The state of trust that it knows.
    pub trust_mark: Hex<32>,
    /// The pools that it was told of.
    pub pools: Vec<PoolStands>,
    /// When the certificate ends that it shows; older builds do not say.
    #[serde(default)]
    pub certificate_until: Option<When>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amended(sequence: u64) -> Event {
        let copy = CopyState {
            expires: Some(Timestamp { seconds: -5, nanos: 999_999_999 }),
            locked_until: None,
            held: true,
        };
        Event { sequence: Sequence(sequence), kind: EventKind::Amended(ImageId([7; 16]), copy) }
    }

    /// Goal: records of a log are the same on the other side, to the nanosecond.
    #[test]
    fn events_cross_as_they_are() {
        let until = Timestamp { seconds: i64::MAX, nanos: 1 };
        let discarded = Discarded { reason: RemoveReason::Damaged, until };
        let sent = [
            amended(3),
            Event { sequence: Sequence(4), kind: EventKind::Discarded(ImageId([8; 16]), discarded) },
            Event { sequence: Sequence(9), kind: EventKind::Removed(ImageId([8; 16])) },
            Event { sequence: Sequence(10), kind: EventKind::Damaged },
        ];
        let text = serde_json::to_vec(&sent.iter().map(EventWord::from).collect::<Vec<_>>()).unwrap();
        let words: Vec<EventWord> = serde_json::from_slice(&text).unwrap();
        let received = events_in(words.clone(), Sequence(2)).unwrap();
        assert_eq!(format!("{received:?}"), format!("{sent:?}"));
        assert!(events_in(words.clone(), Sequence(3)).is_err(), "one that was asked from behind");
        assert!(events_in([&words[1..], &words[..1]].concat(), Sequence(0)).is_err(), "out of order");
    }

    /// Goal: whatever a media server says is an error or a damaged record, and no panic.
    #[test]
    fn nonsense_is_refused() {
        for text in [
            "{}",
            "{\"events\":[{\"sequence\":-1,\"kind\":\"damaged\"}]}",
            "{\"events\":[{\"sequence\":1,\"kind\":{\"removed\":\"zz\"}}]}",
            "{\"event-after\":1e300}",
            "{\"space\":[{},true]}",
        ] {
            assert!(serde_json::from_str::<PoolSaid>(text).is_err(), "{text}");
        }
        let entry = EntryWord {
            sequence: 1,
            record: Blob(vec![1, 2, 3]),
            copy: CopyState { expires: None, locked_until: None, held: false }.into(),
            sender: None,
            target_slp: String::new(),
            asked_expiry: Some(When(0, u32::MAX)),
            stored_bytes: u64::MAX,
            discarded: None,
        };
        let words = vec![EventWord { sequence: 1, kind: KindWord::Committed(Box::new(entry)) }];
        let events = events_in(words, Sequence(0)).unwrap();
        assert!(matches!(events[0].kind, EventKind::Damaged));
    }

    /// Goal: servers that speak one version understand each other though they are of different builds: what a newer one says
    /// on top is passed over, and what an older one does not say has a default.
    #[test]
    fn a_server_of_another_build_is_understood() {
        let stand = Stand { pools: Vec::new(), trust_mark: Hex([1; 32]), trust: None, paces: Vec::new() };
        let stood = Stood {
            run: Hex([2; 16]),
            version: "0.0.1".to_owned(),
            clock: When(1, 2),
            trust_mark: Hex([1; 32]),
            pools: Vec::new(),
            certificate_until: None,
        };
        let (mut said, mut heard) =
            (serde_json::to_value(&stand).unwrap(), serde_json::to_value(&stood).unwrap());
        for word in [&mut said, &mut heard] {
            word["of_a_newer_build"] = serde_json::json!({ "any": ["thing"] });
        }
        heard.as_object_mut().unwrap().remove("certificate_until").expect("it is said");
        assert_eq!(serde_json::from_value::<Stand>(said).unwrap(), stand);
        assert_eq!(serde_json::from_value::<Stood>(heard).unwrap(), stood);
    }
}
