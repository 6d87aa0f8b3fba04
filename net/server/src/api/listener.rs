//! HTTPS: accepts, shakes hands, and hands requests with their peer to the router.
//!
//! Guarantees: connections are bounded in number ([`Places`]), handshakes, heads of requests and silence in
//! time. A peer's certificate is checked by
//! the trust store during the handshake; one that is shown has to be good. On stop, open requests end first.

use std::{convert::Infallible, sync::Arc};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use narrows_format::DomainId;
use narrows_transport::{
    Principal, TrustStore,
    trust::{certificate_serial, certificate_valid_until},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower_service::Service as _;

use super::{
    App,
    caller::{Peer, Shown},
    places::{Places, Standing},
};
use crate::{
    limits::{
        API_CONNECTIONS_MAX, API_IDLE_MAX, HANDSHAKE_TIME_MAX, LINGER_READS_MAX, LINGER_TIME_MAX,
        STOP_TIME_MAX,
    },
    parking::{spot, words::PROTOCOL},
};

/// What ends connections.
#[derive(Clone)]
pub struct Bounds {
    /// The server stops: open requests end first.
    pub stop: watch::Receiver<bool>,
    /// Moves when a domain is not believed any more: connections of its principals are cut.
    pub parted: watch::Receiver<u64>,
    /// Who is believed.
    pub trust: Arc<TrustStore>,
    /// Where connections may be parked.
    pub parking: Option<App>,
}

/// What a connection comes to.
#[derive(Clone)]
pub struct Door {
    /// For the handshake.
    pub acceptor: TlsAcceptor,
    /// For requests.
    pub router: Router,
}

impl Bounds {
    /// Waits until nobody of the peer's domain is believed, or its certificate is not; for ever for a peer without one.
    async fn parting(&mut self, peer: &Peer, serial: &[u8]) {
        let Peer(Some(principal)) = peer else { return std::future::pending().await };
        let domain = principal.domain();
        while self.trust.believes(domain) && !self.trust.refuses(principal, serial) {
            if self.parted.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

/// Serves until it is to stop, then lets open requests end.
pub async fn serve(listener: TcpListener, tls: Arc<rustls::ServerConfig>, router: Router, bounds: Bounds) {
    let mut stop = bounds.stop.clone();
    let door = Door { acceptor: TlsAcceptor::from(tls), router };
    let places = Places::new(API_CONNECTIONS_MAX);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => {
                let place = places.take().await;
                let (door, bounds) = (door.clone(), bounds.clone());
                let standing = Standing::default();
                let theirs = standing.clone();
                let task = connections.spawn(async move {
                    let _place = place;
                    connection(stream, door, theirs, bounds).await;
                });
                places.seat(standing, task);
            }
            Err(error) => {
                // Out of file descriptors, most likely: a pause lets some go.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(STOP_TIME_MAX, all).await.is_err() {
        tracing::warn!("requests were cut off");
    }
}

async fn connection(stream: TcpStream, door: Door, standing: Standing, bounds: Bounds) {
    let Some((stream, peer)) = handshake(stream, &door.acceptor).await else { return };
    if stream.get_ref().1.alpn_protocol() == Some(PROTOCOL) {
        return parked(stream, (&peer, standing), bounds).await;
    }
    talk((stream, peer), door.router, standing, bounds).await;
}

/// Requests of one partner, and of nobody else, by a connection that was made from here.
pub async fn serve_parked(stream: TcpStream, door: Door, partner: DomainId, bounds: Bounds) {
    let Some((stream, peer)) = handshake(stream, &door.acceptor).await else { return };
    if !matches!(peer.0, Some(Principal::Server { domain }) if domain == partner) {
        return tracing::warn!(%partner, "somebody else came by a connection that was parked there");
    }
    talk((stream, peer), door.router, Standing::default(), bounds).await;
}

async fn handshake(stream: TcpStream, acceptor: &TlsAcceptor) -> Option<(TlsStream<TcpStream>, Peer)> {
    // Small answers shall not wait for more; failing to say so costs time only.
    drop(stream.set_nodelay(true));
    let stream = match timeout(HANDSHAKE_TIME_MAX, acceptor.accept(stream).into_fallible()).await {
        Ok(Ok(stream)) => stream,
        Ok(Err((error, stream))) => {
            tracing::debug!(%error, "a TLS handshake failed");
            drop(timeout(LINGER_TIME_MAX, let_hear(stream)).await);
            return None;
        }
        Err(_) => {
            tracing::debug!("a TLS handshake took too long");
            return None;
        }
    };
    let Ok(peer) = peer_of(&stream) else {
        tracing::debug!("a certificate names no principal");
        return None;
    };
    Some((stream, peer))
}

/// A connection that is to be used the other way round.
async fn parked(stream: TlsStream<TcpStream>, (peer, standing): (&Peer, Standing), mut bounds: Bounds) {
    let Some(app) = bounds.parking.clone() else { return };
    let (serial, mut stop) = (shown(&stream).serial, bounds.stop.clone());
    let outcome = tokio::select! {
        outcome = spot::serve(&app, stream, (peer, standing)) => outcome,
        _ = stop.wait_for(|stop| *stop) => return,
        () = bounds.parting(peer, &serial) => return tracing::info!("a parked connection of a former partner is cut"),
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a parked connection ended badly");
    }
}

async fn talk(
    (stream, peer): (TlsStream<TcpStream>, Peer),
    router: Router,
    standing: Standing,
    mut bounds: Bounds,
) {
    let mut stop = bounds.stop.clone();
    let whose = peer.clone();
    let shown = shown(&stream);
    let serial = shown.serial.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let mut router = router.clone();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer.clone());
        request.extensions_mut().insert(shown.clone());
        request.extensions_mut().insert(standing.clone());
        async move { Ok::<_, Infallible>(router.call(request).await.unwrap_or_else(|never| match never {})) }
    });
    let server = server(stream.get_ref().1.alpn_protocol() == Some(b"h2"));
    let serving = server.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let early = tokio::select! {
        outcome = serving.as_mut() => Some(outcome),
        _ = stop.wait_for(|stop| *stop) => None,
        () = bounds.parting(&whose, &serial) => return tracing::info!("a connection of a former partner is cut"),
    };
    let outcome = if let Some(outcome) = early {
        outcome
    } else {
        serving.as_mut().graceful_shutdown();
        serving.await
    };
    if let Err(error) = outcome {
        tracing::debug!(error, "a connection ended badly");
    }
}

/// Whoever was refused has to hear why. The system cuts a connection that is closed with something unread, and our
/// alert with it; so what came meanwhile is read first.
async fn let_hear(mut stream: TcpStream) {
    let mut unread = [0; 1024];
    if stream.shutdown().await.is_err() {
        return;
    }
    for _ in 0..LINGER_READS_MAX {
        if !matches!(stream.read(&mut unread).await, Ok(count) if count > 0) {
            return;
        }
    }
}

/// Waits neither for the head of a request nor for a sign of life for ever. What is spoken was agreed in the
/// handshake: nothing has to be read to find out.
fn server(is_http2: bool) -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(API_IDLE_MAX);
    let mut http2 = server.http2();
    http2.timer(TokioTimer::new()).keep_alive_interval(API_IDLE_MAX).keep_alive_timeout(API_IDLE_MAX);
    if is_http2 { server.http2_only() } else { server.http1_only() }
}

/// The certificate that was shown; empty for none.
fn shown(stream: &TlsStream<TcpStream>) -> Shown {
    let Some(shown) = stream.get_ref().1.peer_certificates().and_then(<[_]>::first) else {
        return Shown::default();
    };
    Shown {
        serial: certificate_serial(shown).ok().into_iter().flatten().collect(),
        until: certificate_valid_until(shown).unwrap_or(i64::MIN),
    }
}

fn peer_of(stream: &TlsStream<TcpStream>) -> Result<Peer, ()> {
    let (_, connection) = stream.get_ref();
    let Some(certificate) = connection.peer_certificates().and_then(<[_]>::first) else {
        return Ok(Peer(None));
    };
    Principal::of(certificate).map(|principal| Peer(Some(principal))).map_err(drop)
}
