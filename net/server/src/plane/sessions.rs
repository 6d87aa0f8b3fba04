//! Incoming data sessions: accept, authenticate, and serve what they are for.
//!
//! Guarantee: their number is bounded; a session without a certificate that is believed does not come to be.
//! Each core listens on the same port; the kernel spreads connections over them.

use std::{cell::RefCell, io, net::SocketAddr, os::fd::OwnedFd, rc::Rc, sync::Arc};

use narrows_domain::job::JobKey;
use narrows_exchange::{
    ExchangeError, HelloFacts, Refusal, Session, TreeChild,
    hello::{Side, greet},
    incoming::{self, Received},
    outgoing::Sent,
    restore::{self, Librarian, Volume},
};
use narrows_format::{DomainId, ImageId, Location, PoolId, Sequence};
use narrows_ring::world::{Listener, Local, Stream};
use narrows_transport::{Link, Principal, Security, limits::RECEIVE_BYTES};
use narrows_wire::{Pull, Purpose};

use super::{
    Question,
    core::Core,
    gate::{Admission, Gate, ask, refused},
    pool_tree::ImageTree,
};
use crate::limits::{ACCEPT_PAUSE, SESSIONS_PER_CORE_MAX};

/// What came of a session, for its job.
pub enum Told {
    /// What a partner's session that ended with a commit brought.
    Received {
        /// The image.
        image: ImageId,
        /// The partner.
        sender: DomainId,
        /// The pool that took it.
        pool: PoolId,
        /// Place of the image in the log.
        sequence: Sequence,
        /// As counted here.
        received: Received,
    },
    /// A session that brought anything else ended with a commit: the pool's log tells of it.
    Left(Admission),
    /// The session of a restore ended.
    Restored {
        /// Its job.
        job: JobKey,
        /// What was sent; or code, perhaps empty, and sentence.
        outcome: Result<Sent, (String, String)>,
    },
}

/// Listens on the data port.
pub(super) async fn listen(core: &Core, on: SocketAddr) -> io::Result<Rc<dyn Listener>> {
    core.world.net.listen(on).await
}

