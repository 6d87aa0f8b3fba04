//! The HTTP API: routes, and what all handlers share.
//!
//! Guarantee: no route but the three whose one-time token is the authority ([`caller::OPEN`]) answers
//! anybody who has not proved who they are. Handlers ask the catalog, order the control task, and decide
//! nothing themselves.

pub mod agent;
pub mod answer;
pub mod audit;
pub mod backups;
pub mod caller;
pub mod certificates;
pub mod clients;
pub mod damage;
pub mod doctor;
pub mod domains;
pub mod ending;
pub mod events;
pub mod expiry;
pub mod finding;
pub mod holdings;
pub mod images;
pub mod jobs;
pub mod kept;
pub mod listener;
pub mod local;
pub mod media_servers;
pub mod metrics;
pub mod orders;
pub mod partner;
pub mod partners;
pub mod places;
pub mod policies;
pub mod pools;
pub mod problems;
pub mod recall;
pub mod releases;
pub mod restores;
pub mod short;
pub mod slp_orders;
pub mod slps;
pub mod status;
pub mod storage;
pub mod timeline;
pub mod topology;
pub mod volumes;
pub mod windows;

use std::{ops::Deref, sync::Arc};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::{self, from_fn},
    routing::{get, post},
};
use narrows_api::{limits::BODY_BYTES_MAX, partner::ReceivePool, paths};
use narrows_domain::{Catalog as _, storage as stored};
use narrows_format::{PoolId, Timestamp};
use narrows_transport::TrustStore;
use tokio::sync::{Semaphore, watch};

use self::answer::{Failure, internal};
use crate::{
    Catalog,
    certificates::Certificates,
    comparing::Comparisons,
    config::Config,
    control::Control,
    damage::Damage,
    folder::{DomainIdentity, Folder},
    limits::CATCH_UP_TIME_MAX,
    lives::Lives,
    marks::Marks,
    offers::Offers,
    pace::Paces,
    parking::{Parking, dialling::Caller},
    partners::{DataAt, Partners},
    pki::{Authority, SigningKey},
    plane::Plane,
    pools::{OpenPool, Pools},
    servers::{
        Servers,
        destination::{Dialler, Switchboard},
    },
    switches::{Clock, FailWrites},
    tickets::Tickets,
    whereabouts::Untold,
};

/// What every part of the server has at hand.
pub struct Shared {
    /// Who the domain is.
    pub who: DomainIdentity,
    /// Settings.
    pub config: Config,
    /// The time.
    pub clock: Clock,
    /// Counts the domains that nobody is believed of any more; connections look when it moves.
    pub parted: watch::Sender<u64>,
    /// The CA, and what this server shows to others.
    pub certificates: Certificates,
    /// Signs image records.
    pub signing: SigningKey,
    /// Who is believed.
    pub trust: Arc<TrustStore>,
    /// Reads; writes go through [`Shared::control`], but for what decides nothing ([`caller::RestoreAny::audit`]).
    pub catalog: Catalog,
    /// The one task that decides and stores.
    pub control: Control,
    /// The ring cores.
    pub plane: Plane,
    /// APIs of other domains.
    pub partners: Partners,
    /// What partners that dial have parked here.
    pub parking: Arc<Parking>,
    /// Partners that are to be told again how this server is reached.
    pub untold: Untold,
    /// Data sessions that were allowed and have not begun.
    pub tickets: Tickets,
    /// Wakes agents when there are runs for them.
    pub offers: Offers,
    /// How fast each target is sent to.
    pub paces: Paces,
    /// This server's life, and whether partners' are alive twice.
    pub lives: Arc<Lives>,
    /// When partners were asked what they hold.
    pub comparisons: Comparisons,
    /// Partners' questions for timelines that may be answered at once.
    pub timelines: Semaphore,
    /// What is damaged in the pools, and what is done about it.
    pub damage: Damage,
    /// Tells an older copy of the catalog.
    pub marks: Marks,
    /// The data folder.
    pub folder: Folder,
    /// The pools that are open, and why others are not.
    pub pools: Pools,
    /// The media servers that joined.
    pub servers: Servers,
    /// For tests: makes writes to pools fail where a switch lets it.
    pub fail_writes: FailWrites,
    /// Since when the server runs.
    pub started: Timestamp,
}

/// [`Shared`], cheap to clone.
#[derive(Clone)]
pub struct App(pub Arc<Shared>);

impl Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Shared {
    /// The CA as it stands.
    pub fn authority(&self) -> Arc<Authority> {
        self.certificates.authority()
    }

