//! One joined media server as the primary reaches it: orders to its pools, errands, and how it stands.
//!
//! Guarantees: only this media server's certificate is believed; an answer is bounded in size and, but for work that may take
//! hours, in time. When the server is found to be down every request to it ends at once, so that nobody waits for what a
//! dead machine will not say.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use narrows_api::{
    ApiError, Hex,
    error::codes,
    finding::{DiffPage, FindPage},
    images::BrowsePage,
    paths,
    text::PathText,
};
use narrows_domain::{retry::Failure as Broken, storage::MediaServer};
use narrows_format::{
    ContainerId, DomainId, ImageId, PoolId, Sequence, ServerId, Timestamp, record::CopyState,
};
use narrows_pool::{
    LogRead, PoolSpace,
    images::{Discarded, Event},
};
use narrows_transport::{Credentials, TrustStore, trust::Whom};
use reqwest::Client;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{Notify, watch};

use super::{
    age::Age,
    errand::{Errand, Sent},
    mending::{ContainerRead, Mended, Mending, Surveyed},
    words::{
        CopyWord, DiscardedWord, PoolSaid, PoolWanted, PoolWord, Reopened, Reopening, Stand, Stood,
        events_in, strange,
    },
};
use crate::{
    limits::{EVENT_WAIT, MEDIA_ANSWER_MAX, MEDIA_MAKE_MAX, MEDIA_WORK_MAX},
    partners::{PartnerApi, build, untrusted},
    plane::{Browse, Checked, Compare, Find, Replicated},
};

/// How it was found when it was asked last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It has not been asked since the primary started.
    NotAsked,
    /// It answers.
    Up {
        /// Since when.
        since: Timestamp,
        /// Drawn anew at each of its starts.
        run: Hex<16>,
        /// What it runs.
        version: String,
        /// Its clock minus ours in milliseconds.
        skew_ms: i64,
    },
    /// It does not.
    Down {
        /// Since when.
        since: Timestamp,
        /// What was met last, by its code.
        code: String,
        /// And in words.
        why: String,
    },
}

/// The link.
pub struct Link {
    /// Which media server.
    pub server: ServerId,
    client: Client,
    row: RwLock<MediaServer>,
    found: Mutex<Found>,
    /// Moves when the server is found to be down.
    cut: watch::Sender<u64>,
    /// It is to be asked how it stands now.
    pub nudge: Notify,
}

impl Link {
    /// To a media server, with our own certificate.
    pub fn new(
        row: MediaServer,
        domain: DomainId,
        trust: &Arc<TrustStore>,
        credentials: &Arc<Credentials>,
    ) -> Result<Self, ApiError> {
        let tls = trust.client_config_of(credentials, (domain, Whom::Media(row.id)));
        let client = build(tls.map_err(|error| untrusted(&error))?)?;
        Ok(Self {
            server: row.id,
            client,
            row: RwLock::new(row),
            found: Mutex::new(Found::NotAsked),
            cut: watch::Sender::new(0),
            nudge: Notify::new(),
        })
    }

    /// Its row.
    pub fn row(&self) -> MediaServer {
        self.row.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It has another row.
    pub fn set_row(&self, row: MediaServer) {
        *self.row.write().unwrap_or_else(PoisonError::into_inner) = row;
        self.nudge.notify_one();
    }

    /// How it was found last.
    pub fn found(&self) -> Found {
        self.state().clone()
    }

    fn state(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It was found so. Everything that waits for one that is down ends.
    pub fn set_found(&self, found: Found) {
        let is_down = matches!(found, Found::Down { .. });
        *self.state() = found;
        if is_down {
            self.cut_off();
        }
    }

    /// Everything that waits for it ends.
    pub fn cut_off(&self) {
        self.cut.send_modify(|count| *count += 1);
    }

    /// What is said of its pools while it does not answer.
    pub fn silence(&self) -> ApiError {
        let name = self.row().name;
        let why = match self.found() {
            Found::Down { why, .. } => why,
            Found::NotAsked | Found::Up { .. } => "it has not said anything yet".to_owned(),
        };
        ApiError::new(codes::UNREACHABLE, format!("media server `{name}` does not answer"))
            .because(why)
            .help(format!("start `narrowsd` there; `narrowsctl media-server list` says more of `{name}`"))
    }

    /// A request that something waits for: if it is not answered, it is looked at once how the server stands.
    async fn post<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        within: Duration,
    ) -> Result<T, ApiError> {
        let mut cut = self.cut.subscribe();
        cut.borrow_and_update();
        let outcome = tokio::select! {
            outcome = self.call(path, body, within) => outcome,
            _ = cut.changed() => return Err(self.silence()),
        };
        if let Err(error) = &outcome
            && matches!(error.code.as_str(), codes::UNREACHABLE | codes::TIMED_OUT)
        {
            self.nudge.notify_one();
        }
        outcome
    }

    async fn call<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        within: Duration,
    ) -> Result<T, ApiError> {
        let MediaServer { name, url, .. } = self.row();
        let api = PartnerApi::of_media(self.client.clone(), url, format!("media server `{name}`"));
        api.speaking(Age::OURS).post_within(path, body, within).await
    }

