//! Goal: what happened to an image is told across a whole chain of domains, to who may hear it; and whoever does not answer
//! is told with what was last known of it.
//! Method: four domains in a row, each paired with the next one only; the last is stopped, a grant is taken.

use narrows_api::{
    domains::{DomainInfo, GrantRequest},
    paths,
    timeline::{Step, Timeline, TimelineQuestion, Told},
};

use crate::{
    data::{back_up_directory, make_tree, settled_image},
    house::House,
    pairing::{apply, import_slp, request, slp},
};

async fn timeline(house: &House, id: &str) -> Timeline {
    house.admin().get(&paths::IMAGE_TIMELINE.replace("{id}", id)).await.unwrap()
}

/// An import that goes on to another domain.
fn onward(target: &str) -> String {
    format!(
        "{}[[operation]]\nid = \"on\"\nkind = \"replication\"\nsource = \"import\"\n\
         target = {{ domain = \"{target}\", import_slp = \"gold-import\" }}\nretention = {{ fixed = \"90d\" }}\n",
        import_slp().text
    )
}

async fn grant(house: &House, partner: &str, given: Vec<String>, taken: Vec<String>) {
    let path = paths::DOMAIN_GRANT.replace("{name}", partner);
    let _: DomainInfo =
        house.admin().post(&path, &GrantRequest { grant: given, revoke: taken }).await.unwrap();
}

/// East, west, north and south in a row.
async fn chain() -> [House; 4] {
    let mut row = Vec::new();
    for name in ["east", "west", "north", "south"] {
        row.push(House::build(name).await);
    }
    let [east, west, north, south] = <[House; 4]>::try_from(row).ok().unwrap();
    let own = east.partner("east").await.unwrap();
    let relay = || vec![format!("relay({}={})", own.domain, own.signing_key)];
    west.pair(&east.invite().await).await.unwrap();
    north.pair(&west.invite().await).await.unwrap();
    south.pair(&north.invite().await).await.unwrap();
    grant(&north, "west", relay(), Vec::new()).await;
    grant(&south, "north", relay(), Vec::new()).await;
    apply(&south, &import_slp()).await.unwrap();
    apply(&north, &request(onward("south"))).await.unwrap();
    apply(&west, &request(onward("north"))).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    [east, west, north, south]
}

fn place(steps: &[Step], wanted: (&str, &str, &str)) -> usize {
    let told: Vec<_> =
        steps.iter().map(|it| (it.domain_name.as_str(), it.what.as_str(), it.state.as_str())).collect();
    told.iter().position(|it| *it == wanted).unwrap_or_else(|| panic!("{wanted:?} in {told:#?}"))
}

/// What happens to an image on its way, in order.
const WAY: [(&str, &str, &str); 7] = [
    ("east", "backup", "done"),
    ("east", "replication to west", "done"),
    ("west", "import from east", "done"),
    ("west", "replication to north", "done"),
    ("north", "import from west", "done"),
    ("north", "replication to south", "done"),
    ("south", "import from north", "done"),
];

/// Every step in its order, of every domain, and by whom it was told.
fn follows_its_way(told: &Timeline) {
    // Of two domains' clocks as much is known as a busy machine lets them measure.
    for pair in WAY.windows(2) {
        let (before, after) = (place(&told.steps, pair[0]), place(&told.steps, pair[1]));
        assert!(before < after || pair[0].0 != pair[1].0, "{:#?}", told.steps);
    }
    for (domain, sender) in [("west", "east"), ("north", "west"), ("south", "north")] {
        let arrival = &told.steps[place(&told.steps, (domain, &format!("arrival from {sender}"), "durable"))];
        assert!(arrival.logical_bytes > 500_000 && arrival.why.contains("image log"), "{arrival:?}");
    }
    for (domain, target) in [("west", "north"), ("north", "south")] {
        let sent = &told.steps[place(&told.steps, (domain, &format!("replication to {target}"), "done"))];
        assert!(sent.wire_bytes > 100_000 && sent.logical_bytes > 500_000, "{sent:?}");
        place(&told.steps, (domain, &format!("confirmation by {target}"), "complete"));
    }
    let vias = |domain: &str| {
        let its: Vec<_> =
            told.steps.iter().filter(|it| it.domain_name == domain).map(|it| it.via.as_str()).collect();
        assert!(!its.is_empty());
        its
    };
    assert!(vias("west").iter().all(|it| it.is_empty()));
    assert!(vias("north").iter().chain(&vias("south")).all(|it| *it == "west"));
    let known: Vec<_> = told
        .domains
        .iter()
        .map(|it| (it.name.as_str(), it.via.as_str(), it.answered, it.last_known.as_str()))
        .collect();
    assert_eq!(
        known,
        [
            ("west", "", true, "present"),
            ("north", "west", true, "present"),
            ("south", "west", true, "present")
        ]
    );
}

