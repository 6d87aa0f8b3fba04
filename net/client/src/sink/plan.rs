//! What is wanted, and where it goes: the sink's memory. No I/O.
//!
//! Nodes come in any order that begins with parents; each is turned into wishes for its children when it comes. What is
//! on its way is not asked for again: when a segment comes, everything known to need it is served at once.

use std::{
    cell::RefCell,
    collections::{BTreeMap, hash_map::Entry},
    hash::{BuildHasherDefault, Hasher},
    rc::Rc,
    sync::Arc,
};

use foldhash::HashMap;
use narrows_format::{
    Fingerprint,
    limits::XATTRS_BYTES_MAX,
    node::{Child, Content, Extent},
    xattrs,
};

use super::{Orphan, file::FileJob, metadata::SharedMetadata, prepare::Planned};

/// Everything that is still to come, and what the end needs.
#[derive(Default)]
pub(super) struct Plan {
    /// Where the bytes of segments go.
    segments: ByFingerprint<Needed>,
    /// Which parts of files the extents nodes describe.
    parts: ByFingerprint<Vec<Part>>,
    /// Files that are not whole yet.
    unfinished: HashMap<Arc<[u8]>, Arc<FileJob>>,
    /// Objects whose metadata is put on at the end, parents before children.
    pub(super) later: Vec<Planned>,
    /// Hard links: further path, first path.
    pub(super) links: Vec<(Vec<u8>, Vec<u8>)>,
    /// Hard links whose first path is not restored, by that path.
    orphans: BTreeMap<Vec<u8>, Vec<Vec<u8>>>,
}

/// Fingerprints are hashes already.
type ByFingerprint<T> = std::collections::HashMap<Fingerprint, T, BuildHasherDefault<Leading>>;

/// Takes the first eight bytes for the hash.
#[derive(Default)]
struct Leading(u64);

impl Hasher for Leading {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(leading) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*leading);
        }
    }

    /// The length that comes before an array's bytes tells nothing.
    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Where a segment's bytes go.
pub(super) enum Place {
    /// Into a file.
    File(Write),
    /// Into a list of attributes.
    Attributes(Rc<LateAttributes>, usize),
}

/// A segment that is needed.
struct Needed {
    places: Places,
    /// It is on its way.
    is_asked: bool,
}

/// A segment that a file has already, and needs elsewhere too.
pub(super) struct Written {
    pub(super) name: Fingerprint,
    pub(super) length: usize,
    /// The file that has it at `at`. It needs it once more at least, so it is not whole yet.
    pub(super) file: Arc<FileJob>,
    pub(super) at: u64,
    pub(super) writes: Vec<Write>,
}

/// Where one segment's bytes go: as a rule to one place, which then costs no list.
pub(super) enum Places {
    /// A single one.
    One(Place),
    /// Several.
    Many(Vec<Place>),
}

impl Needed {
    /// A file that has it; none when more than the bytes of files needs it, or when it is on its way.
    fn written(&self, name: &Fingerprint) -> Option<(Arc<FileJob>, u64)> {
        let places = match &self.places {
            Places::One(place) => std::slice::from_ref(place),
            Places::Many(places) => places,
        };
        let mut file = None;
        for place in places {
            let Place::File(write) = place else { return None };
            file = file.or_else(|| Some((Arc::clone(&write.file), write.file.has_written(name)?)));
        }
        file.filter(|_| !self.is_asked)
    }
}

impl Places {
    /// One more.
    fn push(&mut self, place: Place) {
        if let Self::Many(places) = self {
            return places.push(place);
        }
        let before = std::mem::replace(self, Self::Many(Vec::with_capacity(2)));
        if let (Self::Many(places), Self::One(first)) = (self, before) {
            places.extend([first, place]);
        }
    }

    /// All of them, in the order in which they were wanted.
    pub(super) fn into_list(self) -> impl Iterator<Item = Place> {
        let (one, many) = match self {
            Self::One(place) => (Some(place), Vec::new()),
            Self::Many(places) => (None, places),
        };
        one.into_iter().chain(many)
    }
}

/// One write, or several of the same bytes one behind the other.
#[derive(Clone)]
pub(super) struct Write {
    pub(super) file: Arc<FileJob>,
    /// First byte in the file.
    pub(super) at: u64,
    /// First byte in the segment.
    pub(super) offset: u32,
    pub(super) length: u32,
    pub(super) count: u64,
}

/// A part of a file without segments.
#[derive(Clone)]
pub(super) struct Blank {
    pub(super) file: Arc<FileJob>,
    pub(super) at: u64,
    pub(super) length: u64,
    /// `None` is a hole.
    pub(super) byte: Option<u8>,
}

/// Bytes `at..at + length` of a file, described by an extents node.
#[derive(Clone)]
struct Part {
    file: Arc<FileJob>,
    at: u64,
    length: u64,
}

