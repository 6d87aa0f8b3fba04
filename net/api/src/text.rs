//! How identities, hashes and path bytes look in JSON.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// `#[serde(with = "text::by_text")]`: a value by its `Display` and `FromStr`, e.g. a UUID.
pub mod by_text {
    use super::{Deserialize, Deserializer, FromStr, Serializer, de, fmt};

    /// Writes the value's text.
    pub fn serialize<T: fmt::Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    /// Reads the value from its text.
    pub fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: fmt::Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

/// The same for a value that may be absent.
pub mod by_text_option {
    use super::{Deserialize, Deserializer, FromStr, Serializer, de, fmt};

    /// Writes the value's text, or null.
    #[expect(clippy::ref_option, reason = "the shape that serde calls")]
    pub fn serialize<T: fmt::Display, S: Serializer>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.collect_str(value),
            None => to.serialize_none(),
        }
    }

    /// Reads the value from its text, or null.
    pub fn deserialize<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: fmt::Display>,
        D: Deserializer<'de>,
    {
        Option::<String>::deserialize(from)?.map(|text| text.parse().map_err(de::Error::custom)).transpose()
    }
}

/// `N` bytes as lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hex<const N: usize>(pub [u8; N]);

/// The text is not the right number of hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadHex;

impl fmt::Display for BadHex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the right number of hexadecimal digits")
    }
}

impl std::error::Error for BadHex {}

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<const N: usize> fmt::Debug for Hex<N> {
    /// Tickets and tokens are of this type: never shown whole by accident.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(2).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("..")
    }
}

impl<const N: usize> FromStr for Hex<N> {
    type Err = BadHex;

    fn from_str(text: &str) -> Result<Self, BadHex> {
        let digits = text.as_bytes();
        if digits.len() != 2 * N {
            return Err(BadHex);
        }
        let mut bytes = [0; N];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16).ok_or(BadHex);
            *byte = u8::try_from(digit(0)? * 16 + digit(1)?).map_err(|_| BadHex)?;
        }
        Ok(Self(bytes))
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

/// Bytes of any number as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// A path as text that loses nothing: UTF-8 stands as it is, any other byte and every control character as
/// `\xNN`, a backslash as `\\`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PathText(pub String);

impl PathText {
    /// From the bytes of a path.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut text = String::with_capacity(bytes.len());
        let hex = |text: &mut String, byte: u8| {
            text.push_str("\\x");
            text.push_str(&Hex([byte]).to_string());
        };
        for chunk in bytes.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\\' => text.push_str("\\\\"),
                    c if c.is_control() => {
                        c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| hex(&mut text, byte));
                    }
                    c => text.push(c),
                }
            }
            chunk.invalid().iter().for_each(|byte| hex(&mut text, *byte));
        }
        Self(text)
    }

    /// The bytes again; `None` when an escape is malformed.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.0.len());
        let mut rest = self.0.as_bytes();
        while let Some((&first, tail)) = rest.split_first() {
            rest = match (first, tail) {
                (b'\\', [b'\\', tail @ ..]) => {
                    bytes.push(b'\\');
                    tail
                }
                (b'\\', [b'x', high, low, tail @ ..]) => {
                    let digits = [*high, *low];
                    let Hex([byte]) = std::str::from_utf8(&digits).ok()?.parse().ok()?;
                    bytes.push(byte);
                    tail
                }
                (b'\\', _) => return None,
                (byte, tail) => {
                    bytes.push(byte);
                    tail
                }
            };
        }
        Some(bytes)
    }
}

/// A point in time as the API writes it. One beyond what RFC 3339 can say becomes the nearest it can.
pub fn time_out(time: narrows_format::Timestamp) -> jiff::Timestamp {
    let nanos = i32::try_from(time.nanos).unwrap_or(0);
    let end = if time.seconds < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    jiff::Timestamp::new(time.seconds, nanos).unwrap_or(end)
}

/// A point in time as the API reads it.
pub fn time_in(time: jiff::Timestamp) -> narrows_format::Timestamp {
    let (seconds, nanos) = (time.as_second(), time.subsec_nanosecond());
    // Before 1970 jiff counts nanoseconds backwards.
    let (seconds, nanos) = if nanos < 0 { (seconds - 1, nanos + 1_000_000_000) } else { (seconds, nanos) };
    narrows_format::Timestamp { seconds, nanos: nanos.unsigned_abs() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lose_nothing() {
        for bytes in [&b"a/b"[..], b"", b"\xff\xfe/x", b"a\\b\n\x00", "gr\u{fc}n/\u{85}x".as_bytes()] {
            let text = PathText::from_bytes(bytes);
            assert_eq!(text.to_bytes().as_deref(), Some(bytes), "{text:?}");
            assert!(!text.0.chars().any(char::is_control));
        }
        assert_eq!(PathText("a\\".into()).to_bytes(), None);
        assert_eq!(PathText("a\\xg0".into()).to_bytes(), None);
    }

    #[test]
    fn times_survive() {
        for (seconds, nanos) in [(0, 0), (-1, 1), (-5, 999_999_999), (1_800_000_000, 5)] {
            let time = narrows_format::Timestamp { seconds, nanos };
            assert_eq!(time_in(time_out(time)), time);
        }
        let far = narrows_format::Timestamp { seconds: i64::MAX, nanos: 0 };
        assert_eq!(time_out(far), jiff::Timestamp::MAX);
    }

    #[test]
    fn hex_reads_what_it_writes() {
        let hex = Hex([0, 255, 16]);
        assert_eq!(hex.to_string(), "00ff10");
        assert_eq!(super::hex(&hex.0), "00ff10");
        assert_eq!("00ff10".parse(), Ok(hex));
        assert_eq!("00ff1".parse::<Hex<3>>(), Err(BadHex));
        assert_eq!("00ff1\u{e9}".parse::<Hex<3>>(), Err(BadHex));
    }
}