async fn strangers_hear_nothing([east, west, north]: [&House; 3], id: &str) {
    // Who neither made it nor sent it hears nothing; and a question that has come around is not asked on.
    let speaker = |house: &House| house.server.as_ref().unwrap().app().certificates.identity().unwrap();
    let path = paths::PARTNER_TIMELINE.replace("{id}", id);
    let question = |seen: Vec<narrows_api::Hex<16>>| TimelineQuestion { seen, within_ms: 8_000 };
    let by_north = west.caller(Some(&speaker(north)), None);
    let refused = by_north.post::<_, Told>(&path, &question(Vec::new())).await.unwrap_err();
    assert_eq!(refused.code, "API-002", "{refused}");
    let by_east = west.caller(Some(&speaker(east)), None);
    let around = vec![narrows_api::Hex(north.domain().0)];
    let heard: Told = by_east.post(&path, &question(around)).await.unwrap();
    assert!(heard.domains.is_empty() && heard.steps.iter().all(|it| it.domain == west.domain()), "{heard:?}");
    let many = vec![narrows_api::Hex([7; 16]); 1000];
    assert_eq!(by_east.post::<_, Told>(&path, &question(many)).await.unwrap_err().code, "API-001");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_followed_through_a_chain_of_domains() {
    let [mut east, mut west, mut north, mut south] = chain().await;
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 81);
    let (web, _) = east.enroll("web01").await;
    let (image, _) = back_up_directory(&east, &web, files.path()).await;
    let id = image.image.to_string();
    for house in [&south, &north, &west, &east] {
        settled_image(house, &id).await;
    }

    let told = timeline(&east, &id).await;
    follows_its_way(&told);

    // From the middle it is told onward, and not back: who sent it keeps its own steps to itself.
    let told = timeline(&north, &id).await;
    let of = |steps: &[Step], name: &str| steps.iter().filter(|it| it.domain_name == name).count();
    assert!(of(&told.steps, "north") > 0 && of(&told.steps, "south") > 0);
    assert_eq!(of(&told.steps, "north") + of(&told.steps, "south"), told.steps.len(), "{:#?}", told.steps);
    let west_seen = told.domains.iter().find(|it| it.name == "west").unwrap();
    assert!(!west_seen.answered && west_seen.why.contains("not those that it sent it to"), "{west_seen:?}");

    // South is down: its last known state is told across the chain, with its age.
    south.stop().await;
    let told = timeline(&east, &id).await;
    assert_eq!(of(&told.steps, "south"), 0);
    place(&told.steps, WAY[5]);
    let silent = told.domains.iter().find(|it| it.name == "south").unwrap();
    assert_eq!(
        (silent.answered, silent.via.as_str(), silent.last_known.as_str()),
        (false, "west", "present")
    );
    assert!(
        silent.why.starts_with("NET-") && silent.as_of.is_some() && silent.age_seconds.is_some(),
        "{silent:?}"
    );

    // North does not tell west any more, so east hears nothing from there on, and why.
    grant(&north, "west", Vec::new(), vec!["status".into()]).await;
    let told = timeline(&east, &id).await;
    assert_eq!((of(&told.steps, "north"), of(&told.steps, "south")), (0, 0));
    let shut = told.domains.iter().find(|it| it.name == "north").unwrap();
    assert!(!shut.answered && shut.why.starts_with("AUTH-005") && shut.last_known == "present", "{shut:?}");
    assert!(told.domains.iter().all(|it| it.name != "south"), "nobody told of it");

    strangers_hear_nothing([&east, &west, &north], &id).await;
    for house in [&mut east, &mut west, &mut north] {
        house.stop().await;
    }
}
