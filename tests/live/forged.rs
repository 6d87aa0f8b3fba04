//! Goal: who holds a good certificate still brings nothing that is not theirs to bring: a record that its origin
//! did not sign is AIR-012, a reference to a segment that was never shown is WIRE-005, and neither leaves a trace.
//! Method: the certificates of a partner's server and of an enrolled client dial the data port of a running
//! server and speak the protocol themselves. The same steps with nothing forged are taken in.

use std::sync::Arc;

use narrows_api::{backups::BackupGrant, images::ImageInfo, jobs::ImportInfo, paths};
use narrows_client::DataPort;
use narrows_exchange::{
    CommitFacts, Draft, ExchangeError, Outgoing,
    outgoing::{Confirmed, NodeToSend},
};
use narrows_format::{
    ClientId, ImageId, Tag, Timestamp,
    frame::{self, Codec, FrameKind},
    node::{Body, Child, ChildKind, Content, Entry, EntryKind, Extent, Node, Xattrs},
    record::{CopyState, ImageFlags, ImageRecord, ScheduleKind, SignedRecord},
};
use narrows_ring::cores::{Setup, block_on};
use narrows_simd::fingerprint;
use narrows_transport::Identity;
use narrows_wire::{Begin, Proof, Purpose};

use crate::{
    data::{ARENA_BYTES, ask_backup, back_up_directory, port, settled_image},
    house::House,
    pairing::{apply, import_slp, local_slp, pair_both},
};

const SECRET_BYTES: u32 = 5000;
pub(crate) const NO_END: CopyState = CopyState { expires: None, locked_until: None, held: false };

/// A way to show possession of the only child, or not to.
pub(crate) type Show = fn(Tag) -> Proof;

pub(crate) const HONEST: Show = |tag| Proof::of([(false, tag)]);

pub(crate) const FORGED: [Show; 4] = [
    |_| Proof::NONE,
    |_| Proof::of([(false, Tag([0; 16]))]),
    |tag| Proof::of([(false, with_flipped_bit(tag))]),
    |tag| Proof::of([(true, with_flipped_bit(tag))]),
];

fn with_flipped_bit(mut tag: Tag) -> Tag {
    tag.0[3] ^= 1;
    tag
}

fn secret() -> Vec<u8> {
    let mut state = 7_u32;
    let step = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(step).take(SECRET_BYTES as usize).collect()
}

/// An image of one file that consists of somebody's segment.
#[derive(Clone)]
pub(crate) struct Stolen {
    pub(crate) bytes: Vec<u8>,
    pub(crate) root: Child,
    child: Child,
    tag: Tag,
}

impl Stolen {
    pub(crate) fn new() -> Self {
        let (name, tag) = fingerprint::data(&secret());
        let child = Child { fingerprint: name, kind: ChildKind::Segment, length: SECRET_BYTES };
        let extent = Extent::Data { child: 0, offset: 0, length: SECRET_BYTES };
        let content = Content::Inline(vec![extent]);
        let entry = |path: &[u8], kind| Entry {
            path: path.to_vec(),
            mode: 0o700,
            uid: 0,
            gid: 0,
            mtime: Timestamp { seconds: 1, nanos: 0 },
            xattrs: Xattrs::Inline(Vec::new()),
            kind,
        };
        let file = EntryKind::File { size: SECRET_BYTES.into(), content };
        let entries = vec![entry(b"", EntryKind::Directory), entry(b"stolen", file)];
        let bytes = Node { children: vec![child], body: Body::Entries(entries) }.encode();
        let (name, _) = fingerprint::node(&bytes);
        let length = u32::try_from(bytes.len()).unwrap();
        Self { bytes, root: Child { fingerprint: name, kind: ChildKind::Node, length }, child, tag }
    }

    pub(crate) fn draft(&self) -> Draft {
        Draft {
            root: self.root.fingerprint,
            root_length: self.root.length,
            logical_bytes: SECRET_BYTES.into(),
            files: 2,
            flags: ImageFlags::default(),
            image_format: 1,
        }
    }

    /// What brings it as the backup that was granted.
    pub(crate) fn backup(&self, grant: &BackupGrant) -> Attempt {
        Attempt {
            purpose: Purpose::Backup,
            begin: Begin {
                image: grant.image,
                origin: grant.domain,
                lineage: grant.lineage.0,
                base: None,
                root: None,
                resume: grant.resume,
            },
            show: HONEST,
            facts: CommitFacts::Draft(self.draft()),
            copy: NO_END,
            import_slp: String::new(),
            bytes: Some(self.bytes.clone()),
        }
    }
}

