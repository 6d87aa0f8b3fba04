//! A walk over all images: which are hurt, and which nodes are sound.
//!
//! Reads every node once, and no data: of a segment it is known where it lies, by the annex of its node or else by the
//! index, and what is damaged there. Depth first, so that a node is called sound when everything under it was.
//!
//! Memory: two bits per slot of the containers of nodes, and the way down to where it is.

use std::{collections::BTreeSet, rc::Rc};

use narrows_format::{
    ContainerId, Fingerprint, ImageId, Location, Slot,
    node::{Child, ChildKind, envelope},
};

use super::{ScrubOrder, look_closer};
use crate::{
    error::{Error, Region},
    images::ImageEntry,
    index::Slots,
    limits::{DAMAGE_LISTED_MAX, SURVEY_DEPTH_MAX},
    shard::{Core, Order},
};

/// What of the images is damaged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Images that can't be read as a whole, hidden ones included, in the order in which they came.
    pub images: Vec<ImageId>,
    /// What is damaged or gone under them, at most [`crate::limits::DAMAGE_LISTED_MAX`].
    pub damage: Vec<Error>,
    /// How many nodes and segments that are; one that several nodes name counts for each.
    pub damaged: u64,
    /// Nodes that were read.
    pub nodes: u64,
}

struct Walk<'a> {
    core: &'a Rc<Core>,
    seen: Slots,
    sound: Slots,
    /// Containers known to be closed.
    closed: BTreeSet<ContainerId>,
    found: Survey,
}

/// A node whose children are being looked at.
struct Level {
    at: Location,
    children: Vec<(Child, Location)>,
    hurt: bool,
}

enum Entered {
    /// All under it is known; whether something is amiss.
    Known(bool),
    Open(Level),
}

/// Walks all images. Its word about nodes is taken back when damage is found meanwhile; then it begins anew.
pub(crate) async fn survey(core: &Rc<Core>) -> Result<Survey, Error> {
    loop {
        let (from, damage) = core.order(|reply| Order::Scrub(ScrubOrder::Beginning { reply })).await?;
        let mut walk = Walk::new(core);
        for image in core.order(|reply| Order::Images { reply }).await? {
            // One that went meanwhile is nobody's any more.
            let Some(entry) = core.order(|reply| Order::Image { image, reply }).await?? else { continue };
            if walk.image(&entry).await? {
                walk.found.images.push(image);
            }
        }
        let Walk { sound: nodes, found, .. } = walk;
        // What it met and nobody knew; if it stays, damage was found, and the walk begins anew.
        look_closer(core, &unknown(core, &found.damage)).await?;
        let counts = |reply| Order::Scrub(ScrubOrder::Surveyed { nodes, from, damage, reply });
        if core.order(counts).await? {
            return Ok(found);
        }
    }
}

/// Those of these of which nothing is in quarantine.
fn unknown(core: &Rc<Core>, damage: &[Error]) -> Vec<Error> {
    let owned = core.owned.borrow();
    let known = |container: &ContainerId, slot: Option<Slot>| {
        let harms = owned.doubts().harms().get(container);
        harms.is_some_and(|harms| harms.iter().any(|harm| slot.is_none_or(|slot| harm.has(slot))))
    };
    let is_news = |error: &&Error| match error {
        Error::Corrupt { container, slot, .. } => !known(container, *slot),
        Error::Unreadable { container, slot, .. } => !known(container, Some(*slot)),
        _ => false,
    };
    damage.iter().filter(is_news).cloned().collect()
}

/// The same for one image; what it says of nodes is not kept.
pub(crate) async fn is_whole(core: &Rc<Core>, image: ImageId) -> Result<bool, Error> {
    let entry = core.order(|reply| Order::Image { image, reply }).await??;
    let entry = entry.ok_or(Error::NoImage { image })?;
    Ok(!Walk::new(core).image(&entry).await?)
}

impl<'a> Walk<'a> {
    fn new(core: &'a Rc<Core>) -> Self {
        let (seen, sound, closed) = (Slots::default(), Slots::default(), BTreeSet::new());
        Self { core, seen, sound, closed, found: Survey::default() }
    }

    /// Whether anything of an image is amiss.
    async fn image(&mut self, entry: &ImageEntry) -> Result<bool, Error> {
        let record = &entry.record.record;
        let (fingerprint, length) = (record.root, record.root_length);
        self.tree(Child { fingerprint, kind: ChildKind::Node, length }).await
    }

