//! Makes a domain: keys, catalog, pool, storage unit `default`, an administrator.
//!
//! Guarantee: nothing is overwritten; the identity file, without which nothing runs, is written last. What
//! a failed attempt made is taken away again.

use std::path::{Path, PathBuf};

use narrows_api::{Hex, context::Context, invitation::is_plain_name};
use narrows_catalog::SqliteCatalog;
use narrows_domain::{
    Catalog as _, Change,
    storage::{Pool, StorageUnit, usual_classifications},
};
use narrows_format::{DomainId, PoolId};
use narrows_ring::cores::{Setup, StartError, block_on};

use crate::{
    api::caller::admin_token_hash,
    config::{BadSetting, Settings},
    folder::{DomainIdentity, Folder, FolderError, LOCK_FILE, create_private, write_secret},
    limits::INIT_ARENA_BYTES,
    pki::{Authority, PkiError, SigningKey},
    random,
};

/// What a new domain is to be.
#[derive(Clone, Debug)]
pub struct Init {
    /// Its name.
    pub name: String,
    /// Its data folder.
    pub data: PathBuf,
    /// Settings to write down.
    pub settings: Settings,
    /// Mean length of the pool's segments.
    pub segment_mean: SegmentMean,
}

/// Mean length of segments: fixed for the life of a pool. Pools of different means share little.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SegmentMean {
    /// Saves most where files are large and change in small places; the index is four times as large.
    #[value(name = "8KiB")]
    Kib8,
    /// In between.
    #[value(name = "16KiB")]
    Kib16,
    /// For most.
    #[default]
    #[value(name = "32KiB")]
    Kib32,
    /// For media files, or little memory.
    #[value(name = "64KiB")]
    Kib64,
}

impl SegmentMean {
    /// Those that there are.
    pub const ALL: [Self; 4] = [Self::Kib8, Self::Kib16, Self::Kib32, Self::Kib64];

    /// In bytes.
    pub const fn bytes(self) -> u32 {
        match self {
            Self::Kib8 => 8 << 10,
            Self::Kib16 => 16 << 10,
            Self::Kib32 => 32 << 10,
            Self::Kib64 => 64 << 10,
        }
    }
}