    /// Says how things stand, and hears how they stand there.
    pub async fn stand(&self, stand: &Stand) -> Result<Stood, ApiError> {
        self.call(paths::MEDIA_STAND, stand, MEDIA_ANSWER_MAX).await
    }

    /// Has a pool made there, in empty folders.
    pub async fn make(&self, wanted: &PoolWanted) -> Result<(), ApiError> {
        self.post(paths::MEDIA_POOLS, wanted, MEDIA_MAKE_MAX).await
    }

    /// Has an image sent from there; dropping the future stops that.
    pub async fn send(&self, errand: &Errand) -> Result<Replicated, Broken> {
        let sent: Result<Sent, ApiError> = self.post(paths::MEDIA_SEND, errand, MEDIA_WORK_MAX).await;
        match sent {
            Ok(sent) => sent.into(),
            // Whether it arrived is found out by asking again.
            Err(error) => Err(Broken::interrupted(error.message)),
        }
    }

    /// Has what an image lacks brought there; gives how many bytes came. Dropping the future stops that.
    pub async fn mend(&self, mending: &Mending) -> Result<u64, Broken> {
        let mended: Result<Mended, ApiError> = self.post(paths::MEDIA_MEND, mending, MEDIA_WORK_MAX).await;
        match mended {
            Ok(mended) => mended.into(),
            Err(error) => Err(Broken::interrupted(error.message)),
        }
    }

    async fn order(&self, pool: PoolId, order: PoolWord, within: Duration) -> Result<PoolSaid, ApiError> {
        let path = paths::MEDIA_POOL.replace("{id}", &pool.to_string());
        self.post(&path, &order, within).await
    }

    async fn done(&self, pool: PoolId, order: PoolWord) -> Result<Sequence, ApiError> {
        match self.order(pool, order, MEDIA_ANSWER_MAX).await? {
            PoolSaid::Done(sequence) => Ok(Sequence(sequence)),
            _ => Err(off_the_point()),
        }
    }

    /// Where the room goes, and whether a failed write has stopped the pool.
    pub async fn standing(&self, pool: PoolId) -> Result<(PoolSpace, bool), ApiError> {
        match self.order(pool, PoolWord::Space, MEDIA_ANSWER_MAX).await? {
            PoolSaid::Space(space, is_poisoned) => Ok((space.into(), is_poisoned)),
            _ => Err(off_the_point()),
        }
    }

    /// Opens a pool that could not be opened, or anew one that a failed write has stopped.
    pub async fn open(&self, pool: PoolId, read: Option<LogRead>) -> Result<Reopened, ApiError> {
        let path = paths::MEDIA_POOL_OPEN.replace("{id}", &pool.to_string());
        let read = read.map(|read| (read.incarnation, read.up_to.0));
        self.post(&path, &Reopening { read }, MEDIA_WORK_MAX).await
    }

    /// Image log records behind this one.
    pub async fn events(&self, pool: PoolId, after: Sequence, max: usize) -> Result<Vec<Event>, ApiError> {
        match self.order(pool, PoolWord::Events(after.0, max), MEDIA_ANSWER_MAX).await? {
            PoolSaid::Events(words) if words.len() <= max => events_in(words, after),
            _ => Err(off_the_point()),
        }
    }

    /// Waits until the log holds a record behind this one.
    pub async fn event_after(&self, pool: PoolId, after: Sequence) -> Result<Sequence, ApiError> {
        loop {
            match self.order(pool, PoolWord::EventAfter(after.0), EVENT_WAIT + MEDIA_ANSWER_MAX).await? {
                PoolSaid::EventAfter(Some(newest)) if newest > after.0 => return Ok(Sequence(newest)),
                PoolSaid::EventAfter(None) => {}
                _ => return Err(off_the_point()),
            }
        }
    }

    /// Changes expiry, lock or hold of a copy.
    pub async fn amend(&self, pool: PoolId, image: ImageId, copy: CopyState) -> Result<Sequence, ApiError> {
        self.done(pool, PoolWord::Amend(image, CopyWord::from(copy))).await
    }

    /// Hides a copy from all who read.
    pub async fn discard(
        &self,
        pool: PoolId,
        image: ImageId,
        discarded: Discarded,
    ) -> Result<Sequence, ApiError> {
        self.done(pool, PoolWord::Discard(image, DiscardedWord::from(discarded))).await
    }

