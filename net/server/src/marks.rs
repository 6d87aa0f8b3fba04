//! Tells an older copy of the catalog from the catalog.
//!
//! The catalog and a file beside it count the same marks: one at each start and stop, and one a minute while there is
//! news. The catalog is marked first, so it is never behind its file; one that is was replaced by an older copy. Then
//! the domain's incarnation rises, it gets the pools that were made since, and is reconciled before anything is let go.
//!
//! Not seen: a copy that is younger than the last mark. Nothing is lost by it: the pool's log tells what it lacks.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use narrows_catalog::SqliteCatalog;
use narrows_domain::{Catalog as _, Change, catalog::Reconciling, storage::Pool};
use narrows_format::Timestamp;

use crate::{
    folder::{DomainIdentity, Folder, FolderError, write_secret},
    init::first_rows,
    pools::roll,
    run::RunError,
};

/// The marks of one data folder.
#[derive(Debug)]
pub struct Marks {
    path: PathBuf,
    mark: AtomicU64,
    /// How far the image logs were in the catalog at the last one, all together.
    reached: AtomicU64,
}

impl Marks {
    /// Holds the catalog against the file. If it is older, the domain's incarnation has risen and the catalog says that
    /// it has to be reconciled when this returns.
    pub async fn check(
        folder: &Folder,
        catalog: &SqliteCatalog,
        who: &mut DomainIdentity,
        now: Timestamp,
    ) -> Result<Self, RunError> {
        let path = folder.catalog_mark();
        let (known, found) = (read(&path)?, catalog.mark().await?);
        if found < known {
            let why = format!("it has mark {found}, and the last one that was made is {known}");
            tracing::error!(
                why,
                "the catalog is older than it was; nothing is let go until it is reconciled"
            );
            let mut changes = vec![Change::ReconcileBegun(Reconciling { since: now, why })];
            let mut pools = catalog.pools().await?;
            if pools.is_empty() {
                // Nothing is left of it: what a new domain has is there again.
                changes.splice(0..0, first_rows(who));
                pools.push(Pool::new(who.pool, "default"));
            }
            changes.extend(roll::lacking(folder, &pools)?);
            who.incarnation += 1;
            folder.save_identity(who)?;
            catalog.apply(&changes).await?;
        }
        roll::write(folder, catalog.pools().await?.iter())?;
        let marks = Self { path, mark: AtomicU64::new(found.max(known)), reached: AtomicU64::new(0) };
        let mark = marks.next();
        catalog.apply(&[Change::Mark(mark)]).await?;
        marks.write(mark)?;
        Ok(marks)
    }

    /// The next mark, for the catalog; then it is to be [written](Self::write).
    pub fn next(&self) -> u64 {
        self.mark.load(Ordering::Relaxed) + 1
    }

    /// Whether the logs have gone on since this was asked last: what their sequences come to.
    pub fn is_news(&self, reached: u64) -> bool {
        self.reached.swap(reached, Ordering::Relaxed) != reached
    }

    /// The catalog has this mark.
    pub fn write(&self, mark: u64) -> Result<(), FolderError> {
        let disk = |source| FolderError::Disk { path: self.path.clone(), source };
        write_secret(&self.path, format!("{mark}\n").as_bytes()).map_err(disk)?;
        self.mark.fetch_max(mark, Ordering::Relaxed);
        Ok(())
    }
}

/// No file is a folder of an older version.
fn read(path: &Path) -> Result<u64, FolderError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(source) => return Err(FolderError::Disk { path: path.to_owned(), source }),
    };
    text.trim().parse().map_err(|_| FolderError::Malformed {
        path: path.to_owned(),
        sentence: "this is no number; without the file, the catalog counts as the newest one".to_owned(),
    })
}
