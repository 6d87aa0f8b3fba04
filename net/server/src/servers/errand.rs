//! One image that is to be sent: everything that the data plane of the server which has it needs to know.
//!
//! It is plain data, so that it can be carried out here or on a media server; what it is sent with (certificate, trust, rate)
//! is each server's own.

use std::sync::Arc;

use narrows_api::{Hex, text::by_text};
use narrows_domain::retry::{Failure, FailureKind, Side};
use narrows_format::{DomainId, ImageId, PoolId, Sequence, node::Child};
use serde::{Deserialize, Serialize};

use super::{
    destination::{Destination, Dialler},
    words::{Blob, CopyWord, RootWord},
};
use crate::{
    hands::ended,
    pace::{Allowance, Paces},
    plane::{Plane, Replicated, Replication},
};

/// The errand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errand {
    /// The image.
    #[serde(with = "by_text")]
    pub image: ImageId,
    /// The pool that it is read from.
    #[serde(with = "by_text")]
    pub pool: PoolId,
    /// The domain that made it.
    #[serde(with = "by_text")]
    pub origin: DomainId,
    /// Its lineage.
    pub lineage: Hex<32>,
    /// Its root node.
    pub root: RootWord,
    /// The encoded signed record.
    pub record: Blob,
    /// An image that the target has acknowledged, and its root node.
    pub base: Option<BaseWord>,
    /// It was tried before.
    pub resume: bool,
    /// What is asked for the copy over there.
    pub copy: CopyWord,
    /// The SLP that is to import it, or empty.
    pub import_slp: String,
    /// How fast.
    #[serde(flatten)]
    pub allowed: Allowance,
    /// Where to.
    pub target: Destination,
}

/// What both sides may take for granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseWord {
    /// The image.
    #[serde(with = "by_text")]
    pub image: ImageId,
    /// Its root node.
    pub root: RootWord,
}

/// What a server sends with.
pub struct Sender<'a> {
    /// Its data plane.
    pub plane: &'a Plane,
    /// How it dials.
    pub dialler: Dialler<'a>,
    /// How fast.
    pub paces: &'a Paces,
    /// Its domain: what goes there is not held back.
    pub own: DomainId,
}

impl Errand {
    /// Sends the image; dropping the future stops that.
    pub async fn carry_out(self, with: Sender<'_>) -> Result<Replicated, Failure> {
        let to = self.target.dial(with.dialler, Side::Target).await?;
        let domain = self.target.to;
        let pace = if domain == with.own { Arc::default() } else { with.paces.of(self.pool, domain) };
        pace.set(self.allowed);
        let replication = Replication {
            image: self.image,
            pool: self.pool,
            origin: self.origin,
            lineage: self.lineage.0,
            root: self.root.into(),
            record: self.record.0,
            base: self.base.map(|base| (base.image, Child::from(base.root))),
            resume: self.resume,
            copy: self.copy.into(),
            import_slp: self.import_slp,
            pace,
            ticket: self.target.ticket.0,
            to,
        };
        ended(with.plane.replicate(replication).await)
    }
}

/// How an errand ended, as a media server says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sent {
    /// It is durable there.
    Done(DoneWord),
    /// It stopped.
    Stopped(Stopped),
}

/// Why something stopped: what to do about it, code, sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped(String, String, String);

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self(failure.kind.as_str().to_owned(), failure.code, failure.sentence)
    }
}

impl From<Stopped> for Failure {
    fn from(Stopped(kind, code, sentence): Stopped) -> Self {
        // A word of a newer server is taken for a break: it is tried again.
        let kind = FailureKind::ALL.iter().copied().find(|it| it.as_str() == kind);
        Self { kind: kind.unwrap_or(FailureKind::Interrupted), code, sentence }
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoneWord {
    sequence: u64,
    #[serde(with = "by_text")]
    pool: PoolId,
    incarnation: u64,
    stored_bytes: u64,
    wire_bytes: u64,
    data_bytes: u64,
    resent_bytes: u64,
    skew_ms: i64,
}

impl From<Result<Replicated, Failure>> for Sent {
    fn from(outcome: Result<Replicated, Failure>) -> Self {
        match outcome {
            Ok(done) => Self::Done(DoneWord {
                sequence: done.sequence.0,
                pool: done.pool,
                incarnation: done.incarnation,
                stored_bytes: done.stored_bytes,
                wire_bytes: done.wire_bytes,
                data_bytes: done.data_bytes,
                resent_bytes: done.resent_bytes,
                skew_ms: done.skew_ms,
            }),
            Err(failure) => Self::Stopped(failure.into()),
        }
    }
}

impl From<Sent> for Result<Replicated, Failure> {
    fn from(sent: Sent) -> Self {
        match sent {
            Sent::Done(word) => Ok(Replicated {
                sequence: Sequence(word.sequence),
                pool: word.pool,
                incarnation: word.incarnation,
                stored_bytes: word.stored_bytes,
                wire_bytes: word.wire_bytes,
                data_bytes: word.data_bytes,
                resent_bytes: word.resent_bytes,
                skew_ms: word.skew_ms,
            }),
            Sent::Stopped(stopped) => Err(stopped.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what went wrong means the same on the primary, so that it waits for the same.
    #[test]
    fn every_failure_keeps_its_kind() {
        for kind in FailureKind::ALL {
            let failure = Failure { kind: *kind, code: "POOL-002".into(), sentence: "full".into() };
            let text = serde_json::to_string(&Sent::from(Err(failure.clone()))).unwrap();
            let back: Result<Replicated, Failure> = serde_json::from_str::<Sent>(&text).unwrap().into();
            assert_eq!(back, Err(failure));
        }
        let odd = Sent::Stopped(Stopped("odd".into(), String::new(), String::new()));
        let back: Result<Replicated, Failure> = odd.into();
        assert_eq!(back.unwrap_err().kind, FailureKind::Interrupted);
    }
}
