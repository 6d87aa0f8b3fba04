//! Goal: who is believed, matrix of certificates against stores. Method: real certificates, real TLS over loopback
//! on the ring; both ends' verdicts are looked at.

use std::{rc::Rc, sync::Arc};

use futures_util::future::{Either, join, select};
use narrows_format::{ClientId, DomainId, ServerId};
use narrows_ring::{
    cores,
    sim::{Host, Sim},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType, date_time_ymd};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::*;
use crate::{Link, LinkError, Security, limits::HEARTBEAT_EVERY};

const EAST: DomainId = DomainId([1; 16]);
const WEST: DomainId = DomainId([2; 16]);
const CLIENT: ClientId = ClientId([5; 16]);
const MEDIA: ServerId = ServerId([6; 16]);

struct Ca {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// What a certificate says.
struct Wish {
    uri: String,
    dns: Option<String>,
    expired: bool,
    serial: u64,
}

impl Wish {
    fn server(domain: DomainId) -> Self {
        let uri = format!("narrows://{domain}/server/{domain}");
        Self { uri, dns: Some(server_name(domain)), expired: false, serial: 77 }
    }

    fn media(domain: DomainId) -> Self {
        Self { uri: format!("narrows://{domain}/media/{MEDIA}"), ..Self::server(domain) }
    }

    fn client(domain: DomainId) -> Self {
        let uri = format!("narrows://{domain}/client/{CLIENT}");
        Self { uri, dns: None, expired: false, serial: 78 }
    }
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    fn issue(&self, wish: &Wish) -> Identity {
        let mut params = CertificateParams::default();
        params.subject_alt_names.push(SanType::URI(wish.uri.as_str().try_into().unwrap()));
        if let Some(dns) = &wish.dns {
            params.subject_alt_names.push(SanType::DnsName(dns.as_str().try_into().unwrap()));
        }
        params.serial_number = Some(wish.serial.into());
        if wish.expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 2, 1);
        }
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            chain: vec![leaf.der().clone(), self.certificate.clone()],
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    }
}

fn store(domains: &[(DomainId, &Ca)]) -> Arc<TrustStore> {
    let store = TrustStore::new();
    for (domain, ca) in domains {
        store.set_domain(*domain, vec![ca.certificate.clone()]).unwrap();
    }
    store
}

struct End {
    store: Arc<TrustStore>,
    identity: Identity,
}

type Verdict = Result<Option<Principal>, LinkError>;

/// One connection: what the dialler and the listener say, after one message has gone each way.
fn meet(dialler: End, expected: DomainId, listener: End) -> (Verdict, Verdict) {
    meet_one(dialler, (expected, Whom::Primary), listener)
}

/// The same when one of the servers of a domain is dialled.
fn meet_one(dialler: End, (expected, whom): (DomainId, Whom), listener: End) -> (Verdict, Verdict) {
    cores::block_on(cores::Setup::here(16 << 20), |world| async move {
        let accepting = listener.store.server_config(&listener.identity, ClientAuth::Required).unwrap();
        let dialling = dialler.store.client_config_to(Some(&dialler.identity), (expected, whom)).unwrap();
        let listening = world.net.listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listening.local_addr();
        let dial = async {
            let security = Security::Dial {
                config: Arc::new(dialling),
                domain: expected,
                trust: Arc::clone(&dialler.store),
            };
            talk(Link::dial(&world, address, security).await?).await
        };
        let accept = async {
            let (stream, _) = listening.accept().await.unwrap();
            let security =
                Security::Accept { config: Arc::new(accepting), trust: Arc::clone(&listener.store) };
            talk(Link::accept(&world, stream, security).await?).await
        };
        join(dial, accept).await
    })
    .unwrap()
}

async fn talk(link: Link) -> Verdict {
    let mut message = vec![0; 5000];
    message[0] = 9;
    message[4..8].copy_from_slice(&4992_u32.to_le_bytes());
    let link = Rc::new(link);
    link.send(message.clone()).await?;
    assert_eq!(link.receive().await?, message);
    let principal = link.principal().cloned();
    link.close().await;
    Ok(principal)
}

fn code(verdict: &Verdict) -> Option<&'static str> {
    match verdict {
        Ok(_) => Some("ok"),
        Err(error) => error.code(),
    }
}

