//! What is damaged in a pool is looked at once more, told, and brought anew from whoever holds the same image.
//!
//! Sources, in this order: the damaged containers themselves, where only their header or table is damaged; other pools of this domain, then partners that have the image from here or sent it. A source
//! that lacks something itself gives the rest; the next one is asked for what is left.

use std::collections::BTreeSet;

use narrows_api::{ApiError, Hex, error::codes};
use narrows_domain::{Catalog as _, Image, Partner, partner::Trust, retry::Failure as Met, scrub};
use narrows_format::{ContainerId, DomainId, ImageId, PoolId, node::Child};
use narrows_pool::scrub::Depth;
use tokio::time::Instant;

use super::Keeper;
use crate::{
    api::{
        App,
        answer::{Failure, internal},
    },
    doorman::root_of,
    hands::{self, Lender},
    limits::{DAMAGED_ASKED_MAX, HEAL_ROUNDS_MAX},
    servers::{
        destination::Destination,
        mending::{Mending, Surveyed},
    },
    tickets::Ticket,
};

/// What came of mending one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The image.
    pub image: ImageId,
    /// Whom it came from, or who was asked last; empty when there is nobody.
    pub from: String,
    /// Bytes of frames that came.
    pub data_bytes: u64,
    /// Code and sentence of the last refusal; both empty when it was mended.
    pub code: String,
    /// See `code`.
    pub why: String,
}

impl Attempt {
    fn refused(image: ImageId, from: String, code: String, why: String) -> Self {
        Self { image, from, data_bytes: 0, code, why }
    }
}

impl Keeper {
    /// Looks again at what is in quarantine, walks all images, and mends those that are hurt.
    pub(super) async fn mend(&mut self, from: Option<DomainId>) {
        self.doing("heal");
        let began = Instant::now();
        if let Err(error) = self.look_and_mend(from).await {
            self.say("could not be mended", &error);
        }
        self.mended = Some(Instant::now());
        self.mend_took = began.elapsed();
        self.doing("");
    }

    async fn look_and_mend(&self, from: Option<DomainId>) -> Result<(), Failure> {
        let pool = self.app.plane.pool(self.pool);
        for ContainerId(container) in pool.quarantine().await? {
            // A passing fault is over when all of it holds.
            pool.scrub_next(Some(ContainerId(container.saturating_sub(1))), Depth::Fingerprints, None)
                .await?;
        }
        let mut survey = self.survey().await?;
        if !survey.images().is_empty() && pool.rescue().await? > 0 {
            survey = self.survey().await?;
        }
        // What was refused and is whole all the same is old news.
        let hurt: BTreeSet<_> = survey.images().into_iter().collect();
        let is_news = |it: &Attempt| it.why.is_empty() || hurt.contains(&it.image);
        self.app.damage.set(self.pool, |standing| standing.attempts.retain(is_news));
        for _ in 0..HEAL_ROUNDS_MAX {
            let hurt = survey.images();
            if hurt.is_empty() {
                return Ok(());
            }
            let mut attempts = Vec::with_capacity(hurt.len());
            for image in hurt {
                attempts.push(self.heal(image, from).await?);
            }
            self.app.damage.set(self.pool, |standing| standing.attempts = attempts);
            let left = self.survey().await?;
            if left.damaged >= survey.damaged {
                return Ok(());
            }
            survey = left;
        }
        Ok(())
    }

    /// Walks all images, and tells what it found to who has to know.
    async fn survey(&self) -> Result<Surveyed, Failure> {
        let pool = self.app.plane.pool(self.pool);
        let (survey, quarantined) = (pool.survey().await?, pool.quarantine().await?.len());
        let damage = survey.reason();
        let hurt: BTreeSet<_> = survey.images().into_iter().collect();
        for image in hurt.iter().copied() {
            self.tell((image, self.pool), Some(damage.clone())).await?;
        }
        for image in self.told_of(DAMAGED_ASKED_MAX).await? {
            if !hurt.contains(&image) && self.is_sound(image).await? {
                self.tell((image, self.pool), None).await?;
            }
        }
        let pool = self.pool;
        let known = self.app.control.act(move |primary, moment| {
            Box::pin(async move { Ok(((), primary.surveyed(pool, hurt, moment).await?)) })
        });
        known.await?;
        let found = Some((self.app.clock.now(), survey.clone()));
        self.app.damage.set(self.pool, |standing| {
            standing.survey = found;
            standing.quarantined = quarantined;
        });
        Ok(survey)
    }

    /// Images of which somebody was told that their copy here is damaged.
    pub(super) async fn told_of(&self, limit: u32) -> Result<BTreeSet<ImageId>, Failure> {
        let imports = self.app.catalog.damaged_imports(self.pool, limit).await;
        Ok(imports.map_err(|error| internal(&error))?.iter().map(|it| it.arrival.record.image).collect())
    }

