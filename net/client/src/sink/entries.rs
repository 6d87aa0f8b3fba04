//! Turns the entries of a leaf into work: what is made at once, and files whose data is wanted.

use std::sync::Arc;

use narrows_format::node::{Child, Content, Entry, EntryKind, Xattrs};
use rustix::fs::FileType;

use super::{
    Sink, SinkError,
    content::{settle_one, write_blanks},
    file::FileJob,
    metadata::{Metadata, SharedMetadata},
    plan::{Blank, Contradiction},
    prepare::{Decision, Make, Planned, prepare},
};

/// What must be done for files before any of their data comes.
#[derive(Default)]
struct First {
    blanks: Vec<Blank>,
    empty: Vec<Arc<FileJob>>,
}

impl Sink {
    /// Makes or plans everything that a leaf names.
    pub(super) async fn take_entries(&self, entries: &[Entry], children: &[Child]) -> Result<(), SinkError> {
        let options = &self.context.options;
        let taken = entries.iter().filter(|entry| self.is_wanted(entry));
        taken.clone().for_each(|entry| options.selection.mark(&entry.path, &mut self.found.borrow_mut()));
        if options.dry_run {
            let asked = taken.filter(|entry| options.selection.asks_for(&entry.path));
            asked.for_each(|entry| self.context.progress.add_counted(entry_bytes(entry)));
            return Ok(());
        }
        let mut planned = Vec::with_capacity(entries.len());
        let mut sources = Vec::with_capacity(entries.len());
        for entry in taken {
            if let EntryKind::HardLink(first) = &entry.kind {
                self.take_link(&entry.path, first);
            } else {
                let path = self.take_orphan(&entry.path).unwrap_or_else(|| entry.path.clone());
                let on_the_way = !options.selection.asks_for(&entry.path);
                planned.push(plan_entry(entry, path, on_the_way));
                sources.push(entry);
            }
        }
        let context = Arc::clone(&self.context);
        let job = move || (prepare(&context, &planned), planned);
        let (decisions, planned) = self.world.offload(job).await.ok_or(SinkError::Helper)?;
        let mut first = First::default();
        for ((decision, plan), entry) in decisions.into_iter().zip(planned).zip(sources) {
            match (decision, &entry.kind) {
                (Decision::PutOnLater, _) => self.put_on_later(plan, entry, children),
                (Decision::Wanted, EntryKind::File { size, content }) => {
                    let file = FileJob::new(&plan.path, *size, plan.metadata.clone());
                    let outcome =
                        self.begin_file(Arc::new(file), content, &plan, entry, children, &mut first);
                    self.contradicted(outcome);
                }
                _ => {}
            }
        }
        let First { blanks, empty } = first;
        if empty.is_empty() && blanks.is_empty() {
            return Ok(());
        }
        let context = Arc::clone(&self.context);
        self.job(move || {
            let mut ended = settle_one(&context, &empty)?;
            ended.extend(write_blanks(&context, &blanks)?);
            Ok(ended)
        })
        .await
    }

    fn is_wanted(&self, entry: &Entry) -> bool {
        let options = &self.context.options;
        if options.orphans.is_empty() {
            return options.selection.takes(&entry.path, entry.kind == EntryKind::Directory);
        }
        self.context.orphan(&entry.path).is_some()
    }

    fn take_link(&self, link: &[u8], first: &[u8]) {
        let mut plan = self.plan.borrow_mut();
        if self.context.options.selection.takes(first, false) {
            plan.links.push((link.to_vec(), first.to_vec()));
        } else {
            plan.orphan(link, first);
        }
    }

    /// The path that stands for one that was not asked for; the other links become links of it.
    fn take_orphan(&self, first: &[u8]) -> Option<Vec<u8>> {
        let orphan = self.context.orphan(first)?;
        let (chosen, others) = orphan.links.split_first()?;
        let others = others.iter().map(|other| (other.clone(), chosen.clone()));
        self.plan.borrow_mut().links.extend(others);
        Some(chosen.clone())
    }

    fn put_on_later(&self, plan: Planned, entry: &Entry, children: &[Child]) {
        if let Xattrs::Stored(ordinals) = &entry.xattrs {
            let stored = stored(ordinals, children);
            let outcome = self.plan.borrow_mut().attributes(&plan.path, &plan.metadata, None, &stored);
            self.contradicted(outcome);
        }
        self.plan.borrow_mut().later.push(plan);
    }

    fn begin_file(
        &self,
        file: Arc<FileJob>,
        content: &Content,
        plan: &Planned,
        entry: &Entry,
        children: &[Child],
        first: &mut First,
    ) -> Result<(), Contradiction> {
        let mut memory = self.plan.borrow_mut();
        if !memory.begin(&file) {
            return Err(Contradiction { path: plan.path.clone(), what: "its path occurs twice" });
        }
        if let Xattrs::Stored(ordinals) = &entry.xattrs {
            file.expect_one_more();
            let stored = stored(ordinals, children);
            memory.attributes(&plan.path, &plan.metadata, Some(&file), &stored)?;
        }
        first.blanks.extend(memory.content(&file, content, children)?);
        if file.size() == 0 {
            first.empty.push(file);
        }
        Ok(())
    }
}

/// An entry as it goes to a helper thread; hard links are not among them.
fn plan_entry(entry: &Entry, path: Vec<u8>, on_the_way: bool) -> Planned {
    let xattrs = match &entry.xattrs {
        Xattrs::Inline(list) => list.clone(),
        Xattrs::Stored(_) => Vec::new(),
    };
    let what = match &entry.kind {
        EntryKind::Directory => Make::Directory,
        EntryKind::File { size, .. } => Make::File(*size),
        EntryKind::Symlink(target) | EntryKind::HardLink(target) => Make::Symlink(target.clone()),
        EntryKind::Fifo => Make::Node(FileType::Fifo, 0, 0),
        EntryKind::Socket => Make::Node(FileType::Socket, 0, 0),
        EntryKind::CharDevice(major, minor) => Make::Node(FileType::CharacterDevice, *major, *minor),
        EntryKind::BlockDevice(major, minor) => Make::Node(FileType::BlockDevice, *major, *minor),
    };
    let metadata = Metadata { mode: entry.mode, uid: entry.uid, gid: entry.gid, mtime: entry.mtime, xattrs };
    Planned {
        path,
        metadata: SharedMetadata::new(metadata),
        on_the_way,
        late: matches!(entry.xattrs, Xattrs::Stored(_)),
        what,
    }
}

/// The segments that hold an entry's attributes, in order; the node codec has checked the ordinals.
fn stored(ordinals: &[u32], children: &[Child]) -> Vec<Child> {
    let child = |ordinal: &u32| usize::try_from(*ordinal).ok().and_then(|at| children.get(at)).copied();
    ordinals.iter().filter_map(child).collect()
}

fn entry_bytes(entry: &Entry) -> u64 {
    if let EntryKind::File { size, .. } = &entry.kind { *size } else { 0 }
}