/// The domain could not be made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The name can't be one.
    #[error("{0:?} can't be a domain's name: 1 to 63 letters, digits, `.`, `-`, `_` are")]
    Name(String),
    /// The folder holds something.
    #[error("{0} is not empty")]
    NotEmpty(PathBuf),
    /// A setting.
    #[error(transparent)]
    Setting(#[from] BadSetting),
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Keys.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The data plane's world could not start.
    #[error(transparent)]
    Ring(#[from] StartError),
    /// The pool.
    #[error("the pool can't be made: {0}")]
    Pool(#[from] narrows_pool::Error),
    /// The catalog.
    #[error("the catalog can't be made")]
    Catalog(#[from] narrows_catalog::Error),
    /// The primary did not let us join.
    #[error("the domain can't be joined: {0}")]
    Join(Box<narrows_agent::failure::Failure>),
    /// A file.
    #[error("{path} can't be written")]
    Disk {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What to do next, one command a line.
pub struct Made {
    /// The folder.
    pub folder: Folder,
    /// The domain.
    pub identity: DomainIdentity,
    /// Two lines for people.
    pub next: [String; 2],
}

/// Makes the domain.
pub async fn init(init: Init) -> Result<Made, InitError> {
    if !is_plain_name(&init.name) {
        return Err(InitError::Name(init.name));
    }
    init.settings.clone().resolve()?;
    let folder = Folder::new(&init.data);
    // Before the lock, whose file would be left in a folder that is none of ours; and with it, when
    // nobody else can be making a domain here.
    check_empty(&folder)?;
    create_private(&init.data)?;
    let lock = folder.lock()?;
    check_empty(&folder)?;
    let outcome = make(&folder, &init).await;
    if outcome.is_err() {
        take_away(&folder);
    }
    drop(lock);
    Ok(Made { identity: outcome?, next: next_lines(&init), folder })
}

/// Nothing but the lock may be there.
pub(crate) fn check_empty(folder: &Folder) -> Result<(), InitError> {
    if folder.identity().exists() || folder.membership().exists() {
        return Err(FolderError::Initialised(folder.root().to_owned()).into());
    }
    let Ok(entries) = std::fs::read_dir(folder.root()) else { return Ok(()) };
    let is_taken = entries.flatten().any(|entry| entry.file_name() != LOCK_FILE);
    if is_taken { Err(InitError::NotEmpty(folder.root().to_owned())) } else { Ok(()) }
}

async fn make(folder: &Folder, init: &Init) -> Result<DomainIdentity, InitError> {
    let config = init.settings.clone().resolve()?;
    let token = Hex(random::bytes::<32>()).to_string();
    let identity = DomainIdentity {
        name: init.name.clone(),
        domain: DomainId(random::uuid()),
        incarnation: 1,
        server: PoolId(random::uuid()).to_string(),
        pool: PoolId(random::uuid()),
        admin_token: Hex(admin_token_hash(&token)),
    };
    let pki = folder.pki();
    create_private(&pki)?;
    let authority = Authority::create(&pki, identity.domain, &identity.name)?;
    SigningKey::create(&pki)?;
    let now = time::OffsetDateTime::now_utc();
    authority.create_server(&pki, (identity.server.clone(), vec![config.host.clone()]), now)?;

    create_private(&folder.pool())?;
    let segment_mean = init.segment_mean.bytes();
    let create = narrows_pool::Create { segment_mean, ..narrows_pool::Create::new(identity.pool) };
    make_pool(folder.pool(), create).await?;
    make_catalog(folder, &identity).await?;

    let settings = Settings { listen: Some(config.listen), ..init.settings.clone() };
    write_toml(&folder.settings(), &settings)?;
    let context = Context {
        name: identity.name.clone(),
        domain: identity.domain.to_string(),
        url: config.url(),
        ca_pem: authority.pem().to_owned(),
        token: Some(token),
        certificate_pem: None,
        key_pem: None,
    };
    let path = folder.admin_context();
    create_private(path.parent().unwrap_or(folder.root()))?;
    write_toml(&path, &context)?;
    folder.save_identity(&identity)?;
    Ok(identity)
}

/// The pool is made on a thread of its own, in the data plane's world.
pub(crate) async fn make_pool(path: PathBuf, create: narrows_pool::Create) -> Result<(), InitError> {
    let made = tokio::task::spawn_blocking(move || {
        block_on(Setup::here(INIT_ARENA_BYTES), |world| async move {
            narrows_pool::create(&world, &path, create).await
        })
    });
    made.await
        .map_err(|error| InitError::Disk { path: PathBuf::from("pool"), source: error.into() })???;
    Ok(())
}

/// What the catalog of a new domain has.
pub fn first_rows(identity: &DomainIdentity) -> Vec<Change> {
    let pool = Pool::new(identity.pool, "default");
    let unit = StorageUnit { name: "default".to_owned(), pool: identity.pool, jobs_max: None };
    let classifications = usual_classifications().into_iter().map(Change::Classification);
    [Change::Pool(pool), Change::StorageUnit(unit)].into_iter().chain(classifications).collect()
}

async fn make_catalog(folder: &Folder, identity: &DomainIdentity) -> Result<(), InitError> {
    let catalog = SqliteCatalog::open(&folder.catalog()).await?;
    catalog.apply(&first_rows(identity)).await?;
    catalog.close().await;
    Ok(())
}

pub(crate) fn write_toml<T: serde::Serialize>(path: &Path, value: &T) -> Result<(), InitError> {
    let text = toml::to_string(value)
        .map_err(|error| FolderError::Malformed { path: path.to_owned(), sentence: error.to_string() })?;
    write_secret(path, text.as_bytes()).map_err(|source| InitError::Disk { path: path.to_owned(), source })
}

fn next_lines(init: &Init) -> [String; 2] {
    let data = init.data.display();
    [
        format!("narrowsd run --data {data}"),
        format!("narrowsctl context add {} --from {data}/admin/context.toml", init.name),
    ]
}

/// The folder was empty before: everything in it is of this attempt.
pub(crate) fn take_away(folder: &Folder) {
    let Ok(entries) = std::fs::read_dir(folder.root()) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let gone = if is_dir { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        if let Err(error) = gone {
            tracing::warn!(path = %path.display(), %error, "a leftover of the failed attempt stays");
        }
    }
}
