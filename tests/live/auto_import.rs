//! Goal: what a partner sends under a name that is not here is imported through an SLP that is made by itself, with the
//! grant for it and within its bounds, and the list says so.

use narrows_api::{
    domains::{DomainInfo, GrantRequest},
    paths,
    slps::SlpInfo,
};

use crate::{
    data::{back_up_directory, make_tree, settled_image},
    house::House,
    imports::import_in,
    pairing::{apply, pair_both, request},
};

async fn grant(house: &House, partner: &str, words: &[&str]) {
    let grant = words.iter().map(|word| (*word).to_owned()).collect();
    let path = paths::DOMAIN_GRANT.replace("{name}", partner);
    let request = GrantRequest { grant, revoke: Vec::new() };
    let info: DomainInfo = house.admin().post(&path, &request).await.unwrap();
    assert!(info.grants.iter().any(|it| it == words[0]), "{info:?}");
}

async fn slps(house: &House) -> Vec<SlpInfo> {
    house.admin().get(paths::SLPS).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_slp_is_made_by_itself_within_the_bounds_of_the_grant() {
    let (mut east, mut west) = pair_both().await;
    let to_all = "name = \"gold\"\n[[operation]]\nid = \"backup\"\nkind = \"backup\"\nstorage = \"default\"\n\
         retention = { fixed = \"30d\" }\n[[operation]]\nid = \"copy\"\nkind = \"replication\"\n\
         source = \"backup\"\ntarget = \"all\"\nretention = { fixed = \"3y\" }\n";
    apply(&east, &request(to_all.to_owned())).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 81);
    let (web, _) = east.enroll("web01").await;
    let (first, _) = back_up_directory(&east, &web, files.path()).await;
    let failed = import_in(&west, first.image, "failed(AIR-002)").await;
    assert!(failed.why.contains("there is no SLP `gold` here"), "{failed:?}");
    assert_eq!(slps(&west).await.len(), 0, "nobody has granted it");

    // The grant lets in what waits for it.
    grant(&west, "east", &["auto-import(at-most=90d,quota=1B)"]).await;
    settled_image(&west, &first.image.to_string()).await;
    let made = slps(&west).await.remove(0);
    assert_eq!((made.name.as_str(), made.made_for.as_deref()), ("gold", Some("east")), "{made:?}");
    assert!(made.operations[0].retention.contains("90d"), "{made:?}");
    let shown = settled_image(&east, &first.image.to_string()).await;
    let life = shown.replicas[0].expires.unwrap().duration_since(shown.started);
    assert_eq!(life.as_hours(), 90 * 24, "3 years were asked for");

    // Its quota is used up by now.
    let (second, _) = back_up_directory(&east, &web, files.path()).await;
    let failed = import_in(&west, second.image, "failed(AIR-002)").await;
    assert!(failed.why.contains("the quota of `east` is 1B"), "{failed:?}");
    grant(&west, "east", &["auto-import(at-most=90d,quota=1TiB)"]).await;
    settled_image(&west, &second.image.to_string()).await;
    // It is there still after a restart, and its own partner's still.
    west.stop().await;
    west.start().await;
    assert_eq!(slps(&west).await[0].made_for.as_deref(), Some("east"));
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}
