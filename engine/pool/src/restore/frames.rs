//! Frames of many segments, in the order that suits the disk.

use std::{collections::BTreeMap, io, pin::Pin, rc::Rc};

use futures_util::{FutureExt as _, Stream, StreamExt, stream};
use narrows_format::{ContainerId, Location, frame};

use super::terms::{Lost, ReadFrame, Wanted, WantedHere};
use crate::{
    container::{OpenContainer, Span, read_in_place},
    error::{Error, Region},
    limits::{LOOK_UP_CHILDREN_MAX, READ_BYTES_MAX, READ_GAP_BYTES_MAX, READS_IN_FLIGHT_MAX},
    shard::Core,
};

/// Containers whose tables are fetched ahead of the reads.
const TABLES_AHEAD: usize = 2;

/// Frames as they are read, in container order.
pub struct Frames {
    stream: Pin<Box<dyn Stream<Item = Result<ReadFrame, Lost>>>>,
}

impl Frames {
    /// The same as a stream.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<ReadFrame, Lost>> {
        self.stream
    }

    /// The next frame, or what could not be read; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<ReadFrame, Lost>> {
        self.stream.next().await
    }
}

/// A wanted segment and where it lies.
type Placed = (usize, Location);

/// One read of the disk and the frames that it brings.
struct Read {
    container: Rc<OpenContainer>,
    id: ContainerId,
    start: u64,
    end: u64,
    frames: Vec<WantedFrame>,
}

struct WantedFrame {
    offset: u64,
    bytes: usize,
    wanted: Vec<(WantedHere, Location)>,
}

type Outcome = Result<ReadFrame, Lost>;

pub(crate) fn read(core: &Rc<Core>, wanted: Vec<Wanted>) -> Frames {
    let (core, wanted) = (core.clone(), Rc::new(wanted));
    let start = async move {
        let (groups, lost) = group(&core, &wanted).await;
        let lost = stream::iter(lost.into_iter().map(Err));
        let planned = stream::iter(groups)
            .map(move |(id, placed)| plan_aside(&core, wanted.clone(), id, placed))
            .buffered(TABLES_AHEAD);
        let read = planned.flat_map(|(reads, lost)| {
            let lost = lost.into_iter().map(Work::Lost);
            stream::iter(reads.into_iter().map(Work::Read).chain(lost))
        });
        let done = read.map(Work::run).buffered(READS_IN_FLIGHT_MAX).flat_map(stream::iter);
        lost.chain(done)
    };
    Frames { stream: Box::pin(stream::once(start).flatten()) }
}

enum Work {
    Read(Read),
    Lost(Lost),
}

impl Work {
    async fn run(self) -> Vec<Outcome> {
        match self {
            Self::Read(read) => read.run().await,
            Self::Lost(lost) => vec![Err(lost)],
        }
    }
}

/// By container: hints first, the index for the rest.
async fn group(core: &Rc<Core>, wanted: &[Wanted]) -> (BTreeMap<ContainerId, Vec<Placed>>, Vec<Lost>) {
    let mut groups: BTreeMap<ContainerId, Vec<Placed>> = BTreeMap::new();
    let mut unknown = Vec::new();
    for (request, wanted) in wanted.iter().enumerate() {
        match core.sound_hint(wanted.hint) {
            Location::UNKNOWN => unknown.push(request),
            hint => groups.entry(hint.container()).or_default().push((request, hint)),
        }
    }
    let (found, lost) = locate(core, wanted, &unknown).await;
    for (request, location) in found {
        groups.entry(location.container()).or_default().push((request, location));
    }
    (groups, lost)
}

async fn locate(core: &Rc<Core>, wanted: &[Wanted], requests: &[usize]) -> (Vec<Placed>, Vec<Lost>) {
    let (mut found, mut lost) = (Vec::new(), Vec::new());
    for batch in requests.chunks(LOOK_UP_CHILDREN_MAX) {
        let names: Vec<_> = batch.iter().map(|request| wanted[*request].fingerprint).collect();
        match core.locate(&names).await {
            Err(error) => lost.push(Lost { error, requests: batch.to_vec() }),
            Ok(places) => {
                for ((request, name), place) in batch.iter().zip(names).zip(places) {
                    match place.and_then(|place| place.ok_or(Error::Missing { fingerprint: name })) {
                        Ok(place) => found.push((*request, place.location)),
                        Err(error) => lost.push(Lost { error, requests: vec![*request] }),
                    }
                }
            }
        }
    }
    (found, lost)
}

/// The plan of one container, in a task of its own: what reads a table stands in the usual queue for buffers, and would hold up
/// everybody there while nobody looks after these frames.
fn plan_aside(
    core: &Rc<Core>,
    wanted: Rc<Vec<Wanted>>,
    id: ContainerId,
    placed: Vec<Placed>,
) -> impl Future<Output = (Vec<Read>, Vec<Lost>)> + use<> {
    let requests: Vec<usize> = placed.iter().map(|(request, _)| *request).collect();
    let planned = core.world.spawn(plan(core.clone(), wanted, id, placed));
    // A core that ends cancels its tasks.
    planned
        .join()
        .map(|plan| plan.unwrap_or_else(|| (Vec::new(), vec![Lost { error: Error::Closed, requests }])))
}

