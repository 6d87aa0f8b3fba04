//! Dials a primary's API port for something else than requests: to park a connection there, or to be put through.

use std::sync::Arc;

use narrows_api::{ApiError, error::codes};
use narrows_domain::retry::Failure;
use narrows_format::{DomainId, ServerId};
use narrows_transport::{
    Credentials, TrustStore,
    trust::{Whom, server_name},
};
use rustls_pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::words::{PROTOCOL, Wish, read_answer};
use crate::{
    limits::{CALL_ANSWER_MAX, CALL_WAIT, HANDSHAKE_TIME_MAX},
    partners::{certificate_code, untrusted},
};

/// Who dials, and with what.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// Whom it believes.
    pub trust: &'a Arc<TrustStore>,
    /// What it shows.
    pub credentials: &'a Arc<Credentials>,
}

/// Where a primary is.
#[derive(Clone, Copy)]
pub struct Primary<'a> {
    /// Its domain.
    pub domain: DomainId,
    /// Its API.
    pub url: &'a str,
}

/// Dials and says why. What the other side answers is an error, or that it is so.
pub async fn dial(from: Caller<'_>, to: Primary<'_>, wish: Wish) -> Result<TlsStream<TcpStream>, ApiError> {
    let dialled = timeout(HANDSHAKE_TIME_MAX, connect(from, to)).await;
    let mut stream = dialled.map_err(|_| unreachable(to.url, "no answer"))??;
    let asking = async {
        wish.write(&mut stream).await?;
        read_answer(&mut stream).await
    };
    // Whoever is asked to put through waits for a parked connection itself.
    let answered = timeout(CALL_WAIT + CALL_ANSWER_MAX, asking).await;
    let answered = answered.map_err(|_| unreachable(to.url, "no answer"))?;
    match answered.map_err(|error| broken(to.url, &error))? {
        None => Ok(stream),
        Some((code, sentence)) => Err(ApiError::new(code, sentence)),
    }
}

async fn connect(with: Caller<'_>, to: Primary<'_>) -> Result<TlsStream<TcpStream>, ApiError> {
    let tls = with.trust.client_config_of(with.credentials, (to.domain, Whom::Primary));
    let mut tls = tls.map_err(|error| untrusted(&error))?;
    tls.alpn_protocols = vec![PROTOCOL.to_vec()];
    let address = to.url.strip_prefix("https://").unwrap_or(to.url);
    let stream = TcpStream::connect(address).await.map_err(|error| broken(to.url, &error))?;
    stream.set_nodelay(true).map_err(|error| broken(to.url, &error))?;
    over(tls, to, stream).await
}

/// TLS as who dials, over any connection to a primary.
pub async fn over(
    tls: rustls::ClientConfig,
    to: Primary<'_>,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, ApiError> {
    let name = ServerName::try_from(server_name(to.domain));
    let name = name.map_err(|error| ApiError::new(codes::INTERNAL, error.to_string()))?;
    let made = TlsConnector::from(Arc::new(tls)).connect(name, stream).await;
    made.map_err(|error| broken(to.url, &error))
}

/// A connection to the data port of a partner that dials, by this domain's primary.
pub async fn through(
    with: Caller<'_>,
    to: Primary<'_>,
    (partner, server): (DomainId, Option<ServerId>),
) -> Result<TcpStream, Failure> {
    let dialled = dial(with, to, Wish::Through(partner, server)).await;
    let stream = dialled.map_err(|error| Failure::unreachable(error.message))?;
    // The other side writes nothing more under this TLS.
    Ok(stream.into_inner().0)
}

fn broken(url: &str, error: &(dyn std::error::Error + 'static)) -> ApiError {
    match certificate_code(error) {
        Some((code, why)) => {
            ApiError::new(code, format!("{url} and this domain do not trust each other: {why}"))
        }
        None => unreachable(url, &error.to_string()),
    }
}

fn unreachable(url: &str, why: &str) -> ApiError {
    ApiError::new(codes::UNREACHABLE, format!("{url} can't be reached: {why}"))
}
