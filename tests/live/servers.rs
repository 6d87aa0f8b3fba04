//! Goal: a domain of a primary and a media server that joined does what one server does, whichever pool an image goes to; and
//! what is on a media server that is gone waits, says why, and goes on.
//! Method: real servers on loopback, the joined one with its own keys, port and folder, and nothing shared but the wire.

use std::time::Duration;

use narrows_api::{
    ApiError,
    domains::{DomainInfo, ReceiveUnitRequest},
    finding::{DiffPage, FindPage},
    images::{BrowsePage, ImageInfo, ReplicateReply, ReplicateRequest, VerifyReport},
    media_servers::{
        DrainRequest, InviteServerReply, InviteServerRequest, MediaServerInfo, RemoveServerRequest,
    },
    paths,
    pools::{PoolInfo, PoolRequest},
    server::{Finding, Level, Status, WhoAmI},
    slps::ApplyRequest,
    storage::{
        Making, RemoveReply, RemoveRequest, TargetInfo, TargetName, TargetRequest, UnitInfo, UnitRequest,
    },
};
use narrows_server::{
    config::{Cores, Memory, Settings},
    folder::{Folder, Membership},
    init::InitError,
    joined::{
        Server,
        joining::{Invited, Join, join},
    },
    servers::asked::{Answered, Asked},
};

use crate::{
    data::{
        ask_backup, ask_restore, back_up_directory, back_up_granted, job_end, make_tree, restore_image,
        same_trees, settled_image,
    },
    house::{House, free_ports},
    pairing::{apply, import_slp, pair_both, request},
    pools::{asked, image_when, make_pool, put_unit_on},
    servers_trust::media_caller,
    storage::put_group,
};

/// A media server that joined a house's domain.
pub(crate) struct Annex {
    folder: tempfile::TempDir,
    data: std::path::PathBuf,
    pub(crate) server: Option<Server>,
    pub(crate) settings: Settings,
}

impl Annex {
    /// Joins a domain and runs.
    pub(crate) async fn build(house: &House, name: &str) -> Self {
        let reply = invite(house, name).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let settings = Settings {
            listen: Some(format!("127.0.0.1:{}", free_ports()).parse().unwrap()),
            cores: Some(Cores(vec![narrows_ring::cores::available()[0]])),
            memory: Some(Memory(64 << 20)),
            ..Settings::default()
        };
        let at = Invited::read(&reply.line, None).unwrap();
        assert_eq!(at, Invited::read(&reply.url, Some(&reply.token)).unwrap());
        let mut annex = Self { folder, data, server: None, settings };
        let member = annex.join_by(&reply.line, "data").await.unwrap();
        assert_eq!((member.name.as_str(), member.domain), (name, house.domain()));
        annex.start().await;
        annex
    }

    /// Joins by a line, with the folder of this name.
    pub(crate) async fn join_by(&mut self, line: &str, folder: &str) -> Result<Membership, InitError> {
        let at = Invited::read(line, None).unwrap();
        let data = self.folder.path().join(folder);
        let member = join(Join { at, data: data.clone(), settings: self.settings.clone() }).await?;
        self.data = data;
        Ok(member)
    }

    /// Runs it (again).
    pub(crate) async fn start(&mut self) {
        let config = self.settings.clone().resolve().unwrap();
        let folder = Folder::new(&self.data);
        self.server = Some(Server::start(&folder, config).await.unwrap());
    }

    /// Stops it in order.
    pub(crate) async fn stop(&mut self) {
        self.server.take().unwrap().stop().await.unwrap();
    }

    /// What a setting of the next start is changed to.
    pub(crate) async fn restart_with(&mut self, change: impl FnOnce(&mut Settings)) {
        self.stop().await;
        change(&mut self.settings);
        self.start().await;
    }

    /// Its data folder.
    pub(crate) fn data(&self) -> &std::path::Path {
        &self.data
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }
}

pub(crate) async fn invite(house: &House, name: &str) -> Result<InviteServerReply, ApiError> {
    let request = InviteServerRequest { name: name.to_owned(), again: false, expires_in_seconds: None };
    house.admin().post(paths::MEDIA_SERVER_INVITE, &request).await
}

