//! Who may bring what: asks the control plane on behalf of a session.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use narrows_domain::job::JobKey;
use narrows_exchange::{
    Authority, CommitDraft, CommitFacts, Grant, Refusal, Sealed, Session, Store, StoreError,
};
use narrows_format::{DomainId, Fingerprint, ImageId, PoolId, Timestamp, node::Child, record::CopyState};
use narrows_pool::{Lease, Pool, images::ImageEntry};
use narrows_ring::world::Local;
use narrows_transport::Principal;
use narrows_wire::{Begin, Purpose};
use tokio::sync::oneshot;

use super::{
    core::Core,
    pool_store::{PoolStore, committed_meanwhile, other_content, store_error},
    present_store::PresentStore,
    sessions::Told,
};
use crate::pace::Pace;

/// What was allowed to a session, and stands for it when it commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// A client's backup.
    Backup {
        /// The image.
        image: ImageId,
        /// Which attempt.
        attempt: u32,
        /// Expiry, lock and hold to commit with.
        copy: CopyState,
        /// The pool that it goes to.
        pool: PoolId,
    },
    /// A partner's replication.
    Replica {
        /// The image.
        image: ImageId,
        /// The partner.
        sender: DomainId,
        /// The pool that it goes to.
        pool: PoolId,
    },
    /// A copy from another pool of this domain.
    Duplicate {
        /// The image.
        image: ImageId,
        /// Expiry, lock and hold to commit with.
        copy: CopyState,
        /// The pool that it goes to.
        pool: PoolId,
    },
}

impl Admission {
    /// The pool that the image goes to.
    pub const fn pool(&self) -> PoolId {
        match self {
            Self::Backup { pool, .. } | Self::Replica { pool, .. } | Self::Duplicate { pool, .. } => *pool,
        }
    }

    /// The domain that sends it, if it is another one.
    const fn sender(&self) -> Option<DomainId> {
        match self {
            Self::Replica { sender, .. } => Some(*sender),
            Self::Backup { .. } | Self::Duplicate { .. } => None,
        }
    }
}

/// What a data thread asks the control plane, or tells it.
pub enum Question {
    /// May this principal bring this image?
    Begin {
        /// From its certificate.
        principal: Principal,
        /// What for.
        purpose: Purpose,
        /// From its hello.
        ticket: [u8; 32],
        /// Its clock minus ours in milliseconds, by its hello.
        skew_ms: i64,
        /// The image, its lineage, its base.
        begin: Box<Begin>,
        /// The answer.
        reply: oneshot::Sender<Result<Admission, Refusal>>,
    },
    /// What is to be committed?
    Seal {
        /// What was allowed.
        admission: Admission,
        /// What the source says.
        facts: CommitFacts,
        /// The copy that it asks for.
        copy: CopyState,
        /// The SLP that is to import it, or empty.
        import_slp: String,
        /// The encoded signed record and the copy's state.
        reply: oneshot::Sender<Result<(Vec<u8>, CopyState), Refusal>>,
    },
    /// May this principal take this image?
    Take {
        /// From its certificate.
        principal: Principal,
        /// From its hello.
        ticket: [u8; 32],
        /// The image.
        image: ImageId,
        /// Where it begins.
        reply: oneshot::Sender<Result<Loan, Refusal>>,
    },
    /// A session ended without a commit.
    Ended {
        /// What was allowed.
        admission: Admission,
        /// Its code, or empty.
        code: String,
        /// Why.
        sentence: String,
    },
    /// What came of a session, for its job.
    Told(Told),
    /// A partner sent an image that was here already, and is told so when this is answered.
    Again(Box<Again>, oneshot::Sender<Result<(), Refusal>>),
}

/// An image that may be taken.
#[derive(Clone)]
pub struct Loan {
    /// Its root node.
    pub root: Child,
    /// Its lineage.
    pub lineage: [u8; 32],
    /// The pool that it is read from.
    pub pool: PoolId,
    /// The job that stands for the restore; none when a pool takes what it lacks.
    pub job: Option<JobKey>,
    /// The partner that takes what it lacks.
    pub asker: Option<DomainId>,
    /// How fast.
    pub pace: Option<Arc<Pace>>,
}

/// An image that was sent though it was here.
#[derive(Clone, Debug)]
pub struct Again {
    /// The partner that sent it now.
    pub sender: DomainId,
    /// The pool that it is in.
    pub pool: PoolId,
    /// That pool's incarnation.
    pub incarnation: u64,
    /// The image as the log has it.
    pub entry: Arc<ImageEntry>,
    /// The SLP that is to import it, or empty.
    pub import_slp: String,
    /// The expiry that is asked for now.
    pub asked_expiry: Option<Timestamp>,
}

/// Where the session's image goes.
enum Bringing {
    /// Into the pool.
    New(Rc<PoolStore>),
    /// Nowhere: it was there when the session began.
    Present(Rc<PresentStore>),
}