/// Accepts for ever; ends when its task is dropped.
pub(super) async fn accept(core: Rc<Core>, listener: Rc<dyn Listener>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let core = Rc::clone(&core);
                let world = core.world.clone();
                world.spawn(async move { one(&core, stream, (&peer.to_string(), None)).await }).detach();
            }
            Err(error) => {
                tracing::warn!(%error, "a data session could not be accepted");
                core.world.clock.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A connection that was made from here, for the partner to begin a session by it.
pub(super) async fn serve(core: &Rc<Core>, partner: DomainId, socket: OwnedFd) {
    match core.world.net.adopt(socket).await {
        Ok(stream) => one(core, stream, ("parked", Some(partner))).await,
        Err(error) => tracing::warn!(%error, "a parked connection could not be taken over"),
    }
}

/// One session, if there is room for it; of nobody but that partner if one is given.
async fn one(core: &Rc<Core>, stream: Rc<dyn Stream>, (peer, only): (&str, Option<DomainId>)) {
    let most = sessions_of(core.world.arena.total());
    if core.sessions.get() >= most {
        tracing::warn!("a data session was refused: there are {most} on this core");
        return stream.shut_down().await;
    }
    core.sessions.set(core.sessions.get() + 1);
    if let Err(error) = session(core, stream, only).await {
        tracing::info!(peer, code = error.code().unwrap_or("-"), %error, "a data session ended");
    }
    core.sessions.set(core.sessions.get() - 1);
}

/// Each link holds a buffer, idle or not: all together a quarter of the arena, so that one is left for sends beside what is read.
fn sessions_of(arena_bytes: usize) -> usize {
    (arena_bytes / 4 / RECEIVE_BYTES).clamp(1, SESSIONS_PER_CORE_MAX)
}

async fn session(
    core: &Rc<Core>,
    stream: Rc<dyn Stream>,
    only: Option<DomainId>,
) -> Result<(), ExchangeError> {
    let security = Security::Accept { config: Arc::clone(&core.tls), trust: Arc::clone(&core.trust) };
    let link = Link::accept(&core.world, stream, security).await?;
    if only.is_some() && link.principal().map(Principal::domain) != only {
        tracing::warn!(partner = ?only, "somebody else came by a data connection that was parked there");
        return Ok(());
    }
    // Which pool it is about is said by what it is allowed, later.
    let session = greet(link, Side::Accepted, &facts(core, Purpose::Backup, core.who.pool)).await?;
    match session.purpose {
        Purpose::Backup | Purpose::Replicate => bring(core, &session).await,
        Purpose::Restore => {
            let shelf = Shelf { core: Rc::clone(core), lent: RefCell::default() };
            let outcome = restore::serve(session, &shelf).await;
            if let Some(job) = shelf.lent.take() {
                let outcome = outcome.as_ref().map(|sent| *sent).map_err(failing);
                drop(core.ask.send(Question::Told(Told::Restored { job, outcome })).await);
            }
            outcome.map(drop)
        }
    }
}

/// What we say of ourselves, and of the pool that the session is about.
pub(super) fn facts(core: &Core, purpose: Purpose, pool: PoolId) -> HelloFacts {
    let incarnation = core.pool(pool).map_or(0, |pool| pool.identity().1);
    let usual = HelloFacts::new(purpose, core.who.domain, pool);
    HelloFacts { incarnation, window: core.window_bytes, versions: core.wire_versions, ..usual }
}

async fn bring(core: &Rc<Core>, session: &Session) -> Result<(), ExchangeError> {
    let gate = Gate::new(Rc::clone(core));
    let outcome = incoming::serve(session, &gate).await;
    let word = match (&outcome, gate.admission()) {
        (Ok(taken), Some(admission)) => {
            let received = taken.received;
            tracing::info!(
                image = %taken.begin.image,
                wire_bytes = received.wire_bytes,
                data_bytes = received.data_bytes,
                again_bytes = received.again_bytes,
                stored_bytes = taken.stored.stored_bytes,
                "an image was committed"
            );
            let told = match admission {
                Admission::Replica { image, sender, pool } => {
                    let sequence = taken.stored.sequence;
                    Told::Received { image, sender, pool, sequence, received }
                }
                other => Told::Left(other),
            };
            drop(core.ask.send(Question::Told(told)).await);
            None
        }
        (Err(error), Some(admission)) => {
            let said = failing(error);
            Some(Question::Ended { admission, code: said.0, sentence: said.1 })
        }
        (_, None) => None,
    };
    if let Some(word) = word {
        // The control plane has gone: the next start finds out by itself.
        drop(core.ask.send(word).await);
    }
    outcome.map(drop)
}

fn failing(error: &ExchangeError) -> (String, String) {
    (error.code().unwrap_or_default().to_owned(), error.to_string())
}

/// Gives out images to whom the control plane allows it.
struct Shelf {
    core: Rc<Core>,
    lent: RefCell<Option<JobKey>>,
}

impl Librarian for Shelf {
    fn open<'a>(&'a self, session: &'a Session, pull: &'a Pull) -> Local<'a, Result<Volume, Refusal>> {
        Box::pin(async move {
            let nameless = || Refusal::new("AUTH-001", "a certificate is needed");
            let principal = session.principal().cloned().ok_or_else(nameless)?;
            let (ticket, image) = (session.peer.ticket, pull.image);
            let loan = ask(&self.core, |reply| Question::Take { principal, ticket, image, reply }).await?;
            self.lent.borrow_mut().clone_from(&loan.job);
            let pool = self.core.pool(loan.pool).map_err(|error| refused(&error))?;
            let tree = ImageTree::new(pool.clone(), None);
            let tree = Rc::new(match loan.pace {
                Some(pace) => tree.at_pace(pace, Rc::clone(&self.core.world.clock)),
                None => tree,
            });
            // An image whose record in the log is damaged is not there, whatever else remembers it.
            pool.committed(image).await.map_err(|error| refused(&error))?;
            let root = TreeChild { child: loan.root, hint: Location::UNKNOWN };
            Ok(Volume { tree, root, lineage: loan.lineage })
        })
    }
}
