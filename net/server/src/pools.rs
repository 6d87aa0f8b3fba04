//! The pools of the domain: which are open, here or on another media server, and what stands against the others.
//!
//! Guarantees: each has its folders to itself, as long as it is open; one that can't be opened is a problem that is
//! said, and the others go on. What stands against writing to one is told to the domain's mind when it changes.

pub mod making;
mod marks;
pub mod roll;
mod room;
mod unfinished;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::future::join_all;
use narrows_api::{ApiError, error::codes, text::time_out};
use narrows_catalog::SqliteCatalog;
use narrows_domain::{
    Catalog as _,
    machine::placing::{self, Troubles},
    storage::{MediaServer, Pool, PoolTrouble},
};
use narrows_format::{PoolId, Sequence};
use narrows_pool::{LogRead, PoolSpace};
use tokio::{sync::watch, time::timeout};

use crate::{
    api::{App, answer::Failure},
    folder::{Folder, FolderError, FolderLock, lock_in},
    limits::POOL_LOOK,
    plane::{Opened, Plane, failure},
};

/// A pool that is open.
pub struct OpenPool {
    /// The pool.
    pub pool: PoolId,
    /// Its incarnation.
    pub incarnation: u64,
    /// Its mean segment size in bytes.
    pub segment_mean: u32,
    /// Up to where its image log is in the catalog; set by the importer.
    pub reached: watch::Sender<Sequence>,
    /// Another media server of the domain has it.
    pub is_away: bool,
}

/// Locks of its folders go with it.
enum Standing {
    Open(Arc<OpenPool>, Vec<FolderLock>),
    Shut(ApiError, Vec<FolderLock>),
}

/// Why a pool is not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// What lies in it.
    #[error("{0}")]
    Pool(#[from] narrows_pool::Error),
}

impl OpenError {
    fn code(&self) -> &'static str {
        match self {
            Self::Folder(_) => "POOL-003",
            Self::Pool(error) => error.code(),
        }
    }
}

/// All pools of this server.
pub struct Pools {
    known: Mutex<BTreeMap<PoolId, Standing>>,
    changes: watch::Sender<u64>,
    /// One is made at a time.
    pub(crate) making: tokio::sync::Mutex<()>,
    /// How they are is looked at and told by one at a time: what was seen earlier is never told later.
    looking: tokio::sync::Mutex<()>,
}

/// Where a pool lies: its own folder, and further ones for containers.
pub fn places(folder: &Folder, pool: &Pool) -> (PathBuf, Vec<PathBuf>) {
    let mut all = pool.directories.iter().map(PathBuf::from);
    (all.next().unwrap_or_else(|| folder.pool()), all.collect())
}

/// The same in one list, its own folder first.
pub fn directories(folder: &Folder, pool: &Pool) -> Vec<PathBuf> {
    let (home, volumes) = places(folder, pool);
    [home].into_iter().chain(volumes).collect()
}

impl Pools {
    /// None as yet.
    pub fn none() -> Self {
        let (known, changes) = (Mutex::default(), watch::Sender::new(0));
        let (making, looking) = (tokio::sync::Mutex::default(), tokio::sync::Mutex::default());
        Self { known, changes, making, looking }
    }

    /// Opens what the catalog knows and this process has. An error when nothing can be opened at all: that of the first.
    pub async fn open(plane: &Plane, catalog: &SqliteCatalog, folder: &Folder) -> Result<Self, OpenErrors> {
        let (pools, mut first) = (Self::none(), None);
        for pool in catalog.pools().await.map_err(OpenErrors::Catalog)? {
            if let Some(link) = plane.away(pool.id) {
                pools.shut(pool.id, link.silence());
            } else if let Err(error) = pools
                .open_one(plane, folder, &pool, read(catalog, pool.id).await.map_err(OpenErrors::Catalog)?)
                .await
            {
                tracing::error!(pool = pool.name, code = error.code(), %error, "a pool can't be opened; the others go on");
                first = first.or(Some(error));
            }
        }
        match first {
            Some(error) if pools.open_ones().is_empty() => Err(OpenErrors::All(error)),
            _ => Ok(pools),
        }
    }

