//! What was read by right is noted durably, once a day for each way and image, and bounded for each reader.

use narrows_catalog::{Read, Reads, ReadsFilter, SqliteCatalog};
use narrows_domain::limits::READS_KEPT;
use narrows_format::{ImageId, Timestamp};

use crate::durable::raw_new;

fn read(who: &str, how: &str, image: u8, seconds: i64) -> Read {
    Read {
        who: who.to_owned(),
        how: how.to_owned(),
        image: ImageId([image; 16]),
        label: format!("web01_{image}"),
        what: format!("/{seconds}"),
        at: Timestamp { seconds, nanos: 5 },
    }
}

#[tokio::test]
async fn reads_are_noted_once_a_day_and_found_after_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.sqlite");
    let catalog = SqliteCatalog::open(&path).await.unwrap();
    let day = 86_400;
    for (who, how, image, seconds) in [
        ("client desk", "browse", 1, day),
        ("client desk", "browse", 1, 2 * day - 1),
        ("client desk", "browse", 1, 2 * day),
        ("client desk", "find", 1, 2 * day + 1),
        ("administrator admin", "browse", 2, 2 * day + 2),
        // The clock was set back.
        ("client desk", "browse", 1, day + 7),
    ] {
        catalog.note_read(&read(who, how, image, seconds)).await.unwrap();
    }
    catalog.close().await;
    let catalog = SqliteCatalog::open(&path).await.unwrap();
    let at = |seconds| Timestamp { seconds, nanos: 5 };
    let once = |last: Read| Reads { began: last.at, last, times: 1 };
    let often = Reads {
        last: Read { what: format!("/{}", day + 7), ..read("client desk", "browse", 1, 2 * day - 1) },
        began: at(day),
        times: 3,
    };
    let all = [
        once(read("administrator admin", "browse", 2, 2 * day + 2)),
        once(read("client desk", "find", 1, 2 * day + 1)),
        once(read("client desk", "browse", 1, 2 * day)),
        often.clone(),
    ];
    let none = ReadsFilter::default();
    assert_eq!(catalog.reads(&none, 100).await.unwrap(), all);
    assert_eq!(catalog.reads(&none, 2).await.unwrap(), all[..2]);
    let filtered = async |filter| catalog.reads(&filter, 100).await.unwrap();
    let who = Some("administrator admin".to_owned());
    assert_eq!(filtered(ReadsFilter { who, ..none.clone() }).await, all[..1]);
    assert_eq!(filtered(ReadsFilter { image: Some(ImageId([1; 16])), ..none.clone() }).await, all[1..]);
    assert_eq!(filtered(ReadsFilter { since: Some(at(2 * day)), ..none.clone() }).await, all[..3]);
    assert_eq!(filtered(ReadsFilter { until: Some(at(day)), ..none }).await, [often]);
}

/// Goal: nobody pushes out what is noted of another, and nobody's rows grow without bound.
#[tokio::test]
async fn of_each_reader_the_newest_rows_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.sqlite");
    let catalog = SqliteCatalog::open(&path).await.unwrap();
    catalog.note_read(&read("client desk", "browse", 1, 1)).await.unwrap();
    let mut db = raw_new(&path).await;
    let rows = "
        WITH RECURSIVE days (day) AS (SELECT 1 UNION ALL SELECT day + 1 FROM days WHERE day < 10000)
        INSERT INTO reads (who, how, image, day, label, what, began, ended, times)
        SELECT 'client eve', 'browse', zeroblob(16), day, '', '', day, day, 1 FROM days";
    sqlx::raw_sql(rows).execute(&mut db).await.unwrap();
    catalog.note_read(&read("client eve", "find", 3, 999_999_999)).await.unwrap();
    let of = async |who: &str| {
        let filter = ReadsFilter { who: Some(who.to_owned()), ..ReadsFilter::default() };
        catalog.reads(&filter, u32::MAX).await.unwrap()
    };
    let eve = of("client eve").await;
    assert_eq!(eve.len(), usize::try_from(READS_KEPT).unwrap());
    assert_eq!(eve[0].last.how, "find");
    assert_eq!(eve.last().unwrap().began.nanos, 2, "the oldest went");
    assert_eq!(of("client desk").await.len(), 1);
}
