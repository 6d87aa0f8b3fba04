//! Names as they are shown to people: what others have called something moves no cursor and makes no line of its own.

use std::fmt;

/// Bytes of a name or path. UTF-8 stands as it is, any other byte and every control character as `\xNN`.
pub(crate) struct Shown<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for letter in chunk.valid().chars() {
                if letter.is_control() {
                    hex(f, letter.encode_utf8(&mut [0; 4]).as_bytes())?;
                } else {
                    write!(f, "{letter}")?;
                }
            }
            hex(f, chunk.invalid())?;
        }
        Ok(())
    }
}

fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;
    use crate::sink::{SinkError, TroubleKind};

    #[test]
    fn names_move_no_cursor() {
        let name = b"a\x1b[2J\nb\xff \xc2\x9b\xc3\xa4".to_vec();
        assert_eq!(Shown(&name).to_string(), "a\\x1b[2J\\x0ab\\xff \\xc2\\x9b\u{e4}");
        let texts = [
            TroubleKind::Unlinked(name.clone()).to_string(),
            TroubleKind::Attribute(name.clone(), Errno::PERM).to_string(),
            SinkError::Destination { path: name, error: Errno::NOSPC }.to_string(),
        ];
        for text in texts {
            assert!(!text.contains(char::is_control), "{text:?}");
        }
    }
}
