//! Goal: what has arrived whole is listed as events, by what it is asked by, and what becomes of it.
//! Method: an image that is imported, one whose SLP is not there yet, one that is refused before it is stored.

use narrows_api::{
    events::EventInfo,
    images::{ReplicateReply, ReplicateRequest},
    paths,
};

use crate::{
    data::{back_up_directory, make_tree, settled_image},
    house::House,
    imports::import_in,
    pairing::{apply, import_slp, pair_both, slp},
};

async fn events(house: &House, query: &str) -> Vec<EventInfo> {
    house.admin().get(&format!("{}?{query}", paths::EVENTS)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_arrived_is_listed_whatever_becomes_of_it() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 82);
    let (web, _) = east.enroll("web01").await;
    let (first, _) = back_up_directory(&east, &web, files.path()).await;
    settled_image(&east, &first.image.to_string()).await;

    // The second goes to an SLP that is not there, by hand.
    let path = paths::DOMAIN_PAUSE.replace("{name}", "west");
    let _: narrows_api::domains::DomainInfo = east.admin().post(&path, &()).await.unwrap();
    std::fs::write(files.path().join("deep/file7"), b"changed").unwrap();
    let (second, _) = back_up_directory(&east, &web, files.path()).await;
    let path = paths::IMAGE_REPLICATE.replace("{id}", &second.image.to_string());
    let wanted = ReplicateRequest { domain: "west".into(), import_slp: Some("silver-import".into()) };
    let _: ReplicateReply = east.admin().post(&path, &wanted).await.unwrap();
    let path = paths::DOMAIN_RESUME.replace("{name}", "west");
    let _: narrows_api::domains::DomainInfo = east.admin().post(&path, &()).await.unwrap();
    import_in(&west, second.image, "failed(AIR-002)").await;

    let all = events(&west, "").await;
    assert_eq!(
        all.iter().map(|it| it.arrival.image).collect::<Vec<_>>(),
        [second.image, first.image],
        "{all:?}"
    );
    let [late, early] = &all[..] else { panic!("{all:?}") };
    let pool = west.server.as_ref().unwrap().app().who.pool;
    assert_eq!((early.pool, early.pool_name.as_str(), early.incarnation), (pool, "default", 1));
    assert!(early.sequence > 0 && late.sequence > early.sequence, "{all:?}");
    assert_eq!(
        (early.arrival.sender, early.arrival.sender_name.as_str(), early.arrival.origin),
        (east.domain(), "east", east.domain())
    );
    assert_eq!((early.arrival.state.as_str(), early.arrival.slp.as_str()), ("complete", "gold-import"));
    assert!(
        early.logical_bytes > 500_000 && early.stored_bytes > 100_000 && early.wire_bytes > 100_000,
        "{early:?}"
    );
    assert!(early.asked_expires.is_some() && early.arrival.image_name.starts_with("east/web01_"));
    assert_eq!(
        (late.arrival.state.as_str(), late.arrival.slp.as_str()),
        ("failed(AIR-002)", "silver-import")
    );
    assert!(late.arrival.why.starts_with("AIR-002") && late.wire_bytes < early.wire_bytes, "{late:?}");

    let of =
        async |query: &str| events(&west, query).await.iter().map(|it| it.arrival.image).collect::<Vec<_>>();
    assert_eq!(of("pending=true").await, [second.image]);
    assert_eq!(of(&format!("image={}", first.image)).await, [first.image]);
    assert_eq!(of("from=east&limit=1").await, [second.image]);
    assert_eq!(of("pool=default&until=2020-01-01T00:00:00Z").await, []);
    assert_eq!(of(&format!("since={}", late.arrival.arrived)).await, [second.image]);
    assert_eq!(events(&east, "").await.len(), 0, "what is backed up here is none");
    for (query, code) in [("from=nowhere", "API-002"), ("pool=nowhere", "API-002"), ("image=x", "API-001")] {
        let refused = west.admin().get::<Vec<EventInfo>>(&format!("{}?{query}", paths::EVENTS)).await;
        assert_eq!(refused.unwrap_err().code, code, "{query}");
    }

    // Mended, it is imported; the event stays what it was.
    let silver = import_slp().text.replace("gold-import", "silver-import");
    apply(&west, &crate::pairing::request(silver)).await.unwrap();
    import_in(&west, second.image, "complete").await;
    let now = events(&west, &format!("image={}", second.image)).await;
    assert_eq!(
        (now[0].sequence, now[0].arrival.arrived, now[0].arrival.state.as_str()),
        (late.sequence, late.arrival.arrived, "complete")
    );
    assert_eq!(of("pending=true").await, []);
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}
