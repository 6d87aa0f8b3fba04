//! What can go wrong in the catalog, by what the caller does about it.

/// The catalog did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened, or its schema is newer than this program.
    #[error("the catalog cannot be opened")]
    Open(#[source] sqlx::migrate::MigrateError),
    /// A row is not what this program wrote: restore the catalog from a backup or rebuild it.
    #[error("the catalog is damaged: column `{column}` of table `{table}`")]
    Corrupt {
        /// Which table.
        table: &'static str,
        /// Which column.
        column: &'static str,
    },
    /// A value that is stored as text has none.
    #[error("a value has no text to store")]
    Text(#[from] serde_json::Error),
    /// A statement failed: disk, lock, or a rule such as a unique name.
    #[error("a statement of the catalog failed")]
    Database(#[from] sqlx::Error),
}

impl Error {
    /// Asked again, it would fail again, and about nothing else: rows of one image are at fault, not the disk,
    /// a lock, or something that all decisions depend on.
    pub fn is_permanent(&self) -> bool {
        const CONSTRAINT: u32 = 19;
        const OF_ONE_IMAGE: [&str; 5] = ["images", "copies", "operations", "replicas", "imports"];
        match self {
            Self::Corrupt { table, .. } => OF_ONE_IMAGE.contains(table),
            Self::Database(sqlx::Error::Database(error)) => {
                let code = error.code().and_then(|code| code.parse::<u32>().ok());
                code.is_some_and(|code| code & 0xff == CONSTRAINT)
            }
            Self::Database(_) | Self::Open(_) | Self::Text(_) => false,
        }
    }

    /// The change would give two rows the same name or place; nothing was stored.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.is_unique_violation())
    }
}
