//! Puts the server together and runs it.
//!
//! Order of a start: lock the folder, read keys, bind the API's port, open the catalog, start the data plane, open
//! (and recover) the pools, start the control task (which takes up what was unfinished), let data sessions in, then
//! answer requests. A stop goes the other way round.

use std::{net::SocketAddr, sync::Arc};

use narrows_catalog::SqliteCatalog;
use narrows_domain::{
    Catalog as _, Change, Event, Partner, Primary,
    job::Counters,
    moment::before,
    partner::{Dials, Trust},
    retry::Failure,
    storage,
};
use narrows_format::Timestamp;
use narrows_ring::{cores::CorePanic, mailbox};
use narrows_transport::{ClientAuth, Credentials, TrustError, TrustStore};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc, oneshot, watch},
    task::JoinHandle,
    time::Instant,
};

use crate::{
    alerts,
    api::{
        self, App, Shared,
        listener::{self, Bounds},
    },
    certificates::{self, Certificates},
    comparing::{self, Comparisons},
    config::{BadSetting, Config, Settings},
    control::{self, Ordered},
    damage::{self, Damage},
    descriptors, doorman,
    folder::{DomainIdentity, Folder, FolderError, FolderLock},
    hands, importer, joined,
    limits::{MARK_EVERY, PAIRING_RETRY, TIMELINE_QUESTIONS_MAX, ZONE_RENEWAL},
    lives::{self, Lives},
    logging,
    marks::Marks,
    notify::{self, State},
    offers::Offers,
    pace, pairing,
    parking::{
        Parking,
        keeper::{self, Keeper},
        words::PROTOCOL,
    },
    partners::Partners,
    parts::{Part, end_in_order, first_failure},
    pki::{PkiError, SigningKey, authority::certificates_of_pem},
    plane::{self, PlaneError, PlaneSetup, Question},
    pools::{self, OpenError, OpenErrors, Pools},
    servers::{self, Servers},
    switches::FailWrites,
    tickets::{Ticket, Tickets},
    verifying,
    whereabouts::{self, Untold},
    zones,
};

/// Threads of the control plane.
pub const CONTROL_THREADS: usize = 2;

