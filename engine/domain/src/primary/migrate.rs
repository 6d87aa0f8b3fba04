//! `slp migrate`: what was not started under one version of a policy is planned again under another.

use super::{Done, Primary};
use crate::catalog::Catalog;
use crate::event::{Change, Command, Decision};
use crate::image::{Image, ImageState};
use crate::machine::Refusal;
use crate::machine::replan::{self, Replanned};
use crate::moment::Moment;
use crate::operation::Operation;
use crate::slp::SlpVersion;

/// What a migration does, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Migration {
    /// Images that are governed by the other version from now on.
    pub images: u64,
    /// Operations that go on under it.
    pub kept: u64,
    /// Operations that it adds.
    pub added: u64,
    /// Operations whose target it does not have any more: they wait with reason `target-retired`.
    pub retired: u64,
    /// Operations that are under way or waiting for an import, which are left as they are.
    pub running: u64,
}

impl<C: Catalog> Primary<C> {
    /// What [`Self::migrate_slp`] would do.
    pub async fn plan_migration(
        &self,
        name: &str,
        (from, to): (u32, u32),
        moment: Moment,
    ) -> Done<Migration, C> {
        self.known_version(name, from).await?;
        let version = self.known_version(name, to).await?;
        Ok(self.replan(name, from, &version, moment).await?.0)
    }

    /// Plans the operations anew that were not started for images made under version `from`, in one
    /// transaction.
    pub async fn migrate_slp(
        &mut self,
        name: &str,
        (from, to): (u32, u32),
        moment: Moment,
    ) -> Done<(Migration, Vec<Command>), C> {
        self.known_version(name, from).await?;
        let version = self.known_version(name, to).await?;
        let (migration, mut decision) = self.replan(name, from, &version, moment).await?;
        decision.changes.push(Change::SlpUnused(name.to_owned()));
        Ok((migration, self.settle(decision, moment).await?))
    }

    pub(super) async fn replan(
        &self,
        name: &str,
        from: u32,
        version: &SlpVersion,
        moment: Moment,
    ) -> Done<(Migration, Decision), C> {
        let to = version.version;
        let partners = self.ask(self.catalog.partners()).await?;
        let mut images = self.ask(self.catalog.images_under_way(name, Some(from), u32::MAX)).await?;
        images.retain(|image| image.state == ImageState::Whole);
        let (mut migration, mut decision) = (Migration::default(), Decision::nothing());
        for image in images {
            let loaded = self.load_image(image.id).await?;
            let moved = Image { slp_version: to, ..image };
            let Replanned { kept, added, retired, running } =
                replan::image(&moved, version, &loaded.replication_view(), &partners, moment.now);
            migration.images += 1;
            migration.kept += count(&kept);
            migration.added += count(&added);
            migration.retired += count(&retired);
            migration.running += running;
            decision.changes.push(Change::Image(moved));
            let operations = kept.into_iter().chain(added).chain(retired);
            decision.changes.extend(operations.map(Change::Operation));
        }
        Ok((migration, decision))
    }

    async fn known_version(&self, name: &str, version: u32) -> Done<SlpVersion, C> {
        let found = self.ask(self.catalog.slp(name, Some(version))).await?;
        found.ok_or_else(|| {
            let help = "`narrowsctl slp show` names its versions";
            Refusal::new("SLP-013", format!("there is no version {version} of SLP `{name}`"), help).into()
        })
    }
}

fn count(operations: &[Operation]) -> u64 {
    u64::try_from(operations.len()).unwrap_or(u64::MAX)
}
