//! The demo step by step.

use std::{
    collections::BTreeSet,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::Instant,
};

use narrows_api::{
    backups::RestoreRequest,
    domains::{DomainInfo, InviteReply, InviteRequest, PairRequest},
    images::{ReplicateReply, ReplicateRequest},
    jobs::JobInfo,
    paths,
    slps::{ApplyReply, ApplyRequest, Format},
};
use narrows_client::sink::{Selection, SinkOptions};

use super::{
    Seconds, Summary,
    edits::{self, Edited},
    reader::{self, Comparison},
    servers::{self, Domain},
};
use crate::{
    api::{Api, filled},
    commands,
    failure::{Failure, Outcome, codes},
    output::{Style, counted},
    work::{self, BackupJob, BackupSummary, RestoreJob, RestoreSummary, seconds},
};

/// The policy of the first domain: keep, and replicate to the second.
const GOLD: &str = r#"name = "demo"
[[operation]]
id = "backup"
kind = "backup"
storage = "default"
retention = { fixed = "30d" }
[[operation]]
id = "to-west"
kind = "replication"
source = "backup"
target = { domain = "west", import_slp = "demo-import" }
retention = { fixed = "90d" }
"#;

/// The policy of the second domain: take in what the first one sends.
const IMPORT: &str = r#"name = "demo-import"
[[operation]]
id = "import"
kind = "import"
storage = "default"
retention = { target = {}, at_least = "1d", at_most = "1y" }
"#;

/// Two domains and a client in each.
pub(super) struct Story<'a> {
    dir: &'a Path,
    work: &'a Path,
    style: Style,
    east: Domain,
    west: Domain,
    web01: Api,
    dr01: Api,
}

impl<'a> Story<'a> {
    /// Tells it from the beginning to the end. Gives the summary and what differs, if anything does.
    pub(super) async fn tell(
        dir: &'a Path,
        work: &'a Path,
        style: Style,
        keep: bool,
    ) -> Outcome<(Summary, Vec<String>)> {
        let begun = Instant::now();
        let story = Self::begin(dir, work, style).await?;
        let outcome = story.rounds(keep).await;
        tokio::join!(story.east.stop(), story.west.stop());
        let (mut summary, differences) = outcome?;
        summary.seconds.total = seconds(begun.elapsed());
        Ok((summary, differences))
    }

    async fn begin(dir: &'a Path, work: &'a Path, style: Style) -> Outcome<Self> {
        let program = servers::program()?;
        let (east, west) =
            tokio::try_join!(Domain::start(&program, work, "east"), Domain::start(&program, work, "west"))?;
        let invite: InviteReply = east.api.post(paths::DOMAIN_INVITE, &InviteRequest::default()).await?;
        let pair = PairRequest { line: invite.line, ..PairRequest::default() };
        let paired: DomainInfo = west.api.post(paths::DOMAIN_PAIR, &pair).await?;
        style.remark(&format!("two domains: east and west, {}", paired.state));
        let (web01, _) = commands::enroll(&east.api, &east.context, "web01").await?;
        let (dr01, _) = commands::enroll(&west.api, &west.context, "dr01").await?;
        let web01 = Api::as_client(&east.context, &web01)?;
        let dr01 = Api::as_client(&west.context, &dr01)?;
        apply(&west.api, IMPORT).await?;
        apply(&east.api, GOLD).await?;
        Ok(Self { dir, work, style, east, west, web01, dr01 })
    }

    async fn rounds(&self, keep: bool) -> Outcome<(Summary, Vec<String>)> {
        let backup = self.back_up(self.dir).await?;
        let replica = self.replicate(&backup.image).await?;
        let restored = self.work.join("restored");
        let restore = self.restore(&backup.image, &restored, Vec::new()).await?;
        let begun = Instant::now();
        let Comparison { files, file_count, differences, different } =
            self.in_background(self.comparison(&backup, &restored)?).await?;
        let compare = seconds(begun.elapsed());
        let mut summary = Summary {
            domains: 2,
            files: file_count,
            logical_bytes: backup.logical_bytes,
            stored_bytes: backup.stored_bytes,
            wire_bytes: replica.counters.wire_bytes,
            seconds: Seconds {
                backup: backup.seconds,
                restore: restore.seconds,
                compare,
                ..Seconds::default()
            },
            verified: different == 0 && restore.verified,
            ..Summary::default()
        };
        (summary.seconds.replicate, summary.seconds.import) = durations(&replica);
        self.style.remark(&format!("restored in west: {different} differences"));
        let mut all = differences;
        all.extend(
            restore.skipped_files.iter().map(|skipped| format!("{}: {}", skipped.path.0, skipped.why)),
        );
        if summary.verified {
            let copy = self.copy(&backup.image, restored, keep).await?;
            all.extend(self.second_round(&copy, files, &mut summary).await?);
        }
        Ok((summary, all))
    }

    /// The tree to change: the restored one, or another like it when that is to be kept.
    async fn copy(&self, image: &str, restored: PathBuf, keep: bool) -> Outcome<PathBuf> {
        if !keep {
            return Ok(restored);
        }
        let copy = self.work.join("changed");
        self.restore(image, &copy, Vec::new()).await?;
        Ok(copy)
    }

