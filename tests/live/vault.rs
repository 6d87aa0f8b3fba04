//! Goal: a domain that nobody can dial takes part by the connections that it parks at its partner: it is paired, sent to, asked and
//! told, waits with its reason while its window is shut, and is cut off with trust in it.
//! Method: a house that tells an address where nobody listens, and a source that has no other way to it.

use std::{sync::Arc, time::Duration};

use narrows_api::{
    ApiError,
    domains::{DialRequest, DomainInfo, GrantRequest, PairRequest, Parting, UnpairReply, UnpairRequest},
    images::ImageInfo,
    partner::{ConfirmRequest, Pong},
    paths,
    server::Level,
    slps::ApplyRequest,
    storage::{Making, TargetInfo, TargetName, TargetRequest},
    topology::Topology,
};
use narrows_domain::{
    Catalog as _,
    partner::{Dials, Partner, Trust},
    primary::PartnerOrder,
};
use narrows_format::DomainId;
use narrows_server::{
    api::App,
    limits::PARTNER_TIME_MAX,
    pairing,
    parking::{
        dialling::{Caller, Primary, dial, over},
        words::{ANSWER, CALL, Called, PROTOCOL, Wish, read_answer},
    },
};
use narrows_transport::{
    Credentials,
    trust::{CaFingerprint, Whom},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    data::{back_up_directory, make_tree, settled_image},
    house::House,
    pairing::{apply, doctor, import_slp, slp},
    partners::{operation_in, order},
    servers::{Annex, far_pool, import_to, through},
    storage::remove,
    windows::{OPEN, put_window, shut_now},
};

/// A source, and a vault that dials it.
async fn with_vault(window: Option<&str>) -> (House, House) {
    let (east, vault) = (House::build("east").await, House::build_elsewhere("vault").await);
    if window.is_some() {
        put_window(&vault, OPEN).await.unwrap();
    }
    let window = window.map(str::to_owned);
    let request = PairRequest { line: east.invite().await, dial_out: true, window, ..PairRequest::default() };
    let info: DomainInfo = vault.admin().post(paths::DOMAIN_PAIR, &request).await.unwrap();
    assert_eq!((info.name.as_str(), info.state.as_str(), info.dials.as_str()), ("east", "paired", "own"));
    apply(&vault, &import_slp()).await.unwrap();
    apply(&east, &slp("vault")).await.unwrap();
    (east, vault)
}

async fn ping(house: &House, partner: &str) -> Result<Pong, ApiError> {
    let app = house.server.as_ref().unwrap().app();
    let partners = app.catalog.partners().await.unwrap();
    let partner = partners.into_iter().find(|it| it.name == partner).unwrap();
    app.partners.api(partner.domain, &partner.url, &partner.name)?.get(paths::PARTNER_PING).await
}

fn target(direction: &str) -> TargetRequest {
    TargetRequest {
        making: Making::Set,
        name: TargetName { pool: None, domain: "vault".into() },
        unit: None,
        bandwidth: None,
        schedule: None,
        weight: None,
        direction: Some(direction.into()),
    }
}

