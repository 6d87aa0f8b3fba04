//! One recipe node, verified, with the advisory places of its children.

use std::rc::Rc;

use narrows_format::{
    Fingerprint, Location,
    container::TableEntry,
    frame::{self, FrameKind},
};
use narrows_simd::fingerprint;

use super::library::NodeFrame;
use crate::{
    container::{OpenContainer, read_span},
    error::{Error, Region},
    shard::Core,
    stream::StoredNode,
};

impl Core {
    /// A node by name; a wrong hint costs a look-up.
    pub(crate) async fn node(
        self: &Rc<Self>,
        name: Fingerprint,
        hint: Location,
    ) -> Result<StoredNode, Error> {
        let hint = self.sound_hint(hint);
        if hint != Location::UNKNOWN
            && let Ok(container) = self.library.container(hint.container()).await
            && container.entry(hint.slot()).is_some_and(|entry| entry.fingerprint == name)
        {
            return self.node_at(name, hint, &container).await;
        }
        let place = self.locate(&[name]).await?.pop().unwrap_or(Ok(None))?;
        let location = place.ok_or(Error::Missing { fingerprint: name })?.location;
        let container = self.library.container(location.container()).await;
        let container = container.map_err(|error| error.at_slot(location.slot()))?;
        self.node_at(name, location, &container).await
    }

    async fn node_at(
        &self,
        name: Fingerprint,
        location: Location,
        container: &OpenContainer,
    ) -> Result<StoredNode, Error> {
        let corrupt =
            |region| Error::Corrupt { container: location.container(), slot: Some(location.slot()), region };
        let entry = container.entry(location.slot()).copied().ok_or(corrupt(Region::Table))?;
        if entry.fingerprint != name {
            return Err(corrupt(Region::Table));
        }
        let frame = self.node_frame(location, container, &entry).await?;
        let range = entry.offset as usize..entry.offset as usize + entry.length as usize;
        let bytes = frame.plain.get(range).ok_or(corrupt(Region::Table))?.to_vec();
        let (found, tag) = fingerprint::node(&bytes);
        if found != name {
            return Err(corrupt(Region::Segment));
        }
        let annex = frame.annex_ranges.get(container.ordinal(location.slot()));
        let annex = annex.and_then(|range| frame.annex.get(range.clone()));
        let annex = annex.and_then(|bytes| frame::annex_locations(bytes).ok()).unwrap_or_default();
        Ok(StoredNode { bytes, location, tag, annex })
    }

    async fn node_frame(
        &self,
        location: Location,
        container: &OpenContainer,
        entry: &TableEntry,
    ) -> Result<Rc<NodeFrame>, Error> {
        let key = (location.container(), entry.frame_offset);
        if let Some(found) = self.library.node_frames.borrow_mut().get(&key) {
            return Ok(found);
        }
        let corrupt = |_| Error::Corrupt {
            container: location.container(),
            slot: Some(location.slot()),
            region: Region::Frame,
        };
        let start = u64::from(entry.frame_offset);
        let length = usize::try_from(container.end_behind(entry) - start).unwrap_or(0);
        let bytes = read_span(&self.world, &*container.file, start, length).await;
        let bytes = bytes.map_err(|error| Error::reading(&error, location))?;
        let (frame, behind) = frame::parse_first(&bytes).map_err(corrupt)?;
        if frame.kind() != FrameKind::Nodes {
            return Err(corrupt(narrows_format::BadBytes::Malformed("kind")));
        }
        let mut read = NodeFrame { plain: Vec::new(), annex: Vec::new(), annex_ranges: Vec::new() };
        frame.open(&mut read.plain).map_err(corrupt)?;
        // Advisory: without it the index is asked.
        if let Ok((annex, _)) = frame::parse_first(behind)
            && annex.kind() == FrameKind::Annex
            && annex.segments() == frame.segments()
            && let Ok(ranges) = annex.open(&mut read.annex)
        {
            read.annex_ranges = ranges;
        }
        let kept = read.plain.len() + read.annex.len() + read.annex_ranges.len() * 16;
        Ok(self.library.node_frames.borrow_mut().put(key, read, kept))
    }
}
