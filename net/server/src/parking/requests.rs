//! Requests to a partner's API by a connection that it has parked here.
//!
//! One such connection is called and kept while it lasts; all requests to that partner go by it at once.

use std::sync::Arc;

use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use narrows_api::{ApiError, error::codes};
use narrows_format::DomainId;
use narrows_transport::{Credentials, TrustStore, trust::Whom};
use reqwest::{Body, Request, Response};
use rustls_pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Mutex,
};
use tokio_rustls::client::TlsStream;

use super::{
    Parking,
    dialling::{Primary, over},
    words::Called,
};
use crate::{limits::PARKED_BEAT, partners::untrusted};

/// The API of one partner that dials.
pub struct Requests {
    parking: Arc<Parking>,
    trust: Arc<TrustStore>,
    credentials: Arc<Credentials>,
    domain: DomainId,
    open: Mutex<Option<SendRequest<Body>>>,
}

impl Requests {
    /// Nothing is called yet.
    pub fn new(
        parking: Arc<Parking>,
        (trust, credentials): (Arc<TrustStore>, Arc<Credentials>),
        domain: DomainId,
    ) -> Self {
        Self { parking, trust, credentials, domain, open: Mutex::default() }
    }

    #[cfg(test)]
    pub(crate) async fn by(self, stream: tokio::io::DuplexStream) -> Self {
        *self.open.lock().await = Some(speak(stream, "a test").await.unwrap());
        self
    }

    /// Sends a request and gives the answer's head; its body is read by the caller. One that was not on its connection when that
    /// broke is sent once more.
    pub async fn send(&self, request: Request, (name, url): (&str, &str)) -> Result<Response, ApiError> {
        let again = request.try_clone();
        match self.once(request, (name, url)).await {
            Err(Broken::Unsent(error)) => match again {
                Some(again) => self.once(again, (name, url)).await.map_err(Broken::into),
                None => Err(error),
            },
            outcome => outcome.map_err(Broken::into),
        }
    }

    /// The certificate that the partner's server shows on a connection of its own, called now.
    pub async fn shown(
        &self,
        (name, url): (&str, &str),
    ) -> Result<Option<CertificateDer<'static>>, ApiError> {
        let stream = self.call((name, url)).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        Ok(shown.map(|der| der.clone().into_owned()))
    }

    async fn once(&self, request: Request, to: (&str, &str)) -> Result<Response, Broken> {
        let mut sender = self.sender(to).await.map_err(Broken::Refused)?;
        let failed = |error: &hyper::Error| {
            let sentence = format!("{} can't be reached by the connection that it parked here", to.0);
            ApiError::new(codes::UNREACHABLE, sentence).because(error.to_string())
        };
        let mut request: hyper::Request<Body> = request.try_into().map_err(|error: reqwest::Error| {
            Broken::Refused(ApiError::new(codes::INTERNAL, error.to_string()))
        })?;
        *request.version_mut() = hyper::Version::HTTP_2;
        match sender.send_request(request).await {
            Ok(answer) => Ok(Response::from(answer.map(Body::wrap))),
            Err(error) => {
                self.open.lock().await.take();
                let told = failed(&error);
                Err(if error.is_canceled() || error.is_closed() {
                    Broken::Unsent(told)
                } else {
                    Broken::Refused(told)
                })
            }
        }
    }

    async fn sender(&self, to: (&str, &str)) -> Result<SendRequest<Body>, ApiError> {
        let mut open = self.open.lock().await;
        if let Some(sender) = open.as_mut()
            && !sender.is_closed()
            && sender.ready().await.is_ok()
        {
            return Ok(sender.clone());
        }
        let sender = speak(self.call(to).await?, to.0).await?;
        *open = Some(sender.clone());
        Ok(sender)
    }

    async fn call(&self, (name, url): (&str, &str)) -> Result<TlsStream<TcpStream>, ApiError> {
        let called = self.parking.call(self.domain, Called::Api).await;
        let stream = called.map_err(|why| {
            ApiError::new(codes::UNREACHABLE, format!("{name} can't be reached")).because(why)
        })?;
        let tls = self.trust.client_config_of(&self.credentials, (self.domain, Whom::Primary));
        let mut tls = tls.map_err(|error| untrusted(&error))?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        over(tls, Primary { domain: self.domain, url }, stream).await
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    name: &str,
) -> Result<SendRequest<Body>, ApiError> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).keep_alive_interval(PARKED_BEAT).keep_alive_timeout(PARKED_BEAT);
    let made = builder.handshake(TokioIo::new(stream)).await;
    let (sender, connection) = made.map_err(|error| {
        ApiError::new(codes::UNREACHABLE, format!("{name} speaks no HTTP")).because(error.to_string())
    })?;
    // It ends when the last sender has gone, or the partner.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a parked connection for requests ended badly");
        }
    });
    Ok(sender)
}

enum Broken {
    Unsent(ApiError),
    Refused(ApiError),
}

impl From<Broken> for ApiError {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Unsent(error) | Broken::Refused(error) => error,
        }
    }
}
