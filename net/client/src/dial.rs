//! Reaches the data port of a domain as an enrolled client.

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    sync::Arc,
};

use narrows_exchange::{
    ExchangeError, HelloFacts, Session,
    hello::{Side, greet},
};
use narrows_format::{DomainId, PoolId, ServerId};
use narrows_ring::world::World;
use narrows_transport::{Identity, Link, LinkError, Security, TrustStore, trust::Whom};
use narrows_wire::Purpose;

/// Where to dial, as whom, and with which ticket.
#[derive(Clone)]
pub struct DataPort {
    /// Host and port.
    pub address: String,
    /// Whose server it has to be; its CA is in `trust`.
    pub domain: DomainId,
    /// Which media server of that domain, or else its primary.
    pub server: Option<ServerId>,
    /// From the API.
    pub ticket: [u8; 32],
    /// Our certificate and key.
    pub identity: Identity,
    /// CAs that are believed.
    pub trust: Arc<TrustStore>,
}

impl DataPort {
    /// Connects, authenticates both sides and says hello.
    pub async fn dial(&self, world: &World, purpose: Purpose) -> Result<Session, ExchangeError> {
        let address = self.resolve(world).await?;
        let config = self
            .trust
            .client_config_to(Some(&self.identity), (self.domain, Whom::of(self.server)))
            .map_err(|error| LinkError::Broken(format!("our certificate: {error}")))?;
        let trust = Arc::clone(&self.trust);
        let security = Security::Dial { config: Arc::new(config), domain: self.domain, trust };
        let link = Link::dial(world, address, security).await?;
        let mut facts = HelloFacts::new(purpose, self.domain, PoolId([0; 16]));
        facts.ticket = self.ticket;
        greet(link, Side::Dialled, &facts).await
    }

    async fn resolve(&self, world: &World) -> Result<SocketAddr, LinkError> {
        let address = self.address.clone();
        let found = world.offload(move || address.to_socket_addrs().map(|mut found| found.next())).await;
        match found {
            Some(Ok(Some(address))) => Ok(address),
            Some(Err(error)) => Err(LinkError::Broken(format!("{}: {error}", self.address))),
            _ => Err(LinkError::Broken(format!("{}: no such address", self.address))),
        }
    }
}
