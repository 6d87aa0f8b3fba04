//! Goal: bytes that rotted in a pool are found by a scrub, told, and brought anew from whoever holds the same image: a
//! partner that grants it, in either direction, or another pool of the same domain; and by whoever backs the same up.
//! Method: real servers; a bit of each container's first frame is flipped on disk while they run.

use std::{fs::File, os::unix::fs::FileExt as _, path::Path, time::Duration};

use narrows_api::{
    damage::{DamageInfo, DamageOrder, HealRequest, ScrubRequest},
    domains::{DomainInfo, GrantRequest},
    expiry::{ExpireReply, ExpireRequest},
    images::{ImageInfo, ReplicateReply, ReplicateRequest, VerifyReport},
    paths,
    pools::PoolInfo,
    server::Finding,
};

use narrows_domain::Catalog as _;
use narrows_exchange::ExchangeError;
use narrows_format::{
    Fingerprint, ImageId,
    node::{Child, ChildKind},
};
use narrows_server::{
    hands,
    plane::{Heal, ReplicationError},
};
use narrows_transport::Identity;

use crate::{
    data::{back_up_directory, job_end, make_tree, restore_image, same_trees, settled_image},
    house::House,
    pairing::{apply, import_slp, local_slp, pair_both, request, slp},
    pools::{image_when, pool_with_unit},
};

/// Flips a bit of the first frame of each container that is there.
pub(crate) fn flip_containers(pool: &Path) {
    for entry in std::fs::read_dir(pool.join("containers")).unwrap() {
        let file = File::options().read(true).write(true).open(entry.unwrap().path()).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, 4096 + 100).unwrap();
        file.write_all_at(&[byte[0] ^ 4], 4096 + 100).unwrap();
        file.sync_all().unwrap();
    }
}

async fn damage(house: &House, pool: &str) -> DamageInfo {
    house.admin().get(&paths::POOL_DAMAGE.replace("{name}", pool)).await.unwrap()
}

