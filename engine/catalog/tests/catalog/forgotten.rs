//! Runs of one operation are forgotten as the model does it, and what an older catalog has too many of goes with the upgrade.

use std::time::Duration;

use narrows_catalog::SqliteCatalog;
use narrows_domain::catalog::JobTotals;
use narrows_domain::job::{
    Counters, Job, JobKey, JobKind, JobState, RESTORES_KEPT, RESTORES_KEPT_MAX, RUNS_KEPT,
};
use narrows_domain::limits::TOKENS_KEPT;
use narrows_domain::model::MemoryCatalog;
use narrows_domain::moment::after;
use narrows_domain::token::{Token, TokenHash, TokenPurpose};
use narrows_domain::{Catalog as _, Change, OperationKey};
use narrows_format::{ImageId, Timestamp};

use crate::durable::{migrations, raw_new, run};
use crate::made::Maker;

const IMAGE: ImageId = ImageId([1; 16]);

/// A run that moved something.
fn job(kind: JobKind, ordinal: u32, attempt: u32) -> Change {
    let key = JobKey::operation(kind, OperationKey { image: IMAGE, ordinal }, attempt);
    let started = Timestamp { seconds: 1_800_000_000 + i64::from(attempt), nanos: 0 };
    let mut job = Job::begin(key, kind, IMAGE, started);
    job.counters = Counters { wire_bytes: 3, data_bytes: 2, resent_bytes: 1, ..Counters::default() };
    Change::Job(job)
}

/// Method: runs of several operations, whose keys begin alike, in both catalogs; what is left and what it adds up to is asked of both.
#[tokio::test]
async fn runs_are_forgotten_as_in_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let real = SqliteCatalog::open(&folder.path().join("catalog.sqlite")).await.unwrap();
    let model = MemoryCatalog::new();
    let ground = Maker(5).ground();
    real.apply(&ground).await.unwrap();
    model.apply(&ground).await.unwrap();
    for attempt in 1..=RUNS_KEPT + 9 {
        let mut changes = vec![job(JobKind::Replication, 2, attempt)];
        if attempt <= RUNS_KEPT {
            changes.push(job(JobKind::Replication, 22, attempt));
            changes.push(job(JobKind::Duplication, 2, attempt));
        }
        // A restore is no attempt: its key says nothing of an operation.
        let restore = JobKey::restore(attempt.into());
        changes.push(Change::Job(Job::begin(restore, JobKind::Restore, IMAGE, Timestamp::default())));
        real.apply(&changes).await.unwrap();
        model.apply(&changes).await.unwrap();
    }
    let left = real.jobs_of(IMAGE, u32::MAX).await.unwrap();
    assert_eq!(left, model.jobs_of(IMAGE, u32::MAX).await.unwrap());
    assert_eq!(left.len(), usize::try_from(4 * RUNS_KEPT + 9).unwrap(), "what runs is never forgotten");
    for (kind, ordinal, forgotten) in
        [(JobKind::Replication, 2, 9), (JobKind::Replication, 22, 0), (JobKind::Duplication, 2, 0)]
    {
        let key = OperationKey { image: IMAGE, ordinal };
        let totals = real.job_totals(kind, key).await.unwrap();
        assert_eq!(totals, model.job_totals(kind, key).await.unwrap());
        let runs = u64::from(RUNS_KEPT) + forgotten;
        assert_eq!(
            totals,
            JobTotals { forgotten, wire_bytes: 3 * runs, data_bytes: 2 * runs, resent_bytes: runs }
        );
    }
}

/// A restore of one of many images, as it stands.
fn restore(image: ImageId, number: u32, state: JobState) -> Change {
    let started = Timestamp { seconds: 1_800_000_000 + i64::from(number), nanos: 0 };
    let mut job = Job::begin(JobKey::restore(number.into()), JobKind::Restore, image, started);
    if state != JobState::Running {
        job.end(state, started);
    }
    Change::Job(job)
}