#[test]
fn each_side_learns_who_the_other_is() {
    let (east, west) = (Ca::new(), Ca::new());
    let both = || store(&[(EAST, &east), (WEST, &west)]);
    let dialler = End { store: both(), identity: west.issue(&Wish::server(WEST)) };
    let listener = End { store: both(), identity: east.issue(&Wish::server(EAST)) };
    let (verdict, accepted) = meet(dialler, EAST, listener);
    assert_eq!(verdict.unwrap(), Some(Principal::Server { domain: EAST }));
    assert_eq!(accepted.unwrap(), Some(Principal::Server { domain: WEST }));
    // A client of the domain itself.
    let dialler = End { store: store(&[(EAST, &east)]), identity: east.issue(&Wish::client(EAST)) };
    let listener = End { store: both(), identity: east.issue(&Wish::server(EAST)) };
    let (_, accepted) = meet(dialler, EAST, listener);
    assert_eq!(accepted.unwrap(), Some(Principal::Client { domain: EAST, client: CLIENT }));
    // A partner's client is known by name; what it may do (AIR-008) is for others to say.
    let dialler = End { store: store(&[(EAST, &east)]), identity: west.issue(&Wish::client(WEST)) };
    let listener = End { store: both(), identity: east.issue(&Wish::server(EAST)) };
    let (_, accepted) = meet(dialler, EAST, listener);
    assert_eq!(accepted.unwrap(), Some(Principal::Client { domain: WEST, client: CLIENT }));
}

/// Goal: a media server is believed where it is dialled itself, and nowhere else.
#[test]
fn a_media_server_is_no_primary() {
    let east = Ca::new();
    let other = ServerId([7; 16]);
    let met = |wish: &Wish, domain, whom| {
        let dialler = End { store: store(&[(EAST, &east)]), identity: east.issue(&Wish::client(EAST)) };
        let listener = End { store: store(&[(EAST, &east)]), identity: east.issue(wish) };
        meet_one(dialler, (domain, whom), listener).0
    };
    let (media, primary) = (Wish::media(EAST), Wish::server(EAST));
    let named = Some(Principal::Media { domain: EAST, server: MEDIA });
    assert_eq!(met(&media, EAST, Whom::Media(MEDIA)).unwrap(), named);
    for (wish, whom) in [
        (&media, Whom::Primary),
        (&media, Whom::Media(other)),
        (&primary, Whom::Media(MEDIA)),
        (&Wish::client(EAST), Whom::Primary),
    ] {
        let verdict = met(wish, EAST, whom);
        assert!(matches!(code(&verdict), Some("AUTH-006" | "AUTH-001")), "{whom:?}: {verdict:?}");
    }
    assert_eq!(met(&primary, EAST, Whom::of(None)).unwrap(), Some(Principal::Server { domain: EAST }));
    assert_eq!(Whom::of(Some(MEDIA)), Whom::Media(MEDIA));
}

/// Goal: a media server that is none any more is believed nowhere, whatever certificates it has; of a domain that does not
/// say which it has, all are.
#[test]
fn a_media_server_that_was_removed_is_nobody() {
    let east = Ca::new();
    let met = |known: Option<&[ServerId]>| {
        let trust = || {
            let trust = store(&[(EAST, &east)]);
            if let Some(known) = known {
                trust.set_media(EAST, known.iter().copied().collect());
            }
            trust
        };
        let dialler = End { store: trust(), identity: east.issue(&Wish::server(EAST)) };
        let listener = End { store: store(&[(EAST, &east)]), identity: east.issue(&Wish::media(EAST)) };
        let as_server = meet_one(dialler, (EAST, Whom::Media(MEDIA)), listener).0;
        let dialler = End { store: store(&[(EAST, &east)]), identity: east.issue(&Wish::media(EAST)) };
        let listener = End { store: trust(), identity: east.issue(&Wish::server(EAST)) };
        (as_server, meet(dialler, EAST, listener).1)
    };
    let named = Some(Principal::Media { domain: EAST, server: MEDIA });
    for known in [None, Some(&[MEDIA, ServerId([7; 16])][..])] {
        let (as_server, as_client) = met(known);
        assert_eq!((as_server.unwrap(), as_client.unwrap()), (named.clone(), named.clone()), "{known:?}");
    }
    for known in [&[][..], &[ServerId([7; 16])][..]] {
        let (as_server, as_client) = met(Some(known));
        assert_eq!(code(&as_server), Some("AUTH-003"), "{known:?}: {as_server:?}");
        assert_eq!(code(&as_client), Some("AUTH-003"), "{known:?}: {as_client:?}");
    }
}