/// Attributes that lie in segments.
pub(super) struct LateAttributes {
    pub(super) path: Vec<u8>,
    metadata: SharedMetadata,
    /// The file that waits for them.
    pub(super) file: Option<Arc<FileJob>>,
    parts: RefCell<Vec<Option<Vec<u8>>>>,
}

/// A part of the image contradicts another one.
pub(super) struct Contradiction {
    pub(super) path: Vec<u8>,
    pub(super) what: &'static str,
}

impl Plan {
    /// A further path of something that is not restored itself.
    pub(super) fn orphan(&mut self, link: &[u8], first: &[u8]) {
        self.orphans.entry(first.to_vec()).or_default().push(link.to_vec());
    }

    /// All such paths.
    pub(super) fn orphans(&self) -> Vec<Orphan> {
        let orphan =
            |(first, links): (&Vec<u8>, &Vec<Vec<u8>>)| Orphan { first: first.clone(), links: links.clone() };
        self.orphans.iter().map(orphan).collect()
    }

    /// A file begins; false when one of that path is under way already.
    pub(super) fn begin(&mut self, file: &Arc<FileJob>) -> bool {
        self.unfinished.insert(file.shared_path(), Arc::clone(file)).is_none()
    }

    /// A file ended, one way or the other.
    pub(super) fn end(&mut self, file: &FileJob) {
        self.unfinished.remove(file.path());
    }

    /// The file under way at a path.
    pub(super) fn unfinished(&self, path: &[u8]) -> Option<Arc<FileJob>> {
        self.unfinished.get(path).cloned()
    }

    /// Files that never became whole.
    pub(super) fn take_unfinished(&mut self) -> Vec<Arc<FileJob>> {
        let mut files: Vec<_> = std::mem::take(&mut self.unfinished).into_values().collect();
        files.sort_by(|a, b| a.path().cmp(b.path()));
        files
    }

    /// Plans a file's content; gives what needs no segment.
    pub(super) fn content(
        &mut self,
        file: &Arc<FileJob>,
        content: &Content,
        children: &[Child],
    ) -> Result<Vec<Blank>, Contradiction> {
        match content {
            Content::Inline(extents) => {
                let part = Part { file: Arc::clone(file), at: 0, length: file.size() };
                self.extents(&part, extents, children)
            }
            Content::Tree(ordinal) => {
                let child = child(children, *ordinal, file)?;
                let part = Part { file: Arc::clone(file), at: 0, length: file.size() };
                self.parts.entry(child.fingerprint).or_default().push(part);
                Ok(Vec::new())
            }
        }
    }

    /// A leaf of extents came; gives what needs no segment.
    pub(super) fn extents_node(
        &mut self,
        node: Fingerprint,
        extents: &[Extent],
        children: &[Child],
    ) -> Result<Vec<Blank>, Contradiction> {
        let mut blanks = Vec::new();
        for part in self.parts.remove(&node).unwrap_or_default() {
            blanks.extend(self.extents(&part, extents, children)?);
        }
        Ok(blanks)
    }

    /// An inner node of extents came.
    pub(super) fn extents_tree(
        &mut self,
        node: Fingerprint,
        lengths: &[u64],
        children: &[Child],
    ) -> Result<(), Contradiction> {
        for part in self.parts.remove(&node).unwrap_or_default() {
            agree(&part, lengths.iter().copied())?;
            let mut at = part.at;
            for (child, length) in children.iter().zip(lengths) {
                let below = Part { file: Arc::clone(&part.file), at, length: *length };
                self.parts.entry(child.fingerprint).or_default().push(below);
                at += length;
            }
        }
        Ok(())
    }

    /// Attributes lie in segments.
    pub(super) fn attributes(
        &mut self,
        path: &[u8],
        metadata: &SharedMetadata,
        file: Option<&Arc<FileJob>>,
        stored: &[Child],
    ) -> Result<(), Contradiction> {
        let total: u64 = stored.iter().map(|child| u64::from(child.length)).sum();
        if total > XATTRS_BYTES_MAX as u64 {
            return Err(Contradiction { path: path.to_vec(), what: "its attributes are too long" });
        }
        let late = Rc::new(LateAttributes {
            path: path.to_vec(),
            metadata: metadata.clone(),
            file: file.cloned(),
            parts: RefCell::new(vec![None; stored.len()]),
        });
        for (at, child) in stored.iter().enumerate() {
            let place = Place::Attributes(Rc::clone(&late), at);
            self.place(child.fingerprint, place);
        }
        Ok(())
    }

    /// Whether to ask for this child: something needs it, and it is not on its way. From now on a segment is.
    pub(super) fn ask(&mut self, child: &Child) -> bool {
        match self.segments.get_mut(&child.fingerprint) {
            Some(needed) => !std::mem::replace(&mut needed.is_asked, true),
            None => self.parts.contains_key(&child.fingerprint),
        }
    }

