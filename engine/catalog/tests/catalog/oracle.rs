//! The `SQLite` catalog answers as the model does.

use std::collections::BTreeSet;
use std::fmt::Debug;

use narrows_catalog::{Amiss, AmissBy, SqliteCatalog};
use narrows_domain::Catalog;
use narrows_domain::catalog::{EventFilter, ImageFilter, RunsAsked};
use narrows_domain::image::ImageState;
use narrows_domain::import::{Import, ImportState};
use narrows_domain::job::JobKind;
use narrows_domain::model::MemoryCatalog;
use narrows_domain::operation::OperationKey;
use narrows_domain::partner::ReceivePool;
use narrows_domain::replica::{ReplicaState, is_without_copies};
use narrows_domain::token::{TokenHash, TokenPurpose};
use narrows_format::{ClientId, DomainId, ImageId, PoolId};

use crate::made::{IMAGES, Maker, PARTNERS};

/// Answers of a catalog to a fixed list of questions, as text.
struct Answers(Vec<String>);

impl Answers {
    fn add<T: Debug, E: Debug>(&mut self, question: &str, answer: Result<T, E>) {
        self.0.push(format!("{question}: {:?}", answer.expect("no question fails")));
    }
}

/// Asks everything that the trait can be asked.
async fn interrogate(catalog: &impl Catalog, maker: &mut Maker) -> Vec<String> {
    let mut answers = Answers(Vec::new());
    let now = maker.time();
    for byte in 0..IMAGES {
        let image = ImageId([byte; 16]);
        answers.add("image", catalog.image(image).await);
        answers.add("copies", catalog.copies(image).await);
        answers.add("recalls", catalog.recalls(image).await);
        answers.add("replicas", catalog.replicas(image).await);
        answers.add("operations", catalog.operations(image).await);
        answers.add("waits", catalog.waits(image).await);
        answers.add("operation", catalog.operation(OperationKey { image, ordinal: 2 }).await);
        for kind in [JobKind::Replication, JobKind::Backup] {
            let totals = catalog.job_totals(kind, OperationKey { image, ordinal: 2 }).await;
            answers.add("job_totals", totals);
        }
        answers.add("imports_of", catalog.imports_of(image).await);
        answers.add("unfinished", catalog.unfinished([byte; 32]).await);
        answers.add("latest_whole", catalog.latest_whole([byte; 32]).await);
        let origin = DomainId([byte % 2; 16]);
        let label = catalog.image_labelled(origin, "c1", 1_800_000_000 + i64::from(byte)).await;
        answers.add("image_labelled", label);
    }
    for byte in 0..PARTNERS {
        let partner = DomainId([byte; 16]);
        answers.add("partner", catalog.partner(partner).await);
        answers.add("lives_of", catalog.lives_of(partner).await);
        answers.add("silences", catalog.silences(partner).await);
        for after in [None, Some(ImageId([2; 16]))] {
            let pool = ReceivePool { pool: PoolId([1; 16]), incarnation: 1 };
            let part = (after, Some(ImageId([4; 16])));
            answers.add("replicas_at", catalog.replicas_at(partner, pool, part, 2).await);
            answers.add("held_for", catalog.held_for((partner, PoolId([1; 16])), after, 2).await);
        }
        answers.add("auto_imported", catalog.auto_imported(partner).await);
        answers.add("failed_imports_from", catalog.failed_imports_from(partner).await);
        answers.add("candidates", catalog.candidates(partner, now, 3).await);
        answers.add("running", catalog.running(partner).await);
        answers.add("first_behind", catalog.first_behind(partner, &maker.part()).await);
        answers.add("in_process", catalog.in_process(partner).await);
        let pool = ReceivePool { pool: PoolId([1; 16]), incarnation: 1 };
        for lineage in 0..3 {
            answers.add("base", catalog.base([lineage; 32], maker.image_id(), partner, pool).await);
        }
        answers.add("client", catalog.client(ClientId([byte; 16])).await);
        answers.add("token", catalog.token(TokenHash([byte; 32])).await);
    }
    for filter in filters() {
        answers.add("images", catalog.images(&filter).await);
    }
    for (name, version) in [("gold", None), ("gold", Some(2)), ("silver", Some(1)), ("none", None)] {
        answers.add("slp", catalog.slp(name, version).await);
        answers.add("unverified", catalog.unverified(name).await);
        answers.add("failed_imports", catalog.failed_imports(name).await);
    }
    lists(catalog, now, &mut answers).await;
    answers.0
}

