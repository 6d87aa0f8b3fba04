//! How values stand in columns: times as nanoseconds, identities as bytes, counters as signed numbers.
//!
//! A column that holds anything else is damage, and is said with table and column.

use narrows_domain::operation::Note;
use narrows_format::Timestamp;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::Error;

const NANOS: i64 = 1_000_000_000;

/// As nanoseconds since 1970. The years 1677 to 2262 are exact; beyond, the nearest of them.
pub(crate) fn nanos(time: Timestamp) -> i64 {
    let whole = time.seconds.checked_mul(NANOS);
    let exact = whole.and_then(|whole| whole.checked_add(i64::from(time.nanos)));
    exact.unwrap_or(if time.seconds < 0 { i64::MIN } else { i64::MAX })
}

/// The reverse of [`nanos`].
pub(crate) fn time(nanos: i64) -> Timestamp {
    let rest = nanos.rem_euclid(NANOS);
    Timestamp { seconds: nanos.div_euclid(NANOS), nanos: u32::try_from(rest).unwrap_or(0) }
}

/// A counter; the largest that a column holds stands for all beyond.
pub(crate) fn number(counter: u64) -> i64 {
    i64::try_from(counter).unwrap_or(i64::MAX)
}

/// One row of a known table.
pub(crate) struct Columns<'r> {
    /// For messages.
    pub(crate) table: &'static str,
    /// The row.
    pub(crate) row: &'r SqliteRow,
}

impl Columns<'_> {
    pub(crate) fn corrupt(&self, column: &'static str) -> Error {
        Error::Corrupt { table: self.table, column }
    }

    pub(crate) fn text(&self, column: &'static str) -> Result<String, Error> {
        self.row.try_get(column).map_err(|_| self.corrupt(column))
    }

    pub(crate) fn text_or_null(&self, column: &'static str) -> Result<Option<String>, Error> {
        self.row.try_get(column).map_err(|_| self.corrupt(column))
    }

    /// A word of an enumeration.
    pub(crate) fn word<T: std::str::FromStr>(&self, column: &'static str) -> Result<T, Error> {
        self.text(column)?.parse().map_err(|_| self.corrupt(column))
    }

    /// A word of an enumeration, or nothing.
    pub(crate) fn word_or_null<T: std::str::FromStr>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, Error> {
        let text = self.text_or_null(column)?;
        text.map(|text| text.parse().map_err(|_| self.corrupt(column))).transpose()
    }

    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self, column: &'static str) -> Result<T, Error> {
        serde_json::from_str(&self.text(column)?).map_err(|_| self.corrupt(column))
    }

    pub(crate) fn blob(&self, column: &'static str) -> Result<Vec<u8>, Error> {
        self.row.try_get(column).map_err(|_| self.corrupt(column))
    }

    pub(crate) fn blob_or_null(&self, column: &'static str) -> Result<Option<Vec<u8>>, Error> {
        self.row.try_get(column).map_err(|_| self.corrupt(column))
    }

    pub(crate) fn bytes<const N: usize>(&self, column: &'static str) -> Result<[u8; N], Error> {
        self.blob(column)?.try_into().map_err(|_| self.corrupt(column))
    }

    pub(crate) fn bytes_or_null<const N: usize>(
        &self,
        column: &'static str,
    ) -> Result<Option<[u8; N]>, Error> {
        let blob = self.blob_or_null(column)?;
        blob.map(|blob| blob.try_into().map_err(|_| self.corrupt(column))).transpose()
    }

    fn signed(&self, column: &'static str) -> Result<i64, Error> {
        self.row.try_get(column).map_err(|_| self.corrupt(column))
    }

    pub(crate) fn signed_or_null(&self, column: &'static str) -> Result<Option<i64>, Error> {
        self.row.try_get(column).map_err(|_| self.corrupt(column))
    }

    /// A counter of any unsigned width.
    pub(crate) fn count<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T, Error> {
        T::try_from(self.signed(column)?).map_err(|_| self.corrupt(column))
    }

    pub(crate) fn count_or_null<T: TryFrom<i64>>(&self, column: &'static str) -> Result<Option<T>, Error> {
        let value = self.signed_or_null(column)?;
        value.map(|value| T::try_from(value).map_err(|_| self.corrupt(column))).transpose()
    }

    pub(crate) fn flag(&self, column: &'static str) -> Result<bool, Error> {
        match self.signed(column)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.corrupt(column)),
        }
    }

    pub(crate) fn time(&self, column: &'static str) -> Result<Timestamp, Error> {
        Ok(time(self.signed(column)?))
    }

    pub(crate) fn time_or_null(&self, column: &'static str) -> Result<Option<Timestamp>, Error> {
        Ok(self.signed_or_null(column)?.map(time))
    }

    /// The columns `note_code` and `note`.
    pub(crate) fn note(&self) -> Result<Option<Note>, Error> {
        let Some(code) = self.text_or_null("note_code")? else { return Ok(None) };
        Ok(Some(Note { code, sentence: self.text("note")? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_their_column() {
        for seconds in [-9_000_000_000, -1, 0, 1_800_000_000, 9_000_000_000] {
            for nanos_part in [0, 1, 999_999_999] {
                let instant = Timestamp { seconds, nanos: nanos_part };
                assert_eq!(time(nanos(instant)), instant);
            }
        }
        assert_eq!(nanos(Timestamp { seconds: i64::MAX, nanos: 0 }), i64::MAX);
        assert_eq!(nanos(Timestamp { seconds: i64::MIN, nanos: 0 }), i64::MIN);
    }
}
