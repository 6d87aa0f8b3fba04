//! The HTTP API: routes, and what all handlers share.
//!
//! Guarantee: no route but the two whose one-time token is the authority ([`caller::OPEN`]) answers
//! anybody who has not proved who they are. Handlers ask the catalog, order the control task, and decide
//! nothing themselves.

pub mod agent;
pub mod answer;
pub mod backups;
pub mod caller;
pub mod clients;
pub mod doctor;
pub mod domains;
pub mod expiry;
pub mod images;
pub mod jobs;
pub mod kept;
pub mod listener;
pub mod orders;
pub mod partner;
pub mod partners;
pub mod places;
pub mod policies;
pub mod problems;
pub mod recall;
pub mod restores;
pub mod slp_orders;
pub mod slps;
pub mod status;
pub mod storage;
pub mod timeline;
pub mod topology;
pub mod windows;

use std::{ops::Deref, sync::Arc};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post},
};
use narrows_api::{limits::BODY_BYTES_MAX, partner::ReceivePool, paths};
use narrows_domain::storage as stored;
use narrows_format::{Sequence, Timestamp};
use narrows_transport::{Identity, TrustStore};
use tokio::sync::watch;

use self::answer::Failure;
use crate::{
    Catalog,
    config::Config,
    control::Control,
    folder::DomainIdentity,
    limits::CATCH_UP_TIME_MAX,
    offers::Offers,
    pace::Paces,
    partners::Partners,
    pki::{Authority, SigningKey},
    plane::Plane,
    switches::Clock,
    tickets::Tickets,
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
    /// This server, towards others.
    pub identity: Identity,
    /// Issues certificates.
    pub authority: Authority,
    /// Signs image records.
    pub signing: SigningKey,
    /// Who is believed.
    pub trust: Arc<TrustStore>,
    /// Reads; writes go through [`Shared::control`].
    pub catalog: Catalog,
    /// The one task that decides and stores.
    pub control: Control,
    /// The ring cores.
    pub plane: Plane,
    /// APIs of other domains.
    pub partners: Partners,
    /// Data sessions that were allowed and have not begun.
    pub tickets: Tickets,
    /// Wakes agents when there are runs for them.
    pub offers: Offers,
    /// How fast each target is sent to.
    pub paces: Paces,
    /// The pool's incarnation.
    pub pool_incarnation: u64,
    /// The pool's mean segment size in bytes.
    pub segment_mean: u32,
    /// Since when the server runs.
    pub started: Timestamp,
    /// Up to where the pool's image log is in the catalog; set by the importer.
    pub reached: watch::Sender<Sequence>,
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
    /// This domain, in the domain's words.
    pub fn own(&self) -> stored::Identity {
        let DomainIdentity { domain, incarnation, ref name, .. } = self.who;
        stored::Identity { domain, incarnation, name: name.clone() }
    }

    /// Waits until the catalog knows what the pool knew when this was called: who was told that an image is
    /// committed finds it. After a while it gives up: the importer has said why in the log.
    pub async fn caught_up(&self) -> Result<(), Failure> {
        let mut reached = self.reached.subscribe();
        let caught_up = async {
            loop {
                let here = *reached.borrow_and_update();
                if self.plane.events(here, 1).await?.is_empty() || reached.changed().await.is_err() {
                    return Ok(());
                }
            }
        };
        tokio::time::timeout(CATCH_UP_TIME_MAX, caught_up).await.unwrap_or(Ok(()))
    }

    /// The pool that receives from partners.
    pub fn receive_pool(&self) -> ReceivePool {
        ReceivePool { pool: self.who.pool, incarnation: self.pool_incarnation }
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
        .route(paths::IMAGE_REPLICATE, post(images::replicate))
        .route(paths::IMAGE_VERIFY, post(images::verify))
        .route(paths::IMAGE_EXPIRE, post(expiry::expire))
        .route(paths::IMAGE_UNDELETE, post(expiry::undelete))
        .route(paths::IMAGE_PAUSE, post(orders::pause))
        .route(paths::IMAGE_RESUME, post(orders::resume))
        .route(paths::IMAGE_CANCEL, post(orders::cancel))
        .route(paths::IMAGE_RELEASE, post(orders::release))
        .route(paths::IMAGES_REPLICATE, post(orders::backfill))
        .route(paths::IMAGES_RECALL, post(recall::recall))
        .route(paths::IMAGE_TIMELINE, get(timeline::show))
        .route(paths::SLPS, get(slps::list).post(slps::apply))
        .route(paths::SLP, get(slps::show))
        .route(paths::DOMAINS, get(domains::list))
        .route(paths::DOMAIN, get(domains::show))
        .route(paths::DOMAIN_INVITE, post(domains::invite))
        .route(paths::DOMAIN_PAIR, post(domains::pair))
        .route(paths::DOMAIN_PAUSE, post(partners::pause))
        .route(paths::DOMAIN_RESUME, post(partners::resume))
        .route(paths::DOMAIN_LIMIT, post(partners::limit))
        .route(paths::DOMAIN_GRANT, post(partners::grant))
        .route(paths::DOMAIN_UNPAIR, post(partners::unpair))
        .route(paths::TOPOLOGY, get(topology::show))
        .route(paths::REPLICAS, get(topology::replicas))
        .route(paths::JOBS, get(jobs::list))
        .route(paths::JOB, get(jobs::show))
        .route(paths::IMPORTS, get(jobs::imports))
        .route(paths::IMPORTS_RETRY, post(jobs::retry))
        .route(paths::PROBLEMS, get(problems::list));
    let machines = Router::new()
        .route(paths::BACKUPS, post(backups::begin))
        .route(paths::RESTORES, post(restores::begin))
        .route(paths::PARTNER_PAIR, post(partner::pair))
        .route(paths::PARTNER_CONFIRM, post(partner::confirm))
        .route(paths::PARTNER_PING, get(partner::ping))
        .route(paths::PARTNER_REACH, get(partner::reach))
        .route(paths::PARTNER_SLP, get(partner::slp))
        .route(paths::PARTNER_IMPORTS, post(partner::imports))
        .route(paths::PARTNER_TIMELINE, get(timeline::for_partner))
        .route(paths::PARTNER_RECALL, post(recall::for_partner));
    people
        .merge(storage::routes())
        .merge(windows::routes())
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
