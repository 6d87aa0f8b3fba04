//! Tells partners where this server is: each of them once in its life.
//!
//! A partner knows the address of the pairing. When this server is started elsewhere, nothing but its own word can tell
//! that: what a partner sends would wait for ever. A partner asks back at the new address before it believes it, and at the one that it
//! knows: while another life of this server answers there, one of the two is a copy.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use narrows_domain::{Catalog as _, Partner, machine::report::can_hear};
use narrows_format::DomainId;
use tokio::time::{Instant, sleep};

use crate::{
    api::App,
    limits::{WHEREABOUTS_RETRY, WHEREABOUTS_RETRY_MAX},
    pairing,
};

/// Partners that may have heard something else than what is so: they are told once more.
#[derive(Debug, Default)]
pub struct Untold(Mutex<BTreeSet<DomainId>>);

impl Untold {
    /// This one.
    pub fn add(&self, domain: DomainId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(domain);
    }

    fn take(&self) -> BTreeSet<DomainId> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How far it is with one partner.
#[derive(Clone, Copy, Debug)]
enum Telling {
    Done,
    /// It is told again then, and after that pause if that fails too.
    Again(Instant, Duration),
}

/// Runs until it is ended with the server.
pub async fn run(app: App) {
    let mut tellings = BTreeMap::new();
    loop {
        for untold in app.untold.take() {
            tellings.remove(&untold);
        }
        match app.catalog.partners().await {
            Ok(partners) => round(&app, &partners, &mut tellings).await,
            Err(error) => tracing::warn!(%error, "partners could not be told where this server is"),
        }
        sleep(WHEREABOUTS_RETRY).await;
    }
}

async fn round(app: &App, partners: &[Partner], tellings: &mut BTreeMap<DomainId, Telling>) {
    let now = Instant::now();
    let is_due = |partner: &&Partner| match tellings.get(&partner.domain) {
        Some(Telling::Done) => false,
        Some(Telling::Again(then, _)) => *then <= now,
        None => true,
    };
    let due = partners.iter().filter(|partner| can_hear(partner)).filter(is_due);
    let told = join_all(due.map(async |partner| (partner, pairing::tell_where(app, partner).await))).await;
    for (partner, outcome) in told {
        let telling = match (outcome, tellings.get(&partner.domain)) {
            (Ok(()), _) => Telling::Done,
            (Err(error), before) => {
                tracing::info!(partner = partner.name, %error, "it was not told where this server is");
                let pause = match before {
                    Some(Telling::Again(_, pause)) => (*pause * 2).min(WHEREABOUTS_RETRY_MAX),
                    _ => WHEREABOUTS_RETRY,
                };
                Telling::Again(Instant::now() + pause, pause)
            }
        };
        tellings.insert(partner.domain, telling);
    }
}