async fn arrivals(catalog: &impl Catalog, now: narrows_format::Timestamp, answers: &mut Answers) {
    answers.add("imports", catalog.imports(7).await);
    for filter in [
        EventFilter::default(),
        EventFilter { image: Some(ImageId([1; 16])), ..EventFilter::default() },
        EventFilter { sender: Some(DomainId([1; 16])), pending: true, ..EventFilter::default() },
        EventFilter { pool: Some(PoolId([1; 16])), since: Some(now), ..EventFilter::default() },
        EventFilter { until: Some(now), ..EventFilter::default() },
    ] {
        answers.add("events", catalog.events(&filter, 5).await);
    }
    answers.add("due_imports", catalog.due_imports(now, 5).await);
    answers.add("refusals", catalog.refusals(5).await);
    answers.add("unsettled_imports", catalog.unsettled_imports(6).await);
    answers.add("open_imports", catalog.open_imports(now).await);
    answers.add("leaving_imports", catalog.leaving_imports(now, 5).await);
    answers.add("lost_images", catalog.lost_images(4).await);
    for pool in 0..2 {
        answers.add("damaged_imports", catalog.damaged_imports(PoolId([pool; 16]), 4).await);
        answers.add("stale_imports", catalog.stale_imports(PoolId([pool; 16]), 2, 4).await);
    }
}

async fn room(catalog: &impl Catalog, now: narrows_format::Timestamp, answers: &mut Answers) {
    answers.add("leaving", catalog.leaving(now, 3).await);
    for pool in 0..2 {
        let pool = PoolId([pool; 16]);
        answers.add("rooms_seen", catalog.rooms_seen(pool).await);
        answers.add("waning", catalog.waning(pool, now).await);
        for after in [None, Some((now, ImageId([2; 16])))] {
            answers.add("endless_copies", catalog.endless_copies(pool, after, 3).await);
        }
    }
}

async fn beside(catalog: &impl Catalog, answers: &mut Answers) {
    answers.add("migrations", catalog.migrations().await);
    answers.add("clock_seen", catalog.clock_seen().await);
    for after in [None, Some(ImageId([2; 16]))] {
        for of in [("gold", 1), ("silver", 2)] {
            answers.add("to_replan", catalog.to_replan(of, after, 2).await);
        }
    }
    answers.add("barriers", catalog.barriers().await);
}

async fn lists(catalog: &impl Catalog, now: narrows_format::Timestamp, answers: &mut Answers) {
    answers.add("unfinished_operations", catalog.unfinished_operations(5).await);
    answers.add("duplications", catalog.duplications(now, 3).await);
    answers.add("duplications_in_process", catalog.duplications_in_process().await);
    answers.add("failed_operations", catalog.failed_operations(5).await);
    answers.add("pending_since", catalog.pending_since(now, 3).await);
    answers.add("pending_count", catalog.pending_count(now).await);
    for partner in 0..3 {
        let partner = DomainId([partner; 16]);
        answers.add("missing", catalog.missing(partner, now, 3).await);
        answers.add("replicas_checked", catalog.replicas_checked(Some(partner), None, 3).await);
    }
    for state in [None, Some(ReplicaState::Lost), Some(ReplicaState::Present)] {
        answers.add("replicas_checked", catalog.replicas_checked(None, state, 4).await);
    }
    answers.add("backlog", catalog.backlog().await);
    for slp in ["gold", "silver"] {
        answers.add("images_unfinished", catalog.images_unfinished(slp).await);
        for version in [None, Some(2)] {
            answers.add("images_under_way", catalog.images_under_way(slp, version, 3).await);
        }
        answers.add("slp_use", catalog.slp_use(slp).await);
        answers.add("slp_version_seen", catalog.slp_version_seen(slp).await);
    }
    answers.add("clients_seen", catalog.clients_seen().await);
    answers.add("unit_jobs", catalog.unit_jobs().await);
    answers.add("slp_versions", catalog.slp_versions().await);
    answers.add("classifications", catalog.classifications().await);
    answers.add("slps", catalog.slps().await);
    answers.add("partners", catalog.partners().await);
    answers.add("pools", catalog.pools().await);
    answers.add("media_servers", catalog.media_servers().await);
    answers.add("pool_copies", catalog.pool_copies().await);
    answers.add("storage_units", catalog.storage_units().await);
    answers.add("storage_unit_groups", catalog.storage_unit_groups().await);
    answers.add("replication_targets", catalog.replication_targets().await);
    answers.add("mark", catalog.mark().await);
    room(catalog, now, answers).await;
    for pool in 0..2 {
        answers.add("scrub passes", catalog.scrub_passes(PoolId([pool; 16])).await);
    }
    answers.add("reconciling", catalog.reconciling().await);
    answers.add("auto_slps", catalog.auto_slps().await);
    answers.add("slp_holds", catalog.slp_holds().await);
    answers.add("windows", catalog.windows().await);
    answers.add("clients", catalog.clients().await);
    answers.add("client_aliases", catalog.client_aliases().await);
    answers.add("policies", catalog.policies().await);
    runs(catalog, now, answers).await;
    arrivals(catalog, now, answers).await;
    answers.add("due_reports", catalog.due_reports(now, 5).await);
    answers.add("due_amendments", catalog.due_amendments(now, 5).await);
    answers.add("due_copies", catalog.due_copies(now, 5).await);
    beside(catalog, answers).await;
    answers.add("due_partners", catalog.due_partners(now).await);
    answers.add("next_due", catalog.next_due().await);
    cursors(catalog, answers).await;
    answers.add("jobs", catalog.jobs(None, 4).await);
    for image in 0..IMAGES {
        answers.add("jobs_of", catalog.jobs_of(ImageId([image; 16]), 3).await);
    }
    answers.add("jobs of a kind", catalog.jobs(Some(JobKind::Import), 4).await);
    answers.add("job", catalog.job(2).await);
    let jobs = catalog.jobs(None, 100).await.expect("no question fails");
    for job in jobs {
        answers.add("job_keyed", catalog.job_keyed(&job.job.key).await);
    }
}