    /// Opens a pool of this process, of which the log was read so far. One that was put back to an older state since becomes
    /// another incarnation of itself.
    pub async fn open_one(
        &self,
        plane: &Plane,
        folder: &Folder,
        pool: &Pool,
        read: Option<LogRead>,
    ) -> Result<(), OpenError> {
        let opened = match locked(folder, pool).and_then(|locks| marks::check(folder, pool).map(|()| locks)) {
            Ok(locks) => {
                let opened = plane.open(pool.id, places(folder, pool), read).await;
                opened.map(|opened| (opened, locks)).map_err(OpenError::from)
            }
            Err(error) => Err(error.into()),
        };
        let (standing, outcome) = match opened {
            Ok((opened, locks)) => {
                say_opened(pool, &opened);
                (Standing::Open(Arc::new(open_pool(&opened)), locks), Ok(()))
            }
            Err(error) => {
                let sentence = format!("pool `{}` is not open: {error}", pool.name);
                let told = ApiError::new(error.code(), sentence);
                let help = format!("mend what it names, then `narrowsctl pool open {}`", pool.name);
                (Standing::Shut(told.help(help), Vec::new()), Err(error))
            }
        };
        self.known().insert(pool.id, standing);
        self.notice();
        outcome
    }

    /// Tries again to open one that could not be opened, or opens one anew that a failed write has stopped; API-003 for one
    /// that takes writes, and while something goes on in it still.
    pub async fn open_again(
        &self,
        plane: &Plane,
        folder: &Folder,
        (pool, read): (&Pool, Option<LogRead>),
    ) -> Result<Arc<OpenPool>, Failure> {
        let _one_at_a_time = self.making.lock().await;
        if self.is_open(pool.id) {
            if !plane.pool(pool.id).standing().await?.1 {
                let error =
                    ApiError::new(codes::CONFLICT, format!("pool `{}` is open, and takes writes", pool.name));
                return Err(error.into());
            }
            self.leave(pool);
        }
        // Nothing to leave in one that never was open.
        if !plane.leave(pool.id).await.map_err(|error| failure(&error))? {
            let sentence =
                format!("something goes on in pool `{}` still: restores, or sessions that end", pool.name);
            let help = format!("say `narrowsctl pool open {}` again when it has ended", pool.name);
            return Err(ApiError::new(codes::CONFLICT, sentence).help(help).into());
        }
        if let Some(Standing::Shut(_, locks)) = self.known().get_mut(&pool.id) {
            locks.clear();
        }
        // Why it can't be opened is said by what stands there then.
        drop(self.open_one(plane, folder, pool, read).await);
        self.get(pool.id)
    }

    /// A media server says that a pool of its own is open. One that was open goes on as the same.
    pub fn came(&self, pool: PoolId, incarnation: u64, segment_mean: u32) {
        let mut known = self.known();
        if let Some(Standing::Open(open, _)) = known.get(&pool)
            && (open.incarnation, open.segment_mean) == (incarnation, segment_mean)
        {
            return;
        }
        let reached = watch::Sender::new(Sequence(0));
        let open = OpenPool { pool, incarnation, segment_mean, reached, is_away: true };
        known.insert(pool, Standing::Open(Arc::new(open), Vec::new()));
        drop(known);
        self.notice();
    }

    /// A pool of a media server is not open, or its media server does not answer.
    pub fn shut(&self, pool: PoolId, why: ApiError) {
        let mut known = self.known();
        if matches!(known.get(&pool), Some(Standing::Shut(before, _)) if *before == why) {
            return;
        }
        known.insert(pool, Standing::Shut(why, Vec::new()));
        drop(known);
        self.notice();
    }

