//! What a person sees of a backup.

use indicatif::ProgressBar;
use narrows_agent::{
    attempts::Watch,
    backup::{self, BackupJob, BackupSummary, WatchBackup},
};
use narrows_client::{
    backup::{BackupProgress, Source},
    read::Single,
};

use crate::{api::Api, failure::Outcome, output::Style};

struct Bar {
    style: Style,
    bar: ProgressBar,
}

/// Backs up as the client whose certificate `api` has.
pub(crate) async fn back_up(api: &Api, job: &BackupJob, style: Style) -> Outcome<BackupSummary> {
    let bar = style.bar("back up", job.single.as_ref().and_then(Single::size));
    backup::back_up(api, job, &Bar { style, bar }).await
}

impl Watch for Style {
    fn remark(&self, text: &str) {
        Style::remark(*self, text);
    }
}

impl Watch for Bar {
    fn remark(&self, text: &str) {
        self.style.remark(text);
    }
}

impl WatchBackup for Bar {
    fn moved(&self, progress: &BackupProgress, source: &Source) {
        let (read, new) = (progress.read_bytes(), progress.new_bytes());
        let share = (read.saturating_sub(new) * 100).checked_div(read).unwrap_or(0);
        self.bar.set_position(read);
        self.bar.set_message(match source {
            Source::Single(_) => format!("{share} % known already"),
            Source::Tree { .. } => format!(
                "{} files, {} unchanged, {share} % of the others known already",
                progress.entries(),
                progress.unchanged_files()
            ),
        });
    }

    fn over(&self) {
        self.bar.finish_and_clear();
    }
}
