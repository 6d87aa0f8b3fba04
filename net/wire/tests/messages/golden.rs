//! Goal: the bytes of a released version never change, and are always read.
//! Method: encode fixed samples and compare with the files in `golden/`, then decode the files.
//! `NARROWS_GOLDEN=write cargo test -p narrows-wire golden` writes new ones; a change of an existing
//! one is a new version of the protocol, or a mistake.

use super::samples;
use narrows_wire::Message;
use std::path::PathBuf;

#[test]
#[expect(clippy::disallowed_methods, reason = "a test reads its golden files itself")]
fn messages() {
    let write = std::env::var("NARROWS_GOLDEN").is_ok_and(|value| value == "write");
    for (name, message) in samples::messages() {
        let encoded = samples::encoded(&message);
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("{name}.bin"));
        if write {
            std::fs::write(&path, &encoded).unwrap();
        }
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let differs = bytes.iter().zip(&encoded).position(|(a, b)| a != b);
        assert!(bytes == encoded, "{name}: encoded bytes differ from the golden file at {differs:?}");
        assert_eq!(Message::decode(&bytes), Ok(message), "{name}");
    }
}
