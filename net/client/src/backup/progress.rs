//! Counted while a backup runs; shown by whoever shows progress.

use std::sync::atomic::{AtomicU64, Ordering};

use narrows_exchange::outgoing::Sent;

use super::Assembler;

/// Counters; may be read from another thread.
#[derive(Debug, Default)]
pub struct BackupProgress {
    entries: AtomicU64,
    missed: AtomicU64,
    read_bytes: AtomicU64,
    new_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    again_bytes: AtomicU64,
    unchanged_files: AtomicU64,
    unchanged_bytes: AtomicU64,
}

impl BackupProgress {
    /// Objects in the image so far.
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    /// Objects that are not in the image, or not as they were.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// Bytes of segments read and asked about so far.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    /// Of these, bytes that the target lacked, or has from an earlier attempt at this image.
    pub fn new_bytes(&self) -> u64 {
        self.new_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of frames sent, in all attempts that have ended.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    /// Of these, bytes that an earlier attempt had sent and knew to be durable: 0 by design.
    pub fn again_bytes(&self) -> u64 {
        self.again_bytes.load(Ordering::Relaxed)
    }

    /// Regular files that are what they were at the last backup, and were not read.
    pub fn unchanged_files(&self) -> u64 {
        self.unchanged_files.load(Ordering::Relaxed)
    }

    /// Their logical bytes.
    pub fn unchanged_bytes(&self) -> u64 {
        self.unchanged_bytes.load(Ordering::Relaxed)
    }

    /// A new attempt begins from the start; what was sent was sent.
    pub fn restart(&self) {
        let read = [&self.entries, &self.missed, &self.read_bytes, &self.new_bytes];
        for counter in read.into_iter().chain([&self.unchanged_files, &self.unchanged_bytes]) {
            counter.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn set_entries(&self, assembler: &Assembler) {
        let unchanged = assembler.unchanged();
        self.entries.store(assembler.entries(), Ordering::Relaxed);
        self.missed.store(assembler.missing().count, Ordering::Relaxed);
        self.unchanged_files.store(unchanged.files, Ordering::Relaxed);
        self.unchanged_bytes.store(unchanged.bytes, Ordering::Relaxed);
    }

    pub(super) fn add_read(&self, bytes: u64) {
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_sent(&self, sent: &Sent) {
        self.sent_bytes.fetch_add(sent.data_bytes + sent.node_bytes, Ordering::Relaxed);
        self.again_bytes.fetch_add(sent.again_bytes, Ordering::Relaxed);
    }

    pub(super) fn add_new(&self, bytes: u64) {
        self.new_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}
