//! Tells a program its commit: `NARROWS_COMMIT` where that is set, else what `git` says, else `unknown`.
//!
//! Both programs are built with it. It runs again when another commit is checked out or made.

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-env-changed=NARROWS_COMMIT");
    let commit = env::var("NARROWS_COMMIT").ok().or_else(|| git(&["rev-parse", "--short", "HEAD"]));
    println!("cargo::rustc-env=NARROWS_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    let head = Some("HEAD".to_owned());
    for name in [head, git(&["symbolic-ref", "--quiet", "HEAD"])].into_iter().flatten() {
        // A path that is not there would run this each time.
        let path = git(&["rev-parse", "--git-path", &name]).filter(|path| Path::new(path).exists());
        if let Some(path) = path {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}

fn git(words: &[&str]) -> Option<String> {
    let output = Command::new("git").args(words).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}
