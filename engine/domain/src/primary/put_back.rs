//! A pool that was put back to an older state: its whole log is read again under another incarnation, and what it does not tell
//! of is gone.

use narrows_format::{ImageId, PoolId, Sequence};

use super::{Done, Primary, lost};
use crate::catalog::{Catalog, Reconciling};
use crate::event::{Change, Command, Decision};
use crate::image::{Image, ImageState};
use crate::import::ArrivedData;
use crate::limits::{ANSWER_WAIT_MAX, COMPARED_AT_ONCE, SHUT_LOOK};
use crate::machine::leaving;
use crate::moment::{Moment, after};
use crate::storage::Pool;

impl<C: Catalog> Primary<C> {
    /// A pool's log begins anew in this incarnation. Nothing goes before it was read, and partners were compared. Once for each
    /// incarnation, though its log may be empty.
    pub async fn pool_put_back(
        &mut self,
        (pool, incarnation): (PoolId, u64),
        why: String,
        moment: Moment,
    ) -> Done<Vec<Command>, C> {
        let mut changes = vec![Change::Cursor(pool, incarnation, Sequence(0))];
        // The log tells again of each copy that was removed.
        let row = self.ask(self.catalog.pools()).await?.into_iter().find(|it| it.id == pool);
        changes.extend(row.map(|row| Change::Pool(Pool { removed_bytes: 0, ..row })));
        if self.reconciling.is_some() {
            self.store(&changes).await?;
            return Ok(Vec::new());
        }
        let begun = Reconciling { since: moment.now, why };
        changes.push(Change::ReconcileBegun(begun.clone()));
        // The catalog is newer than the log: what it was about to ask for is asked for when that is read.
        let asked_by = after(moment.now, SHUT_LOOK.max(ANSWER_WAIT_MAX));
        let asked = self.ask(self.catalog.due_amendments(asked_by, u32::MAX)).await?;
        changes.extend(asked.into_iter().map(Change::Copy));
        self.store(&changes).await?;
        self.reconciling = Some(begun);
        Ok(Vec::new())
    }

    /// All of a pool's log is handled: copies of which only an earlier incarnation told are gone, and so is data that
    /// waited for its import, so many at a time; `None` when there is no more. Who sent it sees by the incarnation that its copy
    /// is lost. Gives the images.
    pub async fn pool_compared(
        &mut self,
        pool: PoolId,
        incarnation: u64,
        moment: Moment,
    ) -> Done<Option<(Vec<ImageId>, Vec<Command>)>, C> {
        let mut decision = Decision::nothing();
        let stale = self.ask(self.catalog.stale_copies(pool, incarnation, COMPARED_AT_ONCE)).await?;
        for copy in &stale {
            decision.changes.push(Change::CopyGone(copy.image, copy.number));
            // Nothing is told: who sent it would take it for a word about the pool as it is now.
            let imports = self.ask(self.catalog.imports_of(copy.image)).await?.into_iter();
            for mut import in imports.filter(|it| it.key.pool == pool && it.damage.is_some()) {
                import.damage = None;
                decision.changes.push(Change::Import(import));
            }
            let loaded = self.load_image(copy.image).await?;
            let (with_it, left): (Vec<_>, Vec<_>) =
                loaded.copies.iter().partition(|it| it.number == copy.number);
            let mut gone = Decision::nothing();
            if left.is_empty() {
                let image = loaded.image.clone();
                gone.changes.extend(image.map(|it| Change::Image(Image { state: ImageState::Gone, ..it })));
            }
            lost::went(&loaded, (&with_it, &left), moment.now, &mut gone);
            decision.and(gone);
        }
        if stale.is_empty() {
            let waiting = self.catalog.stale_imports(pool, incarnation, COMPARED_AT_ONCE);
            let waiting = self.ask(waiting).await?;
            let gone = waiting.iter().filter_map(|it| leaving::seen(it, ArrivedData::Gone, moment.now));
            decision.changes.extend(gone.map(Change::Import));
        }
        if decision.changes.is_empty() {
            return Ok(None);
        }
        let lost = stale.iter().map(|copy| copy.image).collect();
        Ok(Some((lost, self.settle(decision, moment).await?)))
    }
}
