//! Bounded queues between cores, and between the data plane and tokio.
//!
//! Many senders, one receiver. Only wakers connect the two sides, so a mailbox works between ring threads,
//! tokio tasks, helper threads and simulated hosts alike. No lock is taken while neither side has to wait.
//!
//! What it does not do: keep order between several senders, or tell a sender what became of its message.

use std::{error, fmt};

/// A mailbox for at most `bound` messages.
///
/// # Panics
///
/// When `bound` is 0.
pub fn channel<T>(bound: usize) -> (Sender<T>, Receiver<T>) {
    assert!(bound > 0, "a mailbox holds at least one message");
    let (sender, receiver) = async_channel::bounded(bound);
    (Sender { inner: sender }, Receiver { inner: receiver })
}

/// The side that sends; clones send to the same mailbox.
pub struct Sender<T> {
    inner: async_channel::Sender<T>,
}

/// The side that receives. Dropping it closes the mailbox.
pub struct Receiver<T> {
    inner: async_channel::Receiver<T>,
}

/// The receiver has gone; here is the message back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Closed<T>(pub T);

/// Why a message was not taken at once; it comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum NotSent<T> {
    /// No room now.
    Full(T),
    /// The receiver has gone.
    Closed(T),
}

/// What a receiver found without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting<T> {
    /// A message.
    Message(T),
    /// Nothing now.
    Empty,
    /// Nothing now and never again.
    Closed,
}

impl<T> Sender<T> {
    /// Sends, waiting for room. A dropped future has not sent.
    pub async fn send(&self, message: T) -> Result<(), Closed<T>> {
        self.inner.send(message).await.map_err(|refused| Closed(refused.0))
    }

    /// Sends if there is room now.
    pub fn try_send(&self, message: T) -> Result<(), NotSent<T>> {
        self.inner.try_send(message).map_err(|refused| match refused {
            async_channel::TrySendError::Full(message) => NotSent::Full(message),
            async_channel::TrySendError::Closed(message) => NotSent::Closed(message),
        })
    }

    /// Sends from a helper thread, blocking it until there is room. Never from a data thread.
    pub fn send_blocking(&self, message: T) -> Result<(), Closed<T>> {
        self.inner.send_blocking(message).map_err(|refused| Closed(refused.0))
    }

    /// Whether the receiver has gone.
    pub fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.inner.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }
}

impl<T> Receiver<T> {
    /// The next message; `None` when all senders have gone and nothing is left. A dropped future has
    /// taken nothing.
    pub async fn receive(&self) -> Option<T> {
        self.inner.recv().await.ok()
    }

    /// The next message if one waits now.
    pub fn try_receive(&self) -> Waiting<T> {
        match self.inner.try_recv() {
            Ok(message) => Waiting::Message(message),
            Err(async_channel::TryRecvError::Empty) => Waiting::Empty,
            Err(async_channel::TryRecvError::Closed) => Waiting::Closed,
        }
    }

    /// The next message for a helper thread, blocking it. Never from a data thread.
    pub fn receive_blocking(&self) -> Option<T> {
        self.inner.recv_blocking().ok()
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.inner.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    /// Refuses new messages; those that wait can still be received.
    pub fn close(&self) {
        self.inner.close();
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.inner.close();
        // Messages may hold reply channels: their senders learn at once that nobody will answer.
        while self.inner.try_recv().is_ok() {}
    }
}

impl<T> fmt::Debug for Closed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Closed(..)")
    }
}

impl<T> fmt::Display for Closed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the receiver of the mailbox has gone")
    }
}

impl<T> error::Error for Closed<T> {}

impl<T> fmt::Debug for NotSent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("Full(..)"),
            Self::Closed(_) => f.write_str("Closed(..)"),
        }
    }
}

impl<T> fmt::Display for NotSent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("the mailbox is full"),
            Self::Closed(_) => f.write_str("the receiver of the mailbox has gone"),
        }
    }
}

impl<T> error::Error for NotSent<T> {}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_full_mailbox_gives_the_message_back_and_takes_it_later() {
        let (sender, receiver) = channel(1);
        assert_eq!(sender.try_send(1), Ok(()));
        assert_eq!(sender.try_send(2), Err(NotSent::Full(2)));
        let mut waiting = Box::pin(sender.send(3));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert_eq!(receiver.try_receive(), Waiting::Message(1));
        assert_eq!(waiting.now_or_never(), Some(Ok(())));
        assert_eq!(receiver.try_receive(), Waiting::Message(3));
        assert_eq!(receiver.try_receive(), Waiting::Empty);
    }

    #[test]
    fn a_dropped_receiver_frees_what_waited() {
        let (sender, receiver) = channel(4);
        let (reply, answer) = channel::<()>(1);
        assert!(sender.try_send(reply).is_ok());
        drop(receiver);
        assert_eq!(answer.try_receive(), Waiting::Closed);
        assert!(sender.is_closed());
    }

    #[test]
    fn a_receiver_without_senders_ends_after_the_last_message() {
        let (sender, receiver) = channel(4);
        assert!(sender.try_send(7).is_ok());
        drop(sender);
        assert_eq!(receiver.receive().now_or_never(), Some(Some(7)));
        assert_eq!(receiver.receive().now_or_never(), Some(None));
    }
}
