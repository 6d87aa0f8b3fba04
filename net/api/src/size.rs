//! Numbers as people write them: of bytes, with one meaning for a unit, wherever it is typed, and decimal wherever it is shown;
//! and of things.

use std::fmt;

/// Bytes by a number and a unit: `KiB`, `MiB`, `GiB`, `TiB` are powers of 1024; `k`, `M`, `G`, `T`, alone or with a `B`
/// behind them, are powers of 1000; `B` and none are bytes.
pub fn bytes_in(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "k" | "kB" | "K" | "KB" => 1_000,
        "M" | "MB" => 1_000_000,
        "G" | "GB" => 1_000_000_000,
        "T" | "TB" => 1_000_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// A number of bytes for people.
pub fn shown(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut whole = count;
    let mut unit = 0;
    while whole >= 1_000_000 && unit + 1 < UNITS.len() {
        whole /= 1000;
        unit += 1;
    }
    format!("{}.{} {}", whole / 1000, whole % 1000 / 100, UNITS[unit])
}

/// So many of something: `1 image is`, `2 images are`.
pub fn counted<N: Copy + fmt::Display + PartialEq + From<u8>>(count: N, one: &str, many: &str) -> String {
    let word = if count == N::from(1) { one } else { many };
    format!("{count} {word}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        let said = [0_u64, 1, 2].map(|count| counted(count, "copy", "copies"));
        assert_eq!(said, ["0 copies", "1 copy", "2 copies"]);
        assert_eq!(counted(1_usize, "day", "days"), "1 day");
    }

    #[test]
    fn quantities_are_readable() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1_349_999, "1.3 MB"),
            (2_147_483_648, "2.1 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(shown(count), text);
        }
    }

    #[test]
    fn a_unit_means_one_thing() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("2GiB", 2 << 30),
            ("64 MiB", 64 << 20),
            ("1TiB", 1 << 40),
            ("20M", 20_000_000),
            ("20MB", 20_000_000),
            ("500k", 500_000),
            ("7B", 7),
        ] {
            assert_eq!(bytes_in(text), Some(bytes), "{text}");
        }
        for text in ["", "GiB", "1GiBGiB", "5MM", "-1", "1.5G", "1 Gi", "99999999999TiB", "0x10"] {
            assert_eq!(bytes_in(text), None, "{text}");
        }
    }
}