async fn direct(house: &House, direction: &str) -> Result<TargetInfo, ApiError> {
    house.admin().post(paths::TARGETS, &target(direction)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vault_that_nobody_can_dial_is_replicated_to_and_asked() {
    let (mut east, mut vault) = with_vault(None).await;
    let seen = east.partner("vault").await.unwrap();
    assert_eq!((seen.state.as_str(), seen.dials.as_str()), ("paired", "partner"));
    assert!(std::net::TcpStream::connect(seen.data_addr.as_str()).is_err(), "{} is no way", seen.data_addr);
    let drawn: Topology = east.admin().get(paths::TOPOLOGY).await.unwrap();
    assert_eq!(drawn.partners[0].targets[0].direction, "pull");
    let targets: Vec<TargetInfo> = east.admin().get(paths::TARGETS).await.unwrap();
    assert_eq!((targets.len(), targets[0].direction.as_str()), (1, "pull"));
    let pushed = direct(&east, "push").await.unwrap_err();
    assert_eq!((pushed.code.as_str(), pushed.place.as_str()), ("API-001", "direction"));
    assert_eq!(direct(&east, "pull").await.unwrap().direction, "pull");
    for house in [&east, &vault] {
        let report = doctor(house).await;
        let bad: Vec<_> = report.findings.iter().filter(|it| it.level == Level::Error).collect();
        assert!(report.healthy, "{bad:?}");
    }

    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 61);
    let (web, _) = east.enroll("web01").await;
    let (first, _) = back_up_directory(&east, &web, files.path()).await;
    settled_image(&east, &first.image.to_string()).await;
    let there: ImageInfo =
        vault.admin().get(&paths::IMAGE.replace("{id}", &first.image.to_string())).await.unwrap();
    assert_eq!(there.state, "whole");

    // Either side is started anew, and what comes next goes by itself.
    east.stop().await;
    east.start().await;
    let (second, _) = back_up_directory(&east, &web, files.path()).await;
    settled_image(&east, &second.image.to_string()).await;
    vault.stop().await;
    vault.start().await;
    let (third, _) = back_up_directory(&east, &web, files.path()).await;
    settled_image(&east, &third.image.to_string()).await;

    // It can be dialled after all, and says so: only if that is true is it so.
    let both = DialRequest { out: false, window: None };
    let untrue = order::<_, DomainInfo>(&vault, paths::DOMAIN_DIAL, "east", &both).await.unwrap_err();
    assert_eq!(untrue.code, "TRUST-001");
    assert_eq!(vault.partner("east").await.unwrap().dials, "own");
    assert_eq!(east.partner("vault").await.unwrap().dials, "partner");
    ping(&east, "vault").await.unwrap();
    vault.move_home().await;
    let info: DomainInfo = order(&vault, paths::DOMAIN_DIAL, "east", &both).await.unwrap();
    assert_eq!(info.dials, "both");
    let seen = east.partner("vault").await.unwrap();
    assert_eq!((seen.dials.as_str(), seen.url.as_str()), ("both", vault.context.url.as_str()));
    assert_eq!(direct(&east, "pull").await.unwrap_err().code, "API-001");
    let targets: Vec<TargetInfo> = east.admin().get(paths::TARGETS).await.unwrap();
    assert_eq!(targets[0].direction, "push");
    let (fourth, _) = back_up_directory(&east, &web, files.path()).await;
    settled_image(&east, &fourth.image.to_string()).await;

    // And back again, by order of the side that is dialled no more.
    let out = DialRequest { out: true, window: None };
    let info: DomainInfo = order(&vault, paths::DOMAIN_DIAL, "east", &out).await.unwrap();
    assert_eq!(info.dials, "own");
    assert_eq!(east.partner("vault").await.unwrap().dials, "partner");
    let crossed = order::<_, DomainInfo>(&east, paths::DOMAIN_DIAL, "vault", &out).await.unwrap_err();
    assert_eq!(crossed.code, "API-003");
    let (fifth, _) = back_up_directory(&east, &web, files.path()).await;
    settled_image(&east, &fifth.image.to_string()).await;
    for house in [&mut east, &mut vault] {
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vault_outside_of_its_window_is_waited_for() {
    let (mut east, mut vault) = with_vault(Some("nights")).await;
    let used = remove(&vault, paths::WINDOW_REMOVE, "nights", true).await.unwrap().uses;
    assert_eq!(used, ["domain `east`, which is dialled while it is open"]);
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 62);
    let (web, _) = east.enroll("web01").await;
    let (first, _) = back_up_directory(&east, &web, files.path()).await;
    settled_image(&east, &first.image.to_string()).await;

    put_window(&vault, &shut_now()).await.unwrap();
    // It says that it goes; until then it may be called.
    let why = loop {
        match ping(&east, "vault").await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => break error,
        }
    };
    assert_eq!(why.code, "NET-001");
    let (second, _) = back_up_directory(&east, &web, files.path()).await;
    let waits = operation_in(&east, second.image, "waiting(target-down)").await;
    let replication = waits.operations.iter().find(|it| it.kind == "replication").unwrap();
    assert!(replication.why.contains("outside of its window until "), "{}", replication.why);
    // The vault itself says nothing to the source either.
    let gap = ping(&vault, "east").await.unwrap_err();
    assert!(gap.code == "NET-001" && gap.why.contains("window"), "{gap:?}");

    put_window(&vault, OPEN).await.unwrap();
    settled_image(&east, &second.image.to_string()).await;

    // What is under way is cut when the window shuts, and goes on where it was.
    let slowly = |bandwidth| TargetRequest { bandwidth: Some(bandwidth), ..target("pull") };
    let _: TargetInfo = east.admin().post(paths::TARGETS, &slowly(50_000)).await.unwrap();
    make_tree(&files.path().join("more"), 64);
    let (third, _) = back_up_directory(&east, &web, files.path()).await;
    operation_in(&east, third.image, "in-process").await;
    put_window(&vault, &shut_now()).await.unwrap();
    operation_in(&east, third.image, "waiting(target-down)").await;
    let _: TargetInfo = east.admin().post(paths::TARGETS, &slowly(0)).await.unwrap();
    put_window(&vault, OPEN).await.unwrap();
    settled_image(&east, &third.image.to_string()).await;
    for house in [&mut east, &mut vault] {
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_partner_that_dials_parks_and_only_while_it_is_one() {
    let (mut east, mut vault) = with_vault(None).await;
    let mut west = House::build("west").await;
    west.pair(&east.invite().await).await.unwrap();
    let (_, enrolled) = vault.enroll("dr01").await;
    assert!(!enrolled.certificate_pem.is_empty());
    let to = Primary { domain: east.domain(), url: &east.context.url };
    let park = async |of: &House, wish: Wish| {
        let app = of.server.as_ref().unwrap().app();
        let credentials = Credentials::new(&app.certificates.identity().unwrap()).unwrap();
        dial(Caller { trust: &app.trust, credentials: &credentials }, to, wish).await
    };
    assert_eq!(park(&west, Wish::Park).await.map(drop).unwrap_err().code, "AUTH-005", "it is dialled");
    let through = Wish::Through(vault.domain(), None);
    assert_eq!(
        park(&vault, through).await.map(drop).unwrap_err().code,
        "AUTH-005",
        "it is no media server of east"
    );
    let mut stranger = House::build("north").await;
    let app = stranger.server.as_ref().unwrap().app();
    app.trust.set_domain(east.domain(), east.trust().certificates_of(east.domain())).unwrap();
    let refused = park(&stranger, Wish::Park).await.map(drop).unwrap_err();
    assert!(["AUTH-001", "NET-001"].contains(&refused.code.as_str()), "{refused}");

    // There is a bound.
    let mut parked = Vec::new();
    let full = loop {
        match park(&vault, Wish::Park).await {
            Ok(stream) => parked.push(stream),
            Err(error) => break error,
        }
    };
    assert_eq!(full.code, "NET-003");
    assert!(parked.len() < 9, "{}", parked.len());

    // What is parked is cut with the pairing, and nothing more can be.
    let app = Arc::clone(&east.server.as_ref().unwrap().app().0);
    assert!(app.parking.is_caller(vault.domain()));
    let request = UnpairRequest { how: Parting::Now, dry_run: false };
    let _: UnpairReply = order(&east, paths::DOMAIN_UNPAIR, "vault", &request).await.unwrap();
    for stream in &mut parked {
        let mut byte = [0];
        let end =
            tokio::time::timeout(Duration::from_secs(5), tokio::io::AsyncReadExt::read(stream, &mut byte));
        assert!(!matches!(end.await.expect("it is cut"), Ok(1..)), "nothing is said any more");
    }
    assert!(app.parking.call(vault.domain(), Called::Api).await.is_err());
    drop(app);
    assert!(park(&vault, Wish::Park).await.is_err(), "it is not believed");
    for house in [&mut east, &mut vault, &mut west, &mut stranger] {
        house.stop().await;
    }
}

/// Goal: neither the media server that sends nor the one that receives need reach each other: both go by their primaries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn media_servers_of_both_domains_are_put_through() {
    let (mut east, mut vault) = with_vault(None).await;
    // Its own servers find it; east keeps the address where nobody listens.
    vault.move_home().await;
    let mut sends = Annex::build(&east, "m1").await;
    far_pool(&east, &sends, ("m1", "far")).await;
    let mut receives = Annex::build(&vault, "v1").await;
    let there = far_pool(&vault, &receives, ("v1", "deep")).await;
    apply(&vault, &import_to("deep")).await.unwrap();
    let name = TargetName { pool: Some("far".into()), domain: "vault".into() };
    let deep = TargetRequest { name, unit: Some("deep".into()), direction: None, ..target("pull") };
    let set: TargetInfo = east.admin().post(paths::TARGETS, &deep).await.unwrap();
    assert_eq!((set.unit.as_str(), set.direction.as_str()), ("deep", "pull"));
    let known = through("far");
    apply(&east, &ApplyRequest { text: known.text.replace("\"west\"", "\"vault\""), ..known }).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 63);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let image = grant.image.to_string();
    settled_image(&east, &image).await;
    let stored = settled_image(&vault, &image).await;
    assert_eq!(stored.copies.iter().map(|it| it.pool).collect::<Vec<_>>(), [there.pool]);
    for annex in [&mut sends, &mut receives] {
        annex.stop().await;
    }
    for house in [&mut east, &mut vault] {
        house.stop().await;
    }
}

fn app(house: &House) -> &App {
    house.server.as_ref().unwrap().app()
}

async fn row(house: &House, partner: &House) -> Partner {
    app(house).catalog.partner(partner.domain()).await.unwrap().unwrap()
}

/// What a partner says to be called in the other way from now on.
fn says(house: &House, dials_out: bool) -> ConfirmRequest {
    let (url, data_addr) = (app(house).config.url(), app(house).config.data_addr());
    ConfirmRequest { url, data_addr, is_paired: false, dials_out }
}

/// Symptom: a pause, a grant that was taken away and an unpairing were undone when they came while a partner was called back that
/// had said in which way it is called.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_ordered_while_a_vault_is_called_back_stays() {
    let (mut east, mut vault) = with_vault(None).await;
    vault.move_home().await;
    let before = row(&east, &vault).await;
    assert_eq!((before.dials, before.trust), (Dials::Partner, Trust::Complete));
    let _: DomainInfo = order(&east, paths::DOMAIN_PAUSE, "vault", &()).await.unwrap();
    let revoked = GrantRequest { grant: Vec::new(), revoke: vec!["status".into()] };
    let _: DomainInfo = order(&east, paths::DOMAIN_GRANT, "vault", &revoked).await.unwrap();
    pairing::confirm(app(&east), before.clone(), says(&vault, false)).await.unwrap();
    let now = row(&east, &vault).await;
    assert_eq!((now.dials, now.url.as_str()), (Dials::Both, vault.context.url.as_str()));
    assert!(before.grants.status && !before.paused, "what is looked at");
    assert!(now.paused, "it was paused meanwhile");
    assert!(!now.grants.status, "a grant was taken away meanwhile");

    let request = UnpairRequest { how: Parting::Now, dry_run: false };
    let parted = row(&east, &vault).await;
    let _: UnpairReply = order(&east, paths::DOMAIN_UNPAIR, "vault", &request).await.unwrap();
    assert!(pairing::confirm(app(&east), parted, says(&vault, true)).await.is_err());
    assert_eq!(row(&east, &vault).await.trust, Trust::Unpaired);
    assert!(!app(&east).parking.is_caller(vault.domain()), "it parks nothing");
    for house in [&mut east, &mut vault] {
        house.stop().await;
    }
}

