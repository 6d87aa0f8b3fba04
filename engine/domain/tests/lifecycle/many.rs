//! What is tried again and again, and what waits in great numbers, stays within bounds.

use narrows_domain::job::{JobKey, RUNS_KEPT};

use super::*;

/// Goal: a target that does not work for a week leaves a bounded number of runs behind, and what they moved stays counted.
#[test]
fn runs_that_are_forgotten_stay_counted() {
    let mut primary = primary(GOLD);
    let (id, commands) = backed_up(&mut primary, NOW);
    let operation = sent(&commands).operation;
    let counters = Counters { wire_bytes: 10, data_bytes: 5, resent_bytes: 2, ..Counters::default() };
    let tries = 3 * RUNS_KEPT;
    for attempt in 1..=tries {
        let seconds = NOW + i64::from(attempt) * 5_000;
        let failure = Failure::interrupted("broke");
        let failed = Event::ReplicationFailed { operation, attempt, failure, counters };
        ready(primary.handle(failed, moment(seconds))).unwrap();
        ready(primary.handle(Event::Tick, moment(seconds + 4_000))).unwrap();
    }
    let jobs = ready(primary.catalog().jobs_of(id, u32::MAX)).unwrap();
    let runs: Vec<_> = jobs.iter().filter(|it| it.job.kind == JobKind::Replication).collect();
    let keys: Vec<_> = runs.iter().map(|it| &it.job.key).collect();
    let newest: Vec<_> = (tries + 2 - RUNS_KEPT..=tries + 1)
        .map(|attempt| JobKey::operation(JobKind::Replication, operation, attempt))
        .collect();
    assert_eq!(keys, newest.iter().collect::<Vec<_>>(), "the newest stay, the one under way among them");
    assert_eq!(jobs.len() - runs.len(), 1, "the backup has its own");
    let totals = ready(primary.catalog().job_totals(JobKind::Replication, operation)).unwrap();
    let tries = u64::from(tries);
    let forgotten = tries + 1 - u64::from(RUNS_KEPT);
    let expected =
        JobTotals { forgotten, wire_bytes: 10 * tries, data_bytes: 5 * tries, resent_bytes: 2 * tries };
    assert_eq!(totals, expected);
}
