//! Makes a pool while the server runs: in empty folders, known to the catalog before it is used.
//!
//! Guarantees: nothing that was there is overwritten or taken away; what a failed attempt made is taken away again.
//! A crash in between leaves either a pool that every start opens, or folders that no pool is known of, and that the next
//! attempt at the same pool uses again. On a media server it is the same: it opens a pool, and takes the mark of an attempt away,
//! only when its primary names the pool among those that are known.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use narrows_api::{ApiError, error::codes, pools::PoolRequest, size::shown};
use narrows_domain::{
    Catalog as _,
    limits::{HIGH_WATER, LOW_WATER},
    storage::{MediaServer, Pool},
};
use narrows_format::{DomainId, PoolId};
use tokio::time::timeout;

use super::{
    Pools, directories, marks, places, roll,
    unfinished::{self, Attempt},
};
use crate::{
    api::{
        App,
        answer::{Failure, internal, malformed},
        storage::absent,
    },
    folder::{Folder, FolderLock, LOCK_FILE, lock_in},
    init::{SegmentMean, make_pool},
    limits::{MEDIA_ANSWER_MAX, POOL_FOLDERS_MAX, POOL_INDEX_BYTES_MIN},
    plane::Plane,
    random,
    servers::{self, link::Link, words::PoolWanted},
};

/// What a file system has of its own.
const LOST_AND_FOUND: &str = "lost+found";

/// Makes a pool, here or on the media server that is named, and opens it.
pub async fn make(app: &App, request: PoolRequest) -> Result<Pool, Failure> {
    let _one_at_a_time = app.pools.making.lock().await;
    let segment_mean = segment_mean(app, request.segment_mean)?;
    let link = match request.server.as_deref() {
        None | Some(MediaServer::PRIMARY) => None,
        Some(name) => {
            Some(app.servers.called(name).ok_or_else(|| absent("media server", name, "media-server list"))?)
        }
    };
    let pool = Pool {
        spanning: request.spanning,
        server: link.as_ref().map(|link| link.server),
        directories: request.directories,
        keep_free: request.keep_free.unwrap_or(0),
        high_water: request.high_water.unwrap_or(HIGH_WATER),
        low_water: request.low_water.unwrap_or(LOW_WATER),
        water_is_set: request.high_water.or(request.low_water).is_some(),
        ..Pool::new(PoolId(random::uuid()), request.name)
    };
    let wanted = pool.clone();
    let checking = app.control.act(move |primary, _| {
        Box::pin(async move { Ok((primary.check_new_pool(&wanted).await?, Vec::new())) })
    });
    checking.await?;
    let known = app.catalog.pools().await.map_err(|error| internal(&error))?;
    let others: Vec<_> = known.into_iter().filter(|it| it.server == pool.server).collect();
    match link {
        None => make_own(app, &others, &pool, segment_mean).await?,
        Some(link) => make_away(app, &link, &others, &pool, segment_mean).await?,
    }
    Ok(pool)
}

async fn make_own(app: &App, others: &[Pool], pool: &Pool, segment_mean: u32) -> Result<(), Failure> {
    check_memory(&app.plane)?;
    let attempt = Attempt::new(app.who.domain, &pool.name);
    let folders = Folders::prepare(&app.folder, others, &pool.directories, &attempt)?;
    roll::write(&app.folder, others.iter().chain([pool])).map_err(|error| internal(&error))?;
    let folders = match create(&app.folder, folders, pool, segment_mean).await {
        Ok(folders) => folders,
        Err(error) => {
            forget(app, others);
            return Err(error);
        }
    };
    if let Err(error) = add(app, pool).await {
        // No answer is no refusal: what the catalog has, or may have, stays.
        let known = app.catalog.pools().await.map_err(|error| internal(&error))?;
        if error.0.code != codes::NOT_READY && known.iter().all(|it| it.id != pool.id) {
            folders.take_away();
            forget(app, others);
        }
        return Err(error);
    }
    // From here on every start opens it; whether it can be opened now is said like then.
    folders.finish();
    open(&app.pools, &app.plane, &app.folder, pool).await
}

/// The pool that was not made is not found again by a catalog that is put back.
fn forget(app: &App, others: &[Pool]) {
    if let Err(error) = roll::write(&app.folder, others.iter()) {
        tracing::warn!(%error, "a pool that was not made is still written down; the next start forgets it");
    }
}

