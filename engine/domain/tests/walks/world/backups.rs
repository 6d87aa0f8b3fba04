//! Clients that back up, go away, and come again.

use narrows_domain::catalog::ImageFilter;
use narrows_domain::event::{Event, Logged};
use narrows_domain::machine::BackupAsk;
use narrows_domain::model::Burnt;
use narrows_domain::primary::Error;
use narrows_domain::retry::Failure;
use narrows_domain::{Catalog as _, Image, ImageState};
use narrows_format::record::{ImageRecord, ScheduleKind};
use narrows_format::{ClientId, Fingerprint, ImageId};

use super::{World, now, ready};
use crate::records::record;

/// The record of a whole image, as its origin made it.
pub(super) fn record_of(image: &Image) -> ImageRecord {
    let content = image.content.as_ref().expect("only whole images are sent");
    ImageRecord {
        written: content.written,
        slp: content.origin_slp.clone(),
        slp_version: content.origin_slp_version,
        root: content.root,
        root_length: content.root_length,
        logical_bytes: content.logical_bytes,
        files: content.files,
        flags: content.flags,
        image_format: content.image_format,
        ..sealed(image)
    }
}

/// The record with which a backup ends.
fn sealed(image: &Image) -> ImageRecord {
    ImageRecord { root: Fingerprint([image.id.0[0]; 32]), ..record(image) }
}

impl World {
    pub(super) fn begin_backup(&mut self, at: usize) {
        if self.domains[at].sessions.len() >= 2 {
            return;
        }
        let client = u8::try_from(self.dice.below(2)).unwrap();
        let mut fresh = [0; 16];
        fresh[..8].copy_from_slice(&self.dice.roll().to_le_bytes());
        self.begin_backup_of(at, client, ImageId(fresh));
    }

    pub(crate) fn begin_backup_of(&mut self, at: usize, client: u8, fresh: ImageId) {
        let ask = BackupAsk {
            fresh,
            client: ClientId([client; 16]),
            client_name: format!("c{client}"),
            slp: format!("from-{at}"),
            policy: String::new(),
            schedule: ScheduleKind::Manual,
            roots: vec!["/".into()],
        };
        let moment = self.moment(at);
        match ready(self.domains[at].primary().begin_backup(&ask, moment)) {
            // A new session for the same image replaces the old one.
            Ok(begun) => {
                self.domains[at].sessions.retain(|it| it.image.id != begun.image.id);
                self.domains[at].sessions.push(begun);
            }
            Err(Error::Catalog(Burnt)) => self.crash(at),
            // Its pool takes nothing just now.
            Err(Error::Refused(refusal)) if refusal.code == "POOL-002" => {}
            Err(other) => panic!("{other}"),
        }
    }

    pub(crate) fn end_backup(&mut self, at: usize) {
        let Some(begun) = self.domains[at].sessions.pop() else { return };
        let pool = self.domains[at].pool;
        // A pool takes in an image once; its log may not have been read yet when the client came again.
        let is_there = self.domains[at].lies(pool, begun.image.id).copy.is_some();
        if is_there || !self.is_calm && self.dice.one_in(4) {
            let failure = Failure::interrupted("the client went away");
            let event = Event::BackupInterrupted { image: begun.image.id, attempt: begun.attempt, failure };
            self.handle(at, event);
            return;
        }
        let record = sealed(&begun.image);
        self.made.insert(record.image, (at, record.started.seconds));
        let logged = Logged::Backup { signed: vec![1], copy: begun.copy, stored_bytes: 7, record };
        self.domains[at].log(pool, logged);
    }

    /// The client of an unfinished backup runs it again; whether there was one.
    pub(super) fn finish_a_backup(&mut self) -> bool {
        for at in 0..self.domains.len() {
            if !self.domains[at].sessions.is_empty() {
                self.end_backup(at);
                return true;
            }
            let writing = ImageFilter { state: Some(ImageState::Writing), ..ImageFilter::default() };
            // A backup that was acknowledged may not depend on being run again.
            let unfinished = now(self.domains[at].catalog().images(&writing));
            if unfinished.iter().any(|image| !self.made.contains_key(&image.id)) {
                self.begin_backup(at);
                return true;
            }
        }
        false
    }
}