    /// A pool is no more.
    pub fn forget(&self, pool: PoolId) {
        self.known().remove(&pool);
        self.notice();
    }

    /// Nobody begins anything in it any more; its folders stay ours.
    fn leave(&self, pool: &Pool) {
        let mut known = self.known();
        let Some(Standing::Open(_, locks)) = known.remove(&pool.id) else { return };
        let error = ApiError::new("POOL-004", format!("pool `{}` is being opened anew", pool.name));
        let help = format!("if it does not come: `narrowsctl pool open {}`", pool.name);
        known.insert(pool.id, Standing::Shut(error.help(help), locks));
    }

    /// A pool that is open, or why it is not.
    pub fn get(&self, pool: PoolId) -> Result<Arc<OpenPool>, Failure> {
        match self.known().get(&pool) {
            Some(Standing::Open(open, _)) => Ok(Arc::clone(open)),
            Some(Standing::Shut(error, _)) => Err(error.clone().into()),
            None => Err(ApiError::new(codes::NOT_FOUND, format!("pool {pool} is not here")).into()),
        }
    }

    /// Those that are open.
    pub fn open_ones(&self) -> Vec<Arc<OpenPool>> {
        let known = self.known();
        let open = known.values().filter_map(|standing| match standing {
            Standing::Open(open, _) => Some(Arc::clone(open)),
            Standing::Shut(..) => None,
        });
        open.collect()
    }

    /// Whether it is open, or was found not to be.
    pub fn is_known(&self, pool: PoolId) -> bool {
        self.known().contains_key(&pool)
    }

    /// Whether it can be read from.
    pub fn is_open(&self, pool: PoolId) -> bool {
        self.get(pool).is_ok()
    }

    /// Whether it is this one that is open, and not another opening of the same pool.
    pub fn is_this_open(&self, pool: &Arc<OpenPool>) -> bool {
        self.get(pool.pool).is_ok_and(|open| Arc::ptr_eq(&open, pool))
    }

