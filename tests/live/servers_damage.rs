//! Goal: what rots in the pool of a media server is found, told and mended as in a pool of the primary's: from pools of this
//! domain on whichever server, and from partners, in either direction.
//! Method: real servers; a bit of each container's first frame is flipped on disk while they run.

use std::time::Duration;

use narrows_api::{damage::DamageInfo, paths, server::Finding};

use crate::{
    damage::{flip_containers, grant_heal, heal, is_whole, replica_is, restores, scrub},
    data::{back_up_directory, make_tree, settled_image},
    house::House,
    pairing::{apply, import_slp, pair_both, request},
    pools::image_when,
    servers::{Annex, far_pool, pool_when, server_when, to_unit},
};

fn is_mended(info: &DamageInfo, from: &str) {
    assert_eq!((info.damaged_images, info.code.as_str()), (0, ""), "{info:?}");
    let attempt = info.healed.first().unwrap();
    assert_eq!((attempt.from.as_str(), attempt.why.as_str()), (from, ""), "{info:?}");
    assert!(attempt.data_bytes > 0, "{info:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_on_a_media_server_is_found_and_known_after_every_start() {
    let mut east = House::build("east").await;
    let mut annex = Annex::build(&east, "m1").await;
    far_pool(&east, &annex, ("m1", "far")).await;
    apply(&east, &to_unit("far")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 71);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let image = grant.image.to_string();
    image_when(&east, &image, |it| it.copies.len() == 1).await;
    let clean = scrub(&east, "far", true).await;
    let pass = clean.last.clone().unwrap();
    assert!(pass.deep && pass.bytes > 0 && pass.ended.is_some(), "{clean:?}");
    assert_eq!((clean.damaged_images, pass.damaged, pass.unread), (0, 0, 0), "{clean:?}");

    flip_containers(&annex.path("far"));
    let found = scrub(&east, "far", false).await;
    assert_eq!((found.damaged_images, found.quarantined_containers), (1, 2), "{found:?}");
    assert!(found.last.as_ref().unwrap().damaged >= 2 && !found.places.is_empty(), "{found:?}");
    assert!(found.healed[0].why.contains("no partner holds it"), "{found:?}");
    let problems: Vec<Finding> = east.admin().get(paths::PROBLEMS).await.unwrap();
    assert!(problems.iter().any(|it| it.code == "POOL-001" && it.check == "pool far"), "{problems:?}");
    assert!(!is_whole(&east, &image).await);

    // Either server starts anew: it is known still, and who backs the same up brings what lacks.
    annex.stop().await;
    server_when(&east, "m1", "down").await;
    annex.start().await;
    pool_when(&east, "far", |it| it.code.is_empty()).await;
    assert_eq!(heal(&east, "far", None).await.damaged_images, 1);
    east.stop().await;
    east.start().await;
    pool_when(&east, "far", |it| it.code.is_empty()).await;
    assert_eq!(heal(&east, "far", None).await.damaged_images, 1);
    back_up_directory(&east, &web, files.path()).await;
    assert!(is_whole(&east, &image).await);
    let after = heal(&east, "far", None).await;
    assert_eq!((after.damaged_images, after.healed.len()), (0, 0), "{after:?}");
    restores(&east, &web, &image, files.path()).await;
    annex.stop().await;
    east.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pools_of_one_domain_heal_each_other_whichever_server_has_them() {
    let mut east = House::build("east").await;
    let (mut annex, mut other) = (Annex::build(&east, "m1").await, Annex::build(&east, "m2").await);
    far_pool(&east, &annex, ("m1", "far")).await;
    far_pool(&east, &other, ("m2", "off")).await;
    let dup = |id: &str| {
        format!(
            "[[operation]]\nid = \"dup-{id}\"\nkind = \"duplication\"\nsource = \"backup\"\n\
             storage = \"{id}\"\nretention = {{ fixed = \"60d\" }}\n"
        )
    };
    let text = "name = \"gold\"\n[[operation]]\nid = \"backup\"\nkind = \"backup\"\nstorage = \"default\"\n\
        retention = { fixed = \"30d\" }\n";
    apply(&east, &request(format!("{text}{}{}", dup("far"), dup("off")))).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 72);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let image = grant.image.to_string();
    image_when(&east, &image, |it| it.copies.len() == 3).await;
    // From the primary or the other media server; then from one of the media servers, the other of which is hurt too.
    let folders = [annex.path("far"), east.data().pool(), other.path("off")];
    flip_containers(&folders[0]);
    is_mended(&scrub(&east, "far", true).await, "east");
    flip_containers(&folders[1]);
    is_mended(&scrub(&east, "default", true).await, "east");
    flip_containers(&folders[1]);
    flip_containers(&folders[2]);
    is_mended(&scrub(&east, "off", true).await, "east");
    is_mended(&scrub(&east, "default", true).await, "east");
    assert!(is_whole(&east, &image).await);
    // What a verification meets is mended without a pass, wherever it is.
    flip_containers(&folders[0]);
    assert!(!is_whole(&east, &image).await);
    for _ in 0..600 {
        if is_whole(&east, &image).await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(is_whole(&east, &image).await);
    restores(&east, &web, &image, files.path()).await;
    for annex in [&mut annex, &mut other] {
        annex.stop().await;
    }
    east.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partner_and_a_media_server_heal_each_other_where_it_is_granted() {
    let (mut east, mut west) = pair_both().await;
    let mut annex = Annex::build(&east, "m1").await;
    far_pool(&east, &annex, ("m1", "far")).await;
    apply(&west, &import_slp()).await.unwrap();
    let text = "name = \"gold\"\n[[operation]]\nid = \"backup\"\nkind = \"backup\"\nstorage = \"far\"\n\
        retention = { fixed = \"30d\" }\n[[operation]]\nid = \"to-west\"\nkind = \"replication\"\n\
        source = \"backup\"\ntarget = { domain = \"west\", import_slp = \"gold-import\" }\n\
        retention = { fixed = \"90d\" }\n";
    apply(&east, &request(text.to_owned())).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 73);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let image = grant.image.to_string();
    settled_image(&west, &image).await;
    replica_is(&east, &image, "present").await;

    // What the media server lacks the partner has, and the other way round.
    flip_containers(&annex.path("far"));
    let refused = scrub(&east, "far", false).await;
    let attempt = refused.healed.first().unwrap();
    assert_eq!((attempt.from.as_str(), attempt.code.as_str()), ("west", "AUTH-005"), "{refused:?}");
    grant_heal(&west, "east").await;
    is_mended(&heal(&east, "far", None).await, "west");
    assert!(is_whole(&east, &image).await);
    grant_heal(&east, "west").await;
    flip_containers(&west.data().pool());
    is_mended(&scrub(&west, "default", false).await, "east");
    assert_eq!(heal(&west, "default", None).await.damaged_images, 0);
    replica_is(&east, &image, "present").await;
    let (spare, _) = west.enroll("spare").await;
    restores(&west, &spare, &image, files.path()).await;
    restores(&east, &web, &image, files.path()).await;
    annex.stop().await;
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}
