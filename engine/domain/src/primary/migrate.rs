//! `slp migrate` and `slp apply --in-place`: what was not started under one version of a policy is planned again under another.
//!
//! That it shall be is one transaction; from then on no image is decided of as it was planned before. They are planned anew in
//! portions, so that others have their turn between two of them, and none is missed by a crash.

use narrows_format::Timestamp;

use super::load::LoadedImage;
use super::{Done, Primary};
use crate::catalog::Catalog;
use crate::event::{Aside, Change, Command, Decision};
use crate::image::Image;
use crate::limits::REPLANNED_AT_ONCE;
use crate::machine::Refusal;
use crate::machine::replan::{self, Replanned};
use crate::moment::Moment;
use crate::operation::Operation;
use crate::partner::Partner;
use crate::slp::{Migrating, SlpVersion};

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

impl Migration {
    /// And those of another portion.
    pub const fn and(&mut self, other: &Self) {
        self.images += other.images;
        self.kept += other.kept;
        self.added += other.added;
        self.retired += other.retired;
        self.running += other.running;
    }

    /// Adds a portion; whether there are more.
    pub fn goes_on_after(&mut self, portion: &Portion) -> bool {
        if let Portion::More(done) | Portion::Last(done) = portion {
            self.and(done);
        }
        matches!(portion, Portion::More(_))
    }
}

