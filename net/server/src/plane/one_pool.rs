//! Orders to one pool, whichever core carries them out, or the media server that has it.

use std::{pin::pin, sync::Arc};

use futures_util::future::{Either, select};
use narrows_api::{
    finding::{DiffPage, FindPage},
    images::BrowsePage,
};
use narrows_format::{ContainerId, ImageId, PoolId, Sequence, node::Child, record::CopyState};
use narrows_pool::{
    Error, Pool, PoolSpace, Verified, images,
    scrub::{Depth, Scrubbed, Survey},
};

use super::{
    Order, Plane, Reply, browse, failure,
    finding::{self, Compare, Find},
};
use crate::{
    api::answer::Failure,
    servers::{
        link::Link,
        mending::{ContainerRead, Surveyed},
    },
};

/// What is to be done in a pool.
pub enum PoolOrder {
    /// Where the room goes, and whether the pool takes writes.
    Space(Reply<(PoolSpace, bool)>),
    /// Image log records after a sequence number.
    Events {
        /// After which.
        after: Sequence,
        /// At most so many.
        max: usize,
        /// To whom.
        reply: Reply<Vec<images::Event>>,
    },
    /// Waits until the log holds a record after this.
    EventAfter(Sequence, Reply<Sequence>),
    /// Changes expiry, lock or hold of a copy.
    Amend(ImageId, CopyState, Reply<Sequence>),
    /// Hides a copy from all who read.
    Discard(ImageId, images::Discarded, Reply<Sequence>),
    /// Takes a discarded copy out of the log.
    Remove(ImageId, Reply<Sequence>),
    /// Reads and checks a whole image.
    Verify(ImageId, Reply<Verified>),
    /// Reads the first container behind this one, looking for damage: how closely, and how many bytes a second.
    Scrub(Option<ContainerId>, Depth, Option<u64>, Reply<Option<Scrubbed>>),
    /// Walks all images: which are hurt.
    Survey(Reply<Survey>),
    /// Walks one image: whether nothing of it is known to be damaged.
    IsWhole(ImageId, Reply<bool>),
    /// Copies what holds of containers whose header or table is damaged.
    Rescue(Reply<u64>),
    /// Containers of which something is in quarantine.
    Quarantine(Reply<Vec<ContainerId>>),
    /// Lists a directory of an image.
    Browse(Browse, Reply<Option<BrowsePage>>),
    /// Looks for paths in an image.
    Find(Find, Reply<FindPage>),
    /// Compares two images.
    Compare(Compare, Reply<DiffPage>),
    /// Gives this core's part of the index its share of so many bytes for all cores.
    ShareIndex(u64, Reply<()>),
}

/// A directory of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Browse {
    /// Root node of the image.
    pub root: Child,
    /// Path of the directory; empty for the root.
    pub path: Vec<u8>,
    /// Name of the last entry of the page before.
    pub after: Option<Vec<u8>>,
    /// At most so many entries.
    pub limit: u32,
}

/// What reading a whole image found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Distinct nodes.
    pub nodes: u64,
    /// Distinct data segments.
    pub segments: u64,
    /// Plain bytes of both.
    pub bytes: u64,
    /// Code and sentence of the first damage.
    pub damage: Option<(String, String)>,
}

impl From<Verified> for Checked {
    fn from(verified: Verified) -> Self {
        let Verified { nodes, segments, bytes, damage } = verified;
        let damage = damage.first().map(|damage| (damage.code().to_owned(), damage.to_string()));
        Self { nodes, segments, bytes, damage }
    }
}

/// Sends orders to one pool; cheap to clone.
#[derive(Clone)]
pub struct OnePool {
    pub(super) plane: Plane,
    pub(super) pool: PoolId,
    /// The media server that has it, if it is not this process.
    pub(super) away: Option<Arc<Link>>,
}

impl OnePool {
    /// Where the room goes.
    pub async fn space(&self) -> Result<PoolSpace, Failure> {
        Ok(self.standing().await?.0)
    }

    /// Where the room goes, and whether a failed write has stopped the pool (POOL-004).
    pub async fn standing(&self) -> Result<(PoolSpace, bool), Failure> {
        match &self.away {
            Some(link) => Ok(link.standing(self.pool).await?),
            None => self.api(PoolOrder::Space).await,
        }
    }

