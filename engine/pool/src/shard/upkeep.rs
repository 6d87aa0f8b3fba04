//! Flush and merge: how entries get from tables in memory to runs, and runs become few.
//!
//! Core 0 leads. *Flush*: a new journal is begun, so that containers listed from now on are known by it; each core
//! freezes its table and writes it to a run, while a new table fills; then one batch of the manifest adds the runs and
//! drops the journals before the new one. *Merge*: one core writes one run of several; then one batch adds it and retires
//! them. A crash before that batch is durable leaves files that the manifest has reserved and does not list; the next start
//! removes them. One flush and one merge run at a time, beside each other; what they change, they change one after the other.

use std::{
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::future::{join_all, select};
use narrows_format::index_run::{Directory, Header, Part};

use super::{
    core::Core,
    request::{Cause, Reply, Request, RunsChange},
};
use crate::{
    control::Control,
    error::Error,
    index::run::{self, OpenRun, RunWriter},
    limits::GIVE_WAY_MAX,
};

impl Core {
    /// Freezes the table and writes it.
    pub(super) fn flush_here(self: &Rc<Self>, run: u64, reply: Reply<Result<Option<Directory>, Error>>) {
        let table = self.owned.borrow_mut().freeze();
        self.flush_asked.set(false);
        self.register_waiting();
        let Some(table) = table else {
            drop(reply.send(Ok(None)));
            return;
        };
        let core = self.clone();
        self.in_background(async move {
            let written = match core.run_writer(run, table.len()).await {
                Ok(writer) => run::write_table(writer, &core.facts.directory, &table).await,
                Err(error) => Err(error),
            };
            drop(reply.send(written));
        });
    }

    async fn run_writer(&self, run: u64, records: u64) -> Result<RunWriter, Error> {
        let (pool, epoch, partitions) = (self.facts.pool, self.facts.epoch, self.map.partitions());
        let header = Header { pool, run, epoch, partitions };
        let work_bytes = self.owned.borrow().work_bytes();
        RunWriter::create(&self.world, &self.facts.directory, header, &self.poison, records, work_bytes).await
    }

    /// Merges runs, behind whatever else reads and writes; ends early when the pool is being closed.
    pub(super) async fn merge_here(
        &self,
        inputs: &[u64],
        run: u64,
        awaited: &AtomicBool,
    ) -> Result<Option<Directory>, Error> {
        let existing = self.owned.borrow().existing().clone();
        let mut opened = Vec::with_capacity(inputs.len());
        for input in inputs {
            let run = self.open_run(*input).await?;
            run.file.stand_back();
            opened.push(run);
        }
        let records = opened.iter().map(|input| input.directory.records()).sum();
        let writer = self.run_writer(run, records).await?;
        writer.stand_back();
        let alive = |location| existing.has(location);
        let turn = async || {
            if !awaited.load(Ordering::Relaxed) {
                self.give_way().await;
            }
            if self.closing.get() { Err(Error::Closed) } else { Ok(()) }
        };
        run::merge(&opened, writer, &self.facts.directory, alive, turn).await
    }

    /// Lets look-ups of this core go first that wait for pages; not for long, so that a merge comes to its end however much is
    /// asked.
    async fn give_way(&self) {
        if self.reading.get() > 0 {
            let free = pin!(self.changed.until(|| (self.reading.get() == 0).then_some(())));
            select(free, self.world.clock.sleep(GIVE_WAY_MAX)).await;
        }
    }

    async fn open_run(&self, run: u64) -> Result<OpenRun, Error> {
        OpenRun::open(&self.world, &self.facts.directory, self.facts.pool, self.map, run).await
    }

    /// Takes other runs into use, one partition after the other: at no time is an entry out of sight.
    pub(super) async fn exchange_here(self: &Rc<Self>, change: &RunsChange) -> Result<(), Error> {
        for added in &change.added {
            let owns = |part: &&Part| self.owned.borrow().owns(part.partition);
            if !added.parts.iter().any(|part| owns(&part)) {
                continue;
            }
            let run = self.open_run(added.run).await?;
            for part in run.directory.parts.iter().filter(owns) {
                let piece = run.piece(part).await?;
                self.owned.borrow_mut().exchange(part.partition, &change.dropped, Some(piece));
            }
        }
        // Partitions of which a merge left nothing.
        for partition in (0..self.map.partitions()).filter(|_| !change.dropped.is_empty()) {
            self.owned.borrow_mut().exchange(partition, &change.dropped, None);
        }
        self.run_files.borrow_mut().retain(|run, _| !change.dropped.contains(run));
        if change.cause == Cause::Flush {
            self.owned.borrow_mut().thaw();
            self.register_waiting();
        }
        Ok(())
    }

    /// Core 0: has all tables written; once more if somebody asks meanwhile.
    pub(super) fn flush_index(self: &Rc<Self>, control: &Rc<Control>) {
        let upkeep = &control.upkeep;
        if upkeep.flushing.replace(true) {
            upkeep.flush_again.set(true);
            return;
        }
        let (core, control) = (self.clone(), control.clone());
        self.in_background(async move {
            loop {
                control.upkeep.flush_again.set(false);
                if let Err(error) = core.flush_once(&control).await {
                    tracing::warn!(code = error.code(), %error, "new entries of the index could not be written");
                    for to in 0..core.map.cores() {
                        // A core that has gone waits for nothing.
                        drop(core.send(to, Request::FlushFailed { error: error.clone() }).await);
                    }
                }
                if !control.upkeep.flush_again.get() {
                    break;
                }
            }
            control.upkeep.flushing.set(false);
            core.merge_index(&control);
        });
    }

    async fn flush_once(self: &Rc<Self>, control: &Rc<Control>) -> Result<(), Error> {
        self.poison.check()?;
        self.merge_index(control);
        let room = || (!control.upkeep.merging.get() || !control.runs_full()).then_some(());
        if room().is_none() {
            // Whoever brings images may wait for this flush: from here on the merge gives way to nobody.
            let awaited = &control.upkeep.merge_awaited;
            awaited.store(true, Ordering::Relaxed);
            control.upkeep.changed.until(room).await;
            awaited.store(false, Ordering::Relaxed);
        }
        let cores = self.map.cores();
        let first = control.begin_flush(u32::try_from(cores).unwrap_or(u32::MAX)).await?;
        let asked = (first..)
            .zip(0..cores)
            .map(|(run, core)| async move { self.ask(core, |reply| Request::Flush { run, reply }).await? });
        let written: Result<Vec<Option<Directory>>, Error> = join_all(asked).await.into_iter().collect();
        let written = match written {
            Ok(written) => written.into_iter().flatten().collect(),
            Err(error) => {
                self.discard(control, first..first + cores as u64).await;
                return Err(error);
            }
        };
        self.publish(control, written, Vec::new(), Cause::Flush).await
    }

    /// Core 0: merges in the background, as long as some partition has too many runs.
    pub(crate) fn merge_index(self: &Rc<Self>, control: &Rc<Control>) {
        if self.closing.get() || control.upkeep.merge_failed.get() || !control.runs_full() {
            return;
        }
        if control.upkeep.merging.replace(true) {
            return;
        }
        let (core, control) = (self.clone(), control.clone());
        self.in_background(async move {
            while !core.closing.get() && control.runs_full() {
                if let Err(error) = core.merge_once(&control).await {
                    // Room on the disk may come back.
                    control.upkeep.merge_failed.set(!matches!(error, Error::Full { .. }));
                    if error != Error::Closed {
                        tracing::warn!(code = error.code(), %error, "runs of the index could not be merged: look-ups are slower");
                    }
                    break;
                }
                control.upkeep.changed.notify();
            }
            control.upkeep.merging.set(false);
            control.upkeep.changed.notify();
        });
    }

    async fn merge_once(self: &Rc<Self>, control: &Rc<Control>) -> Result<(), Error> {
        let inputs: Arc<[u64]> = control.runs_to_merge().into();
        let run = control.reserve_runs(1).await?;
        // The last core: the first one has the logs to write.
        let core = self.map.cores() - 1;
        let awaited = control.upkeep.merge_awaited.clone();
        let merge = |reply| Request::Merge { inputs: inputs.clone(), run, awaited, reply };
        let merged = self.ask(core, merge).await;
        match merged.and_then(|merged| merged) {
            Ok(merged) => {
                self.publish(control, merged.into_iter().collect(), inputs.to_vec(), Cause::Merge).await
            }
            Err(error) => {
                if let Error::LogCorrupt { file, .. } = error {
                    control.doubt_run(file, &error);
                }
                self.discard(control, [run]).await;
                Err(error)
            }
        }
    }

    /// Lists runs and has all cores use them. What they replace goes only then.
    async fn publish(
        self: &Rc<Self>,
        control: &Rc<Control>,
        added: Vec<Directory>,
        dropped: Vec<u64>,
        cause: Cause,
    ) -> Result<(), Error> {
        let upkeep = &control.upkeep;
        upkeep.changed.until(|| (!upkeep.publishing.replace(true)).then_some(())).await;
        let outcome = self.publish_alone(control, added, dropped, cause).await;
        upkeep.publishing.set(false);
        upkeep.changed.notify();
        outcome
    }

    async fn publish_alone(
        self: &Rc<Self>,
        control: &Rc<Control>,
        added: Vec<Directory>,
        dropped: Vec<u64>,
        cause: Cause,
    ) -> Result<(), Error> {
        let journals = control.list_runs(&added, &dropped, cause).await?;
        let change = Arc::new(RunsChange { added, dropped, cause });
        let told = (0..self.map.cores())
            .map(|core| self.ask(core, |reply| Request::Exchange { change: change.clone(), reply }));
        for outcome in join_all(told).await {
            match outcome {
                // Or it has gone, and reads the manifest when it comes again.
                Ok(Ok(())) | Err(Error::Closed) => {}
                // What was just written and synced cannot be read back: nothing more is built on it.
                Err(error) | Ok(Err(error)) => {
                    let failed = std::io::Error::other(error.to_string());
                    self.poison.set("reading back an index run", &failed);
                    return Err(Error::Poisoned);
                }
            }
        }
        control.remove_journals(&journals).await;
        self.discard(control, change.dropped.iter().copied()).await;
        Ok(())
    }

    /// Removes files of runs that are not listed. What cannot be removed now is removed by the next start.
    async fn discard(&self, control: &Rc<Control>, runs: impl IntoIterator<Item = u64>) {
        let mut removed = Vec::new();
        for run in runs {
            match run::remove(&self.world, &self.facts.directory, run).await {
                Ok(()) => removed.push(run),
                Err(error) => tracing::warn!(%error, run, "an index run that is not needed stays for now"),
            }
        }
        control.runs_removed(&self.facts.directory, &removed).await;
    }
}
