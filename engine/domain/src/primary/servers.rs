//! Media servers: joined, drained, removed.
//!
//! Guarantee: none goes while something lies in its pools or names them. Whether one answers, and that a drained one takes
//! nothing new, is said of its pools ([`Primary::pool_stands`]); no rule of placing knows servers.

use narrows_format::{PoolId, ServerId, Timestamp};

use super::storage::{CLASH, absent, check_name, taken};
use super::{Done, Primary, lost};
use crate::catalog::Catalog;
use crate::event::{Change, Command, Decision};
use crate::image::ImageCopy;
use crate::limits::MEDIA_SERVERS_MAX;
use crate::machine::{Refusal, order};
use crate::moment::Moment;
use crate::slp::version::list;
use crate::storage::{MediaServer, Pool};
use crate::token::TokenPurpose;
use crate::topology;

impl<C: Catalog> Primary<C> {
    /// Whether a media server of this name could join: the name is one, and free (API-003).
    pub async fn check_new_server(&self, name: &str) -> Done<(), C> {
        check_name("media server", name)?;
        let servers = self.ask(self.catalog.media_servers()).await?;
        if name == MediaServer::PRIMARY || servers.iter().any(|it| it.name == name) {
            return Err(taken("media server", name).into());
        }
        if servers.len() >= MEDIA_SERVERS_MAX {
            let sentence = format!("this domain has {MEDIA_SERVERS_MAX} media servers already");
            return Err(Refusal::new(CLASH, sentence, "use pools on those that are there").into());
        }
        Ok(())
    }

    /// TOPO-001: what stores for this domain is not where a partner receives.
    async fn check_server_apart(&self, server: &MediaServer) -> Done<(), C> {
        let partners = self.ask(self.catalog.partners()).await?;
        Ok(topology::check_server(server, &partners)?)
    }

    /// Uses a token with which a media server joins (AUTH-004, API-003 for a name that is taken meanwhile, TOPO-001).
    pub async fn join_server(&mut self, secret: &[u8], server: MediaServer, moment: Moment) -> Done<(), C> {
        self.check_new_server(&server.name).await?;
        self.check_server_apart(&server).await?;
        self.redeem(secret, TokenPurpose::Join, &[Change::MediaServer(server)], moment).await?;
        Ok(())
    }

    /// Uses a token with which a media server joins in the place of one that lost its key: it has the name, the pools and
    /// the draining of that one, and a UUID of its own, so that no certificate of that one is anybody's any more (AUTH-004, TOPO-001).
    pub async fn rejoin_server(
        &mut self,
        secret: &[u8],
        (former, server): (ServerId, MediaServer),
        moment: Moment,
    ) -> Done<(MediaServer, Vec<PoolId>), C> {
        let servers = self.ask(self.catalog.media_servers()).await?;
        let Some(known) = servers.into_iter().find(|it| it.id == former) else {
            return Err(absent("media server", &former.to_string()).into());
        };
        let server = MediaServer { name: known.name, draining: known.draining, ..server };
        self.check_server_apart(&server).await?;
        let pools: Vec<_> = self.pools_of_server(former).await?.into_iter().map(|it| it.id).collect();
        let instead = Change::MediaServerInstead(former, server.clone());
        self.redeem(secret, TokenPurpose::Rejoin, &[instead], moment).await?;
        Ok((server, pools))
    }

    /// Lets nothing new go to the pools of a media server from now on, or lets it again. Draining one that is being drained
    /// leaves the time as it is.
    pub async fn drain_server(&mut self, name: &str, undo: bool, moment: Moment) -> Done<MediaServer, C> {
        let mut server = self.server_called(name).await?;
        server.draining = if undo { None } else { server.draining.or(Some(moment.now)) };
        self.store(&[Change::MediaServer(server.clone())]).await?;
        Ok(server)
    }

    /// A media server is reached elsewhere from now on (TOPO-001).
    pub async fn move_server(
        &mut self,
        name: &str,
        url: String,
        data_address: String,
    ) -> Done<MediaServer, C> {
        let server = MediaServer { url, data_address, ..self.server_called(name).await? };
        self.check_server_apart(&server).await?;
        self.store(&[Change::MediaServer(server.clone())]).await?;
        Ok(server)
    }

    /// The certificate of a media server was renewed; `None` if it has been removed.
    pub async fn server_renewed(&mut self, id: ServerId, serial: String) -> Done<Option<MediaServer>, C> {
        let servers = self.ask(self.catalog.media_servers()).await?;
        let Some(known) = servers.into_iter().find(|it| it.id == id) else { return Ok(None) };
        let server = MediaServer { serial, ..known };
        self.store(&[Change::MediaServer(server.clone())]).await?;
        Ok(Some(server))
    }

    /// A media server says when the certificate ends that it shows; `None` if that was known, or it has been removed.
    pub async fn server_certified(&mut self, id: ServerId, until: Timestamp) -> Done<Option<MediaServer>, C> {
        let servers = self.ask(self.catalog.media_servers()).await?;
        let news = servers.into_iter().find(|it| it.id == id && it.certificate_until != Some(until));
        let Some(known) = news else { return Ok(None) };
        let server = MediaServer { certificate_until: Some(until), ..known };
        self.store(&[Change::MediaServer(server.clone())]).await?;
        Ok(Some(server))
    }