    /// Image log records after a sequence number, at most `max`.
    pub async fn events(&self, after: Sequence, max: usize) -> Result<Vec<images::Event>, Failure> {
        match &self.away {
            Some(link) => Ok(link.events(self.pool, after, max).await?),
            None => self.api(|reply| PoolOrder::Events { after, max, reply }).await,
        }
    }

    /// Waits until the log holds a record after this; [`Error::Closed`] when there will be none.
    pub async fn event_after(&self, after: Sequence) -> Result<Sequence, Error> {
        match &self.away {
            // Whoever follows the log goes on when the pool is open again.
            Some(link) => link.event_after(self.pool, after).await.map_err(|_| Error::Closed),
            None => self.ask(0, |reply| PoolOrder::EventAfter(after, reply)).await,
        }
    }

    /// Changes expiry, lock or hold of a copy; durable on return.
    pub async fn amend(&self, image: ImageId, copy: CopyState) -> Result<Sequence, Failure> {
        match &self.away {
            Some(link) => Ok(link.amend(self.pool, image, copy).await?),
            None => self.api(|reply| PoolOrder::Amend(image, copy, reply)).await,
        }
    }

    /// Hides a copy from all who read; durable on return.
    pub async fn discard(&self, image: ImageId, discarded: images::Discarded) -> Result<Sequence, Failure> {
        match &self.away {
            Some(link) => Ok(link.discard(self.pool, image, discarded).await?),
            None => self.api(|reply| PoolOrder::Discard(image, discarded, reply)).await,
        }
    }

    /// Ends the sessions that bring this image to it as a backup.
    pub async fn give_up(&self, image: ImageId) -> Result<(), Failure> {
        match &self.away {
            Some(link) => link.give_up(self.pool, image).await?,
            None => self.plane.give_up(image).await,
        }
        Ok(())
    }

    /// Takes a discarded copy out of the log, once it can't be brought back any more; durable on return.
    pub async fn remove(&self, image: ImageId) -> Result<Sequence, Failure> {
        match &self.away {
            Some(link) => Ok(link.remove(self.pool, image).await?),
            None => self.api(|reply| PoolOrder::Remove(image, reply)).await,
        }
    }

    /// Reads and checks a whole image.
    pub async fn verify(&self, image: ImageId) -> Result<Checked, Failure> {
        match &self.away {
            Some(link) => Ok(link.verify(self.pool, image).await?),
            None => Ok(self.api(|reply| PoolOrder::Verify(image, reply)).await?.into()),
        }
    }

    /// Reads the first container behind `after`, looking for damage; `None`: there is none.
    pub async fn scrub_next(
        &self,
        after: Option<ContainerId>,
        depth: Depth,
        rate: Option<u64>,
    ) -> Result<Option<ContainerRead>, Failure> {
        if let Some(link) = &self.away {
            let how = (depth == Depth::Fingerprints, rate);
            return Ok(link.scrub_next(self.pool, after, how).await?);
        }
        let scrubbed = self.api(|reply| PoolOrder::Scrub(after, depth, rate, reply)).await?;
        Ok(scrubbed.map(ContainerRead::from))
    }

    /// Walks all images: which are hurt.
    pub async fn survey(&self) -> Result<Surveyed, Failure> {
        match &self.away {
            Some(link) => Ok(link.survey(self.pool).await?),
            None => Ok(self.api(PoolOrder::Survey).await?.into()),
        }
    }

    /// Walks one image: whether nothing of it is known to be damaged.
    pub async fn is_whole(&self, image: ImageId) -> Result<bool, Failure> {
        match &self.away {
            Some(link) => Ok(link.is_whole(self.pool, image).await?),
            None => self.api(|reply| PoolOrder::IsWhole(image, reply)).await,
        }
    }

    /// Copies what holds of containers whose header or table is damaged; gives how many segments and nodes.
    pub async fn rescue(&self) -> Result<u64, Failure> {
        match &self.away {
            Some(link) => Ok(link.rescue(self.pool).await?),
            None => self.api(PoolOrder::Rescue).await,
        }
    }

