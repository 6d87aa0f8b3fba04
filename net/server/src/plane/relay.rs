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
        mpsc::{self, Sender},
    },
    task::{Context, Wake, Waker},
    thread,
};

static RELAY: OnceLock<Sender<Waker>> = OnceLock::new();

/// The queue of the relaying thread, which lives as long as the process.
fn relay() -> &'static Sender<Waker> {
    RELAY.get_or_init(|| {
        let (send, receive) = mpsc::channel::<Waker>();
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
        // The queue is bounded by the tasks that wait: a task is in it once per poll.
        if let Err(unsent) = relay().send(self.0.clone()) {
            unsent.0.wake();
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
