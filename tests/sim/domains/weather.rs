//! What comes over a world in a storm, and how it ends.

use std::{rc::Rc, time::Duration};

use narrows_ring::sim::{CrashKind, LinkFaults, SyncFault};

use super::{
    desk::ready,
    policies::{POLICIES, WIDE, host},
    server::{Plant, Power, Server},
    world::{DOMAINS, Trouble, World},
};

/// Of this disk a pool takes nothing for new images: it leaves as much free for what it must still write.
const FULL: u64 = narrows_pool::limits::SPACE_RESERVE_BYTES;

impl World {
    /// What a power loss does to what was not synced.
    pub(super) fn some_kind(&self) -> CrashKind {
        if self.plant == Some(Plant::ForgetsSyncs) {
            return CrashKind::LoseUnsynced;
        }
        self.one_of([CrashKind::Seeded, CrashKind::LoseUnsynced, CrashKind::KeepAll])
    }

    fn one_of<T: Copy, const N: usize>(&self, all: [T; N]) -> T {
        all[usize::try_from(self.below(N as u64)).unwrap()]
    }

    /// Decides at which sync something befalls a server that is started now.
    pub(super) fn arm(&self, at: usize) {
        let stormy = self.trouble.get() == Trouble::Storm && self.sim.now() < self.storm_ends();
        let (sync, fault) = match (self.trouble.get(), self.plant) {
            (Trouble::OneCrash { at: only, sync, .. }, _) if only == at => (sync, SyncFault::Crash),
            (Trouble::Storm, Some(Plant::ForgetsSyncs)) if stormy => (1 + self.below(30), SyncFault::Lie),
            (Trouble::Storm, _) if stormy => {
                let faults = [SyncFault::Crash, SyncFault::Crash, SyncFault::Crash, SyncFault::Error];
                (1 + self.below(30), self.one_of(faults))
            }
            // Somebody looks after failed syncs in a storm only.
            (Trouble::Storm, _) if self.judged.get() => (1 + self.below(30), SyncFault::Crash),
            _ => return,
        };
        self.sim.at_sync(host(at), sync, fault);
    }

    /// Links change, transactions are cut, disks are full, and people hold policies back or let them go.
    pub(super) fn stir(&self) {
        if self.trouble.get() != Trouble::Storm {
            return;
        }
        self.servers.iter().for_each(|server| server.lossy.set(4));
        if self.below(4) == 0 {
            let bandwidth = self.one_of([0, 50_000, 400_000, 2_000_000]);
            let break_after = if self.below(2) == 0 { 10_000 + self.below(300_000) } else { 0 };
            let latency = Duration::from_micros(50 + self.below(150_000));
            self.sim.links(LinkFaults { latency, bandwidth, break_after });
        }
        if self.below(2) == 0 {
            self.servers.iter().for_each(|server| self.hold_back(server));
        }
        let server = &self.servers[usize::try_from(self.below(DOMAINS as u64)).unwrap()];
        match self.below(16) {
            0 | 8 => {
                let cut = u32::try_from(self.below(12)).unwrap();
                server.catalog(|catalog| catalog.fail_after(Some(cut)));
            }
            1..5 => self.let_go(),
            5 => {
                self.sim.limit_space(host(server.at), FULL);
                self.tale.full.up();
            }
            6 | 7 => self.make_room(),
            _ => {}
        }
    }

    /// The policy of an image that is being sent is held back.
    fn hold_back(&self, server: &Rc<Server>) {
        let Some(running) = server.running.borrow().clone() else { return };
        let sent = running.sending.borrow().keys().next().map(|operation| operation.image);
        let policy = sent.and_then(|image| server.tale.policies.borrow().get(&image).copied());
        let Some(policy) = policy else { return };
        self.held.borrow_mut().insert(server.at);
        let held = server
            .order(|primary, moment| Ok(((), ready(primary.hold_slp(POLICIES[policy].name, None, moment))?)));
        self.tale.holds.add(u64::from(held.is_ok()));
    }

    /// All policies go on wherever that can be ordered just now.
    pub(super) fn let_go(&self) {
        let held = self.held.borrow().clone();
        for at in held.into_iter().filter(|at| self.servers[*at].power.get() == Power::On) {
            let ordered = POLICIES[..WIDE].iter().filter(|policy| policy.lives[at].is_some()).all(|policy| {
                let resumed = self.servers[at]
                    .order(|primary, moment| Ok(((), ready(primary.resume_slp(policy.name, moment))?)));
                resumed.is_ok()
            });
            if ordered {
                self.held.borrow_mut().remove(&at);
            }
        }
    }

    fn make_room(&self) {
        (0..DOMAINS).for_each(|at| self.sim.limit_space(host(at), u64::MAX));
    }

    /// Nothing new comes over it.
    pub(super) fn calm_down(&self) {
        self.make_room();
        self.sim.links(LinkFaults::default());
        for server in &self.servers {
            server.lossy.set(0);
            server.catalog(|catalog| catalog.fail_after(None));
        }
    }
}