/// Goal: sealing and opening keep every byte, whatever the size of messages, both ways at once. What it costs is printed.
#[test]
fn many_messages_under_tls() {
    const COUNT: usize = 1500;
    let east = Ca::new();
    let identity = east.issue(&Wish::server(EAST));
    let trust = store(&[(EAST, &east)]);
    let (bytes, took) = cores::block_on(cores::Setup::here(64 << 20), |world| async move {
        let accepting = Arc::new(trust.server_config(&identity, ClientAuth::Required).unwrap());
        let dialling = Arc::new(trust.client_config(Some(&identity), EAST).unwrap());
        let listening = world.net.listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listening.local_addr();
        let dial = Link::dial(
            &world,
            address,
            Security::Dial { config: dialling, domain: EAST, trust: trust.clone() },
        );
        let accept = async {
            let (stream, _) = listening.accept().await.unwrap();
            Link::accept(&world, stream, Security::Accept { config: accepting, trust: trust.clone() }).await
        };
        let (here, there) = join(dial, accept).await;
        let (here, there) = (here.unwrap(), there.unwrap());
        let began = world.clock.monotonic();
        let one_way = async |from: &Link, to: &Link| {
            let send = async {
                for at in 0..COUNT {
                    from.send(numbered(at)).await.unwrap();
                }
            };
            let receive = async {
                for at in 0..COUNT {
                    assert!(to.receive().await.unwrap() == numbered(at), "message {at}");
                }
            };
            join(send, receive).await;
        };
        join(one_way(&here, &there), one_way(&there, &here)).await;
        (here.counters().total(), world.clock.monotonic().saturating_sub(began))
    })
    .unwrap();
    println!("{bytes} bytes both ways under TLS on one core in {took:?}");
}

fn numbered(at: usize) -> Vec<u8> {
    let length = [8, 9, 300, 16_384, 70_000, 131_072, 256 << 10][at % 7];
    let mut message = vec![u8::try_from(at % 251).unwrap(); length];
    message[0] = 9;
    message[4..8].copy_from_slice(&u32::try_from(length - 8).unwrap().to_le_bytes());
    message
}

/// Goal: whoever dials with a bad certificate hears the code, and so does the listener.
#[test]
fn bad_diallers() {
    let (east, west, stranger) = (Ca::new(), Ca::new(), Ca::new());
    let expired = Wish { expired: true, ..Wish::server(WEST) };
    let revoked = Wish { serial: 4711, ..Wish::server(WEST) };
    let nameless = Wish { uri: "https://example.org".to_owned(), ..Wish::server(WEST) };
    let cases = [
        ("unknown CA", stranger.issue(&Wish::server(DomainId([3; 16]))), "AUTH-001"),
        ("a stranger's CA for a known domain", stranger.issue(&Wish::server(WEST)), "AUTH-001"),
        ("a partner's CA for our own domain", west.issue(&Wish::client(EAST)), "AUTH-001"),
        ("no principal", west.issue(&nameless), "AUTH-001"),
        ("expired", west.issue(&expired), "AUTH-002"),
        ("revoked", west.issue(&revoked), "AUTH-003"),
    ];
    for (what, identity, wanted) in cases {
        let trust = store(&[(EAST, &east), (WEST, &west)]);
        trust.revoke(WEST, &[0, 0x12, 0x67]);
        let listener = End { store: trust, identity: east.issue(&Wish::server(EAST)) };
        let dialler = End { store: store(&[(EAST, &east)]), identity };
        let (verdict, accepted) = meet(dialler, EAST, listener);
        assert_eq!(code(&accepted), Some(wanted), "{what}, at the listener: {accepted:?}");
        assert_eq!(code(&verdict), Some(wanted), "{what}, at the dialler: {verdict:?}");
    }
}

