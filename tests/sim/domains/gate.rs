//! Incoming sessions: who may come in, and what is committed, is for the server's `Primary` to say.
//!
//! As in the server, with two differences: who somebody is stands in the hello, since the link is plain; and a
//! client brings its record ready made.

use std::{cell::RefCell, rc::Rc};

use narrows_domain::{
    Event, ImportKey,
    event::{Logged, PoolEvent},
    import::{Arrival, Proof},
    job::Counters,
    retry::{Failure, Side as At},
};
use narrows_exchange::{
    Authority, Begin, CommitDraft, CommitFacts, ExchangeError, Grant, HelloFacts, Purpose, Refusal, Sealed,
    Session, Store, greet,
    hello::Side,
    incoming::{self, Taken},
};
use narrows_format::{
    DomainId, ImageId, Timestamp,
    record::{CopyState, SignedRecord},
};
use narrows_pool::{Lease, Pool};
use narrows_ring::world::{Listener, Local, Stream, World};
use narrows_server::plane::{
    gate::Admission,
    pool_store::{PoolStore, store_error},
    present_store::PresentStore,
};
use narrows_transport::{Link, Security};

use super::{
    desk::{NotDone, ready},
    policies::{domain_id, pool_id},
    server::{Running, Server},
};

pub(super) async fn accept(
    server: Rc<Server>,
    running: Rc<Running>,
    core: usize,
    listener: Rc<dyn Listener>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (server, running) = (server.clone(), running.clone());
        let world = running.worlds[core].clone();
        // How it ended was told to the domain; a session that did not begin is the other side's matter.
        let serving = async move { drop(serve(&server, &running, core, stream).await) };
        world.spawn(serving).detach();
    }
}

/// What a server says of itself.
pub(super) fn facts(at: usize, running: &Running, purpose: Purpose) -> HelloFacts {
    let (pool, incarnation) = running.pools[0].identity();
    HelloFacts { incarnation, ..HelloFacts::new(purpose, domain_id(at), pool) }
}

async fn serve(
    server: &Rc<Server>,
    running: &Rc<Running>,
    core: usize,
    stream: Rc<dyn Stream>,
) -> Result<(), ExchangeError> {
    let world: &World = &running.worlds[core];
    let link = Link::accept(world, stream, Security::Plaintext).await?;
    let session = greet(link, Side::Accepted, &facts(server.at, running, Purpose::Backup)).await?;
    let gate = Gate {
        server: server.clone(),
        running: running.clone(),
        pool: running.pools[core].clone(),
        admission: RefCell::default(),
        bringing: RefCell::default(),
        lease: RefCell::default(),
        asked: RefCell::default(),
    };
    let outcome = incoming::serve(&session, &gate).await;
    let Some(admission) = gate.admission.borrow().clone() else { return outcome.map(drop) };
    match &outcome {
        Ok(taken) => gate.taken(&admission, taken),
        Err(error) => gate.ended(&admission, error),
    }
    outcome.map(drop)
}

enum Bringing {
    New(Rc<PoolStore>),
    Present(Rc<PresentStore>),
}

/// The authority of one session.
struct Gate {
    server: Rc<Server>,
    running: Rc<Running>,
    pool: Pool,
    admission: RefCell<Option<Admission>>,
    bringing: RefCell<Option<Bringing>>,
    lease: RefCell<Option<Lease>>,
    asked: RefCell<(String, Option<Timestamp>)>,
}

fn refused(why: NotDone) -> Refusal {
    match why {
        NotDone::Refused(refusal) => Refusal::new(refusal.code, refusal.sentence),
        NotDone::Off | NotDone::ReadFrom(_) => Refusal::new("NET-003", "the server is stopping"),
    }
}

fn pool_refused(error: &narrows_pool::Error) -> Refusal {
    let error = store_error(error);
    Refusal::new(error.code, error.sentence)
}

impl Gate {
    fn admit(&self, session: &Session, begin: &Begin) -> Result<Admission, Refusal> {
        let (image, sender, pool) = (begin.image, session.peer.domain, pool_id(self.server.at));
        if session.purpose == Purpose::Backup {
            let ticket = self.running.tickets.borrow_mut().remove(&image);
            let (attempt, copy) = ticket.ok_or_else(|| Refusal::new("AUTH-004", "no ticket"))?;
            return Ok(Admission::Backup { image, attempt, copy, pool });
        }
        let may_come = self.server.order(|primary, moment| {
            let whose = (image, begin.origin);
            Ok((ready(primary.begin_receiving(sender, whose, None, moment.now))?, Vec::new()))
        });
        let (_, pool) = may_come.map_err(refused)?;
        Ok(Admission::Replica { image, sender, pool })
    }

    async fn store(&self, sender: Option<DomainId>, begin: &Begin) -> Result<(Rc<dyn Store>, u64), Refusal> {
        let present = self.pool.image(begin.image).await.map_err(|error| pool_refused(&error))?;
        if let Some(entry) = present {
            if sender.is_none() {
                return Err(Refusal::new("NET-003", "it was committed meanwhile"));
            }
            let store = Rc::new(PresentStore::new(self.pool.clone(), entry));
            *self.bringing.borrow_mut() = Some(Bringing::Present(store.clone()));
            return Ok((store, 0));
        }
        let ingest = self.pool.ingest(begin.image).await.map_err(|error| pool_refused(&error))?;
        let staged = ingest.staged_bytes();
        let store = Rc::new(PoolStore::new(self.pool.clone(), ingest, sender));
        *self.bringing.borrow_mut() = Some(Bringing::New(store.clone()));
        Ok((store, staged))
    }

