//! Goal: each code of the families AIR, TRUST, AUTH, WIRE and POOL is raised by a running server, as its rule says.
//! Method: a table, one row a code, or a rule where a code has several. A row does what its rule forbids, over the API or the data port of a real server,
//! and gives the code that came back. For POOL-004 a switch lets a write fail: a real disk will not on command.

use std::{fs, io, os::unix::fs::symlink, path::Path};

use narrows_api::{
    ApiError,
    backups::BackupGrant,
    domains::{DomainInfo, PairRequest},
    images::{ReplicateReply, ReplicateRequest, VerifyReport},
    invitation::Invitation,
    jobs::ImportInfo,
    partner::Introduction,
    paths,
    server::WhoAmI,
    slps::ApplyRequest,
};
use narrows_client::DataPort;
use narrows_domain::Catalog as _;
use narrows_exchange::{CommitFacts, Draft, ExchangeError, HelloFacts, greet, hello::Side};
use narrows_format::{
    Fingerprint, ImageId, PoolId, Timestamp,
    record::{CopyState, ImageFlags, ImageRecord, SignedRecord},
};
use narrows_ring::{
    cores::{Setup, block_on},
    world::World,
};
use narrows_server::{
    pki::authority::{Authority, Role, Validity, identity_of_pem},
    plane::PlaneError,
    run::{RunError, Server},
};
use narrows_transport::{Identity, Link, link::Security};
use narrows_wire::{Hello, Message, Purpose};
use time::{Duration, OffsetDateTime};

use crate::{
    data::{ARENA_BYTES, ask_backup, ask_restore, back_up_directory, code_of_backup, make_tree, port},
    forged::{Attempt, NO_END, Stolen, attempt, back_up_secret, bring, port_between, record},
    house::{House, with_wrong_fingerprint},
    pairing::{apply, import_slp, local_slp, pair_both, request},
    pools::pool_with_unit,
};

/// Each code that people or partners may meet, and the rule behind it. What is forged for the wire has to come first: it
/// is of a tree that nobody has brought yet.
const CODES: [(&str, &str); 30] = [
    ("WIRE-001", "no version is spoken by both"),
    ("WIRE-002", "the first message after the hello is none that may stand there"),
    ("WIRE-003", "a list is longer than its limit"),
    ("WIRE-004", "a node is not what its name says"),
    ("WIRE-005", "possession of a segment was not shown"),
    ("WIRE-006", "the tree is not whole at the commit"),
    ("AIR-001", "the backup time is more than 2 s ahead of the target's clock: the import waits"),
    ("AIR-002", "the SLP that is to import it does not exist there"),
    ("AIR-003", "the data classification differs"),
    ("AIR-006", "its expiry has passed on arrival"),
    ("AIR-007", "its format is newer than this server restores"),
    ("AIR-008", "a client of the originating domain restores nothing from this one"),
    ("AIR-009", "an image made by a synthetic backup is not replicated"),
    ("AIR-010", "an image on a spanning pool is not replicated"),
    ("AIR-011", "the backup time is more than 24 h in the future"),
    ("AIR-012", "the origin's signature does not fit"),
    ("TRUST-001", "only one side trusts the other"),
    ("TRUST-002", "the name belongs to another domain here"),
    ("TRUST-003", "the same UUID comes with a lower incarnation"),
    ("AUTH-001", "neither a certificate nor a token was shown"),
    ("AUTH-002", "the certificate has expired"),
    ("AUTH-003", "the certificate was revoked"),
    ("AUTH-004", "the token was used before"),
    ("AUTH-005", "a client does not rule"),
    ("AUTH-006", "the other side's CA is not the one that the line names"),
    ("POOL-001", "stored bytes are not what they must be"),
    ("POOL-002", "no room is left"),
    ("POOL-003", "the device does not open what is to be written"),
    ("POOL-004", "a write failed: the pool takes nothing until it is opened anew"),
    ("POOL-005", "the pool's format is of another age"),
];

