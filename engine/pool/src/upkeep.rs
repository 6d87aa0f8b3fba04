//! What core 0 keeps in mind of the index: its runs, its journals, and what is being done about them.
//!
//! Edits of the manifest are noted here and nowhere else: a run is listed after it is durable, a journal is dropped
//! with the edits that list the runs which have its entries, a file is removed after it is not listed any more.

use std::{
    cell::{Cell, RefCell},
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use narrows_format::{index_run::Directory, manifest::Edit};

use crate::{
    control::Control,
    descriptors::waited,
    error::Error,
    index::{ListedRun, ListedRuns, run},
    open::UpkeepSeed,
    shard::Cause,
    signal::Signal,
};

/// Runs, journals, and what goes on.
pub(crate) struct Upkeep {
    runs: RefCell<ListedRuns>,
    next_run: Cell<u64>,
    /// Journals whose entries are not all in runs; the last one is being written.
    journals: RefCell<Vec<u64>>,
    next_journal: Cell<u64>,
    /// Containers whose tables could not be read: no flush may take them for being in runs.
    unread: Vec<Edit>,
    /// Journals up to this one are dropped once frozen tables have been written.
    frozen_up_to: Cell<Option<u64>>,
    pub(crate) flushing: Cell<bool>,
    pub(crate) flush_again: Cell<bool>,
    pub(crate) merging: Cell<bool>,
    /// A merge that failed would fail again until the pool is opened anew.
    pub(crate) merge_failed: Cell<bool>,
    /// A flush waits for the merge that goes on. Read by the core that merges.
    pub(crate) merge_awaited: Arc<AtomicBool>,
    pub(crate) publishing: Cell<bool>,
    pub(crate) changed: Signal,
}

impl Upkeep {
    pub(crate) fn new(seed: UpkeepSeed) -> Self {
        let UpkeepSeed { runs, next_run, journals, next_journal, unread } = seed;
        Self {
            unread,
            runs: RefCell::new(runs),
            next_run: Cell::new(next_run),
            journals: RefCell::new(journals),
            next_journal: Cell::new(next_journal),
            frozen_up_to: Cell::new(None),
            flushing: Cell::new(false),
            flush_again: Cell::new(false),
            merging: Cell::new(false),
            merge_failed: Cell::new(false),
            merge_awaited: Arc::default(),
            publishing: Cell::new(false),
            changed: Signal::default(),
        }
    }
}

impl Control {
    /// Runs that make up the index.
    pub(crate) fn runs(&self) -> u64 {
        self.upkeep.runs.borrow().0.len() as u64
    }

    /// Whether some partition has as many runs as it may.
    pub(crate) fn runs_full(&self) -> bool {
        self.upkeep.runs.borrow().is_full()
    }

    /// Which of them to make one of.
    pub(crate) fn runs_to_merge(&self) -> Vec<u64> {
        self.upkeep.runs.borrow().to_merge()
    }

    /// Numbers for so many runs, durably; gives the first.
    pub(crate) async fn reserve_runs(&self, count: u32) -> Result<u64, Error> {
        self.poison.check()?;
        let first = self.upkeep.next_run.get();
        self.upkeep.next_run.set(first + u64::from(count));
        self.manifest.durable(Some(Edit::ReserveRuns { first, count })).await?;
        Ok(first)
    }

    /// Begins a new journal, so that whatever is listed from now on is known by it, and reserves runs. After an attempt
    /// that failed the tables that were frozen then are written, and the journal that was begun then is still new.
    pub(crate) async fn begin_flush(&self, count: u32) -> Result<u64, Error> {
        if self.upkeep.frozen_up_to.get().is_none() {
            let number = self.upkeep.next_journal.get();
            // So that a crash before the runs are listed costs no reading of tables.
            self.journal.write_waiting().await;
            let file = self.journal.create(number).await?;
            self.upkeep.next_journal.set(number + 1);
            // At one moment: a container is in the journal that was added before it was listed.
            self.manifest.note(Edit::AddJournal { log: number });
            self.journal.switch(file);
            self.upkeep.unread.iter().for_each(|edit| self.manifest.note(*edit));
            let before = self.upkeep.journals.borrow().last().copied();
            self.upkeep.journals.borrow_mut().push(number);
            self.upkeep.frozen_up_to.set(Some(before.unwrap_or(number - 1)));
        }
        self.reserve_runs(count).await
    }

    /// Lists runs that are durable, durably. Gives the journals that are not needed any more.
    pub(crate) async fn list_runs(
        &self,
        added: &[Directory],
        dropped: &[u64],
        cause: Cause,
    ) -> Result<Vec<u64>, Error> {
        let adds = added.iter().map(|run| Edit::AddRun { run: run.run, records: run.records() });
        let retires = dropped.iter().map(|run| Edit::RetireRun { run: *run });
        let mut gone = Vec::new();
        if let Some(up_to) = self.upkeep.frozen_up_to.get().filter(|_| cause == Cause::Flush) {
            gone.extend(self.upkeep.journals.borrow_mut().extract_if(.., |journal| *journal <= up_to));
            self.upkeep.frozen_up_to.set(None);
        }
        let drops = gone.iter().map(|log| Edit::DropJournal { log: *log });
        // In this order: should a crash part them, entries stand twice rather than nowhere.
        for edit in adds.chain(retires).chain(drops) {
            self.manifest.note(edit);
        }
        self.manifest.durable(None).await?;
        let mut runs = self.upkeep.runs.borrow_mut();
        runs.0.retain(|run, _| !dropped.contains(run));
        runs.0.extend(added.iter().map(|run| (run.run, ListedRun::from(run))));
        Ok(gone)
    }

    /// Removes journals that are not listed any more. What stays is removed by the next start.
    pub(crate) async fn remove_journals(&self, journals: &[u64]) {
        for number in journals {
            if let Err(error) = self.journal.remove(*number).await {
                tracing::warn!(%error, number, "an index journal that is not needed stays for now");
            }
        }
    }

    /// The files of these runs have been removed. Said only when that survives power loss.
    pub(crate) async fn runs_removed(&self, dir: &Path, runs: &[u64]) {
        if runs.is_empty() || self.poison.check().is_err() {
            return;
        }
        let (disk, directory) = (&self.world.disk, run::directory(dir));
        match waited(&self.world, async || disk.sync_dir(&directory).await).await {
            Ok(()) => runs.iter().for_each(|run| self.manifest.note(Edit::DropRun { run: *run })),
            Err(error) => drop(self.poison.by("syncing the directory of index runs", &error)),
        }
    }

    /// Part of a run cannot be read: said once, and noted for the next start. One that was merged away meanwhile is none
    /// of the index any more.
    pub(crate) fn doubt_run(&self, run: u64, error: &Error) {
        let mut runs = self.upkeep.runs.borrow_mut();
        let Some(listed) = runs.0.get_mut(&run).filter(|listed| !listed.doubted) else { return };
        listed.doubted = true;
        tracing::error!(code = error.code(), %error, "the index is damaged; the next start makes it anew");
        self.manifest.note(Edit::DoubtRun { run });
        self.manifest.kick();
    }
}
