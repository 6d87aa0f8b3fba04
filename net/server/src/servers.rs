//! The media servers that joined this domain, as its primary knows them.
//!
//! The primary and a media server speak by requests both ways, each with its certificate: questions of data sessions go up
//! ([`asked`], answered in [`door`]), orders to pools and errands go down ([`link`]). What was a bounded channel inside one
//! process is a bounded request here, and the same code stands on both ends of it.
//!
//! Guarantees: a pool of a media server that does not answer can't be read and takes nothing, and says why; what ran there is
//! tried again, and its log is read on from the cursor. Nothing is lost or done twice that would not be by a crash of a
//! single server.

pub mod age;
pub mod asked;
pub mod destination;
pub mod door;
pub mod errand;
pub mod guests;
pub mod link;
pub mod mending;
pub mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use narrows_api::{ApiError, Hex};
use narrows_catalog::SqliteCatalog;
use narrows_domain::{Catalog as _, retry::Failure as Broken, storage::Pool};
use narrows_format::{DomainId, ServerId, Timestamp};
use narrows_transport::{Credentials, TrustStore};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout},
};

use self::{
    guests::Guests,
    link::{Found, Link},
    words::{Blob, PaceTold, PoolTold, Stand, Stood, TrustTold},
};
use crate::{
    api::{
        App,
        answer::{Failure, internal},
    },
    limits::{GUEST_SILENT_MAX, MEDIA_LOOK, MEDIA_RETRY_MAX, MEDIA_RETRY_MIN},
    plane::Plane,
    run::RunError,
    time::millis_between,
};

/// All that joined.
pub struct Servers {
    known: Mutex<BTreeMap<ServerId, Arc<Link>>>,
    /// Sessions on them.
    pub guests: Guests,
    changes: watch::Sender<u64>,
    /// Who is believed: of this domain's media servers, those that joined and no others.
    trust: Arc<TrustStore>,
    domain: DomainId,
}

impl Servers {
    /// Those that the catalog knows; their pools are theirs from now on.
    pub async fn load(
        catalog: &SqliteCatalog,
        plane: &Plane,
        (domain, trust, credentials): (DomainId, &Arc<TrustStore>, &Arc<Credentials>),
    ) -> Result<Self, RunError> {
        let mut known = BTreeMap::new();
        for row in catalog.media_servers().await? {
            match Link::new(row, domain, trust, credentials) {
                Ok(link) => drop(known.insert(link.server, Arc::new(link))),
                Err(error) => return Err(RunError::Link(error.message)),
            }
        }
        let servers = Self {
            known: Mutex::new(known),
            guests: Guests::default(),
            changes: watch::Sender::new(0),
            trust: Arc::clone(trust),
            domain,
        };
        servers.believe();
        for pool in catalog.pools().await? {
            if let Some(link) = pool.server.and_then(|server| servers.get(server)) {
                plane.set_away(pool.id, link);
            }
        }
        Ok(servers)
    }

    /// One of them.
    pub fn get(&self, server: ServerId) -> Option<Arc<Link>> {
        self.known().get(&server).cloned()
    }

    /// The one of this name.
    pub fn called(&self, name: &str) -> Option<Arc<Link>> {
        self.all().into_iter().find(|link| link.row().name == name)
    }

    /// All, by UUID.
    pub fn all(&self) -> Vec<Arc<Link>> {
        self.known().values().cloned().collect()
    }

    /// One joined.
    pub fn add(&self, link: Arc<Link>) {
        self.known().insert(link.server, link);
        self.believe();
        self.changes.send_modify(|count| *count += 1);
    }

    /// One was removed: none of its certificates is believed any more, after a restart neither.
    pub fn forget(&self, server: ServerId) {
        let removed = self.known().remove(&server);
        self.believe();
        if let Some(link) = removed {
            link.cut_off();
            link.nudge.notify_one();
        }
    }