/// The authority of one session.
pub struct Gate {
    core: Rc<Core>,
    admission: RefCell<Option<Admission>>,
    bringing: RefCell<Option<Bringing>>,
    /// From before the base was looked at, as long as the session lives.
    lease: RefCell<Option<Lease>>,
    asked: RefCell<(String, Option<Timestamp>)>,
    /// By this it is told that the backup was given up.
    given_up: RefCell<Option<oneshot::Receiver<()>>>,
}

impl Gate {
    /// For a session of this core.
    pub fn new(core: Rc<Core>) -> Self {
        let (admission, bringing) = (RefCell::default(), RefCell::default());
        let (lease, asked, given_up) = (RefCell::default(), RefCell::default(), RefCell::default());
        Self { core, admission, bringing, lease, asked, given_up }
    }

    /// What was allowed, if anything was.
    pub fn admission(&self) -> Option<Admission> {
        self.admission.borrow().clone()
    }

    /// What the control plane has to hear when the image had been here before the session's commit.
    fn again(&self) -> Option<Again> {
        let Some(Admission::Replica { sender, pool, .. }) = self.admission() else { return None };
        let entry = match self.bringing.borrow().as_ref()? {
            Bringing::New(store) => store.found(),
            Bringing::Present(store) => store.found(),
        }?;
        let (import_slp, asked_expiry) = self.asked.borrow().clone();
        let (pool, incarnation) = self.core.pool(pool).ok()?.identity();
        Some(Again { sender, pool, incarnation, entry, import_slp, asked_expiry })
    }

    async fn ask<T>(
        &self,
        make: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Question,
    ) -> Result<T, Refusal> {
        ask(&self.core, make).await
    }

    async fn store(
        &self,
        pool: &Pool,
        admission: &Admission,
        begin: &Begin,
    ) -> Result<(Rc<dyn Store>, u64), Refusal> {
        let (image, sender) = (begin.image, admission.sender());
        let present = pool.image(image).await.map_err(|error| refused(&error))?;
        if let Some(entry) = present {
            if matches!(admission, Admission::Backup { .. }) {
                return Err(refusal(committed_meanwhile(image)));
            }
            if !is_same(&entry, begin) {
                return Err(refusal(other_content(image)));
            }
            if !pool.quarantine().is_empty() {
                // It may lack something that this session brings.
                return self.new_store(pool, image, sender).await;
            }
            let store = Rc::new(PresentStore::new(pool.clone(), entry));
            *self.bringing.borrow_mut() = Some(Bringing::Present(Rc::clone(&store)));
            return Ok((store, 0));
        }
        self.new_store(pool, image, sender).await
    }

    async fn new_store(
        &self,
        pool: &Pool,
        image: ImageId,
        sender: Option<DomainId>,
    ) -> Result<(Rc<dyn Store>, u64), Refusal> {
        let ingest = pool.ingest(image).await.map_err(|error| refused(&error))?;
        let staged = ingest.staged_bytes();
        let store = Rc::new(PoolStore::new(pool.clone(), ingest, sender));
        *self.bringing.borrow_mut() = Some(Bringing::New(Rc::clone(&store)));
        Ok((store, staged))
    }
}

/// Whether the pool has this base.
async fn has_base(pool: &Pool, base: &narrows_wire::Base, lineage: &[u8; 32]) -> Result<bool, Refusal> {
    let entry = pool.image(base.image).await.map_err(|error| refused(&error))?;
    let is_it = entry.is_some_and(|entry| {
        let record = &entry.record.record;
        record.root == base.root && record.lineage == *lineage
    });
    // What lies above damage is no base: all below it would count as being here.
    Ok(is_it && pool.is_sound(base.root).await.map_err(|error| refused(&error))?)
}

/// Whether what is brought is, by what was begun with, the image that is here.
fn is_same(entry: &ImageEntry, begin: &Begin) -> bool {
    let record = &entry.record.record;
    let same_root = |root: &Child| (root.fingerprint, root.length) == (record.root, record.root_length);
    record.origin == begin.origin && begin.root.as_ref().is_none_or(|(root, _)| same_root(root))
}

/// Asks the control plane and waits.
pub(super) async fn ask<T>(
    core: &Core,
    make: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Question,
) -> Result<T, Refusal> {
    let stopping = || Refusal::new("NET-003", "the server is stopping");
    let (reply, answer) = oneshot::channel();
    core.ask.send(make(reply)).await.map_err(|_| stopping())?;
    answer.await.map_err(|_| stopping())?
}

pub(super) fn refused(error: &narrows_pool::Error) -> Refusal {
    refusal(store_error(error))
}

fn refusal(error: StoreError) -> Refusal {
    Refusal::new(error.code, error.sentence)
}