async fn cursors(catalog: &impl Catalog, answers: &mut Answers) {
    for pool in 0..2 {
        answers.add("latest_cursor", catalog.latest_cursor(PoolId([pool; 16])).await);
        answers.add("stale_copies", catalog.stale_copies(PoolId([pool; 16]), 1, 4).await);
        for incarnation in 0..2 {
            answers.add("cursor", catalog.cursor(PoolId([pool; 16]), incarnation).await);
        }
    }
}

async fn runs(catalog: &impl Catalog, now: narrows_format::Timestamp, answers: &mut Answers) {
    for asked in [
        RunsAsked::One(2),
        RunsAsked::Making(ImageId([1; 16])),
        RunsAsked::Live,
        RunsAsked::Due(now),
        RunsAsked::Newest(None, 3),
        RunsAsked::Newest(Some("a"), 3),
    ] {
        answers.add("runs", catalog.runs(asked).await);
    }
    for (policy, schedule) in [("", ""), ("a", ""), ("a", "s")] {
        for until in [now, narrows_format::Timestamp { seconds: now.seconds - 3600, nanos: 0 }] {
            answers.add("last_slots", catalog.last_slots(policy, schedule, until).await);
        }
    }
}

fn filters() -> Vec<ImageFilter> {
    let second = |second: i64| narrows_format::Timestamp { seconds: 1_800_000_000 + second, nanos: 0 };
    let all = ImageFilter::default;
    vec![
        all(),
        ImageFilter { limit: Some(2), ..all() },
        ImageFilter { client_name: Some("c1".into()), ..all() },
        ImageFilter { client_name: Some("c7".into()), or_client: Some(ClientId([0; 16])), ..all() },
        ImageFilter { origin: Some(DomainId([1; 16])), state: Some(ImageState::Whole), ..all() },
        ImageFilter { slp: Some("gold".into()), limit: Some(3), ..all() },
        ImageFilter { slp: Some("none".into()), ..all() },
        ImageFilter { since: Some(second(3)), until: Some(second(5)), ..all() },
        ImageFilter { until: Some(second(4)), limit: Some(2), ..all() },
    ]
}

/// Goal: every change and every question means in SQL what it means in the model.
/// Method: random changes in random transactions to both; after each, all questions; now and then the
/// file is closed and opened again.
#[tokio::test]
async fn answers_as_the_model_does() {
    for seed in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.sqlite");
        let mut real = SqliteCatalog::open(&path).await.unwrap();
        let model = MemoryCatalog::new();
        let mut maker = Maker(seed << 32);
        let ground = maker.ground();
        model.apply(&ground).await.unwrap();
        real.apply(&ground).await.unwrap();
        for round in 0..45 {
            let count = maker.below(12) + 1;
            let changes: Vec<_> = (0..count).map(|_| maker.change()).collect();
            model.apply(&changes).await.unwrap();
            real.apply(&changes).await.unwrap();
            redeem_both(&model, &real, &mut maker).await;
            if round % 20 == 7 {
                real.close().await;
                real = SqliteCatalog::open(&path).await.unwrap();
            }
            let asked = maker.0;
            let expected = interrogate(&model, &mut Maker(asked)).await;
            let answered = interrogate(&real, &mut Maker(asked)).await;
            for (answer, expected) in answered.iter().zip(&expected) {
                assert_eq!(answer, expected, "seed {seed}, round {round}, after {changes:#?}");
            }
            counts_as_it_lists(&real, &mut Maker(asked)).await;
        }
    }
}

