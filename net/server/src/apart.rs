//! TOPO-001 by where addresses lead: a host name and its address are one place. The domain compares them as they are written.
//!
//! It is looked at when an address is told anew. A name that can't be looked up is not what anybody is reached by here.

use std::{collections::BTreeSet, net::SocketAddr};

use narrows_api::ApiError;
use narrows_domain::{
    Catalog as _,
    partner::{Dials, Partner, Trust},
    storage::MediaServer,
};
use tokio::{net::lookup_host, time::timeout};

use crate::{
    api::{
        App,
        answer::{Failure, internal},
    },
    limits::LOOK_UP_TIME_MAX,
};

/// Refuses a partner that would receive at a data port of this domain.
pub async fn check_partner(app: &App, name: &str, data_addr: &str) -> Result<(), Failure> {
    let own = (MediaServer::PRIMARY.to_owned(), app.config.data_addr());
    let joined = app.servers.all().into_iter().map(|link| link.row()).map(|row| (row.name, row.data_address));
    let theirs = places(data_addr).await;
    for (server, address) in std::iter::once(own).chain(joined) {
        if address == data_addr || is_one_of(&theirs, &address).await {
            let sentence = format!(
                "domain `{name}` receives at {data_addr}, the data port of media server `{server}` of this domain"
            );
            let help = format!("let another pool receive in domain `{name}`, on a server of its own");
            return Err(ApiError::new("TOPO-001", sentence).help(help).into());
        }
    }
    Ok(())
}

/// Refuses a media server whose data port is where a partner receives.
pub async fn check_server(app: &App, data_addr: &str) -> Result<(), Failure> {
    let theirs = places(data_addr).await;
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let is_dialled = |it: &&Partner| it.trust != Trust::Unpaired && it.dials != Dials::Partner;
    for partner in partners.iter().filter(is_dialled) {
        if is_one_of(&theirs, &partner.data_address).await {
            let sentence = format!(
                "a media server would store at {data_addr}, where domain `{}` receives",
                partner.name
            );
            let help = "let it listen on an address of its own, and say that one";
            return Err(ApiError::new("TOPO-001", sentence).help(help).into());
        }
    }
    Ok(())
}

async fn is_one_of(places_there: &BTreeSet<SocketAddr>, address: &str) -> bool {
    !places_there.is_empty() && places(address).await.iter().any(|place| places_there.contains(place))
}

async fn places(address: &str) -> BTreeSet<SocketAddr> {
    match timeout(LOOK_UP_TIME_MAX, lookup_host(address)).await {
        Ok(Ok(places)) => places.collect(),
        Ok(Err(_)) | Err(_) => BTreeSet::new(),
    }
}
