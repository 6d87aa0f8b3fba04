//! Goal: of a server's two ports one may be shut to a partner, in one direction, and its address may change: it is said before
//! anything is sent, and what is on its way ends by itself.
//! Method: real servers that tell another address than they listen on; relays carry from there what a test lets through.

use std::time::Duration;

use narrows_api::{
    images::ImageInfo,
    paths,
    server::{DoctorReport, Finding, Level},
    slps::ApplyRequest,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use crate::{
    data::{back_up_directory, make_tree, settled_image},
    house::House,
    pairing::{apply, doctor, import_slp, pair_both, slp},
    partners::operation_in,
    true_replicas::check,
};

/// Carries what comes to a port at the address that is told to the one that is listened on, until it is dropped.
struct Relay(JoinHandle<()>);

impl Relay {
    async fn open(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
        Self(tokio::spawn(async move {
            let mut carried = JoinSet::new();
            loop {
                let Ok((mut from, _)) = listener.accept().await else { return };
                carried.spawn(async move {
                    if let Ok(mut to) = TcpStream::connect(("127.0.0.1", port)).await {
                        // A side that went away ends both.
                        drop(tokio::io::copy_bidirectional(&mut from, &mut to).await);
                    }
                });
            }
        }))
    }

    async fn shut(self) {
        self.0.abort();
        assert!(self.0.await.is_err_and(|error| error.is_cancelled()));
    }
}

fn ports(house: &House) -> (u16, u16) {
    let api = house.settings.listen.unwrap().port();
    (api, api + 1)
}

fn said(report: &DoctorReport, check: &str, side: &str) -> Finding {
    let found = report.findings.iter().find(|it| it.check == check && it.side == side);
    found.unwrap_or_else(|| panic!("nothing on {check} at {side}: {report:?}")).clone()
}

/// Spec 3: `slp apply` runs `doctor` first; an unreachable target is refused, or saved and waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_data_can_go_nothing_is_replicated_to() {
    let (mut east, mut west) = (House::build("east").await, House::build_elsewhere("west").await);
    let (api, data) = ports(&west);
    let (_api, open) = (Relay::open(api).await, Relay::open(data).await);
    west.pair(&east.invite().await).await.unwrap();
    apply(&west, &import_slp()).await.unwrap();
    open.shut().await;
    let refused = apply(&east, &slp("west")).await.unwrap_err();
    assert_eq!(refused.code, "SLP-008", "{refused}");
    assert!(refused.message.contains("its data port is not reached"), "{refused}");
    let planned = apply(&east, &ApplyRequest { plan: true, ..slp("west") }).await.unwrap();
    assert!(
        planned.findings.iter().any(|it| it.check == "data port" && it.level == Level::Error),
        "{planned:?}"
    );

    let saved = apply(&east, &ApplyRequest { unverified: true, ..slp("west") }).await.unwrap();
    assert!(saved.applied, "{saved:?}");
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 5);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    operation_in(&east, grant.image, "waiting(target-unverified)").await;
    let _open = Relay::open(data).await;
    settled_image(&east, &grant.image.to_string()).await;
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// Spec 3 and 6: `doctor` checks both ends; what a partner holds is known though it can't say so by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_confirmed_is_found_and_asked_for() {
    let (mut east, mut west) = (House::build_elsewhere("east").await, House::build("west").await);
    let (api, data) = ports(&east);
    let (open, _data) = (Relay::open(api).await, Relay::open(data).await);
    west.pair(&east.invite().await).await.unwrap();
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let report = doctor(&east).await;
    assert!(report.healthy, "{report:?}");
    for (check, side) in [("reachable", "east"), ("names", "west")] {
        assert_eq!(said(&report, check, side).level, Level::Ok, "{report:?}");
    }

    open.shut().await;
    let report = doctor(&east).await;
    let back = said(&report, "reachable", "east");
    assert_eq!((back.level, back.code.as_str()), (Level::Error, "NET-001"), "{back:?}");
    assert!(!report.healthy && back.message.contains("can confirm nothing"), "{back:?}");
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 6);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    operation_in(&east, grant.image, "pending-import").await;
    let image = grant.image.to_string();
    settled_image(&west, &image).await;
    check(&east).await;
    let info: ImageInfo = east.admin().get(&paths::IMAGE.replace("{id}", &image)).await.unwrap();
    let copy = info.operations.iter().find(|it| it.kind == "replication").unwrap();
    assert_eq!(copy.state, "complete", "the list says that it was taken in: {copy:?}");
    assert_eq!(info.replicas[0].state, "present");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_moves_tells_its_partners_where_it_is() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    west.move_out().await;
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 7);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    settled_image(&east, &grant.image.to_string()).await;
    assert_eq!(east.partner("west").await.unwrap().url, west.context.url);
    // The other way round, too.
    east.move_out().await;
    for _ in 0..600 {
        if west.partner("east").await.unwrap().url == east.context.url {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(west.partner("east").await.unwrap().url, east.context.url);
    assert!(doctor(&west).await.healthy);
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}
