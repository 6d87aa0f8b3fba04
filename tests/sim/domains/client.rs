//! Clients: each brings its image to the server of its domain, again and again until that has it.

use std::{cell::Cell, rc::Rc, time::Duration};

use narrows_domain::{
    Catalog as _, ImageState,
    machine::{BackupAsk, BackupBegun},
};
use narrows_exchange::{
    HelloFacts, Purpose, TreeChild,
    descend::{self, Push},
    greet,
    hello::Side,
    outgoing::History,
};
use narrows_format::{
    ClientId, ImageId, Location, PoolId,
    record::{ImageRecord, ScheduleKind, SignedRecord},
};
use narrows_ring::world::World;
use narrows_transport::{Link, Security};

use super::{
    desk::{ready, timestamp},
    policies::{POLICIES, domain_id, host},
    server::{Running, Server},
};
use crate::{
    model::Model,
    site::{address, keep_for_ever},
};

/// What a client waits before it comes again, and how often; then it waits longer.
const PAUSE: Duration = Duration::from_secs(2);
const TRIES: u32 = 150;
const LONG_PAUSE: Duration = Duration::from_mins(2);

/// One image to be backed up.
pub(super) struct Backup {
    /// Index of its policy.
    pub(super) policy: usize,
    /// With its policy this makes its lineage.
    pub(super) client: u8,
    pub(super) model: Rc<Model>,
    /// Since the beginning of the world.
    pub(super) begins: Duration,
    pub(super) is_begun: Cell<bool>,
    pub(super) image: Cell<Option<ImageId>>,
    /// The server said that it has it: from now on it may not be lost.
    pub(super) acknowledged: Cell<bool>,
    history: Rc<History>,
}

impl Backup {
    pub(super) fn new(policy: usize, client: u8, model: Rc<Model>, begins: Duration) -> Self {
        Self {
            policy,
            client,
            model,
            begins,
            is_begun: Cell::default(),
            image: Cell::default(),
            acknowledged: Cell::default(),
            history: Rc::default(),
        }
    }

    pub(super) async fn bring(self: Rc<Self>, world: World, server: Rc<Server>) {
        let mut tries = 0;
        while self.attempt(&world, &server).await.is_none() {
            tries += 1;
            world.clock.sleep(if tries < TRIES { PAUSE } else { LONG_PAUSE }).await;
        }
        self.acknowledged.set(true);
    }

    /// `None`: not yet.
    async fn attempt(&self, world: &World, server: &Rc<Server>) -> Option<()> {
        let running = server.running.borrow().clone()?;
        // What the log holds already decides whether this goes on with an unfinished image.
        let behind = running.pools[0].events(server.cursor(&running), 1).await.ok()?;
        if !behind.is_empty() {
            return None;
        }
        if let Some(known) = self.image.get() {
            let image = server.catalog(|catalog| ready(catalog.image(known)).unwrap());
            if image.is_some_and(|image| image.state == ImageState::Whole) {
                return Some(());
            }
        }
        let begun = self.begin(world, server, &running)?;
        let link =
            Link::dial(world, address(host(server.at), self.client % 2), Security::Plaintext).await.ok()?;
        let hello = HelloFacts::new(Purpose::Backup, domain_id(server.at), PoolId([0; 16]));
        let session = greet(link, Side::Dialled, &hello).await.ok()?;
        let order = self.order(world, &begun);
        match descend::push(session, &*self.model, &order).await {
            Ok(pushed) => {
                server.tale.resumed.add(u64::from(begun.resumed));
                if pushed.sent.again_bytes > 0 {
                    server.complain(&format!("a client sent {} bytes again", pushed.sent.again_bytes));
                }
                Some(())
            }
            Err(error) => {
                server.tale.broken.add(u64::from(error.code().is_none()));
                None
            }
        }
    }

    fn begin(&self, world: &World, server: &Rc<Server>, running: &Running) -> Option<BackupBegun> {
        let mut fresh = [0; 16];
        world.entropy.fill(&mut fresh);
        let ask = BackupAsk {
            fresh: ImageId(fresh),
            client: ClientId([self.client; 16]),
            client_name: format!("client{}", self.client),
            slp: POLICIES[self.policy].name.into(),
            policy: String::new(),
            schedule: ScheduleKind::Manual,
            roots: vec!["/".into()],
        };
        let begun = server
            .order(|primary, moment| Ok((ready(primary.begin_backup(&ask, moment))?, Vec::new())))
            .ok()?;
        let id = begun.image.id;
        if self.image.get().is_some_and(|known| known != id) {
            server.complain(&format!("the backup of {:?} begins anew as {id}", self.image.get()));
        }
        self.image.set(Some(id));
        server.tale.policies.borrow_mut().insert(id, self.policy);
        running.tickets.borrow_mut().insert(id, (begun.attempt, begun.copy));
        Some(begun)
    }

    /// The record says what the catalog knows of the image, and what was found in the files.
    fn order(&self, world: &World, begun: &BackupBegun) -> Push {
        let image = &begun.image;
        let record = ImageRecord {
            image: image.id,
            origin: image.origin,
            client: image.client,
            client_name: image.client_name.clone(),
            schedule: image.schedule,
            started: image.started,
            written: timestamp(world.clock.wall()).max(image.started),
            classification: image.classification.clone(),
            slp: image.slp.clone(),
            slp_version: image.slp_version,
            lineage: image.lineage,
            ..self.model.record.record.clone()
        };
        Push {
            image: image.id,
            origin: image.origin,
            lineage: image.lineage,
            base: None,
            resume: begun.resumed,
            root: TreeChild { child: self.model.root, hint: Location::UNKNOWN },
            record: SignedRecord { record, signature: [0; 64] }.encode(),
            copy: keep_for_ever(),
            import_slp: String::new(),
            history: Some(self.history.clone()),
        }
    }
}
