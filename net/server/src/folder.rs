//! The data folder: what lies where, and one process at a time.
//!
//! ```text
//! narrowsd.toml      settings, may be edited while no server runs
//! identity.toml      who the domain is; never edited
//! lock               held by the running server
//! pki/               keys and certificates
//! admin/context.toml for `narrowsctl context add --from`
//! admin.sock         who is root here is the administrator: `narrowsctl --context local:DATA`
//! catalog.sqlite     the catalog
//! catalog.mark       how often the catalog was marked
//! pools.toml         which pools there are, for a catalog that was lost
//! pool/              the deduplication pool
//! ```
//!
//! That of a media server which joined has settings, lock and `pki/` only, and instead of the rest:
//!
//! ```text
//! media.toml         which media server of which domain it is; never edited
//! ```

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use narrows_format::{DomainId, PoolId, ServerId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use narrows_api::text;

/// Name of the file that whoever works in the folder holds.
pub const LOCK_FILE: &str = "lock";

/// A data folder by its path.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
}

/// Who the domain is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainIdentity {
    /// The domain's name.
    pub name: String,
    /// The domain.
    #[serde(with = "text::by_text")]
    pub domain: DomainId,
    /// Rises when the domain is recovered.
    pub incarnation: u64,
    /// UUID of this server.
    pub server: String,
    /// The pool.
    #[serde(with = "text::by_text")]
    pub pool: PoolId,
    /// BLAKE3 of the administrator's token.
    pub admin_token: narrows_api::Hex<32>,
}

/// Which media server of which domain a folder is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Its UUID.
    #[serde(with = "text::by_text")]
    pub server: ServerId,
    /// Its name in its domain.
    pub name: String,
    /// The domain.
    #[serde(with = "text::by_text")]
    pub domain: DomainId,
    /// The domain's name.
    pub domain_name: String,
    /// Base URL of the primary server.
    pub primary: String,
}

/// Keeps other processes out while it lives.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

/// The folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It is no data folder yet.
    #[error("{0} holds no domain")]
    NotInitialised(PathBuf),
    /// It is one already.
    #[error("{0} holds a domain already")]
    Initialised(PathBuf),
    /// Another server runs on it.
    #[error("another narrowsd runs on {0}")]
    InUse(PathBuf),
    /// A file in it says nothing sensible.
    #[error("{path}: {sentence}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is amiss.
        sentence: String,
    },
    /// The disk.
    #[error("{path} can't be read or written")]
    Disk {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Folder {
    /// The folder at `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Its path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Which media server of which domain it is.
    pub fn membership(&self) -> PathBuf {
        self.root.join("media.toml")
    }

    /// Settings.
    pub fn settings(&self) -> PathBuf {
        self.root.join("narrowsd.toml")
    }

    /// Identity.
    pub fn identity(&self) -> PathBuf {
        self.root.join("identity.toml")
    }

    /// Keys and certificates.
    pub fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    /// The administrator's context file.
    pub fn admin_context(&self) -> PathBuf {
        self.root.join("admin").join("context.toml")
    }

    /// The socket that admits the administrator.
    pub fn admin_socket(&self) -> PathBuf {
        self.root.join("admin.sock")
    }

    /// The catalog.
    pub fn catalog(&self) -> PathBuf {
        self.root.join("catalog.sqlite")
    }

    /// The catalog's mark; see [`crate::marks`].
    pub fn catalog_mark(&self) -> PathBuf {
        self.root.join("catalog.mark")
    }

    /// How often a server started on it; see [`crate::lives`].
    pub fn starts(&self) -> PathBuf {
        self.root.join("starts")
    }

    /// Which pools there are; see [`crate::pools::roll`].
    pub fn pools(&self) -> PathBuf {
        self.root.join("pools.toml")
    }

    /// The pool.
    pub fn pool(&self) -> PathBuf {
        self.root.join("pool")
    }

    /// Takes the lock. It goes with the process, however that ends.
    pub fn lock(&self) -> Result<FolderLock, FolderError> {
        lock_in(&self.root)
    }

    /// Reads who the domain is.
    pub fn load_identity(&self) -> Result<DomainIdentity, FolderError> {
        self.load(self.identity())
    }

    /// Reads which media server of which domain it is.
    pub fn load_membership(&self) -> Result<Membership, FolderError> {
        self.load(self.membership())
    }

    fn load<T: DeserializeOwned>(&self, path: PathBuf) -> Result<T, FolderError> {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(FolderError::NotInitialised(self.root.clone()));
            }
            Err(source) => return Err(FolderError::Disk { path, source }),
        };
        toml::from_str(&text).map_err(|error| FolderError::Malformed { path, sentence: error.to_string() })
    }

    /// Writes who the domain is; the last step of making one.
    pub fn save_identity(&self, identity: &DomainIdentity) -> Result<(), FolderError> {
        Self::save(self.identity(), identity)
    }

    /// Writes which media server of which domain it is; the last step of joining one.
    pub fn save_membership(&self, membership: &Membership) -> Result<(), FolderError> {
        Self::save(self.membership(), membership)
    }

    fn save<T: Serialize>(path: PathBuf, value: &T) -> Result<(), FolderError> {
        let text = toml::to_string(value)
            .map_err(|error| FolderError::Malformed { path: path.clone(), sentence: error.to_string() })?;
        write_secret(&path, text.as_bytes()).map_err(|source| FolderError::Disk { path, source })
    }
}

/// Takes the lock of any folder. It goes with the process, however that ends.
pub fn lock_in(root: &Path) -> Result<FolderLock, FolderError> {
    let path = root.join(LOCK_FILE);
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.map_err(|source| FolderError::Disk { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(FolderLock { _file: file }),
        Err(TryLockError::WouldBlock) => Err(FolderError::InUse(root.to_owned())),
        Err(TryLockError::Error(source)) => Err(FolderError::Disk { path, source }),
    }
}

/// Makes a folder that only the owner enters.
pub fn create_private(path: &Path) -> Result<(), FolderError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| FolderError::Disk { path: path.to_owned(), source })
}

/// Writes a new file that only the owner reads, whole or not at all, and makes it durable.
pub fn write_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_until_the_first_goes() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::new(root.path());
        let first = folder.lock().unwrap();
        assert!(matches!(folder.lock(), Err(FolderError::InUse(_))));
        drop(first);
        folder.lock().unwrap();
    }

    #[test]
    fn identity_survives() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::new(root.path());
        assert!(matches!(folder.load_identity(), Err(FolderError::NotInitialised(_))));
        let identity = DomainIdentity {
            name: "east".into(),
            domain: DomainId([1; 16]),
            incarnation: 1,
            server: "s".into(),
            pool: PoolId([2; 16]),
            admin_token: narrows_api::Hex([3; 32]),
        };
        folder.save_identity(&identity).unwrap();
        assert_eq!(folder.load_identity().unwrap(), identity);
    }
}
