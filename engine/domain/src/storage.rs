//! What a domain stores on and for whom: pools, storage units, clients, and the domain itself.

use narrows_format::{ClientId, DomainId, PoolId, ServerId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::limits::{HIGH_WATER, LOW_WATER};
use crate::named::named;
use crate::period::Period;

/// This domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its UUID.
    pub domain: DomainId,
    /// Rises when the domain is recovered.
    pub incarnation: u64,
    /// Its name for itself.
    pub name: String,
}

/// A deduplication pool of this domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its UUID.
    pub id: PoolId,
    /// Rises when the pool is restored or rebuilt.
    pub incarnation: u64,
    /// Its name.
    pub name: String,
    /// Places one image over several volumes: cannot be a replication source (SLP-007).
    pub spanning: bool,
    /// Its copies are locked, for a time within this range; `None` locks none.
    pub lock: Option<LockRange>,
    /// The media server that has it; `None` is the primary server's own process.
    pub server: Option<ServerId>,
    /// Absolute paths on its media server, its own first; empty for the pool that lies in the server's data folder.
    pub directories: Vec<String>,
    /// With less than so many bytes free it counts as full: nothing new begins.
    pub keep_free: u64,
    /// With more than so many parts of a hundred of its disk in use it counts as full.
    pub high_water: u8,
    /// At high water, copies that live as long as there is room go, oldest first, until no more than this would be in use.
    pub low_water: u8,
    /// A person set these marks: in no other pool anything goes at high water.
    pub water_is_set: bool,
    /// Bytes of copies that were removed from it, and that nothing has reclaimed.
    pub removed_bytes: u64,
    /// Bytes a second at most that leave it for all replication targets together; `None` is unlimited.
    pub bandwidth: Option<u64>,
}

impl PoolTrouble {
    /// Nothing can be written to its image log: it is not open, or a write to it has failed (POOL-004).
    pub fn takes_no_orders(&self) -> bool {
        !self.readable || self.code == "POOL-004"
    }
}

impl Pool {
    /// As a domain begins with one: in the server's data folder, on one volume, not locked.
    pub fn new(id: PoolId, name: impl Into<String>) -> Self {
        Self {
            id,
            incarnation: 1,
            name: name.into(),
            spanning: false,
            lock: None,
            server: None,
            directories: Vec::new(),
            keep_free: 0,
            high_water: HIGH_WATER,
            low_water: LOW_WATER,
            water_is_set: false,
            removed_bytes: 0,
            bandwidth: None,
        }
    }
}

/// A media server that joined this domain. The primary server's own process has no row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaServer {
    /// Its UUID.
    pub id: ServerId,
    /// Its name, unique here.
    pub name: String,
    /// Base URL by which the primary reaches it.
    pub url: String,
    /// Host and port of its data plane, as clients and partners reach it.
    pub data_address: String,
    /// Serial number of its certificate, as text.
    pub serial: String,
    /// When it joined.
    pub joined: Timestamp,
    /// Since when nothing new goes to its pools; `None` is not drained.
    pub draining: Option<Timestamp>,
    /// When the certificate ends that it shows, as it said last.
    pub certificate_until: Option<Timestamp>,
}

impl MediaServer {
    /// What people call the primary server's own process.
    pub const PRIMARY: &str = "primary";
}

/// Whether this pool is among those that span.
pub fn spans(pools: &[Pool], pool: PoolId) -> bool {
    pools.iter().any(|it| it.id == pool && it.spanning)
}

/// Why nothing can be written to a pool just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolTrouble {
    /// Its code: full is POOL-002, poisoned POOL-004; what could not be opened has the code of that.
    pub code: String,
    /// In one sentence.
    pub sentence: String,
    /// What is in it can be read all the same.
    pub readable: bool,
}

/// How long a locked volume may lock a copy (SLP-012).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockRange {
    /// Not shorter.
    pub at_least: Period,
    /// Not longer.
    pub at_most: Period,
}

named! {
    /// Which end dials when an image is replicated.
    pub enum Direction {
        /// The source.
        Push = "push",
        /// The target.
        Pull = "pull",
    }
}

/// Where a pool replicates to: without one, nothing goes from that pool to that partner (SLP-006).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicationTarget {
    /// The source pool.
    pub pool: PoolId,
    /// The partner.
    pub partner: DomainId,
    /// The storage unit there; empty is the one that receives from this domain by default.
    pub unit: String,
    /// Bytes a second at most while no window of the schedule is open; `None` is unlimited.
    pub bandwidth: Option<u64>,
    /// Other bandwidths for times of day; the first whose window is open holds.
    pub schedule: Vec<ScheduledBandwidth>,
    /// In which proportion it has a part of its pool's bandwidth, from 1 to [`WEIGHT_MAX`](crate::limits::WEIGHT_MAX).
    pub weight: u32,
    /// Which end dials.
    pub direction: Direction,
    /// Why the storage there is not similar, as found when the target was configured; `None` if it is.
    pub unlike: Option<String>,
}

