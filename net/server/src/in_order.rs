//! Work that is done in the order in which it was given, for each thing by itself.
//!
//! Guarantee: a piece of work for a thing begins when all that was given for it before has ended, however that ended.
//! Work for different things runs side by side.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    sync::oneshot,
    task::{AbortHandle, JoinSet},
};

/// Ends of the last pieces of work, by thing.
#[derive(Debug)]
pub struct InOrder<K> {
    last: Arc<Mutex<HashMap<K, Last>>>,
    given: u64,
}

#[derive(Debug)]
struct Last {
    number: u64,
    ended: oneshot::Receiver<()>,
}

impl<K> Default for InOrder<K> {
    fn default() -> Self {
        Self { last: Arc::default(), given: 0 }
    }
}

impl<K: Copy + Eq + Hash + Send + 'static> InOrder<K> {
    /// Spawns it into `tasks`; it begins behind everything that was given for `key` before.
    pub fn run(
        &mut self,
        tasks: &mut JoinSet<()>,
        key: K,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        self.given += 1;
        let number = self.given;
        // Dropped with the task, however that ends: then the next one begins.
        let (ends, ended) = oneshot::channel::<()>();
        let before = lock(&self.last).insert(key, Last { number, ended });
        let last = Arc::clone(&self.last);
        tasks.spawn(async move {
            let _ends = ends;
            if let Some(before) = before {
                // Nothing is ever sent: it is the other end that goes.
                drop(before.ended.await);
            }
            work.await;
            let mut last = lock(&last);
            if last.get(&key).is_some_and(|last| last.number == number) {
                last.remove(&key);
            }
        })
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        lock(&self.last).is_empty()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: an older amendment of a copy never lands on a younger one; another copy's does not wait for either.
    #[tokio::test]
    async fn what_was_given_first_is_done_first() {
        let (mut tasks, mut in_order) = (JoinSet::new(), InOrder::default());
        let done = Arc::new(Mutex::new(Vec::new()));
        let (go, held) = oneshot::channel::<()>();
        let note = |what: &'static str| {
            let done = Arc::clone(&done);
            async move { lock(&done).push(what) }
        };
        let first = note("first");
        in_order.run(&mut tasks, 1, async move {
            drop(held.await);
            first.await;
        });
        in_order.run(&mut tasks, 1, note("second"));
        in_order.run(&mut tasks, 2, note("other"));
        tasks.join_next().await.unwrap().unwrap();
        assert_eq!(*lock(&done), ["other"], "the second waits for the first");
        go.send(()).unwrap();
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
        assert_eq!(*lock(&done), ["other", "first", "second"]);
        assert!(in_order.is_empty(), "nothing is kept of what has ended");
    }

    /// Goal: work that panics or is stopped holds nothing up.
    #[tokio::test]
    async fn the_next_begins_however_the_last_ended() {
        let (mut tasks, mut in_order) = (JoinSet::new(), InOrder::default());
        in_order.run(&mut tasks, 1, async { panic!("as a test") });
        let stuck = in_order.run(&mut tasks, 1, std::future::pending());
        let (say, said) = oneshot::channel();
        in_order.run(&mut tasks, 1, async move { assert!(say.send(()).is_ok(), "somebody waits") });
        stuck.abort();
        said.await.unwrap();
    }
}