/// What people are told to be amiss is as much as the lists have of it.
async fn counts_as_it_lists(real: &SqliteCatalog, maker: &mut Maker) {
    let by = AmissBy { pending: maker.time(), refused: maker.time(), now: maker.time() };
    let is_young = |it: &Import| {
        matches!(it.state, ImportState::Pending | ImportState::Waiting { .. }) && it.arrived >= by.pending
    };
    let mut stuck = real.unsettled_imports(u32::MAX).await.unwrap();
    stuck.retain(|it| !is_young(it));
    assert_eq!(real.stuck_imports(by.pending, u32::MAX).await.unwrap(), stuck);
    unproven_in_portions(real).await;
    tryable_in_portions(real).await;
    let refusals = real.refusals(u32::MAX).await.unwrap();
    let filter = ImageFilter { state: Some(ImageState::Lost), ..ImageFilter::default() };
    let lost = real.images(&filter).await.unwrap();
    let mut held_elsewhere = 0;
    for image in &lost {
        let replicas = real.replicas(image.id).await.unwrap();
        held_elsewhere += u64::from(replicas.iter().any(|it| it.state == ReplicaState::Present));
    }
    let mut without_copies = real.images(&ImageFilter::default()).await.unwrap();
    let mut is_without = BTreeSet::new();
    for image in &without_copies {
        let (copies, replicas) =
            (real.copies(image.id).await.unwrap(), real.replicas(image.id).await.unwrap());
        if is_without_copies(image, &copies, &replicas, by.now) {
            is_without.insert(image.id);
        }
    }
    without_copies.retain(|it| is_without.contains(&it.id));
    assert_eq!(real.without_copies(by.now, u32::MAX).await.unwrap(), without_copies);
    let amiss = Amiss {
        imports: stuck.len() as u64,
        refusals: refusals.iter().filter(|it| it.last > by.refused).count() as u64,
        failed: real.failed_operations(u32::MAX).await.unwrap().len() as u64,
        lost: lost.len() as u64,
        held_elsewhere,
        without_copies: without_copies.len() as u64,
    };
    assert_eq!(real.amiss(by).await.unwrap(), amiss);
}

/// What waits for a proof is gone through whole, whatever the size of the portions.
async fn tryable_in_portions(real: &SqliteCatalog) {
    let imports = real.imports(u32::MAX).await.unwrap();
    let expected: BTreeSet<_> =
        imports.iter().filter(|it| it.may_be_tried()).map(|it| it.arrival.record.image).collect();
    for limit in [1, 2, 100] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let portion = real.tryable_images(after, limit).await.unwrap();
            let Some(last) = portion.last() else { break };
            after = Some(*last);
            found.extend(portion);
        }
        assert_eq!(found, expected.iter().copied().collect::<Vec<_>>());
    }
}

async fn unproven_in_portions(real: &SqliteCatalog) {
    let mut expected = real.imports(u32::MAX).await.unwrap();
    expected.retain(Import::is_unproven);
    expected.sort_by_key(|it| it.key);
    for limit in [1, 2, 100] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let portion = real.unproven_imports(after, limit).await.unwrap();
            assert!(portion.len() <= limit as usize);
            let Some(last) = portion.last() else { break };
            after = Some(last.key);
            found.extend(portion);
        }
        assert_eq!(found, expected);
    }
}

async fn redeem_both(model: &MemoryCatalog, real: &SqliteCatalog, maker: &mut Maker) {
    let (hash, now) = (TokenHash([maker.below(3); 32]), maker.time());
    let changes = [maker.change()];
    let one = model.redeem(hash, TokenPurpose::Pair, now, &changes).await;
    let other = real.redeem(hash, TokenPurpose::Pair, now, &changes).await;
    assert_eq!(one.is_ok(), other.is_ok());
    assert_eq!(one.ok(), other.ok());
}