    /// Whether an image in which a survey found nothing is whole: it reads no data.
    async fn is_sound(&self, image: ImageId) -> Result<bool, Failure> {
        match self.app.plane.pool(self.pool).verify(image).await {
            Ok(checked) => Ok(checked.damage.is_none()),
            // It was let go, or is gone: nobody reads it, nothing is told of it, and it keeps nobody from mending the others.
            Err(Failure(error)) if [codes::GONE, codes::NOT_FOUND].contains(&error.code.as_str()) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn tell(&self, copy: (ImageId, PoolId), damage: Option<String>) -> Result<(), Failure> {
        let told = self.app.control.act(move |primary, moment| {
            Box::pin(async move { Ok(((), primary.copy_read(copy, damage, moment).await?)) })
        });
        told.await
    }

    /// Asks one source after the other, until the image is whole.
    async fn heal(&self, image: ImageId, from: Option<DomainId>) -> Result<Attempt, Failure> {
        let app = &self.app;
        let known = app.catalog.image(image).await.map_err(|error| internal(&error))?;
        let nobody = |why: &str| Attempt::refused(image, String::new(), String::new(), why.to_owned());
        let Some((known, content)) = known.and_then(|known| Some((known.clone(), known.content?))) else {
            return Ok(nobody("the catalog does not know it"));
        };
        let known = (known, root_of(&content));
        let mut last = nobody("no other pool of this domain and no partner holds it");
        if from.is_none_or(|from| from == app.who.domain) {
            for source in self.other_pools(image).await? {
                let name = app.who.name.clone();
                let source = own(app, image, (source, self.pool));
                last = self.heal_from(&known, source, name).await?;
                if last.why.is_empty() {
                    return Ok(last);
                }
            }
        }
        for partner in self.partners(&known.0, from).await? {
            let source = hands::lent_by(app, &partner, image).await;
            last = self.heal_from(&known, source, partner.name.clone()).await?;
            if last.why.is_empty() {
                return Ok(last);
            }
        }
        if !last.from.is_empty() {
            tracing::warn!(%image, from = last.from, code = last.code, why = last.why, "an image could not be healed");
        }
        Ok(last)
    }

    async fn heal_from(
        &self,
        (image, root): &(Image, Child),
        source: Result<Lender, Met>,
        name: String,
    ) -> Result<Attempt, Failure> {
        let outcome = match source {
            Ok(Lender { domain, at, ticket }) => {
                let mending = Mending {
                    image: image.id,
                    origin: image.origin,
                    root: (*root).into(),
                    pool: self.pool,
                    source: Destination {
                        ticket: Hex(ticket),
                        to: domain,
                        address: at.address,
                        server: at.server,
                        by_primary: self.app.parking.is_caller(domain),
                    },
                };
                self.bring(mending).await
            }
            Err(error) => Err(error),
        };
        let data_bytes = match outcome {
            Ok(bytes) => bytes,
            Err(met) => return Ok(Attempt::refused(image.id, name, met.code, met.sentence)),
        };
        let is_whole = self.app.plane.pool(self.pool).is_whole(image.id).await?;
        let (code, why) = if is_whole {
            ("", "")
        } else {
            ("POOL-001", "it gave what it was asked for, and that is not all")
        };
        Ok(Attempt { data_bytes, ..Attempt::refused(image.id, name, code.to_owned(), why.to_owned()) })
    }

    /// To the pool, here or on the media server that has it.
    async fn bring(&self, mending: Mending) -> Result<u64, Met> {
        let (app, from) = (&self.app, mending.source.to);
        let bringing = async {
            match app.plane.away(self.pool) {
                Some(link) => link.mend(&mending).await,
                None => mending.carry_out(&app.plane, app.dialler()).await,
            }
        };
        tokio::select! {
            brought = bringing => brought,
            why = app.parking.shutting(from) => Err(Met::unreachable(why)),
        }
    }

    /// Other pools here with a copy that can be read.
    async fn other_pools(&self, image: ImageId) -> Result<Vec<PoolId>, Failure> {
        let copies = self.app.catalog.copies(image).await.map_err(|error| internal(&error))?;
        let others = copies.iter().filter(|copy| copy.pool != self.pool && copy.is_readable());
        Ok(others.map(|copy| copy.pool).filter(|pool| self.app.pools.is_open(*pool)).collect())
    }

    async fn partners(&self, image: &Image, from: Option<DomainId>) -> Result<Vec<Partner>, Failure> {
        let replicas = self.app.catalog.replicas(image.id).await.map_err(|error| internal(&error))?;
        let mut partners = Vec::new();
        let imports = self.app.catalog.imports_of(image.id).await.map_err(|error| internal(&error))?;
        for domain in scrub::healers(image, &replicas, &imports) {
            if from.is_some_and(|from| from != domain) {
                continue;
            }
            let partner = self.app.catalog.partner(domain).await.map_err(|error| internal(&error))?;
            partners.extend(partner.filter(|it| it.trust == Trust::Complete));
        }
        Ok(partners)
    }
}

/// Another pool of this domain is reached as a duplication reaches it: through the data port of the server that has it.
fn own(app: &App, image: ImageId, (pool, to): (PoolId, PoolId)) -> Result<Lender, Met> {
    let ticket = app.tickets.give(Ticket::Heal { image, pool });
    let ticket = ticket.map_err(|ApiError { message, .. }| Met::interrupted(message))?;
    Ok(Lender { domain: app.who.domain, at: hands::own_port(app, pool, to), ticket: ticket.0 })
}
