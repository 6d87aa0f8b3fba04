//! Joins a domain as a media server: a data folder with a certificate, settings and where the primary is.
//!
//! Guarantee: nothing is overwritten, and the file without which nothing runs is written last. The token is spent by the
//! primary's answer: if writing fails after that, the media server is listed there, and is removed before it joins anew.

use std::path::PathBuf;

use narrows_agent::api::first_contact_with;
use narrows_api::{
    Hex,
    invitation::{Invitation, Purpose},
    media_servers::{JoinReply, JoinRequest},
    paths,
};
use rcgen::KeyPair;

use super::renewal;
use crate::{
    config::{BadSetting, Config, Settings},
    folder::{Folder, Membership, create_private},
    init::{InitError, check_empty, take_away, write_toml},
    pki::PkiError,
    servers::age,
};

/// Where to join, and what is to be made.
#[derive(Clone, Debug)]
pub struct Join {
    /// Whom to ask.
    pub at: Invited,
    /// The data folder.
    pub data: PathBuf,
    /// Settings to write down.
    pub settings: Settings,
}

/// Whom to ask, by which fingerprint it is known, and with which token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invited {
    /// Base URL of the primary.
    pub url: String,
    /// BLAKE3 of its CA certificate's DER.
    pub ca: Hex<32>,
    /// Works once.
    pub token: Hex<32>,
}

impl Invited {
    /// From the line of `media-server invite`, or from its two parts.
    pub fn read(line_or_url: &str, token: Option<&str>) -> Result<Self, BadSetting> {
        let bad = |sentence: String| BadSetting { field: "join", sentence };
        if let Some(token) = token {
            let parts = token.split_once('.');
            let parts = parts.and_then(|(ca, token)| Some((ca.parse().ok()?, token.parse().ok()?)));
            let (ca, token) = parts
                .ok_or_else(|| bad("the token is not the one that `media-server invite` printed".into()))?;
            if !line_or_url.starts_with("https://") {
                return Err(bad(format!("{line_or_url:?} is no URL like https://host:7400")));
            }
            return Ok(Self { url: line_or_url.trim_end_matches('/').to_owned(), ca, token });
        }
        let line: Invitation = line_or_url.parse().map_err(|error| {
            bad(format!("{error}; give the line that `narrowsctl media-server invite NAME` prints, or its URL and --token"))
        })?;
        if line.purpose != Purpose::Join {
            return Err(bad(
                "this line is for something else: `narrowsctl media-server invite NAME` prints one".into(),
            ));
        }
        Ok(Self { url: line.url(), ca: line.ca_fingerprint, token: line.token })
    }
}

/// Joins, with an empty folder; or again, with the folder of a media server that there is: its settings and pools stay as they
/// are, and it gets another certificate.
pub async fn join(join: Join) -> Result<Membership, InitError> {
    join.settings.clone().resolve()?;
    let folder = Folder::new(&join.data);
    if folder.membership().exists() {
        return again(&folder, &join).await;
    }
    check_empty(&folder)?;
    create_private(&join.data)?;
    let lock = folder.lock()?;
    check_empty(&folder)?;
    let outcome = make(&folder, &join).await;
    if outcome.is_err() {
        take_away(&folder);
    }
    drop(lock);
    outcome
}

async fn make(folder: &Folder, join: &Join) -> Result<Membership, InitError> {
    let config = join.settings.clone().resolve()?;
    create_private(&folder.pki())?;
    let settings = Settings { listen: Some(config.listen), ..join.settings.clone() };
    write_toml(&folder.settings(), &settings)?;
    ask(folder, &join.at, (&config, None)).await
}

async fn again(folder: &Folder, join: &Join) -> Result<Membership, InitError> {
    let _lock = folder.lock()?;
    let known = folder.load_membership()?;
    let settings = join.settings.clone().over(Settings::load(&folder.settings())?);
    let config = settings.clone().resolve()?;
    create_private(&folder.pki())?;
    let membership = ask(folder, &join.at, (&config, Some(known.name))).await?;
    write_toml(&folder.settings(), &settings)?;
    Ok(membership)
}

/// Shows the token, and keeps what is answered.
async fn ask(
    folder: &Folder,
    Invited { url, ca, token }: &Invited,
    (config, name): (&Config, Option<String>),
) -> Result<Membership, InitError> {
    let key = KeyPair::generate().map_err(PkiError::from)?;
    let request = JoinRequest {
        token: token.to_string(),
        csr_pem: renewal::request(&key)?,
        url: config.url(),
        data_addr: config.data_addr(),
        name,
    };
    let words = (age::HEADER, config.test.words().to_string());
    let joining = first_contact_with(url, *ca, (paths::MEDIA_SERVER_JOIN, &[words]), &request).await;
    let reply: JoinReply = joining.map_err(|failure| InitError::Join(Box::new(failure)))?;
    renewal::keep(folder, &key, &reply.chain_pem, &reply.ca_pem)?;
    let membership = Membership {
        server: reply.server,
        name: reply.name,
        domain: reply.domain,
        domain_name: reply.domain_name,
        primary: url.clone(),
    };
    folder.save_membership(&membership)?;
    Ok(membership)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: both forms of an invitation say the same, and what is none is told apart.
    #[test]
    fn a_line_and_its_parts_are_one_invitation() {
        let (ca, token) = (Hex([1; 32]), Hex([2; 32]));
        let line = Invitation {
            purpose: Purpose::Join,
            address: "10.0.0.1:7400".into(),
            domain: narrows_format::DomainId([7; 16]),
            name: "east".into(),
            ca_fingerprint: ca,
            token,
            expires: 9,
        };
        let whole = Invited::read(&line.to_string(), None).unwrap();
        let parts = Invited::read("https://10.0.0.1:7400/", Some(&format!("{ca}.{token}"))).unwrap();
        assert_eq!(whole, parts);
        let other = Invitation { purpose: Purpose::Enroll, ..line }.to_string();
        for (text, token) in [
            (other.as_str(), None),
            ("https://10.0.0.1:7400", None),
            ("https://10.0.0.1:7400", Some("abc")),
            ("10.0.0.1:7400", Some(&*format!("{ca}.{token}"))),
        ] {
            assert_eq!(Invited::read(text, token).unwrap_err().field, "join", "{text}");
        }
    }
}
