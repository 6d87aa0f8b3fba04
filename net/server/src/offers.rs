//! Wakes the agents of clients when there may be a run for them.
//!
//! A word that comes while nobody waits is kept for whoever waits next: an agent that asks between two requests misses
//! none. It is in memory only: an agent that asks looks at the catalog first.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use narrows_format::ClientId;
use tokio::sync::Notify;

/// By client; at most as many as are enrolled.
#[derive(Debug, Default)]
pub struct Offers {
    known: Mutex<BTreeMap<ClientId, Arc<Notify>>>,
}

impl Offers {
    /// There may be a run for this client.
    pub fn offer(&self, client: ClientId) {
        self.of(client).notify_one();
    }

    /// What tells of runs for this client.
    pub fn of(&self, client: ClientId) -> Arc<Notify> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(client).or_default())
    }
}
