//! Goal: trust between two domains is made in both directions or not at all, and only by who was invited.
//! Method: pairs of real servers on loopback.

use narrows_api::{
    ApiError, Hex,
    domains::{DomainInfo, PairRequest},
    invitation::Invitation,
    partner::Introduction,
    paths,
    server::{DoctorReport, DoctorRequest, Level},
    slps::{ApplyReply, ApplyRequest, Format},
};
use narrows_domain::{Catalog as _, partner::Trust};
use narrows_server::pki::Authority;

use crate::house::{House, with_wrong_fingerprint};

pub(crate) async fn pair_both() -> (House, House) {
    let (east, west) = (House::build("east").await, House::build("west").await);
    let info = west.pair(&east.invite().await).await.unwrap();
    assert_eq!((info.name.as_str(), info.state.as_str()), ("east", "paired"));
    (east, west)
}

pub(crate) async fn doctor(house: &House) -> DoctorReport {
    house.admin().post(paths::DOCTOR, &DoctorRequest::default()).await.unwrap()
}

pub(crate) fn slp(target: &str) -> ApplyRequest {
    let text = format!(
        "name = \"gold\"\n[[operation]]\nid = \"backup\"\nkind = \"backup\"\nstorage = \"default\"\n\
         retention = {{ fixed = \"30d\" }}\n[[operation]]\nid = \"copy\"\nkind = \"replication\"\n\
         source = \"backup\"\ntarget = {{ domain = \"{target}\", import_slp = \"gold-import\" }}\n\
         retention = {{ fixed = \"90d\" }}\n"
    );
    request(text)
}

pub(crate) fn import_slp() -> ApplyRequest {
    request(
        "name = \"gold-import\"\n[[operation]]\nid = \"import\"\nkind = \"import\"\nstorage = \"default\"\n\
         retention = { target = {}, at_least = \"14d\", at_most = \"1y\" }\n"
            .to_owned(),
    )
}

/// Backups only.
pub(crate) fn local_slp() -> ApplyRequest {
    request(
        "name = \"gold\"\n[[operation]]\nid = \"backup\"\nkind = \"backup\"\nstorage = \"default\"\n\
         retention = { fixed = \"30d\" }\n"
            .to_owned(),
    )
}

/// An SLP's text as it is sent.
pub(crate) fn request(text: String) -> ApplyRequest {
    ApplyRequest {
        text,
        format: Format::Toml,
        file: "gold.toml".into(),
        plan: false,
        unverified: false,
        accept_no_local_copy: false,
        in_place: false,
    }
}

