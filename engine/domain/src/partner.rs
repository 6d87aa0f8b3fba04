//! Another domain: who it is, how far trust goes, what it may do here, and whether it answers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use narrows_format::{DomainId, PoolId, Timestamp};

use crate::auto_import::AutoImport;
use crate::limits::{PARTNERS_MAX, RUNNING_PER_PARTNER};
use crate::machine::Refusal;
use crate::named::named;
use crate::operation::Operation;
use crate::retry::{self, NO_VERSION};
use crate::storage::{Direction, Identity};

named! {
    /// How far trust with a partner is.
    pub enum Trust {
        /// Only one side trusts the other; an SLP that uses it is refused (TRUST-001).
        Half = "half",
        /// Both sides trust each other.
        Complete = "complete",
        /// Its certificate expired: work waits, nothing fails.
        Expired = "expired",
        /// Its identity is in doubt (TRUST-003); a person decides.
        Frozen = "frozen",
        /// Taken apart; kept for what still names it.
        Unpaired = "unpaired",
    }
}

named! {
    /// Which of two domains dials the other.
    pub enum Dials {
        /// Each the other one.
        Both = "both",
        /// The partner, which nobody can dial: it keeps connections open here, by which it is called. What goes there is pulled.
        Partner = "partner",
        /// This domain, which keeps connections open there, by which it is called.
        Own = "own",
    }
}

impl Dials {
    /// Which end dials when an image goes from here to that partner.
    pub fn direction(self) -> Direction {
        match self {
            Self::Both | Self::Own => Direction::Push,
            Self::Partner => Direction::Pull,
        }
    }
}

/// What a partner may do here; set by this side. Never: delete, change retention, list the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent grants, each named in the specification")]
pub struct Grants {
    /// Offer images, ask what is missing, send.
    pub send: bool,
    /// Existence, classification and unit of a named SLP.
    pub slp_lookup: bool,
    /// State of its own images.
    pub status: bool,
    /// Send images of these other origins; with the key that signs their records, where it is not known by a
    /// pairing.
    pub relay: BTreeMap<DomainId, Option<[u8; 32]>>,
    /// Read images whose origin it is or that it sent.
    pub recall: bool,
    /// Read segments of images replicated between the two.
    pub heal: bool,
    /// An import SLP is made here for it where none exists, within these bounds.
    pub auto_import: Option<AutoImport>,
}

impl Default for Grants {
    /// `send`, `slp-lookup` and `status`.
    fn default() -> Self {
        Self {
            send: true,
            slp_lookup: true,
            status: true,
            relay: BTreeMap::new(),
            recall: false,
            heal: false,
            auto_import: None,
        }
    }
}

impl Grants {
    /// One word each: `send slp-lookup status auto-import(at-most=90d) relay(UUID) relay(UUID=KEY)`, the key in hexadecimal digits.
    pub fn to_words(&self) -> Vec<String> {
        let flags = [
            (self.send, "send"),
            (self.slp_lookup, "slp-lookup"),
            (self.status, "status"),
            (self.recall, "recall"),
            (self.heal, "heal"),
        ];
        let plain = flags.iter().filter(|(set, _)| *set).map(|(_, word)| (*word).to_owned());
        let bounded = self.auto_import.iter().map(ToString::to_string);
        plain
            .chain(bounded)
            .chain(self.relay.iter().map(|(origin, key)| relay_word(*origin, key.as_ref())))
            .collect()
    }

    /// The reverse of [`Self::to_words`]; `None` for a word that is no grant.
    pub fn from_words<'w>(words: impl IntoIterator<Item = &'w str>) -> Option<Self> {
        let mut grants = Self { send: false, slp_lookup: false, status: false, ..Self::default() };
        for word in words {
            match word {
                "send" => grants.send = true,
                "slp-lookup" => grants.slp_lookup = true,
                "status" => grants.status = true,
                "recall" => grants.recall = true,
                "heal" => grants.heal = true,
                word if word.starts_with("auto-import") => grants.auto_import = Some(word.parse().ok()?),
                _ => {
                    let origin = word.strip_prefix("relay(")?.strip_suffix(')')?;
                    let (origin, key) = match origin.split_once('=') {
                        Some((origin, key)) => (origin, Some(key_of_word(key)?)),
                        None => (origin, None),
                    };
                    grants.relay.insert(origin.parse().ok()?, key);
                }
            }
        }
        Some(grants)
    }
}

