//! The catalog file: opened, migrated, written by one connection and read by a few.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use narrows_domain::event::Change;
use narrows_domain::token::{Token, TokenHash, TokenPurpose};
use narrows_format::Timestamp;
use sqlx::query::Query;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{Sqlite, Transaction};

use crate::ending::{EndAt, Ending, Side};
use crate::{Error, rules, storage};

/// Connections that read at the same time.
const READERS_MAX: u32 = 4;
/// How long a statement waits for a lock before it fails; only a backup of the file ever holds one.
const BUSY_WAIT: Duration = Duration::from_secs(10);

/// The catalog over one `SQLite` file. Clones share it.
#[derive(Clone, Debug)]
pub struct SqliteCatalog {
    writer: SqlitePool,
    pub(crate) readers: SqlitePool,
    ending: Option<Arc<Ending>>,
}

pub(crate) type Asked<T> = Result<T, Error>;
pub(crate) type Question<'q> = Query<'q, Sqlite, SqliteArguments>;

impl SqliteCatalog {
    /// Opens the file, or makes it, and brings its schema up to date.
    pub async fn open(path: &Path) -> Asked<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_WAIT);
        let one = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
        let writer = one.connect_with(options.clone()).await?;
        sqlx::migrate!("./migrations").run(&writer).await.map_err(Error::Open)?;
        let few = SqlitePoolOptions::new().max_connections(READERS_MAX).max_lifetime(None);
        let readers = few.connect_with(options.create_if_missing(false).read_only(true)).await?;
        Ok(Self { writer, readers, ending: None })
    }

    /// For tests: the process ends at a commit.
    #[must_use]
    pub fn ending_at(self, at: EndAt) -> Self {
        Self { ending: Some(Arc::new(Ending::new(at))), ..self }
    }

    /// Finishes what is under way and closes the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// A transaction that writes.
    pub(crate) async fn begin(&self) -> Asked<Transaction<'_, Sqlite>> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    pub(crate) async fn commit(&self, transaction: Transaction<'_, Sqlite>) -> Asked<()> {
        let pass = |side| {
            if let Some(ending) = &self.ending {
                ending.pass(side);
            }
        };
        pass(Side::Before);
        transaction.commit().await?;
        pass(Side::After);
        Ok(())
    }

    /// All rows.
    pub(crate) async fn all<T>(
        &self,
        query: Question<'_>,
        decode: fn(&SqliteRow) -> Asked<T>,
    ) -> Asked<Vec<T>> {
        query.fetch_all(&self.readers).await?.iter().map(decode).collect()
    }

    /// The row, if there is one.
    pub(crate) async fn one<T>(
        &self,
        query: Question<'_>,
        decode: fn(&SqliteRow) -> Asked<T>,
    ) -> Asked<Option<T>> {
        query.fetch_optional(&self.readers).await?.as_ref().map(decode).transpose()
    }

    /// All changes in one transaction.
    pub(crate) async fn store(&self, changes: &[Change]) -> Asked<()> {
        let mut transaction = self.begin().await?;
        for change in changes {
            rules::apply(&mut transaction, change).await?;
        }
        self.commit(transaction).await
    }

    /// A token used and what it was for stored, in one transaction; `None` if it can't be used.
    pub(crate) async fn try_redeem(
        &self,
        hash: TokenHash,
        purpose: TokenPurpose,
        now: Timestamp,
        changes: &[Change],
    ) -> Asked<Option<Token>> {
        let mut transaction = self.begin().await?;
        let found = sqlx::query("SELECT * FROM tokens WHERE hash = ?").bind(hash.0.to_vec());
        let token =
            found.fetch_optional(&mut *transaction).await?.as_ref().map(storage::token).transpose()?;
        let Some(token) = token.filter(|token| token.check(purpose, now).is_ok()) else { return Ok(None) };
        rules::apply(&mut transaction, &Change::TokenUsed(hash, now)).await?;
        for change in changes {
            rules::apply(&mut transaction, change).await?;
        }
        self.commit(transaction).await?;
        Ok(Some(token))
    }
}