/// What a session is to do.
pub(crate) struct Attempt {
    pub(crate) purpose: Purpose,
    pub(crate) begin: Begin,
    pub(crate) show: Show,
    pub(crate) facts: CommitFacts,
    pub(crate) copy: CopyState,
    pub(crate) import_slp: String,
    /// The nodes that are sent, or none.
    pub(crate) bytes: Option<Vec<u8>>,
}

/// Sends the node of the stolen image, nothing of the segment, and commits.
pub(crate) async fn attempt(
    port: DataPort,
    stolen: &Stolen,
    it: Attempt,
) -> Result<Confirmed, ExchangeError> {
    let stolen = stolen.clone();
    let work = move || {
        block_on(Setup::here(ARENA_BYTES), |world| async move {
            let session = port.dial(&world, it.purpose).await?;
            let outgoing = Outgoing::begin(session, &it.begin).await?;
            let outcome = async {
                if let Some(bytes) = &it.bytes {
                    let frame = frame::build(FrameKind::Nodes, Codec::None, 0, &[bytes]);
                    let node = NodeToSend {
                        fingerprint: stolen.root.fingerprint,
                        children: vec![stolen.child],
                        proof: (it.show)(stolen.tag),
                    };
                    for asked in outgoing.nodes(&frame, vec![node]).await? {
                        asked.answer().await?;
                    }
                }
                outgoing.commit(&it.facts, it.copy, &it.import_slp).await
            }
            .await;
            match &outcome {
                Ok(_) => outgoing.close().await,
                Err(error) => outgoing.abort(error).await,
            }
            outcome
        })
    };
    tokio::task::spawn_blocking(work).await.unwrap().unwrap()
}

pub(crate) fn code(outcome: &Result<Confirmed, ExchangeError>) -> &str {
    outcome.as_ref().expect_err("it is refused").code().unwrap_or("no code")
}

pub(crate) async fn back_up_secret(house: &House, owner: &Identity) {
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("secret"), secret()).unwrap();
    back_up_directory(house, owner, files.path()).await;
}

