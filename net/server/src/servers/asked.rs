//! What a media server asks its primary on behalf of data sessions, and tells it of them.
//!
//! A session is named by what it was allowed: the primary remembers that ([`super::guests`]), so that nothing can be sealed
//! or ended that was not allowed to this media server.

use narrows_api::{
    ApiError, Hex,
    text::{by_text, by_text_option},
};
use narrows_domain::job::{Counters, JobKey};
use narrows_exchange::CommitFacts;
use narrows_format::{
    ClientId, DomainId, Fingerprint, ImageId, PoolId, ServerId, Timestamp,
    record::{CopyState, ImageFlags},
};
use narrows_transport::Principal;
use narrows_wire::{Draft, Purpose};
use serde::{Deserialize, Serialize};

use super::words::{Blob, CopyWord, EntryWord, RootWord, When};
use crate::plane::gate::{Admission, Loan};

/// Who a data session's peer is, as the media server has verified it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "role")]
pub enum PeerWord {
    /// A primary server.
    Server {
        /// Of this domain.
        #[serde(with = "by_text")]
        domain: DomainId,
    },
    /// A media server.
    Media {
        /// Of this domain.
        #[serde(with = "by_text")]
        domain: DomainId,
        /// Which.
        #[serde(with = "by_text")]
        server: ServerId,
    },
    /// A client.
    Client {
        /// Of this domain.
        #[serde(with = "by_text")]
        domain: DomainId,
        /// Which.
        #[serde(with = "by_text")]
        client: ClientId,
    },
    /// An administrator.
    Admin {
        /// Of this domain.
        #[serde(with = "by_text")]
        domain: DomainId,
        /// Login name.
        name: String,
    },
}

impl From<Principal> for PeerWord {
    fn from(principal: Principal) -> Self {
        match principal {
            Principal::Server { domain } => Self::Server { domain },
            Principal::Media { domain, server } => Self::Media { domain, server },
            Principal::Client { domain, client } => Self::Client { domain, client },
            Principal::Admin { domain, name } => Self::Admin { domain, name },
        }
    }
}

impl From<PeerWord> for Principal {
    fn from(word: PeerWord) -> Self {
        match word {
            PeerWord::Server { domain } => Self::Server { domain },
            PeerWord::Media { domain, server } => Self::Media { domain, server },
            PeerWord::Client { domain, client } => Self::Client { domain, client },
            PeerWord::Admin { domain, name } => Self::Admin { domain, name },
        }
    }
}

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PurposeWord {
    /// A client brings an image.
    Backup,
    /// A pool brings an image.
    Replicate,
    /// An image is taken.
    Restore,
}

impl From<Purpose> for PurposeWord {
    fn from(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Backup => Self::Backup,
            Purpose::Replicate => Self::Replicate,
            Purpose::Restore => Self::Restore,
        }
    }
}

impl From<PurposeWord> for Purpose {
    fn from(word: PurposeWord) -> Self {
        match word {
            PurposeWord::Backup => Self::Backup,
            PurposeWord::Replicate => Self::Replicate,
            PurposeWord::Restore => Self::Restore,
        }
    }
}

/// What a session was allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum AdmissionWord {
    /// A client's backup.
    Backup {
        /// The image.
        #[serde(with = "by_text")]
        image: ImageId,
        /// Which attempt.
        attempt: u32,
        /// Expiry, lock and hold.
        copy: CopyWord,
        /// Where it goes.
        #[serde(with = "by_text")]
        pool: PoolId,
    },
    /// A partner's replication.
    Replica {
        /// The image.
        #[serde(with = "by_text")]
        image: ImageId,
        /// The partner.
        #[serde(with = "by_text")]
        sender: DomainId,
        /// Where it goes.
        #[serde(with = "by_text")]
        pool: PoolId,
    },
    /// A copy from another pool of this domain.
    Duplicate {
        /// The image.
        #[serde(with = "by_text")]
        image: ImageId,
        /// Expiry, lock and hold.
        copy: CopyWord,
        /// Where it goes.
        #[serde(with = "by_text")]
        pool: PoolId,
    },
}

impl From<&Admission> for AdmissionWord {
    fn from(admission: &Admission) -> Self {
        match *admission {
            Admission::Backup { image, attempt, copy, pool } => {
                Self::Backup { image, attempt, copy: copy.into(), pool }
            }
            Admission::Replica { image, sender, pool } => Self::Replica { image, sender, pool },
            Admission::Duplicate { image, copy, pool } => Self::Duplicate { image, copy: copy.into(), pool },
        }
    }
}

