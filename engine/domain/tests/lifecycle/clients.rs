//! Clients' certificates: renewed, replaced, and neither lost sight of.

use std::collections::BTreeSet;

use narrows_domain::storage::{Client, Issued};
use narrows_domain::token::{Token, TokenHash, TokenPurpose};

use super::*;

const DAY: i64 = 86_400;
const LIFE: i64 = 730 * DAY;
const WEB: ClientId = ClientId([6; 16]);

fn issued(serial: u32, now: i64) -> Issued {
    Issued { serial: format!("{serial:04x}"), until: at(now + LIFE) }
}

fn enrolled() -> Primary<MemoryCatalog> {
    let mut primary = primary(GOLD);
    let Issued { serial, until } = issued(0, NOW);
    let client = Client {
        id: WEB,
        name: "web01".into(),
        serial,
        enrolled: at(NOW),
        revoked: None,
        until: Some(until),
        still_believed: Vec::new(),
        restore_any: false,
        former: Vec::new(),
    };
    ready(primary.put(&[Change::Client(client)])).unwrap();
    primary
}

fn client(primary: &Primary<MemoryCatalog>) -> Client {
    ready(primary.catalog().client(WEB)).unwrap().unwrap()
}

/// A token that gives the client another certificate.
fn token(primary: &mut Primary<MemoryCatalog>, secret: [u8; 32], now: i64) {
    let token = Token {
        hash: TokenHash::of(&secret),
        purpose: TokenPurpose::Replace,
        subject: WEB.to_string(),
        made: at(now),
        expires: at(now + DAY),
        used: None,
    };
    ready(primary.put(&[Change::Token(token)])).unwrap();
}

fn serials(all: &[Issued]) -> BTreeSet<String> {
    all.iter().map(|it| it.serial.clone()).collect()
}

/// Goal: a client that never keeps what it is given is not locked out with the one that it has, and does not pile up more
/// than so many that are believed, nor one a minute of those that are not.
#[test]
fn a_client_that_can_keep_nothing_goes_on_with_what_it_has() {
    let mut primary = enrolled();
    let shown = issued(0, NOW);
    let mut now = NOW + LIFE / 3 * 2;
    for serial in 1..=30 {
        ready(primary.renew_client(WEB, (shown.clone(), issued(serial, now)), moment(now))).unwrap();
        let client = client(&primary);
        assert!(client.still_believed.contains(&shown) && client.still_believed.len() <= 8, "{serial}");
        now += DAY;
    }
    let crowded = ready(primary.renew_client(WEB, (shown.clone(), issued(31, now - 1)), moment(now - 1)));
    assert_eq!(code(crowded), "API-003");
    let client = client(&primary);
    assert_eq!((client.former.len(), client.serial.as_str()), (22, "001e"));
}

/// Goal: whatever is renewed, replaced, revoked and named anew in whatever order, each certificate that was issued and has not ended is
/// either believed or known as one that is not; and after a replacement none from before it is believed.
/// Method: a walk for each of 300 seeds; a renewal may show any certificate that is believed.
#[test]
fn every_certificate_of_a_client_is_believed_or_known_as_one_that_is_not() {
    for seed in 0..300_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut draw = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let (mut primary, mut now) = (enrolled(), NOW);
        let (mut all, mut replaced) = (vec![issued(0, NOW)], 0);
        for step in 0..60_u32 {
            now += i64::try_from(draw(40)).unwrap() * DAY + 1;
            let serial = u32::try_from(all.len()).unwrap();
            let known = client(&primary);
            match draw(6) {
                0 => {
                    let secret = [u8::try_from(step).unwrap(); 32];
                    token(&mut primary, secret, now);
                    // What was renewed since the line was made goes too.
                    let shown = known.newest();
                    let renewed = issued(serial, now);
                    if ready(primary.renew_client(WEB, (shown, renewed.clone()), moment(now))).is_ok() {
                        all.push(renewed);
                    }
                    let instead = issued(u32::try_from(all.len()).unwrap(), now);
                    let replacing = primary.replace_client(&secret, (WEB, instead.clone()), moment(now));
                    ready(replacing).unwrap();
                    replaced = all.len();
                    all.push(instead);
                    let again = primary.replace_client(&secret, (WEB, issued(serial, now)), moment(now));
                    assert_eq!(code(ready(again)), "AUTH-004", "a line works once");
                }
                1 if step % 7 == 0 => {
                    ready(primary.revoke_client(&known.name, moment(now))).unwrap();
                    let shown = (client(&primary).newest(), issued(serial, now));
                    assert_eq!(code(ready(primary.renew_client(WEB, shown, moment(now)))), "AUTH-003");
                }
                1 => {
                    let name = format!("web{step}");
                    ready(primary.rename_client(&known.name, &name, moment(now))).unwrap();
                }
                _ => {
                    let mut believed = known.still_believed.clone();
                    believed.push(known.newest());
                    believed.retain(|it| it.until.seconds > now);
                    let Some(at) = believed.len().checked_sub(1) else { continue };
                    let shown = believed[usize::try_from(draw(at as u64 + 1)).unwrap()].clone();
                    let renewed = issued(serial, now);
                    if ready(primary.renew_client(WEB, (shown, renewed.clone()), moment(now))).is_ok() {
                        all.push(renewed);
                    }
                }
            }
            let client = client(&primary);
            let mut believed = serials(&client.still_believed);
            let mut former = serials(&client.former);
            match client.revoked {
                Some(_) => former.insert(client.serial.clone()),
                None => believed.insert(client.serial.clone()),
            };
            assert!(believed.is_disjoint(&former), "seed {seed}, step {step}");
            for (at, it) in all.iter().enumerate().filter(|(_, it)| it.until.seconds > now) {
                let is_believed = believed.contains(&it.serial);
                assert!(is_believed || former.contains(&it.serial), "seed {seed}, step {step}: {it:?}");
                assert!(!is_believed || at >= replaced, "seed {seed}, step {step}: {it:?} was replaced");
            }
        }
    }
}
