//! Keeps connections parked at partners that can't dial this domain, and serves who calls by them.
//!
//! Guarantees: while the window is shut in which a partner is dialled there is no connection to it that was made here for its
//! sake, idle or in use; by a parked connection only that partner's servers are served, and by certificate.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::Shutdown,
    sync::Arc,
};

use axum::Router;
use narrows_api::{ApiError, error::codes};
use narrows_domain::{
    Catalog as _,
    partner::{Dials, Partner, Trust},
    window::{Gate, Window},
};
use narrows_format::{DomainId, ServerId, Timestamp};
use narrows_transport::{ClientAuth, TrustError};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::TcpStream,
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
    time::{Instant, interval_at, timeout},
};
use tokio_rustls::{TlsAcceptor, client::TlsStream};

use super::{
    dialling::{Caller, Primary, dial},
    spot,
    words::{ANSWER, CALL, Called, HERE, Wish, write_leave},
};
use crate::{
    api::{
        App,
        listener::{self, Bounds, Door},
    },
    limits::{
        CALL_ANSWER_MAX, CALLED_MAX, KEEP_LOOK, KEEP_RETRY_MAX, KEEP_RETRY_MIN, PARKED_BEAT,
        PARKED_SILENT_MAX, PARKED_SPARE,
    },
};

/// What is served to who calls.
#[derive(Clone)]
pub struct Keeper {
    app: App,
    router: Router,
    acceptor: TlsAcceptor,
    bounds: Bounds,
}

/// The partner that is dialled, and for how long.
#[derive(Clone)]
struct Duty {
    partner: DomainId,
    url: String,
    /// Moves when the window shuts.
    leave: watch::Receiver<Gate>,
}

/// One partner's keeping.
struct Kept {
    url: String,
    leave: watch::Sender<Gate>,
    task: AbortHandle,
}

