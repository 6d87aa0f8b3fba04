//! How attempts to send an image ended.

use super::{Done, Primary};
use crate::OperationKey;
use crate::catalog::Catalog;
use crate::event::{Decision, ReplicationDone};
use crate::job::Counters;
use crate::machine::barrier::Scope;
use crate::machine::replication;
use crate::moment::Moment;
use crate::retry::Failure;

impl<C: Catalog> Primary<C> {
    pub(super) async fn replication_done(
        &self,
        event: &ReplicationDone,
        moment: Moment,
    ) -> Done<Decision, C> {
        let loaded = self.load_image(event.operation.image).await?;
        let mut decision = replication::done(&loaded.replication_view(), event, moment);
        let done = loaded.operations.into_iter().find(|it| it.key == event.operation);
        let target = done.as_ref().and_then(|it| it.target.as_ref());
        if let (Some(target), false) = (target, decision.changes.is_empty())
            && let Some(partner) = self.ask(self.catalog.partner(target.partner)).await?
        {
            self.pass((&partner, Scope::Unit), done.as_ref(), &mut decision, moment).await?;
        }
        Ok(decision)
    }

    pub(super) async fn replication_failed(
        &self,
        (key, attempt): (OperationKey, u32),
        failure: &Failure,
        counters: Counters,
        moment: Moment,
    ) -> Done<Decision, C> {
        let loaded = self.load_image(key.image).await?;
        let operation = loaded.operations.iter().find(|it| it.key == key);
        let partner = match operation.and_then(|it| it.target.as_ref()) {
            Some(target) => self.ask(self.catalog.partner(target.partner)).await?,
            None => None,
        };
        let view = loaded.replication_view();
        let mut decision =
            replication::failed(&view, partner.as_ref(), (key, attempt), failure, counters, moment);
        self.meet(partner.as_ref(), failure, &mut decision, moment).await?;
        Ok(decision)
    }
}
