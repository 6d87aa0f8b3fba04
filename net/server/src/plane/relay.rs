//! Wakes tokio's tasks from a thread of its own.
//!
//! A data thread that wakes a tokio task itself may have to write to tokio's eventfd: a system call in the
//! middle of its loop. Futures that a data thread completes are therefore awaited through [`relayed`]: the
//! data thread only puts the waker into a queue.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, OnceLock,
        mpsc::{self, SyncSender, TrySendError},
    },
    task::{Context, Wake, Waker},
    thread,
};

use narrows_ring::mailbox;
use tokio::task::JoinSet;

use crate::limits::WAKERS_MAX;

static RELAY: OnceLock<SyncSender<Waker>> = OnceLock::new();

/// The queue of the relaying thread, which lives as long as the process.
fn relay() -> &'static SyncSender<Waker> {
    RELAY.get_or_init(|| {
        let (send, receive) = mpsc::sync_channel::<Waker>(WAKERS_MAX);
        let started = thread::Builder::new().name("waker".into()).spawn(move || {
            receive.into_iter().for_each(Waker::wake);
        });
        if let Err(error) = started {
            tracing::warn!(%error, "no thread to wake others with; data threads do it themselves");
        }
        send
    })
}

struct Relayed(Waker);

impl Wake for Relayed {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // A data thread waits for nobody: without room it does the waking itself.
        if let Err(TrySendError::Full(waker) | TrySendError::Disconnected(waker)) =
            relay().try_send(self.0.clone())
        {
            waker.wake();
        }
    }
}

/// Awaits what a data thread completes.
pub async fn relayed<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(move |context| {
        let waker = Waker::from(Arc::new(Relayed(context.waker().clone())));
        future.as_mut().poll(&mut Context::from_waker(&waker))
    })
    .await
}

/// Answers what data threads ask, until they have gone; answers under way end with them. Each has a task of its own, so that a
/// slow one holds up no other: who asks bounds their number.
pub async fn answer_each<T, A: Future<Output = ()> + Send + 'static>(
    questions: mailbox::Receiver<T>,
    answer: impl Fn(T) -> A,
) {
    let mut answers = JoinSet::new();
    loop {
        let question = tokio::select! {
            question = relayed(questions.receive()) => question,
            Some(_) = answers.join_next() => continue,
        };
        let Some(question) = question else { return };
        answers.spawn(answer(question));
    }
}

#[cfg(test)]
mod tests {
    use super::relayed;

    /// Goal: a result that another thread gives arrives, and its giver wakes nobody of tokio's itself.
    #[tokio::test]
    async fn a_result_from_another_thread_arrives() {
        let (tell, told) = tokio::sync::oneshot::channel();
        let giver = std::thread::spawn(move || tell.send(std::thread::current().id()).unwrap());
        let who = relayed(told).await.unwrap();
        assert_eq!(who, giver.thread().id());
        giver.join().unwrap();
    }
}