    /// Changes the copy, backs it up as a later state of the directory, replicates, and compares what changed.
    async fn second_round(
        &self,
        copy: &Path,
        files: Vec<PathBuf>,
        summary: &mut Summary,
    ) -> Outcome<Vec<String>> {
        let tree = copy.to_path_buf();
        let Edited { files: changed, bytes } = self.in_background(move || edits::edit(&tree, files)).await?;
        let backup = self.back_up(copy).await?;
        let replica = self.replicate(&backup.image).await?;
        summary.second.changed_files = changed.len() as u64;
        summary.second.changed_bytes = bytes;
        summary.second.new_stored_bytes = backup.stored_bytes;
        summary.second.wire_bytes = replica.counters.wire_bytes;
        summary.seconds.second_backup = backup.seconds;
        summary.seconds.second_replicate = durations(&replica).0;
        let again = self.work.join("restored again");
        let chosen = changed.iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect();
        let restore = self.restore(&backup.image, &again, chosen).await?;
        let tree = copy.to_path_buf();
        let differences = self.in_background(move || reader::compare_files(&tree, &again, &changed)).await?;
        summary.verified &= differences.is_empty() && restore.verified;
        Ok(differences)
    }

    async fn back_up(&self, tree: &Path) -> Outcome<BackupSummary> {
        let job = BackupJob {
            paths: vec![tree.to_path_buf()],
            // The copy stands for a later state of the same directory.
            named_as: Some(vec![self.dir.to_path_buf()]),
            slp: Some("demo".to_owned()),
            ..BackupJob::default()
        };
        let summary = work::back_up(&self.web01, &job, self.style).await?;
        for skipped in &summary.skipped_files {
            self.style.remark(&format!("skipped: {}: {}", skipped.path.0, skipped.why));
        }
        self.style.remark(&format!("backed up: {} in {} s", summary.name, summary.seconds));
        Ok(summary)
    }

    /// Waits until the second domain has the image in its catalog.
    async fn replicate(&self, image: &str) -> Outcome<JobInfo> {
        let bar = self.style.bar("replicate", None);
        let request = ReplicateRequest { domain: "west".to_owned(), import_slp: None };
        let path = filled(paths::IMAGE_REPLICATE, image);
        let reply: ReplicateReply = self.east.api.post(&path, &request).await?;
        let job = commands::wait(&self.east.api, &reply.job).await?;
        bar.finish_and_clear();
        let (replicate, import) = durations(&job);
        self.style.remark(&format!("replicated to west in {replicate} s, imported in {import} s"));
        Ok(job)
    }

    async fn restore(&self, image: &str, to: &Path, paths: Vec<Vec<u8>>) -> Outcome<RestoreSummary> {
        let job = RestoreJob {
            request: RestoreRequest {
                image: image.to_owned(),
                client: None,
                origin: None,
                at: None,
                as_tar: false,
            },
            to: to.to_path_buf(),
            options: SinkOptions { selection: Selection::new(paths), ..SinkOptions::default() },
        };
        work::restore(&self.dr01, &job, self.style).await
    }

    /// The comparison of the directory with what was restored, to be run elsewhere.
    fn comparison(
        &self,
        backup: &BackupSummary,
        restored: &Path,
    ) -> Outcome<impl FnOnce() -> Outcome<Comparison> + Send + 'static> {
        let listed = &backup.skipped_files;
        if backup.skipped > listed.len() as u64 {
            let count = backup.skipped;
            return Err(Failure::new(
                codes::FILE,
                counted(count, "file cannot be read", "files cannot be read"),
            )
            .at(self.dir.display().to_string())
            .help("run the demo on a directory that you can read"));
        }
        let skipped: BTreeSet<Vec<u8>> =
            listed.iter().filter_map(|skipped| skipped.path.to_bytes()).collect();
        let (before, after) = (self.dir.to_path_buf(), restored.to_path_buf());
        Ok(move || reader::compare(&before, &after, &skipped))
    }

    /// Runs work that blocks without holding up signals.
    async fn in_background<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Outcome<T> + Send + 'static,
    ) -> Outcome<T> {
        let ended = tokio::task::spawn_blocking(work).await;
        ended.map_err(|error| {
            Failure::new(codes::BUG, "a thread of the demo failed").because(error.to_string())
        })?
    }
}

async fn apply(api: &Api, text: &str) -> Outcome<ApplyReply> {
    let request = ApplyRequest {
        text: text.to_owned(),
        format: Format::Toml,
        file: "the demo's own policy".to_owned(),
        plan: false,
        unverified: false,
        accept_no_local_copy: false,
        in_place: false,
    };
    api.post(paths::SLPS, &request).await
}

/// Seconds from the start of a replication to the target's commit, and from there to the confirmed import.
fn durations(job: &JobInfo) -> (f64, f64) {
    let between = |from: jiff::Timestamp, to: jiff::Timestamp| {
        seconds(to.duration_since(from).try_into().unwrap_or_default())
    };
    let finished = job.finished.unwrap_or(job.started);
    let sent = job.sent.unwrap_or(finished);
    (between(job.started, sent), between(sent, finished))
}
