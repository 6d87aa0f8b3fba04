//! A media server that joined a domain: pools and a data port without a catalog.
//!
//! It decides nothing. Its primary tells it which pools to have open, whom to believe and how fast to send ([`orders`]);
//! questions of its data sessions go to the primary ([`asking`]). It knows nothing but its certificate and where its primary
//! is, so that a copy of its folder is worth no more than the data in its pools.
//!
//! Guarantees: only the primary's certificate gives it orders; only its domain's CA and those of the partners that the primary
//! names are believed. Without the primary it begins nothing new, and what runs goes on until it has to ask.

pub mod asking;
pub mod joining;
pub mod orders;
pub mod renewal;

use std::{
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use narrows_api::{ApiError, Hex, paths};
use narrows_format::PoolId;
use narrows_ring::cores::CorePanic;
use narrows_transport::{ClientAuth, Credentials, TrustStore};
use tokio::sync::{oneshot, watch};

use crate::{
    api::listener::{self, Bounds},
    config::{Config, Settings},
    descriptors,
    folder::{DomainIdentity, Folder, FolderLock, Membership},
    limits::MEDIA_ANSWER_MAX,
    logging,
    notify::{self, State},
    pace::Paces,
    parking::dialling::{Caller, Primary},
    partners::{PartnerApi, Partners},
    parts::{Part, end_in_order, first_failure},
    plane::{self, Plane, PlaneSetup},
    pools::Pools,
    random,
    run::{RunError, Signals, listen},
    servers::{
        asked::{Answered, Asked},
        destination::{Dialler, Switchboard},
        words::PoolTold,
    },
    switches::{Clock, FailWrites},
};

/// What all parts of a media server have at hand.
pub struct Inner {
    /// Which media server of which domain it is.
    pub member: Membership,
    /// Settings.
    pub config: Config,
    /// The time.
    pub clock: Clock,
    /// Who is believed.
    pub trust: Arc<TrustStore>,
    /// What it shows to others.
    pub credentials: Arc<Credentials>,
    /// The ring cores.
    pub plane: Plane,
    /// The pools that are open, and why others are not.
    pub pools: Pools,
    /// How fast each target is sent to.
    pub paces: Paces,
    /// The data folder.
    pub folder: Folder,
    /// Drawn anew at each start.
    pub run: Hex<16>,
    /// For tests: makes writes to pools fail where a switch lets it.
    pub fail_writes: FailWrites,
    partners: Partners,
    told: Mutex<Told>,
    stop: watch::Sender<bool>,
}

/// What the primary said last.
#[derive(Default)]
pub struct Told {
    /// Names the state of trust.
    pub trust_mark: Option<Hex<32>>,
    /// The pools that are to be open.
    pub pools: Vec<PoolTold>,
}

/// [`Inner`], cheap to clone.
#[derive(Clone)]
pub struct Joined(pub Arc<Inner>);

impl Deref for Joined {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Inner {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until it is to stop.
    async fn stopping(&self) {
        // The sender lives as long as this does.
        drop(self.stop.subscribe().wait_for(|stop| *stop).await);
    }

    /// How this server dials others.
    fn dialler(&self) -> Dialler<'_> {
        let caller = Caller { trust: &self.trust, credentials: &self.credentials };
        let primary = Primary { domain: self.member.domain, url: &self.member.primary };
        Dialler { caller, switchboard: Switchboard::At(primary) }
    }

    /// The primary's API.
    pub fn primary(&self) -> Result<PartnerApi, ApiError> {
        let name = format!("the primary server of domain `{}`", self.member.domain_name);
        let api = self.partners.api(self.member.domain, &self.member.primary, &name)?;
        Ok(api.speaking(self.config.test.words()))
    }

    /// Asks the primary once.
    pub async fn ask(&self, asked: &Asked) -> Result<Answered, ApiError> {
        self.primary()?.post_within(paths::MEDIA_ASK, asked, MEDIA_ANSWER_MAX).await
    }
}

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(folder: Folder, flags: Settings) -> Result<(), RunError> {
    let config = flags.over(Settings::load(&folder.settings())?).resolve()?;
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

/// A running media server.
pub struct Server {
    joined: Joined,
    /// The listener of orders first.
    parts: Vec<Part>,
    end: oneshot::Receiver<Result<(), CorePanic>>,
    _lock: FolderLock,
}

impl Server {
    /// Starts; orders are taken when this returns. Its pools are opened when the primary has named them.
    pub async fn start(folder: &Folder, config: Config) -> Result<Self, RunError> {
        let (clock, fail_writes) = (config.test.announce(), FailWrites::default());
        let member = folder.load_membership()?;
        let lock = folder.lock()?;
        let trust = TrustStore::new();
        trust.judge_ahead_by(clock.ahead());
        trust.set_domain(member.domain, renewal::known_cas(folder)?)?;
        let credentials = Credentials::new(&renewal::identity(folder)?)?;
        let listener = listen(config.listen).await?;
        let plane = plane::start(PlaneSetup {
            who: as_domain(&member),
            cores: config.cores.clone(),
            memory: config.memory,
            listen: config.data_listen,
            tls: Arc::new(trust.server_config_of(&credentials, ClientAuth::Required)?),
            trust: Arc::clone(&trust),
            clock: clock.clone(),
            wire_versions: config.test.wire_versions(),
            fail_writes: (config.test.failing_disk == Some(true)).then(|| fail_writes.clone()),
        })?;
        let mut tls = trust.server_config_of(&credentials, ClientAuth::Required)?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let joined = Joined(Arc::new(Inner {
            partners: Partners::new(Arc::clone(&trust), Arc::clone(&credentials), None, Arc::default()),
            member,
            clock,
            trust,
            credentials,
            plane: plane.plane,
            pools: Pools::none(),
            paces: Paces::default(),
            folder: folder.clone(),
            run: Hex(random::bytes()),
            fail_writes,
            told: Mutex::default(),
            stop: watch::Sender::new(false),
            config,
        }));
        joined.plane.listen(joined.config.data_listen).await?;
        let stopped = joined.stop.subscribe();
        // Nobody of a domain has to be parted with here at once: the primary is the only one that is heard.
        let (parted, trust) = (watch::Sender::new(0).subscribe(), Arc::clone(&joined.trust));
        let bounds = Bounds { stop: stopped, parted, trust, parking: None };
        let router = orders::router(joined.clone());
        let serving = tokio::spawn(listener::serve(listener, Arc::new(tls), router, bounds));
        let parts = vec![
            Part::new("listener of orders", serving),
            Part::new("asker", tokio::spawn(asking::run(joined.clone(), plane.questions))),
            Part::new("renewer", tokio::spawn(renewal::run(joined.clone()))),
        ];
        tracing::info!(
            server = joined.member.name,
            domain = joined.member.domain_name,
            primary = joined.member.primary,
            api = joined.config.url(),
            data = joined.config.data_addr(),
            "narrowsd is ready, as a media server"
        );
        Ok(Self { joined, parts, end: plane.end, _lock: lock })
    }

    /// What all parts share, for tests in the same process.
    pub fn joined(&self) -> &Joined {
        &self.joined
    }

    /// Ends when a part of the server has failed; waits for ever otherwise.
    pub async fn failed(&mut self) -> RunError {
        first_failure(&mut self.end, &mut self.parts).await
    }

    /// Stops in order: no new orders, open ones end, the pools are closed.
    pub async fn stop(self) -> Result<(), RunError> {
        let Self { joined, parts, end, _lock } = self;
        joined.stop.send_replace(true);
        end_in_order(parts, &joined.plane).await;
        drop(joined);
        if let Ok(Err(panic)) = end.await {
            return Err(panic.into());
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// As the data plane knows its domain. It has no pool that everything else falls back to.
fn as_domain(member: &Membership) -> DomainIdentity {
    DomainIdentity {
        name: member.domain_name.clone(),
        domain: member.domain,
        incarnation: 0,
        server: member.server.to_string(),
        pool: PoolId([0; 16]),
        admin_token: Hex([0; 32]),
    }
}
