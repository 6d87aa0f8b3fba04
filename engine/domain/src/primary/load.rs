//! Loads from the catalog what one decision depends on.

use narrows_format::{DomainId, ImageId, PoolId, Timestamp};

use super::{Done, LOOK_AHEAD, Primary};
use crate::auto_import::{self, AutoSlp, Surroundings};
use crate::catalog::Catalog;
use crate::image::{Image, ImageCopy};
use crate::import::Arrival;
use crate::machine::arrival::ArrivalView;
use crate::machine::backup::CommittedView;
use crate::machine::children::spec_of;
use crate::machine::pacing::pace;
use crate::machine::placing::{can_read, nearest};
use crate::machine::replication::ReplicationView;
use crate::machine::turn::{Candidate, TurnView};
use crate::operation::{Note, Operation};
use crate::partner::Partner;
use crate::recall::Recall;
use crate::replica::{Base, ReplicaRecord};
use crate::settings::Settings;
use crate::slp::SlpVersion;
use crate::storage::{Identity, ReplicationTarget, StorageUnit, StorageUnitGroup, spans};

/// An image and everything that hangs on it.
pub(super) struct LoadedImage {
    pub(super) image: Option<Image>,
    pub(super) operations: Vec<Operation>,
    pub(super) copies: Vec<ImageCopy>,
    pub(super) replicas: Vec<ReplicaRecord>,
    pub(super) slp: Option<SlpVersion>,
}

impl LoadedImage {
    pub(super) fn replication_view(&self) -> ReplicationView<'_> {
        ReplicationView {
            operations: &self.operations,
            replicas: &self.replicas,
            copies: &self.copies,
            slp: self.slp.as_ref(),
        }
    }

    pub(super) fn committed_view<'a>(
        &'a self,
        slp: Option<&'a SlpVersion>,
        partners: &'a [Partner],
    ) -> CommittedView<'a> {
        CommittedView {
            image: self.image.as_ref(),
            operations: &self.operations,
            copies: &self.copies,
            replicas: &self.replicas,
            slp,
            partners,
        }
    }
}

/// An arrival's surroundings.
pub(super) struct LoadedArrival {
    is_reconciling: bool,
    existing: LoadedImage,
    labelled: Option<Image>,
    recalls: Vec<Recall>,
    slp: Option<SlpVersion>,
    /// The SLP is one that would be made now, for this partner.
    made_for: Option<DomainId>,
    barred: Option<Note>,
    partners: Vec<Partner>,
    units: Vec<StorageUnit>,
    groups: Vec<StorageUnitGroup>,
}

impl LoadedArrival {
    pub(super) fn view<'a>(&'a self, own: &'a Identity, settings: Settings) -> ArrivalView<'a> {
        ArrivalView {
            own,
            settings,
            is_reconciling: self.is_reconciling,
            slp: self.slp.as_ref(),
            made_for: self.made_for,
            barred: self.barred.as_ref(),
            existing: self.existing.image.as_ref(),
            labelled: self.labelled.as_ref(),
            operations: &self.existing.operations,
            copies: &self.existing.copies,
            replicas: &self.existing.replicas,
            recalls: &self.recalls,
            partners: &self.partners,
            units: &self.units,
            groups: &self.groups,
        }
    }
}

impl<C: Catalog> Primary<C> {
    /// An image as it is planned now.
    pub(super) async fn load_image(&self, id: ImageId) -> Done<LoadedImage, C> {
        let loaded = self.load_as_stored(id).await?;
        self.planned_anew(loaded).await
    }

    pub(super) async fn load_as_stored(&self, id: ImageId) -> Done<LoadedImage, C> {
        let image = self.ask(self.catalog.image(id)).await?;
        let slp = match &image {
            Some(image) => self.ask(self.catalog.slp(&image.slp, Some(image.slp_version))).await?,
            None => None,
        };
        Ok(LoadedImage {
            image,
            operations: self.ask(self.catalog.operations(id)).await?,
            copies: self.ask(self.catalog.copies(id)).await?,
            replicas: self.ask(self.catalog.replicas(id)).await?,
            slp,
        })
    }

