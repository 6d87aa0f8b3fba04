//! Goal: the API is never open; every kind of caller may do what is theirs and nothing else.
//! Method: real servers on loopback, real TLS, certificates of the right and of wrong CAs.

use narrows_api::{
    clients::{EnrollReply, EnrollRequest, TokenReply, TokenRequest},
    invitation::Invitation,
    paths,
    server::{Status, WhoAmI},
};
use narrows_format::ClientId;
use narrows_server::{
    certificates::time_of,
    folder::FolderError,
    pki::{
        Authority, Role,
        authority::{Validity, identity_of_pem},
    },
    run::{RunError, Server},
};
use narrows_transport::Identity;
use reqwest::Method;
use time::{Duration, OffsetDateTime};

use crate::house::House;

/// All routes with a method that they take.
const ROUTES: [(&str, Method); 61] = [
    (paths::WHOAMI, Method::GET),
    (paths::STATUS, Method::GET),
    (paths::DOCTOR, Method::POST),
    (paths::BACKUPS, Method::POST),
    (paths::RESTORES, Method::POST),
    (paths::IMAGES, Method::GET),
    (paths::IMAGE, Method::GET),
    (paths::IMAGE_BROWSE, Method::GET),
    (paths::IMAGE_FIND, Method::GET),
    (paths::IMAGE_DIFF, Method::GET),
    (paths::IMAGE_REPLICATE, Method::POST),
    (paths::IMAGE_VERIFY, Method::POST),
    (paths::IMAGE_PAUSE, Method::POST),
    (paths::IMAGE_RESUME, Method::POST),
    (paths::IMAGE_CANCEL, Method::POST),
    (paths::IMAGE_RELEASE, Method::POST),
    (paths::IMAGES_REPLICATE, Method::POST),
    (paths::IMAGES_RELEASE, Method::POST),
    (paths::IMAGES_RECALL, Method::POST),
    (paths::IMAGES_ACCEPT_LOSS, Method::POST),
    (paths::IMAGE_TIMELINE, Method::GET),
    (paths::SLPS, Method::GET),
    (paths::SLPS, Method::POST),
    (paths::SLP, Method::GET),
    (paths::DOMAINS, Method::GET),
    (paths::DOMAIN, Method::GET),
    (paths::DOMAIN_INVITE, Method::POST),
    (paths::DOMAIN_PAIR, Method::POST),
    (paths::DOMAIN_PAUSE, Method::POST),
    (paths::DOMAIN_RESUME, Method::POST),
    (paths::DOMAIN_LIMIT, Method::POST),
    (paths::DOMAIN_RECEIVE, Method::POST),
    (paths::DOMAIN_DIAL, Method::POST),
    (paths::DOMAIN_GRANT, Method::POST),
    (paths::DOMAIN_UNPAIR, Method::POST),
    (paths::EVENTS, Method::GET),
    (paths::AUDIT, Method::GET),
    (paths::TOPOLOGY, Method::GET),
    (paths::REPLICAS, Method::GET),
    (paths::CLIENTS, Method::GET),
    (paths::CLIENT_TOKENS, Method::POST),
    (paths::CLIENT_ENROLL, Method::POST),
    (paths::CLIENT_REVOKE, Method::POST),
    (paths::CLIENT_GRANT, Method::POST),
    (paths::PARTNER_LEND, Method::POST),
    (paths::JOBS, Method::GET),
    (paths::JOB, Method::GET),
    (paths::IMPORTS, Method::GET),
    (paths::IMPORTS_RETRY, Method::POST),
    (paths::PROBLEMS, Method::GET),
    (paths::PARTNER_PAIR, Method::POST),
    (paths::PARTNER_CONFIRM, Method::POST),
    (paths::PARTNER_PING, Method::GET),
    (paths::PARTNER_IMPORTS, Method::POST),
    (paths::PARTNER_REACH, Method::GET),
    (paths::PARTNER_TIMELINE, Method::POST),
    (paths::PARTNER_RECALL, Method::POST),
    (paths::POOL_DAMAGE, Method::GET),
    (paths::POOL_SCRUB, Method::POST),
    (paths::POOL_HEAL, Method::POST),
    (paths::VOLUMES, Method::GET),
];