    /// Takes a discarded copy out of the log.
    pub async fn remove(&self, pool: PoolId, image: ImageId) -> Result<Sequence, ApiError> {
        self.done(pool, PoolWord::Remove(image)).await
    }

    /// Ends the sessions that bring this image as a backup.
    pub async fn give_up(&self, pool: PoolId, image: ImageId) -> Result<(), ApiError> {
        match self.order(pool, PoolWord::GiveUp(image), MEDIA_ANSWER_MAX).await? {
            PoolSaid::GivenUp => Ok(()),
            _ => Err(off_the_point()),
        }
    }

    /// Reads and checks a whole image.
    pub async fn verify(&self, pool: PoolId, image: ImageId) -> Result<Checked, ApiError> {
        match self.order(pool, PoolWord::Verify(image), MEDIA_WORK_MAX).await? {
            PoolSaid::Verified(nodes, segments, bytes, damage) => {
                Ok(Checked { nodes, segments, bytes, damage })
            }
            _ => Err(off_the_point()),
        }
    }

    /// Reads the first container behind `after`, looking for damage.
    pub async fn scrub_next(
        &self,
        pool: PoolId,
        after: Option<ContainerId>,
        (is_deep, rate): (bool, Option<u64>),
    ) -> Result<Option<ContainerRead>, ApiError> {
        let order = PoolWord::Scrub(after.map(|after| after.0), is_deep, rate);
        match self.order(pool, order, MEDIA_WORK_MAX).await? {
            PoolSaid::Read(read) => read.map(|read| read.behind(after)).transpose(),
            _ => Err(off_the_point()),
        }
    }

    /// Walks all images: which are hurt.
    pub async fn survey(&self, pool: PoolId) -> Result<Surveyed, ApiError> {
        match self.order(pool, PoolWord::Survey, MEDIA_WORK_MAX).await? {
            PoolSaid::Surveyed(surveyed) => Ok(surveyed.bounded()),
            _ => Err(off_the_point()),
        }
    }

    /// Whether nothing of an image is known to be damaged.
    pub async fn is_whole(&self, pool: PoolId, image: ImageId) -> Result<bool, ApiError> {
        match self.order(pool, PoolWord::IsWhole(image), MEDIA_WORK_MAX).await? {
            PoolSaid::Whole(is_whole) => Ok(is_whole),
            _ => Err(off_the_point()),
        }
    }

    /// Copies what holds of containers whose header or table is damaged.
    pub async fn rescue(&self, pool: PoolId) -> Result<u64, ApiError> {
        match self.order(pool, PoolWord::Rescue, MEDIA_WORK_MAX).await? {
            PoolSaid::Rescued(count) => Ok(count),
            _ => Err(off_the_point()),
        }
    }

    /// Containers of which something is in quarantine.
    pub async fn quarantine(&self, pool: PoolId) -> Result<Vec<ContainerId>, ApiError> {
        match self.order(pool, PoolWord::Quarantine, MEDIA_ANSWER_MAX).await? {
            PoolSaid::Containers(all) => Ok(all.into_iter().map(ContainerId).collect()),
            _ => Err(off_the_point()),
        }
    }

    /// Lists a directory.
    pub async fn browse(&self, pool: PoolId, asked: &Browse) -> Result<Option<BrowsePage>, ApiError> {
        let after = asked.after.as_deref().map(PathText::from_bytes);
        let path = PathText::from_bytes(&asked.path);
        let order = PoolWord::Browse(asked.root.into(), path, after, asked.limit);
        match self.order(pool, order, MEDIA_WORK_MAX).await? {
            PoolSaid::Page(page) => Ok(page),
            _ => Err(off_the_point()),
        }
    }

    /// Looks for paths in an image.
    pub async fn find(&self, pool: PoolId, asked: &Find) -> Result<FindPage, ApiError> {
        let (glob, from) = (PathText::from_bytes(asked.glob.typed()), PathText::from_bytes(&asked.from));
        match self.order(pool, PoolWord::Find(asked.root.into(), glob, from), MEDIA_WORK_MAX).await? {
            PoolSaid::Found(page) => Ok(page),
            _ => Err(off_the_point()),
        }
    }

    /// Compares two images.
    pub async fn compare(&self, pool: PoolId, asked: &Compare) -> Result<DiffPage, ApiError> {
        let from = PathText::from_bytes(&asked.from);
        let order = PoolWord::Compare(asked.before.into(), asked.after.into(), from);
        match self.order(pool, order, MEDIA_WORK_MAX).await? {
            PoolSaid::Differs(page) => Ok(page),
            _ => Err(off_the_point()),
        }
    }
}

fn off_the_point() -> ApiError {
    strange("an answer to another order")
}
