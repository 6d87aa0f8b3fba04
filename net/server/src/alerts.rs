//! Runs the operator's program for each problem that is new: the setting `notify`.
//!
//! Guarantees: the program is run by its path, without a shell; what it reads is one line of JSON, the problem as
//! `narrowsctl problem list --json` has it, with the domain's name. It is run for one problem at a time and for a bounded number of them
//! each time they are looked at, and is ended when it takes too long. One that fails is said in the log, and is not run again for that
//! problem. What was told is in memory only: a start tells what is amiss then.

use std::{collections::BTreeSet, process::Stdio, time::Duration};

use narrows_api::server::Finding;
use narrows_domain::Catalog as _;
use serde::Serialize;
use tokio::{
    io::AsyncWriteExt as _,
    process::Command,
    time::{sleep, timeout},
};

use crate::{
    api::{
        App,
        answer::{Failure, internal},
        problems,
    },
    limits::{ALERT_EVERY, ALERT_TIME_MAX, ALERTS_AT_ONCE, LISTED_MAX},
};

/// What tells one problem from another; how many images it is about, and for how long, may change.
type Key = (String, String, String);

/// What the program reads.
#[derive(Debug, Serialize)]
struct Alert<'a> {
    domain: &'a str,
    #[serde(flatten)]
    problem: &'a Finding,
}

/// Runs until it is ended with the server.
pub async fn run(app: App) {
    let mut told = BTreeSet::new();
    loop {
        if !app.config.notify.is_empty()
            && let Err(Failure(error)) = round(&app, &mut told).await
        {
            tracing::warn!(%error, "problems could not be looked at");
        }
        sleep(ALERT_EVERY).await;
    }
}

async fn round(app: &App, told: &mut BTreeSet<Key>) -> Result<(), Failure> {
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let found = problems::found(app, &partners, LISTED_MAX).await?;
    for problem in new_ones(&found, told) {
        let line = serde_json::to_string(&Alert { domain: &app.who.name, problem });
        let line = line.map_err(|error| internal(&error))? + "\n";
        if let Err(why) = tell(&app.config.notify, line.as_bytes(), ALERT_TIME_MAX).await {
            tracing::warn!(check = problem.check, why, "the program that is told of problems has failed");
        }
    }
    Ok(())
}

/// Those that were not told, as many as are told at once. One that has gone is new when it comes again.
fn new_ones<'f>(found: &'f [Finding], told: &mut BTreeSet<Key>) -> Vec<&'f Finding> {
    let key = |it: &Finding| (it.check.clone(), it.side.clone(), it.code.clone());
    let present: BTreeSet<Key> = found.iter().map(key).collect();
    told.retain(|known| present.contains(known));
    let mut new = Vec::new();
    for problem in found {
        if new.len() < ALERTS_AT_ONCE && told.insert(key(problem)) {
            new.push(problem);
        }
    }
    new
}

/// Runs the program once; what it says is not looked at.
async fn tell(notify: &[String], line: &[u8], within: Duration) -> Result<(), String> {
    let Some((program, arguments)) = notify.split_first() else { return Ok(()) };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running =
        command.kill_on_drop(true).spawn().map_err(|error| format!("{program} can't be run: {error}"))?;
    let whole = async {
        if let Some(mut input) = running.stdin.take() {
            // One that does not read it may have done what it is for.
            drop(input.write_all(line).await);
        }
        running.wait().await
    };
    match timeout(within, whole).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("{program}: {status}")),
        Ok(Err(error)) => Err(format!("{program}: {error}")),
        Err(_) => Err(format!("{program} took longer than {} s and was ended", within.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use narrows_api::server::Level;

    use super::*;

    fn problem(check: &str, message: &str) -> Finding {
        let [check, message] = [check, message].map(str::to_owned);
        let (code, side, help) = ("NET-001".to_owned(), "west".to_owned(), String::new());
        Finding { level: Level::Error, code, check, side, message, help }
    }

    /// Goal: each problem is told once while it lasts, and never too many at once.
    #[test]
    fn what_is_new_is_told_once() {
        let mut told = BTreeSet::new();
        let checks = |found: &[Finding], told: &mut BTreeSet<Key>| {
            new_ones(found, told).iter().map(|it| it.check.clone()).collect::<Vec<_>>()
        };
        assert_eq!(checks(&[problem("a", "1 image")], &mut told), ["a"]);
        assert_eq!(checks(&[problem("a", "2 images"), problem("b", "")], &mut told), ["b"]);
        assert_eq!(checks(&[], &mut told), [""; 0]);
        assert_eq!(checks(&[problem("a", "")], &mut told), ["a"], "it was gone");
        let many: Vec<_> = (0..ALERTS_AT_ONCE + 3).map(|it| problem(&it.to_string(), "")).collect();
        assert_eq!(checks(&many, &mut told).len(), ALERTS_AT_ONCE);
        assert_eq!(checks(&many, &mut told).len(), 3, "they had to wait");
        assert_eq!(checks(&many, &mut told).len(), 0);
    }

    /// Goal: what fails, hangs or is not there says so, and holds nothing up for long.
    #[tokio::test]
    async fn the_program_is_ended_when_it_hangs() {
        let notify = |words: &[&str]| words.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let (long, line) = (Duration::from_mins(5), vec![b' '; 1 << 20]);
        tell(&notify(&["/bin/cat"]), &line, long).await.unwrap();
        tell(&notify(&["/bin/true"]), &line, long).await.unwrap();
        for (words, limit, why) in [
            (&["/bin/false"][..], long, "exit status: 1"),
            (&["/bin/sleep", "1000"], Duration::from_millis(20), "was ended"),
            (&["/nowhere/at/all"], long, "can't be run"),
        ] {
            let said = tell(&notify(words), b"{}\n", limit).await.unwrap_err();
            assert!(said.contains(why), "{said}");
        }
    }
}
