//! How the API reads requests and writes answers: JSON both ways, and [`ApiError`] for whatever goes wrong.

use std::future::Future;

use axum::{
    Json,
    extract::{
        FromRequest, FromRequestParts, Query, Request,
        rejection::{JsonRejection, QueryRejection},
    },
    http::{StatusCode, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use narrows_api::{ApiError, error::codes};
use serde::{Serialize, de::DeserializeOwned};

/// An error on its way out.
#[derive(Debug)]
pub struct Failure(pub ApiError);

/// What a handler gives.
pub type Answer<T> = Result<Json<T>, Failure>;

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.0)).into_response()
    }
}

/// A request's JSON body.
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let outcome: Result<Json<T>, JsonRejection> = Json::from_request(request, state).await;
        outcome.map(|Json(value)| Self(value)).map_err(|rejection| malformed("body", &rejection.body_text()))
    }
}

/// A request's query.
pub struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let outcome: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, state).await;
        outcome
            .map(|Query(value)| Self(value))
            .map_err(|rejection| malformed("query", &rejection.body_text()))
    }
}

/// A good answer.
#[expect(clippy::unnecessary_wraps, reason = "handlers end with it, and they answer with a Result")]
pub fn good<T: Serialize>(value: T) -> Answer<T> {
    Ok(Json(value))
}

/// API-001.
pub fn malformed(place: &str, sentence: &str) -> Failure {
    Failure(ApiError::new(codes::MALFORMED, sentence).at(place))
}

/// API-002.
pub fn not_found(what: &str, name: &str) -> Failure {
    Failure(ApiError::new(codes::NOT_FOUND, format!("there is no {what} `{name}`")))
}

/// API-004; the cause goes to the log, not to the caller.
pub fn internal(error: &dyn std::error::Error) -> Failure {
    let mut causes = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        causes.push_str(": ");
        causes.push_str(&cause.to_string());
        source = cause.source();
    }
    tracing::error!(error = %causes, "a request failed");
    Failure(ApiError::new(codes::INTERNAL, "the server failed").help("its log says more"))
}

/// No such route.
pub async fn no_route(request: Request) -> Failure {
    not_found("route", request.uri().path())
}

/// The route does not take this method.
pub async fn no_method(request: Request) -> Response {
    let sentence = format!("{} does not take {}", request.uri().path(), request.method());
    let error = ApiError::new(codes::MALFORMED, sentence);
    (StatusCode::METHOD_NOT_ALLOWED, Json(error)).into_response()
}

/// A layer that carries a request to its end though its caller hangs up: for orders of which something in memory follows, who
/// is believed any more for one, after they were stored.
pub async fn to_the_end(request: Request, next: Next) -> Response {
    carried(next.run(request)).await.unwrap_or_else(Failure::into_response)
}

async fn carried<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, Failure> {
    tokio::spawn(work).await.map_err(|error| internal(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::sync::oneshot;

    /// Symptom: a client was revoked in the catalog, and believed until the next start: the order's caller had hung up in between.
    #[tokio::test]
    async fn what_was_begun_goes_on_without_its_caller() {
        let ((stored, waits), (done, told)) = (oneshot::channel::<()>(), oneshot::channel());
        let mut order = Box::pin(carried(async move {
            waits.await.unwrap();
            done.send("what follows").unwrap();
        }));
        let polled = std::future::poll_fn(|context| std::task::Poll::Ready(order.as_mut().poll(context)));
        assert!(polled.await.is_pending());
        drop(order);
        stored.send(()).unwrap();
        assert_eq!(told.await, Ok("what follows"));
    }
}
