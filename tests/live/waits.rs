//! Goal: each reason for which an operation may wait is brought about between running servers, read from their replies by
//! its name, and over when its cause is: the operation completes by itself.
//! Method: a table, one row a reason. A row puts something into the way of an image from east to west, reads what the image
//! and its job wait for, and takes it away again. `tests/tidy` holds the rows against the list of reasons.

use std::{path::PathBuf, time::Duration};

use narrows_api::{
    domains::{DomainInfo, GrantRequest, Parting, UnpairReply, UnpairRequest},
    images::ImageInfo,
    jobs::JobInfo,
    paths,
    server::{Backlog, Finding, Status},
    slps::ApplyRequest,
    storage::{Making, ScheduleEntry},
    topology::Topology,
};
use narrows_domain::Change;
use narrows_format::ImageId;
use narrows_transport::Identity;

use crate::{
    bandwidth,
    data::{back_up_directory, make_tree, settled_image},
    house::House,
    imports::import_in,
    local,
    pairing::{apply, import_slp, local_slp, pair_both, slp},
    partners::{operation_in, order},
    pools::{image_when, open_pool, pool_with_unit, set_pool},
    room::{DRY, WET},
    slps::{edited, migrate},
    storage::put_unit,
    windows::{OPEN, put_window, shut_now},
};

/// Each reason, and what is in the way.
const WAITS: [(&str, &str); 13] = [
    ("window", "the window of the operation is shut"),
    ("pause", "the partner is paused"),
    ("source-incomplete", "the pool that it is read from is not open"),
    ("target-down", "the partner's server is stopped"),
    ("target-full", "the pool there is at its high water"),
    ("clock", "the clock there is a day behind"),
    ("bandwidth", "nothing may be sent at this time of day"),
    ("limit", "the unit there has no place"),
    ("trust", "the partner has taken back the grant `send`"),
    ("unpaired", "the partner was unpaired"),
    ("target-retired", "the version that it was moved to has no such target"),
    ("target-unverified", "the SLP was stored while nobody there could be asked"),
    ("import-failed", "the import failed there, and its data was given up"),
];

/// The SLP with a window at its replication.
fn windowed() -> ApplyRequest {
    let known = slp("west");
    ApplyRequest { text: known.text.clone() + "window = \"nights\"\n", ..known }
}

async fn pause(east: &House) {
    let paused: DomainInfo = order(east, paths::DOMAIN_PAUSE, "west", &()).await.unwrap();
    assert_eq!(paused.state, "paused");
}

async fn resume(east: &House) {
    let _: DomainInfo = order(east, paths::DOMAIN_RESUME, "west", &()).await.unwrap();
}

/// West lets east send, or does not.
async fn may_send(west: &House, may: bool) {
    let word = vec!["send".to_owned()];
    let (grant, revoke) = if may { (word, Vec::new()) } else { (Vec::new(), word) };
    let request = GrantRequest { grant, revoke };
    let _: DomainInfo = order(west, paths::DOMAIN_GRANT, "east", &request).await.unwrap();
}

/// How much goes to west, at any time of day.
async fn let_through(east: &House, bandwidth: Option<u64>) {
    put_window(east, "name = \"always\"\nopen = [\"daily 00:00-24:00\"]").await.unwrap();
    let always = ScheduleEntry { window: "always".into(), bandwidth };
    bandwidth::set(east, None, Some(vec![always])).await.unwrap();
}

/// Two paired domains, and a client of the first.
struct Town {
    east: House,
    west: House,
    web: Identity,
    files: tempfile::TempDir,
}

impl Town {
    async fn build() -> Self {
        let (east, west) = pair_both().await;
        pool_with_unit(&east, "vault").await;
        apply(&west, &import_slp()).await.unwrap();
        let files = tempfile::tempdir().unwrap();
        make_tree(files.path(), 101);
        let (web, _) = east.enroll("web01").await;
        Self { east, west, web, files }
    }

