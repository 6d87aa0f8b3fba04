//! Goal: TOPO-001 is raised wherever what stores for one domain would come to receive for another.
//! Method: real servers; what a partner or a media server says of itself is forged, as nothing honest says it.

use narrows_api::{
    ApiError, Hex,
    invitation::Invitation,
    media_servers::{JoinReply, JoinRequest},
    partner::Introduction,
    paths,
    server::{DoctorReport, DoctorRequest, Finding},
};
use narrows_domain::{
    Catalog as _, Change,
    partner::{Partner, ReceivePool},
};
use narrows_format::DomainId;
use narrows_server::{pki::Authority, servers::asked::Asked};
use rcgen::{CertificateParams, KeyPair};

use crate::{
    house::House,
    pairing::pair_both,
    servers::{Annex, invite},
};

/// What east believes of west while west says that one of east's pools receives there.
pub(crate) async fn with_shared_pool<T>(east: &House, west: &House, meanwhile: impl AsyncFnOnce() -> T) -> T {
    let app = east.server.as_ref().unwrap().app().clone();
    let partner = app.catalog.partner(west.domain()).await.unwrap().unwrap();
    let pool = ReceivePool { pool: app.who.pool, incarnation: 1 };
    let claimed = Partner { receive_pool: Some(pool), ..partner.clone() };
    app.control.put(vec![Change::Partner(claimed)]).await.unwrap();
    let met = meanwhile().await;
    app.control.put(vec![Change::Partner(partner)]).await.unwrap();
    met
}

/// A domain that nobody knows wants to be paired with east, and says that it receives with this.
async fn introduced(
    east: &House,
    data_addr: Option<String>,
    shares_pool: bool,
) -> Result<Introduction, ApiError> {
    let folder = tempfile::tempdir().unwrap();
    let (domain, line): (_, Invitation) = (DomainId([77; 16]), east.invite().await.parse().unwrap());
    let authority = Authority::create(folder.path(), domain, "mars").unwrap();
    let receive_pool = east.server.as_ref().unwrap().app().receive_pool("default").await.unwrap();
    let elsewhere =
        narrows_api::partner::ReceivePool { pool: narrows_format::PoolId([77; 16]), ..receive_pool };
    let introduction = Introduction {
        token: Some(line.token),
        domain,
        name: "mars".to_owned(),
        incarnation: 1,
        url: "https://mars.example:7400".to_owned(),
        data_addr: data_addr.unwrap_or_else(|| "mars.example:7401".to_owned()),
        ca_pem: authority.pem().to_owned(),
        signing_key: Hex([7; 32]),
        receive_pool: if shares_pool { receive_pool } else { elsewhere },
        dials_out: false,
    };
    east.caller(None, None).post(paths::PARTNER_PAIR, &introduction).await
}

/// East is introduced to a domain that receives at east's own data port.
pub(crate) async fn meets_own_port(east: &House) -> Option<ApiError> {
    let own = east.server.as_ref().unwrap().app().config.data_addr();
    introduced(east, Some(own), false).await.err()
}

/// East is introduced to a domain that receives with a pool of east's.
pub(crate) async fn meets_own_pool(east: &House) -> Option<ApiError> {
    introduced(east, None, true).await.err()
}

/// A media server wants to join east, and stores where west receives.
pub(crate) async fn joins_as_partners(east: &House, west: &House) -> Option<ApiError> {
    let line: Invitation = invite(east, "theirs").await.unwrap().line.parse().unwrap();
    let key = KeyPair::generate().unwrap();
    let request = JoinRequest {
        token: line.token.to_string(),
        csr_pem: CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap(),
        url: "https://theirs.example:7400".to_owned(),
        data_addr: west.server.as_ref().unwrap().app().config.data_addr(),
        name: None,
    };
    let joined: Result<JoinReply, _> = east.caller(None, None).post(paths::MEDIA_SERVER_JOIN, &request).await;
    joined.err()
}

/// Goal: a media server does not move to where a partner receives, a domain that receives at a media server's port is not
/// paired with, and a partner that says so of itself later is a problem on the side that knows it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storage_servers_of_two_domains_are_kept_apart() {
    let (mut east, mut west) = pair_both().await;
    let mut annex = Annex::build(&east, "m1").await;
    let joined = annex.server.as_ref().unwrap().joined().clone();
    let (url, own) = (joined.config.url(), joined.config.data_addr());
    let theirs = west.server.as_ref().unwrap().app().config.data_addr();
    let moved = joined.ask(&Asked::Here { url: url.clone(), data_addr: theirs }).await.unwrap_err();
    assert_eq!(moved.code, "TOPO-001", "{moved}");
    joined.ask(&Asked::Here { url, data_addr: own.clone() }).await.unwrap();
    drop(joined);

    let by_name = own.replace("127.0.0.1", "localhost");
    let refused = introduced(&east, Some(by_name), false).await.unwrap_err();
    assert!(refused.code == "TOPO-001" && refused.message.contains("media server `m1`"), "{refused}");
    let refused = introduced(&east, Some(own), false).await.unwrap_err();
    assert!(refused.code == "TOPO-001" && refused.message.contains("media server `m1`"), "{refused}");
    introduced(&east, None, false).await.unwrap();

    with_shared_pool(&east, &west, async || {
        let problems: Vec<Finding> = east.admin().get(paths::PROBLEMS).await.unwrap();
        let told = problems.iter().find(|it| it.code == "TOPO-001").unwrap();
        assert_eq!((told.side.as_str(), told.check.as_str()), ("west", "storage"), "{told:?}");
        let asked = DoctorRequest { domain: Some("west".to_owned()) };
        let doctor: DoctorReport = east.admin().post(paths::DOCTOR, &asked).await.unwrap();
        assert!(doctor.findings.contains(told), "{doctor:?}");
    })
    .await;
    annex.stop().await;
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}