/// Those of storage, windows, classifications, and orders about SLPs.
const ARRANGING: [(&str, Method); 20] = [
    (paths::STORAGE_UNITS, Method::GET),
    (paths::STORAGE_UNITS, Method::POST),
    (paths::STORAGE_UNIT_GROUPS, Method::GET),
    (paths::STORAGE_UNIT_GROUPS, Method::POST),
    (paths::STORAGE_REMOVE, Method::POST),
    (paths::TARGETS, Method::GET),
    (paths::TARGETS, Method::POST),
    (paths::TARGET_REMOVE, Method::POST),
    (paths::CLASSIFICATIONS, Method::GET),
    (paths::CLASSIFICATIONS, Method::POST),
    (paths::WINDOWS, Method::GET),
    (paths::WINDOWS, Method::POST),
    (paths::WINDOW, Method::GET),
    (paths::WINDOW_REMOVE, Method::POST),
    (paths::SLP_HOLD, Method::POST),
    (paths::SLP_RESUME, Method::POST),
    (paths::SLP_DELETE, Method::POST),
    (paths::SLP_MIGRATE, Method::POST),
    (paths::PARTNER_SLP_USES, Method::GET),
    (paths::CLASSIFICATION_REMOVE, Method::POST),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_is_known_by_the_token() {
    let mut house = House::build("east").await;
    let who: WhoAmI = house.admin().get(paths::WHOAMI).await.unwrap();
    assert_eq!((who.kind.as_str(), who.server_name.as_str()), ("admin", "east"));
    let status: Status = house.admin().get(paths::STATUS).await.unwrap();
    assert_eq!((status.name.as_str(), status.images), ("east", 0));
    assert_eq!(status.problems, []);

    let wrong = house.caller(None, Some("00")).get::<WhoAmI>(paths::WHOAMI).await.unwrap_err();
    assert_eq!(wrong.code, "AUTH-004");
    house.stop().await;
    house.start().await;
    house.admin().get::<WhoAmI>(paths::WHOAMI).await.unwrap();
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_route_answers_a_stranger() {
    let mut house = House::build("east").await;
    let stranger = house.caller(None, None);
    for (path, method) in ROUTES.into_iter().chain(ARRANGING) {
        let path = path.replace("{id}", "latest").replace("{name}", "east");
        for body in [&b"{}"[..], b"", b"null", b"\xff"] {
            let (status, bytes) = stranger.raw(method.clone(), &path, Some(body.to_vec())).await.unwrap();
            let text = String::from_utf8(bytes).unwrap();
            let is_open = [paths::CLIENT_ENROLL, paths::PARTNER_PAIR].contains(&path.as_str());
            let expected = if is_open { [400, 401, 415] } else { [401; 3] };
            assert!(expected.contains(&status), "{method} {path} answered {status}: {text}");
            assert!(text.contains("\"code\""), "{method} {path}: {text}");
        }
    }
    let (status, _) = stranger.raw(Method::GET, "/v1/nothing", None).await.unwrap();
    assert_eq!(status, 401, "not even that a route does not exist is told");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_does_not_rule() {
    let mut house = House::build("east").await;
    let (identity, reply) = house.enroll("web01").await;
    let client = house.caller(Some(&identity), None);
    let who: WhoAmI = client.get(paths::WHOAMI).await.unwrap();
    assert_eq!((who.kind.as_str(), who.name.as_str()), ("client", "web01"));
    assert_eq!(who.id, reply.client.to_string());
    let theirs = [paths::WHOAMI, paths::BACKUPS, paths::RESTORES, paths::CLIENT_ENROLL, paths::PARTNER_PAIR];
    for (path, method) in ROUTES.into_iter().chain(ARRANGING).filter(|(path, _)| !theirs.contains(path)) {
        let path = path.replace("{id}", "1").replace("{name}", "east");
        let (status, bytes) = client.raw(method.clone(), &path, Some(b"{}".to_vec())).await.unwrap();
        let text = String::from_utf8(bytes).unwrap();
        // A job that does not exist is no secret.
        let expected = if path.contains("/jobs/") { 404 } else { 403 };
        assert_eq!(status, expected, "{method} {path}: {text}");
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn enrolment_tokens_work_once_in_time_and_for_their_purpose() {
    let mut house = House::build("east").await;
    let asked = TokenRequest { name: Some("db".into()), expires_in_seconds: Some(60) };
    let line: TokenReply = house.admin().post(paths::CLIENT_TOKENS, &asked).await.unwrap();
    let line: Invitation = line.line.parse().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let request = EnrollRequest { token: line.token.to_string(), csr_pem: csr, name: "other".into() };
    let stranger = house.caller(None, None);

    let pairing: Invitation = house.invite().await.parse().unwrap();
    let misused = EnrollRequest { token: pairing.token.to_string(), ..request.clone() };
    let refused = stranger.post::<_, EnrollReply>(paths::CLIENT_ENROLL, &misused).await.unwrap_err();
    assert_eq!(refused.code, "AUTH-004");

    let no_csr = EnrollRequest { csr_pem: "nonsense".into(), ..request.clone() };
    let refused = stranger.post::<_, EnrollReply>(paths::CLIENT_ENROLL, &no_csr).await.unwrap_err();
    assert_eq!(refused.code, "API-001", "and the token is not spent by it");

    let reply: EnrollReply = stranger.post(paths::CLIENT_ENROLL, &request).await.unwrap();
    assert_eq!(reply.name, "db", "the token's name, not the one asked for");
    let again = stranger.post::<_, EnrollReply>(paths::CLIENT_ENROLL, &request).await.unwrap_err();
    assert_eq!(again.code, "AUTH-004");

    let asked = TokenRequest { name: None, expires_in_seconds: Some(0) };
    let line: TokenReply = house.admin().post(paths::CLIENT_TOKENS, &asked).await.unwrap();
    let line: Invitation = line.line.parse().unwrap();
    let late = EnrollRequest { token: line.token.to_string(), ..request };
    let refused = stranger.post::<_, EnrollReply>(paths::CLIENT_ENROLL, &late).await.unwrap_err();
    assert_eq!(refused.code, "AUTH-004");
    house.stop().await;
}

/// A certificate of an authority, for a client.
fn client_of(authority: &Authority, validity: Validity) -> Identity {
    let role = Role::Client(ClientId([7; 16]));
    let (certificate, key) = authority.issue_identity(&role, validity).unwrap();
    identity_of_pem(&certificate, &key, authority.der()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_of_others_expired_and_revoked_ones_are_refused() {
    let mut house = House::build("east").await;
    let elsewhere = tempfile::tempdir().unwrap();
    // Claims to be this domain, but this domain's CA has not issued it.
    let impostor = Authority::create(elsewhere.path(), house.domain(), "east").unwrap();
    let now = house.server.as_ref().unwrap().app().clock.now();
    let forged = client_of(&impostor, Validity::usual(time_of(now).unwrap()));
    let refused = house.caller(Some(&forged), None).get::<WhoAmI>(paths::WHOAMI).await.unwrap_err();
    assert_eq!(refused.code, "AUTH-001");

    let own = Authority::load(&house.data().pki(), house.domain()).unwrap();
    let now = OffsetDateTime::now_utc();
    let past = Validity { from: now - Duration::days(2), until: now - Duration::days(1) };
    let expired = client_of(&own, past);
    let refused = house.caller(Some(&expired), None).get::<WhoAmI>(paths::WHOAMI).await.unwrap_err();
    assert_eq!(refused.code, "AUTH-002");

    let (identity, _) = house.enroll("web01").await;
    let client = house.caller(Some(&identity), None);
    client.get::<WhoAmI>(paths::WHOAMI).await.unwrap();
    let serial = narrows_transport::trust::certificate_serial(&identity.chain[0]).unwrap();
    house.server.as_ref().unwrap().app().trust.revoke(house.domain(), &serial);
    let afresh = house.caller(Some(&identity), None);
    assert_eq!(afresh.get::<WhoAmI>(paths::WHOAMI).await.unwrap_err().code, "AUTH-003");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_on_the_same_folder_is_refused() {
    let mut house = House::build("east").await;
    let config = house.server.as_ref().unwrap().app().config.clone();
    let second = Server::start(&house.data(), config).await.err().unwrap();
    assert!(matches!(second, RunError::Folder(FolderError::InUse(_))), "{second}");
    house.stop().await;
}