    async fn back_up(&self) -> ImageId {
        back_up_directory(&self.east, &self.web, self.files.path()).await.0.image
    }

    /// An image that waits for west to be resumed.
    async fn held(&self) -> ImageId {
        pause(&self.east).await;
        let image = self.back_up().await;
        operation_in(&self.east, image, "waiting(pause)").await;
        image
    }

    fn vault(&self) -> (PathBuf, PathBuf) {
        let folder = self.east.folder.path();
        (folder.join("vault"), folder.join("away"))
    }

    /// What the reply says that an image waits for.
    async fn reads(&self, image: ImageId, state: &str) {
        operation_in(&self.east, image, state).await;
        let path = paths::JOB.replace("{id}", &format!("{image}.2"));
        let mut job: JobInfo = self.east.admin().get(&path).await.unwrap();
        for _ in 0..600 {
            if job.state == state {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            job = self.east.admin().get(&path).await.unwrap();
        }
        panic!("the job does not say {state}: {job:?}");
    }
}

/// Whether a problem says that the SLP was stored and not checked yet.
async fn waits_to_be_checked(east: &House) -> bool {
    let problems: Vec<Finding> = east.admin().get(paths::PROBLEMS).await.unwrap();
    problems.iter().any(|it| it.check == "slp gold" && it.message.contains("--unverified"))
}

/// Puts it in the way of an image.
async fn begin(town: &mut Town, reason: &str) -> ImageId {
    match reason {
        "window" => {
            put_window(&town.east, &shut_now()).await.unwrap();
            apply(&town.east, &windowed()).await.unwrap();
        }
        "pause" => pause(&town.east).await,
        "target-down" => town.west.stop().await,
        "target-full" => drop(set_pool(&town.west, "default", DRY).await.unwrap()),
        "clock" => town.west.restart_with(|it| it.test.clock_offset_ms = Some(-25 * 3_600_000)).await,
        "bandwidth" => let_through(&town.east, Some(0)).await,
        "limit" => drop(put_unit(&town.west, Making::Set, "default", Some(0)).await.unwrap()),
        "trust" => may_send(&town.west, false).await,
        "target-unverified" => {
            town.west.stop().await;
            let unseen = ApplyRequest { unverified: true, ..edited(&slp("west"), "90d", "91d") };
            apply(&town.east, &unseen).await.unwrap();
        }
        _ => return begin_anew(town, reason).await,
    }
    town.back_up().await
}

/// The same where it is in the way only of what was there before.
async fn begin_anew(town: &mut Town, reason: &str) -> ImageId {
    match reason {
        "source-incomplete" => {
            apply(&town.east, &edited(&slp("west"), "\"default\"", "\"vault\"")).await.unwrap();
            let image = town.held().await;
            let (home, away) = town.vault();
            town.east.stop().await;
            std::fs::rename(home, away).unwrap();
            town.east.start().await;
            resume(&town.east).await;
            image
        }
        "unpaired" => {
            let image = town.held().await;
            let request = UnpairRequest { how: Parting::Now, dry_run: false };
            let parted: UnpairReply =
                order(&town.east, paths::DOMAIN_UNPAIR, "west", &request).await.unwrap();
            assert!(parted.applied);
            image
        }
        "target-retired" => {
            let image = town.held().await;
            move_to(&town.east, &local_slp()).await;
            resume(&town.east).await;
            image
        }
        _ => {
            town.west.restart_with(|it| it.failed_import_keep = Some("2h".parse().unwrap())).await;
            let app = town.west.server.as_ref().unwrap().app().clone();
            app.control.put(vec![Change::SlpGone("gold-import".into())]).await.unwrap();
            drop(app);
            let image = town.back_up().await;
            import_in(&town.west, image, "failed(AIR-002)").await;
            town.west.advance(Duration::from_hours(3)).await;
            image
        }
    }
}

/// Another version of the SLP, and all images of the one before under it.
async fn move_to(east: &House, request: &ApplyRequest) {
    let applied = apply(east, request).await.unwrap();
    let known = applied.slp.version;
    let moved = migrate(east, known - 1, known, false).await.unwrap();
    assert_eq!((moved.images, moved.migrated), (1, true), "{moved:?}");
}

/// Takes it out of the way.
async fn end(town: &mut Town, reason: &str) {
    match reason {
        "window" => drop(put_window(&town.east, OPEN).await.unwrap()),
        "pause" => resume(&town.east).await,
        "source-incomplete" => {
            let (home, away) = town.vault();
            std::fs::rename(away, home).unwrap();
            open_pool(&town.east, "vault").await.unwrap();
        }
        "target-down" => town.west.start().await,
        "target-full" => drop(set_pool(&town.west, "default", WET).await.unwrap()),
        "clock" => town.west.restart_with(|it| it.test.clock_offset_ms = None).await,
        "bandwidth" => let_through(&town.east, None).await,
        "limit" => drop(put_unit(&town.west, Making::Set, "default", None).await.unwrap()),
        "trust" => may_send(&town.west, true).await,
        "unpaired" => {
            assert_eq!(town.west.pair(&town.east.invite().await).await.unwrap().state, "paired");
            resume(&town.east).await;
        }
        "target-retired" => move_to(&town.east, &slp("west")).await,
        "target-unverified" => {
            assert!(waits_to_be_checked(&town.east).await);
            town.west.start().await;
        }
        _ => drop(apply(&town.west, &import_slp()).await.unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_wait_has_its_reason_and_ends_with_it() {
    let mut town = Town::build().await;
    for (reason, why) in WAITS {
        println!("{reason}: {why}");
        apply(&town.east, &slp("west")).await.unwrap();
        let image = begin(&mut town, reason).await;
        town.reads(image, &format!("waiting({reason})")).await;
        end(&mut town, reason).await;
        settled_image(&town.east, &image.to_string()).await;
        assert!(!waits_to_be_checked(&town.east).await, "{reason}");
    }
    for house in [&mut town.east, &mut town.west] {
        house.stop().await;
    }
}

/// Symptom: what waited to be copied within the domain stood in no backlog.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplication_that_waits_is_in_the_backlog() {
    let mut east = House::build("east").await;
    pool_with_unit(&east, "vault").await;
    put_window(&east, &shut_now()).await.unwrap();
    let known = local_slp();
    let dup = "[[operation]]\nid = \"dup\"\nkind = \"duplication\"\nsource = \"backup\"\nstorage = \"vault\"\n\
               retention = { fixed = \"60d\" }\nwindow = \"nights\"\n";
    apply(&east, &ApplyRequest { text: format!("{}\n{dup}", known.text), ..known }).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 102);
    let (web, _) = east.enroll("web01").await;
    let image = back_up_directory(&east, &web, files.path()).await.0.image.to_string();
    let waits = |it: &ImageInfo| it.operations.iter().any(|it| it.state == "waiting(window)");
    let started = image_when(&east, &image, waits).await.started;
    let status: Status = east.admin().get(paths::STATUS).await.unwrap();
    let line = Backlog {
        target: "storage vault".into(),
        state: "waiting(window)".into(),
        operations: 1,
        oldest: Some(started),
    };
    assert_eq!(status.backlog, [line]);
    let topology: Topology = east.admin().get(paths::TOPOLOGY).await.unwrap();
    assert_eq!(topology.backlog, status.backlog);
    let (_, metrics) = local::get(&east, paths::METRICS);
    let labels = "{target=\"storage vault\",state=\"waiting(window)\"} 1";
    assert!(metrics.contains(&format!("narrows_backlog_operations{labels}")), "{metrics}");
    assert!(metrics.contains("narrows_backlog_oldest_seconds{target=\"storage vault\"}"), "{metrics}");

    put_window(&east, OPEN).await.unwrap();
    image_when(&east, &image, |it| it.copies.len() == 2).await;
    let status: Status = east.admin().get(paths::STATUS).await.unwrap();
    assert_eq!(status.backlog, []);
    east.stop().await;
}