pub(crate) async fn apply(house: &House, request: &ApplyRequest) -> Result<ApplyReply, ApiError> {
    house.admin().post(paths::SLPS, request).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_know_each_other_afterwards_and_after_a_restart() {
    let (mut east, mut west) = pair_both().await;
    let seen = east.partner("west").await.unwrap();
    assert_eq!((seen.state.as_str(), seen.domain), ("paired", west.domain()));
    for house in [&east, &west] {
        let report = doctor(house).await;
        let bad: Vec<_> = report.findings.iter().filter(|it| it.level == Level::Error).collect();
        assert!(report.healthy, "{bad:?}");
    }
    east.stop().await;
    east.start().await;
    assert!(doctor(&west).await.healthy);
    assert!(doctor(&east).await.healthy);
    east.stop().await;
    let report = doctor(&west).await;
    let down = report.findings.iter().find(|it| it.level == Level::Error).unwrap();
    assert_eq!(
        (down.check.as_str(), down.side.as_str(), down.code.as_str()),
        ("reachable", "east", "NET-001")
    );
    west.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_fingerprint_and_a_used_token_are_refused() {
    let (mut east, mut west) = (House::build("east").await, House::build("west").await);
    let line = east.invite().await;
    let refused = west.pair(&with_wrong_fingerprint(&line)).await.unwrap_err();
    assert_eq!(refused.code, "AUTH-006");
    assert_eq!(west.partner("east").await.unwrap_err().code, "API-002", "nothing was stored");

    west.pair(&line).await.unwrap();
    let mut third = House::build("north").await;
    let replayed = third.pair(&line).await.unwrap_err();
    assert_eq!(replayed.code, "AUTH-004");
    assert_eq!(third.partner("east").await.unwrap_err().code, "API-002");

    let enrolment = line.replace("narrows-pair", "narrows-enroll");
    assert_eq!(third.pair(&enrolment).await.unwrap_err().code, "API-001");
    for house in [&mut east, &mut west, &mut third] {
        house.stop().await;
    }
}

/// Goal: a token to pair with is no way to become somebody who is known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_becomes_a_known_domain_by_an_invitation() {
    let (mut east, mut west) = pair_both().await;
    let app = east.server.as_ref().unwrap().app().clone();
    let known = app.catalog.partner(west.domain()).await.unwrap().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let forged = Authority::create(folder.path(), west.domain(), "west").unwrap();
    let claim = async |ca_pem: String, signing_key: [u8; 32]| {
        let line: Invitation = east.invite().await.parse().unwrap();
        let claim = Introduction {
            token: Some(line.token),
            domain: known.domain,
            name: "elsewhere".to_owned(),
            incarnation: known.incarnation + 7,
            url: "https://127.0.0.1:9".to_owned(),
            data_addr: "127.0.0.1:10".to_owned(),
            ca_pem,
            signing_key: Hex(signing_key),
            receive_pool: west.server.as_ref().unwrap().app().receive_pool("default").await.unwrap(),
            dials_out: false,
        };
        east.caller(None, None).post::<_, Introduction>(paths::PARTNER_PAIR, &claim).await
    };
    // Its CA is no secret, and its public key is none: with both there is nothing new to believe.
    let both = format!("{}{}", known.ca_pem, forged.pem());
    assert_eq!(claim(both.clone(), [9; 32]).await.unwrap_err().code, "TRUST-003");
    assert_eq!(claim(forged.pem().to_owned(), known.signing_key).await.unwrap_err().code, "TRUST-003");
    claim(both, known.signing_key).await.unwrap();
    let now = app.catalog.partner(west.domain()).await.unwrap().unwrap();
    assert_eq!(now, known, "it goes on as it was");
    assert_eq!(east.partner("west").await.unwrap().state, "paired");
    assert!(!app.trust.certificates_of(west.domain()).contains(forged.der()));
    drop(app);
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_unique() {
    let (mut east, mut west) = pair_both().await;
    let mut other = House::build("west").await;
    let taken = other.pair(&east.invite().await).await.unwrap_err();
    assert_eq!(taken.code, "TRUST-002", "east knows a west already");
    let mut third = House::build("east").await;
    let taken = west.pair(&third.invite().await).await.unwrap_err();
    assert_eq!(taken.code, "TRUST-002", "west knows an east already");
    let request =
        PairRequest { line: third.invite().await, alias: Some("east2".into()), ..PairRequest::default() };
    let aliased: DomainInfo = west.admin().post(paths::DOMAIN_PAIR, &request).await.unwrap();
    assert_eq!((aliased.name.as_str(), aliased.state.as_str()), ("east2", "paired"));
    for house in [&mut east, &mut west, &mut other, &mut third] {
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_made_pairing_is_listed_refused_and_completed_later() {
    // East can't call back: west says that it is reached where nobody listens.
    let (mut east, mut west) = (House::build("east").await, House::build_elsewhere("west").await);
    let error = west.pair(&east.invite().await).await.unwrap_err();
    assert_eq!(error.code, "TRUST-001", "{error}");
    for (house, name) in [(&east, "west"), (&west, "east")] {
        assert_eq!(house.partner(name).await.unwrap().state, "half-paired");
    }
    assert!(!doctor(&west).await.healthy);
    let refused = apply(&west, &slp("east")).await.unwrap_err();
    assert_eq!(refused.code, "TRUST-001");

    west.move_home().await;
    let mended = west.pair(&east.invite().await).await.unwrap();
    assert_eq!(mended.state, "paired");
    assert_eq!(east.partner("west").await.unwrap().state, "paired");
    let app = east.server.as_ref().unwrap().app().clone();
    assert!(app.control.may_send(west.domain()).await.is_ok_and(|it| it.trust == Trust::Complete));
    drop(app);
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_slp_is_checked_at_both_ends() {
    let (mut east, mut west) = pair_both().await;
    let refused = apply(&east, &slp("nowhere")).await.unwrap_err();
    assert!(["SLP-008", "SLP-013"].contains(&refused.code.as_str()), "{refused}");
    let refused = apply(&east, &slp("west")).await.unwrap_err();
    assert_eq!(refused.code, "SLP-008", "the import SLP is not there yet: {refused}");
    assert_eq!(refused.place, "gold.toml: operation 2, field `target.import_slp`");

    assert_eq!(apply(&west, &import_slp()).await.unwrap().change, "created");
    let applied = apply(&east, &slp("west")).await.unwrap();
    assert_eq!((applied.change.as_str(), applied.slp.version), ("created", 1));
    assert_eq!(apply(&east, &slp("west")).await.unwrap().change, "unchanged");
    let report = doctor(&east).await;
    assert!(report.healthy, "{report:?}");
    assert!(report.findings.iter().any(|it| it.check == "slp gold -> gold-import" && it.level == Level::Ok));
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}
