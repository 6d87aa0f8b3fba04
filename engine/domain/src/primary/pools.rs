//! Pools: made, changed, and what is known of how they are.
//!
//! How they are is in memory only: after a restart the server says it anew.

use narrows_format::PoolId;

use super::storage::{check_name, taken};
use super::{Done, Primary};
use crate::catalog::Catalog;
use crate::event::{Change, Command, Decision};
use crate::limits::{POOLS_MAX, STIRRED_MAX};
use crate::machine::Refusal;
use crate::machine::placing::Troubles;
use crate::moment::Moment;
use crate::operation::{Operation, OperationKind, OperationState, WaitReason};
use crate::partner::Trust;
use crate::space::RoomSeen;
use crate::storage::{Pool, PoolTrouble, ReplicationTarget};

/// What a person changes of a pool; what is absent stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolOrder {
    /// It spans from now on.
    pub spanning: bool,
    /// How many bytes it keeps free.
    pub keep_free: Option<u64>,
    /// Its high water, in parts of a hundred.
    pub high_water: Option<u8>,
    /// Its low water, in parts of a hundred.
    pub low_water: Option<u8>,
    /// Bytes a second that leave it for all targets together; 0 is unlimited.
    pub bandwidth: Option<u64>,
}

/// API-001 unless both marks are parts of a hundred, the low one below the high one.
pub fn check_water(pool: &Pool) -> Result<(), Refusal> {
    let Pool { name, high_water, low_water, .. } = pool;
    if low_water < high_water && *high_water <= 100 {
        return Ok(());
    }
    let sentence = format!(
        "pool `{name}` can't have its high water at {high_water} % and its low water at {low_water} %"
    );
    Err(Refusal::new("API-001", sentence, "name a low water below the high one, and neither above 100"))
}

impl<C: Catalog> Primary<C> {
    /// Whether a pool could be made: its name is one, and free (API-003), and its water marks are some (API-001).
    pub async fn check_new_pool(&self, pool: &Pool) -> Done<(), C> {
        let name = pool.name.as_str();
        check_name("pool", name)?;
        check_water(pool)?;
        let pools = self.ask(self.catalog.pools()).await?;
        if pools.iter().any(|pool| pool.name == name) {
            return Err(taken("pool", name).into());
        }
        if pools.len() >= POOLS_MAX {
            let sentence = format!("this domain has {POOLS_MAX} pools already");
            return Err(Refusal::new("API-003", sentence, "use storage units on those that are there").into());
        }
        Ok(())
    }

    /// Stores a pool that was made, with the replication targets that pairings would have made had it been there. Units
    /// before it are made by people.
    pub async fn add_pool(&mut self, pool: Pool, moment: Moment) -> Done<Vec<Command>, C> {
        self.check_new_pool(&pool).await?;
        let mut changes = Vec::new();
        if !pool.spanning {
            let is_paired = |trust| !matches!(trust, Trust::Half | Trust::Unpaired);
            let partners = self.ask(self.catalog.partners()).await?.into_iter();
            let targets = partners.filter(|it| is_paired(it.trust)).map(|it| it.domain);
            changes.extend(
                targets.map(|partner| Change::ReplicationTarget(ReplicationTarget::usual(pool.id, partner))),
            );
        }
        changes.insert(0, Change::Pool(pool));
        self.settle(Decision { changes, commands: Vec::new() }, moment).await
    }

    /// Changes what may be changed of a pool: how much it keeps free, its water marks, its bandwidth, and that it spans from now on. What lies in one that
    /// spans stays where it is; nothing is replicated from there any more (SLP-007, AIR-010), and it does not become one
    /// again that does not span.
    pub async fn set_pool(
        &mut self,
        name: &str,
        order: PoolOrder,
        moment: Moment,
    ) -> Done<(Pool, Vec<Command>), C> {
        let pools = self.ask(self.catalog.pools()).await?;
        let Some(mut pool) = pools.into_iter().find(|pool| pool.name == name) else {
            let sentence = format!("there is no pool `{name}`");
            return Err(
                Refusal::new("SLP-013", sentence, "`narrowsctl pool list` shows what there is").into()
            );
        };
        pool.spanning |= order.spanning;
        pool.keep_free = order.keep_free.unwrap_or(pool.keep_free);
        pool.high_water = order.high_water.unwrap_or(pool.high_water);
        pool.low_water = order.low_water.unwrap_or(pool.low_water);
        pool.water_is_set |= order.high_water.or(order.low_water).is_some();
        pool.bandwidth =
            order.bandwidth.map_or(pool.bandwidth, |bytes| Some(bytes).filter(|bytes| *bytes > 0));
        check_water(&pool)?;
        self.room_looks.remove(&pool.id);
        let decision = Decision { changes: vec![Change::Pool(pool.clone())], commands: Vec::new() };
        let commands = self.settle(decision, moment).await?;
        Ok((pool, commands))
    }

    /// How a pool is: what stands against writing to it, or nothing. What waited for it is looked at again.
    pub async fn pool_stands(
        &mut self,
        pool: PoolId,
        trouble: Option<PoolTrouble>,
        moment: Moment,
    ) -> Done<Vec<Command>, C> {
        let before = match &trouble {
            Some(trouble) => self.troubles.insert(pool, trouble.clone()),
            None => self.troubles.remove(&pool),
        };
        // Work may go somewhere else, too, once a pool is known to take nothing; that is found when its turn comes.
        let is_better =
            before.is_some_and(|before| trouble.is_none_or(|now| now.readable && !before.readable));
        if !is_better {
            return Ok(Vec::new());
        }
        let waiting = self.ask(self.catalog.unfinished_operations(STIRRED_MAX)).await?;
        let stirred = waiting.into_iter().filter(waits_for_a_pool).map(|mut operation| {
            operation.enter(OperationState::NotStarted, moment.now);
            Change::Operation(operation)
        });
        let decision = Decision { changes: stirred.collect(), commands: Vec::new() };
        self.settle(decision, moment).await
    }

    /// How much room a pool has now, if that is worth being noted.
    pub async fn room_seen(&mut self, seen: RoomSeen) -> Done<(), C> {
        let before = self.ask(self.catalog.rooms_seen(seen.pool)).await?;
        if seen.is_news(before.first()) {
            self.store(&[Change::RoomSeen(seen)]).await?;
        }
        Ok(())
    }

    /// Knowing what stands against writing to pools.
    #[must_use]
    pub fn with_troubles(self, troubles: Troubles) -> Self {
        Self { troubles, ..self }
    }

    /// What stands against writing to pools just now.
    pub const fn troubles(&self) -> &Troubles {
        &self.troubles
    }
}

/// A copy that could not be read, or for which no pool here had room.
fn waits_for_a_pool(operation: &Operation) -> bool {
    let here = operation.kind == OperationKind::Duplication;
    match operation.state {
        OperationState::Waiting(WaitReason::SourceIncomplete) => operation.kind != OperationKind::Backup,
        OperationState::Waiting(WaitReason::TargetFull | WaitReason::TargetDown) => here,
        _ => false,
    }
}
