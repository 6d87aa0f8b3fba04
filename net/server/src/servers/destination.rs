//! The data port that something is dialled at: whose it is, where, and with what ticket.

use std::{cell::Cell, net::SocketAddr, sync::Arc};

use narrows_api::{
    Hex,
    text::{by_text, by_text_option},
};
use narrows_domain::retry::{Failure, Side};
use narrows_format::{DomainId, ServerId};
use narrows_transport::trust::Whom;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

use crate::{
    parking::{
        Parking,
        dialling::{Caller, Primary, through},
        words::Called,
    },
    plane::{Dial, Way},
};

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
    /// It dials in at the primary, which puts through.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_primary: bool,
}

/// Who dials.
#[derive(Clone, Copy)]
pub struct Dialler<'a> {
    /// What it believes and shows.
    pub caller: Caller<'a>,
    /// How it comes to partners that dial in.
    pub switchboard: Switchboard<'a>,
}

/// How partners are called that dial in.
#[derive(Clone, Copy)]
pub enum Switchboard<'a> {
    /// By what they parked here.
    Here(&'a Parking),
    /// By this domain's primary.
    At(Primary<'a>),
}

impl Destination {
    /// How it is dialled with these certificates. A certificate that can't be shown is the fault of the side that is named.
    pub async fn dial(&self, with: Dialler<'_>, side: Side) -> Result<Dial, Failure> {
        let tls =
            with.caller.trust.client_config_of(with.caller.credentials, (self.to, Whom::of(self.server)));
        let tls = tls.map_err(|error| Failure::coded("AUTH-001", side, error.to_string()))?;
        let way = match with.switchboard {
            _ if !self.by_primary => Way::At(resolve(&self.address).await?),
            Switchboard::Here(parking) => {
                let called = parking.call(self.to, Called::Data(self.server)).await;
                parked(called.map_err(Failure::unreachable)?)?
            }
            Switchboard::At(primary) => {
                parked(Box::pin(through(with.caller, primary, (self.to, self.server))).await?)?
            }
        };
        Ok(Dial { partner: self.to, way, tls: Arc::new(tls) })
    }
}

/// For a data thread.
fn parked(stream: TcpStream) -> Result<Way, Failure> {
    let stream = stream.into_std().map_err(|error| Failure::unreachable(error.to_string()))?;
    Ok(Way::Parked(Cell::new(Some(stream.into()))))
}

/// All addresses of a host and port.
async fn resolve(address: &str) -> Result<Vec<SocketAddr>, Failure> {
    let found = tokio::net::lookup_host(address).await;
    found
        .map(Iterator::collect)
        .map_err(|error| Failure::unreachable(format!("{address} does not resolve: {error}")))
}