impl Keeper {
    /// Serves these routes.
    pub fn new(app: App, router: Router, bounds: Bounds) -> Result<Self, TrustError> {
        let credentials = &app.certificates.credentials;
        let mut tls = app.trust.server_config_of(credentials, ClientAuth::Required)?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(tls)), app, router, bounds })
    }

    /// Looks after all partners that are dialled from here, for as long as the server runs.
    pub async fn run(self) {
        let (mut kept, mut tasks) = (BTreeMap::new(), JoinSet::new());
        loop {
            if let Err(error) = self.look(&mut kept, &mut tasks).await {
                tracing::warn!(%error, "who is to be dialled can't be read");
            }
            drop(timeout(KEEP_LOOK, self.app.parking.changed.notified()).await);
            while let Some(ended) = tasks.try_join_next() {
                if let Err(error) = ended
                    && error.is_panic()
                {
                    std::panic::resume_unwind(error.into_panic());
                }
            }
        }
    }

    async fn look(
        &self,
        kept: &mut BTreeMap<DomainId, Kept>,
        tasks: &mut JoinSet<()>,
    ) -> Result<(), narrows_catalog::Error> {
        let partners = self.app.catalog.partners().await?;
        let ours = partners.iter().filter(|it| it.dials == Dials::Own && !is_stranger(it));
        let ours: Vec<&Partner> = ours.collect();
        let windows = if ours.iter().any(|it| it.dial_window.is_some()) {
            self.app.catalog.windows().await?
        } else {
            Vec::new()
        };
        let mut wanted = BTreeSet::new();
        for partner in ours {
            let was_shut = self.app.parking.shut(partner.domain).is_some();
            let gate = gate(&windows, partner, self.app.clock.now());
            let gate = self.app.parking.set_gate(partner.domain, gate);
            if gate == Gate::Open {
                if was_shut {
                    tokio::spawn(spot::ask(self.app.clone(), partner.domain));
                }
                wanted.insert(partner.domain);
                self.begin(partner, kept, tasks);
                continue;
            }
            if !was_shut {
                self.app.partners.forget(partner.domain);
            }
            if let Some(kept) = kept.remove(&partner.domain) {
                tracing::info!(partner = partner.name, "the window is shut in which it is dialled");
                kept.leave.send_replace(gate);
            }
        }
        kept.retain(|domain, kept| {
            let stays = wanted.contains(domain);
            if !stays {
                kept.task.abort();
            }
            stays
        });
        Ok(())
    }

    /// If it is not begun yet, or the partner is elsewhere now.
    fn begin(&self, partner: &Partner, kept: &mut BTreeMap<DomainId, Kept>, tasks: &mut JoinSet<()>) {
        let is_the_same = |it: &Kept| it.url == partner.url && !it.task.is_finished();
        if kept.get(&partner.domain).is_some_and(is_the_same) {
            return;
        }
        let (leave, leaving) = watch::channel(Gate::Open);
        let duty = Duty { partner: partner.domain, url: partner.url.clone(), leave: leaving };
        let task = tasks.spawn(self.clone().keep(duty));
        let before = kept.insert(partner.domain, Kept { url: partner.url.clone(), leave, task });
        if let Some(before) = before {
            before.task.abort();
        }
    }

    /// Some connections stand ready all the time: whenever one is called, another one is made.
    async fn keep(self, duty: Duty) {
        let (mut connections, mut leave) = (JoinSet::new(), duty.leave.clone());
        let (tell, mut told) = mpsc::channel(CALLED_MAX);
        let (mut idle, mut pause) = (0_usize, KEEP_RETRY_MIN);
        loop {
            while idle < PARKED_SPARE && connections.len() < CALLED_MAX {
                idle += 1;
                connections.spawn(self.clone().one(duty.clone(), tell.clone()));
            }
            let word = tokio::select! {
                _ = leave.wait_for(is_shut) => break,
                Some(word) = told.recv() => word,
                Some(ended) = connections.join_next() => match ended {
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    _ => continue,
                },
            };
            match word {
                Word::Parked => pause = KEEP_RETRY_MIN,
                Word::Called => idle = idle.saturating_sub(1),
                Word::Failed(error) => {
                    idle = idle.saturating_sub(1);
                    tracing::debug!(partner = %duty.partner, %error, "nothing could be parked");
                    drop(timeout(pause, leave.wait_for(is_shut)).await);
                    pause = (pause * 2).min(KEEP_RETRY_MAX);
                }
            }
        }
        // Those that are idle say so; what is in use is cut when they have.
        let leaving = async {
            while idle > 0 {
                match told.recv().await {
                    Some(Word::Parked) => {}
                    _ => idle -= 1,
                }
            }
        };
        drop(timeout(CALL_ANSWER_MAX, leaving).await);
    }

    async fn one(self, duty: Duty, tell: mpsc::Sender<Word>) {
        let word = match self.park(&duty, &tell).await {
            Ok(Some((stream, called))) => {
                drop(tell.send(Word::Called).await);
                if let Err(error) = self.serve(duty.partner, stream, called).await {
                    tracing::debug!(partner = %duty.partner, %error, "a parked connection ended badly");
                }
                return;
            }
            Ok(None) => Word::Failed(ApiError::new(codes::UNREACHABLE, "the window is shut")),
            Err(error) => Word::Failed(error),
        };
        drop(tell.send(word).await);
    }

    /// Waits at the partner until it calls; `None`: the window has shut.
    async fn park(
        &self,
        duty: &Duty,
        tell: &mpsc::Sender<Word>,
    ) -> Result<Option<(TcpStream, Called)>, ApiError> {
        let app = &self.app;
        let with = Caller { trust: &app.trust, credentials: &app.certificates.credentials };
        let to = Primary { domain: duty.partner, url: &duty.url };
        let mut stream = dial(with, to, Wish::Park).await?;
        drop(tell.send(Word::Parked).await);
        let mut leave = duty.leave.clone();
        let called = tokio::select! {
            called = wait(&mut stream) => Some(called),
            Ok(_) = leave.wait_for(is_shut) => None,
        };
        let broken = |error: io::Error| ApiError::new(codes::UNREACHABLE, error.to_string());
        if let Some(called) = called {
            let called = called.map_err(broken)?;
            stream.write_all(&[ANSWER]).await.map_err(broken)?;
            stream.flush().await.map_err(broken)?;
            return Ok(Some((stream.into_inner().0, called)));
        }
        let back = match *leave.borrow() {
            Gate::ShutUntil(back) => back,
            Gate::Open => None,
        };
        let leaving = async {
            write_leave(&mut stream, back).await?;
            stream.shutdown().await
        };
        timeout(CALL_ANSWER_MAX, leaving).await.map_err(|late| broken(late.into()))?.map_err(broken)?;
        Ok(None)
    }

    /// Serves what our listeners would.
    async fn serve(&self, partner: DomainId, stream: TcpStream, called: Called) -> io::Result<()> {
        match called {
            Called::Api => {
                let door = Door { acceptor: self.acceptor.clone(), router: self.router.clone() };
                listener::serve_parked(stream, door, partner, self.bounds.clone()).await;
                Ok(())
            }
            Called::Data(None) => {
                let stream = stream.into_std()?;
                let _cut = Cut(stream.try_clone()?);
                self.app.plane.serve(partner, stream.into()).await;
                Ok(())
            }
            Called::Data(Some(server)) => self.put_through(stream, server).await,
        }
    }

    /// To the data port of a media server of this domain, which is believed by its own certificate.
    async fn put_through(&self, mut stream: TcpStream, server: ServerId) -> io::Result<()> {
        let link = self.app.servers.get(server).ok_or(io::ErrorKind::NotFound)?;
        let mut there = TcpStream::connect(link.row().data_address).await?;
        there.set_nodelay(true)?;
        copy_bidirectional(&mut stream, &mut there).await.map(drop)
    }
}