/// Symptom: the other side's word that it dials ended the window of a domain that dials; and what one of the two had stored as the
/// other one's way, and that one not, nothing mended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_dials_is_said_by_who_does_and_can_be_said_again() {
    let (mut east, mut vault) = with_vault(Some("nights")).await;
    let told = pairing::confirm(app(&vault), row(&vault, &east).await, says(&east, true)).await;
    assert_eq!(told.map(drop).unwrap_err().0.code, "API-003");
    let kept = row(&vault, &east).await;
    assert_eq!((kept.dials, kept.dial_window.as_deref()), (Dials::Own, Some("nights")));

    // What is changed is told, in a window that is shut too, and the window is not given up for it.
    put_window(&vault, &shut_now()).await.unwrap();
    while app(&vault).parking.shut(east.domain()).is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let out = DialRequest { out: true, window: Some("nights".into()) };
    let info: DomainInfo = order(&vault, paths::DOMAIN_DIAL, "east", &out).await.unwrap();
    assert_eq!((info.dials.as_str(), info.dial_window.as_deref()), ("own", Some("nights")));
    while app(&vault).parking.shut(east.domain()).is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // As after an answer that was lost: only one of the two knows it.
    vault.move_home().await;
    assert!(app(&vault).parking.shut(east.domain()).is_some(), "the window is shut from the start");
    let (domain, both) = (east.domain(), PartnerOrder::Dial(Dials::Both, None));
    let turned = app(&vault).control.act(move |primary, moment| {
        Box::pin(async move { primary.order_partner(domain, both, moment).await })
    });
    app(&vault).parking.know(&turned.await.unwrap());
    assert_eq!(row(&east, &vault).await.dials, Dials::Partner);
    let request = DialRequest { out: false, window: None };
    let _: DomainInfo = order(&vault, paths::DOMAIN_DIAL, "east", &request).await.unwrap();
    assert_eq!(row(&east, &vault).await.dials, Dials::Both);
    for house in [&mut east, &mut vault] {
        house.stop().await;
    }
}

