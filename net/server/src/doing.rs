//! Who works on what: the attempts of replications that have been handed out and have not ended.
//!
//! Guarantee: an attempt is in it from before its command is handed out until after its end was told, however
//! it ends: [`Work`] takes it out when it is dropped. So what stands in process in the catalog and is not
//! in here has been lost and is taken back.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use narrows_domain::operation::OperationKey;

type Attempts = BTreeSet<(OperationKey, u32)>;

/// All attempts under way; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Doing(Arc<Mutex<Attempts>>);

/// An attempt under way, until this is dropped.
#[derive(Debug)]
pub struct Work {
    doing: Doing,
    attempt: (OperationKey, u32),
}

impl Doing {
    /// This attempt is under way from now on.
    pub fn begin(&self, operation: OperationKey, attempt: u32) -> Work {
        self.attempts().insert((operation, attempt));
        Work { doing: self.clone(), attempt: (operation, attempt) }
    }

    /// Whether somebody works on it.
    pub fn has(&self, operation: OperationKey, attempt: u32) -> bool {
        self.attempts().contains(&(operation, attempt))
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.doing.attempts().remove(&self.attempt);
    }
}

#[cfg(test)]
mod tests {
    use narrows_format::ImageId;

    use super::*;

    /// Goal: nothing counts as under way whose task has ended, by a panic or by being stopped too.
    #[tokio::test]
    async fn an_attempt_ends_with_its_task_however_that_ends() {
        let doing = Doing::default();
        let key = |ordinal| OperationKey { image: ImageId([1; 16]), ordinal };
        let (panics, stopped, lost) =
            (doing.begin(key(1), 1), doing.begin(key(2), 1), doing.begin(key(3), 7));
        assert!(doing.has(key(1), 1) && doing.has(key(2), 1) && !doing.has(key(3), 1));
        let panicking = tokio::spawn(async move {
            let _work = panics;
            panic!("as a test");
        });
        assert!(panicking.await.is_err_and(|error| error.is_panic()));
        let waiting = tokio::spawn(async move {
            let _work = stopped;
            std::future::pending::<()>().await;
        });
        waiting.abort();
        assert!(waiting.await.is_err_and(|error| error.is_cancelled()));
        let (send, receive) = tokio::sync::mpsc::channel(1);
        send.send(lost).await.unwrap();
        drop(receive);
        assert_eq!(*doing.attempts(), Attempts::new());
    }
}