    pub(super) async fn load_arrival(&self, arrival: &Arrival, now: Timestamp) -> Done<LoadedArrival, C> {
        let record = &arrival.record;
        let labelled =
            self.catalog.image_labelled(record.origin, &record.client_name, record.started.seconds);
        let mut loaded = LoadedArrival {
            is_reconciling: self.reconciling.is_some(),
            existing: self.load_image(record.image).await?,
            labelled: self.ask(labelled).await?,
            recalls: self.ask(self.catalog.recalls(record.image)).await?,
            slp: self.ask(self.catalog.slp(arrival.slp(), None)).await?,
            made_for: None,
            barred: None,
            partners: self.ask(self.catalog.partners()).await?,
            units: self.ask(self.catalog.storage_units()).await?,
            groups: self.ask(self.catalog.storage_unit_groups()).await?,
        };
        self.load_auto_import(arrival, &mut loaded, now).await?;
        Ok(loaded)
    }

    /// What the grant `auto-import` of the sender makes of it.
    async fn load_auto_import(
        &self,
        arrival: &Arrival,
        loaded: &mut LoadedArrival,
        now: Timestamp,
    ) -> Done<(), C> {
        let granted = |it: &&Partner| it.domain == arrival.sender && it.grants.auto_import.is_some();
        let Some(sender) = loaded.partners.iter().find(granted) else { return Ok(()) };
        let made = self.ask(self.catalog.auto_slps()).await?;
        let is_theirs = |it: &AutoSlp| it.slp == arrival.slp() && it.partner == sender.domain;
        if loaded.slp.is_some() && !made.iter().any(is_theirs) {
            return Ok(());
        }
        let classifications = self.ask(self.catalog.classifications()).await?;
        // It is a sum over all that came: asked for only where it counts.
        let is_bounded = sender.grants.auto_import.is_some_and(|bounds| bounds.quota_bytes.is_some());
        let used_bytes =
            if is_bounded { self.ask(self.catalog.auto_imported(sender.domain)).await? } else { 0 };
        let around = Surroundings {
            sender,
            made: &made,
            used_bytes,
            units: &loaded.units,
            classifications: &classifications,
        };
        if loaded.slp.is_some() {
            loaded.barred = auto_import::takes_more(arrival.slp(), &around).err();
            return Ok(());
        }
        let seen = self.ask(self.catalog.slp_version_seen(arrival.slp())).await?;
        match auto_import::make(arrival, &around, seen.saturating_add(1), now) {
            Ok(version) => (loaded.slp, loaded.made_for) = (Some(version), Some(sender.domain)),
            Err(why) => loaded.barred = Some(why),
        }
        Ok(())
    }

    /// `None` when nothing may be started for the partner, or it is not known.
    pub(super) async fn load_turn(&self, domain: DomainId, now: Timestamp) -> Done<Option<TurnView>, C> {
        let Some(partner) = self.ask(self.catalog.partner(domain)).await? else { return Ok(None) };
        let running = self.ask(self.catalog.running(domain)).await?;
        let limit = partner.running_max.saturating_sub(running).saturating_add(LOOK_AHEAD);
        let operations = self.ask(self.catalog.candidates(domain, now, limit)).await?;
        if operations.is_empty() {
            return Ok(None);
        }
        let candidates = self.load_candidates(Some(&partner), operations, now).await?;
        let mut barriers = self.ask(self.catalog.barriers()).await?;
        barriers.retain(|it| it.partner == domain);
        Ok(Some(TurnView { partner, running, barriers, candidates }))
    }