    /// How this server dials others.
    pub fn dialler(&self) -> Dialler<'_> {
        let caller = Caller { trust: &self.trust, credentials: &self.certificates.credentials };
        Dialler { caller, switchboard: Switchboard::Here(&self.parking) }
    }

    /// This domain, in the domain's words.
    pub fn own(&self) -> stored::Identity {
        let DomainIdentity { domain, incarnation, ref name, .. } = self.who;
        stored::Identity { domain, incarnation, name: name.clone() }
    }

    /// Waits until the catalog knows what the pools knew when this was called: who was told that an image is
    /// committed finds it. After a while it gives up: the importer has said why in the log.
    pub async fn caught_up(&self) -> Result<(), Failure> {
        let open = self.pools.open_ones();
        let all = futures_util::future::try_join_all(open.iter().map(|pool| self.caught_up_with(pool)));
        tokio::time::timeout(CATCH_UP_TIME_MAX, all).await.map_or(Ok(()), |all| all.map(drop))
    }

    async fn caught_up_with(&self, pool: &OpenPool) -> Result<(), Failure> {
        let mut reached = pool.reached.subscribe();
        let log = self.plane.pool(pool.pool);
        loop {
            let here = *reached.borrow_and_update();
            let behind = match log.events(here, 1).await {
                // What lies on a media server that does not answer holds up nobody else.
                Err(_) if pool.is_away => return Ok(()),
                behind => behind?,
            };
            if behind.is_empty() || reached.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    /// Where clients and other servers reach the data port of the server that has this pool, and which server that is.
    pub fn data_at(&self, pool: PoolId) -> DataAt {
        self.data_away(pool).unwrap_or_else(|| DataAt { address: self.config.data_addr(), server: None })
    }

    /// The same if another media server has it.
    pub fn data_away(&self, pool: PoolId) -> Option<DataAt> {
        let link = self.plane.away(pool)?;
        Some(DataAt { address: link.row().data_address, server: Some(link.server) })
    }

    /// The pools of this domain as partners are told of them.
    pub async fn pools_told(&self) -> Result<Vec<ReceivePool>, Failure> {
        let pools = self.catalog.pools().await.map_err(|error| internal(&error))?;
        let told = |pool: stored::Pool| {
            let open = self.pools.get(pool.id).map(|open| open.incarnation);
            ReceivePool { pool: pool.id, incarnation: open.unwrap_or(pool.incarnation) }
        };
        Ok(pools.into_iter().map(told).collect())
    }

    /// The pool that receives from partners through this storage unit; the first one if there is none of that name.
    pub async fn receive_pool(&self, unit: &str) -> Result<ReceivePool, Failure> {
        let units = self.catalog.storage_units().await.map_err(|error| internal(&error))?;
        let pool = units.iter().find(|it| it.name == unit).map_or(self.who.pool, |unit| unit.pool);
        let told = self.pools_told().await?.into_iter().find(|it| it.pool == pool);
        Ok(told.unwrap_or(ReceivePool { pool, incarnation: 1 }))
    }
}

/// All routes.
pub fn router(app: App) -> Router {
    let people = Router::new()
        .route(paths::WHOAMI, get(status::whoami))
        .route(paths::STATUS, get(status::status))
        .route(paths::DOCTOR, post(doctor::doctor))
        .route(paths::IMAGES, get(images::list))
        .route(paths::IMAGE, get(images::show))
        .route(paths::IMAGE_BROWSE, get(images::browse))
        .route(paths::IMAGE_FIND, get(finding::find))
        .route(paths::IMAGE_DIFF, get(finding::diff))
        .route(paths::IMAGE_REPLICATE, post(images::replicate))
        .route(paths::IMAGE_VERIFY, post(images::verify))
        .route(paths::IMAGE_EXPIRE, post(expiry::expire))
        .route(paths::IMAGE_UNDELETE, post(expiry::undelete))
        .route(paths::IMAGE_PAUSE, post(orders::pause))
        .route(paths::IMAGE_RESUME, post(orders::resume))
        .route(paths::IMAGE_CANCEL, post(orders::cancel))
        .route(paths::IMAGES_REPLICATE, post(orders::backfill))
        .route(paths::IMAGES_RECALL, post(recall::recall))
        .route(paths::SLPS, get(slps::list).post(slps::apply))
        .route(paths::SLP, get(slps::show))
        .route(paths::DOMAINS, get(domains::list))
        .route(paths::DOMAIN, get(domains::show))
        .route(paths::DOMAIN_INVITE, post(domains::invite))
        .route(paths::DOMAIN_PAIR, post(domains::pair).layer(from_fn(answer::to_the_end)))
        .route(paths::TOPOLOGY, get(topology::show))
        .route(paths::REPLICAS, get(topology::replicas))
        .route(paths::JOBS, get(jobs::list))
        .route(paths::JOB, get(jobs::show))
        .route(paths::IMPORTS, get(jobs::imports))
        .merge(events::routes())
        .route(paths::IMPORTS_RETRY, post(jobs::retry))
        .route(paths::PROBLEMS, get(problems::list));
    let machines = Router::new()
        .route(paths::BACKUPS, post(backups::begin))
        .route(paths::RESTORES, post(restores::begin))
        .route(paths::PARTNER_PAIR, post(partner::pair).layer(from_fn(answer::to_the_end)))
        .route(paths::PARTNER_CONFIRM, post(partner::confirm).layer(from_fn(answer::to_the_end)))
        .route(paths::PARTNER_PING, get(partner::ping))
        .route(paths::PARTNER_REACH, get(partner::reach))
        .route(paths::PARTNER_RECEIVE, post(partner::receive))
        .route(paths::PARTNER_LEND, post(partner::lend))
        .route(paths::PARTNER_SLP, get(partner::slp))
        .route(paths::PARTNER_IMPORTS, post(partner::imports))
        .route(paths::PARTNER_RECALL, post(recall::for_partner));
    people
        .merge(partners::routes())
        .merge(timeline::routes())
        .merge(releases::routes())
        .merge(pools::routes())
        .merge(media_servers::routes())
        .merge(damage::routes())
        .merge(storage::routes())
        .merge(windows::routes())
        .merge(holdings::routes())
        .merge(certificates::routes())
        .merge(slp_orders::routes())
        .merge(clients::routes())
        .merge(policies::routes())
        .merge(agent::routes())
        .merge(machines)
        .fallback(answer::no_route)
        .method_not_allowed_fallback(answer::no_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(app.clone(), caller::authenticate))
        .with_state(app)
}