/// A pool in a folder of the media server's, and a unit before it, both of this name.
pub(crate) async fn far_pool(house: &House, annex: &Annex, (server, name): (&str, &str)) -> PoolInfo {
    let folder = annex.path(name);
    let request = PoolRequest { server: Some(server.to_owned()), ..asked(name, &[&folder]) };
    let made = make_pool(house, &request).await.unwrap();
    assert_eq!((made.server.as_str(), made.code.as_str(), made.readable), (server, "", true), "{made:?}");
    put_unit_on(house, name).await;
    made
}

async fn servers(house: &House) -> Vec<MediaServerInfo> {
    house.admin().get(paths::MEDIA_SERVERS).await.unwrap()
}

/// The media server once it is in this state.
pub(crate) async fn server_when(house: &House, name: &str, state: &str) -> MediaServerInfo {
    let mut last = Vec::new();
    for _ in 0..1200 {
        last = servers(house).await;
        if let Some(found) = last.iter().find(|it| it.name == name && it.state == state) {
            return found.clone();
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{name} never came to be {state}: {last:?}");
}

pub(crate) async fn pool_when(house: &House, name: &str, is_so: impl Fn(&PoolInfo) -> bool) -> PoolInfo {
    let path = paths::POOL.replace("{name}", name);
    let mut last = None;
    for _ in 0..1200 {
        let pool: PoolInfo = house.admin().get(&path).await.unwrap();
        if is_so(&pool) {
            return pool;
        }
        last = Some(pool);
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("it never came to be so: {last:?}");
}

/// Backs up into one unit and sends nothing.
pub(crate) fn to_unit(unit: &str) -> ApplyRequest {
    request(format!(
        "name = \"gold\"\n[[operation]]\nid = \"backup\"\nkind = \"backup\"\nstorage = \"{unit}\"\n\
         retention = {{ fixed = \"30d\" }}\n"
    ))
}

/// Backs up into the default unit, duplicates to another, and replicates the duplicate.
pub(crate) fn through(unit: &str) -> ApplyRequest {
    request(format!(
        "name = \"gold\"\n[[operation]]\nid = \"backup\"\nkind = \"backup\"\nstorage = \"default\"\n\
         retention = {{ fixed = \"30d\" }}\n[[operation]]\nid = \"dup\"\nkind = \"duplication\"\n\
         source = \"backup\"\nstorage = \"{unit}\"\nretention = {{ fixed = \"60d\" }}\n[[operation]]\n\
         id = \"copy\"\nkind = \"replication\"\nsource = \"dup\"\n\
         target = {{ domain = \"west\", import_slp = \"gold-import\" }}\nretention = {{ fixed = \"90d\" }}\n"
    ))
}

fn is_complete(info: &ImageInfo) -> bool {
    info.state == "whole" && info.operations.iter().all(|it| it.state == "complete")
}

async fn verify(house: &House, image: &str) -> VerifyReport {
    house.admin().post(&paths::IMAGE_VERIFY.replace("{id}", image), &()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_media_server_joins_and_holds_what_is_backed_up_to_its_pool() {
    let mut east = House::build("east").await;
    let mut annex = Annex::build(&east, "m1").await;
    let far = far_pool(&east, &annex, ("m1", "far")).await;
    let up = server_when(&east, "m1", "up").await;
    assert_eq!(up.pools.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["far"]);
    assert!(!up.version.is_empty() && up.clock_skew_ms.is_some_and(|skew| skew.abs() < 60_000), "{up:?}");
    let own = servers(&east).await.remove(0);
    assert_eq!((own.name.as_str(), own.pools[0].name.as_str()), ("primary", "default"));

    apply(&east, &to_unit("far")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 31);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    assert_eq!(grant.pool, far.pool);
    assert_eq!(grant.data_addr, up.data_addr, "data goes to the media server itself");
    let image = grant.image.to_string();
    let info = image_when(&east, &image, is_complete).await;
    assert_eq!(info.copies.iter().map(|it| it.pool_name.as_str()).collect::<Vec<_>>(), ["far"]);
    let job = job_end(&east, &format!("{image}.1")).await;
    assert_eq!(job.state, "complete", "{job:?}");
    let back = tempfile::tempdir().unwrap();
    restore_image(&east, &web, &image, back.path()).await.unwrap();
    same_trees(files.path(), back.path());
    assert!(verify(&east, &image).await.bytes > 700_000);
    let page: BrowsePage = east
        .admin()
        .get(&format!("{}?path=deep&limit=5", paths::IMAGE_BROWSE.replace("{id}", &image)))
        .await
        .unwrap();
    assert_eq!((page.entries.len(), page.more), (5, true));
    let found: FindPage =
        east.admin().get(&format!("{}?path=*", paths::IMAGE_FIND.replace("{id}", &image))).await.unwrap();
    assert_eq!(found.entries.len() as u64, info.files, "every name fits");
    let differs = format!("{}?to={image}", paths::IMAGE_DIFF.replace("{id}", &image));
    let differs: DiffPage = east.admin().get(&differs).await.unwrap();
    assert_eq!((differs.changes.len(), differs.next), (0, None));

    // Both start anew, in either order.
    east.stop().await;
    annex.stop().await;
    east.start().await;
    server_when(&east, "m1", "down").await;
    annex.start().await;
    server_when(&east, "m1", "up").await;
    pool_when(&east, "far", |it| it.code.is_empty()).await;
    let again = tempfile::tempdir().unwrap();
    restore_image(&east, &web, &image, again.path()).await.unwrap();
    same_trees(files.path(), again.path());
    let (second, _) = back_up_directory(&east, &web, files.path()).await;
    let small = image_when(&east, &second.image.to_string(), is_complete).await;
    assert!(small.stored_bytes.unwrap() < 1024, "unchanged: {small:?}");
    assert!(servers(&east).await.iter().all(|it| it.writing == 0), "every session was told to have ended");
    annex.stop().await;
    east.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_on_a_media_server_that_is_gone_waits_and_the_rest_goes_on() {
    let mut east = House::build("east").await;
    let mut annex = Annex::build(&east, "m1").await;
    far_pool(&east, &annex, ("m1", "far")).await;
    apply(&east, &to_unit("far")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 32);
    let (web, _) = east.enroll("web01").await;
    let (first, _) = back_up_directory(&east, &web, files.path()).await;
    let image = first.image.to_string();
    image_when(&east, &image, is_complete).await;

    annex.stop().await;
    let down = server_when(&east, "m1", "down").await;
    assert!(down.since.is_some() && !down.why.is_empty(), "{down:?}");
    let shut = pool_when(&east, "far", |it| !it.code.is_empty()).await;
    assert_eq!((shut.code.as_str(), shut.readable), ("NET-001", false), "{shut:?}");
    assert!(shut.why.contains("media server `m1` does not answer"), "{shut:?}");
    let status: Status = east.admin().get(paths::STATUS).await.unwrap();
    assert!(
        status.problems.iter().any(|it| it.check == "pool far" && it.code == "NET-001"),
        "{:?}",
        status.problems
    );
    // What helps is to start it; a pool of a media server is opened nowhere else.
    for problem in status.problems.iter().filter(|it| it.code == "NET-001") {
        let at = format!("start `narrowsd` on media server `m1`, which was at {}", down.url);
        assert!(problem.help.contains(&at) && !problem.help.contains("pool open"), "{problem:?}");
    }
    assert!(status.problems.iter().any(|it| it.check == "media server m1"), "{:?}", status.problems);
    for refused in [
        ask_backup(&east, &web, files.path()).await.map(drop).unwrap_err(),
        ask_restore(&east, &web, &image).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(refused.code, "NET-001", "{refused}");
    }
    // A group goes on with the next unit, and nobody else is held up.
    put_group(&east, Making::Add, "either", (Some("failover"), &["far", "default"])).await.unwrap();
    apply(&east, &to_unit("either")).await.unwrap();
    let (over, _) = back_up_directory(&east, &web, files.path()).await;
    let over = image_when(&east, &over.image.to_string(), is_complete).await;
    assert_eq!(over.copies[0].pool_name, "default");

    annex.start().await;
    server_when(&east, "m1", "up").await;
    pool_when(&east, "far", |it| it.code.is_empty() && it.readable).await;
    let back = tempfile::tempdir().unwrap();
    restore_image(&east, &web, &image, back.path()).await.unwrap();
    same_trees(files.path(), back.path());
    let (third, _) = back_up_directory(&east, &web, files.path()).await;
    let third = image_when(&east, &third.image.to_string(), is_complete).await;
    assert_eq!(third.copies[0].pool_name, "far");
    annex.stop().await;
    east.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_goes_to_a_media_server_and_from_there_to_another_domain() {
    let (mut east, mut west) = pair_both().await;
    let mut annex = Annex::build(&east, "m1").await;
    far_pool(&east, &annex, ("m1", "far")).await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &through("far")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 33);
    let (web, _) = east.enroll("web01").await;
    let (spare, _) = west.enroll("spare").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let image = grant.image.to_string();
    let is_there = |it: &ImageInfo| is_complete(it) && it.replicas.iter().all(|it| it.state == "present");
    let info = image_when(&east, &image, is_there).await;
    let made: Vec<_> = info.copies.iter().map(|it| (it.pool_name.as_str(), it.operation.as_str())).collect();
    assert_eq!(made, [("default", "backup"), ("far", "dup")]);
    assert_eq!(info.replicas[0].state, "present");
    let there = settled_image(&west, &image).await;
    assert_eq!((there.root, there.origin_name.as_str()), (info.root, "east"));
    let back = tempfile::tempdir().unwrap();
    restore_image(&west, &spare, &image, back.path()).await.unwrap();
    same_trees(files.path(), back.path());
    // Both copies are whole, each read by the server that has it.
    assert!(verify(&east, &image).await.bytes > 2 * 700_000);

    // The media server goes away between the steps: the duplication waits, and all of it is done when it is back.
    annex.stop().await;
    server_when(&east, "m1", "down").await;
    std::fs::write(files.path().join("deep/file7"), b"changed").unwrap();
    let (second, _) = back_up_directory(&east, &web, files.path()).await;
    let second = second.image.to_string();
    let waits =
        |it: &ImageInfo| it.operations.iter().any(|it| it.id == "dup" && it.state.starts_with("waiting"));
    let waiting = image_when(&east, &second, waits).await;
    let dup = waiting.operations.iter().find(|it| it.id == "dup").unwrap();
    assert!(dup.why.contains("m1"), "{dup:?}");
    annex.start().await;
    let done = image_when(&east, &second, is_there).await;
    assert_eq!((done.copies.len(), done.replicas[0].state.as_str()), (2, "present"), "{done:?}");
    settled_image(&west, &second).await;
    annex.stop().await;
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// Imports to one unit.
pub(crate) fn import_to(unit: &str) -> ApplyRequest {
    let text = import_slp().text.replace("storage = \"default\"", &format!("storage = \"{unit}\""));
    request(text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partner_sends_to_the_pool_of_a_media_server() {
    let (mut east, mut west) = pair_both().await;
    let mut annex = Annex::build(&west, "w1").await;
    let far = far_pool(&west, &annex, ("w1", "far")).await;
    apply(&west, &import_to("far")).await.unwrap();
    let target = TargetRequest {
        making: Making::Set,
        name: TargetName { pool: None, domain: "west".into() },
        unit: Some("far".into()),
        bandwidth: None,
        weight: None,
        direction: None,
        schedule: None,
    };
    let set: TargetInfo = east.admin().post(paths::TARGETS, &target).await.unwrap();
    assert_eq!(set.unit, "far");
    apply(&east, &crate::pairing::slp("west")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 34);
    let (web, _) = east.enroll("web01").await;
    let (spare, _) = west.enroll("spare").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let image = grant.image.to_string();
    let here = settled_image(&east, &image).await;
    assert_eq!(here.replicas[0].state, "present");
    let there = settled_image(&west, &image).await;
    assert_eq!(there.copies.iter().map(|it| it.pool).collect::<Vec<_>>(), [far.pool]);
    let back = tempfile::tempdir().unwrap();
    restore_image(&west, &spare, &image, back.path()).await.unwrap();
    same_trees(files.path(), back.path());
    // Asked by hand for what is there: nothing is sent, and the answer comes through the media server too.
    let again = paths::IMAGE_REPLICATE.replace("{id}", &image);
    let request = ReplicateRequest { domain: "west".into(), import_slp: None };
    let reply: ReplicateReply = east.admin().post(&again, &request).await.unwrap();
    assert_eq!(job_end(&east, &reply.job).await.state, "complete");
    annex.stop().await;
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_usual_unit_of_a_partner_may_lie_on_a_media_server() {
    let (mut east, mut west) = pair_both().await;
    let mut annex = Annex::build(&west, "w1").await;
    let far = far_pool(&west, &annex, ("w1", "far")).await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &crate::pairing::slp("west")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 36);
    let (web, _) = east.enroll("web01").await;
    let (first, _) = back_up_directory(&east, &web, files.path()).await;
    settled_image(&east, &first.image.to_string()).await;
    // What receives from east is on another server of the domain from now on: whoever sends asks where.
    let receive = paths::DOMAIN_RECEIVE.replace("{name}", "east");
    let unit = ReceiveUnitRequest { unit: "far".into() };
    let told: DomainInfo = west.admin().post(&receive, &unit).await.unwrap();
    assert_eq!((told.name.as_str(), told.receive_unit.as_str()), ("east", "far"));
    apply(&west, &import_to("far")).await.unwrap();
    std::fs::write(files.path().join("deep/file8"), b"changed").unwrap();
    let (second, _) = back_up_directory(&east, &web, files.path()).await;
    let second = second.image.to_string();
    settled_image(&east, &second).await;
    let there = settled_image(&west, &second).await;
    assert_eq!(there.copies.iter().map(|it| it.pool).collect::<Vec<_>>(), [far.pool]);
    annex.stop().await;
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

async fn drain(house: &House, name: &str, undo: bool) -> MediaServerInfo {
    let path = paths::MEDIA_SERVER_DRAIN.replace("{name}", name);
    house.admin().post(&path, &DrainRequest { undo }).await.unwrap()
}

async fn remove(house: &House, name: &str, dry_run: bool) -> Result<RemoveReply, ApiError> {
    let path = paths::MEDIA_SERVER_REMOVE.replace("{name}", name);
    house.admin().post(&path, &RemoveRequest { dry_run }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_media_server_takes_nothing_new_and_gives_what_it_has() {
    let mut east = House::build("east").await;
    let mut annex = Annex::build(&east, "m1").await;
    far_pool(&east, &annex, ("m1", "far")).await;
    apply(&east, &to_unit("far")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 35);
    let (web, _) = east.enroll("web01").await;
    // One has begun when the draining does: it ends there.
    let begun = ask_backup(&east, &web, files.path()).await.unwrap();
    let draining = drain(&east, "m1", false).await;
    assert_eq!((draining.state.as_str(), draining.writing), ("draining", 1), "{draining:?}");
    let refused = ask_backup(&east, &web, &files.path().join("deep")).await.unwrap_err();
    assert_eq!(refused.code, "NET-004", "{refused}");
    assert!(refused.message.contains("media server `m1` is drained"), "{refused}");
    back_up_granted(&east, &web, files.path(), &begun).await;
    let image = begun.image.to_string();
    image_when(&east, &image, is_complete).await;
    let drained = server_when(&east, "m1", "drained").await;
    assert_eq!((drained.writing, drained.pools[0].copies), (0, 1), "{drained:?}");
    let back = tempfile::tempdir().unwrap();
    restore_image(&east, &web, &image, back.path()).await.unwrap();
    same_trees(files.path(), back.path());
    // It is remembered.
    east.stop().await;
    east.start().await;
    server_when(&east, "m1", "drained").await;
    let refused = ask_backup(&east, &web, files.path()).await.unwrap_err();
    assert!(matches!(refused.code.as_str(), "NET-004" | "NET-001"), "{refused}");

    let problems: Vec<Finding> = east.admin().get(paths::PROBLEMS).await.unwrap();
    let wished = problems.iter().find(|it| it.check == "pool far").unwrap();
    assert!(wished.level == Level::Warning && wished.help.contains("drain m1 --undo"), "{wished:?}");

    // What lies there keeps it.
    let counted = remove(&east, "m1", true).await.unwrap();
    assert_eq!(counted.uses, ["1 copy in pool `far`", "storage unit `far` on pool `far`"]);
    let refused = remove(&east, "m1", false).await.unwrap_err();
    assert_eq!(refused.code, "API-003", "{refused}");
    let undone = drain(&east, "m1", true).await;
    assert_eq!(undone.state, "up", "{undone:?}");
    pool_when(&east, "far", |it| it.code.is_empty()).await;
    back_up_directory(&east, &web, files.path()).await;

    // One that is lost goes with what lies there, and not before that is so.
    for dry_run in [true, false] {
        assert_eq!(lose(&east, "m1", dry_run).await.unwrap_err().code, "API-003", "it answers");
    }
    annex.stop().await;
    server_when(&east, "m1", "down").await;
    let counted = lose(&east, "m1", true).await.unwrap();
    assert_eq!((counted.removed, counted.uses.len()), (false, 2), "{counted:?}");
    assert!(lose(&east, "m1", false).await.unwrap().removed);
    assert_eq!(servers(&east).await.len(), 1);
    let gone = image_when(&east, &image, |_| true).await;
    assert_eq!((gone.state.as_str(), gone.copies.len()), ("lost", 0), "{gone:?}");
    let refused = ask_backup(&east, &web, files.path()).await.unwrap_err();
    assert_eq!(refused.code, "SLP-013", "{refused}");
    let (making, name, pool) = (Making::Add, "far".to_owned(), Some("default".to_owned()));
    let request = UnitRequest { making, name, pool, jobs_max: None };
    let again: UnitInfo = east.admin().post(paths::STORAGE_UNITS, &request).await.unwrap();
    assert_eq!(again.pool_name, "default");
    back_up_directory(&east, &web, files.path()).await;
    east.stop().await;
}

async fn lose(house: &House, name: &str, dry_run: bool) -> Result<RemoveReply, ApiError> {
    let path = paths::MEDIA_SERVER_REMOVE.replace("{name}", name);
    house.admin().post(&path, &RemoveServerRequest { dry_run, lost: true }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_media_server_that_holds_nothing_is_removed_and_is_nobody_then() {
    let mut east = House::build("east").await;
    let mut annex = Annex::build(&east, "m1").await;
    server_when(&east, "m1", "up").await;
    let joined = annex.server.as_ref().unwrap().joined().clone();
    assert_eq!(
        joined.ask(&Asked::Here { url: joined.config.url(), data_addr: joined.config.data_addr() }).await,
        Ok(Answered::Heard)
    );
    assert!(remove(&east, "m1", false).await.unwrap().removed);
    assert_eq!(servers(&east).await.len(), 1);
    let problems: Vec<Finding> = east.admin().get(paths::PROBLEMS).await.unwrap();
    assert_eq!(problems, [], "what was removed is amiss no more");
    let refused = joined
        .ask(&Asked::Here { url: joined.config.url(), data_addr: joined.config.data_addr() })
        .await
        .unwrap_err();
    assert!(refused.code.starts_with("AUTH-"), "{refused}");
    // After a start of the primary neither, whatever certificate it has got: none of it is believed.
    let media = media_caller(&annex, &east);
    east.stop().await;
    east.start().await;
    let refused = media.get::<WhoAmI>(paths::WHOAMI).await.unwrap_err();
    assert_eq!(refused.code, "AUTH-003", "{refused}");
    drop(joined);
    // The name is free again, and the old line is not.
    let mut second = Annex::build(&east, "m1").await;
    server_when(&east, "m1", "up").await;
    for annex in [&mut annex, &mut second] {
        annex.stop().await;
    }
    east.stop().await;
}
