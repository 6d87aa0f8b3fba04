//! Restore: the side that dialled is the target, the other one the source.
//!
//! The same messages as a backup the other way round, without possession and without a commit. The sink's
//! [`Store`] says `Skip` to what it does not need; of the rest every reference is delivered once for each `Lack`.

use std::rc::Rc;

use narrows_format::node::Child;
use narrows_ring::world::Local;
use narrows_wire::{Begin, Message, Pull, TagPrefix};

use crate::{
    ExchangeError, Grant, Outgoing, PoolTree, Refusal, Session, Store, TreeChild,
    descend::{self, Showing},
    hello::{decode, say_why, send},
    incoming::{Ending, Incoming, Naming, Received, hear_begin},
    outgoing::Sent,
};

/// What a librarian gives out.
pub struct Volume {
    /// The image's tree.
    pub tree: Rc<dyn PoolTree>,
    /// Its root.
    pub root: TreeChild,
    /// The image's lineage.
    pub lineage: [u8; 32],
}

/// Who decides for the source of a restore.
pub trait Librarian {
    /// May this peer have this image (AIR-008)? `session` has its principal and ticket.
    fn open<'a>(&'a self, session: &'a Session, pull: &'a Pull) -> Local<'a, Result<Volume, Refusal>>;
}

/// Takes an image, or the parts of it that the store wants. When this ends well everything asked for was put and
/// synced. A source that names another root than `root` is refused; who gives none believes the source.
pub async fn pull(
    session: &Session,
    pull: &Pull,
    root: Option<Child>,
    store: Rc<dyn Store>,
) -> Result<Received, ExchangeError> {
    let outcome = pull_image(session, pull, root, store).await;
    match &outcome {
        Ok(_) => session.link.close().await,
        Err(error) => say_why(&session.link, error).await,
    }
    outcome
}

async fn pull_image(
    session: &Session,
    pull: &Pull,
    root: Option<Child>,
    store: Rc<dyn Store>,
) -> Result<Received, ExchangeError> {
    send(&session.link, &Message::Pull(*pull)).await?;
    let begin = hear_begin(session).await?;
    let (true, true, Some((named, _))) = (begin.image == pull.image, begin.origin == pull.origin, begin.root)
    else {
        return Err(ExchangeError::malformed("another image than was asked for"));
    };
    if root.is_some_and(|root| root != named) {
        return Err(ExchangeError::malformed("the image with another root than its record here names"));
    }
    let incoming = Incoming::new(session, Rc::clone(&store), Naming::TopDown);
    let grant = Grant { store: Rc::clone(&store), base_accepted: false, staged_bytes: 0 };
    incoming.answer_begin(&begin, &grant).await?;
    let Ending::Done = incoming.run().await? else {
        return Err(ExchangeError::malformed("a commit at the end of a restore"));
    };
    incoming.check_delivered()?;
    store.sync().await.map_err(ExchangeError::Store)?;
    send(&session.link, &Message::Bye).await?;
    Ok(incoming.received())
}

/// Gives an image to whoever dialled with the purpose of a restore.
pub async fn serve(session: Session, librarian: &dyn Librarian) -> Result<Sent, ExchangeError> {
    let (pull, volume) = match hear_pull(&session, librarian).await {
        Ok(heard) => heard,
        Err(error) => {
            say_why(&session.link, &error).await;
            return Err(error);
        }
    };
    let begin = Begin {
        image: pull.image,
        origin: pull.origin,
        lineage: volume.lineage,
        base: None,
        // A sink is shown no tags: what it is given it may have.
        root: Some((volume.root.child, TagPrefix([0; 8]))),
        resume: false,
    };
    let outgoing = Outgoing::begin(session, &begin).await?;
    let outcome = async {
        descend::send_tree(&outgoing, &*volume.tree, volume.root, Showing::Nothing).await?;
        outgoing.done().await
    }
    .await;
    if let Err(error) = outcome {
        outgoing.abort(&error).await;
        return Err(error);
    }
    let sent = outgoing.sent();
    outgoing.close().await;
    Ok(sent)
}

async fn hear_pull(session: &Session, librarian: &dyn Librarian) -> Result<(Pull, Volume), ExchangeError> {
    let bytes = session.link.receive().await?;
    let pull = match decode(&bytes)? {
        Message::Pull(pull) => pull,
        Message::Error { code, sentence } => {
            return Err(ExchangeError::RefusedByPeer(Refusal::new(code, sentence)));
        }
        _ => return Err(ExchangeError::malformed("the first message of a restore is not pull")),
    };
    let volume = librarian.open(session, &pull).await.map_err(ExchangeError::Refused)?;
    Ok((pull, volume))
}