/// The bandwidth while a window is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledBandwidth {
    /// Name of the window.
    pub window: String,
    /// Bytes a second; `None` is unlimited, 0 lets nothing through.
    pub bandwidth: Option<u64>,
}

impl ReplicationTarget {
    /// What a pairing makes: to whatever unit receives there, unbounded, pushed.
    pub fn usual(pool: PoolId, partner: DomainId) -> Self {
        Self {
            pool,
            partner,
            unit: String::new(),
            bandwidth: None,
            schedule: Vec::new(),
            weight: 1,
            direction: Direction::Push,
            unlike: None,
        }
    }
}

/// A logical destination: a pool plus limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageUnit {
    /// Its name, unique here, groups included.
    pub name: String,
    /// The pool behind it.
    pub pool: PoolId,
    /// Jobs that may write to it at once; `None` is unlimited.
    pub jobs_max: Option<u32>,
}

named! {
    /// Which unit of a group takes a copy. A unit that is at its limit takes none by any rule.
    pub enum Selection {
        /// The first in order; the next ones while those before them are at their limit.
        Failover = "failover",
        /// The one behind the one that took the last.
        RoundRobin = "round-robin",
        /// The one with the fewest jobs under way; the first in order among equals.
        LeastUsed = "least-used",
    }
}

/// An ordered set of storage units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageUnitGroup {
    /// Its name, unique here, units included.
    pub name: String,
    /// Names of the units in it, in order.
    pub units: Vec<String>,
    /// Which of them takes a copy.
    pub rule: Selection,
    /// The unit that took the last copy, for [`Selection::RoundRobin`].
    pub last: Option<String>,
}

/// How much data matters, by a name that partners compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classification {
    /// Its name.
    pub name: String,
    /// Higher matters more.
    pub rank: u32,
}

/// What a new domain has: the names that the field knows, best first.
pub fn usual_classifications() -> Vec<Classification> {
    let ranked = [("platinum", 40), ("gold", 30), ("silver", 20), ("bronze", 10)];
    ranked.map(|(name, rank)| Classification { name: name.to_owned(), rank }).into()
}

/// The word for "any storage unit that is free".
pub const ANY_AVAILABLE: &str = "any";

/// A machine whose data is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its UUID.
    pub id: ClientId,
    /// Its name, unique here.
    pub name: String,
    /// Serial number of its certificate, as text.
    pub serial: String,
    /// When it was enrolled.
    pub enrolled: Timestamp,
    /// When its certificate was revoked.
    pub revoked: Option<Timestamp>,
    /// When its certificate ends; not known of one that an older server issued in place of another.
    pub until: Option<Timestamp>,
    /// Certificates that it renewed: each is believed until it ends.
    pub still_believed: Vec<Issued>,
    /// Certificates that it had before and that are not believed any more, until they end.
    pub former: Vec<Issued>,
    /// It may read what is of other clients, and take it anywhere (AIR-008).
    pub restore_any: bool,
}

/// What a client may be granted.
pub const RESTORE_ANY: &str = "restore-any";

/// A client's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Its serial number, as text.
    pub serial: String,
    /// When it ends.
    pub until: Timestamp,
}

/// When a certificate ends of which that is not known: later than any does.
const UNKNOWN_END: Timestamp = Timestamp { seconds: 9_000_000_000, nanos: 0 };

impl Client {
    /// Its newest certificate.
    pub fn newest(&self) -> Issued {
        Issued { serial: self.serial.clone(), until: self.until.unwrap_or(UNKNOWN_END) }
    }

    /// The same client with another certificate, and none of those that it had before.
    #[must_use]
    pub fn with_instead(self, issued: Issued, now: Timestamp) -> Self {
        let newest = self.newest();
        let mut former = self.former;
        former.extend(self.still_believed.into_iter().chain([newest]));
        former.retain(|it| it.until > now);
        let (serial, until) = (issued.serial, Some(issued.until));
        Self { serial, until, revoked: None, former, still_believed: Vec::new(), ..self }
    }
}

/// A name that a client had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAlias {
    /// The client.
    pub client: ClientId,
    /// The name.
    pub name: String,
    /// Since when.
    pub from: Timestamp,
    /// Until when; it has had another one since.
    pub until: Timestamp,
}

/// A domain's identity in words: `domain` is in `partners` or is this one.
pub fn domain_name(own: &Identity, partners: &[crate::Partner], domain: DomainId) -> String {
    if own.domain == domain {
        return own.name.clone();
    }
    let known = partners.iter().find(|partner| partner.domain == domain);
    known.map_or_else(|| domain.to_string(), |partner| partner.name.clone())
}
