//! Goal: a manifest that is written anew adds up to what the one before it did.

use narrows_format::{Slot, manifest::Region};
use proptest::prelude::*;

use super::*;

/// Edits as a pool and its recovery make them, and others: few ids, so that they meet.
fn edit() -> impl Strategy<Value = Edit> {
    let add = |(id, kind): (u64, bool)| Edit::AddContainer {
        container: ContainerId(id),
        kind: if kind { ContainerKind::Data } else { ContainerKind::Nodes },
        image: ImageId([u8::try_from(id).unwrap_or(0); 16]),
        bytes: id * 1000,
        frame_bytes: id * 900,
        segments: 3,
    };
    let id = || 1..40_u64;
    prop_oneof![
        4 => (id(), any::<bool>()).prop_map(add),
        1 => id().prop_map(|id| Edit::DropContainer { container: ContainerId(id) }),
        1 => (id(), 0..9_u32).prop_map(|(id, count)| Edit::ReserveIds { first: ContainerId(id), count }),
        1 => (id(), id()).prop_map(|(log, first)| Edit::AddLogSegment { log, first: Sequence(first) }),
        1 => (0..20_u64).prop_map(|_| Edit::IndexMade),
        1 => (id(), id()).prop_map(|(run, records)| Edit::AddRun { run, records }),
        1 => id().prop_map(|run| Edit::RetireRun { run }),
        1 => id().prop_map(|run| Edit::DropRun { run }),
        1 => id().prop_map(|run| Edit::DoubtRun { run }),
        1 => (id(), 0..9_u32).prop_map(|(first, count)| Edit::ReserveRuns { first, count }),
        2 => (id(), 0..70_u32, 1..4_u32).prop_map(|(id, first, count)| Edit::Quarantine {
            container: ContainerId(id),
            region: Region::Frame,
            first: Slot(first),
            count,
        }),
        1 => id().prop_map(|id| Edit::Release { container: ContainerId(id) }),
        1 => id().prop_map(|id| Edit::CloseContainer { container: ContainerId(id) }),
        1 => id().prop_map(|epoch| Edit::WriterEpoch { epoch }),
        1 => id().prop_map(|id| Edit::ImagesUpTo { sequence: Sequence(id) }),
        // Flushes: a new journal, and sooner or later those before it go.
        3 => any::<bool>().prop_map(|drops| if drops { Edit::DropJournal { log: 0 } } else { Edit::AddJournal { log: 0 } }),
    ]
}

/// What they add up to. Journals are numbered as a pool does it: the newest stays.
fn listed(edits: impl IntoIterator<Item = Edit>) -> Listing {
    let mut listing = Listing::new(1);
    for edit in edits {
        match edit {
            Edit::AddJournal { log: 0 } => listing.apply(Edit::AddJournal { log: listing.last_journal + 1 }),
            Edit::DropJournal { log: 0 } => {
                if let Some(first) = listing.journals.first().filter(|first| **first < listing.last_journal) {
                    listing.apply(Edit::DropJournal { log: *first });
                }
            }
            edit => listing.apply(edit),
        }
    }
    listing
}

/// All that a start goes by.
fn known(listing: &Listing) -> impl PartialEq + std::fmt::Debug {
    let added = |(id, added): (&ContainerId, &Added)| {
        let journal = added.journal.filter(|journal| listing.journals.contains(journal));
        (*id, added.edit(*id), listing.in_runs(added), journal)
    };
    (
        listing.containers.iter().map(added).collect::<Vec<_>>(),
        (listing.epoch, listing.next_id, listing.next_run, listing.last_journal, listing.images_up_to),
        (listing.unresolved.clone(), listing.orphan_runs.clone(), listing.dropped_journals.clone()),
        (listing.segments.clone(), listing.runs.clone(), listing.journals.clone()),
        (listing.harms.clone(), listing.closed.clone(), listing.runs_in_doubt()),
    )
}

proptest! {
    #[test]
    fn a_new_manifest_adds_up_to_the_same(edits in prop::collection::vec(edit(), 0..200)) {
        let mut before = listed(edits);
        // As a start does before it writes anything.
        before.begin_journal();
        // No pool reserves a number that it has listed.
        before.orphan_runs.retain(|run| !before.runs.contains_key(run));
        let state = before.state().expect("journals are listed as a pool lists them");
        let mut after = Listing::new(2);
        for edit in &state {
            after.apply(*edit);
        }
        prop_assert_eq!(known(&after), known(&before));
        prop_assert_eq!(after.state(), Some(state));
    }
}