    /// Operations for a partner, or those that stay in the domain, and what their running depends on.
    pub(super) async fn load_candidates(
        &self,
        partner: Option<&Partner>,
        operations: Vec<Operation>,
        now: Timestamp,
    ) -> Done<Vec<Candidate>, C> {
        let windows = self.ask(self.catalog.windows()).await?;
        let holds = self.ask(self.catalog.slp_holds()).await?;
        let targets = match partner {
            Some(_) => self.ask(self.catalog.replication_targets()).await?,
            None => Vec::new(),
        };
        let pools = self.ask(self.catalog.pools()).await?;
        let mut candidates = Vec::with_capacity(operations.len());
        for operation in operations {
            let loaded = self.load_image(operation.key.image).await?;
            // It may have been planned anew just now.
            let key = operation.key;
            let operation = loaded.operations.iter().find(|it| it.key == key).cloned().unwrap_or(operation);
            let version = loaded.slp.as_ref();
            let source = version.and_then(|it| it.slp.source_of(spec_of(it, &operation)?));
            let way_of = |pool: PoolId| {
                let partner = partner?.domain;
                targets.iter().find(|it| it.pool == pool && it.partner == partner)
            };
            let may_leave = |pool: PoolId| partner.is_none() || !spans(&pools, pool);
            let leaves = |pool: PoolId| can_read(&self.troubles, pool) && may_leave(pool);
            // A person may send it from anywhere, a policy only where somebody has set how.
            let has_way = |pool: PoolId| partner.is_none() || operation.is_manual() || way_of(pool).is_some();
            let is_hurt = |pool: PoolId| self.is_hurt(operation.key.image, pool);
            let from = nearest(&loaded.copies, source, |pool| leaves(pool) && has_way(pool), is_hurt);
            let from = from.map(|copy| copy.pool);
            let no_way = match from {
                Some(_) => None,
                None => nearest(&loaded.copies, source, leaves, is_hurt).map(|copy| copy.pool),
            };
            let way = from.and_then(way_of);
            let base = match (&loaded.image, partner) {
                (Some(image), Some(partner)) => self.base_there(image, partner, way).await?,
                _ => None,
            };
            let slp = loaded.image.as_ref().map(|image| image.slp.as_str());
            let is_anywhere = loaded.copies.iter().any(ImageCopy::is_readable);
            let all_span = nearest(&loaded.copies, None, |pool| !spans(&pools, pool), |_| false).is_none();
            candidates.push(Candidate {
                pace: way.map(|target| pace(target, &windows, now)),
                unit: way.map(|target| target.unit.clone()).unwrap_or_default(),
                operation,
                hold: holds.iter().find(|hold| Some(hold.slp.as_str()) == slp).cloned(),
                image: loaded.image,
                from,
                no_way,
                spans: partner.is_some() && is_anywhere && all_span,
                slp: loaded.slp,
                windows: windows.clone(),
                base,
            });
        }
        Ok(candidates)
    }

    /// What the pool there has of the same lineage. Behind a named unit it may be any of the partner's pools: the newest
    /// that one of them has; if it is not in the pool that receives, that pool says so.
    async fn base_there(
        &self,
        image: &Image,
        partner: &Partner,
        way: Option<&ReplicationTarget>,
    ) -> Done<Option<Base>, C> {
        let usual = way.is_none_or(|target| target.unit.is_empty());
        let pools: Vec<_> =
            if usual { partner.receive_pool.into_iter().collect() } else { partner.pools.clone() };
        let mut newest: Option<(Timestamp, Base)> = None;
        for pool in pools {
            let base = self.catalog.base(image.lineage, image.id, partner.domain, pool);
            let Some(base) = self.ask(base).await? else { continue };
            let started = self.ask(self.catalog.image(base.image)).await?.map(|image| image.started);
            let found = started.map(|started| (started, base));
            newest = newest.into_iter().chain(found).max_by_key(|(started, _)| *started);
        }
        Ok(newest.map(|(_, base)| base))
    }
}