/// Goal: a dialler talks to a server of the domain that it means, or to nobody.
#[test]
fn bad_listeners() {
    let (east, west, stranger) = (Ca::new(), Ca::new(), Ca::new());
    let expired = Wish { expired: true, ..Wish::server(EAST) };
    let revoked = Wish { serial: 4711, ..Wish::server(EAST) };
    let client = Wish { dns: Some(server_name(EAST)), ..Wish::client(EAST) };
    let cases = [
        ("unknown CA", stranger.issue(&Wish::server(EAST)), "AUTH-001"),
        ("a partner's CA in the place of another's", west.issue(&Wish::server(EAST)), "AUTH-001"),
        ("another known domain", east.issue(&Wish::server(WEST)), "AUTH-006"),
        ("a client as a server", east.issue(&client), "AUTH-006"),
        ("expired", east.issue(&expired), "AUTH-002"),
        ("revoked", east.issue(&revoked), "AUTH-003"),
    ];
    for (what, identity, wanted) in cases {
        let trust = store(&[(EAST, &east), (WEST, &west)]);
        trust.revoke(EAST, &[0, 0x12, 0x67]);
        let listener = End { store: store(&[(EAST, &east), (WEST, &west)]), identity };
        let dialler = End { store: trust, identity: west.issue(&Wish::server(WEST)) };
        let (verdict, _) = meet(dialler, EAST, listener);
        assert_eq!(code(&verdict), Some(wanted), "{what}: {verdict:?}");
    }
    // One-sided pairing: we know nothing of that domain.
    let listener = End { store: store(&[(WEST, &west)]), identity: east.issue(&Wish::server(EAST)) };
    let dialler = End { store: store(&[(WEST, &west)]), identity: west.issue(&Wish::server(WEST)) };
    let (verdict, _) = meet(dialler, EAST, listener);
    assert_eq!(code(&verdict), Some("AUTH-001"));
}

/// Goal: an invitation's fingerprint admits exactly that CA.
#[test]
fn first_contact_by_fingerprint() {
    let (east, other) = (Ca::new(), Ca::new());
    for (ca, wanted) in [(&east, "ok"), (&other, "AUTH-006")] {
        let fingerprint = ca_fingerprint(&ca.certificate);
        let identity = east.issue(&Wish::server(EAST));
        let verdict = cores::block_on(cores::Setup::here(16 << 20), |world| async move {
            let (trust, empty) = (TrustStore::new(), TrustStore::new());
            let accepting = trust.server_config(&identity, ClientAuth::Optional).unwrap();
            let dialling = empty.first_contact_config(None, fingerprint).unwrap();
            let listening = world.net.listen(([127, 0, 0, 1], 0).into()).await.unwrap();
            let address = listening.local_addr();
            let accept = async {
                let (stream, _) = listening.accept().await.unwrap();
                let security = Security::Accept { config: Arc::new(accepting), trust };
                // The data plane needs a principal; here only the dialler's verdict counts.
                let _ = Link::accept(&world, stream, security).await;
            };
            let dial = async {
                let security =
                    Security::Dial { config: Arc::new(dialling), domain: EAST, trust: Arc::clone(&empty) };
                Link::dial(&world, address, security).await.map(|link| link.principal().cloned())
            };
            join(accept, dial).await.1
        })
        .unwrap();
        assert_eq!(code(&verdict), Some(wanted), "{verdict:?}");
    }
}

#[test]
fn principals_are_parsed_strictly() {
    let domain = EAST;
    assert_eq!(
        Principal::parse(&format!("narrows://{domain}/admin/eve")),
        Ok(Principal::Admin { domain, name: "eve".to_owned() })
    );
    for bad in [
        "narrows://",
        "narrows://x/server/y",
        &format!("narrows://{domain}"),
        &format!("narrows://{domain}/server"),
        &format!("narrows://{domain}/server/"),
        &format!("narrows://{domain}/root/x"),
        &format!("narrows://{domain}/client/nobody"),
        &format!("narrows://{domain}/admin/a/b"),
        &format!("http://{domain}/server/x"),
    ] {
        assert_eq!(Principal::parse(bad), Err(BadPrincipal), "{bad}");
    }
}