/// What became of a portion of a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Portion {
    /// These were planned anew, and there are more.
    More(Migration),
    /// These were the last.
    Last(Migration),
    /// No migration of this policy is under way.
    None,
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
        let mut planned = Migration::default();
        let mut portion = Migrating { slp: name.to_owned(), from, to, since: moment.now, reached: None };
        loop {
            let images = self.next_images(&portion).await?;
            portion.reached = images.last().map(|image| image.id);
            let is_last = is_last(&images);
            planned.and(&self.replan(images, &version, &portion, moment.now).await?.0);
            if is_last {
                return Ok(planned);
            }
        }
    }

    /// Plans the operations anew that were not started for images made under version `from`, to the end: of many images
    /// [`Self::begin_migration`] and [`Self::migrate_on`] let others have their turn between.
    pub async fn migrate_slp(
        &mut self,
        name: &str,
        versions: (u32, u32),
        moment: Moment,
    ) -> Done<(Migration, Vec<Command>), C> {
        let mut commands = Vec::new();
        self.migrate_to_end(name, &mut commands, moment).await?;
        self.begin_migration(name, versions, moment).await?;
        // It is stored: what is left of it is done by the next tick.
        let done = match self.migrate_to_end(name, &mut commands, moment).await {
            Ok(done) => done,
            Err(error) => {
                self.note(Err(error));
                Migration::default()
            }
        };
        Ok((done, commands))
    }

    /// Images under version `from` are under version `to` from now on; [`Self::migrate_on`] plans them anew, so many at a time.
    pub async fn begin_migration(
        &mut self,
        name: &str,
        (from, to): (u32, u32),
        moment: Moment,
    ) -> Done<(), C> {
        self.known_version(name, from).await?;
        self.known_version(name, to).await?;
        let begun = self.migration(name, (from, to), moment.now)?;
        self.store(&[Change::Aside(Aside::Migrating(begun.clone()))]).await?;
        self.migrating.push(begun);
        Ok(())
    }

    /// As it is to be stored; one at a time.
    pub(super) fn migration(&self, name: &str, (from, to): (u32, u32), now: Timestamp) -> Done<Migrating, C> {
        if self.migrating.iter().any(|it| it.slp == name) {
            let sentence = format!("images of SLP `{name}` are being planned anew");
            return Err(Refusal::new("API-003", sentence, "try again in a minute").into());
        }
        Ok(Migrating { slp: name.to_owned(), from, to, since: now, reached: None })
    }

    /// The next portion of what was begun.
    pub async fn migrate_on(&mut self, name: &str, moment: Moment) -> Done<(Portion, Vec<Command>), C> {
        let Some(at) = self.migrating.iter().position(|it| it.slp == name) else {
            return Ok((Portion::None, Vec::new()));
        };
        let mut reached = self.migrating[at].clone();
        let version = self.ask(self.catalog.slp(name, Some(reached.to))).await?;
        let (mut done, mut decision) = (Migration::default(), Decision::nothing());
        let mut is_over = true;
        if let Some(version) = version {
            let images = self.next_images(&reached).await?;
            is_over = is_last(&images);
            reached.reached = images.last().map(|image| image.id).or(reached.reached);
            (done, decision) = self.replan(images, &version, &reached, moment.now).await?;
        }
        let next = if is_over {
            vec![Change::Aside(Aside::Migrated(name.to_owned())), Change::SlpUnused(name.to_owned())]
        } else {
            vec![Change::Aside(Aside::Migrating(reached.clone()))]
        };
        decision.changes.extend(next);
        self.store(&decision.changes).await?;
        if is_over {
            self.migrating.remove(at);
        } else {
            self.migrating[at] = reached;
        }
        let mut commands = decision.commands;
        let followed = self.follow(&decision.changes, &mut commands, moment).await;
        self.note(followed);
        Ok((if is_over { Portion::Last(done) } else { Portion::More(done) }, commands))
    }

    pub(super) async fn migrate_to_end(
        &mut self,
        name: &str,
        commands: &mut Vec<Command>,
        moment: Moment,
    ) -> Done<Migration, C> {
        let mut whole = Migration::default();
        loop {
            let (portion, further) = self.migrate_on(name, moment).await?;
            commands.extend(further);
            if !whole.goes_on_after(&portion) {
                return Ok(whole);
            }
        }
    }

    /// A portion of each migration that is under way.
    pub(super) async fn migrate_due(&mut self, commands: &mut Vec<Command>, moment: Moment) -> Done<(), C> {
        let names: Vec<_> = self.migrating.iter().map(|it| it.slp.clone()).collect();
        for name in names {
            commands.extend(self.migrate_on(&name, moment).await?.1);
        }
        Ok(())
    }

    /// An image that is still to be planned anew is, before anything else is decided of it; what is complete never is, as in
    /// [`Catalog`]'s portions.
    pub(super) async fn planned_anew(&self, loaded: LoadedImage) -> Done<LoadedImage, C> {
        let is_under_way = loaded.operations.iter().any(Operation::keeps_source);
        let Some(image) = loaded.image.as_ref().filter(|_| is_under_way) else { return Ok(loaded) };
        let Some(under) = self.migrating.iter().find(|it| it.concerns(image)) else { return Ok(loaded) };
        let Some(version) = self.ask(self.catalog.slp(&under.slp, Some(under.to))).await? else {
            return Ok(loaded);
        };
        let now = self.latest.unwrap_or(under.since);
        // What it commands is asked for again by its time.
        let (_, decision) = self.replan(vec![image.clone()], &version, under, now).await?;
        self.store(&decision.changes).await?;
        self.load_as_stored(image.id).await
    }

    async fn next_images(&self, migrating: &Migrating) -> Done<Vec<Image>, C> {
        let of = (migrating.slp.as_str(), migrating.from);
        self.ask(self.catalog.to_replan(of, migrating.reached, REPLANNED_AT_ONCE)).await
    }

    async fn replan(
        &self,
        images: Vec<Image>,
        version: &SlpVersion,
        migrating: &Migrating,
        now: Timestamp,
    ) -> Done<(Migration, Decision), C> {
        let partners = self.ask(self.catalog.partners()).await?;
        let (mut migration, mut decision) = (Migration::default(), Decision::nothing());
        for image in images {
            let planned = self.replan_one(image, version, &partners, now, &mut decision).await?;
            migration.and(&planned);
        }
        if migrating.is_in_place() {
            self.extend_copies(version, &mut decision, now).await?;
        }
        Ok((migration, decision))
    }

    async fn replan_one(
        &self,
        image: Image,
        version: &SlpVersion,
        partners: &[Partner],
        now: Timestamp,
        decision: &mut Decision,
    ) -> Done<Migration, C> {
        let loaded = self.load_as_stored(image.id).await?;
        let moved = Image { slp_version: version.version, ..image };
        let Replanned { kept, added, retired, running } =
            replan::image(&moved, version, &loaded.replication_view(), partners, now);
        let done = Migration {
            images: 1,
            kept: count(&kept),
            added: count(&added),
            retired: count(&retired),
            running,
        };
        decision.changes.push(Change::Image(moved));
        let operations = kept.into_iter().chain(added).chain(retired);
        decision.changes.extend(operations.map(Change::Operation));
        Ok(done)
    }

    async fn known_version(&self, name: &str, version: u32) -> Done<SlpVersion, C> {
        let found = self.ask(self.catalog.slp(name, Some(version))).await?;
        found.ok_or_else(|| {
            let help = "`narrowsctl slp show` names its versions";
            Refusal::new("SLP-013", format!("there is no version {version} of SLP `{name}`"), help).into()
        })
    }
}

fn is_last(images: &[Image]) -> bool {
    u32::try_from(images.len()).is_ok_and(|images| images < REPLANNED_AT_ONCE)
}

fn count(operations: &[Operation]) -> u64 {
    u64::try_from(operations.len()).unwrap_or(u64::MAX)
}