/// Goal: years of hourly restores leave as many rows as half a year of them, and those of one image do not hide its other jobs.
/// Method: in both catalogs, one image restored more often than is kept, then all images together; the first two restores of all
/// run on, and end behind all the others.
#[tokio::test]
async fn restores_are_forgotten_as_in_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let real = SqliteCatalog::open(&folder.path().join("catalog.sqlite")).await.unwrap();
    let model = MemoryCatalog::new();
    let mut changes = vec![job(JobKind::Backup, 1, 1)];
    changes.extend((0..2).map(|number| restore(IMAGE, number, JobState::Running)));
    changes.extend((2..RESTORES_KEPT + 50).map(|number| restore(IMAGE, number, JobState::Done)));
    real.apply(&changes).await.unwrap();
    model.apply(&changes).await.unwrap();
    let left = real.jobs_of(IMAGE, u32::MAX).await.unwrap();
    assert_eq!(left, model.jobs_of(IMAGE, u32::MAX).await.unwrap());
    assert_eq!(left.len(), usize::try_from(1 + 2 + RESTORES_KEPT).unwrap());
    assert_eq!(left[3].job.key, JobKey::restore(50), "the newest stay");

    let others = (0..RESTORES_KEPT_MAX + 50).map(|number| {
        let image = ImageId(u128::from(number % 200 + 7).to_le_bytes());
        restore(image, 1000 + number, JobState::Failed)
    });
    let others: Vec<_> = others.collect();
    real.apply(&others).await.unwrap();
    model.apply(&others).await.unwrap();
    let left = real.jobs(Some(JobKind::Restore), u32::MAX).await.unwrap();
    assert_eq!(left, model.jobs(Some(JobKind::Restore), u32::MAX).await.unwrap());
    let kept = usize::try_from(RESTORES_KEPT_MAX).unwrap();
    assert_eq!(left.len(), kept + 2);
    for number in 0..2 {
        let ended = [restore(IMAGE, number, JobState::Done)];
        real.apply(&ended).await.unwrap();
        model.apply(&ended).await.unwrap();
    }
    let left = real.jobs(None, u32::MAX).await.unwrap();
    assert_eq!(left, model.jobs(None, u32::MAX).await.unwrap());
    assert_eq!(left.len(), kept + 1, "the backup's job stays");
}

/// Goal: invitations and enrolments of years leave no rows behind.
#[tokio::test]
async fn tokens_are_forgotten_after_their_end() {
    let folder = tempfile::tempdir().unwrap();
    let real = SqliteCatalog::open(&folder.path().join("catalog.sqlite")).await.unwrap();
    let model = MemoryCatalog::new();
    let token = |at: u64, life: u64| Token {
        hash: TokenHash::of(&at.to_le_bytes()),
        purpose: TokenPurpose::Enroll,
        subject: String::new(),
        made: after(Timestamp::default(), Duration::from_secs(at)),
        expires: after(Timestamp::default(), Duration::from_secs(at + life)),
        used: None,
    };
    let kept = TOKENS_KEPT.as_secs();
    for (made, next, stays) in [(0, 100 + kept, true), (1, 102 + kept, false)] {
        for one in [made, next] {
            real.apply(&[Change::Token(token(one, 100))]).await.unwrap();
            model.apply(&[Change::Token(token(one, 100))]).await.unwrap();
        }
        let hash = token(made, 100).hash;
        let left = real.token(hash).await.unwrap();
        assert_eq!(left, model.token(hash).await.unwrap());
        assert_eq!(left.is_some(), stays, "made at {made}");
    }
}

/// Method: the older migrations, an operation with too many runs, and the migrations that came.
#[tokio::test]
async fn an_upgrade_forgets_what_is_too_much() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.sqlite");
    let mut db = raw_new(&path).await;
    let (were, came) = migrations("0092");
    run(&mut db, were).await;
    let rows = "
        WITH RECURSIVE runs (attempt) AS (SELECT 1 UNION ALL SELECT attempt + 1 FROM runs WHERE attempt < 100)
        INSERT INTO jobs (key, kind, image, state, started, logical_bytes, stored_bytes, wire_bytes, data_bytes, resent_bytes)
        SELECT 'replication:a:2:' || attempt, 'replication', zeroblob(16), 'failed', 0, 0, 0, 3, 2, 1 FROM runs
        UNION ALL SELECT 'import:p:1:' || attempt, 'import', zeroblob(16), 'done', 0, 0, 0, 3, 2, 1 FROM runs";
    sqlx::raw_sql(rows).execute(&mut db).await.unwrap();
    run(&mut db, came).await;
    let count = |kind: &'static str| {
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM jobs WHERE kind = ?").bind(kind)
    };
    assert_eq!(count("replication").fetch_one(&mut db).await.unwrap(), 32);
    assert_eq!(count("import").fetch_one(&mut db).await.unwrap(), 100);
    let oldest = "SELECT key FROM jobs WHERE kind = 'replication' ORDER BY number LIMIT 1";
    let oldest: String = sqlx::query_scalar(oldest).fetch_one(&mut db).await.unwrap();
    assert_eq!(oldest, "replication:a:2:69");
    let sum = "SELECT runs * 1000 + wire_bytes FROM jobs_forgotten WHERE siblings = 'replication:a:2:'";
    let sum: i64 = sqlx::query_scalar(sum).fetch_one(&mut db).await.unwrap();
    assert_eq!(sum, 68 * 1000 + 3 * 68);
}
