//! The data port that something is dialled at: whose it is, where, and with what ticket.

use std::{net::SocketAddr, sync::Arc};

use narrows_api::{
    Hex,
    text::{by_text, by_text_option},
};
use narrows_domain::retry::{Failure, Side};
use narrows_format::{DomainId, ServerId};
use narrows_transport::{Credentials, TrustStore, trust::Whom};
use serde::{Deserialize, Serialize};

use crate::plane::Dial;

/// Plain data, so that it can be dialled from here or from a media server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// What was given out for this by the other side or by this domain, or zeros.
    pub ticket: Hex<32>,
    /// The partner, or this domain itself.
    #[serde(with = "by_text")]
    pub to: DomainId,
    /// Host and port of the data plane there.
    pub address: String,
    /// The media server that it is, or else the primary: nobody else is believed there.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "by_text_option")]
    pub server: Option<ServerId>,
}

impl Destination {
    /// How it is dialled with these certificates. A certificate that can't be shown is the fault of the side that is named.
    pub async fn dial(
        &self,
        trust: &Arc<TrustStore>,
        credentials: &Arc<Credentials>,
        side: Side,
    ) -> Result<Dial, Failure> {
        let tls = trust.client_config_of(credentials, (self.to, Whom::of(self.server)));
        let tls = tls.map_err(|error| Failure::coded("AUTH-001", side, error.to_string()))?;
        Ok(Dial { partner: self.to, addresses: resolve(&self.address).await?, tls: Arc::new(tls) })
    }
}

/// All addresses of a host and port.
async fn resolve(address: &str) -> Result<Vec<SocketAddr>, Failure> {
    let found = tokio::net::lookup_host(address).await;
    found
        .map(Iterator::collect)
        .map_err(|error| Failure::unreachable(format!("{address} does not resolve: {error}")))
}