async fn whole_images(house: &House) -> Vec<ImageId> {
    let images: Vec<ImageInfo> = house.admin().get(paths::IMAGES).await.unwrap();
    images.into_iter().filter(|image| image.state == "whole").map(|image| image.image).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_gets_nothing_by_a_fingerprint_alone() {
    let mut east = House::build("east").await;
    apply(&east, &local_slp()).await.unwrap();
    let (owner, _) = east.enroll("web01").await;
    let (thief, _) = east.enroll("web02").await;
    back_up_secret(&east, &owner).await;
    let before = whole_images(&east).await;
    assert_eq!(before.len(), 1);

    let elsewhere = tempfile::tempdir().unwrap();
    let stolen = Stolen::new();
    for show in FORGED {
        let grant = ask_backup(&east, &thief, elsewhere.path()).await.unwrap();
        let port = port(&east, &thief, (&grant.data_addr, grant.data_server), grant.ticket.0);
        let outcome = attempt(port, &stolen, Attempt { show, ..stolen.backup(&grant) }).await;
        assert_eq!(code(&outcome), "WIRE-005");
        assert_eq!(whole_images(&east).await, before, "nothing of it is visible");
    }
    // Whoever has had the bytes may refer to them; in an image of which nothing is staged, for brevity.
    let another = tempfile::tempdir().unwrap();
    let grant = ask_backup(&east, &thief, another.path()).await.unwrap();
    let port = port(&east, &thief, (&grant.data_addr, grant.data_server), grant.ticket.0);
    attempt(port, &stolen, stolen.backup(&grant)).await.unwrap();
    assert_eq!(whole_images(&east).await.len(), 2);
    east.stop().await;
}

/// A record of the stolen image, as east would make it.
pub(crate) fn record(east: &House, stolen: &Stolen, image: ImageId) -> ImageRecord {
    let now = narrows_server::time::now();
    ImageRecord {
        image,
        origin: east.domain(),
        client: ClientId([6; 16]),
        client_name: "web01".into(),
        policy: String::new(),
        schedule: ScheduleKind::Manual,
        started: Timestamp { seconds: now.seconds - 100, nanos: 0 },
        written: now,
        classification: String::new(),
        slp: "gold".into(),
        slp_version: 1,
        lineage: [9; 32],
        root: stolen.root.fingerprint,
        root_length: stolen.root.length,
        logical_bytes: SECRET_BYTES.into(),
        files: 2,
        flags: ImageFlags::default(),
        image_format: 1,
    }
}

/// What east's server commits at west: an image of its own with this record, and this shown of the segment.
async fn push(
    houses: (&House, &House),
    stolen: &Stolen,
    signed: SignedRecord,
    show: Show,
) -> Result<Confirmed, ExchangeError> {
    bring(houses, stolen, &signed, |it| it.show = show).await
}

/// Where east's server dials west.
pub(crate) fn port_between((east, west): (&House, &House)) -> DataPort {
    let app = east.server.as_ref().unwrap().app();
    DataPort {
        address: west.server.as_ref().unwrap().app().config.data_addr(),
        domain: west.domain(),
        server: None,
        ticket: [0; 32],
        identity: app.certificates.identity().unwrap(),
        trust: Arc::clone(&app.trust),
    }
}

/// The same with whatever is changed about it.
pub(crate) async fn bring(
    houses: (&House, &House),
    stolen: &Stolen,
    signed: &SignedRecord,
    change: impl FnOnce(&mut Attempt),
) -> Result<Confirmed, ExchangeError> {
    let (_, tag) = fingerprint::node(&stolen.bytes);
    let mut it = Attempt {
        purpose: Purpose::Replicate,
        begin: Begin {
            image: signed.record.image,
            origin: houses.0.domain(),
            lineage: signed.record.lineage,
            base: None,
            root: Some((stolen.root, tag.into())),
            resume: false,
        },
        show: HONEST,
        facts: CommitFacts::Signed(signed.encode()),
        copy: NO_END,
        import_slp: "gold-import".to_owned(),
        bytes: Some(stolen.bytes.clone()),
    };
    change(&mut it);
    attempt(port_between(houses), stolen, it).await
}

async fn nothing_came(west: &House, image: ImageId, before: &[ImageId]) {
    let missing = west.admin().get::<ImageInfo>(&paths::IMAGE.replace("{id}", &image.to_string())).await;
    assert_eq!(missing.unwrap_err().code, "API-002");
    assert_eq!(whole_images(west).await, before);
    let mut imports: Vec<ImportInfo> = west.admin().get(paths::IMPORTS).await.unwrap();
    // That somebody tried is listed.
    imports.retain(|it| it.arrival.state != "refused(AIR-012)");
    assert_eq!(imports.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partner_brings_nothing_unsigned_or_unshown() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    apply(&west, &local_slp()).await.unwrap();
    let (owner, _) = west.enroll("db01").await;
    back_up_secret(&west, &owner).await;
    let before = whole_images(&west).await;
    let stolen = Stolen::new();
    let houses = (&east, &west);
    let good = |image| {
        let record = record(&east, &stolen, ImageId([image; 16]));
        let signature = east.server.as_ref().unwrap().app().signing.sign(&record.encode());
        SignedRecord { record, signature }
    };

    for (number, show) in (1..).zip(FORGED) {
        let outcome = push(houses, &stolen, good(number), show).await;
        assert_eq!(code(&outcome), "WIRE-005");
        nothing_came(&west, ImageId([number; 16]), &before).await;
    }

    let mut flipped = good(11);
    flipped.signature[7] ^= 1;
    let mut changed = good(12);
    changed.record.started.seconds -= 1;
    let stranger = narrows_server::pki::SigningKey::create(tempfile::tempdir().unwrap().path()).unwrap();
    let mut forged = good(13);
    forged.signature = stranger.sign(&forged.record.encode());
    for signed in [flipped, changed, forged] {
        let image = signed.record.image;
        let outcome = push(houses, &stolen, signed, HONEST).await;
        assert_eq!(code(&outcome), "AIR-012");
        nothing_came(&west, image, &before).await;
    }

    push(houses, &stolen, good(20), HONEST).await.unwrap();
    let image = settled_image(&west, &ImageId([20; 16]).to_string()).await;
    assert_eq!(image.origin_name, "east");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}
