//! Goal: each rule of the messages is kept, and a refusal has the right code. Method: break rules one
//! at a time, and cut every message short.

use super::samples::{self, encoded};
use narrows_wire::{BadMessage, Hello, MESSAGE_BYTES_MAX, Message, message_bytes};

fn with(name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Result<(), &'static str> {
    let (_, message) = samples::messages().into_iter().find(|(n, _)| *n == name).expect("a sample");
    let mut bytes = encoded(&message);
    change(&mut bytes);
    // The header follows the change, so that it is the body that is refused.
    let body = u32::try_from(bytes.len() - 8).expect("small").to_le_bytes();
    bytes[4..8].copy_from_slice(&body);
    Message::decode(&bytes).map(drop).map_err(|bad| bad.code())
}

#[test]
fn rules() {
    let malformed = Err("WIRE-002");
    assert_eq!(with("credit", |bytes| bytes.push(0)), malformed, "bytes after a message");
    assert_eq!(with("credit", |bytes| bytes[1] = 1), malformed, "flags");
    assert_eq!(with("credit", |bytes| bytes[2] = 1), malformed, "reserved");
    assert_eq!(with("credit", |bytes| bytes[0] = 99), Err("WIRE-001"), "type");
    assert_eq!(with("hello", |bytes| bytes[8 + 80] = 9), Err("WIRE-001"), "purpose");
    assert_eq!(with("hello", |bytes| bytes.extend_from_slice(b"new")), Ok(()), "a newer hello");
    assert_eq!(with("begin", |bytes| bytes[8 + 64] |= 8), malformed, "flags of begin");
    assert_eq!(with("begun", |bytes| bytes[8] = 2), malformed, "base of begun");
    assert_eq!(with("begun", |bytes| bytes[9] = 4), malformed, "presence of a root");
    assert_eq!(with("settle", |bytes| bytes[16] = 2), malformed, "mine does not settle");
    assert_eq!(with("answer", |bytes| bytes[17] |= 0x80), malformed, "spare bits");
    assert_eq!(with("answer", |bytes| bytes[13] = 0x7f), Err("WIRE-003"), "presences");
    assert_eq!(with("offer", |bytes| bytes[13] = 0x7f), Err("WIRE-003"), "children");
    assert_eq!(with("nodes", |bytes| bytes[13] = 0x7f), Err("WIRE-003"), "nodes");
    assert_eq!(with("nodes", |bytes| bytes[8..12].fill(0xff)), malformed, "ordinals");
    assert_eq!(with("commit-draft", |bytes| bytes[8] = 3), malformed, "kind of commit");
    assert_eq!(with("commit-draft", |bytes| bytes[8 + 50 + 36] = 0xff), malformed, "flags of an image");
    assert_eq!(with("error", |bytes| bytes[11] = b'\n'), malformed, "control characters");
    assert_eq!(with("error", |bytes| bytes[11] = 0xff), malformed, "no UTF-8");
    assert_eq!(with("data", |bytes| bytes.truncate(8)), malformed, "no frame");
    assert_eq!(with("data", |bytes| bytes.resize(200_000, 0)), Err("WIRE-003"), "a frame too long");
}

/// Goal: a length in a header never makes a reader wait for, or reserve, more than the limit.
#[test]
fn lengths() {
    assert_eq!(message_bytes(&[15, 0, 0]), Err(BadMessage::Short { need: 8 }));
    assert_eq!(
        message_bytes(&[15, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]).map_err(|bad| bad.code()),
        Err("WIRE-003")
    );
    let most = u32::try_from(MESSAGE_BYTES_MAX - 8).unwrap().to_le_bytes();
    assert_eq!(message_bytes(&[&[9, 0, 0, 0][..], &most].concat()), Ok(MESSAGE_BYTES_MAX));
}

#[test]
fn cut_short() {
    for (name, message) in samples::messages() {
        let bytes = encoded(&message);
        for length in 0..bytes.len() {
            let cut = &bytes[..length];
            assert!(Message::decode(cut).is_err(), "{name} of {length} bytes");
            if length >= 8 && name != "data" && name != "nodes" {
                let mut cut = cut.to_vec();
                let body = u32::try_from(length - 8).unwrap().to_le_bytes();
                cut[4..8].copy_from_slice(&body);
                assert!(Message::decode(&cut).is_err(), "{name} of {length} bytes, header adapted");
            }
        }
    }
}

#[test]
fn versions() {
    let speaks = |version_min, version_max| Hello { version_min, version_max, ..samples::hello() };
    assert_eq!(speaks(1, 3).agree(&speaks(2, 9)), Ok(3));
    assert_eq!(speaks(1, 1).agree(&speaks(1, 2)), Ok(1));
    let refusal = speaks(1, 1).agree(&speaks(2, 3)).unwrap_err();
    assert_eq!(refusal.to_string(), "no common version: we speak 1..=1, the peer 2..=3");
    assert!(speaks(5, 9).agree(&speaks(2, 3)).is_err());
}
