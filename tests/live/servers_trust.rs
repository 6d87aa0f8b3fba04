//! Goal: a media server is believed as what it is and nothing more, and its certificate goes on.
//! Method: the keys of media servers, of this domain and another, at every door; and words that no media server says.

use std::{path::Path, time::Duration};

use narrows_api::{
    media_servers::{
        DrainRequest, InviteServerReply, InviteServerRequest, JoinReply, JoinRequest, MediaServerInfo,
    },
    paths,
    server::WhoAmI,
};
use narrows_ring::cores::{Setup, block_on};
use narrows_server::{
    joined::renewal,
    servers::asked::{AdmissionWord, Answered, Asked, PeerWord, PurposeWord},
};
use narrows_transport::trust::certificate_serial;
use narrows_wire::Purpose;

use crate::{
    data::{ARENA_BYTES, ask_backup, back_up_directory, make_tree, port, restore_image, same_trees},
    house::{Caller, House},
    pairing::{apply, pair_both},
    pools::image_when,
    servers::{Annex, far_pool, invite, pool_when, server_when, to_unit},
};

/// Somebody with the certificate of a media server, at any API.
pub(crate) fn media_caller(annex: &Annex, house: &House) -> Caller {
    let chain = std::fs::read(annex.data().join("pki/server.pem")).unwrap();
    let key = std::fs::read_to_string(annex.data().join("pki/server.key")).unwrap();
    let ca = narrows_server::pki::authority::certificate_of_pem(&house.context.ca_pem).unwrap();
    let chain = String::from_utf8(chain).unwrap();
    let identity = narrows_server::pki::authority::identity_of_pem(&chain, &key, &ca).unwrap();
    house.caller(Some(&identity), None)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_media_server_is_no_administrator_no_partner_and_no_other_media_server() {
    let (mut east, mut west) = pair_both().await;
    let mut annex = Annex::build(&east, "m1").await;
    let media = media_caller(&annex, &east);
    let who: WhoAmI = media.get(paths::WHOAMI).await.unwrap();
    assert_eq!((who.kind.as_str(), who.name.as_str()), ("media-server", "m1"));
    for path in [paths::STATUS, paths::POOLS, paths::IMAGES, paths::MEDIA_SERVERS, paths::PARTNER_PING] {
        let refused = media.get::<serde_json::Value>(path).await.unwrap_err();
        assert_eq!(refused.code, "AUTH-005", "{path}: {refused}");
    }
    let drain: Result<MediaServerInfo, _> =
        media.post(&paths::MEDIA_SERVER_DRAIN.replace("{name}", "m2"), &DrainRequest::default()).await;
    assert_eq!(drain.unwrap_err().code, "AUTH-005");
    // Nobody but a media server asks, and none of another domain does.
    let (web, _) = east.enroll("web01").await;
    let here = Asked::Here { url: "https://127.0.0.1:1".into(), data_addr: "127.0.0.1:2".into() };
    for stranger in [east.admin(), east.caller(Some(&web), None)] {
        let refused = stranger.post::<_, Answered>(paths::MEDIA_ASK, &here).await.unwrap_err();
        assert_eq!(refused.code, "AUTH-005", "{refused}");
    }
    let theirs = Annex::build(&west, "w1").await;
    let joined = theirs.server.as_ref().unwrap().joined().clone();
    let foreign = narrows_server::partners::Partners::new(
        joined.trust.clone(),
        joined.credentials.clone(),
        None,
        std::sync::Arc::default(),
    );
    let pairs = east.server.as_ref().unwrap().app().authority().believed(0);
    joined.trust.set_domain(east.domain(), pairs).unwrap();
    let api = foreign.api(east.domain(), &east.context.url, "east").unwrap();
    let refused = api.post::<_, Answered>(paths::MEDIA_ASK, &here).await.unwrap_err();
    assert_eq!(refused.code, "AUTH-005", "{refused}");
    let refused = api.get::<serde_json::Value>(paths::PARTNER_PING).await.unwrap_err();
    assert_eq!(refused.code, "AUTH-005", "a partner's media server is not the partner: {refused}");

    let mut theirs = theirs;
    drop(joined);
    for annex in [&mut annex, &mut theirs] {
        annex.stop().await;
    }
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_media_server_is_given_what_concerns_its_own_pools() {
    let mut east = House::build("east").await;
    let (mut annex, mut other) = (Annex::build(&east, "m1").await, Annex::build(&east, "m2").await);
    let far = far_pool(&east, &annex, ("m1", "far")).await;
    let (web, _) = east.enroll("web01").await;
    // Whatever it says, the primary answers that and goes on.
    let wild = media_caller(&other, &east);
    for body in ["", "{", "[]", "{\"ask\":\"forget\",\"ticket\":\"zz\",\"image\":1}", "\u{0}\u{7f}"] {
        let (status, _) = wild.raw(reqwest::Method::POST, paths::MEDIA_ASK, Some(body.into())).await.unwrap();
        assert_eq!(status, 400, "{body:?}");
    }
    let endless = vec![b'['; narrows_api::limits::BODY_BYTES_MAX + 1];
    let refused = wild.raw(reqwest::Method::POST, paths::MEDIA_ASK, Some(endless)).await;
    assert!(refused.is_err() || refused.is_ok_and(|(status, _)| status == 400 || status == 413));
    // What was not allowed to it can't be sealed, and it is given nothing for a pool of another.
    let m2 = other.server.as_ref().unwrap().joined().clone();
    let admission: AdmissionWord = serde_json::from_value(serde_json::json!({
        "kind": "replica", "image": far.pool.to_string(), "sender": far.pool.to_string(),
        "pool": far.pool.to_string()}))
    .unwrap();
    let facts = serde_json::from_value(serde_json::json!({"signed": "AAAA"})).unwrap();
    let copy =
        serde_json::from_value(serde_json::json!({"expires": null, "locked_until": null, "held": false}))
            .unwrap();
    let seal = Asked::Seal { admission, facts, copy, import_slp: String::new() };
    assert_eq!(m2.ask(&seal).await.unwrap_err().code, "NET-003");
    apply(&east, &to_unit("far")).await.unwrap();
    let grant = ask_backup(&east, &web, Path::new("/etc")).await.unwrap();
    let begin = Asked::Begin {
        peer: PeerWord::Client { domain: east.domain(), client: grant.client },
        purpose: PurposeWord::Backup,
        ticket: grant.ticket,
        skew_ms: 0,
        image: grant.image,
        origin: east.domain(),
    };
    assert_eq!(m2.ask(&begin).await.unwrap_err().code, "NET-003", "the pool is m1's");

    // And nobody but the primary orders a media server about.
    let order = format!("https://{}", annex.server.as_ref().unwrap().joined().config.api_addr());
    let as_m2 = narrows_server::servers::link::Link::new(
        narrows_domain::storage::MediaServer {
            id: annex.server.as_ref().unwrap().joined().member.server,
            name: "m1".into(),
            url: order,
            data_address: String::new(),
            serial: String::new(),
            joined: narrows_format::Timestamp { seconds: 0, nanos: 0 },
            draining: None,
            certificate_until: None,
        },
        east.domain(),
        &m2.trust,
        &m2.credentials,
    )
    .unwrap();
    assert_eq!(as_m2.standing(far.pool).await.unwrap_err().code, "AUTH-005");

    drop(m2);
    for annex in [&mut annex, &mut other] {
        annex.stop().await;
    }
    east.stop().await;
}

/// Goal: who has the key of one media server can't take what is sent to another, or to the primary.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_of_a_media_server_is_believed_at_its_own_data_port_only() {
    let mut east = House::build("east").await;
    let (mut annex, mut other) = (Annex::build(&east, "m1").await, Annex::build(&east, "m2").await);
    far_pool(&east, &annex, ("m1", "far")).await;
    let (web, _) = east.enroll("web01").await;
    apply(&east, &to_unit("far")).await.unwrap();
    let grant = ask_backup(&east, &web, Path::new("/etc")).await.unwrap();
    let of = |annex: &Annex| annex.server.as_ref().unwrap().joined().member.server;
    assert_eq!(grant.data_server, Some(of(&annex)), "what is allowed names who is to be met");
    let at = |annex: &Annex| annex.server.as_ref().unwrap().joined().config.data_addr();
    for (address, whom, why) in [
        (at(&other), Some(of(&annex)), "another media server in its place"),
        (at(&other), None, "a media server in the primary's place"),
        (
            east.server.as_ref().unwrap().app().config.data_addr(),
            Some(of(&annex)),
            "the primary in its place",
        ),
    ] {
        let port = port(&east, &web, (&address, whom), grant.ticket.0);
        let met = tokio::task::spawn_blocking(move || {
            block_on(Setup::here(ARENA_BYTES), |world| async move {
                port.dial(&world, Purpose::Backup)
                    .await
                    .map(drop)
                    .map_err(|error| error.code().map(str::to_owned))
            })
        });
        assert_eq!(met.await.unwrap().unwrap(), Err(Some("AUTH-006".to_owned())), "{why}");
    }
    for annex in [&mut annex, &mut other] {
        annex.stop().await;
    }
    east.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_joins_once_and_one_for_something_else_does_not() {
    let mut east = House::build("east").await;
    let mut annex = Annex::build(&east, "m1").await;
    // A token joins once, and one for something else does not.
    let line = invite(&east, "m3").await.unwrap();
    assert_eq!(invite(&east, "m1").await.unwrap_err().code, "API-003");
    assert_eq!(invite(&east, "primary").await.unwrap_err().code, "API-003");
    let (_, token) = line.token.split_once('.').unwrap();
    let bad = JoinRequest {
        token: token.into(),
        csr_pem: "no request".into(),
        url: "https://127.0.0.1:1".into(),
        data_addr: "127.0.0.1:2".into(),
        name: None,
    };
    let stranger = east.caller(None, None);
    let refused = stranger.post::<_, JoinReply>(paths::MEDIA_SERVER_JOIN, &bad).await.unwrap_err();
    assert_eq!(refused.code, "API-001", "{refused}");
    let none = JoinRequest { token: "00".repeat(32), ..bad };
    let refused = stranger.post::<_, JoinReply>(paths::MEDIA_SERVER_JOIN, &none).await.unwrap_err();
    assert_eq!(refused.code, "AUTH-004", "{refused}");
    annex.stop().await;
    east.stop().await;
}

/// Joins again, with the folder that it has or a fresh one.
async fn join_again(annex: &mut Annex, house: &House, name: &str, folder: &str) -> Result<(), String> {
    let request = InviteServerRequest { name: name.to_owned(), again: true, expires_in_seconds: None };
    let line: InviteServerReply = house.admin().post(paths::MEDIA_SERVER_INVITE, &request).await.unwrap();
    annex.join_by(&line.line, folder).await.map(drop).map_err(|error| format!("{error:?}"))
}

/// Goal: a media server that lost its key or all of its folder joins again and has its name and its pools; whoever has what
/// it lost is nobody, also after a start of the primary.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_media_server_that_lost_its_key_or_its_folder_joins_again() {
    let mut east = House::build("east").await;
    let (mut annex, mut other) = (Annex::build(&east, "m1").await, Annex::build(&east, "m2").await);
    let far = far_pool(&east, &annex, ("m1", "far")).await;
    apply(&east, &to_unit("far")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 41);
    let (web, _) = east.enroll("web01").await;
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let image = grant.image.to_string();
    image_when(&east, &image, |it| it.state == "whole" || it.copies.len() == 1).await;
    let absent = InviteServerRequest { name: "m9".to_owned(), again: true, expires_in_seconds: None };
    let refused = east.admin().post::<_, InviteServerReply>(paths::MEDIA_SERVER_INVITE, &absent).await;
    assert_eq!(refused.unwrap_err().code, "SLP-013");

    for folder in ["data", "fresh"] {
        let thief = media_caller(&annex, &east);
        annex.stop().await;
        if folder == "data" {
            std::fs::remove_file(annex.path("data/pki/server.key")).unwrap();
            // A folder of one is not made that of another.
            let refused = join_again(&mut annex, &east, "m2", folder).await.unwrap_err();
            assert!(refused.contains("API-003"), "{refused}");
        }
        join_again(&mut annex, &east, "m1", folder).await.unwrap();
        annex.start().await;
        server_when(&east, "m1", "up").await;
        let there = pool_when(&east, "far", |it| it.code.is_empty() && it.readable).await;
        assert_eq!((there.pool, there.server.as_str()), (far.pool, "m1"));
        let back = tempfile::tempdir().unwrap();
        restore_image(&east, &web, &image, back.path()).await.unwrap();
        same_trees(files.path(), back.path());
        back_up_directory(&east, &web, files.path()).await;
        for _ in 0..2 {
            assert_eq!(thief.get::<WhoAmI>(paths::WHOAMI).await.unwrap_err().code, "AUTH-003");
            east.stop().await;
            east.start().await;
        }
        server_when(&east, "m1", "up").await;
        server_when(&east, "m2", "up").await;
        pool_when(&east, "far", |it| it.code.is_empty() && it.readable).await;
    }
    for annex in [&mut annex, &mut other] {
        annex.stop().await;
    }
    east.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificate_of_a_media_server_and_its_domains_ca_are_renewed() {
    let mut east = House::build("east").await;
    let mut annex = Annex::build(&east, "m1").await;
    far_pool(&east, &annex, ("m1", "far")).await;
    let joined = annex.server.as_ref().unwrap().joined().clone();
    let serial = |joined: &narrows_server::joined::Joined| {
        certificate_serial(&joined.credentials.leaf().unwrap()).unwrap()
    };
    let before = serial(&joined);
    renewal::renew(&joined).await.unwrap();
    assert_ne!(serial(&joined), before);
    let renew = narrows_api::certificates::RenewRequest { ca: true, force: false };
    let _: serde_json::Value = east.admin().post(paths::CERTIFICATES_RENEW, &renew).await.unwrap();
    let believed = east.server.as_ref().unwrap().app().authority().believed(0);
    for _ in 0..1200 {
        if joined.trust.certificates_of(east.domain()) == believed {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(joined.trust.certificates_of(east.domain()), believed, "the new CA is believed");
    drop(joined);
    // Each starts with what it has kept, and they know each other.
    annex.stop().await;
    east.stop().await;
    annex.start().await;
    east.start().await;
    server_when(&east, "m1", "up").await;
    pool_when(&east, "far", |it| it.code.is_empty()).await;
    annex.stop().await;
    east.stop().await;
}
