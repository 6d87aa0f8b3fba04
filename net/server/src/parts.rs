//! The tasks that a server consists of: which of them fails first, and in what order they end.

use futures_util::{FutureExt as _, future::select_all};
use narrows_ring::cores::CorePanic;
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{plane::Plane, run::RunError};

/// A task that the server can't do without.
pub(crate) struct Part {
    name: &'static str,
    task: JoinHandle<()>,
}

impl Part {
    pub(crate) fn new(name: &'static str, task: JoinHandle<()>) -> Self {
        Self { name, task }
    }

    async fn end(self) {
        self.task.abort();
        drop(self.task.await);
    }
}

/// Waits for the first of them to end, which none does while the server runs.
async fn first_to_end(parts: &mut [Part]) -> RunError {
    let ends = parts.iter_mut().map(|part| {
        let name = part.name;
        (&mut part.task).map(move |outcome| (name, outcome))
    });
    let ((part, outcome), ..) = select_all(ends).await;
    let why = match outcome {
        Ok(()) => "it returned".to_owned(),
        Err(error) => error.to_string(),
    };
    RunError::Ended { part, why }
}

/// The same, or the end of the data plane.
pub(crate) async fn first_failure(
    plane: &mut oneshot::Receiver<Result<(), CorePanic>>,
    parts: &mut [Part],
) -> RunError {
    tokio::select! {
        end = plane => match end {
            Ok(Err(panic)) => panic.into(),
            _ => RunError::Ended {
                part: "data plane",
                why: "its threads ended without being told to".to_owned(),
            },
        },
        error = first_to_end(parts) => error,
    }
}

/// Ends what listens, which was told to and is the first part; then the data plane; then the others.
pub(crate) async fn end_in_order(parts: Vec<Part>, plane: &Plane) {
    let mut parts = parts.into_iter();
    if let Some(serving) = parts.next() {
        drop(serving.task.await);
    }
    plane.close().await;
    for part in parts {
        part.end().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a server that can't work any more does not go on answering that it is not ready.
    #[tokio::test]
    async fn a_part_that_panics_or_returns_is_an_end_with_a_reason() {
        let waits = || Part::new("one that waits", tokio::spawn(std::future::pending()));
        let panics = Part::new("one that panics", tokio::spawn(async { panic!("as a test") }));
        let error = first_to_end(&mut [waits(), panics]).await.to_string();
        assert!(
            error.starts_with("the one that panics ended by itself") && error.contains("as a test"),
            "{error}"
        );
        let returns = Part::new("one that returns", tokio::spawn(async {}));
        let error = first_to_end(&mut [returns, waits()]).await.to_string();
        assert_eq!(error, "the one that returns ended by itself: it returned");
    }
}