async fn add(app: &App, pool: &Pool) -> Result<(), Failure> {
    let row = pool.clone();
    let adding = app
        .control
        .act(move |primary, now| Box::pin(async move { Ok(((), primary.add_pool(row, now).await?)) }));
    adding.await
}

/// The media server makes it, and opens it when the catalog knows it. If that fails its folders stay there, for the next attempt.
async fn make_away(
    app: &App,
    link: &Arc<Link>,
    others: &[Pool],
    pool: &Pool,
    segment_mean: u32,
) -> Result<(), Failure> {
    let others = others.iter().map(servers::told).collect();
    link.make(&PoolWanted { told: servers::told(pool), others, segment_mean }).await?;
    app.plane.set_away(pool.id, Arc::clone(link));
    app.pools.shut(pool.id, link.silence());
    add(app, pool).await?;
    link.nudge.notify_one();
    let mut changes = app.pools.changes();
    let is_open = async { while !app.pools.is_open(pool.id) && changes.changed().await.is_ok() {} };
    match timeout(MEDIA_ANSWER_MAX, is_open).await {
        Ok(()) => Ok(()),
        Err(_) => app.pools.get(pool.id).map(drop).map_err(|Failure(error)| not_yet_open(pool, error)),
    }
}

/// Who is told that its server does not answer would make it again.
fn not_yet_open(pool: &Pool, error: ApiError) -> Failure {
    let name = &pool.name;
    let sentence = format!("pool `{name}` is made and known, and not open yet");
    let why = if error.why.is_empty() { error.message } else { format!("{}: {}", error.message, error.why) };
    let help = format!("it is opened when that is mended; `narrowsctl pool show {name}` tells");
    ApiError::new(error.code, sentence).because(why).help(help).into()
}

/// Makes a pool of this process, a media server's. It is one in the making until [`is_known`] says otherwise.
pub async fn make_here(
    (pools, plane, data): (&Pools, &Plane, &Folder),
    others: &[Pool],
    (domain, pool): (DomainId, &Pool),
    segment_mean: u32,
) -> Result<(), Failure> {
    let _one_at_a_time = pools.making.lock().await;
    check_memory(plane)?;
    check_mean(segment_mean)?;
    let attempt = Attempt::new(domain, &pool.name);
    let folders = Folders::prepare(data, others, &pool.directories, &attempt)?;
    create(data, folders, pool, segment_mean).await.map(drop)
}

/// The primary has a media server's pool in its catalog: whatever its folders have from now on stays.
pub fn is_known(data: &Folder, pool: &Pool) {
    end_marks(&directories(data, pool));
}

/// A mark that stays says nothing of a pool that is in use.
fn end_marks(folders: &[PathBuf]) {
    for path in folders {
        if let Err(error) = unfinished::end(path) {
            tracing::warn!(path = %path.display(), %error, "the mark of an unfinished pool stays");
        }
    }
}