fn root_of(facts: &CommitFacts) -> Result<Fingerprint, Refusal> {
    match facts {
        CommitFacts::Draft(draft) => Ok(draft.root),
        CommitFacts::Signed(bytes) => narrows_format::record::SignedRecord::decode(bytes)
            .map(|signed| signed.record.root)
            .map_err(|bad| Refusal::new("WIRE-002", bad.to_string())),
    }
}

impl Authority for Gate {
    fn begin<'a>(&'a self, session: &'a Session, begin: &'a Begin) -> Local<'a, Result<Grant, Refusal>> {
        Box::pin(async move {
            let nameless = || Refusal::new("AUTH-001", "a certificate is needed");
            let principal = session.principal().cloned().ok_or_else(nameless)?;
            let (purpose, ticket) = (session.purpose, session.peer.ticket);
            let skew_ms = crate::time::millis_between(session.our_clock, session.peer.clock);
            let begin_box = Box::new(*begin);
            if purpose == Purpose::Backup {
                // Before it is asked for: what is given up meanwhile is heard all the same.
                self.given_up.replace(Some(self.core.given_up(begin.image)));
            }
            let admission = self
                .ask(|reply| Question::Begin { principal, purpose, ticket, skew_ms, begin: begin_box, reply })
                .await?;
            *self.admission.borrow_mut() = Some(admission.clone());
            let pool = self.core.pool(admission.pool()).map_err(|error| refused(&error))?;
            // Before anything is said to be here.
            *self.lease.borrow_mut() = Some(pool.lease());
            let base_accepted = match &begin.base {
                Some(base) => has_base(&pool, base, &begin.lineage).await?,
                None => false,
            };
            let (store, staged_bytes) = self.store(&pool, &admission, begin).await?;
            Ok(Grant { store, base_accepted, staged_bytes })
        })
    }

    fn seal<'a>(&'a self, _session: &'a Session, draft: CommitDraft) -> Local<'a, Result<Sealed, Refusal>> {
        Box::pin(async move {
            let admission =
                self.admission().ok_or_else(|| Refusal::new("WIRE-002", "commit before begin"))?;
            let root = root_of(&draft.facts)?;
            let (facts, copy, import_slp) = (draft.facts, draft.copy, draft.import_slp);
            let asked_expiry = copy.expires;
            *self.asked.borrow_mut() = (import_slp.clone(), asked_expiry);
            let named = import_slp.clone();
            let (record, copy) =
                self.ask(|reply| Question::Seal { admission, facts, copy, import_slp: named, reply }).await?;
            Ok(Sealed { record, copy, root, import_slp, asked_expiry })
        })
    }

    fn taken_back(&self) -> Local<'_, Refusal> {
        let told = self.given_up.take();
        Box::pin(async move {
            if let Some(told) = told
                && told.await.is_ok()
            {
                return Refusal::new("API-003", "this backup was cancelled while it was under way");
            }
            std::future::pending().await
        })
    }

    /// The log has the image already and keeps nothing of this session: what it asks for is in the catalog before the
    /// sender hears that it is here.
    fn committed(&self) -> Local<'_, Result<(), Refusal>> {
        Box::pin(async move {
            match self.again() {
                Some(again) => self.ask(|reply| Question::Again(Box::new(again), reply)).await,
                None => Ok(()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use narrows_format::{
        Sequence,
        node::ChildKind,
        record::{ImageRecord, SignedRecord},
    };
    use narrows_wire::TagPrefix;

    use super::*;

    fn entry(root: Fingerprint, root_length: u32) -> ImageEntry {
        let sample = ImageRecord::sample(ImageId([1; 16]), root, root_length);
        let record = ImageRecord { origin: DomainId([2; 16]), ..sample };
        let record = SignedRecord { record, signature: [0; 64] };
        ImageEntry {
            sequence: Sequence(1),
            record_bytes: record.encode(),
            record,
            copy: CopyState { expires: None, locked_until: None, held: false },
            sender: None,
            target_slp: String::new(),
            asked_expiry: None,
            stored_bytes: 1,
            discarded: None,
        }
    }

    /// Goal: another image under the same identity is told from the same one sent again, before anything is asked for.
    #[test]
    fn the_same_identity_with_other_content() {
        let root = Child { fingerprint: Fingerprint([5; 32]), kind: ChildKind::Node, length: 100 };
        let entry = entry(root.fingerprint, root.length);
        let begin = |root: Child, origin| Begin {
            image: entry.image(),
            origin: DomainId([origin; 16]),
            lineage: [4; 32],
            base: None,
            root: Some((root, TagPrefix::from(narrows_format::Tag([6; 16])))),
            resume: true,
        };
        assert!(is_same(&entry, &begin(root, 2)));
        assert!(!is_same(&entry, &begin(root, 7)), "of another domain");
        let other = Child { fingerprint: Fingerprint([8; 32]), ..root };
        assert!(!is_same(&entry, &begin(other, 2)), "with another root");
        assert!(
            !is_same(&entry, &begin(Child { length: 101, ..root }, 2)),
            "with another length of its root"
        );
    }
}