/// Symptom: whoever knew the name of the protocol held places of the API's port as if they were somebody; whoever a vault believed
/// was served by a connection that it had parked for its partner; and a partner that was silent on one was waited for for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_nobody_or_somebody_else_is_not_served() {
    let (mut east, mut vault) = with_vault(None).await;
    let (ours, theirs) = (app(&east), app(&vault));
    let to = Primary { domain: east.domain(), url: &east.context.url };
    let mut nobody =
        east.trust().first_contact_config(None, CaFingerprint(ours.authority().fingerprint().0)).unwrap();
    nobody.alpn_protocols = vec![PROTOCOL.to_vec()];
    let stream = TcpStream::connect(east.context.url.trim_start_matches("https://")).await.unwrap();
    let mut stream = over(nobody, to, stream).await.unwrap();
    let said = timeout(Duration::from_secs(5), read_answer(&mut stream)).await;
    let said = said.expect("nobody waits for what it wishes").unwrap();
    assert_eq!(said.unwrap().0, "AUTH-005");

    // A data connection that is meant for east, and for somebody else.
    for (whose, is_served) in [(east.domain(), true), (DomainId([9; 16]), false)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dialled = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let accepted = listener.accept().await.unwrap().0.into_std().unwrap();
        let plane = theirs.clone();
        let serving = tokio::spawn(async move { plane.plane.serve(whose, accepted.into()).await });
        let credentials = Credentials::new(&ours.certificates.identity().unwrap()).unwrap();
        let tls = ours.trust.client_config_of(&credentials, (vault.domain(), Whom::Primary)).unwrap();
        let there = Primary { domain: vault.domain(), url: "parked" };
        let mut stream = over(tls, there, dialled).await.unwrap();
        let mut bytes = [0; 16];
        let heard = timeout(Duration::from_secs(3), AsyncReadExt::read(&mut stream, &mut bytes)).await;
        let is_open = !matches!(heard, Ok(Ok(0) | Err(_)));
        assert_eq!(is_open, is_served, "{whose}: {heard:?}");
        drop(stream);
        serving.await.unwrap();
    }

    // It parks, is called, and says nothing more.
    let credentials = Credentials::new(&theirs.certificates.identity().unwrap()).unwrap();
    let from = Caller { trust: &theirs.trust, credentials: &credentials };
    let mut silent = dial(from, to, Wish::Park).await.unwrap();
    let (domain, url) = (vault.domain(), vault.context.url.as_str());
    let asking = timeout(PARTNER_TIME_MAX * 2, ours.partners.shown_by(domain, url, "vault"));
    let answering = async {
        while silent.read_u8().await.unwrap() != CALL {}
        Called::read(&mut silent).await.unwrap();
        silent.write_all(&[ANSWER]).await.unwrap();
        silent.flush().await.unwrap();
        silent.into_inner().0
    };
    let (asked, _held) = tokio::join!(asking, answering);
    assert_eq!(asked.expect("it is waited for for a while").unwrap_err().code, "NET-002");
    for house in [&mut east, &mut vault] {
        house.stop().await;
    }
}
