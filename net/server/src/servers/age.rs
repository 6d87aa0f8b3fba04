//! Which versions of the words between the servers of a domain a build speaks.
//!
//! Guarantee: a request between a primary and its media servers says in its head which versions its sender speaks; without one
//! in common it is refused before its body is read (WIRE-001, with both ranges in words). With one they need not be of one
//! build: what a build adds has a default, and what it does not know it passes over. A change that the other side would
//! misread is another version.

use std::{fmt, str::FromStr};

use axum::http::HeaderMap;
use narrows_api::ApiError;
use narrows_domain::retry::NO_VERSION;

/// The head of a request in which its sender says it.
pub const HEADER: &str = "narrows-words";

/// The oldest and the newest version that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    oldest: u16,
    newest: u16,
}

impl Age {
    /// This build's.
    pub const OURS: Self = Self { oldest: 1, newest: 1 };
    /// That of builds that say nothing.
    const SILENT: Self = Self { oldest: 1, newest: 1 };

    /// One version and no other.
    pub const fn only(version: u16) -> Self {
        Self { oldest: version, newest: version }
    }

    /// Refuses a request whose sender speaks no version that we do. `we` and `sender` say who that is.
    pub fn check(self, headers: &HeaderMap, we: &str, sender: &str) -> Result<(), ApiError> {
        // What is no text is no version either.
        let said = headers.get(HEADER).map(|said| said.to_str().unwrap_or_default());
        let theirs = said.map_or(Some(Self::SILENT), |said| said.parse().ok());
        if theirs.is_some_and(|theirs| theirs.oldest <= self.newest && self.oldest <= theirs.newest) {
            return Ok(());
        }
        let theirs = theirs.map_or_else(|| "something else".to_owned(), Self::in_words);
        let sentence =
            format!("no common version: {we} speaks {}, {sender} speaks {theirs}", self.in_words());
        Err(ApiError::new(NO_VERSION, sentence).help("update the older of the two"))
    }

    fn in_words(self) -> String {
        format!("{}..={}", self.oldest, self.newest)
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.oldest, self.newest)
    }
}

impl FromStr for Age {
    type Err = ();

    fn from_str(said: &str) -> Result<Self, ()> {
        let (oldest, newest) = said.split_once('-').ok_or(())?;
        let number = |text: &str| text.parse().map_err(|_| ());
        Ok(Self { oldest: number(oldest)?, newest: number(newest)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(said: Option<&str>) -> HeaderMap {
        said.map(|said| (axum::http::HeaderName::from_static(HEADER), said.parse().unwrap()))
            .into_iter()
            .collect()
    }

    /// Goal: ranges that meet are good; others, and what is none, are refused with both of them in words.
    #[test]
    fn ranges_that_meet_are_spoken() {
        let ours = Age { oldest: 1, newest: 3 };
        for good in [None, Some("3-9"), Some("1-1"), Some("2-2"), Some("0-65535")] {
            assert_eq!(ours.check(&said(good), "the primary", "`m2`"), Ok(()), "{good:?}");
        }
        for bad in ["4-9", "0-0", "9-4", "x", "", "1", "-1-1", "1-70000"] {
            let refused = ours.check(&said(Some(bad)), "the primary", "`m2`").unwrap_err();
            assert_eq!(refused.code, "WIRE-001", "{bad}");
        }
        let refused = ours.check(&said(Some(&Age::only(9).to_string())), "the primary", "`m2`").unwrap_err();
        assert_eq!(refused.message, "no common version: the primary speaks 1..=3, `m2` speaks 9..=9");
        assert!(Age { oldest: 2, newest: 3 }.check(&said(None), "the primary", "`m2`").is_err());
    }
}
