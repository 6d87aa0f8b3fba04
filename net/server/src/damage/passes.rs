//! A pass over all containers of a pool.

use narrows_domain::{Change, scrub::ScrubPass};
use narrows_pool::scrub::Depth;
use tokio::time::Instant;

use super::{Keeper, Wish};
use crate::{
    api::answer::Failure,
    limits::{DAMAGE_LOOK, MEND_PAUSE},
    servers::mending::ContainerRead,
};

impl Keeper {
    /// Makes a pass, or goes on with one, to its end or until another one is asked for.
    pub(super) async fn pass(&mut self, mut pass: ScrubPass) {
        tracing::info!(pool = %self.pool, number = pass.number, deep = pass.deep, rate = pass.rate, "a scrub begins");
        self.refused = None;
        self.keep(&pass).await;
        let mut kept = Instant::now();
        let mut is_news = false;
        loop {
            let scrubbed = match self.next_container(&pass).await {
                Ok(Some(scrubbed)) => scrubbed,
                Ok(None) => break,
                Err(error) => {
                    // It goes on from there some time later.
                    self.refused = Some(Instant::now());
                    self.say("could not be scrubbed", &error);
                    break;
                }
            };
            is_news |= scrubbed.news;
            take(&mut pass, &scrubbed);
            self.app.damage.set(self.pool, |standing| standing.pass = Some(pass.clone()));
            if scrubbed.news || kept.elapsed() >= DAMAGE_LOOK {
                self.keep(&pass).await;
                kept = Instant::now();
            }
            if self.app.damage.has_other_pass(self.pool) {
                break;
            }
            // Not with each container of a disk that is dying: the pass gets half of the time at least.
            let pause = MEND_PAUSE.max(self.mend_took);
            let is_time = self.mended.is_none_or(|at| at.elapsed() >= pause);
            if (is_news && is_time) || self.is_asked_to_heal() {
                is_news = false;
                self.heal_as_asked().await;
            }
        }
        if self.refused.is_none() && !self.app.damage.has_other_pass(self.pool) {
            pass.ended = Some(self.app.clock.now());
            let ScrubPass { number, bytes, damaged, stray, unread, .. } = pass;
            tracing::info!(pool = %self.pool, number, bytes, damaged, stray, unread, "a scrub has ended");
        }
        self.keep(&pass).await;
        self.app.damage.set(self.pool, |standing| standing.pass = None);
        if is_news || !self.app.damage.of(self.pool).hurt().is_empty() {
            self.mend(None).await;
        }
        self.doing("");
    }

    async fn next_container(&self, pass: &ScrubPass) -> Result<Option<ContainerRead>, Failure> {
        let depth = if pass.deep { Depth::Fingerprints } else { Depth::Checksums };
        let rate = Some(pass.rate).filter(|rate| *rate > 0);
        self.doing("scrub");
        self.app.plane.pool(self.pool).scrub_next(Some(pass.reached), depth, rate).await
    }

    fn is_asked_to_heal(&self) -> bool {
        self.app.damage.of(self.pool).wishes.iter().any(|(_, wish)| matches!(wish, Wish::Heal(_)))
    }

    /// Mends in between; who asked for it hears that it is done.
    async fn heal_as_asked(&mut self) {
        let mut asked = None;
        self.app.damage.set(self.pool, |standing| {
            let heals = |(_, wish): &(u64, Wish)| matches!(wish, Wish::Heal(_));
            if let Some(at) = standing.wishes.iter().position(heals) {
                asked = standing.wishes.remove(at);
            }
        });
        let from = match asked {
            Some((_, Wish::Heal(from))) => from,
            _ => None,
        };
        self.mend(from).await;
        if let Some((number, _)) = asked {
            self.app.damage.set(self.pool, |standing| standing.done = standing.done.max(number));
        }
    }

    async fn keep(&self, pass: &ScrubPass) {
        let stored = self.app.control.put(vec![Change::ScrubPass(pass.clone())]).await;
        if let Err(Failure(error)) = stored {
            // The next start begins it anew, or goes on from further back.
            tracing::warn!(pool = %self.pool, %error, "how far a scrub is could not be noted");
        }
    }
}

fn take(pass: &mut ScrubPass, read: &ContainerRead) {
    pass.reached = read.container();
    // Another server's word: whatever it says, counting goes on.
    pass.bytes = pass.bytes.saturating_add(read.bytes);
    pass.damaged = pass.damaged.saturating_add(read.harms);
    pass.stray = pass.stray.saturating_add(read.stray);
    pass.unread += u64::from(read.unread);
}
