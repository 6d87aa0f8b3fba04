//! Places for connections to the API: a bounded number, and never all of them held by strangers.
//!
//! Guarantee: when every place is taken, the connection that has gone longest without a proved caller is cut,
//! so whoever can prove who they are gets in however many silent connections others hold open.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::AbortHandle,
};

/// Whether anybody has proved who they are on a connection.
#[derive(Clone, Debug, Default)]
pub struct Standing(Arc<AtomicBool>);

impl Standing {
    /// Somebody has.
    pub fn prove(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_proved(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// All places.
pub struct Places {
    free: Arc<Semaphore>,
    strangers: Mutex<VecDeque<(Standing, AbortHandle)>>,
}

impl Places {
    /// So many.
    pub fn new(count: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), strangers: Mutex::default() }
    }

    /// One for a connection that has come; another one may have to go for it.
    pub async fn take(&self) -> OwnedSemaphorePermit {
        if let Ok(place) = Arc::clone(&self.free).try_acquire_owned() {
            return place;
        }
        self.cut_oldest_stranger();
        match Arc::clone(&self.free).acquire_owned().await {
            Ok(place) => place,
            Err(_) => unreachable!("the semaphore is closed by nobody"),
        }
    }

    /// The task that serves a connection; it ends when it is cut.
    pub fn seat(&self, standing: Standing, task: AbortHandle) {
        let mut strangers = self.strangers();
        strangers.retain(|(standing, task)| !standing.is_proved() && !task.is_finished());
        strangers.push_back((standing, task));
    }

    fn cut_oldest_stranger(&self) {
        let mut strangers = self.strangers();
        while let Some((standing, task)) = strangers.pop_front() {
            if !standing.is_proved() && !task.is_finished() {
                tracing::warn!(
                    "all places of the API are taken: a connection without a proved caller is cut"
                );
                task.abort();
                return;
            }
        }
    }

    fn strangers(&self) -> MutexGuard<'_, VecDeque<(Standing, AbortHandle)>> {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sit(places: &Places, place: OwnedSemaphorePermit) -> (Standing, tokio::task::JoinHandle<()>) {
        let standing = Standing::default();
        let task = tokio::spawn(async move {
            let _place = place;
            std::future::pending::<()>().await;
        });
        places.seat(standing.clone(), task.abort_handle());
        (standing, task)
    }

    /// Goal: silent connections do not lock out who can prove who they are.
    #[tokio::test]
    async fn the_oldest_stranger_makes_room() {
        let places = Places::new(3);
        let (known, proved) = {
            let place = places.take().await;
            sit(&places, place)
        };
        known.prove();
        let mut silent = Vec::new();
        for _ in 0..2 {
            let place = places.take().await;
            silent.push(sit(&places, place).1);
        }
        for gone in silent {
            let place = places.take().await;
            assert!(gone.await.is_err_and(|error| error.is_cancelled()));
            sit(&places, place);
        }
        assert!(!proved.is_finished());
    }
}