/// The server could not start, or ended by a fault.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A setting.
    #[error(transparent)]
    Setting(#[from] BadSetting),
    /// Keys.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// Trust.
    #[error("the certificates can't be used")]
    Trust(#[from] TrustError),
    /// The API's port.
    #[error("{address} can't be listened on")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] narrows_catalog::Error),
    /// The data plane did not start.
    #[error("the data plane can't start")]
    Plane(#[from] PlaneError),
    /// Its folder, and there is no other pool.
    #[error("the pool can't be opened")]
    PoolFolder(#[source] FolderError),
    /// A data thread panicked: nothing in memory can be relied on any more.
    #[error("the data plane has failed")]
    Failed(#[from] CorePanic),
    /// A part of the control plane ended by itself: nobody would do its work any more.
    #[error("the {part} ended by itself: {why}")]
    Ended {
        /// Which part.
        part: &'static str,
        /// Its panic, or that it returned.
        why: String,
    },
    /// A media server can't be spoken to at all.
    #[error("a media server can't be spoken to: {0}")]
    Link(String),
    /// Signals can't be had.
    #[error("signals can't be handled")]
    Signals(#[source] std::io::Error),
}

impl From<OpenErrors> for RunError {
    fn from(errors: OpenErrors) -> Self {
        match errors {
            OpenErrors::Catalog(error) => error.into(),
            OpenErrors::All(OpenError::Folder(error)) => Self::PoolFolder(error),
            OpenErrors::All(OpenError::Pool(error)) => PlaneError::Pool(error).into(),
        }
    }
}

/// Runs until SIGTERM or SIGINT: a domain's primary, or a media server that joined one.
pub async fn run(folder: Folder, flags: Settings) -> Result<(), RunError> {
    if folder.membership().exists() {
        return joined::run(folder, flags).await;
    }
    let config = settings(&folder, flags)?;
    let _writing = logging::start(config.log_format);
    descriptors::raise();
    let mut stop = Signals::new().map_err(RunError::Signals)?;
    let mut server = Server::start(&folder, config).await?;
    notify::tell(State::Ready);
    let outcome = tokio::select! {
        () = stop.wait() => Ok(()),
        error = server.failed() => Err(error),
    };
    notify::tell(State::Stopping);
    match outcome {
        Ok(()) => server.stop().await,
        // Its state is not to be trusted: recovery at the next start is.
        Err(error) => Err(error),
    }
}

fn settings(folder: &Folder, flags: Settings) -> Result<Config, RunError> {
    folder.load_identity()?;
    Ok(flags.over(Settings::load(&folder.settings())?).resolve()?)
}

/// The signals that end a program in order.
pub struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    /// Listens from now on.
    pub fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Until the first of them comes.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = self.interrupt.recv() => tracing::info!("SIGINT: stopping"),
        }
    }
}

/// All that runs by itself, but what listens.
fn parts_of(
    app: &App,
    questions: mailbox::Receiver<Question>,
    commands: mpsc::Receiver<Ordered>,
    desk: JoinHandle<()>,
) -> Vec<Part> {
    vec![
        Part::new("doorman", tokio::spawn(doorman::run(app.clone(), questions))),
        Part::new("hands", tokio::spawn(hands::run(app.clone(), commands))),
        Part::new("importer", tokio::spawn(importer::run(app.clone()))),
        Part::new("keeper of pools", tokio::spawn(damage::run(app.clone()))),
        Part::new("watcher of pools", tokio::spawn(pools::watch(app.clone()))),
        Part::new("watcher of media servers", tokio::spawn(servers::watch(app.clone()))),
        Part::new("caretaker", tokio::spawn(look_after(app.clone()))),
        Part::new("comparer of replicas", tokio::spawn(comparing::run(app.clone()))),
        Part::new("teller of problems", tokio::spawn(alerts::run(app.clone()))),
        Part::new("teller of addresses", tokio::spawn(whereabouts::run(app.clone()))),
        Part::new("verifier of SLPs", tokio::spawn(verifying::run(app.clone()))),
        // Last to go: the others tell it what they leave.
        Part::new("control task", desk),
    ]
}

/// From here on others are heard; gives what makes them stop.
async fn open_doors(
    app: &App,
    (listener, tls): (TcpListener, Arc<rustls::ServerConfig>),
    parts: &mut Vec<Part>,
) -> Result<watch::Sender<bool>, RunError> {
    let (stop, stopped) = watch::channel(false);
    app.plane.listen(app.config.data_listen).await?;
    let (parted, trust) = (app.parted.subscribe(), Arc::clone(&app.trust));
    let router = api::router(app.clone());
    parts.extend(local(&app.folder, app, router.clone(), stopped.clone()));
    say_ready(app);
    let bounds = Bounds { stop: stopped, parted, trust, parking: Some(app.clone()) };
    let keeper = Keeper::new(app.clone(), router.clone(), bounds.clone())?;
    parts.push(Part::new("keeper of parked connections", tokio::spawn(keeper.run())));
    let serving = tokio::spawn(listener::serve(listener, tls, router, bounds));
    parts.insert(0, Part::new("listener of the API", serving));
    Ok(stop)
}

/// A running server.
pub struct Server {
    app: App,
    stop: watch::Sender<bool>,
    /// The listener of the API first; in a start's order.
    parts: Vec<Part>,
    end: oneshot::Receiver<Result<(), CorePanic>>,
    catalog: SqliteCatalog,
    _lock: FolderLock,
}

impl Server {
    /// Starts; requests are answered when this returns.
    pub async fn start(folder: &Folder, config: Config) -> Result<Self, RunError> {
        let (clock, fail_writes) = (config.test.announce(), FailWrites::default());
        let mut who = folder.load_identity()?;
        let lock = folder.lock()?;
        let signing = SigningKey::load(&folder.pki())?;
        let trust = TrustStore::new();
        trust.judge_ahead_by(clock.ahead());
        let certificates = Certificates::load(folder, &who, config.host.clone(), (&trust, clock.now()))?;
        let credentials = Arc::clone(&certificates.credentials);
        let listener = listen(config.listen).await?;
        let catalog = open_catalog(folder, &config).await?;
        let marks = Marks::check(folder, &catalog, &mut who, clock.now()).await?;
        let (lives, heard) = Lives::new(lives::begin(folder, &who)?);
        let parking = Arc::new(Parking::default());
        believe_known(&catalog, (&trust, &parking), (&who, clock.now())).await?;

        let plane = plane::start(PlaneSetup {
            who: who.clone(),
            cores: config.cores.clone(),
            memory: config.memory,
            listen: config.data_listen,
            tls: Arc::new(trust.server_config_of(&credentials, ClientAuth::Required)?),
            trust: Arc::clone(&trust),
            clock: clock.clone(),
            wire_versions: config.test.wire_versions(),
            fail_writes: (config.test.failing_disk == Some(true)).then(|| fail_writes.clone()),
        })?;
        let servers = Servers::load(&catalog, &plane.plane, (who.domain, &trust, &credentials)).await?;
        let pools = Pools::open(&plane.plane, &catalog, folder).await?;

        let own =
            storage::Identity { domain: who.domain, incarnation: who.incarnation, name: who.name.clone() };
        // Before anybody asks for a place: one that takes nothing is no place.
        let troubles = pools::troubles(&plane.plane, &pools, &catalog).await?;
        let mind = Primary::new(catalog.clone(), own).with_settings(config.domain).with_troubles(troubles);
        let mind = mind.reached_at(config.data_addr());
        let control::Started { control, commands, task: desk } = control::start(mind, clock.clone());
        let tls = api_tls(&trust, &credentials)?;
        let watched = Some((Arc::clone(&lives), clock.clone()));
        let app = App(Arc::new(Shared {
            partners: Partners::new(Arc::clone(&trust), credentials, watched, Arc::clone(&parking)),
            parking,
            lives,
            who,
            config,
            certificates,
            signing,
            trust,
            catalog: catalog.clone(),
            control,
            plane: plane.plane,
            tickets: Tickets::default(),
            offers: Offers::default(),
            paces: pace::Paces::default(),
            comparisons: Comparisons::default(),
            timelines: Semaphore::new(TIMELINE_QUESTIONS_MAX),
            damage: Damage::default(),
            marks,
            folder: folder.clone(),
            pools,
            servers,
            fail_writes,
            started: clock.now(),
            clock,
            parted: watch::Sender::new(0),
            untold: Untold::default(),
        }));
        let mut parts = parts_of(&app, plane.questions, commands, desk);
        parts.push(Part::new("watcher of lives", tokio::spawn(lives::attend(app.clone(), heard))));
        let stop = open_doors(&app, (listener, tls), &mut parts).await?;
        Ok(Self { app, stop, parts, end: plane.end, catalog, _lock: lock })
    }

    /// What all parts share, for tests and tools in the same process.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Ends when a part of the server has failed; waits for ever otherwise.
    pub async fn failed(&mut self) -> RunError {
        first_failure(&mut self.end, &mut self.parts).await
    }

    /// Stops in order: no new requests, open ones end, the pool is closed.
    pub async fn stop(self) -> Result<(), RunError> {
        let Self { app, stop, parts, end, catalog, _lock } = self;
        stop.send_replace(true);
        end_in_order(parts, &app.plane).await;
        // A copy that was made before is older than this.
        let mark = app.marks.next();
        match catalog.apply(&[Change::Mark(mark)]).await {
            Ok(()) => app.marks.write(mark)?,
            Err(error) => tracing::warn!(%error, "the catalog could not be marked"),
        }
        drop(app);
        let outcome = end.await;
        catalog.close().await;
        tracing::info!("stopped");
        match outcome {
            Ok(Err(panic)) => Err(panic.into()),
            _ => Ok(()),
        }
    }
}

/// The administrator's way in when nothing else works. Without it (a path that is too long for a socket, as a rule) the
/// server does everything else.
fn local(folder: &Folder, app: &App, router: axum::Router, stop: watch::Receiver<bool>) -> Option<Part> {
    let path = folder.admin_socket();
    match api::local::listen(&path) {
        Ok(listener) => {
            let serving = tokio::spawn(api::local::serve(listener, router, app.who.domain, stop));
            Some(Part::new("local socket", serving))
        }
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "no socket for the administrator: the token is needed");
            None
        }
    }
}

pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|source| RunError::Listen { address, source })
}

async fn open_catalog(folder: &Folder, config: &Config) -> Result<SqliteCatalog, RunError> {
    let catalog = SqliteCatalog::open(&folder.catalog()).await?;
    Ok(match config.test.end_at {
        Some(at) => catalog.ending_at(at),
        None => catalog,
    })
}

/// For the API's port: a certificate is not asked of everybody.
fn api_tls(
    trust: &Arc<TrustStore>,
    credentials: &Arc<Credentials>,
) -> Result<Arc<rustls::ServerConfig>, TrustError> {
    let mut tls = trust.server_config_of(credentials, ClientAuth::Optional)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), PROTOCOL.to_vec()];
    Ok(Arc::new(tls))
}

/// Partners' CAs are believed, revoked clients are not; whom this domain dials by itself is dialled in its window.
async fn believe_known(
    catalog: &SqliteCatalog,
    (trust, parking): (&TrustStore, &Parking),
    (who, now): (&DomainIdentity, Timestamp),
) -> Result<(), RunError> {
    let partners = catalog.partners().await?;
    // Nobody is dialled from here before it is known whether that may be.
    let has_windows = partners.iter().any(|it| it.dials == Dials::Own && it.dial_window.is_some());
    let windows = if has_windows { catalog.windows().await? } else { Vec::new() };
    for partner in partners {
        parking.know(&partner);
        if partner.dials == Dials::Own {
            parking.set_gate(partner.domain, keeper::gate(&windows, &partner, now));
        }
        if partner.trust == Trust::Unpaired {
            continue;
        }
        let named = certificates_of_pem(&partner.ca_pem);
        if named.is_empty() {
            tracing::error!(partner = partner.name, "its CA certificate can't be read");
        } else {
            // One partner is no reason for the others to wait.
            if let Err(error) = trust.set_domain(partner.domain, named) {
                tracing::error!(partner = partner.name, %error, "its CA certificates can't be used");
            }
        }
    }
    for client in catalog.clients().await? {
        let present = client.revoked.map(|_| &client.serial);
        let former = client.former.iter().map(|issued| &issued.serial);
        for serial in former.chain(present).filter_map(|serial| bytes_of_hex(serial)) {
            trust.revoke(who.domain, &serial);
        }
    }
    Ok(())
}

