//! Goal: a partner that begins and then only lives does not keep its session, and with it a place of a storage unit, for
//! ever; one that is slow does. A client whose backup is cancelled is told, and not at its end only. Method: simulated time.

use std::{rc::Rc, time::Duration};

use narrows_exchange::{Proof, Purpose};
use narrows_format::{
    Fingerprint,
    node::{Child, ChildKind},
};

use crate::{
    client_to_pool::{against_for, begin, code},
    model::Pool,
};

fn child(byte: u8) -> Child {
    Child { fingerprint: Fingerprint([byte; 32]), kind: ChildKind::Segment, length: 9 }
}

#[test]
fn a_partner_of_which_only_heartbeats_come_is_let_go() {
    let target = Pool::new();
    let (source, taken) = against_for(Purpose::Replicate, 1, &target, begin(9), |outgoing| async move {
        // Its link goes on sending heartbeats meanwhile.
        outgoing.session().link.world().clock.sleep(Duration::from_mins(40)).await;
        outgoing.offer(&[child(1)], Proof::NONE).await?.answer().await
    });
    assert_eq!(code(&taken), "NET-002", "{taken:?}");
    assert_eq!(code(&source), "NET-002", "the source hears why: {source:?}");
}

#[test]
fn a_slow_partner_and_a_client_that_pauses_are_waited_for() {
    for (purpose, pause) in [(Purpose::Replicate, 14), (Purpose::Backup, 50)] {
        let target = Pool::new();
        let (source, _) = against_for(purpose, 2, &target, begin(9), move |outgoing| async move {
            for round in 0..50 / pause {
                outgoing.session().link.world().clock.sleep(Duration::from_mins(pause)).await;
                let asked = [child(u8::try_from(round).expect("few"))];
                outgoing.offer(&asked, Proof::NONE).await?.answer().await?;
            }
            Ok(())
        });
        assert!(source.is_ok(), "{purpose:?}: {source:?}");
    }
}

#[test]
fn a_client_whose_backup_is_taken_back_is_told_at_once() {
    let target = Pool::new();
    let pool = Rc::clone(&target);
    let (source, taken) = against_for(Purpose::Backup, 3, &target, begin(9), |outgoing| async move {
        outgoing.offer(&[child(1)], Proof::NONE).await?.answer().await?;
        pool.taken_back.set(true);
        pool.gate.open();
        outgoing.session().link.world().clock.sleep(Duration::from_secs(5)).await;
        outgoing.offer(&[child(2)], Proof::NONE).await?.answer().await
    });
    assert_eq!(code(&taken), "API-003", "{taken:?}");
    assert_eq!(code(&source), "API-003", "the source hears why: {source:?}");
}
