//! Programs that run on the client before and after a backup.
//!
//! Guarantees: nothing runs but a program of the hooks folder, by its bare name and without a shell; folder and program
//! belong to root or to the agent's own user and nobody else can write to them. So whoever rules the domain chooses among
//! what the client's administrator has put there. A program that takes too long is killed with all that it started.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use narrows_api::agent::HookOrder;
use rustix::process::{Pid, Signal, geteuid, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Command,
    task::JoinHandle,
};

use crate::failure::{Failure, Outcome, codes};

/// So much of what a program says is told when it fails.
const SAID_BYTES_MAX: usize = 2048;
/// What a program leaves running may hold its output open: nobody waits for that longer.
const OUTPUT_WAIT: Duration = Duration::from_secs(1);

/// Where the programs lie.
#[derive(Clone, Debug)]
pub struct Hooks {
    folder: PathBuf,
}

impl Hooks {
    /// In this folder.
    pub fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Runs a program to its end, with these variables added to the environment. A failure has its exit code and the end
    /// of its output.
    pub async fn run(&self, hook: &HookOrder, variables: &[(&str, String)]) -> Outcome<()> {
        let program = self.program(hook)?;
        let name = hook.run.first().map(String::as_str).unwrap_or_default();
        let mut command = Command::new(&program);
        command
            .args(hook.run.iter().skip(1))
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .map_err(|error| failed(name, "could not be started").because(error.to_string()))?;
        // Whatever ends this early ends all that the program started.
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).map(Group);
        let said = Arc::new(Mutex::new(Vec::new()));
        let readers = [
            child.stdout.take().map(|output| tokio::spawn(keep_end(output, Arc::clone(&said)))),
            child.stderr.take().map(|output| tokio::spawn(keep_end(output, Arc::clone(&said)))),
        ];
        let ended = tokio::time::timeout(Duration::from_secs(hook.timeout_seconds), child.wait()).await;
        if ended.is_err() {
            drop(group);
        } else if let Some(group) = group {
            group.leave();
        }
        finish(readers).await;
        let said = said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        let failure = match ended {
            Ok(Ok(status)) if status.success() => return Ok(()),
            Ok(Ok(status)) => failed(name, &format!("ended with {status}")),
            Ok(Err(error)) => failed(name, "was lost sight of").because(error.to_string()),
            Err(_) => failed(name, &format!("took longer than {} s and was killed", hook.timeout_seconds)),
        };
        Err(if said.is_empty() { failure } else { failure.because(said) })
    }

    /// The program, if it may run.
    fn program(&self, hook: &HookOrder) -> Outcome<PathBuf> {
        let name = hook.run.first().map(String::as_str).unwrap_or_default();
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
            return Err(failed(name, "is no bare name of a program"));
        }
        let path = self.folder.join(name);
        for part in [&self.folder, &path] {
            let meta = std::fs::symlink_metadata(part).map_err(|error| {
                failed(name, "is not in the hooks folder of this client")
                    .at(part.display().to_string())
                    .because(error.to_string())
                    .help("put the program there, or start the agent with --hooks DIR")
            })?;
            let is_ours = meta.uid() == 0 || meta.uid() == geteuid().as_raw();
            if !is_ours || meta.mode() & 0o022 != 0 || meta.is_symlink() {
                return Err(failed(name, "may not run: others could change it")
                    .at(part.display().to_string())
                    .help("let it belong to root or to the agent's user, and nobody else write to it (mode 755)"));
            }
        }
        Ok(path)
    }
}

/// The processes of a program; dropped, they are killed.
struct Group(Pid);

impl Group {
    /// It has ended by itself; what it left running goes on.
    fn leave(self) {
        std::mem::forget(self);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // One that has gone already is no error.
        kill_process_group(self.0, Signal::KILL).ok();
    }
}

fn failed(name: &str, what: &str) -> Failure {
    Failure::new(codes::HOOK, format!("hook `{name}` {what}"))
}

async fn keep_end(mut output: impl AsyncRead + Unpin, said: Arc<Mutex<Vec<u8>>>) {
    let mut bytes = [0; 512];
    while let Ok(count) = output.read(&mut bytes).await
        && count > 0
    {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        said.extend(bytes.iter().take(count));
        let over = said.len().saturating_sub(SAID_BYTES_MAX);
        said.drain(..over);
    }
}

async fn finish(readers: [Option<JoinHandle<()>>; 2]) {
    for mut reader in readers.into_iter().flatten() {
        if tokio::time::timeout(OUTPUT_WAIT, &mut reader).await.is_err() {
            reader.abort();
        }
    }
}

/// The hooks folder when none is named.
pub fn usual_folder() -> &'static Path {
    Path::new("/etc/narrows/hooks")
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn folder(programs: &[(&str, &str, u32)]) -> (tempfile::TempDir, Hooks) {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for (name, text, mode) in programs {
            let path = dir.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
        }
        let hooks = Hooks::at(dir.path().to_path_buf());
        (dir, hooks)
    }

    fn order(words: &[&str], timeout_seconds: u64) -> HookOrder {
        HookOrder { run: words.iter().map(ToString::to_string).collect(), timeout_seconds }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_program_is_told_and_what_it_says_is_told_when_it_fails() {
        let (dir, hooks) =
            folder(&[("dump", "echo \"$NARROWS_POLICY $1\" > \"$0.out\"; echo broken >&2; exit $2", 0o755)]);
        let variables = [("NARROWS_POLICY", "nightly".to_owned())];
        hooks.run(&order(&["dump", "a b", "0"], 60), &variables).await.unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("dump.out")).unwrap(), "nightly a b\n");
        let failure = hooks.run(&order(&["dump", "x", "3"], 60), &variables).await.unwrap_err();
        assert_eq!((failure.0.code.as_str(), failure.0.why.as_str()), (codes::HOOK, "broken"));
        assert!(failure.0.message.contains('3'), "{failure}");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_program_that_takes_too_long_is_killed_with_what_it_started() {
        let (dir, hooks) = folder(&[("slow", "sleep 600 & echo $! > \"$0.pid\"; wait", 0o755)]);
        let failure = hooks.run(&order(&["slow"], 1), &[]).await.unwrap_err();
        assert!(failure.0.message.contains("killed"), "{failure}");
        let pid = fs::read_to_string(dir.path().join("slow.pid")).unwrap();
        // Gone, or dead and not yet collected by whoever inherited it; the kernel takes a moment.
        let is_dead = || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
            stat.map_or(true, |stat| stat.contains(") Z "))
        };
        for _ in 0..500 {
            if is_dead() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the child lives");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn nothing_else_runs() {
        let (_dir, hooks) = folder(&[("open", "exit 0", 0o777), ("plain", "exit 0", 0o644)]);
        for words in
            [&["../bin/sh"][..], &["/bin/sh"], &[""], &[], &["absent"], &["open"], &["plain"], &["."]]
        {
            let failure = hooks.run(&order(words, 60), &[]).await.unwrap_err();
            assert_eq!(failure.0.code, codes::HOOK, "{words:?}: {failure}");
        }
    }
}
