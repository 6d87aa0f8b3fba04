//! What is known to be durable at the target, over all sessions of one image: to count what is sent twice.
//!
//! A counter only: nothing is decided by it. It holds up to [`HISTORY_MAX`] names and counts no further ones.

use std::{cell::RefCell, collections::HashSet};

use narrows_format::Fingerprint;

/// Names remembered: 16 bytes each.
const HISTORY_MAX: usize = 1 << 20;

/// Kept by the caller from session to session of one image and target.
#[derive(Default)]
pub struct History {
    durable: RefCell<HashSet<[u8; 16]>>,
}

/// Half a fingerprint is enough to recognise one.
pub(super) type Short = [u8; 16];

pub(super) fn short(fingerprint: &Fingerprint) -> Short {
    let mut short = [0; 16];
    short.copy_from_slice(&fingerprint.0[..16]);
    short
}

impl History {
    pub(super) fn holds(&self, name: &Short) -> bool {
        self.durable.borrow().contains(name)
    }

    pub(super) fn add(&self, names: impl IntoIterator<Item = Short>) {
        let mut durable = self.durable.borrow_mut();
        for name in names {
            if durable.len() >= HISTORY_MAX {
                return;
            }
            durable.insert(name);
        }
    }
}
