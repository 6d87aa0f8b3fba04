//! What is to be copied within the domain and is not complete, summed up for people.
//!
//! Nothing is decided by it, so [`narrows_domain::Catalog`] does not ask for it: what goes to partners is in its
//! [`backlog`](narrows_domain::Catalog::backlog).

use narrows_domain::operation::OperationState;
use narrows_format::Timestamp;
use sqlx::sqlite::SqliteRow;

use crate::Error;
use crate::columns::Columns;
use crate::file::{Asked, SqliteCatalog};

/// Duplications and further Backups of one operation of an SLP's version that stand in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalBacklog {
    /// The SLP.
    pub slp: String,
    /// The version that governs the images.
    pub version: u32,
    /// The operation's id in it.
    pub operation: String,
    /// The state; none that is final.
    pub state: OperationState,
    /// How many.
    pub operations: u64,
    /// When the backup of the oldest image began.
    pub oldest: Timestamp,
}

const LOCAL: &str = "
    SELECT i.slp, i.slp_version AS version, o.name, o.state, o.detail, count(*) AS operations, min(o.age) AS oldest
    FROM operations o INDEXED BY duplications_open
    CROSS JOIN images i ON i.id = o.image
    WHERE o.kind = 'duplication' AND o.state NOT IN ('complete', 'failed', 'cancelled')
    GROUP BY i.slp, i.slp_version, o.name, o.state, o.detail
    ORDER BY i.slp, i.slp_version, o.name, o.state, o.detail";

impl SqliteCatalog {
    /// What is to be copied within the domain, by what asked for it and how it stands.
    pub async fn local_backlog(&self) -> Asked<Vec<LocalBacklog>> {
        self.all(sqlx::query(LOCAL), line).await
    }
}

fn line(row: &SqliteRow) -> Result<LocalBacklog, Error> {
    let columns = Columns { table: "operations", row };
    let state = OperationState::from_parts(&columns.text("state")?, &columns.text("detail")?);
    Ok(LocalBacklog {
        slp: columns.text("slp")?,
        version: columns.count("version")?,
        operation: columns.text("name")?,
        state: state.ok_or_else(|| columns.corrupt("state"))?,
        operations: columns.count("operations")?,
        oldest: columns.time("oldest")?,
    })
}