    /// Whether anything under a root is amiss.
    async fn tree(&mut self, root: Child) -> Result<bool, Error> {
        let mut levels = match self.enter(root, Location::UNKNOWN).await? {
            Entered::Known(hurt) => return Ok(hurt),
            Entered::Open(level) => vec![level],
        };
        let mut hurt = false;
        while let Some(level) = levels.last_mut() {
            level.hurt |= std::mem::take(&mut hurt);
            let Some((child, hint)) = level.children.pop() else {
                hurt = level.hurt;
                if !hurt {
                    self.sound.insert(level.at);
                }
                levels.pop();
                continue;
            };
            match self.enter(child, hint).await? {
                Entered::Known(amiss) => hurt = amiss,
                Entered::Open(_) if levels.len() >= SURVEY_DEPTH_MAX => hurt = true,
                Entered::Open(next) => levels.push(next),
            }
        }
        Ok(hurt)
    }

    async fn enter(&mut self, child: Child, hint: Location) -> Result<Entered, Error> {
        if self.core.closing.get() {
            return Err(Error::Closed);
        }
        let hint = self.core.sound_hint(hint);
        let node = match self.core.node(child.fingerprint, hint).await {
            Ok(node) => node,
            Err(Error::Closed) => return Err(Error::Closed),
            Err(error) => return Ok(self.amiss(error)),
        };
        if self.core.harm(node.location).is_some() {
            return Ok(self.amiss(corrupt(node.location, Region::Frame)));
        }
        if !self.stays(node.location).await? {
            return Ok(self.amiss(Error::Missing { fingerprint: child.fingerprint }));
        }
        if !self.seen.insert(node.location) {
            return Ok(Entered::Known(!self.sound.has(node.location)));
        }
        self.found.nodes += 1;
        let Ok(children) = envelope::children(&node.bytes) else {
            return Ok(self.amiss(corrupt(node.location, Region::Segment)));
        };
        let hints = node.annex.iter().copied().chain(std::iter::repeat(Location::UNKNOWN));
        let (nodes, segments): (Vec<_>, Vec<_>) =
            children.into_iter().zip(hints).partition(|(child, _)| child.kind == ChildKind::Node);
        let hurt = self.segments(&segments).await?;
        Ok(Entered::Open(Level { at: node.location, children: nodes, hurt }))
    }

    /// A copy that is only staged goes with its stream: no image can rest on it.
    async fn stays(&mut self, location: Location) -> Result<bool, Error> {
        let container = location.container();
        if self.closed.contains(&container) {
            return Ok(true);
        }
        let closed = |reply| Order::Scrub(ScrubOrder::IsClosed { container, reply });
        let closed = self.core.order(closed).await?;
        if closed {
            self.closed.insert(container);
        }
        Ok(closed)
    }

    /// Whether one of these is damaged or gone.
    async fn segments(&mut self, segments: &[(Child, Location)]) -> Result<bool, Error> {
        let unknown = segments.iter().filter(|(_, hint)| self.core.sound_hint(*hint) == Location::UNKNOWN);
        let names: Vec<Fingerprint> = unknown.map(|(child, _)| child.fingerprint).collect();
        if names.is_empty() {
            return Ok(false);
        }
        let mut hurt = false;
        for (fingerprint, place) in names.iter().zip(self.core.locate(&names).await?) {
            let error = match place {
                Ok(Some(place)) => match self.core.harm(place.location) {
                    Some(region) => corrupt(place.location, region),
                    None if self.stays(place.location).await? => continue,
                    None => Error::Missing { fingerprint: *fingerprint },
                },
                Ok(None) => Error::Missing { fingerprint: *fingerprint },
                Err(Error::Closed) => return Err(Error::Closed),
                Err(error) => error,
            };
            self.amiss(error);
            hurt = true;
        }
        Ok(hurt)
    }

    fn amiss(&mut self, error: Error) -> Entered {
        self.found.damaged += 1;
        if self.found.damage.len() < DAMAGE_LISTED_MAX {
            self.found.damage.push(error);
        }
        Entered::Known(true)
    }
}

fn corrupt(location: Location, region: Region) -> Error {
    Error::Corrupt { container: location.container(), slot: Some(location.slot()), region }
}

impl Core {
    /// What is damaged there, as far as is known.
    pub(crate) fn harm(&self, location: Location) -> Option<Region> {
        self.owned.borrow().doubts().harm(location)
    }

    /// A hint, unless it leads to what is damaged, or nowhere: then the index knows better.
    pub(crate) fn sound_hint(&self, hint: Location) -> Location {
        let owned = self.owned.borrow();
        let leads = hint != Location::UNKNOWN && owned.existing().has(hint);
        if leads && owned.doubts().harm(hint).is_none() { hint } else { Location::UNKNOWN }
    }
}
