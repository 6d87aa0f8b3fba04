//! Goal: a window holds work back by local time and lets it go; nothing goes that is named.
//! Method: windows that are shut or open on every day of the week, and the zone database's own transitions.

use std::time::Duration;

use narrows_api::{
    ApiError,
    images::ImageInfo,
    paths,
    slps::Format,
    windows::{WindowInfo, WindowRequest},
};
use narrows_domain::{Catalog as _, Change, window::Transition};
use narrows_format::Timestamp;

use crate::{
    bandwidth,
    data::{back_up_directory, job_end, make_tree, settled_image},
    house::House,
    pairing::{apply, import_slp, pair_both, slp},
    partners::operation_in,
    storage::remove,
};

pub(crate) async fn put_window(house: &House, text: &str) -> Result<WindowInfo, ApiError> {
    let (text, format) = (text.to_owned(), Format::Toml);
    let request = WindowRequest { text, format, file: "nights.toml".into() };
    house.admin().post(paths::WINDOWS, &request).await
}

pub(crate) const OPEN: &str = "name = \"nights\"\nopen = [\"daily 00:00-24:00\"]";

/// Open all week but on the days around today, by whatever clock.
pub(crate) fn shut_now() -> String {
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let around = [-1, 0, 1, 2].map(|days| today.saturating_add(jiff::Span::new().days(days)));
    let dates: Vec<_> = around.iter().map(|date| format!("\"{date}\"")).collect();
    format!("name = \"nights\"\nopen = [\"daily 00:00-24:00\"]\nexcluded = [{}]", dates.join(", "))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shut_window_holds_replications_back_and_an_open_one_lets_them_go() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    let mut windowed = slp("west");
    windowed.text.push_str("window = \"nights\"\n");
    let refused = apply(&east, &windowed).await.unwrap_err();
    assert_eq!(
        (refused.code.as_str(), refused.place.as_str()),
        ("SLP-013", "gold.toml: operation 2, field `window`")
    );
    let made = put_window(&east, &shut_now()).await.unwrap();
    assert!(!made.is_open && made.changes.is_some(), "{made:?}");
    apply(&east, &windowed).await.unwrap();

    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 12);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let path = paths::IMAGE.replace("{id}", &grant.image.to_string());
    let mut image: ImageInfo = east.admin().get(&path).await.unwrap();
    for _ in 0..400 {
        if image.operations.iter().any(|it| it.state == "waiting(window)") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
        image = east.admin().get(&path).await.unwrap();
    }
    let copy = image.operations.iter().find(|it| it.id == "copy").unwrap();
    assert_eq!((copy.state.as_str(), copy.next_try), ("waiting(window)", made.changes), "{copy:?}");

    let refused = remove(&east, paths::WINDOW_REMOVE, "nights", false).await.unwrap_err();
    assert_eq!(refused.code, "SLP-013");
    assert!(refused.message.contains("operation `copy` of SLP `gold` version 1"), "{refused}");
    put_window(&east, OPEN).await.unwrap();
    settled_image(&east, &grant.image.to_string()).await;
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// Goal: what runs stops when its window closes, and what had crossed by then does not cross again.
/// Method: so little bandwidth that the image would take half a minute; the window closes when some of it is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_stops_when_its_window_closes_and_goes_on_where_it_was() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    put_window(&east, OPEN).await.unwrap();
    let mut windowed = slp("west");
    windowed.text.push_str("window = \"nights\"\n");
    apply(&east, &windowed).await.unwrap();
    bandwidth::set(&east, Some(30_000), None).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 16);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let there = west.server.as_ref().unwrap().app().clone();
    let pool = there.plane.pool(there.who.pool);
    for _ in 0..1200 {
        if pool.space().await.unwrap().index_entries > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(pool.space().await.unwrap().index_entries > 0, "something has arrived when the window closes");
    drop((pool, there));
    put_window(&east, &shut_now()).await.unwrap();
    operation_in(&east, grant.image, "waiting(window)").await;
    bandwidth::set(&east, Some(0), None).await.unwrap();
    put_window(&east, OPEN).await.unwrap();
    settled_image(&east, &grant.image.to_string()).await;
    let counters = job_end(&east, &format!("{}.2", grant.image)).await.counters;
    assert!(counters.wire_bytes > 700_000, "{counters:?}");
    assert_eq!(counters.resent_bytes, 0, "{counters:?}");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_windows_zone_is_kept_known_ahead() {
    let mut east = House::build("east").await;
    let text = "name = \"nights\"\nzone = \"Europe/Berlin\"\nopen = [\"mon-fri 22:00-06:00\", \"sat,sun 00:00-24:00\"]\n\
                excluded = [\"2030-12-24\"]";
    let made = put_window(&east, text).await.unwrap();
    assert_eq!(made.text.open, ["sat,sun 00:00-24:00", "mon-fri 22:00-06:00"]);
    assert_eq!(
        (made.text.zone.as_str(), made.text.excluded),
        ("Europe/Berlin", vec!["2030-12-24".to_owned()])
    );
    let shown: WindowInfo = east.admin().get(&paths::WINDOW.replace("{name}", "nights")).await.unwrap();
    assert_eq!(shown.uses, [""; 0]);
    for (text, place) in [
        ("name = \"x\"\nopen = [\"noon\"]", "nights.toml: field `open`"),
        ("name = \"x\"\nopen = []", "nights.toml: field `open`"),
        (
            "name = \"x\"\nopen = [\"daily 00:00-24:00\"]\nzone = \"Mars/Olympus\"",
            "nights.toml: field `zone`",
        ),
        (
            "name = \"x\"\nopen = [\"daily 00:00-24:00\"]\nexcluded = [\"2026-13-01\"]",
            "nights.toml: field `excluded`",
        ),
        ("name = \"\"\nopen = [\"daily 00:00-24:00\"]", "nights.toml: field `name`"),
        ("name = \"x\"\nopens = []", "nights.toml"),
    ] {
        let refused = put_window(&east, text).await.unwrap_err();
        assert_eq!((refused.code.as_str(), refused.place.as_str()), ("API-001", place), "{refused}");
    }

    // Stored long ago, by a database that knew less: the next start mends it.
    let app = east.server.as_ref().unwrap().app().clone();
    let fresh = app.catalog.windows().await.unwrap().remove(0);
    assert!(fresh.transitions.len() >= 9, "two a year for five years: {:?}", fresh.transitions);
    let mut old = fresh.clone();
    old.transitions = vec![Transition { at: 7, offset_minutes: 60 }];
    let now = Timestamp { seconds: 1_800_000_000, nanos: 0 };
    app.control.put(vec![Change::Window(old, now)]).await.unwrap();
    drop(app);
    east.stop().await;
    east.start().await;
    let app = east.server.as_ref().unwrap().app().clone();
    for _ in 0..400 {
        if app.catalog.windows().await.unwrap()[0] == fresh {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(app.catalog.windows().await.unwrap(), [fresh]);
    drop(app);
    let gone = remove(&east, paths::WINDOW_REMOVE, "nights", false).await.unwrap();
    assert!(gone.removed);
    east.stop().await;
}
