//! TOPO-001: what stores for this domain does not receive for another one.
//!
//! A storage server is known by the address of its data port, and by the pools that it has. Were it both, what is replicated
//! would stay where it was, and one disaster would take both copies.

use crate::machine::Refusal;
use crate::partner::{Dials, Partner, Trust};
use crate::storage::{MediaServer, Pool};

/// What stores for this domain.
#[derive(Clone, Copy, Debug)]
pub struct OwnStorage<'a> {
    /// Host and port of the primary's own data plane; empty if that is not known.
    pub data_address: &'a str,
    /// Media servers that joined.
    pub servers: &'a [MediaServer],
    /// Its pools.
    pub pools: &'a [Pool],
}

impl OwnStorage<'_> {
    /// What of it a partner says to receive with, in one sentence.
    pub fn shared_with(&self, partner: &Partner) -> Option<String> {
        let name = &partner.name;
        let is_theirs = |id| partner.receive_pool.iter().chain(&partner.pools).any(|it| it.pool == id);
        if let Some(own) = self.pools.iter().find(|own| is_theirs(own.id)) {
            return Some(format!("what receives in domain `{name}` is pool `{}` of this domain", own.name));
        }
        // The address of one that dials in leads nowhere from here.
        let is_dialled = partner.dials != Dials::Partner;
        let address = Some(partner.data_address.as_str()).filter(|it| is_dialled && !it.is_empty())?;
        let server = self.servers.iter().find(|it| it.data_address == address).map(|it| it.name.as_str());
        let server = server.or_else(|| (self.data_address == address).then_some(MediaServer::PRIMARY))?;
        Some(format!(
            "domain `{name}` receives at {address}, the data port of media server `{server}` of this domain"
        ))
    }

    /// Refuses a partner that would receive with it.
    pub fn check(&self, partner: &Partner) -> Result<(), Refusal> {
        self.shared_with(partner).map_or(Ok(()), |sentence| {
            let help =
                format!("let another pool receive in domain `{}`, on a server of its own", partner.name);
            Err(Refusal::new("TOPO-001", sentence, help))
        })
    }
}

/// Refuses a media server whose data port is where a partner receives.
pub fn check_server(server: &MediaServer, partners: &[Partner]) -> Result<(), Refusal> {
    let MediaServer { name, data_address, .. } = server;
    let is_theirs = |it: &&Partner| {
        it.trust != Trust::Unpaired && it.dials != Dials::Partner && it.data_address == *data_address
    };
    let Some(partner) = partners.iter().find(is_theirs) else { return Ok(()) };
    let sentence = format!(
        "media server `{name}` would store at {data_address}, where domain `{}` receives",
        partner.name
    );
    Err(Refusal::new("TOPO-001", sentence, "let it listen on an address of its own, and say that one"))
}

#[cfg(test)]
mod tests {
    use narrows_format::{DomainId, PoolId, ServerId, Timestamp};

    use super::*;
    use crate::partner::ReceivePool;

    const NOW: Timestamp = Timestamp { seconds: 1_800_000_000, nanos: 0 };

    fn partner(data_address: &str, pool: u8) -> Partner {
        let pools = vec![ReceivePool { pool: PoolId([pool; 16]), incarnation: 1 }];
        let trust = Trust::Complete;
        let data_address = data_address.to_owned();
        Partner { data_address, trust, pools, ..Partner::half(DomainId([2; 16]), 1, "west", NOW) }
    }

    #[test]
    fn topo_001_a_storage_server_stores_for_one_domain() {
        let m1 = MediaServer {
            id: ServerId([3; 16]),
            name: "m1".into(),
            url: "https://m1:7400".into(),
            data_address: "m1:7401".into(),
            serial: String::new(),
            joined: NOW,
            draining: None,
            certificate_until: None,
        };
        let pools = [Pool::new(PoolId([1; 16]), "vault")];
        let servers = [m1.clone()];
        let own = OwnStorage { data_address: "east:7401", servers: &servers, pools: &pools };
        for (address, pool, said) in [
            ("west:7401", 2, None),
            ("", 2, None),
            ("west:7401", 1, Some("pool `vault`")),
            ("m1:7401", 2, Some("media server `m1`")),
            ("east:7401", 2, Some("media server `primary`")),
        ] {
            let told = own.check(&partner(address, pool)).err();
            assert_eq!(
                told.as_ref().map(|it| it.code.as_str()),
                said.map(|_| "TOPO-001"),
                "{address} {pool}"
            );
            assert!(told.is_none_or(|it| it.sentence.contains(said.unwrap_or_default())), "{address} {pool}");
        }
        let west = partner("m1:7401", 2);
        assert_eq!(check_server(&m1, std::slice::from_ref(&west)).unwrap_err().code, "TOPO-001");
        let parted = Partner { trust: Trust::Unpaired, ..west };
        assert!(check_server(&m1, &[parted, partner("west:7401", 2)]).is_ok());
        // An address that nobody dials is no place; a pool is one.
        let dials_in = |pool| Partner { dials: Dials::Partner, ..partner("m1:7401", pool) };
        assert!(own.check(&dials_in(2)).is_ok() && check_server(&m1, &[dials_in(2)]).is_ok());
        assert_eq!(own.check(&dials_in(1)).unwrap_err().code, "TOPO-001");
    }
}