/// What became of a connection that was to be parked.
enum Word {
    Parked,
    Called,
    Failed(ApiError),
}

/// Cuts a session that runs on a data thread, if it does still.
struct Cut(std::net::TcpStream);

impl Drop for Cut {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.shutdown(Shutdown::Both));
    }
}

/// Shows signs of life until the other side calls.
async fn wait(stream: &mut TlsStream<TcpStream>) -> io::Result<Called> {
    let mut beat = interval_at(Instant::now() + PARKED_BEAT, PARKED_BEAT);
    let mut heard = Instant::now();
    loop {
        let mut byte = [0];
        tokio::select! {
            count = stream.read(&mut byte) => match (count?, byte[0]) {
                (0, _) => return Err(io::ErrorKind::UnexpectedEof.into()),
                (_, HERE) => heard = Instant::now(),
                (_, CALL) => return timeout(CALL_ANSWER_MAX, Called::read(stream)).await?,
                _ => return Err(io::ErrorKind::InvalidData.into()),
            },
            _ = beat.tick() => {
                if heard.elapsed() > PARKED_SILENT_MAX {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                timeout(PARKED_BEAT, async {
                    stream.write_all(&[HERE]).await?;
                    stream.flush().await
                })
                .await??;
            }
        }
    }
}

fn is_stranger(partner: &Partner) -> bool {
    matches!(partner.trust, Trust::Unpaired | Trust::Frozen)
}

fn is_shut(gate: &Gate) -> bool {
    *gate != Gate::Open
}

/// The window in which a partner is dialled. One that is not there is taken for shut.
pub fn gate(windows: &[Window], partner: &Partner, now: Timestamp) -> Gate {
    let Some(name) = &partner.dial_window else { return Gate::Open };
    let window = windows.iter().find(|window| window.name == *name);
    window.map_or(Gate::ShutUntil(None), |window| window.gate(now))
}