/// The same of codes of several rules, with words that only the refusal by that one has.
const RULES: [(&str, &str, &str); 4] = [
    ("AIR-004", "the SLP does not begin with an Import", "`gold` does not begin with an Import"),
    (
        "AIR-004",
        "the SLP's storage has not the volume that received",
        "does not include the receiving volume",
    ),
    ("AIR-005", "this UUID is in the catalog with different content", "image 0d0d0d0d-"),
    ("AIR-005", "this origin, client and second are in the catalog with different content", "web01_"),
];

/// Two paired domains in which everything happens, and who acts there.
struct Town {
    east: House,
    west: House,
    stolen: Stolen,
    /// A client of east's.
    web: Identity,
    /// A client of west's.
    db: Identity,
    /// When it was built: what seconds are counted from.
    built: Timestamp,
}

impl Town {
    async fn build() -> Self {
        let (east, west) = pair_both().await;
        apply(&east, &local_slp()).await.unwrap();
        let strict = import_slp()
            .text
            .replace("name = \"gold-import\"", "name = \"strict\"\ndata_classification = \"platinum\"");
        let strict = ApplyRequest { text: strict, ..import_slp() };
        for slp in [import_slp(), local_slp(), strict] {
            apply(&west, &slp).await.unwrap();
        }
        let ((web, _), (db, _)) = (east.enroll("web01").await, west.enroll("db01").await);
        back_up_secret(&east, &web).await;
        back_up_secret(&west, &db).await;
        Self { east, west, stolen: Stolen::new(), web, db, built: narrows_server::time::now() }
    }

    /// East's record of an image of that number, each of its own second, signed after it was changed.
    fn signed(&self, number: u8, change: impl FnOnce(&mut ImageRecord)) -> SignedRecord {
        let mut record = record(&self.east, &self.stolen, ImageId([number; 16]));
        record.started.seconds = self.built.seconds - i64::from(number);
        change(&mut record);
        let signature = self.east.server.as_ref().unwrap().app().signing.sign(&record.encode());
        SignedRecord { record, signature }
    }

    /// What east's server meets when it brings that to west.
    async fn bring(
        &self,
        signed: &SignedRecord,
        change: impl FnOnce(&mut Attempt),
    ) -> Result<(), ExchangeError> {
        bring((&self.east, &self.west), &self.stolen, signed, change).await.map(drop)
    }

    /// Why west does not import what arrived: a code, and a sentence.
    async fn import_why(&self, image: u8) -> String {
        let imports: Vec<ImportInfo> = self.west.admin().get(paths::IMPORTS).await.unwrap();
        let mut arrivals = imports.into_iter().map(|it| it.arrival);
        arrivals.find(|it| it.image == ImageId([image; 16])).expect("it has arrived").why
    }

    async fn arrived(&self, number: u8, import_slp: &str, change: impl FnOnce(&mut ImageRecord)) -> String {
        let signed = self.signed(number, change);
        self.bring(&signed, |it| import_slp.clone_into(&mut it.import_slp)).await.unwrap();
        let why = self.import_why(number).await;
        why.split(':').next().unwrap_or_default().to_owned()
    }

    /// Commits an image of the stolen segment as a client of east's, with these flags, and replicates it.
    async fn replicated_with(&self, flags: ImageFlags) -> String {
        let somewhere = tempfile::tempdir().unwrap();
        let grant: BackupGrant = ask_backup(&self.east, &self.web, somewhere.path()).await.unwrap();
        let draft = Draft { flags, ..self.stolen.draft() };
        let brought = Attempt { facts: CommitFacts::Draft(draft), ..self.stolen.backup(&grant) };
        let port = port(&self.east, &self.web, (&grant.data_addr, grant.data_server), grant.ticket.0);
        attempt(port, &self.stolen, brought).await.unwrap();
        let path = paths::IMAGE_REPLICATE.replace("{id}", &grant.image.to_string());
        let request = ReplicateRequest { domain: "west".into(), import_slp: None };
        code(self.east.admin().post::<_, ReplicateReply>(&path, &request).await)
    }

