//! What is parked, in memory: bounds, calls, and why there is nothing.

use narrows_domain::{
    partner::{Dials, Partner},
    window::Gate,
};
use narrows_format::{DomainId, ServerId, Timestamp};
use tokio::net::{TcpListener, TcpStream};

use super::{
    Parking,
    words::{CALL, Called, LEAVE, Wish, read_answer, read_leave, write_answer, write_leave},
};
use crate::limits::PARKED_PER_PARTNER_MAX;

const VAULT: DomainId = DomainId([7; 16]);
const NOW: Timestamp = Timestamp { seconds: 1_700_000_000, nanos: 0 };

fn vault(dials: Dials) -> Partner {
    Partner { dials, ..Partner::half(VAULT, 1, "vault", NOW) }
}

async fn connection() -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    TcpStream::connect(listener.local_addr().unwrap()).await.unwrap()
}

/// Goal: what is said is heard as it was said, and nothing else is.
#[tokio::test]
async fn words_are_heard_as_they_are_said() {
    let wishes = [Wish::Park, Wish::Through(VAULT, None), Wish::Through(VAULT, Some(ServerId([9; 16])))];
    for wish in wishes {
        let mut bytes = Vec::new();
        wish.write(&mut bytes).await.unwrap();
        assert_eq!(Wish::read(&mut &bytes[..]).await.unwrap(), wish);
        for at in 0..8 {
            let mut odd = bytes.clone();
            odd[at] ^= 0x80;
            assert!(Wish::read(&mut &odd[..]).await.is_err(), "{wish:?}: byte {at}");
        }
        assert!(Wish::read(&mut &bytes[..bytes.len() - 1]).await.is_err());
    }
    for called in [Called::Api, Called::Data(None), Called::Data(Some(ServerId([9; 16])))] {
        let mut bytes = Vec::new();
        called.write(&mut bytes).await.unwrap();
        assert_eq!(bytes[0], CALL);
        assert_eq!(Called::read(&mut &bytes[1..]).await.unwrap(), called);
        bytes[1] ^= 0x80;
        assert!(Called::read(&mut &bytes[1..]).await.is_err());
    }
    for back in [None, Some(NOW)] {
        let mut bytes = Vec::new();
        write_leave(&mut bytes, back).await.unwrap();
        assert_eq!((bytes[0], read_leave(&mut &bytes[1..]).await.unwrap()), (LEAVE, back));
    }
    let mut bytes = Vec::new();
    write_answer(&mut bytes, None).await.unwrap();
    assert_eq!(read_answer(&mut &bytes[..]).await.unwrap(), None);
    bytes.clear();
    write_answer(&mut bytes, Some(("AUTH-005", &"ä\n".repeat(1000)))).await.unwrap();
    let (code, sentence) = read_answer(&mut &bytes[..]).await.unwrap().unwrap();
    assert!(code == "AUTH-005" && sentence.starts_with("ää") && bytes.len() <= 514);
    let long = [0xff; 600];
    assert!(read_answer(&mut &long[..]).await.is_err());
}

/// Goal: only a partner that dials parks, no more than it may, and who calls gets what is there, once.
#[tokio::test]
async fn a_call_takes_what_is_parked() {
    let parking = Parking::default();
    assert!(parking.arrive(VAULT, NOW).is_none(), "nobody knows it");
    parking.know(&vault(Dials::Both));
    assert!(parking.arrive(VAULT, NOW).is_none(), "it is dialled");
    parking.know(&vault(Dials::Partner));
    let (broken, is_first) = parking.arrive(VAULT, NOW).unwrap();
    assert!(is_first);
    let mut spots: Vec<_> =
        (1..PARKED_PER_PARTNER_MAX).map(|_| parking.arrive(VAULT, NOW).unwrap()).collect();
    assert!(spots.iter().all(|(_, is_first)| !is_first));
    assert!(parking.arrive(VAULT, NOW).is_none(), "enough");
    // One that broke is passed over, and makes room.
    drop(broken);
    let (newest, _) = parking.arrive(VAULT, NOW).unwrap();
    let (oldest, _) = spots.remove(0);
    let giving = tokio::spawn(async move {
        let call = newest.await.unwrap();
        assert_eq!(call.called, Called::Data(None));
        drop(call.reply.send(connection().await));
    });
    parking.call(VAULT, Called::Data(None)).await.unwrap();
    giving.await.unwrap();
    // Paired anew or not, what it parked stays while it dials; and goes with that.
    parking.know(&vault(Dials::Partner));
    parking.forget(VAULT);
    assert!(oldest.await.is_err(), "its connection ends");
    let why = parking.call(VAULT, Called::Api).await.unwrap_err();
    assert!(why.contains("no partner that dials"), "{why}");
}

/// Goal: who waits hears what for, and does not wait for somebody who said when it comes back.
#[tokio::test]
async fn why_nothing_is_parked_is_said() {
    let parking = Parking::default();
    parking.know(&vault(Dials::Partner));
    assert!(parking.silence(VAULT).ends_with("has not since this server was started"));
    let (spot, _) = parking.arrive(VAULT, NOW).unwrap();
    drop(spot);
    assert!(parking.silence(VAULT).ends_with("was last heard at 2023-11-14T22:13:20Z"));
    parking.leaves(VAULT, Some(NOW));
    let why = parking.call(VAULT, Called::Api).await.unwrap_err();
    assert!(why.ends_with("is outside of its window until 2023-11-14T22:13:20Z"), "{why}");
    // On the other side.
    parking.know(&vault(Dials::Own));
    assert_eq!(parking.shut(VAULT), None);
    parking.set_gate(VAULT, Gate::ShutUntil(Some(NOW)));
    assert!(parking.shut(VAULT).unwrap().ends_with("is shut until 2023-11-14T22:13:20Z"));
    parking.know(&vault(Dials::Both));
    assert_eq!(parking.shut(VAULT), None, "it is dialled like others");
}

/// Symptom: to tell a partner something outside of its window that window was forgotten for a while, also by a server that ended then.
#[test]
fn a_window_that_is_held_open_shuts_again() {
    let parking = Parking::default();
    let shut = Gate::ShutUntil(Some(NOW));
    parking.know(&vault(Dials::Own));
    assert_eq!(parking.set_gate(VAULT, shut), shut);
    let held = (parking.hold_open(VAULT), parking.hold_open(VAULT));
    assert_eq!(parking.shut(VAULT), None);
    drop(held.0);
    assert_eq!(parking.set_gate(VAULT, shut), Gate::Open, "the other one holds it");
    assert_eq!(parking.shut(VAULT), None);
    drop(held.1);
    assert_eq!(parking.set_gate(VAULT, shut), shut);
    assert!(parking.shut(VAULT).is_some());
}