    fn believe(&self) {
        let known = self.known();
        self.trust.set_media(self.domain, known.keys().copied().collect());
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<ServerId, Arc<Link>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks after each of them for as long as the server runs.
pub async fn watch(app: App) {
    let mut changes = app.servers.changes.subscribe();
    let (mut watched, mut tasks) = (BTreeSet::new(), JoinSet::new());
    loop {
        changes.borrow_and_update();
        for link in app.servers.all() {
            if watched.insert(link.server) {
                tasks.spawn(look_after(app.clone(), link));
            }
        }
        tokio::select! {
            Some(ended) = tasks.join_next() => match ended {
                Ok(server) => drop(watched.remove(&server)),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => return,
            },
            outcome = changes.changed() => if outcome.is_err() { return },
        }
    }
}

/// Until it is removed.
async fn look_after(app: App, link: Arc<Link>) -> ServerId {
    let server = link.server;
    let (mut pause, mut mark, mut run) = (MEDIA_RETRY_MIN, Hex([0; 32]), None);
    let mut silent: Option<Instant> = None;
    while app.servers.get(server).is_some() {
        let wait = match ask(&app, &link, &mut mark).await {
            Ok(stood) => {
                if run.replace(stood.run).is_some_and(|before| before != stood.run) {
                    end_all(&app, server, "the media server was started anew").await;
                }
                (silent, pause) = (None, MEDIA_RETRY_MIN);
                MEDIA_LOOK
            }
            Err(error) => {
                is_down(&app, &link, &error).await;
                if silent.get_or_insert_with(Instant::now).elapsed() >= GUEST_SILENT_MAX {
                    end_all(&app, server, "the media server does not answer any more").await;
                }
                let wait = pause;
                pause = (pause * 2).min(MEDIA_RETRY_MAX);
                wait
            }
        };
        drop(timeout(wait, link.nudge.notified()).await);
    }
    end_all(&app, server, "the media server is none of this domain any more").await;
    server
}

/// Says how things stand and takes in how they stand there.
async fn ask(app: &App, link: &Arc<Link>, mark: &mut Hex<32>) -> Result<Stood, ApiError> {
    let pools: Vec<_> = pools_of(app, link.server).await.map_err(|Failure(error)| error)?;
    let (trust_mark, trust) = trust_told(&app.trust);
    let mut pools_told = Vec::with_capacity(pools.len());
    for pool in &pools {
        let latest = app.catalog.latest_cursor(pool.id).await;
        let read = latest.map_err(|error| internal(&error).0)?;
        pools_told
            .push(PoolTold { read: read.map(|(incarnation, up_to)| (incarnation, up_to.0)), ..told(pool) });
    }
    let mut stand = Stand {
        pools: pools_told,
        trust_mark,
        trust: (*mark != trust_mark).then(|| trust.clone()),
        paces: paces_of(app, &pools),
    };
    let mut stood = link.stand(&stand).await?;
    if stood.trust_mark != trust_mark {
        // It was started anew: nothing goes there before it knows whom to believe.
        stand.trust = Some(trust);
        stood = link.stand(&stand).await?;
    }
    *mark = stood.trust_mark;
    is_up(app, link, &pools, &stood);
    certified(app, link, &stood).await;
    Ok(stood)
}

/// When its certificate ends is remembered: it may not be there to say it when that comes near.
async fn certified(app: &App, link: &Arc<Link>, stood: &Stood) {
    let server = link.server;
    let until = stood.certificate_until.map(Timestamp::from);
    let Some(until) = until.filter(|until| link.row().certificate_until != Some(*until)) else { return };
    let saying = app.control.act(move |primary, _| {
        Box::pin(async move { Ok((primary.server_certified(server, until).await?, Vec::new())) })
    });
    match saying.await {
        Ok(row) => row.into_iter().for_each(|row| link.set_row(row)),
        Err(Failure(error)) => tracing::debug!(%error, "when a certificate ends could not be noted"),
    }
}

/// The pools that a media server has.
pub async fn pools_of(app: &App, server: ServerId) -> Result<Vec<Pool>, Failure> {
    let pools = app.catalog.pools().await.map_err(|error| internal(&error))?;
    Ok(pools.into_iter().filter(|pool| pool.server == Some(server)).collect())
}

/// A pool as its media server is told of it.
pub fn told(pool: &Pool) -> PoolTold {
    PoolTold { pool: pool.id, name: pool.name.clone(), directories: pool.directories.clone(), read: None }
}

/// Whom to believe, and a name for that.
fn trust_told(trust: &TrustStore) -> (Hex<32>, Vec<TrustTold>) {
    let blobs = |all: Vec<Vec<u8>>| all.into_iter().map(Blob).collect();
    let of = |domain| TrustTold {
        domain,
        cas: blobs(trust.certificates_of(domain).iter().map(|ca| ca.to_vec()).collect()),
        revoked: blobs(trust.revoked_of(domain)),
        media: trust.media_of(domain).map(|known| known.into_iter().map(|it| Hex(it.0)).collect()),
    };
    let all: Vec<_> = trust.domains().into_iter().map(of).collect();
    let mut hasher = blake3::Hasher::new();
    for told in &all {
        hasher.update(&told.domain.0);
        for part in [&told.cas, &told.revoked] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            for blob in part {
                hasher.update(&(blob.0.len() as u64).to_le_bytes()).update(&blob.0);
            }
        }
        hasher.update(&[u8::from(told.media.is_some())]);
        for server in told.media.iter().flatten() {
            hasher.update(&[1]).update(&server.0);
        }
        hasher.update(&[0]);
    }
    (Hex(*hasher.finalize().as_bytes()), all)
}

fn paces_of(app: &App, pools: &[Pool]) -> Vec<PaceTold> {
    let all = app.paces.allowances().into_iter();
    let theirs = all.filter(|(pool, ..)| pools.iter().any(|it| it.id == *pool));
    theirs.map(|(pool, partner, allowed)| PaceTold { pool, partner, allowed }).collect()
}

fn is_up(app: &App, link: &Arc<Link>, pools: &[Pool], stood: &Stood) {
    let now = app.clock.now();
    let since = match link.found() {
        Found::Up { since, .. } => since,
        Found::NotAsked | Found::Down { .. } => {
            tracing::info!(server = link.row().name, "the media server answers");
            now
        }
    };
    let skew_ms = millis_between(now, Timestamp::from(stood.clock));
    link.set_found(Found::Up { since, run: stood.run, version: short(&stood.version), skew_ms });
    for pool in pools {
        match stood.pools.iter().find(|it| it.pool == pool.id) {
            Some(stands) => match &stands.shut {
                None => app.pools.came(pool.id, stands.incarnation, stands.segment_mean),
                Some(error) => app.pools.shut(pool.id, error.clone()),
            },
            None => app.pools.shut(pool.id, link.silence()),
        }
    }
}

/// What another server says of itself, no longer than a line.
fn short(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(64).collect()
}

async fn is_down(app: &App, link: &Arc<Link>, error: &ApiError) {
    let before = match link.found() {
        Found::Down { since, code, .. } => Some((since, code)),
        Found::NotAsked | Found::Up { .. } => None,
    };
    if before.as_ref().is_none_or(|(_, code)| *code != error.code) {
        tracing::warn!(server = link.row().name, code = error.code, %error, "the media server does not answer");
        let why = if error.why.is_empty() { error.message.clone() } else { error.why.clone() };
        let since = before.map_or_else(|| app.clock.now(), |(since, _)| since);
        link.set_found(Found::Down { since, code: error.code.clone(), why });
    }
    match pools_of(app, link.server).await {
        Ok(pools) => pools.iter().for_each(|pool| app.pools.shut(pool.id, link.silence())),
        Err(Failure(error)) => tracing::error!(%error, "the pools of a media server can't be read"),
    }
}

/// The sessions on it have ended, whatever became of them: what they committed is in its log.
async fn end_all(app: &App, server: ServerId, why: &str) {
    for visit in app.servers.guests.all_left(server) {
        door::end(app, visit, Broken::interrupted(why)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the mark moves with each change of trust, and a version can't fill a screen.
    #[test]
    fn trust_is_named_by_what_it_is() {
        let trust = TrustStore::new();
        let (nobody, told) = trust_told(&trust);
        assert!(told.is_empty());
        let ca = rcgen::generate_simple_self_signed(vec!["ca".to_owned()]).unwrap();
        trust.set_domain(DomainId([1; 16]), vec![ca.cert.der().clone()]).unwrap();
        let (one, told) = trust_told(&trust);
        assert_eq!(told[0].cas[0].0, ca.cert.der().to_vec());
        trust.revoke(DomainId([1; 16]), &[0, 9]);
        let (revoked, told) = trust_told(&trust);
        assert_eq!(told[0].revoked, [Blob(vec![9])]);
        assert!(nobody != one && one != revoked);
        assert_eq!(trust_told(&trust).0, revoked);
        trust.set_media(DomainId([1; 16]), BTreeSet::new());
        let (alone, told) = trust_told(&trust);
        assert_eq!(told[0].media, Some(Vec::new()));
        trust.set_media(DomainId([1; 16]), BTreeSet::from([ServerId([8; 16])]));
        let (two, told) = trust_told(&trust);
        assert_eq!(told[0].media, Some(vec![Hex([8; 16])]));
        assert!(revoked != alone && alone != two);
        assert_eq!(short(&"1\n2".repeat(100)).len(), 64);
    }
}