async fn done(house: &House, pool: &str, order: &DamageOrder) -> DamageInfo {
    for _ in 0..1200 {
        let info = damage(house, pool).await;
        if info.done >= order.order {
            return info;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not done: {:?}", damage(house, pool).await);
}

pub(crate) async fn scrub(house: &House, pool: &str, deep: bool) -> DamageInfo {
    let asked = ScrubRequest { deep, rate: Some(1 << 30) };
    let order = house.admin().post(&paths::POOL_SCRUB.replace("{name}", pool), &asked).await.unwrap();
    done(house, pool, &order).await
}

pub(crate) async fn heal(house: &House, pool: &str, from: Option<&str>) -> DamageInfo {
    let asked = HealRequest { from: from.map(str::to_owned) };
    let order = house.admin().post(&paths::POOL_HEAL.replace("{name}", pool), &asked).await.unwrap();
    done(house, pool, &order).await
}

pub(crate) async fn grant_heal(house: &House, to: &str) {
    let request = GrantRequest { grant: vec!["heal".into()], revoke: Vec::new() };
    let path = paths::DOMAIN_GRANT.replace("{name}", to);
    let _: DomainInfo = house.admin().post(&path, &request).await.unwrap();
}

pub(crate) async fn is_whole(house: &House, image: &str) -> bool {
    let verify = paths::IMAGE_VERIFY.replace("{id}", image);
    house.admin().post::<_, VerifyReport>(&verify, &()).await.is_ok()
}

pub(crate) async fn restores(house: &House, client: &Identity, image: &str, like: &Path) {
    let back = tempfile::tempdir().unwrap();
    restore_image(house, client, image, back.path()).await.unwrap();
    same_trees(like, back.path());
}

pub(crate) async fn replica_is(house: &House, image: &str, state: &str) {
    let is_so = |info: &ImageInfo| info.replicas.first().is_some_and(|replica| replica.state == state);
    image_when(house, image, is_so).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partners_heal_each_other_where_it_is_granted() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 57);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let image = grant.image.to_string();
    settled_image(&east, &image).await;
    let clean = scrub(&west, "default", true).await;
    let pass = clean.last.clone().unwrap();
    assert!(pass.deep && pass.bytes > 0 && pass.ended.is_some(), "{clean:?}");
    assert_eq!((clean.damaged_images, pass.damaged, pass.stray, pass.unread), (0, 0, 0, 0), "{clean:?}");

    // The target rots: it is found, and the source does not let it read.
    flip_containers(&west.data().pool());
    let found = scrub(&west, "default", false).await;
    assert_eq!((found.damaged_images, found.quarantined_containers), (1, 2), "{found:?}");
    assert!(found.last.unwrap().damaged >= 2 && !found.places.is_empty());
    let attempt = found.healed.first().unwrap();
    assert_eq!((attempt.from.as_str(), attempt.code.as_str()), ("east", "AUTH-005"), "{attempt:?}");
    assert!(attempt.why.contains("needs the grant `heal`"), "{attempt:?}");
    let problems: Vec<Finding> = west.admin().get(paths::PROBLEMS).await.unwrap();
    let problem = problems.iter().find(|it| it.code == "POOL-001" && it.check == "pool default").unwrap();
    assert!(problem.message.contains("AUTH-005"), "{problem:?}");
    let pools: Vec<PoolInfo> = west.admin().get(paths::POOLS).await.unwrap();
    assert!(pools[0].damaged_images == 1 && pools[0].scrubbed.is_some(), "{pools:?}");
    replica_is(&east, &image, "damaged").await;
    assert!(!is_whole(&west, &image).await);

    // It is found still after a restart, and healed once it is granted.
    west.stop().await;
    west.start().await;
    assert_eq!(heal(&west, "default", None).await.damaged_images, 1);
    grant_heal(&east, "west").await;
    let healed = heal(&west, "default", Some("east")).await;
    assert_eq!((healed.damaged_images, healed.damaged), (0, 0), "{healed:?}");
    let attempt = healed.healed.first().unwrap();
    assert!(attempt.code.is_empty() && attempt.why.is_empty() && attempt.data_bytes > 0, "{attempt:?}");
    assert!(is_whole(&west, &image).await);
    replica_is(&east, &image, "present").await;
    let (spare, _) = west.enroll("spare").await;
    restores(&west, &spare, &image, files.path()).await;

    // The source rots, and heals by itself from the target.
    grant_heal(&west, "east").await;
    flip_containers(&east.data().pool());
    let healed = scrub(&east, "default", false).await;
    assert_eq!(healed.damaged_images, 0, "{healed:?}");
    assert_eq!(healed.healed[0].from, "west");
    assert!(is_whole(&east, &image).await);
    for (house, client) in [(&mut east, &web), (&mut west, &spare)] {
        house.stop().await;
        house.start().await;
        assert!(is_whole(house, &image).await);
        restores(house, client, &image, files.path()).await;
        assert_eq!(damage(house, "default").await.damaged_images, 0);
        house.stop().await;
    }
}

/// Goal: an image that is sent once more to a pool where it is damaged is whole there, without any grant but `send`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_once_more_is_whole() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 61);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let image = grant.image.to_string();
    settled_image(&east, &image).await;
    flip_containers(&west.data().pool());
    assert_eq!(scrub(&west, "default", false).await.damaged_images, 1);
    let path = paths::IMAGE_REPLICATE.replace("{id}", &image);
    let request = ReplicateRequest { domain: "west".into(), import_slp: Some("gold-import".into()) };
    let sent: ReplicateReply = east.admin().post(&path, &request).await.unwrap();
    assert_eq!(job_end(&east, &sent.job).await.state, "complete");
    assert!(is_whole(&west, &image).await);
    let after = heal(&west, "default", None).await;
    assert_eq!((after.damaged_images, after.healed.len()), (0, 0), "{after:?}");
    let (spare, _) = west.enroll("spare").await;
    restores(&west, &spare, &image, files.path()).await;
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// Goal: a copy that was found damaged and then let go, or is gone, keeps nobody from mending the others, and is no problem
/// any more when it is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_damaged_and_is_gone_keeps_nothing_from_being_mended() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let (web, _) = east.enroll("web01").await;
    let mut images = Vec::new();
    for seed in [62, 63, 64] {
        let files = tempfile::tempdir().unwrap();
        make_tree(files.path(), seed);
        let (grant, _) = back_up_directory(&east, &web, files.path()).await;
        let image = grant.image.to_string();
        settled_image(&east, &image).await;
        if seed == 62 {
            flip_containers(&west.data().pool());
            assert_eq!(scrub(&west, "default", false).await.damaged_images, 1);
            replica_is(&east, &image, "damaged").await;
            let path = paths::IMAGE_EXPIRE.replace("{id}", &image);
            let _: ExpireReply = west.admin().post(&path, &ExpireRequest { dry_run: false }).await.unwrap();
            image_when(&west, &image, |it| it.copies[0].discarded_until.is_some()).await;
            // What it lay in is as it was: nothing is known of it but what was told.
            flip_containers(&west.data().pool());
            grant_heal(&east, "west").await;
            heal(&west, "default", None).await;
        }
        images.push(image);
    }
    // While it is let go, and when it is gone.
    for days in [0, 8] {
        west.advance(Duration::from_hours(24 * days)).await;
        if days > 0 {
            image_when(&west, &images[0], |it| it.copies.is_empty()).await;
        }
        flip_containers(&west.data().pool());
        let healed = scrub(&west, "default", false).await;
        assert_eq!((healed.damaged_images, healed.failed.as_str()), (0, ""), "{healed:?}");
        for image in &images[1..] {
            assert!(is_whole(&west, image).await);
            replica_is(&east, image, "present").await;
        }
    }
    let problems: Vec<Finding> = west.admin().get(paths::PROBLEMS).await.unwrap();
    assert!(problems.iter().all(|it| it.code != "POOL-001"), "{problems:?}");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

/// What `asker` hears that wants to read an image from the other domain.
async fn asks_for(asker: &House, from: &House, image: ImageId) -> ExchangeError {
    let app = asker.server.as_ref().unwrap().app().clone();
    let partner = app.catalog.partner(from.domain()).await.unwrap().unwrap();
    let to = hands::dial(&app, &partner).await.unwrap();
    let (origin, pool, ticket) = (from.domain(), app.who.pool, [0; 32]);
    let root = Child { fingerprint: Fingerprint([0; 32]), kind: ChildKind::Node, length: 1 };
    match app.plane.heal(Heal { image, origin, root, pool, ticket, to }).await {
        Some(Err(ReplicationError::Exchange(error))) => error,
        other => panic!("{other:?}"),
    }
}

/// Goal: the grant opens what the two have in common, and nothing else; what is not shared and what does not exist are
/// refused alike.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_grant_opens_no_other_image() {
    let (mut east, mut west) = pair_both().await;
    apply(&east, &local_slp()).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 60);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    grant_heal(&east, "west").await;
    let [own, none] = [grant.image, ImageId([9; 16])];
    let mut said = Vec::new();
    for image in [own, none] {
        let refused = asks_for(&west, &east, image).await;
        assert_eq!(refused.code(), Some("AUTH-005"), "{refused}");
        said.push(refused.to_string().replace(&image.to_string(), "IMAGE"));
    }
    assert_eq!(said[0], said[1]);
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pools_of_one_domain_heal_each_other() {
    let mut east = House::build("east").await;
    pool_with_unit(&east, "vault").await;
    let text = "name = \"gold\"\n[[operation]]\nid = \"backup\"\nkind = \"backup\"\nstorage = \"default\"\n\
        retention = { fixed = \"30d\" }\n[[operation]]\nid = \"dup\"\nkind = \"duplication\"\n\
        source = \"backup\"\nstorage = \"vault\"\nretention = { fixed = \"60d\" }\n";
    apply(&east, &request(text.to_owned())).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 58);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let image = grant.image.to_string();
    image_when(&east, &image, |it| it.copies.len() == 2).await;
    for (pool, folder) in [("vault", east.folder.path().join("vault")), ("default", east.data().pool())] {
        flip_containers(&folder);
        let healed = scrub(&east, pool, true).await;
        assert_eq!(healed.damaged_images, 0, "{healed:?}");
        assert_eq!(healed.healed[0].from, "east", "{healed:?}");
    }
    assert!(is_whole(&east, &image).await);
    restores(&east, &web, &image, files.path()).await;
    east.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordinary_backup_heals_and_passes_come_by_their_time() {
    let mut east = House::build("east").await;
    apply(&east, &local_slp()).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 59);
    let (web, _) = east.enroll("web01").await;
    let (first, _) = back_up_directory(&east, &web, files.path()).await;
    flip_containers(&east.data().pool());
    let found = scrub(&east, "default", false).await;
    assert_eq!(found.damaged_images, 1, "{found:?}");
    let nobody = found.healed.first().unwrap();
    assert!(nobody.code.is_empty() && nobody.why.contains("no partner holds it"), "{nobody:?}");
    let (second, outcome) = back_up_directory(&east, &web, files.path()).await;
    assert!(outcome.confirmed.stored_bytes > 100_000, "what is damaged was lacking: {outcome:?}");
    for image in [first.image.to_string(), second.image.to_string()] {
        assert!(is_whole(&east, &image).await);
        restores(&east, &web, &image, files.path()).await;
    }
    let healed = heal(&east, "default", None).await;
    assert_eq!((healed.damaged_images, healed.damaged), (0, 0), "{healed:?}");
    assert!(healed.healed.is_empty(), "nobody has to be asked any more: {healed:?}");

    let before = healed.last.unwrap().number;
    east.restart_with(|settings| settings.scrub_every = Some("2h".parse().unwrap())).await;
    assert_eq!(damage(&east, "default").await.last.unwrap().number, before);
    east.advance(Duration::from_hours(3)).await;
    // It looks when something happens, and every half a minute.
    heal(&east, "default", None).await;
    for _ in 0..1200 {
        if damage(&east, "default").await.last.is_some_and(|last| last.number > before) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let last = damage(&east, "default").await.last.unwrap();
    assert_eq!((last.number, last.damaged), (before + 1, 2), "what is in quarantine is met again: {last:?}");

    // One that takes for ever ends with the server, and the next start goes on with it.
    let asked = ScrubRequest { deep: false, rate: Some(1) };
    let scrub = paths::POOL_SCRUB.replace("{name}", "default");
    let _: DamageOrder = east.admin().post(&scrub, &asked).await.unwrap();
    for _ in 0..1200 {
        if damage(&east, "default").await.doing == "scrub" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    east.stop().await;
    east.start().await;
    for _ in 0..1200 {
        if damage(&east, "default").await.doing == "scrub" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(damage(&east, "default").await.doing, "scrub");
    east.stop().await;
}