    /// A replica's expiry is the receiver's to say.
    fn admit_arrival(&self, arrival: &Arrival) -> Result<CopyState, Refusal> {
        let pool = pool_id(self.server.at);
        let admitted = self
            .server
            .order(|primary, moment| Ok((ready(primary.admit(pool, arrival, moment))?, Vec::new())));
        admitted.map_err(refused)
    }

    fn taken(&self, admission: &Admission, taken: &Taken) {
        let Admission::Replica { image, sender, .. } = *admission else { return };
        self.end_receiving(sender, image);
        let received = taken.received;
        if received.again_bytes > 0 {
            self.server.complain(&format!("{} bytes of {image} came again", received.again_bytes));
        }
        let counters = Counters {
            wire_bytes: received.wire_bytes,
            data_bytes: received.data_bytes,
            resent_bytes: received.again_bytes,
            ..Counters::default()
        };
        let import = ImportKey { pool: pool_id(self.server.at), sequence: taken.stored.sequence, sender };
        self.server.tell(Event::Received { import, image, counters });
        self.tell_again(sender);
    }

    /// The pool logs nothing anew: what is known of the commit is told with what the sender asks now.
    fn tell_again(&self, sender: DomainId) {
        let found = match self.bringing.borrow().as_ref() {
            Some(Bringing::New(store)) => store.found(),
            Some(Bringing::Present(store)) => store.found(),
            None => None,
        };
        let Some(entry) = found else { return };
        self.server.tale.arrived_again.up();
        let (import_slp, asked_expiry) = self.asked.borrow().clone();
        let arrival = Arrival {
            record: entry.record.record.clone(),
            signed: entry.record_bytes.clone(),
            proof: Proof::Good,
            sender,
            import_slp: Some(import_slp).filter(|slp| !slp.is_empty()),
            asked_expiry,
        };
        let logged = Logged::Arrival { arrival, copy: entry.copy, stored_bytes: entry.stored_bytes };
        let (pool, incarnation) = self.pool.identity();
        let event = PoolEvent { pool, incarnation, sequence: entry.sequence, logged };
        self.server.tell(Event::ArrivedAgain(event));
    }

    fn ended(&self, admission: &Admission, error: &ExchangeError) {
        match *admission {
            Admission::Replica { image, sender, .. } => self.end_receiving(sender, image),
            Admission::Duplicate { .. } => {}
            Admission::Backup { image, attempt, .. } => {
                let failure = match error.code() {
                    None => Failure::interrupted(error.to_string()),
                    Some(code) => Failure::coded(code, At::Target, error.to_string()),
                };
                self.server.tell(Event::BackupInterrupted { image, attempt, failure });
            }
        }
    }

    fn end_receiving(&self, sender: DomainId, image: ImageId) {
        // A server that is failing forgets who was there anyway.
        drop(
            self.server
                .order(|primary, moment| Ok(((), ready(primary.end_receiving(sender, image, moment))?))),
        );
    }
}

impl Authority for Gate {
    fn begin<'a>(&'a self, session: &'a Session, begin: &'a Begin) -> Local<'a, Result<Grant, Refusal>> {
        Box::pin(async move {
            let admission = self.admit(session, begin)?;
            *self.admission.borrow_mut() = Some(admission.clone());
            *self.lease.borrow_mut() = Some(self.pool.lease());
            let base_accepted = match begin.base {
                None => false,
                Some(base) => {
                    let entry = self.pool.image(base.image).await.map_err(|error| pool_refused(&error))?;
                    entry.is_some_and(|entry| {
                        let record = &entry.record.record;
                        record.root == base.root && record.lineage == begin.lineage
                    })
                }
            };
            let sender = match admission {
                Admission::Replica { sender, .. } => Some(sender),
                Admission::Backup { .. } | Admission::Duplicate { .. } => None,
            };
            let (store, staged_bytes) = self.store(sender, begin).await?;
            Ok(Grant { store, base_accepted, staged_bytes })
        })
    }

    fn seal<'a>(&'a self, _session: &'a Session, draft: CommitDraft) -> Local<'a, Result<Sealed, Refusal>> {
        Box::pin(async move {
            let CommitFacts::Signed(signed) = draft.facts else {
                return Err(Refusal::new("WIRE-002", "whole records are sent here"));
            };
            let decoded =
                SignedRecord::decode(&signed).map_err(|bad| Refusal::new("WIRE-002", bad.to_string()))?;
            let (record, root, asked_expiry) =
                (decoded.record.clone(), decoded.record.root, draft.copy.expires);
            *self.asked.borrow_mut() = (draft.import_slp.clone(), asked_expiry);
            let admission = self.admission.borrow().clone();
            let copy = match admission {
                None => return Err(Refusal::new("WIRE-002", "commit before begin")),
                Some(Admission::Backup { copy, .. } | Admission::Duplicate { copy, .. }) => copy,
                Some(Admission::Replica { image, sender, .. }) => {
                    let import_slp = Some(draft.import_slp.clone()).filter(|slp| !slp.is_empty());
                    let (signed, proof) = (signed.clone(), Proof::Good);
                    let arrival = Arrival { record, signed, proof, sender, import_slp, asked_expiry };
                    let copy = self.admit_arrival(&arrival)?;
                    self.server.tale.sealed.borrow_mut().insert((self.server.at, image));
                    copy
                }
            };
            Ok(Sealed { record: signed, copy, root, import_slp: draft.import_slp, asked_expiry })
        })
    }
}