impl From<AdmissionWord> for Admission {
    fn from(word: AdmissionWord) -> Self {
        match word {
            AdmissionWord::Backup { image, attempt, copy, pool } => {
                Self::Backup { image, attempt, copy: copy.into(), pool }
            }
            AdmissionWord::Replica { image, sender, pool } => Self::Replica { image, sender, pool },
            AdmissionWord::Duplicate { image, copy, pool } => {
                Self::Duplicate { image, copy: copy.into(), pool }
            }
        }
    }
}

/// What a source wants committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FactsWord {
    /// The signed record of a replica.
    Signed(Blob),
    /// What a client found: root, length of the root node, logical bytes, files, flags, format.
    Draft(Hex<32>, u32, u64, u64, FlagsWord, u16),
}

/// Facts about an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the flags of an image's record")]
pub struct FlagsWord {
    partial: bool,
    synthetic: bool,
    spans: bool,
    many_roots: bool,
}

impl From<CommitFacts> for FactsWord {
    fn from(facts: CommitFacts) -> Self {
        match facts {
            CommitFacts::Signed(bytes) => Self::Signed(Blob(bytes)),
            CommitFacts::Draft(draft) => {
                let Draft { root, root_length, logical_bytes, files, flags, image_format } = draft;
                let ImageFlags { partial, synthetic, spans, many_roots } = flags;
                let flags = FlagsWord { partial, synthetic, spans, many_roots };
                Self::Draft(Hex(root.0), root_length, logical_bytes, files, flags, image_format)
            }
        }
    }
}

impl From<FactsWord> for CommitFacts {
    fn from(word: FactsWord) -> Self {
        match word {
            FactsWord::Signed(bytes) => Self::Signed(bytes.0),
            FactsWord::Draft(root, root_length, logical_bytes, files, flags, image_format) => {
                let FlagsWord { partial, synthetic, spans, many_roots } = flags;
                let flags = ImageFlags { partial, synthetic, spans, many_roots };
                let root = Fingerprint(root.0);
                Self::Draft(Draft { root, root_length, logical_bytes, files, flags, image_format })
            }
        }
    }
}

/// What crossed in a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the unit stands last, as in every name of a quantity")]
pub struct CrossedWord {
    wire_bytes: u64,
    data_bytes: u64,
    resent_bytes: u64,
}

impl CrossedWord {
    /// All messages, data among them, and what was sent twice.
    pub const fn new(wire_bytes: u64, data_bytes: u64, resent_bytes: u64) -> Self {
        Self { wire_bytes, data_bytes, resent_bytes }
    }
}

impl From<CrossedWord> for Counters {
    fn from(word: CrossedWord) -> Self {
        let CrossedWord { wire_bytes, data_bytes, resent_bytes } = word;
        Self { wire_bytes, data_bytes, resent_bytes, ..Self::default() }
    }
}

/// A question, or a word that needs no answer but that it was heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "ask")]
pub enum Asked {
    /// A media server has started, and is reached there.
    Here {
        /// Base URL of its API.
        url: String,
        /// Host and port of its data plane.
        data_addr: String,
    },
    /// May this peer bring this image?
    Begin {
        /// From its certificate.
        peer: PeerWord,
        /// What for.
        purpose: PurposeWord,
        /// From its hello.
        ticket: Hex<32>,
        /// Its clock minus ours in milliseconds.
        skew_ms: i64,
        /// The image.
        #[serde(with = "by_text")]
        image: ImageId,
        /// The domain that made it.
        #[serde(with = "by_text")]
        origin: DomainId,
    },
    /// May this peer take this image?
    Take {
        /// From its certificate.
        peer: PeerWord,
        /// From its hello.
        ticket: Hex<32>,
        /// The image.
        #[serde(with = "by_text")]
        image: ImageId,
    },
    /// The answer to one of these two did not arrive: nobody comes.
    Forget {
        /// The ticket that was shown.
        ticket: Hex<32>,
        /// The image.
        #[serde(with = "by_text")]
        image: ImageId,
    },
    /// What is to be committed?
    Seal {
        /// What was allowed.
        admission: AdmissionWord,
        /// What the source says.
        facts: FactsWord,
        /// The copy that it asks for.
        copy: CopyWord,
        /// The SLP that is to import it, or empty.
        import_slp: String,
    },
    /// A session ended without a commit.
    Ended {
        /// What was allowed.
        admission: AdmissionWord,
        /// Its code, or empty.
        code: String,
        /// Why.
        sentence: String,
    },
    /// A session of a backup or a duplication ended with a commit: the log tells the rest.
    Left {
        /// What was allowed.
        admission: AdmissionWord,
    },
    /// A partner's session ended with a commit.
    Received {
        /// What was allowed.
        admission: AdmissionWord,
        /// Place of the image in the log.
        sequence: u64,
        /// What crossed.
        crossed: CrossedWord,
    },
    /// The session of a restore ended.
    Restored {
        /// Its job.
        job: String,
        /// What was sent.
        crossed: CrossedWord,
        /// Code, perhaps empty, and sentence, if it broke.
        broken: Option<(String, String)>,
    },
    /// A partner sent an image that was here already.
    Again {
        /// The partner.
        #[serde(with = "by_text")]
        sender: DomainId,
        /// The pool that it is in.
        #[serde(with = "by_text")]
        pool: PoolId,
        /// That pool's incarnation.
        incarnation: u64,
        /// The image as the log has it.
        entry: Box<EntryWord>,
        /// The SLP that is to import it, or empty.
        import_slp: String,
        /// The expiry that is asked for now.
        asked_expiry: Option<When>,
    },
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answered {
    /// It may be brought.
    Admitted(AdmissionWord),
    /// It may be taken.
    Lent(LoanWord),
    /// The record to commit, and the copy's state.
    Sealed(Blob, CopyWord),
    /// It was heard.
    Heard,
}

/// An image that may be taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoanWord {
    root: RootWord,
    lineage: Hex<32>,
    #[serde(with = "by_text")]
    pool: PoolId,
    /// Absent when a pool takes what it lacks.
    job: Option<String>,
    /// The partner that does.
    #[serde(with = "by_text_option")]
    asker: Option<DomainId>,
}