/// What a failed attempt made is gone.
async fn create(data: &Folder, folders: Folders, pool: &Pool, segment_mean: u32) -> Result<Folders, Failure> {
    let (home, volumes) = places(data, pool);
    let create = narrows_pool::Create { segment_mean, volumes, ..narrows_pool::Create::new(pool.id) };
    let made = match marks::write(data, pool) {
        Ok(()) => make_pool(home, create).await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(why) = made {
        folders.take_away();
        return Err(ApiError::new("POOL-003", format!("the pool can't be made: {why}")).into());
    }
    Ok(folders)
}

async fn open(pools: &Pools, plane: &Plane, data: &Folder, pool: &Pool) -> Result<(), Failure> {
    match pools.open_one(plane, data, pool, None).await {
        Ok(()) => Ok(()),
        Err(_) => Pools::get(pools, pool.id).map(drop),
    }
}

/// Each pool has its part of the memory for indexes, and that is not divided without end.
fn check_memory(plane: &Plane) -> Result<(), Failure> {
    let share = plane.index_bytes_of_one_more();
    if share >= POOL_INDEX_BYTES_MIN {
        return Ok(());
    }
    let sentence = format!("with one pool more, each index would have {} of memory", shown(share));
    let error = ApiError::new(codes::CONFLICT, sentence)
        .because(format!("at least {} are needed", shown(POOL_INDEX_BYTES_MIN)))
        .help("run the server with more `--memory`");
    Err(error.into())
}

/// As it is asked for, or as that of the first pool: pools of different means share little.
fn segment_mean(app: &App, asked: Option<u32>) -> Result<u32, Failure> {
    let usual = || app.pools.open_ones().first().map_or(SegmentMean::default().bytes(), |it| it.segment_mean);
    check_mean(asked.unwrap_or_else(usual))
}

fn check_mean(mean: u32) -> Result<u32, Failure> {
    let known = SegmentMean::ALL.map(SegmentMean::bytes);
    if known.contains(&mean) {
        return Ok(mean);
    }
    Err(malformed("segment_mean", "8192, 16384, 32768 or 65536 bytes are a mean length of segments"))
}

/// The folders of a pool that is being made, held against others.
struct Folders {
    paths: Vec<PathBuf>,
    /// Those among them that were not there before.
    made: Vec<PathBuf>,
    locks: Vec<FolderLock>,
}

impl Folders {
    fn prepare(data: &Folder, known: &[Pool], wanted: &[String], attempt: &Attempt) -> Result<Self, Failure> {
        if wanted.is_empty() || wanted.len() > POOL_FOLDERS_MAX {
            return Err(malformed("directories", &format!("1 to {POOL_FOLDERS_MAX} folders are needed")));
        }
        let taken = known.iter().flat_map(|pool| directories(data, pool)).chain([data.root().to_owned()]);
        let taken: Vec<PathBuf> = taken.map(|path| fs::canonicalize(&path).unwrap_or(path)).collect();
        let mut folders = Self { paths: Vec::new(), made: Vec::new(), locks: Vec::new() };
        for text in wanted {
            match folders.take(Path::new(text), &taken, attempt) {
                Ok(()) => {}
                Err(error) => {
                    folders.take_away();
                    return Err(error);
                }
            }
        }
        Ok(folders)
    }

    fn take(&mut self, path: &Path, taken: &[PathBuf], attempt: &Attempt) -> Result<(), Failure> {
        let refused = |why: String, help: &str| -> Failure {
            let sentence = format!("folder {} can't be used for a pool: {why}", path.display());
            ApiError::new(codes::CONFLICT, sentence).at("field `directories`").help(help).into()
        };
        let is_plain =
            path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        if !path.is_absolute() || !is_plain || path.parent().is_none() {
            return Err(malformed(
                "directories",
                &format!("{} is no absolute path on the server without `..`", path.display()),
            ));
        }
        match fs::DirBuilder::new().create(path) {
            Ok(()) => self.made.push(path.to_owned()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(refused(error.to_string(), "make the folder above it first")),
        }
        let real = fs::canonicalize(path).map_err(|error| refused(error.to_string(), ""))?;
        let overlaps = |other: &PathBuf| real.starts_with(other) || other.starts_with(&real);
        if let Some(other) = taken.iter().chain(&self.paths).find(|other| overlaps(other)) {
            let why = format!("{} is in use", other.display());
            return Err(refused(why, "name a folder of its own, best on a disk of its own"));
        }
        let lock = lock_in(path).map_err(|error| refused(error.to_string(), ""))?;
        attempt.clear(path).map_err(|error| refused(error.to_string(), ""))?;
        if let Some(found) = first_in(path).map_err(|error| refused(error.to_string(), ""))? {
            drop(lock);
            let why = format!("it is not empty: there is `{}`", found.to_string_lossy());
            return Err(refused(why, "a pool is made in an empty folder only: name another one"));
        }
        self.locks.push(lock);
        self.paths.push(real);
        attempt.begin(path).map_err(|error| refused(error.to_string(), ""))
    }

    /// The pool is known.
    fn finish(self) {
        end_marks(&self.paths);
    }

    /// They were empty before: what is in them is of this attempt.
    fn take_away(self) {
        let Self { paths, made, locks } = self;
        for path in &paths {
            for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                if entry.file_name() == LOST_AND_FOUND {
                    continue;
                }
                let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
                let path = entry.path();
                let gone = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                if let Err(error) = gone {
                    tracing::warn!(path = %path.display(), %error, "a leftover of the failed attempt stays");
                }
            }
        }
        drop(locks);
        for path in made {
            // What is in use by others is not empty, and stays.
            drop(fs::remove_dir(path));
        }
    }
}

/// Anything in a folder but the lock and what its file system put there.
fn first_in(path: &Path) -> io::Result<Option<std::ffi::OsString>> {
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        if !is_of_nobody(&name) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// What an empty folder may have.
pub(super) fn is_of_nobody(name: &OsStr) -> bool {
    name == OsStr::new(LOCK_FILE) || name == OsStr::new(LOST_AND_FOUND)
}
