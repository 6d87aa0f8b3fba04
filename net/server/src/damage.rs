//! Damage in pools: looked for by itself and when asked, told, and mended from whoever holds the same.
//!
//! Guarantees: each pool has one task, which does one thing at a time; a pass goes on where it was after a restart; what is
//! damaged is told to who sent it, and told again when it is whole; what can't be mended now is tried again hourly.
//! Whether another domain gives what is lacking is decided there.

mod healing;
mod passes;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use narrows_api::{ApiError, error::codes};
use narrows_domain::{Catalog as _, scrub::ScrubPass};
use narrows_format::{DomainId, ImageId, PoolId, Timestamp};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    api::{
        App,
        answer::{Failure, internal},
    },
    limits::{DAMAGE_LOOK, HEAL_RETRY},
    servers::mending::Surveyed,
};
pub use healing::Attempt;

/// What a person asks of a pool, or what follows from what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A pass from the first container on.
    Scrub {
        /// Segments are hashed.
        deep: bool,
        /// Bytes a second; zero: as fast as it goes.
        rate: u64,
    },
    /// Mend what is damaged, from this domain only or from any.
    Heal(Option<DomainId>),
}

/// How a pool stands.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    wishes: VecDeque<(u64, Wish)>,
    given: u64,
    /// Wishes up to this one have been fulfilled.
    pub done: u64,
    /// What is being done, for people.
    pub doing: &'static str,
    /// The pass that is under way, as far as it is.
    pub pass: Option<ScrubPass>,
    /// What a walk over all images said last, and when.
    pub survey: Option<(Timestamp, Surveyed)>,
    /// Containers of which something is in quarantine.
    pub quarantined: usize,
    /// What kept the last thing from being done: code and sentence.
    pub failed: Option<(String, String)>,
    /// What came of the last attempts to mend, one for each image.
    pub attempts: Vec<Attempt>,
}

impl Standing {
    /// Images that can't be read as a whole.
    pub fn hurt(&self) -> Vec<ImageId> {
        self.survey.as_ref().map_or_else(Vec::new, |(_, survey)| survey.images())
    }
}

/// How all pools stand.
pub struct Damage {
    known: Mutex<BTreeMap<PoolId, Standing>>,
    asked: watch::Sender<u64>,
}

impl Default for Damage {
    fn default() -> Self {
        Self { known: Mutex::default(), asked: watch::Sender::new(0) }
    }
}

impl Damage {
    /// How a pool stands.
    pub fn of(&self, pool: PoolId) -> Standing {
        self.known().get(&pool).cloned().unwrap_or_default()
    }

    /// Asks for something; gives its number, see [`Standing::done`]. A pass that is asked for takes the place of the one
    /// that is under way.
    pub fn ask(&self, pool: PoolId, wish: Wish) -> Result<u64, ApiError> {
        let number = {
            let mut known = self.known();
            let standing = known.entry(pool).or_default();
            if standing.wishes.len() >= crate::limits::WISHES_MAX {
                let error = ApiError::new(codes::CONFLICT, "this pool has much to do already");
                return Err(error.help("wait for it: `narrowsctl pool damage` says what is under way"));
            }
            standing.given += 1;
            let number = standing.given;
            standing.wishes.push_back((number, wish));
            number
        };
        self.asked.send_modify(|count| *count += 1);
        Ok(number)
    }

    /// A reader met damage: it is looked at soon.
    pub fn met(&self, pool: PoolId) {
        if self.of(pool).wishes.iter().any(|(_, wish)| matches!(wish, Wish::Heal(_))) {
            return;
        }
        // With so much to do already it is looked at anyway.
        drop(self.ask(pool, Wish::Heal(None)));
    }

    fn next(&self, pool: PoolId) -> Option<(u64, Wish)> {
        self.known().entry(pool).or_default().wishes.pop_front()
    }

    /// Whether a pass is wished for in place of the one that is under way.
    fn has_other_pass(&self, pool: PoolId) -> bool {
        self.of(pool).wishes.iter().any(|(_, wish)| matches!(wish, Wish::Scrub { .. }))
    }

