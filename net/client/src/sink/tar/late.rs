//! Heads that wait for attributes which lie in segments. No I/O.
//!
//! What waits is counted: at most what the segments of one list hold (16 MiB) for each object of the leaves under way.

use std::{cell::RefCell, rc::Rc};

use foldhash::HashMap;
use narrows_format::{
    BadBytes, Fingerprint,
    limits::XATTRS_BYTES_MAX,
    node::Child,
    xattrs::{self, Attributes},
};

use super::head::Head;

/// A head and where it goes.
#[derive(Clone, Debug)]
pub(super) struct LateHead {
    /// First of its places in the stream.
    pub(super) at: u64,
    /// Bytes of content behind it.
    pub(super) size: u64,
    pub(super) head: Head,
}

struct Waiting {
    head: LateHead,
    parts: RefCell<Vec<Option<Rc<[u8]>>>>,
    bytes: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Late {
    wanted: HashMap<Fingerprint, Vec<(Rc<Waiting>, usize)>>,
    bytes: u64,
}

impl Late {
    /// A head whose attributes lie in these children.
    pub(super) fn expect(
        &mut self,
        head: LateHead,
        ordinals: &[u32],
        children: &[Child],
    ) -> Result<(), &'static str> {
        let child = |ordinal: &u32| usize::try_from(*ordinal).ok().and_then(|at| children.get(at));
        let stored: Option<Vec<&Child>> = ordinals.iter().map(child).collect();
        let stored = stored.ok_or("attributes refer to nothing")?;
        let bytes = stored.iter().map(|child| u64::from(child.length)).sum();
        if bytes > XATTRS_BYTES_MAX as u64 {
            return Err("the attributes of an object are too long");
        }
        self.bytes += bytes;
        let waiting = Rc::new(Waiting { head, parts: RefCell::new(vec![None; stored.len()]), bytes });
        for (part, child) in stored.into_iter().enumerate() {
            self.wanted.entry(child.fingerprint).or_default().push((Rc::clone(&waiting), part));
        }
        Ok(())
    }

    /// Whether any head needs this child.
    pub(super) fn wants(&self, child: &Child) -> bool {
        self.wanted.contains_key(&child.fingerprint)
    }

    /// Bytes that were asked for and have not been used.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A segment came: gives the heads that now have all their attributes.
    pub(super) fn take(
        &mut self,
        segment: &Fingerprint,
        bytes: &[u8],
    ) -> Vec<(LateHead, Result<Attributes, BadBytes>)> {
        let Some(places) = self.wanted.remove(segment) else { return Vec::new() };
        let (shared, mut complete): (Rc<[u8]>, _) = (bytes.into(), Vec::new());
        for (waiting, part) in places {
            let mut parts = waiting.parts.borrow_mut();
            parts[part] = Some(Rc::clone(&shared));
            if parts.iter().all(Option::is_some) {
                let all: Vec<u8> = parts.drain(..).flatten().flat_map(|part| part.to_vec()).collect();
                self.bytes -= waiting.bytes;
                complete.push((waiting.head.clone(), xattrs::decode(&all)));
            }
        }
        complete
    }
}