impl LoanWord {
    /// What a restore or a heal takes.
    pub fn new(loan: &Loan) -> Self {
        let job = loan.job.as_ref().map(|job| job.0.clone());
        let (root, lineage) = (loan.root.into(), Hex(loan.lineage));
        Self { root, lineage, pool: loan.pool, job, asker: loan.asker }
    }
}

impl From<LoanWord> for Loan {
    fn from(word: LoanWord) -> Self {
        let LoanWord { root, lineage, pool, job, asker } = word;
        let (job, pace) = (job.map(JobKey), None);
        Self { root: root.into(), lineage: lineage.0, pool, job, asker, pace }
    }
}

impl Answered {
    /// It may be brought.
    pub fn admitted(self) -> Result<Admission, ApiError> {
        match self {
            Self::Admitted(word) => Ok(word.into()),
            _ => Err(super::words::strange("an answer to another question")),
        }
    }

    /// It may be taken.
    pub fn lent(self) -> Result<Loan, ApiError> {
        match self {
            Self::Lent(word) => Ok(word.into()),
            _ => Err(super::words::strange("an answer to another question")),
        }
    }

    /// The record to commit.
    pub fn sealed(self) -> Result<(Vec<u8>, CopyState), ApiError> {
        match self {
            Self::Sealed(record, copy) => Ok((record.0, copy.into())),
            _ => Err(super::words::strange("an answer to another question")),
        }
    }
}

/// A time that may be absent.
pub fn when(time: Option<Timestamp>) -> Option<When> {
    time.map(When::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what was allowed is the same when it comes back, or it would not be found among the guests.
    #[test]
    fn an_admission_comes_back_as_it_went() {
        let copy =
            CopyState { expires: Some(Timestamp { seconds: 9, nanos: 7 }), locked_until: None, held: false };
        let (image, pool) = (ImageId([1; 16]), PoolId([2; 16]));
        for admission in [
            Admission::Backup { image, attempt: 3, copy, pool },
            Admission::Replica { image, sender: DomainId([4; 16]), pool },
            Admission::Duplicate { image, copy, pool },
        ] {
            let text = serde_json::to_string(&AdmissionWord::from(&admission)).unwrap();
            assert_eq!(Admission::from(serde_json::from_str::<AdmissionWord>(&text).unwrap()), admission);
        }
    }

    /// Goal: a question that is none is refused, whatever it is made of.
    #[test]
    fn nonsense_is_no_question() {
        for text in
            ["{}", "[]", "{\"ask\":\"begin\"}", "{\"ask\":\"admin\"}", "{\"ask\":\"left\",\"admission\":{}}"]
        {
            assert!(serde_json::from_str::<Asked>(text).is_err(), "{text}");
        }
        let strange = Answered::Heard;
        assert!(strange.clone().admitted().is_err() && strange.clone().lent().is_err());
        assert!(strange.sealed().is_err());
    }
}
