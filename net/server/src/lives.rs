//! Which life of this server this is, and whether a partner's is alive twice.
//!
//! Each start is counted in a file beside the catalog before anything is said to anybody, and draws an instance. What
//! servers say to each other over the API carries both. A new life that calls is asked back at the address that is known:
//! if an older one answers there, one of the two is a copy. Deciding is the control task's business
//! ([`narrows_domain::life`]); that nothing is asked of it while nothing is new is this file's.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::http::{HeaderMap, HeaderValue};
use narrows_api::partner::LIFE_HEADER;
use narrows_domain::{
    life::{Life, Verdict},
    moment::before,
};
use narrows_format::{DomainId, Timestamp};
use tokio::sync::mpsc;

use crate::{
    api::{App, answer::Failure},
    folder::{DomainIdentity, Folder, FolderError, write_secret},
    hands,
    limits::{LIVES_WAITING_MAX, REQUEST_ON_ITS_WAY_MAX},
    random,
};

/// Lives that were heard of and are known, and those that are to be looked at.
pub struct Lives {
    own: Life,
    known: Mutex<BTreeMap<(DomainId, String), Life>>,
    heard: mpsc::Sender<Heard>,
}

/// A life that is not known, or not any more.
pub struct Heard {
    partner: DomainId,
    life: Life,
    /// It was alive then, or later.
    alive_at: Timestamp,
    how: How,
}

/// How a life was heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Called,
    Answered,
}

/// Counts this start; the file says so before anybody hears of it.
pub fn begin(folder: &Folder, who: &DomainIdentity) -> Result<Life, FolderError> {
    let path = folder.starts();
    let before: u64 = match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| FolderError::Malformed {
            path: path.clone(),
            sentence: "it holds no count of starts; write a number into it that is higher than any before"
                .to_owned(),
        })?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        Err(source) => return Err(FolderError::Disk { path, source }),
    };
    let start = before.saturating_add(1);
    write_secret(&path, start.to_string().as_bytes()).map_err(|source| FolderError::Disk { path, source })?;
    let instance = u128::from_le_bytes(random::bytes());
    Ok(Life { server: who.server.clone(), incarnation: who.incarnation, start, instance })
}

/// The life that a head of a message names.
pub fn named(headers: &HeaderMap) -> Option<Life> {
    headers.get(LIFE_HEADER)?.to_str().ok()?.parse().ok()
}

impl Lives {
    /// This life, and what is to be [looked at](attend).
    pub fn new(own: Life) -> (Arc<Self>, mpsc::Receiver<Heard>) {
        let (heard, waiting) = mpsc::channel(LIVES_WAITING_MAX);
        (Arc::new(Self { own, known: Mutex::default(), heard }), waiting)
    }

    /// For the head of what we say; absent if it can't stand there.
    pub fn header(&self) -> Option<HeaderValue> {
        self.own.to_string().parse().ok()
    }

    /// A partner's server called.
    pub fn called(&self, partner: DomainId, headers: &HeaderMap, now: Timestamp) {
        // What an older life sent before it ended may be on its way for so long.
        self.heard(partner, headers, before(now, REQUEST_ON_ITS_WAY_MAX), How::Called);
    }

    /// A partner's server answered what it was asked then.
    pub fn answered(&self, partner: DomainId, headers: &HeaderMap, asked: Timestamp) {
        self.heard(partner, headers, asked, How::Answered);
    }

    /// What was heard of a partner counts no more.
    pub fn forget(&self, partner: DomainId) {
        self.known().retain(|(of, _), _| *of != partner);
    }

    fn heard(&self, partner: DomainId, headers: &HeaderMap, alive_at: Timestamp, how: How) {
        let Some(life) = named(headers) else { return };
        if self.known().get(&(partner, life.server.clone())) != Some(&life) {
            // With too many waiting it is left: it says so again with the next word.
            drop(self.heard.try_send(Heard { partner, life, alive_at, how }));
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<(DomainId, String), Life>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at each life that is not known, for as long as the server runs.
pub async fn attend(app: App, mut waiting: mpsc::Receiver<Heard>) {
    while let Some(heard) = waiting.recv().await {
        if let Err(Failure(error)) = look_at(&app, heard).await {
            tracing::warn!(%error, "a partner's life could not be looked at");
        }
    }
}

async fn look_at(app: &App, heard: Heard) -> Result<(), Failure> {
    let Heard { partner, life, alive_at, how } = heard;
    let (told, key) = ((life.clone(), alive_at), (partner, life.server.clone()));
    let verdict = app
        .control
        .act(move |primary, moment| Box::pin(async move { primary.life_heard(partner, told, moment).await }));
    match verdict.await? {
        Some(Verdict::Known) => drop(app.lives.known().insert(key, life)),
        Some(Verdict::Newer) => {
            app.lives.known().insert(key, life);
            if how == How::Called {
                ask_back(app.clone(), partner);
            }
        }
        Some(Verdict::Returned) => {
            tracing::error!(%partner, %life, "this life is alive beside a newer one: its domain is frozen (TRUST-003)");
        }
        Some(Verdict::Late) | None => {}
    }
    Ok(())
}

/// Who answers at the address that is known? What comes back is looked at as any answer is.
fn ask_back(app: App, partner: DomainId) {
    use narrows_domain::Catalog as _;
    tokio::spawn(async move {
        if let Ok(Some(known)) = app.catalog.partner(partner).await
            && !known.url.is_empty()
        {
            drop(hands::ping(&app, &known).await);
        }
    });
}

#[cfg(test)]
mod tests {
    use narrows_format::PoolId;

    use super::*;

    /// Goal: each start has its number, whatever became of the one before, and a number that is gone is said.
    #[test]
    fn starts_are_counted() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::new(root.path());
        let who = DomainIdentity {
            name: "east".into(),
            domain: DomainId([1; 16]),
            incarnation: 2,
            server: "s".into(),
            pool: PoolId([2; 16]),
            admin_token: narrows_api::Hex([3; 32]),
        };
        let lives = [begin(&folder, &who).unwrap(), begin(&folder, &who).unwrap()];
        assert_eq!(lives.each_ref().map(|it| (it.incarnation, it.start)), [(2, 1), (2, 2)]);
        assert_ne!(lives[0].instance, lives[1].instance);
        std::fs::write(folder.starts(), "many").unwrap();
        assert!(matches!(begin(&folder, &who), Err(FolderError::Malformed { .. })));
    }
}