    /// Containers of which something is in quarantine.
    pub async fn quarantine(&self) -> Result<Vec<ContainerId>, Failure> {
        match &self.away {
            Some(link) => Ok(link.quarantine(self.pool).await?),
            None => self.api(PoolOrder::Quarantine).await,
        }
    }

    /// Lists a directory; `None` when there is none of that path.
    pub async fn browse(&self, browse: Browse) -> Result<Option<BrowsePage>, Failure> {
        match &self.away {
            Some(link) => Ok(link.browse(self.pool, &browse).await?),
            None => self.api(|reply| PoolOrder::Browse(browse, reply)).await,
        }
    }

    /// Looks for paths in an image, a page of it.
    pub async fn find(&self, find: Find) -> Result<FindPage, Failure> {
        match &self.away {
            Some(link) => Ok(link.find(self.pool, &find).await?),
            None => self.api(|reply| PoolOrder::Find(find, reply)).await,
        }
    }

    /// What differs between two images of the pool, a page of it.
    pub async fn compare(&self, compare: Compare) -> Result<DiffPage, Failure> {
        match &self.away {
            Some(link) => Ok(link.compare(self.pool, &compare).await?),
            None => self.api(|reply| PoolOrder::Compare(compare, reply)).await,
        }
    }

    /// Gives the index another share of memory, on every core.
    pub(super) async fn share_index(&self, bytes: u64) -> Result<(), Error> {
        for core in 0..self.plane.cores.len() {
            self.ask(core, |reply| PoolOrder::ShareIndex(bytes, reply)).await?;
        }
        Ok(())
    }

    async fn api<T>(&self, make: impl FnOnce(Reply<T>) -> PoolOrder) -> Result<T, Failure> {
        self.ask(self.plane.turn(), make).await.map_err(|error| failure(&error))
    }

    async fn ask<T>(&self, core: usize, make: impl FnOnce(Reply<T>) -> PoolOrder) -> Result<T, Error> {
        self.plane.ask(core, |reply| Order::In(self.pool, make(reply))).await
    }
}

/// Carries one out, on a core that has a part of the pool.
pub(super) async fn carry_out(pool: &Pool, order: PoolOrder) {
    // Nobody waiting for an answer is no error: the caller hung up.
    match order {
        PoolOrder::Space(reply) => {
            drop(reply.send(pool.space().await.map(|space| (space, pool.is_poisoned()))));
        }
        PoolOrder::Events { after, max, reply } => drop(reply.send(pool.events(after, max).await)),
        PoolOrder::EventAfter(after, mut reply) => {
            let found = match select(pin!(pool.event_after(after)), pin!(reply.closed())).await {
                Either::Left((found, _)) => found,
                Either::Right(_) => return,
            };
            drop(reply.send(found));
        }
        PoolOrder::Amend(image, copy, reply) => drop(reply.send(pool.amend(image, copy).await)),
        PoolOrder::Discard(image, discarded, reply) => drop(reply.send(pool.discard(image, discarded).await)),
        PoolOrder::Remove(image, reply) => drop(reply.send(pool.remove(image).await)),
        PoolOrder::Verify(image, reply) => drop(reply.send(pool.verify(image).await)),
        PoolOrder::Scrub(after, depth, rate, reply) => {
            drop(reply.send(pool.scrub_next(after, depth, rate).await));
        }
        PoolOrder::Rescue(reply) => drop(reply.send(pool.rescue().await)),
        PoolOrder::Survey(reply) => drop(reply.send(pool.survey().await)),
        PoolOrder::IsWhole(image, reply) => drop(reply.send(pool.is_whole(image).await)),
        PoolOrder::Quarantine(reply) => drop(reply.send(Ok(pool.quarantine().into_keys().collect()))),
        PoolOrder::Browse(asked, reply) => drop(reply.send(browse::browse(pool, &asked).await)),
        PoolOrder::Find(asked, reply) => drop(reply.send(finding::find(pool, &asked).await)),
        PoolOrder::Compare(asked, reply) => drop(reply.send(finding::compare(pool, &asked).await)),
        PoolOrder::ShareIndex(bytes, reply) => {
            pool.set_index_bytes(bytes);
            drop(reply.send(Ok(())));
        }
    }
}
