//! The walk, going on ahead of whoever reads the files.
//!
//! One job lists directories, up to [`WALK_LOOKS_AHEAD_MAX`] look at what they name, and one holds what was found against the
//! last backup; none waits for files to be read or sent, until [`WALK_STEPS_AHEAD_MAX`] steps wait, or steps with [`WALK_LEAVES_AHEAD_BYTES_MAX`].

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
};

use narrows_format::Timestamp;
use narrows_ring::world::{Task, World};
use narrows_transport::flow::Gate;

use super::BackupError;
use crate::{
    cache::{self, Matcher},
    limits::{
        UNIT_ENTRIES_MAX, WALK_BATCH_ENTRIES, WALK_LEAVES_AHEAD_BYTES_MAX, WALK_LOOKS_AHEAD_MAX,
        WALK_STEPS_AHEAD_MAX,
    },
    walk::{Links, Names, Seen, Step, Walk},
};

/// See the module.
pub(super) struct Ahead {
    shared: Rc<Shared>,
    _walking: Task<()>,
}

#[derive(Default)]
struct Shared {
    steps: RefCell<VecDeque<Step>>,
    /// Encoded bytes of the leaves among them.
    bytes: Cell<u64>,
    end: Cell<Option<End>>,
    gate: Gate,
}

/// How a walk ends.
#[derive(Clone, Copy)]
enum End {
    Reached,
    Failed,
}

/// What one job of the walk brings, and a time before anything of it was looked at.
struct Batch {
    names: Names,
    walk: Walk,
    now: Timestamp,
}

/// The same, looked at.
type Looked = (Vec<Seen>, Timestamp);

impl Ahead {
    /// Begins to walk. `matcher` knows what need not be read.
    pub(super) fn start(world: &World, walk: Walk, matcher: Option<Matcher>) -> Self {
        let shared = Rc::new(Shared::default());
        let (inside, helper) = (Rc::clone(&shared), world.clone());
        let walking = world.spawn(async move {
            let outcome = inside.walk(&helper, walk, matcher).await;
            inside.end.set(Some(outcome.map_or(End::Failed, |()| End::Reached)));
            inside.gate.open();
        });
        Self { shared, _walking: walking }
    }

    /// Moves steps to `steps`, so many that batches do not end where the walk's do; fewer only at its end.
    pub(super) async fn fill(&self, steps: &mut VecDeque<Step>) -> Result<(), BackupError> {
        let Shared { steps: ahead, bytes, end, gate } = &*self.shared;
        let enough = UNIT_ENTRIES_MAX.saturating_sub(steps.len());
        if enough > 0 {
            let ready = || ahead.borrow().len() >= enough || !self.shared.has_room() || end.get().is_some();
            gate.until(|| ready().then_some(())).await;
        }
        if let Some(End::Failed) = end.get() {
            return Err(BackupError::Helper);
        }
        steps.append(&mut ahead.borrow_mut());
        bytes.set(0);
        gate.open();
        Ok(())
    }
}

impl Shared {
    fn has_room(&self) -> bool {
        self.steps.borrow().len() < WALK_STEPS_AHEAD_MAX && self.bytes.get() < WALK_LEAVES_AHEAD_BYTES_MAX
    }

    /// `None` when a job panicked.
    async fn walk(&self, world: &World, walk: Walk, mut matcher: Option<Matcher>) -> Option<()> {
        let (mut naming, mut looking) = (Some(name_on(world, walk)), VecDeque::new());
        let mut links = Links::default();
        loop {
            while looking.len() < WALK_LOOKS_AHEAD_MAX
                && let Some(job) = naming.take()
            {
                let Batch { names, walk, now } = job.join().await.flatten()?;
                if !names.is_empty() {
                    naming = Some(name_on(world, walk));
                    looking.push_back(look(world, names, now));
                }
            }
            let Some(job) = looking.pop_front() else { return Some(()) };
            let (seen, now) = job.join().await.flatten()?;
            let found = links.settle(seen);
            let steps = match matcher.take() {
                Some(mut known) => {
                    let job = move || (known.match_batch(found, now), known);
                    let (steps, known) = world.offload(job).await?;
                    matcher = Some(known);
                    steps
                }
                None => found,
            };
            let bytes: u64 = steps.iter().map(Step::leaf_bytes).sum();
            self.bytes.set(self.bytes.get() + bytes);
            self.steps.borrow_mut().extend(steps);
            self.gate.open();
            self.gate.until(|| self.has_room().then_some(())).await;
        }
    }
}

fn name_on(world: &World, mut walk: Walk) -> Task<Option<Batch>> {
    let (helper, now) = (world.clone(), cache::now(world));
    let job = move || Batch { names: walk.names(WALK_BATCH_ENTRIES), walk, now };
    world.spawn(async move { helper.offload(job).await })
}

fn look(world: &World, names: Names, now: Timestamp) -> Task<Option<Looked>> {
    let helper = world.clone();
    world.spawn(async move { helper.offload(move || (names.look(), now)).await })
}