    /// What stands against the removal of a media server, in words for a list: copies in its pools, units before them.
    pub async fn server_uses(&self, name: &str) -> Done<Vec<String>, C> {
        let server = self.server_called(name).await?;
        let copies = self.ask(self.catalog.pool_copies()).await?;
        let held = |pool: PoolId| copies.iter().find(|(it, _)| *it == pool).map_or(0, |(_, count)| *count);
        let units = self.ask(self.catalog.storage_units()).await?;
        let mut uses = Vec::new();
        for pool in self.pools_of_server(server.id).await? {
            if held(pool.id) > 0 {
                let copies = if held(pool.id) == 1 { "copy" } else { "copies" };
                uses.push(format!("{} {copies} in pool `{}`", held(pool.id), pool.name));
            }
            let before = units.iter().filter(|unit| unit.pool == pool.id);
            uses.extend(before.map(|unit| format!("storage unit `{}` on pool `{}`", unit.name, pool.name)));
        }
        Ok(uses)
    }

    /// The copies in the pools of a media server are lost with it, so many at a time; `None` when there are no more. Where the last
    /// one goes that could be read, those elsewhere that were let go and are still there are brought back and live as long as it
    /// would have; where there are none the image is marked as lost, and what it was still to be copied to is cancelled.
    pub async fn lose_copies(
        &mut self,
        name: &str,
        limit: u32,
        moment: Moment,
    ) -> Done<Option<Vec<Command>>, C> {
        let server = self.server_called(name).await?;
        let pools = self.pools_of_server(server.id).await?;
        let goes_too = |copy: &ImageCopy| pools.iter().any(|pool| pool.id == copy.pool);
        for pool in &pools {
            let mut decision = Decision::nothing();
            for copy in self.ask(self.catalog.copies_in(pool.id, limit)).await? {
                let loaded = self.load_image(copy.image).await?;
                let (with_it, left): (Vec<_>, Vec<_>) = loaded.copies.iter().partition(|it| goes_too(it));
                if let Some(image) = loaded.image.as_ref().filter(|_| left.is_empty()) {
                    let view = loaded.replication_view();
                    let (_, cancelled) = order::cancel(image, &view, None, |_| None, moment.now);
                    decision.changes.extend(cancelled.changes);
                    decision.commands.extend(cancelled.commands);
                }
                let mut gone = self.copy_gone(pool.id, copy.image, moment).await?;
                lost::went(&loaded, (&with_it, &left), moment.now, &mut gone);
                decision.and(gone);
            }
            if !decision.changes.is_empty() {
                return Ok(Some(self.settle(decision, moment).await?));
            }
        }
        Ok(None)
    }

    /// Removes the storage units before the pools of a media server that is lost: an SLP that names one finds none, until one of
    /// that name is made on another pool.
    pub async fn lose_units(&mut self, name: &str) -> Done<(), C> {
        let server = self.server_called(name).await?;
        let pools = self.pools_of_server(server.id).await?;
        let mut units = self.ask(self.catalog.storage_units()).await?;
        units.retain(|unit| pools.iter().any(|pool| pool.id == unit.pool));
        let gone: Vec<_> = units.into_iter().map(|unit| Change::StorageUnitGone(unit.name)).collect();
        self.store(&gone).await
    }

    async fn pools_of_server(&self, server: ServerId) -> Done<Vec<Pool>, C> {
        let pools = self.ask(self.catalog.pools()).await?;
        Ok(pools.into_iter().filter(|it| it.server == Some(server)).collect())
    }

    /// Forgets a media server and its pools, in which nothing lies and which nothing names (API-003).
    pub async fn remove_server(&mut self, name: &str, moment: Moment) -> Done<(MediaServer, Vec<PoolId>), C> {
        let server = self.server_called(name).await?;
        let uses = self.server_uses(name).await?;
        if !uses.is_empty() {
            let sentence = format!("media server `{name}` is needed by {}", list(&uses));
            let help = format!(
                "`narrowsctl media-server drain {name}`, let its copies expire or copy them elsewhere, then remove its units; if it is lost: --lost"
            );
            return Err(Refusal::new(CLASH, sentence, help).into());
        }
        let pools: Vec<_> = self.pools_of_server(server.id).await?.into_iter().map(|it| it.id).collect();
        self.store(&[Change::MediaServerGone(server.id)]).await?;
        self.troubles.retain(|pool, _| !pools.contains(pool));
        let lost = self.lose_arrivals(&pools, moment).await;
        self.note(lost);
        Ok((server, pools))
    }

    /// The media server of this name (SLP-013).
    pub async fn server_called(&self, name: &str) -> Done<MediaServer, C> {
        let servers = self.ask(self.catalog.media_servers()).await?;
        let found = servers.into_iter().find(|it| it.name == name);
        found.ok_or_else(|| absent("media server", name).into())
    }
}
