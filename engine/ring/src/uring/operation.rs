//! One operation that somebody waits for.

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use super::{
    driver::Driver,
    slots::{Landing, Token},
};

/// What happens to an operation that nobody waits for any more, and when its core ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unawaited {
    /// It runs to its end by itself: disks always answer.
    Finishes,
    /// It is cancelled: a peer may never answer.
    Cancelled,
}

/// A future of its end. Holds no memory itself: that stays with the driver until the operation has landed.
pub(super) struct Operation {
    driver: Rc<Driver>,
    token: Option<Token>,
}

impl Operation {
    pub(super) fn new(driver: Rc<Driver>, token: Token) -> Self {
        Self { driver, token: Some(token) }
    }

    /// Asks the kernel to end it; it is still to be awaited.
    pub(super) fn cancel(&self) {
        if let Some(token) = self.token {
            self.driver.cancel(token);
        }
    }

    /// What the kernel has said of it although it has not landed.
    pub(super) fn so_far(&self) -> Option<i32> {
        self.token.and_then(|token| self.driver.so_far(token))
    }

    /// Lets it land without anybody waiting.
    pub(super) fn let_finish(mut self) {
        if let Some(token) = self.token.take() {
            self.driver.let_finish(token);
        }
    }
}

impl Future for Operation {
    type Output = Landing;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Landing> {
        let token = self.token.expect("not polled again after its end");
        match self.driver.poll(token, context.waker()) {
            Some(landing) => {
                self.token = None;
                Poll::Ready(landing)
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if let Some(token) = self.token.take() {
            self.driver.abandon(token);
        }
    }
}