/// The bytes of a serial number as text.
pub fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

fn say_ready(app: &App) {
    tracing::info!(
        domain = %app.who.domain,
        name = app.who.name,
        api = app.config.url(),
        data = app.config.data_addr(),
        cores = ?app.config.cores,
        memory = app.config.memory,
        "narrowsd is ready"
    );
}

/// What was told of images that are pending for too long.
#[derive(Clone, Copy, Debug, Default)]
struct PendingTold {
    /// Those since then or longer.
    then: Timestamp,
    /// How many here.
    here: u64,
    /// How many at partners.
    there: u64,
}

/// Each time that another image is pending for too long, here or at partners, it is told. Gives what was told.
async fn say_pending(app: &App, told: PendingTold) -> Result<PendingTold, narrows_catalog::Error> {
    let then = before(app.clock.now(), app.config.domain.pending_import_max);
    let (here, there) = (app.catalog.open_imports(then).await?.1, app.catalog.pending_count(then).await?);
    // Of these, what was overdue when it was told last.
    let known = app.catalog.open_imports(told.then).await?.1;
    if has_another(here, known, told.here) {
        tracing::warn!(images = here, "arrived and not imported for too long; see `narrowsctl problem list`");
    }
    let known = app.catalog.pending_count(told.then).await?;
    if has_another(there, known, told.there) {
        tracing::warn!(
            images = there,
            "imports at partners are pending for too long; see `narrowsctl problem list`"
        );
    }
    Ok(PendingTold { then, here, there })
}

/// Whether another one is overdue: where one was settled in the same time, there are no more than before.
const fn has_another(overdue: u64, of_them_known: u64, told: u64) -> bool {
    overdue > of_them_known || overdue > told
}

/// Certificates are renewed in time, and the catalog is marked when there is news.
async fn keep_true(app: &App, mark_due: &mut Instant) -> Result<(), api::answer::Failure> {
    if *mark_due <= Instant::now() {
        *mark_due = Instant::now() + MARK_EVERY;
        let open = app.pools.open_ones();
        let reached = open.iter().fold(0_u64, |sum, pool| sum.wrapping_add(pool.reached.borrow().0));
        if app.marks.is_news(reached) {
            let mark = app.marks.next();
            app.control.put(vec![Change::Mark(mark)]).await?;
            app.marks.write(mark).map_err(|error| api::answer::internal(&error))?;
        }
    }
    certificates::round(app).await?;
    importer::prove_again(app).await
}

