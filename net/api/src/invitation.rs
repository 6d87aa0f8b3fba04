//! The one pasteable line: where, whose CA, and a one-time token.
//!
//! `narrows-pair://HOST:PORT/?domain=UUID&name=NAME&ca=HEX64&token=HEX64&expires=UNIX` introduces a partner
//! domain, `narrows-enroll://...` a client, `narrows-join://...` a media server. The CA fingerprint is BLAKE3 over the CA certificate's DER.

use std::{fmt, str::FromStr};

use narrows_format::DomainId;

use crate::{
    Hex,
    limits::{LINE_BYTES_MAX, PLAIN_NAME_BYTES_MAX},
};

/// What the line is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `domain pair`.
    Pair,
    /// `client enroll`.
    Enroll,
    /// `narrowsd init --join`.
    Join,
}

/// The line, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// What for.
    pub purpose: Purpose,
    /// Host and port of the API that invites.
    pub address: String,
    /// Its domain.
    pub domain: DomainId,
    /// The name that it has for itself; letters, digits, `.`, `-`, `_`.
    pub name: String,
    /// BLAKE3 of its CA certificate's DER.
    pub ca_fingerprint: Hex<32>,
    /// Works once.
    pub token: Hex<32>,
    /// Unix seconds after which it works no more.
    pub expires: i64,
}

/// The text is no invitation; the sentence says what is amiss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadInvitation(&'static str);

impl Invitation {
    /// Base URL of the API that invites.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

impl fmt::Display for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.purpose {
            Purpose::Pair => "narrows-pair",
            Purpose::Enroll => "narrows-enroll",
            Purpose::Join => "narrows-join",
        };
        let Self { address, domain, name, ca_fingerprint, token, expires, .. } = self;
        write!(
            f,
            "{scheme}://{address}/?domain={domain}&name={name}&ca={ca_fingerprint}&token={token}&expires={expires}"
        )
    }
}

impl FromStr for Invitation {
    type Err = BadInvitation;

    fn from_str(line: &str) -> Result<Self, BadInvitation> {
        let line = line.trim();
        if line.len() > LINE_BYTES_MAX {
            return Err(BadInvitation("the line is too long to be an invitation"));
        }
        let (purpose, rest) = if let Some(rest) = line.strip_prefix("narrows-pair://") {
            (Purpose::Pair, rest)
        } else if let Some(rest) = line.strip_prefix("narrows-enroll://") {
            (Purpose::Enroll, rest)
        } else if let Some(rest) = line.strip_prefix("narrows-join://") {
            (Purpose::Join, rest)
        } else {
            return Err(BadInvitation(
                "an invitation begins with narrows-pair://, narrows-enroll:// or narrows-join://",
            ));
        };
        let (address, query) = rest.split_once("/?").ok_or(BadInvitation("the line is cut short"))?;
        let field = |name: &str| {
            query.split('&').find_map(|pair| {
                let (key, value) = pair.split_once('=')?;
                (key == name).then_some(value)
            })
        };
        let address_is_plain = !address.is_empty()
            && address.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]_".contains(&b));
        if !address_is_plain {
            return Err(BadInvitation("the address is malformed"));
        }
        Ok(Self {
            purpose,
            address: address.to_owned(),
            domain: field("domain")
                .and_then(|text| text.parse().ok())
                .ok_or(BadInvitation("`domain` is missing or no UUID"))?,
            name: field("name")
                .filter(|name| is_plain_name(name))
                .ok_or(BadInvitation("`name` is missing or malformed"))?
                .to_owned(),
            ca_fingerprint: field("ca")
                .and_then(|text| text.parse().ok())
                .ok_or(BadInvitation("`ca` is missing or malformed"))?,
            token: field("token")
                .and_then(|text| text.parse().ok())
                .ok_or(BadInvitation("`token` is missing or malformed"))?,
            expires: field("expires")
                .and_then(|text| text.parse().ok())
                .ok_or(BadInvitation("`expires` is missing or malformed"))?,
        })
    }
}

/// Names of domains and clients: 1 to 63 letters, digits, `.`, `-`, `_`, beginning with a letter or digit.
pub fn is_plain_name(name: &str) -> bool {
    let first_is_plain = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    first_is_plain
        && name.len() <= PLAIN_NAME_BYTES_MAX
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_refuses_the_rest() {
        let invitation = Invitation {
            purpose: Purpose::Pair,
            address: "[::1]:7400".into(),
            domain: DomainId([7; 16]),
            name: "east".into(),
            ca_fingerprint: Hex([1; 32]),
            token: Hex([2; 32]),
            expires: 1_800_000_000,
        };
        let line = invitation.to_string();
        assert_eq!(line.parse(), Ok(invitation));
        for end in 0..line.len() - 1 {
            if let Ok(read) = line[..end].parse::<Invitation>() {
                // Only the last field, a number, may be cut and still be one.
                assert!(end > line.find("expires=").unwrap(), "{read:?}");
            }
        }
        assert!("https://x/?".parse::<Invitation>().is_err());
        assert!(line.replace("[::1]", "a b").parse::<Invitation>().is_err());
    }
}