    /// Something may have changed: whoever looks after pools looks now.
    pub fn notice(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Moves when something may have changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<PoolId, Standing>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The server has no pool to work with.
#[derive(Debug, thiserror::Error)]
pub enum OpenErrors {
    /// Which there are can't be read.
    #[error(transparent)]
    Catalog(narrows_catalog::Error),
    /// None can be opened.
    #[error(transparent)]
    All(OpenError),
}

/// How far a pool's log is in the catalog.
pub async fn read(catalog: &SqliteCatalog, pool: PoolId) -> Result<Option<LogRead>, narrows_catalog::Error> {
    let latest = catalog.latest_cursor(pool).await?;
    Ok(latest.map(|(incarnation, up_to)| LogRead { incarnation, up_to }))
}

/// Other processes stay out of its folders; out of the data folder they are kept already.
fn locked(folder: &Folder, pool: &Pool) -> Result<Vec<FolderLock>, FolderError> {
    if pool.directories.is_empty() {
        return Ok(Vec::new());
    }
    directories(folder, pool).iter().map(|directory| lock_in(directory)).collect()
}

fn open_pool(opened: &Opened) -> OpenPool {
    let &Opened { pool, incarnation, segment_mean, .. } = opened;
    OpenPool { pool, incarnation, segment_mean, reached: watch::Sender::new(Sequence(0)), is_away: false }
}

fn say_opened(pool: &Pool, opened: &Opened) {
    let recovery = &opened.recovery;
    tracing::info!(
        pool = pool.name,
        sealed = recovery.sealed,
        dropped = recovery.dropped,
        "the pool is open"
    );
    if let Some(last) = recovery.put_back {
        let (pool, incarnation, last) = (&pool.name, opened.incarnation, last.0);
        tracing::error!(
            pool,
            incarnation,
            last,
            "the pool was put back to an older state: it is another incarnation, and the catalog is compared with its log"
        );
    }
    for damage in &recovery.damage {
        tracing::error!(pool = pool.name, code = damage.code(), %damage, "the pool is damaged");
    }
}

/// What stands against writing to a pool.
pub async fn trouble(plane: &Plane, pools: &Pools, pool: &Pool) -> Option<PoolTrouble> {
    how(plane, pools, pool).await.0
}

/// What stands against writing to a pool, and how much room it has if that is known.
pub async fn how(plane: &Plane, pools: &Pools, pool: &Pool) -> (Option<PoolTrouble>, Option<PoolSpace>) {
    if let Err(Failure(error)) = pools.get(pool.id) {
        let sentence = match error.why.as_str() {
            "" => error.message,
            why => format!("{}: {why}", error.message),
        };
        return (Some(PoolTrouble { code: error.code, sentence, readable: false }), None);
    }
    let away = plane.away(pool.id);
    if let Some(drained) = away.as_ref().and_then(|link| drained(&link.row(), pool)) {
        return (Some(drained), None);
    }
    match plane.pool(pool.id).standing().await {
        Ok((space, true)) => {
            let name = &pool.name;
            let sentence =
                format!("a write to pool `{name}` failed: it takes nothing until it is opened anew");
            (Some(PoolTrouble { code: "POOL-004".to_owned(), sentence, readable: true }), Some(space))
        }
        Ok((space, false)) => (room::full(pool, &space), Some(space)),
        Err(Failure(error)) => {
            let readable = away.is_none();
            (Some(PoolTrouble { code: error.code, sentence: error.message, readable }), None)
        }
    }
}

/// A drained media server takes nothing new; what is there can be read.
fn drained(server: &MediaServer, pool: &Pool) -> Option<PoolTrouble> {
    let since = time_out(server.draining?);
    let (name, server) = (&pool.name, &server.name);
    Some(PoolTrouble {
        code: placing::BUSY.to_owned(),
        sentence: format!(
            "pool `{name}` takes nothing new: media server `{server}` is drained since {since}"
        ),
        readable: true,
    })
}

/// What stands against writing to each pool, for a mind that begins.
pub async fn troubles(
    plane: &Plane,
    pools: &Pools,
    catalog: &SqliteCatalog,
) -> Result<Troubles, narrows_catalog::Error> {
    let mut troubles = Troubles::new();
    for pool in catalog.pools().await? {
        troubles.extend(trouble(plane, pools, &pool).await.map(|it| (pool.id, it)));
    }
    Ok(troubles)
}

/// Tells the domain's mind how the pools are, where that has changed.
pub async fn look(app: &App) {
    let _one_at_a_time = app.pools.looking.lock().await;
    let Ok(pools) = app.catalog.pools().await else { return };
    // Side by side: one that is slow to answer holds up no other.
    let looks = join_all(pools.iter().map(|pool| how(&app.plane, &app.pools, pool))).await;
    for (pool, (trouble, space)) in pools.iter().zip(looks) {
        let id = pool.id;
        if let Some(trouble) = &trouble {
            tracing::debug!(pool = pool.name, code = trouble.code, why = trouble.sentence, "takes nothing");
        }
        let said = app.control.act(move |primary, now| {
            Box::pin(async move { Ok(((), primary.pool_stands(id, trouble, now).await?)) })
        });
        if let Err(Failure(error)) = said.await {
            tracing::debug!(%error, "how a pool is could not be told");
        }
        if let Some(space) = space {
            room::tell(app, pool, &space).await;
        }
    }
}

/// Looks after the pools for as long as the server runs.
pub async fn watch(app: App) {
    let mut changes = app.pools.changes();
    loop {
        changes.borrow_and_update();
        look(&app).await;
        // Whichever comes first; an error of the channel can't be, as it lives in what is held here.
        drop(timeout(POOL_LOOK, changes.changed()).await);
    }
}
