//! Goal: a client is the same under another name and with another certificate; what it had before is kept, and is not
//! believed.
//! Method: a running server, renamed and replaced clients, and connections of the old certificate that stay open.

use std::time::Duration;

use narrows_agent::{
    context::Contexts,
    renewal::{Standing, wall},
};
use narrows_api::{
    ApiError,
    agent::NextRequest,
    clients::{
        ClientInfo, EnrollReply, EnrollRequest, RenameRequest, RenewRequest, TokenReply, TokenRequest,
    },
    context::Context,
    images::ImageInfo,
    invitation::Invitation,
    paths,
    policies::PolicyInfo,
    server::{Finding, Level, WhoAmI},
};
use narrows_server::pki::authority::{certificate_of_pem, identity_of_pem};
use narrows_transport::Identity;
use rcgen::{CertificateParams, KeyPair};

use crate::{
    data::{back_up_directory, make_tree, settled_image},
    house::House,
    pairing::{apply, local_slp},
    policies::put_policy,
};

async fn rename(house: &House, old: &str, new: &str) -> Result<ClientInfo, ApiError> {
    let request = RenameRequest { name: new.to_owned() };
    house.admin().post(&paths::CLIENT_RENAME.replace("{name}", old), &request).await
}

async fn images_of(house: &House, client: &str) -> Vec<ImageInfo> {
    house.admin().get(&format!("{}?client={client}", paths::IMAGES)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_client_keeps_its_images_and_its_policies() {
    let mut east = House::build("east").await;
    apply(&east, &local_slp()).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 12);
    let (web, reply) = east.enroll("web01").await;
    let text = format!(
        "name = \"nightly\"\nclients = [\"web01\"]\npaths = [\"{}\"]\nslp = \"gold\"\n",
        files.path().display()
    );
    put_policy(&east, &text).await.unwrap();
    let (first, _) = back_up_directory(&east, &web, files.path()).await;
    settled_image(&east, &first.image.to_string()).await;

    east.enroll("web02").await;
    assert_eq!(rename(&east, "web01", "web02").await.unwrap_err().code, "API-003");
    assert_eq!(rename(&east, "web01", "no name").await.unwrap_err().code, "API-001");
    assert_eq!(rename(&east, "nobody", "www01").await.unwrap_err().code, "SLP-013");
    let renamed = rename(&east, "web01", "www01").await.unwrap();
    assert_eq!((renamed.client, renamed.former_names[0].name.as_str()), (reply.client, "web01"));
    assert_eq!(renamed.policies, ["nightly"]);
    assert_eq!(renamed.former_names[0].from, renamed.enrolled);
    let policy: PolicyInfo = east.admin().get(&paths::POLICY.replace("{name}", "nightly")).await.unwrap();
    assert_eq!(policy.clients, ["www01"]);
    east.advance(Duration::from_mins(1)).await;
    let (second, _) = back_up_directory(&east, &web, files.path()).await;
    settled_image(&east, &second.image.to_string()).await;
    assert_eq!(second.lineage, first.lineage, "it is the same client");

    // Under its old name are the images of then, under its new one all of them.
    let labels = |images: Vec<ImageInfo>| images.into_iter().map(|it| it.image).collect::<Vec<_>>();
    assert_eq!(labels(images_of(&east, "web01").await), [first.image]);
    assert_eq!(labels(images_of(&east, "www01").await), [second.image, first.image]);
    // Somebody else may have the old name: whose images are whose is told by the client.
    rename(&east, "web02", "web01").await.unwrap();
    assert_eq!(labels(images_of(&east, "web01").await), [first.image]);
    let back = rename(&east, "www01", "web03").await.unwrap();
    let names: Vec<_> = back.former_names.iter().map(|former| former.name.as_str()).collect();
    assert_eq!(names, ["web01", "www01"]);
    assert_eq!(back.former_names[1].from, back.former_names[0].until);
    east.stop().await;
}

/// Uses a line on another machine.
async fn enroll_by(house: &House, line: &str) -> Result<(Identity, EnrollReply), ApiError> {
    let line: Invitation = line.parse().unwrap();
    let key = KeyPair::generate().unwrap();
    let csr_pem = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let request = EnrollRequest { token: line.token.to_string(), csr_pem, name: "ignored".to_owned() };
    let reply: EnrollReply = house.caller(None, None).post(paths::CLIENT_ENROLL, &request).await?;
    let ca = certificate_of_pem(&reply.ca_pem).unwrap();
    Ok((identity_of_pem(&reply.certificate_pem, &key.serialize_pem(), &ca).unwrap(), reply))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_certificate_is_believed_no_more_and_its_connections_end() {
    let mut east = House::build("east").await;
    let (old, enrolled) = east.enroll("web01").await;
    let open = east.caller(Some(&old), None);
    let who: WhoAmI = open.get(paths::WHOAMI).await.unwrap();
    assert_eq!(who.name, "web01");
    let path = paths::CLIENT_REPLACE.replace("{name}", "web01");
    let line: TokenReply = east.admin().post(&path, &()).await.unwrap();
    open.get::<WhoAmI>(paths::WHOAMI).await.unwrap();
    // An agent waits for work on the old certificate meanwhile.
    let waiting = tokio::spawn({
        let agent = east.caller(Some(&old), None);
        async move {
            let asked = NextRequest { session: 1, wait_seconds: 30 };
            agent.post::<_, Option<narrows_api::agent::RunOrder>>(paths::AGENT_NEXT, &asked).await
        }
    });
    let (new, reply) = enroll_by(&east, &line.line).await.unwrap();
    assert_eq!((reply.client, reply.name.as_str()), (enrolled.client, "web01"));
    assert!(waiting.await.unwrap().is_err(), "its connection is cut");
    // The connection may be found cut under the request; a new one hears why.
    let cut = open.get::<WhoAmI>(paths::WHOAMI).await.unwrap_err().code;
    assert!(["NET-001", "AUTH-003"].contains(&cut.as_str()), "{cut}");
    let again = east.caller(Some(&old), None).get::<WhoAmI>(paths::WHOAMI).await.unwrap_err();
    assert_eq!(again.code, "AUTH-003");
    let who: WhoAmI = east.caller(Some(&new), None).get(paths::WHOAMI).await.unwrap();
    assert_eq!(who.id, enrolled.client.to_string());
    assert_eq!(enroll_by(&east, &line.line).await.err().unwrap().code, "AUTH-004", "a line works once");

    east.restart_with(|_| {}).await;
    let refused = east.caller(Some(&old), None).get::<WhoAmI>(paths::WHOAMI).await.unwrap_err();
    assert_eq!(refused.code, "AUTH-003");
    east.caller(Some(&new), None).get::<WhoAmI>(paths::WHOAMI).await.unwrap();
    let shown: ClientInfo = east.admin().get(&paths::CLIENT.replace("{name}", "web01")).await.unwrap();
    assert_eq!((shown.former_certificates, shown.revoked), (1, None));
    east.stop().await;
}

/// Goal: a client whose machine is in wrong hands is nobody at once, also after a start, until it is given another certificate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_client_is_nobody_until_it_is_replaced() {
    let mut east = House::build("east").await;
    let (old, enrolled) = east.enroll("web01").await;
    let open = east.caller(Some(&old), None);
    open.get::<WhoAmI>(paths::WHOAMI).await.unwrap();
    let path = paths::CLIENT_REVOKE.replace("{name}", "web01");
    let none = east.admin().post::<_, ClientInfo>(&path.replace("web01", "web09"), &()).await;
    assert_eq!(none.unwrap_err().code, "SLP-013");
    let first: ClientInfo = east.admin().post(&path, &()).await.unwrap();
    let again: ClientInfo = east.admin().post(&path, &()).await.unwrap();
    assert!(first.revoked.is_some() && first.revoked == again.revoked, "{first:?} {again:?}");
    let cut = open.get::<WhoAmI>(paths::WHOAMI).await.unwrap_err().code;
    assert!(["NET-001", "AUTH-003"].contains(&cut.as_str()), "{cut}");
    for _ in 0..2 {
        let refused = east.caller(Some(&old), None).get::<WhoAmI>(paths::WHOAMI).await.unwrap_err();
        assert_eq!(refused.code, "AUTH-003");
        east.restart_with(|_| {}).await;
    }
    let replace = paths::CLIENT_REPLACE.replace("{name}", "web01");
    let line: TokenReply = east.admin().post(&replace, &()).await.unwrap();
    let (new, reply) = enroll_by(&east, &line.line).await.unwrap();
    assert_eq!(reply.client, enrolled.client);
    east.caller(Some(&new), None).get::<WhoAmI>(paths::WHOAMI).await.unwrap();
    let refused = east.caller(Some(&old), None).get::<WhoAmI>(paths::WHOAMI).await.unwrap_err();
    assert_eq!(refused.code, "AUTH-003");
    let shown: ClientInfo = east.admin().get(&paths::CLIENT.replace("{name}", "web01")).await.unwrap();
    assert_eq!((shown.former_certificates, shown.revoked), (1, None));
    east.stop().await;
}

const DAY: Duration = Duration::from_hours(24);

/// A client's clock when two thirds of its certificate's two years are over.
fn after_two_thirds() -> i64 {
    wall() + 490 * 86_400
}

/// What is kept of a client on its machine, and how it speaks at a time.
fn kept(house: &House, folder: &std::path::Path, reply: &EnrollReply, key_pem: String) -> Contexts {
    let contexts = Contexts::at(folder.to_path_buf());
    let bare = Context { token: None, ..house.context.clone() };
    contexts.add("east", &bare).unwrap();
    let credentials = Context {
        name: reply.name.clone(),
        certificate_pem: Some(reply.certificate_pem.clone()),
        key_pem: Some(key_pem),
        ..bare
    };
    contexts.add_client("east", &reply.name, &credentials).unwrap();
    contexts
}

fn identity(credentials: &Context) -> Identity {
    let ca = certificate_of_pem(&credentials.ca_pem).unwrap();
    let (certificate, key) = (credentials.certificate_pem.as_ref(), credentials.key_pem.as_ref());
    identity_of_pem(certificate.unwrap(), key.unwrap(), &ca).unwrap()
}

async fn about_its_certificate(house: &House) -> Option<Finding> {
    let problems: Vec<Finding> = house.admin().get(paths::PROBLEMS).await.unwrap();
    problems.into_iter().find(|problem| problem.check == "certificate of client web01")
}

/// Goal: a client's certificate is renewed by the client before it ends, a lost answer costs nothing, and one that was
/// replaced renews nothing any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_certificate_is_renewed_and_the_one_before_holds_until_it_ends() {
    let mut east = House::build("east").await;
    apply(&east, &local_slp()).await.unwrap();
    let asked = TokenRequest::default();
    let line: TokenReply = east.admin().post(paths::CLIENT_TOKENS, &asked).await.unwrap();
    let (csr_pem, key) = narrows_agent::renewal::signing_request().unwrap();
    let token = line.line.parse::<Invitation>().unwrap().token.to_string();
    let request = EnrollRequest { token, csr_pem, name: "web01".to_owned() };
    let reply: EnrollReply = east.caller(None, None).post(paths::CLIENT_ENROLL, &request).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let contexts = kept(&east, folder.path(), &reply, key);
    let old = contexts.client("east", None).unwrap();
    let speak = async |clock: fn() -> i64| {
        let standing =
            Standing { contexts: contexts.clone(), context: "east".to_owned(), client: None, clock };
        let speaker = standing.speak().await.unwrap();
        assert!(speaker.not_renewed.is_none(), "{:?}", speaker.not_renewed);
        speaker
    };
    assert!(speak(wall).await.credentials == old, "it is not due yet");

    // Not so far that the server's own certificate is due too: this client judges that one by the machine's clock.
    east.advance(400 * DAY).await;
    let new = speak(after_two_thirds).await;
    assert!(new.credentials.certificate_pem != old.certificate_pem && new.credentials.key_pem != old.key_pem);
    let who: WhoAmI = new.api.get(paths::WHOAMI, &()).await.unwrap();
    assert_eq!(who.name, "web01");
    assert!(contexts.client("east", None).unwrap() == new.credentials, "it is kept");
    // The answer to an earlier try was lost: the certificate before asks once more.
    let (csr_pem, _) = narrows_agent::renewal::signing_request().unwrap();
    let again = RenewRequest { csr_pem };
    let before = east.caller(Some(&identity(&old)), None);
    before.post::<_, EnrollReply>(paths::CLIENT_RENEW, &again).await.unwrap();
    east.restart_with(|_| {}).await;
    east.advance(400 * DAY).await;
    for credentials in [&old, &new.credentials] {
        let caller = east.caller(Some(&identity(credentials)), None);
        assert_eq!(caller.get::<WhoAmI>(paths::WHOAMI).await.unwrap().name, "web01");
    }
    let shown: ClientInfo = east.admin().get(&paths::CLIENT.replace("{name}", "web01")).await.unwrap();
    assert_eq!((shown.still_believed, shown.former_certificates), (2, 0));

    // Who has replaced it does not want any of them.
    let path = paths::CLIENT_REPLACE.replace("{name}", "web01");
    let line: TokenReply = east.admin().post(&path, &()).await.unwrap();
    enroll_by(&east, &line.line).await.unwrap();
    for credentials in [&old, &new.credentials] {
        let caller = east.caller(Some(&identity(credentials)), None);
        let refused = caller.post::<_, EnrollReply>(paths::CLIENT_RENEW, &again).await.unwrap_err();
        assert_eq!(refused.code, "AUTH-003");
    }

    // The new one is never used: somebody hears of it before it ends, if a policy counts on that client.
    east.advance(700 * DAY).await;
    // What the server looks after from time to time, its own certificate first.
    narrows_server::certificates::round(east.server.as_ref().unwrap().app())
        .await
        .unwrap_or_else(|_| panic!());
    assert!(about_its_certificate(&east).await.is_none(), "nobody counts on it");
    put_policy(&east, "name = \"nightly\"\nclients = [\"web01\"]\npaths = [\"/srv\"]\nslp = \"gold\"\n")
        .await
        .unwrap();
    let soon = about_its_certificate(&east).await.unwrap();
    assert_eq!((soon.level, soon.code.as_str()), (Level::Warning, ""), "{soon:?}");
    east.advance(40 * DAY).await;
    let over = about_its_certificate(&east).await.unwrap();
    assert_eq!((over.level, over.code.as_str()), (Level::Error, "AUTH-002"), "{over:?}");
    east.stop().await;
}