/// Turns the wanted segments of one container into reads; those whose hint was wrong are looked up, and read
/// one by one from wherever they are.
async fn plan(
    core: Rc<Core>,
    wanted: Rc<Vec<Wanted>>,
    id: ContainerId,
    placed: Vec<Placed>,
) -> (Vec<Read>, Vec<Lost>) {
    let (mut reads, mut lost) = (Vec::new(), Vec::new());
    let (good, wrong) = match core.library.container(id).await {
        Ok(container) => {
            let (good, wrong) = sort_out(&container, &wanted, placed);
            reads.extend(coalesce(&container, id, good));
            (true, wrong)
        }
        Err(_) => (false, placed),
    };
    let requests: Vec<usize> = wrong.iter().map(|(request, _)| *request).collect();
    let (found, gone) = locate(&core, &wanted, &requests).await;
    lost.extend(gone);
    for (request, location) in found {
        match core.library.container(location.container()).await {
            Ok(container) => {
                let (good, wrong) = sort_out(&container, &wanted, vec![(request, location)]);
                lost.extend(wrong.into_iter().map(|wrong| damaged(wrong, Region::Table)));
                reads.extend(coalesce(&container, location.container(), good));
            }
            Err(error) => lost.push(Lost { error: error.at_slot(location.slot()), requests: vec![request] }),
        }
    }
    debug_assert!(good || reads.iter().all(|read| read.id != id), "a damaged container is not read");
    (reads, lost)
}

fn damaged((request, location): Placed, region: Region) -> Lost {
    let (container, slot) = (location.container(), Some(location.slot()));
    Lost { error: Error::Corrupt { container, slot, region }, requests: vec![request] }
}

/// Those that the table confirms, by frame; and the others.
fn sort_out(
    container: &OpenContainer,
    wanted: &[Wanted],
    placed: Vec<Placed>,
) -> (BTreeMap<u32, WantedFrame>, Vec<Placed>) {
    let mut frames: BTreeMap<u32, WantedFrame> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (request, location) in placed {
        let asked = &wanted[request];
        let entry = container.entry(location.slot());
        let Some(entry) =
            entry.filter(|entry| entry.fingerprint == asked.fingerprint && entry.length == asked.length)
        else {
            wrong.push((request, location));
            continue;
        };
        let ordinal = u32::try_from(container.ordinal(location.slot())).unwrap_or(u32::MAX);
        let frame = frames.entry(entry.frame_offset).or_insert_with(|| WantedFrame {
            offset: u64::from(entry.frame_offset),
            bytes: entry.frame_bytes as usize,
            wanted: Vec::new(),
        });
        frame.wanted.push((WantedHere { request, ordinal }, location));
    }
    (frames, wrong)
}

/// Neighbouring frames become one read.
fn coalesce(container: &Rc<OpenContainer>, id: ContainerId, frames: BTreeMap<u32, WantedFrame>) -> Vec<Read> {
    let mut reads: Vec<Read> = Vec::new();
    for frame in frames.into_values() {
        let end = frame.offset + frame.bytes as u64;
        match reads.last_mut() {
            Some(read)
                if frame.offset <= read.end + READ_GAP_BYTES_MAX
                    && end - read.start <= READ_BYTES_MAX as u64 =>
            {
                read.end = end;
                read.frames.push(frame);
            }
            _ => reads.push(Read {
                container: container.clone(),
                id,
                start: frame.offset,
                end,
                frames: vec![frame],
            }),
        }
    }
    reads
}

impl Read {
    async fn run(self) -> Vec<Outcome> {
        let read = self.read().await;
        if read.is_ok() || self.frames.len() < 2 {
            return self.cut(&read);
        }
        // What the device does not give may be one of them, or lie between two.
        let mut outcomes = Vec::with_capacity(self.frames.len());
        for frame in self.frames {
            let (container, start) = (self.container.clone(), frame.offset);
            let end = start + frame.bytes as u64;
            let one = Self { container, id: self.id, start, end, frames: vec![frame] };
            let read = one.read().await;
            outcomes.extend(one.cut(&read));
        }
        outcomes
    }

    /// The container's world is its core's: reading needs nothing else of the core.
    async fn read(&self) -> io::Result<Span> {
        let length = usize::try_from(self.end - self.start).unwrap_or(0);
        read_in_place(&self.container.world, &*self.container.file, self.start, length).await
    }

    fn cut(self, read: &io::Result<Span>) -> Vec<Outcome> {
        let cut = |frame: WantedFrame| {
            let (here, locations): (Vec<WantedHere>, Vec<Location>) = frame.wanted.into_iter().unzip();
            let requests = || here.iter().map(|here| here.request).collect();
            let location = locations.first().copied().unwrap_or(Location::UNKNOWN);
            let (container, slot) = (self.id, Some(location.slot()));
            let bytes = match read {
                Ok(read) => {
                    let from = usize::try_from(frame.offset - self.start).unwrap_or(usize::MAX);
                    read.bytes().get(from..from + frame.bytes).unwrap_or_default()
                }
                Err(error) => {
                    return Err(Lost { error: Error::reading(error, location), requests: requests() });
                }
            };
            let Ok(parsed) = frame::parse(bytes) else {
                let error = Error::Corrupt { container, slot, region: Region::Frame };
                return Err(Lost { error, requests: requests() });
            };
            let segments = u32::try_from(parsed.segments()).unwrap_or(u32::MAX);
            Ok(ReadFrame { container, bytes: bytes.to_vec(), segments, wanted: here, places: locations })
        };
        self.frames.into_iter().map(cut).collect()
    }
}