    /// Opens a session with west's data port as east's server and has the last word of it.
    async fn speak(&self, versions: (u16, u16), said: Option<Vec<u8>>) -> String {
        let port = port_between((&self.east, &self.west));
        let work = move || {
            block_on(Setup::here(ARENA_BYTES), |world| async move {
                let link = dial(&world, &port).await;
                let usual = HelloFacts::new(Purpose::Replicate, port.domain, PoolId([0; 16]));
                let session = greet(link, Side::Dialled, &HelloFacts { versions, ..usual }).await?;
                session.link.send(said.unwrap()).await?;
                last_word(&session.link).await
            })
        };
        let outcome: Result<String, ExchangeError> =
            tokio::task::spawn_blocking(work).await.unwrap().unwrap();
        match outcome {
            Ok(code) => code,
            Err(error) => {
                let both = ["1..=1", "7..=9"].iter().all(|range| error.to_string().contains(range));
                assert!(both, "both ranges are named: {error}");
                error.code().unwrap_or_default().to_owned()
            }
        }
    }

    /// Says a hello of its own and has the last word of west's answer.
    async fn say_hello(&self, change: fn(&mut Hello)) -> String {
        let port = port_between((&self.east, &self.west));
        let work = move || {
            block_on(Setup::here(ARENA_BYTES), |world| async move {
                let link = dial(&world, &port).await;
                let mut hello = Hello {
                    version_min: 1,
                    version_max: 1,
                    mandatory: 0,
                    optional: 0,
                    codecs: 7,
                    domain: port.domain,
                    pool: PoolId([0; 16]),
                    incarnation: 0,
                    clock: Timestamp { seconds: 0, nanos: 0 },
                    window: 1 << 20,
                    purpose: Purpose::Replicate,
                    ticket: [0; 32],
                    wanted: Vec::new(),
                };
                change(&mut hello);
                let mut bytes = Vec::new();
                Message::Hello(hello).encode(&mut bytes);
                link.send(bytes).await?;
                last_word(&link).await
            })
        };
        let outcome: Result<String, ExchangeError> =
            tokio::task::spawn_blocking(work).await.unwrap().unwrap();
        outcome.unwrap()
    }
}

/// A link to a data port, on which nothing was said yet.
async fn dial(world: &World, port: &DataPort) -> Link {
    let config = port.trust.client_config(Some(&port.identity), port.domain).unwrap();
    let security = Security::Dial { config: config.into(), domain: port.domain, trust: port.trust.clone() };
    Link::dial(world, port.address.parse().unwrap(), security).await.unwrap()
}

/// The code that a session ends with.
async fn last_word(link: &Link) -> Result<String, ExchangeError> {
    loop {
        let bytes = link.receive().await?;
        if let Ok(Message::Error { code, .. }) = Message::decode(&bytes) {
            return Ok(code.to_owned());
        }
    }
}

/// The code of a refusal; of anything else, what it was.
fn code<T: std::fmt::Debug>(outcome: Result<T, ApiError>) -> String {
    match outcome {
        Ok(good) => format!("{good:?}"),
        Err(error) if error.code.starts_with("NET-") => error.to_string(),
        Err(error) => error.code,
    }
}

fn met(outcome: Result<(), ExchangeError>) -> String {
    outcome.map_or_else(|error| error.code().unwrap_or_default().to_owned(), |()| "nothing".to_owned())
}

const DAY: i64 = 86_400;