    /// Everything that needs this segment; from now on it is not wanted any more.
    pub(super) fn take_places(&mut self, segment: &Fingerprint) -> impl Iterator<Item = Place> + use<> {
        self.segments.remove(segment).into_iter().flat_map(|needed| needed.places.into_list())
    }

    /// Segments that need not be asked for, because a file that needs them has them; from now on they are not wanted.
    pub(super) fn take_written(&mut self, children: &[Child]) -> Vec<Written> {
        let mut found = Vec::new();
        for child in children {
            let Entry::Occupied(needed) = self.segments.entry(child.fingerprint) else { continue };
            let Some((file, at)) = needed.get().written(&child.fingerprint) else { continue };
            let writes = needed.remove().places.into_list().filter_map(|place| match place {
                Place::File(write) => Some(write),
                Place::Attributes(..) => None,
            });
            let (name, length) = (child.fingerprint, child.length as usize);
            found.push(Written { name, length, file, at, writes: writes.collect() });
        }
        found
    }

    /// The file that had it was given up; others may need it.
    pub(super) fn need_again(&mut self, name: Fingerprint, writes: Vec<Write>) {
        for write in writes {
            self.place(name, Place::File(write));
        }
    }

    fn extents(
        &mut self,
        part: &Part,
        extents: &[Extent],
        children: &[Child],
    ) -> Result<Vec<Blank>, Contradiction> {
        let length = |extent: &Extent| match *extent {
            Extent::Data { length, .. } => u64::from(length),
            Extent::Hole(length) | Extent::Fill { length, .. } => length,
            Extent::Repeat { child, count } => {
                let whole = usize::try_from(child).ok().and_then(|at| children.get(at));
                whole.map_or(u64::MAX, |child| u64::from(child.length).saturating_mul(count))
            }
        };
        agree(part, extents.iter().map(length))?;
        let mut blanks = Vec::new();
        let mut at = part.at;
        for extent in extents {
            let file = Arc::clone(&part.file);
            let bytes = length(extent);
            match *extent {
                Extent::Hole(length) => {
                    if at + length == file.size() {
                        file.end_in_hole();
                    }
                    blanks.push(Blank { file, at, length, byte: None });
                }
                Extent::Fill { byte, length } => blanks.push(Blank { file, at, length, byte: Some(byte) }),
                Extent::Data { child: ordinal, offset, length } => {
                    let child = child(children, ordinal, &part.file)?;
                    if offset.checked_add(length).is_none_or(|end| end > child.length) {
                        return Err(contradiction(&part.file, "an extent goes beyond its segment"));
                    }
                    self.want(child, Write { file, at, offset, length, count: 1 });
                }
                Extent::Repeat { child: ordinal, count } => {
                    let child = child(children, ordinal, &part.file)?;
                    self.want(child, Write { file, at, offset: 0, length: child.length, count });
                }
            }
            at += bytes;
        }
        Ok(blanks)
    }

    fn want(&mut self, child: &Child, write: Write) {
        self.place(child.fingerprint, Place::File(write));
    }

    fn place(&mut self, name: Fingerprint, place: Place) {
        match self.segments.entry(name) {
            Entry::Vacant(free) => {
                free.insert(Needed { places: Places::One(place), is_asked: false });
            }
            Entry::Occupied(mut needed) => needed.get_mut().places.push(place),
        }
    }
}

impl LateAttributes {
    /// A part came; true when it was the last.
    pub(super) fn take(&self, part: usize, bytes: &[u8]) -> Result<bool, Contradiction> {
        let mut parts = self.parts.borrow_mut();
        parts[part] = Some(bytes.to_vec());
        if parts.iter().any(Option::is_none) {
            return Ok(false);
        }
        let all: Vec<u8> = parts.iter().flatten().flatten().copied().collect();
        let what = "its attributes are malformed";
        let list = xattrs::decode(&all).map_err(|_| Contradiction { path: self.path.clone(), what })?;
        self.metadata.set_xattrs(list);
        Ok(true)
    }
}

/// The lengths below a node must sum to what the node above said.
fn agree(part: &Part, mut lengths: impl Iterator<Item = u64>) -> Result<(), Contradiction> {
    let total = lengths.try_fold(0_u64, u64::checked_add);
    if total == Some(part.length) {
        return Ok(());
    }
    Err(contradiction(&part.file, "its extents do not sum to its size"))
}

fn child<'a>(children: &'a [Child], ordinal: u32, file: &FileJob) -> Result<&'a Child, Contradiction> {
    let child = usize::try_from(ordinal).ok().and_then(|at| children.get(at));
    child.ok_or_else(|| contradiction(file, "an extent refers to nothing"))
}

fn contradiction(file: &FileJob, what: &'static str) -> Contradiction {
    Contradiction { path: file.path().to_vec(), what }
}