fn relay_word(origin: DomainId, key: Option<&[u8; 32]>) -> String {
    let mut word = format!("relay({origin}");
    for (at, byte) in key.into_iter().flatten().enumerate() {
        let equals = if at == 0 { "=" } else { "" };
        // Writing to a String does not fail.
        let _ = write!(word, "{equals}{byte:02x}");
    }
    word + ")"
}

fn key_of_word(digits: &str) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    for (byte, at) in key.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
    }
    Some(key)
}

/// Whether a partner answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It did when last asked.
    Up,
    /// It does not, or nothing can be said to it.
    Down {
        /// Since when.
        since: Timestamp,
        /// Probes in a row without answer.
        failures: u32,
        /// When it is asked again.
        next_probe: Timestamp,
        /// The code of what the last try met; empty: no answer. A partner that answers may take nothing all the same.
        code: String,
        /// What that was, in one sentence.
        sentence: String,
    },
}

impl Reach {
    /// It answers when it is asked, whether or not it takes anything.
    pub fn answers(&self) -> bool {
        match self {
            Self::Up => true,
            Self::Down { code, .. } => !code.is_empty() && !retry::is_not_believed(code),
        }
    }

    /// It takes nothing of what is brought, as is known of the answer to a probe: its pool is full, it does not let this domain
    /// send, or does not believe it.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Down { code, .. } if !code.is_empty() && code != NO_VERSION)
    }
}

/// A pool at the partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivePool {
    /// Its UUID.
    pub pool: PoolId,
    /// Its incarnation.
    pub incarnation: u64,
}

/// A partner domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partner {
    /// Its UUID.
    pub domain: DomainId,
    /// Its incarnation; may never fall (TRUST-003).
    pub incarnation: u64,
    /// The local alias, unique here (TRUST-002).
    pub name: String,
    /// Its API, e.g. `https://dr.example:7400`; empty while only half paired from the other side.
    pub url: String,
    /// Its data port, `host:port`.
    pub data_address: String,
    /// PEM of the CA that its certificates must come from.
    pub ca_pem: String,
    /// Ed25519 public key that signs its image records.
    pub signing_key: [u8; 32],
    /// How far trust is.
    pub trust: Trust,
    /// When it was paired, or half of it was.
    pub paired: Timestamp,
    /// What it may do here.
    pub grants: Grants,
    /// The storage unit here that receives from it.
    pub receive_unit: String,
    /// The pool there that receives from here, as last said.
    pub receive_pool: Option<ReceivePool>,
    /// All pools there, as last said; empty if it never did.
    pub pools: Vec<ReceivePool>,
    /// Whether it answers.
    pub reach: Reach,
    /// Its clock minus ours in milliseconds, as last measured.
    pub skew_ms: Option<i64>,
    /// When it was last heard of.
    pub heard: Option<Timestamp>,
    /// Work to it is paused by a person.
    pub paused: bool,
    /// Since when it is drained: nothing new goes there, and it is unpaired as soon as what was due before is done.
    pub draining: Option<Timestamp>,
    /// Images under way to it at the same time.
    pub running_max: u32,
    /// Which of the two dials.
    pub dials: Dials,
    /// While this window is shut there is no connection to it; only where this domain dials. `None`: there always is.
    pub dial_window: Option<String>,
}

impl Partner {
    /// Whether this work came up only after it was begun to be drained, and does not go there any more. What a person, or the
    /// partner, asks for beside the policies does.
    pub fn is_too_late_for(&self, operation: &Operation) -> bool {
        !operation.is_manual()
            && operation.attempt == 0
            && self.draining.is_some_and(|since| operation.due >= since)
    }

