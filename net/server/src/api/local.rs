//! The administrator's way in when nothing else works: a socket in the data folder.
//!
//! Guarantee: whoever the kernel says is root, or the user that the server runs as, is the administrator, whatever became
//! of tokens, certificates and clocks; nobody else gets an answer. Both could read the domain's keys anyway.

use std::{convert::Infallible, os::unix::fs::PermissionsExt as _, path::Path};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use narrows_format::DomainId;
use narrows_transport::Principal;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
};
use tower_service::Service as _;

use super::caller::Peer;
use crate::limits::{API_IDLE_MAX, LOCAL_CONNECTIONS_MAX};

/// Listens in the data folder, of which the caller has the lock: a socket that is there was left by a server that died.
pub fn listen(path: &Path) -> std::io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves until it is to stop.
pub async fn serve(
    listener: UnixListener,
    router: Router,
    domain: DomainId,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept(), if connections.len() < LOCAL_CONNECTIONS_MAX => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => {
                if let Some(name) = administrator(&stream) {
                    let peer = Peer(Some(Principal::Admin { domain, name }));
                    connections.spawn(connection(stream, router.clone(), peer));
                } else {
                    tracing::warn!("somebody who is not the administrator tried the local socket");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a local connection could not be accepted");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

/// The name of who is at the other end, if that is root or our own user.
fn administrator(stream: &UnixStream) -> Option<String> {
    let user = stream.peer_cred().ok()?.uid();
    let own = rustix::process::geteuid().as_raw();
    (user == 0 || user == own).then(|| if user == 0 { "root".to_owned() } else { format!("uid {user}") })
}

async fn connection(stream: UnixStream, router: Router, peer: Peer) {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut router = router.clone();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer.clone());
        async move { Ok::<_, Infallible>(router.call(request).await.unwrap_or_else(|never| match never {})) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(API_IDLE_MAX);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a local connection ended badly");
    }
}