/// Pairings that were left half-made are completed as soon as both sides reach each other; partners that were
/// drained and are unpaired now are not believed any more; imports that are pending for too long are told; restores and
/// backups whose ticket ran out unused are ended; windows' zones are kept known ahead, and rates follow the time of day.
async fn look_after(app: App) {
    let (mut zones_due, mut pending_told) = (Instant::now(), PendingTold::default());
    let mut mark_due = Instant::now() + MARK_EVERY;
    loop {
        if zones_due <= Instant::now() {
            zones::renew(&app).await;
            zones_due = Instant::now() + ZONE_RENEWAL;
        }
        if let Err(api::answer::Failure(error)) = keep_true(&app, &mut mark_due).await {
            tracing::warn!(%error, "certificates or the catalog's mark could not be looked at");
        }
        pace::renew(&app).await;
        tokio::time::sleep(PAIRING_RETRY).await;
        match say_pending(&app, pending_told).await {
            Ok(told) => pending_told = told,
            Err(error) => tracing::warn!(%error, "what is pending could not be looked at"),
        }
        for ticket in app.tickets.sweep() {
            let failure = Failure::interrupted("the client did not begin");
            let event = match ticket {
                Ticket::Restore { job, .. } => {
                    Event::RestoreEnded { job, counters: Counters::default(), failure: Some(failure) }
                }
                // Its place in the storage unit is free again.
                Ticket::Backup { image, attempt, .. } => Event::BackupInterrupted { image, attempt, failure },
                // Nobody's job waits for these: who wanted to send says itself how that ended.
                Ticket::Duplicate { .. }
                | Ticket::Heal { .. }
                | Ticket::Lend { .. }
                | Ticket::Receive { .. } => continue,
            };
            app.control.tell(event).await;
        }
        let Ok(partners) = app.catalog.partners().await else { continue };
        let is_parted = |it: &Partner| it.trust == Trust::Unpaired && app.trust.believes(it.domain);
        if partners.iter().any(is_parted)
            && let Err(api::answer::Failure(error)) = pairing::forget_parted(&app).await
        {
            tracing::warn!(%error, "a former partner is still believed");
        }
        for partner in partners.iter().filter(|partner| partner.trust == Trust::Half) {
            if let Err(api::answer::Failure(error)) = pairing::complete(&app, partner.domain).await {
                tracing::debug!(partner = partner.name, %error, "the pairing is still half-made");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use narrows_format::{DomainId, PoolId};

    use super::*;

    /// Symptom: a vault that was started outside of its window spoke to its partner until somebody had looked at the window.
    #[tokio::test]
    async fn a_window_is_shut_before_anybody_dials() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = SqliteCatalog::open(&folder.path().join("catalog.db")).await.unwrap();
        let now = Timestamp { seconds: 1_800_000_000, nanos: 0 };
        let domains = [DomainId([2; 16]), DomainId([3; 16])];
        let [bound, free] = domains.map(|domain| Partner {
            dials: Dials::Own,
            ..Partner::half(domain, 1, &format!("east{}", domain.0[0]), now)
        });
        // A window that is not there is shut.
        let bound = Partner { dial_window: Some("nights".to_owned()), ..bound };
        catalog.apply(&[Change::Partner(bound), Change::Partner(free)]).await.unwrap();
        let (trust, parking) = (TrustStore::new(), Parking::default());
        let who = DomainIdentity {
            name: "vault".to_owned(),
            domain: DomainId([1; 16]),
            incarnation: 1,
            server: "unit".to_owned(),
            pool: PoolId([4; 16]),
            admin_token: narrows_api::Hex([0; 32]),
        };
        believe_known(&catalog, (&trust, &parking), (&who, now)).await.unwrap();
        assert!(parking.shut(domains[0]).is_some());
        assert_eq!(parking.shut(domains[1]), None);
        catalog.close().await;
    }

    /// Goal: none becomes overdue in silence, and what was told is not told every time.
    #[test]
    fn each_that_becomes_overdue_is_told() {
        assert!(has_another(1, 0, 0), "the first");
        assert!(!has_another(1, 1, 1), "the same one");
        assert!(has_another(1, 0, 1), "it was settled, and another became overdue");
        assert!(!has_another(1, 1, 2), "one of two was settled");
        assert!(has_another(2, 2, 1), "one that arrived long ago is open again");
    }
}