    /// A partner just met: trust half made, nothing else known.
    pub fn half(domain: DomainId, incarnation: u64, name: &str, paired: Timestamp) -> Self {
        Self {
            domain,
            incarnation,
            name: name.to_owned(),
            url: String::new(),
            data_address: String::new(),
            ca_pem: String::new(),
            signing_key: [0; 32],
            trust: Trust::Half,
            paired,
            grants: Grants::default(),
            receive_unit: "default".to_owned(),
            receive_pool: None,
            pools: Vec::new(),
            reach: Reach::Up,
            skew_ms: None,
            heard: None,
            paused: false,
            draining: None,
            running_max: RUNNING_PER_PARTNER,
            dials: Dials::Both,
            dial_window: None,
        }
    }
}

impl Partner {
    /// Whether it may send here: paired, trusted, with the grant `send` (AUTH-005, TRUST-001, TRUST-003).
    pub fn may_send(&self) -> Result<(), Refusal> {
        let name = &self.name;
        Err(match self.trust {
            Trust::Complete | Trust::Expired if self.grants.send => return Ok(()),
            Trust::Complete | Trust::Expired => {
                Refusal::new("AUTH-005", format!("`{name}` may not send here"), "grant it `send`")
            }
            Trust::Half => {
                Refusal::new("TRUST-001", format!("`{name}` is only half paired"), "finish the pairing")
            }
            Trust::Frozen => {
                Refusal::new("TRUST-003", format!("the identity of `{name}` is in doubt"), "decide it")
            }
            Trust::Unpaired => Refusal::new("TRUST-001", format!("`{name}` was unpaired"), "pair it again"),
        })
    }
}

/// Whether `met` can be stored: TRUST-002 for a name that another domain has, TRUST-003 for an identity
/// that is this domain's own or whose incarnation fell, TRUST-001 for one partner too many.
pub fn check_meeting(own: &Identity, known: &[Partner], met: &Partner) -> Result<(), Refusal> {
    if met.domain == own.domain {
        let sentence = format!("domain {} is this domain itself", met.domain);
        return Err(Refusal::new("TRUST-003", sentence, "pair it with another domain"));
    }
    if met.name == own.name || known.iter().any(|it| it.name == met.name && it.domain != met.domain) {
        let sentence = format!("the name `{}` belongs to another domain here", met.name);
        return Err(Refusal::new("TRUST-002", sentence, "give it another name here with `--as`"));
    }
    let before = known.iter().find(|it| it.domain == met.domain);
    let is_younger = |it: &&Partner| it.trust != Trust::Unpaired && it.incarnation > met.incarnation;
    if let Some(before) = before.filter(is_younger) {
        let sentence = format!(
            "`{}` comes with incarnation {}, but had {}",
            met.name, met.incarnation, before.incarnation
        );
        return Err(Refusal::new("TRUST-003", sentence, "find out which of the two is alive"));
    }
    let is_partner = |it: &Partner| it.trust != Trust::Unpaired;
    let is_new = is_partner(met) && !before.is_some_and(is_partner);
    if is_new && known.iter().filter(|it| is_partner(it)).count() >= PARTNERS_MAX {
        let sentence = format!("this domain has {PARTNERS_MAX} partners already");
        return Err(Refusal::new("TRUST-001", sentence, "unpair one"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_survive_their_words() {
        let mut grants = Grants { recall: true, status: false, ..Grants::default() };
        grants.relay.insert(DomainId([7; 16]), None);
        grants.relay.insert(DomainId([8; 16]), Some([0xa5; 32]));
        let words = grants.to_words();
        assert_eq!(Grants::from_words(words.iter().map(String::as_str)), Some(grants));
        assert_eq!(Grants::from_words(["delete"]), None);
        for bad in ["relay(zz)", "relay(=00)", "relay(07070707-0707-0707-0707-070707070707=zz)"] {
            assert_eq!(Grants::from_words([bad]), None, "{bad}");
        }
    }
}