async fn air(town: &Town, wanted: &str) -> String {
    match wanted {
        "AIR-001" => town.arrived(1, "gold-import", |it| it.started.seconds += 3600).await,
        "AIR-002" => town.arrived(2, "nowhere", |_| {}).await,
        "AIR-003" => town.arrived(3, "strict", |_| {}).await,
        "AIR-006" => {
            let old = town.signed(7, |it| it.started.seconds -= 40 * DAY);
            let expires = Some(Timestamp { seconds: old.record.started.seconds + DAY, nanos: 0 });
            met(town.bring(&old, |it| it.copy = CopyState { expires, ..NO_END }).await)
        }
        "AIR-007" => {
            assert_eq!(town.arrived(8, "gold-import", |it| it.image_format = 2).await, "AIR-007");
            code(ask_restore(&town.west, &town.db, &ImageId([8; 16]).to_string()).await)
        }
        "AIR-008" => code(ask_restore(&town.west, &town.web, "latest").await),
        "AIR-009" => town.replicated_with(ImageFlags { synthetic: true, ..ImageFlags::default() }).await,
        "AIR-010" => town.replicated_with(ImageFlags { spans: true, ..ImageFlags::default() }).await,
        "AIR-011" => {
            let ahead = town.signed(11, |it| it.started.seconds += DAY + 3600);
            met(town.bring(&ahead, |_| {}).await)
        }
        _ => {
            let mut forged = town.signed(12, |_| {});
            forged.signature[0] ^= 1;
            met(town.bring(&forged, |_| {}).await)
        }
    }
}

/// What the reply says of a rule, its code first.
async fn ruled(town: &Town, (code, says): (&str, &str)) -> String {
    let refusal = |outcome: Result<(), ExchangeError>| {
        outcome.map_or_else(
            |error| format!("{}: {error}", error.code().unwrap_or_default()),
            |()| "nothing".to_owned(),
        )
    };
    match (code, says) {
        ("AIR-004", "does not include the receiving volume") => {
            pool_with_unit(&town.west, "vault").await;
            let elsewhere = import_slp().text.replace("\"gold-import\"", "\"vault-import\"");
            apply(&town.west, &request(elsewhere.replace("\"default\"", "\"vault\""))).await.unwrap();
            town.arrived(14, "vault-import", |_| {}).await;
            town.import_why(14).await
        }
        ("AIR-004", _) => {
            town.arrived(4, "gold", |_| {}).await;
            town.import_why(4).await
        }
        ("AIR-005", "web01_") => {
            town.arrived(5, "gold-import", |_| {}).await;
            refusal(town.bring(&town.signed(6, |it| it.started.seconds += 1), |_| {}).await)
        }
        _ => {
            town.arrived(13, "gold-import", |_| {}).await;
            refusal(town.bring(&town.signed(13, |it| it.started.seconds -= 1000), |_| {}).await)
        }
    }
}

async fn trust(town: &Town, wanted: &str) -> String {
    match wanted {
        "TRUST-001" => {
            // It says that it is reached where nobody listens.
            let mut south = House::build_elsewhere("south").await;
            let paired = south.pair(&town.east.invite().await).await;
            south.stop().await;
            code(paired)
        }
        "TRUST-002" => {
            let mut namesake = House::build("west").await;
            let paired = namesake.pair(&town.east.invite().await).await;
            namesake.stop().await;
            code(paired)
        }
        _ => {
            let known = town.east.server.as_ref().unwrap().app().catalog.partner(town.west.domain()).await;
            let known = known.unwrap().unwrap();
            let line: Invitation = town.east.invite().await.parse().unwrap();
            let older = Introduction {
                token: Some(line.token),
                domain: known.domain,
                name: known.name,
                incarnation: known.incarnation - 1,
                url: known.url,
                data_addr: known.data_address,
                ca_pem: known.ca_pem,
                signing_key: narrows_api::Hex(known.signing_key),
                receive_pool: town.west.server.as_ref().unwrap().app().receive_pool("default").await.unwrap(),
                dials_out: false,
            };
            let stranger = town.east.caller(None, None);
            code(stranger.post::<_, Introduction>(paths::PARTNER_PAIR, &older).await)
        }
    }
}

