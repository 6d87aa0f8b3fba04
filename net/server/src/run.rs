//! Puts the server together and runs it.
//!
//! Order of a start: lock the folder, read keys, bind the API's port, open the catalog, start the data plane
//! (which recovers the pool), start the control task (which takes up what was unfinished), then answer
//! requests. A stop goes the other way round.

use std::{net::SocketAddr, sync::Arc};

use narrows_catalog::SqliteCatalog;
use narrows_domain::{Catalog as _, Primary, partner::Trust, storage};
use narrows_format::Sequence;
use narrows_ring::cores::CorePanic;
use narrows_transport::{ClientAuth, TrustError, TrustStore};
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinHandle,
};

use crate::{
    api::{self, App, Shared, listener},
    config::{BadSetting, Config, Settings},
    control, doorman,
    folder::{DomainIdentity, Folder, FolderError, FolderLock},
    hands, importer,
    limits::PAIRING_RETRY,
    logging,
    notify::{self, State},
    pairing,
    partners::Partners,
    pki::{Authority, PkiError, SigningKey, authority::certificate_of_pem},
    plane::{self, Opened, PlaneError, PlaneSetup},
    tickets::Tickets,
    time,
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
    /// A data thread panicked: nothing in memory can be relied on any more.
    #[error("the data plane has failed")]
    Failed(#[from] CorePanic),
    /// Signals can't be had.
    #[error("signals can't be handled")]
    Signals(#[source] std::io::Error),
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(folder: Folder, flags: Settings) -> Result<(), RunError> {
    let config = settings(&folder, flags)?;
    let _writing = logging::start(config.log_format);
    let mut stop = Signals::new().map_err(RunError::Signals)?;
    let mut server = Server::start(&folder, config).await?;
    notify::tell(State::Ready);
    let outcome = tokio::select! {
        () = stop.wait() => Ok(()),
        panic = server.failed() => Err(RunError::Failed(panic)),
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

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = self.interrupt.recv() => tracing::info!("SIGINT: stopping"),
        }
    }
}

/// A running server.
pub struct Server {
    app: App,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
    background: Vec<JoinHandle<()>>,
    end: oneshot::Receiver<Result<(), CorePanic>>,
    catalog: SqliteCatalog,
    _lock: FolderLock,
}

impl Server {
    /// Starts; requests are answered when this returns.
    pub async fn start(folder: &Folder, config: Config) -> Result<Self, RunError> {
        let who = folder.load_identity()?;
        let lock = folder.lock()?;
        let pki = folder.pki();
        let authority = Authority::load(&pki, who.domain)?;
        let signing = SigningKey::load(&pki)?;
        let identity = authority.load_server(&pki)?;
        let trust = TrustStore::new();
        trust.set_domain(who.domain, vec![authority.der().clone()])?;
        let listener = TcpListener::bind(config.listen).await;
        let listener = listener.map_err(|source| RunError::Listen { address: config.listen, source })?;
        let catalog = SqliteCatalog::open(&folder.catalog()).await?;
        believe_known(&catalog, &trust, &who).await?;

        let plane = plane::start(PlaneSetup {
            who: who.clone(),
            cores: config.cores.clone(),
            memory: config.memory,
            pool: folder.pool(),
            listen: config.data_listen,
            tls: Arc::new(trust.server_config(&identity, ClientAuth::Required)?),
            trust: Arc::clone(&trust),
        })
        .await?;
        say_opened(&plane.opened);

        let own =
            storage::Identity { domain: who.domain, incarnation: who.incarnation, name: who.name.clone() };
        let (control, commands) = control::start(Primary::new(catalog.clone(), own));
        let mut tls = trust.server_config(&identity, ClientAuth::Optional)?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let app = App(Arc::new(Shared {
            partners: Partners::new(Arc::clone(&trust), identity.clone()),
            who,
            config,
            identity,
            authority,
            signing,
            trust,
            catalog: catalog.clone(),
            control,
            plane: plane.plane,
            tickets: Tickets::default(),
            pool_incarnation: plane.opened.incarnation,
            segment_mean: plane.opened.segment_mean,
            started: time::now(),
            reached: watch::Sender::new(Sequence(0)),
        }));
        let background = vec![
            tokio::spawn(doorman::run(app.clone(), plane.questions)),
            tokio::spawn(hands::run(app.clone(), commands)),
            tokio::spawn(importer::run(app.clone())),
            tokio::spawn(complete_pairings(app.clone())),
        ];
        let (stop, stopped) = watch::channel(false);
        let router = api::router(app.clone());
        tracing::info!(
            domain = %app.who.domain,
            name = app.who.name,
            api = app.config.url(),
            data = app.config.data_addr(),
            cores = ?app.config.cores,
            memory = app.config.memory,
            "narrowsd is ready"
        );
        let serving = tokio::spawn(listener::serve(listener, Arc::new(tls), router, stopped));
        Ok(Self { app, stop, serving, background, end: plane.end, catalog, _lock: lock })
    }

    /// What all parts share, for tests and tools in the same process.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Ends when the data plane has failed; waits for ever otherwise.
    pub async fn failed(&mut self) -> CorePanic {
        match (&mut self.end).await {
            Ok(Err(panic)) => panic,
            _ => CorePanic { core: 0, message: "the data threads ended without being told to".to_owned() },
        }
    }

    /// Stops in order: no new requests, open ones end, the pool is closed.
    pub async fn stop(self) -> Result<(), RunError> {
        let Self { app, stop, serving, background, end, catalog, _lock } = self;
        // The receiver is in the serving task, which ends by it.
        stop.send_replace(true);
        drop(serving.await);
        app.plane.close().await;
        for task in background {
            task.abort();
            drop(task.await);
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

/// Partners' CAs are believed, revoked clients are not.
async fn believe_known(
    catalog: &SqliteCatalog,
    trust: &TrustStore,
    who: &DomainIdentity,
) -> Result<(), RunError> {
    for partner in catalog.partners().await? {
        if partner.trust == Trust::Unpaired {
            continue;
        }
        if let Some(ca) = certificate_of_pem(&partner.ca_pem) {
            trust.set_domain(partner.domain, vec![ca])?;
        } else {
            tracing::error!(partner = partner.name, "its CA certificate can't be read");
        }
    }
    for client in catalog.clients().await? {
        if client.revoked.is_some()
            && let Some(serial) = bytes_of_hex(&client.serial)
        {
            trust.revoke(who.domain, &serial);
        }
    }
    Ok(())
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

fn say_opened(opened: &Opened) {
    let recovery = &opened.recovery;
    tracing::info!(sealed = recovery.sealed, dropped = recovery.dropped, "the pool is open");
    for damage in &recovery.damage {
        tracing::error!(code = damage.code(), %damage, "the pool is damaged");
    }
}

/// Pairings that were left half-made are completed as soon as both sides reach each other.
async fn complete_pairings(app: App) {
    loop {
        tokio::time::sleep(PAIRING_RETRY).await;
        let Ok(partners) = app.catalog.partners().await else { continue };
        for partner in partners.iter().filter(|partner| partner.trust == Trust::Half) {
            if let Err(api::answer::Failure(error)) = pairing::complete(&app, partner.domain).await {
                tracing::debug!(partner = partner.name, %error, "the pairing is still half-made");
            }
        }
    }
}
