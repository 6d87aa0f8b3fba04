//! One-time tokens: what an invitation or an enrolment shows once.
//!
//! Guarantee: the secret itself is never stored, only a keyed hash of it. That a token is used once is
//! the catalog's business ([`crate::Catalog::redeem`]): it happens in the transaction that uses it.

use narrows_format::Timestamp;

use crate::named::named;

named! {
    /// What a token lets its bearer do, once.
    pub enum TokenPurpose {
        /// Pair another domain with this one.
        Pair = "pair",
        /// Enrol a client.
        Enroll = "enroll",
        /// Give a client that is enrolled another certificate; the subject is its UUID.
        Replace = "replace",
        /// Make a media server one of this domain; the subject is its name.
        Join = "join",
        /// Let a media server join again in place of one that lost its key; the subject is the UUID of that one.
        Rejoin = "rejoin",
    }
}

/// What is stored of a token's secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// Of a secret. The secret has the entropy of a key, so one hash is enough.
    pub fn of(secret: &[u8]) -> Self {
        Self(blake3::derive_key("narrows 2026-11 one-time token", secret))
    }
}

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Of its secret.
    pub hash: TokenHash,
    /// What for.
    pub purpose: TokenPurpose,
    /// A name that it is bound to, e.g. the client's; empty binds to none.
    pub subject: String,
    /// When it was made.
    pub made: Timestamp,
    /// From then on it is void.
    pub expires: Timestamp,
    /// When it was used.
    pub used: Option<Timestamp>,
}

/// AUTH-004, without telling which: unknown, used, expired, or for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token is unknown, used or expired")]
pub struct TokenRefused;

impl TokenRefused {
    /// The stable code.
    pub const CODE: &'static str = "AUTH-004";
}

impl Token {
    /// Whether it may be used now for `purpose`.
    pub fn check(&self, purpose: TokenPurpose, now: Timestamp) -> Result<(), TokenRefused> {
        let good = self.purpose == purpose && self.used.is_none() && now < self.expires;
        if good { Ok(()) } else { Err(TokenRefused) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_once_in_time_and_for_its_purpose() {
        let at = |seconds| Timestamp { seconds, nanos: 0 };
        let token = Token {
            hash: TokenHash::of(b"secret"),
            purpose: TokenPurpose::Pair,
            subject: String::new(),
            made: at(0),
            expires: at(10),
            used: None,
        };
        assert_eq!(token.check(TokenPurpose::Pair, at(9)), Ok(()));
        assert_eq!(token.check(TokenPurpose::Pair, at(10)), Err(TokenRefused));
        assert_eq!(token.check(TokenPurpose::Enroll, at(9)), Err(TokenRefused));
        let used = Token { used: Some(at(1)), ..token };
        assert_eq!(used.check(TokenPurpose::Pair, at(2)), Err(TokenRefused));
        assert_ne!(TokenHash::of(b"secret"), TokenHash::of(b"secreu"));
        assert_ne!(TokenHash::of(b"secret").0, *blake3::hash(b"secret").as_bytes());
    }
}