async fn auth(town: &Town, wanted: &str) -> String {
    let whoami =
        |caller: crate::house::Caller| async move { code(caller.get::<WhoAmI>(paths::WHOAMI).await) };
    let own = Authority::load(&town.east.data().pki(), town.east.domain()).unwrap();
    match wanted {
        "AUTH-001" => whoami(town.east.caller(None, None)).await,
        "AUTH-002" => {
            let now = OffsetDateTime::now_utc();
            let past = Validity { from: now - Duration::days(2), until: now - Duration::days(1) };
            let role = Role::Client(narrows_format::ClientId([7; 16]));
            let (certificate, key) = own.issue_identity(&role, past).unwrap();
            let expired = identity_of_pem(&certificate, &key, own.der()).unwrap();
            whoami(town.east.caller(Some(&expired), None)).await
        }
        "AUTH-003" => {
            let (lost, _) = town.east.enroll("lost").await;
            let serial = narrows_transport::trust::certificate_serial(&lost.chain[0]).unwrap();
            town.east.server.as_ref().unwrap().app().trust.revoke(town.east.domain(), &serial);
            whoami(town.east.caller(Some(&lost), None)).await
        }
        "AUTH-004" => {
            let line = town.east.invite().await;
            let mut third = House::build("third").await;
            third.pair(&line).await.unwrap();
            let mut fourth = House::build("fourth").await;
            let paired = fourth.pair(&line).await;
            third.stop().await;
            fourth.stop().await;
            code(paired)
        }
        "AUTH-005" => {
            let client = town.east.caller(Some(&town.web), None);
            code(client.get::<Vec<DomainInfo>>(paths::DOMAINS).await)
        }
        _ => {
            let line = with_wrong_fingerprint(&town.east.invite().await);
            let request = PairRequest { line, alias: Some("wrong".into()), ..PairRequest::default() };
            code(town.west.admin().post::<_, DomainInfo>(paths::DOMAIN_PAIR, &request).await)
        }
    }
}

async fn wire(town: &Town, wanted: &str) -> String {
    match wanted {
        "WIRE-001" => town.speak((7, 9), None).await,
        "WIRE-002" => {
            let mut word = Vec::new();
            Message::Durable { bytes: 1, frames: 1 }.encode(&mut word);
            town.speak((1, 1), Some(word)).await
        }
        "WIRE-003" => {
            let many = |hello: &mut Hello| hello.wanted = vec![Fingerprint([1; 32]); 1025];
            town.say_hello(many).await
        }
        "WIRE-004" => {
            let mut other = town.stolen.bytes.clone();
            *other.last_mut().unwrap() ^= 1;
            met(town.bring(&town.signed(24, |_| {}), |it| it.bytes = Some(other)).await)
        }
        "WIRE-005" => {
            let show = |_| narrows_wire::Proof::NONE;
            met(town.bring(&town.signed(25, |_| {}), |it| it.show = show).await)
        }
        _ => met(town.bring(&town.signed(26, |_| {}), |it| it.bytes = None).await),
    }
}

