//! What core 0 does about damage: notes it durably, and has all cores know.
//!
//! Guarantee: what is said to be in quarantine survives power loss, and every core counts it so, when the answer comes.

use std::{collections::BTreeSet, rc::Rc, sync::Arc};

use futures_util::future::join_all;
use narrows_format::{ContainerId, manifest::Edit};

use crate::{
    control::{Control, Listed},
    error::Error,
    index::{Doubts, Harm, Slots, add_harm},
    shard::{Core, Reply, Request},
};

/// Orders to core 0.
pub(crate) enum ScrubOrder {
    /// The first sealed container behind this one.
    Next { after: ContainerId, reply: Reply<Option<(ContainerId, Listed)>> },
    /// These places are damaged.
    Quarantine { container: ContainerId, harms: Vec<Harm>, reply: Reply<Result<(), Error>> },
    /// Nothing in this container is; that was known to be when it was looked at.
    Release { container: ContainerId, known: Vec<Harm>, reply: Reply<Result<(), Error>> },
    /// The first container that nobody has begun, and how often damage has been found.
    Beginning { reply: Reply<(ContainerId, u64)> },
    /// Whether what lies in this container stays.
    IsClosed { container: ContainerId, reply: Reply<bool> },
    /// What a survey that began so has found sound. Whether it still counts.
    Surveyed { nodes: Slots, from: ContainerId, damage: u64, reply: Reply<bool> },
    /// Containers of a stream that heals, and what it built on.
    Heal { closes: Arc<[ContainerId]>, believed: Believed, reply: Reply<Result<(), Error>> },
}

/// What a stream was told to be there, and built on.
#[derive(Clone, Default)]
pub(crate) struct Believed {
    /// How often damage had been found when it began.
    pub(crate) damage: u64,
    /// Where segments are.
    pub(crate) segments: BTreeSet<ContainerId>,
    /// Whether nodes were among it. What is below them is not known.
    pub(crate) nodes: bool,
}

impl Core {
    /// Carries one out. Nobody waiting for the answer any more is no error.
    pub(crate) async fn handle_scrub(self: &Rc<Self>, control: &Control, order: ScrubOrder) {
        match order {
            ScrubOrder::Next { after, reply } => drop(reply.send(control.next_container(after))),
            ScrubOrder::Quarantine { container, harms, reply } => {
                drop(reply.send(self.quarantine(control, container, &harms).await));
            }
            ScrubOrder::Release { container, known, reply } => {
                drop(reply.send(self.release_harms(control, container, &known).await));
            }
            ScrubOrder::IsClosed { container, reply } => drop(reply.send(control.is_closed(container))),
            ScrubOrder::Beginning { reply } => drop(reply.send(control.beginning())),
            ScrubOrder::Surveyed { nodes, from, damage, reply } => {
                let doubts = control.doubts.borrow().clone();
                let counts = doubts.damage == damage;
                if counts {
                    self.publish_doubts(control, doubts.surveyed(nodes, from)).await;
                }
                let _ = reply.send(counts);
            }
            ScrubOrder::Heal { closes, believed, reply } => {
                drop(reply.send(control.heal(&closes, &believed).await));
            }
        }
    }

    async fn quarantine(
        self: &Rc<Self>,
        control: &Control,
        container: ContainerId,
        harms: &[Harm],
    ) -> Result<(), Error> {
        let _turn = control.doubting.take().await;
        for Harm { region, first, count } in harms.iter().copied() {
            tracing::error!(
                code = "POOL-001",
                container = container.0,
                first = first.0,
                count,
                ?region,
                "damage was found; what is there is in quarantine"
            );
            control.manifest.note(Edit::Quarantine { container, region, first, count });
        }
        control.manifest.durable(None).await?;
        // From here on nothing is waited for until it is known here.
        let mut all = control.doubts.borrow().harms().clone();
        for harm in harms {
            add_harm(&mut all, container, *harm);
        }
        let doubts = control.doubts.borrow().damaged(all);
        self.publish_doubts(control, doubts).await;
        Ok(())
    }

    async fn release_harms(
        self: &Rc<Self>,
        control: &Control,
        container: ContainerId,
        known: &[Harm],
    ) -> Result<(), Error> {
        // From the look to the word to all cores: what is noted meanwhile would go along.
        let _turn = control.doubting.take().await;
        // Another look has met more meanwhile.
        if control.doubts.borrow().harms().get(&container).is_none_or(|harms| harms != known) {
            return Ok(());
        }
        control.manifest.durable(Some(Edit::Release { container })).await?;
        tracing::info!(container = container.0, "a container that was in quarantine holds");
        let mut all = control.doubts.borrow().harms().clone();
        all.remove(&container);
        let doubts = control.doubts.borrow().released(all);
        self.publish_doubts(control, doubts).await;
        Ok(())
    }

    /// All cores count with it when this ends; one that has gone counts with nothing.
    async fn publish_doubts(self: &Rc<Self>, control: &Control, doubts: Doubts) {
        control.doubts.replace(doubts.clone());
        let told = (0..self.map.cores())
            .map(|core| self.ask(core, |reply| Request::Doubt { doubts: doubts.clone(), reply }));
        drop(join_all(told).await);
    }
}

impl Control {
    /// A stream brings again what was damaged: its containers are closed, durably, without an image of their own.
    async fn heal(&self, closes: &[ContainerId], believed: &Believed) -> Result<(), Error> {
        self.check_damage(believed, closes)?;
        self.close_by_manifest(closes).await
    }

    /// What a stream was told to be there, or brought, before damage was found may be damaged.
    pub(crate) fn check_damage(&self, believed: &Believed, closes: &[ContainerId]) -> Result<(), Error> {
        let doubts = self.doubts.borrow();
        if doubts.damage == believed.damage {
            return Ok(());
        }
        let mut containers = believed.segments.iter().chain(closes);
        if believed.nodes || containers.any(|container| doubts.harms().contains_key(container)) {
            return Err(Error::DamageFound);
        }
        Ok(())
    }
}