    fn set(&self, pool: PoolId, change: impl FnOnce(&mut Standing)) {
        change(self.known().entry(pool).or_default());
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<PoolId, Standing>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who sends an image from here met damage in it. That is not known to the pool by itself: all of the image is read, which is
/// told, and mended soon.
pub async fn met_by_sender(app: &App, image: ImageId, pool: PoolId) {
    if app.damage.of(pool).hurt().contains(&image) {
        return;
    }
    let outcome = async {
        let checked = app.plane.pool(pool).verify(image).await?;
        if let Some((_, damage)) = checked.damage {
            let told = app.control.act(move |primary, moment| {
                Box::pin(
                    async move { Ok(((), primary.copy_read((image, pool), Some(damage), moment).await?)) },
                )
            });
            told.await?;
            app.damage.met(pool);
        }
        Ok::<_, Failure>(())
    };
    if let Err(Failure(error)) = outcome.await {
        tracing::warn!(%image, %pool, %error, "an image in which damage was met could not be read");
    }
}

/// Runs as long as the server: one task for each pool that is open.
pub async fn run(app: App) {
    let (mut tasks, mut begun) = (JoinSet::new(), Vec::new());
    let mut changes = app.pools.changes();
    loop {
        changes.borrow_and_update();
        for open in app.pools.open_ones() {
            if !begun.contains(&open.pool) {
                begun.push(open.pool);
                let (mended, mend_took, refused) = (None, Duration::ZERO, None);
                let keeper = Keeper { app: app.clone(), pool: open.pool, mended, mend_took, refused };
                tasks.spawn(keeper.run());
            }
        }
        // An error of the channel can't be, as it lives in what is held here.
        drop(changes.changed().await);
    }
}

/// The task of one pool.
struct Keeper {
    app: App,
    pool: PoolId,
    /// When it was last tried to mend something.
    mended: Option<Instant>,
    /// How long that took.
    mend_took: Duration,
    /// When the pool refused to be read.
    refused: Option<Instant>,
}

impl Keeper {
    async fn run(mut self) {
        let mut asked = self.app.damage.asked.subscribe();
        let mut is_seen = false;
        // Until the pool is none of this domain any more.
        while self.app.pools.is_known(self.pool) {
            asked.borrow_and_update();
            // What can't be reached now is looked at when it can.
            if self.app.pools.is_open(self.pool) {
                if !is_seen {
                    is_seen = self.first_look().await;
                }
                self.do_all().await;
            }
            drop(timeout(DAMAGE_LOOK, asked.changed()).await);
        }
    }

    /// What was in quarantine before the start hurts images still, unless it was healed; and what was told to be damaged
    /// may be whole.
    async fn first_look(&mut self) -> bool {
        match self.is_suspect().await {
            Ok(false) => true,
            Ok(true) => {
                self.mend(None).await;
                true
            }
            Err(error) => {
                self.say("could not be looked at", &error);
                false
            }
        }
    }

    async fn is_suspect(&self) -> Result<bool, Failure> {
        let is_clean = self.app.plane.pool(self.pool).quarantine().await?.is_empty();
        Ok(!is_clean || !self.told_of(1).await?.is_empty())
    }

    /// Wishes first, then what is due.
    async fn do_all(&mut self) {
        while let Some((number, wish)) = self.app.damage.next(self.pool) {
            match wish {
                Wish::Heal(from) => self.mend(from).await,
                Wish::Scrub { deep, rate } => match self.last_pass().await {
                    Ok(last) => {
                        let now = self.app.clock.now();
                        self.pass(ScrubPass::next(self.pool, last.as_ref(), (deep, rate), now)).await;
                    }
                    Err(error) => self.say("could not be scrubbed", &error),
                },
            }
            self.app.damage.set(self.pool, |standing| standing.done = standing.done.max(number));
        }
        let is_hurt = !self.app.damage.of(self.pool).hurt().is_empty();
        if is_hurt && self.mended.is_none_or(|at| at.elapsed() >= HEAL_RETRY) {
            self.mend(None).await;
        }
        if self.refused.is_some_and(|at| at.elapsed() < REFUSED_PAUSE) {
            return;
        }
        let setting = (self.app.config.scrub_every, self.app.config.scrub_rate);
        match self.last_pass().await {
            Ok(last) => {
                let due = ScrubPass::due(self.pool, last.as_ref(), setting, self.app.clock.now());
                if let Some(due) = due {
                    self.pass(due).await;
                }
            }
            Err(error) => self.say("could not be scrubbed", &error),
        }
    }

    async fn last_pass(&self) -> Result<Option<ScrubPass>, Failure> {
        let passes = self.app.catalog.scrub_passes(self.pool).await.map_err(|error| internal(&error))?;
        Ok(passes.into_iter().next())
    }

    fn say(&self, what: &str, Failure(error): &Failure) {
        tracing::warn!(pool = %self.pool, code = error.code, %error, "a pool {what}");
        self.app.damage.set(self.pool, |standing| {
            standing.failed = Some((error.code.clone(), format!("it {what}: {error}")));
        });
    }

    fn doing(&self, what: &'static str) {
        self.app.damage.set(self.pool, |standing| {
            standing.doing = what;
            if !what.is_empty() {
                standing.failed = None;
            }
        });
    }
}

/// A pass that a pool refused goes on after this.
const REFUSED_PAUSE: Duration = Duration::from_mins(10);