/// A house of its own for what damages it: one image is in it.
async fn pool(wanted: &str) -> String {
    let mut house = House::build("harmed").await;
    apply(&house, &local_slp()).await.unwrap();
    let (web, _) = house.enroll("web01").await;
    let (files, more) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make_tree(files.path(), 51);
    make_tree(more.path(), 52);
    let (grant, _) = back_up_directory(&house, &web, files.path()).await;
    let pool = house.folder.path().join("data/pool");
    let containers = pool.join("containers");
    let aside = pool.join("aside");
    match wanted {
        "POOL-001" => {
            house.stop().await;
            for container in fs::read_dir(&containers).unwrap() {
                spoil(&container.unwrap().path(), 4096 + 100, |byte| byte ^ 4).unwrap();
            }
            house.start().await;
            let path = paths::IMAGE_VERIFY.replace("{id}", &grant.image.to_string());
            let verified = house.admin().post::<_, VerifyReport>(&path, &()).await;
            house.stop().await;
            code(verified)
        }
        "POOL-004" => {
            house.restart_with(|settings| settings.test.failing_disk = Some(true)).await;
            let app = house.server.as_ref().unwrap().app().clone();
            app.fail_writes.set(true);
            let refused = ask_backup(&house, &web, more.path()).await.unwrap();
            let met = code_of_backup(&house, &web, &refused, refused.ticket.0, more.path()).await;
            // What the disk does afterwards is no matter: nothing is written over what is in doubt, and all can be read.
            app.fail_writes.set(false);
            narrows_server::pools::look(&app).await;
            let told = ask_backup(&house, &web, more.path()).await.unwrap_err().code;
            let path = paths::IMAGE_VERIFY.replace("{id}", &grant.image.to_string());
            house.admin().post::<_, VerifyReport>(&path, &()).await.unwrap();
            drop(app);
            house.stop().await;
            house.start().await;
            back_up_directory(&house, &web, more.path()).await;
            house.stop().await;
            if told == met { met } else { format!("{met}, then {told}") }
        }
        "POOL-005" => {
            house.stop().await;
            age(&pool.join("superblock")).unwrap();
            let config = house.settings.clone().resolve().unwrap();
            match Server::start(&house.data(), config).await {
                Err(RunError::Plane(PlaneError::Pool(error))) => error.code().to_owned(),
                Err(other) => other.to_string(),
                Ok(_) => "it starts".to_owned(),
            }
        }
        _ => {
            // New containers are to be made where there is no room, or no directory.
            fs::rename(&containers, &aside).unwrap();
            if wanted == "POOL-002" {
                symlink("/proc", &containers).unwrap();
            }
            let grant = ask_backup(&house, &web, more.path()).await.unwrap();
            let met = code_of_backup(&house, &web, &grant, grant.ticket.0, more.path()).await;
            fs::remove_file(&containers).ok();
            fs::rename(&aside, &containers).unwrap();
            house.stop().await;
            met
        }
    }
}

fn spoil(path: &Path, at: usize, change: fn(u8) -> u8) -> io::Result<()> {
    let mut bytes = fs::read(path)?;
    if let Some(byte) = bytes.get_mut(at) {
        *byte = change(*byte);
    }
    fs::write(path, bytes)
}

/// Both slots of a superblock get a version of the far future, and the checksum that fits.
fn age(superblock: &Path) -> io::Result<()> {
    let mut bytes = fs::read(superblock)?;
    for slot in bytes.chunks_mut(4096).filter(|slot| slot.iter().any(|byte| *byte != 0)) {
        slot[4..6].copy_from_slice(&999_u16.to_le_bytes());
        slot[4092..].fill(0);
        let sum = crc32c(slot);
        slot[4092..].copy_from_slice(&sum.to_le_bytes());
    }
    fs::write(superblock, bytes)
}

fn crc32c(bytes: &[u8]) -> u32 {
    let mut sum = !0_u32;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg());
        }
    }
    !sum
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_code_is_raised_by_a_running_server() {
    let mut town = Town::build().await;
    let mut wrong = Vec::new();
    for (wanted, rule) in CODES {
        let raised = match wanted.split_once('-').map(|(family, _)| family) {
            Some("AIR") => air(&town, wanted).await,
            Some("TRUST") => trust(&town, wanted).await,
            Some("AUTH") => auth(&town, wanted).await,
            Some("WIRE") => wire(&town, wanted).await,
            _ => pool(wanted).await,
        };
        if raised != wanted {
            wrong.push(format!("{wanted} ({rule}): {raised}"));
        }
    }
    for (wanted, rule, says) in RULES {
        let said = ruled(&town, (wanted, says)).await;
        if !(said.starts_with(wanted) && said.contains(says)) {
            wrong.push(format!("{wanted} ({rule}): {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for house in [&mut town.east, &mut town.west] {
        house.stop().await;
    }
}