/// Goal: a revocation, and the end of all trust in a domain, end open links within a heartbeat.
/// Method: TLS over the simulated network, for its clock.
#[test]
fn who_is_not_believed_any_more_loses_open_links() {
    loses_open_links(|trust| trust.revoke(WEST, &[78 - 1]), "AUTH-003");
    loses_open_links(|trust| trust.remove_domain(WEST), "AUTH-001");
}

fn loses_open_links(change: fn(&TrustStore), code: &'static str) {
    use narrows_ring::sim::{Host, Sim};
    let (east, west) = (Ca::new(), Ca::new());
    let trust = store(&[(EAST, &east), (WEST, &west)]);
    let (ours, theirs) = (east.issue(&Wish::server(EAST)), west.issue(&Wish::server(WEST)));
    let sim = Sim::new(1);
    let (from, to, clock) = (sim.world(Host(1)), sim.world(Host(2)), sim.clone());
    sim.run(async move {
        let accepting = Arc::new(trust.server_config(&ours, ClientAuth::Required).unwrap());
        let theirs_trust = TrustStore::new();
        theirs_trust.set_domain(EAST, trust.certificates_of(EAST)).unwrap();
        let dialling = Arc::new(theirs_trust.client_config(Some(&theirs), EAST).unwrap());
        let listening = to.net.listen(([10, 0, 0, 2], 0).into()).await.unwrap();
        let address = listening.local_addr();
        let security = Security::Dial { config: dialling, domain: EAST, trust: theirs_trust };
        let accept = async {
            let (stream, _) = listening.accept().await.unwrap();
            Link::accept(&to, stream, Security::Accept { config: accepting, trust: trust.clone() }).await
        };
        let (dialled, accepted) = join(Link::dial(&from, address, security), accept).await;
        let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
        change(&trust);
        let began = clock.now();
        let (here, there) = join(dialled.receive(), accepted.receive()).await;
        assert_eq!(there.unwrap_err().code(), Some(code));
        assert!(here.unwrap_err().is_transient(), "it hears the reason when it dials again");
        assert!(clock.now() < began + 2 * crate::limits::HEARTBEAT_EVERY);
    })
    .unwrap();
}

/// Symptom: a link on which there was always something to send outlived the revocation of its peer. Method: the peer, which is
/// believed at first, reads nothing.
#[test]
fn who_is_revoked_loses_a_busy_link_at_the_next_heartbeat() {
    let ca = Ca::new();
    let (trust, east) = (store(&[(EAST, &ca)]), store(&[(EAST, &ca)]));
    let accepting =
        Arc::new(trust.server_config(&ca.issue(&Wish::server(EAST)), ClientAuth::Required).unwrap());
    let identity = ca.issue(&Wish::client(EAST));
    let serial = certificate_serial(&identity.chain[0]).unwrap();
    let dialling = Arc::new(east.client_config_to(Some(&identity), (EAST, Whom::Primary)).unwrap());
    let sim = Sim::new(1);
    let (world, there) = (sim.world(Host(1)), sim.world(Host(2)));
    let end = sim.run(async move {
        let listening = world.net.listen(([10, 0, 0, 1], 0).into()).await.unwrap();
        let security = Security::Dial { config: dialling, domain: EAST, trust: east };
        let dialled = Link::dial(&there, listening.local_addr(), security);
        let accepted = async {
            let (stream, _) = listening.accept().await.unwrap();
            let security = Security::Accept { config: accepting, trust: Arc::clone(&trust) };
            Link::accept(&world, stream, security).await
        };
        let (idle, busy) = join(dialled, accepted).await;
        let (idle, busy) = (idle.unwrap(), busy.unwrap());
        let sending = async {
            loop {
                let mut message = vec![9; 100_000];
                message[4..8].copy_from_slice(&99_992_u32.to_le_bytes());
                if let Err(error) = busy.send(message).await {
                    return error;
                }
            }
        };
        let revoking = async {
            world.clock.sleep(HEARTBEAT_EVERY).await;
            trust.revoke(EAST, &serial);
            world.clock.sleep(HEARTBEAT_EVERY * 2).await;
        };
        let end = match select(Box::pin(sending), Box::pin(revoking)).await {
            Either::Left((error, _)) => Some(error),
            Either::Right(_) => None,
        };
        drop(idle);
        end
    });
    assert_eq!(end.unwrap().expect("it ends").code(), Some("AUTH-003"));
}
