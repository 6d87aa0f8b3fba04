//! What breaks rules of SLPs and topologies: texts, and requests of another kind. The table of rules is in
//! [`slp_codes`](crate::slp_codes).

use std::path::Path;

use narrows_api::{
    ApiError,
    domains::{Parting, UnpairReply, UnpairRequest},
    paths,
    pools::PoolChange,
    slps::{ApplyReply, ApplyRequest},
    storage::{Making, RemoveReply, RemoveTargetRequest, TargetInfo, TargetName, TargetRequest},
};
use narrows_domain::{
    Catalog as _, Change,
    partner::{Partner, Trust},
    storage::LockRange,
};
use narrows_format::DomainId;

use crate::{
    data::ask_backup,
    house::House,
    pairing::{apply, import_slp, local_slp, pair_both, request, slp},
    policies::put_policy,
    pools::{pool_with_unit, set_pool},
    slps::{delete, edited},
    storage::put_group,
    topology::with_shared_pool,
};

/// Right as it stands: backs up here, and replicates to west.
pub(crate) const GOLD: &str = "name = \"table\"
[[operation]]
id = \"backup\"
kind = \"backup\"
storage = \"default\"
retention = { fixed = \"30d\" }
[[operation]]
id = \"copy\"
kind = \"replication\"
source = \"backup\"
target = { domain = \"west\", import_slp = \"gold-import\" }
retention = { fixed = \"90d\" }
";

pub(crate) const IMPORT_AND_BACKUP: &str = "name = \"table\"
[[operation]]
id = \"import\"
kind = \"import\"
storage = \"default\"
retention = { target = {} }
[[operation]]
id = \"backup\"
kind = \"backup\"
storage = \"default\"
retention = { fixed = \"30d\" }
";

pub(crate) const IMPORT_FOR_30_DAYS: &str = "name = \"table\"
[[operation]]
id = \"import\"
kind = \"import\"
storage = \"default\"
retention = { fixed = \"30d\" }
";

pub(crate) const IMPORT_WITH_SOURCE: &str = "name = \"table\"
[[operation]]
id = \"import\"
kind = \"import\"
source = \"import\"
storage = \"default\"
retention = { target = {} }
";

pub(crate) const DUPLICATION_FIRST: &str = "name = \"table\"
[[operation]]
id = \"dup\"
kind = \"duplication\"
source = \"dup\"
storage = \"default\"
retention = { fixed = \"30d\" }
";

pub(crate) const IMPORT_TWICE: &str = "name = \"table\"
[[operation]]
id = \"import\"
kind = \"import\"
storage = \"default\"
retention = { target = {} }
[[operation]]
id = \"again\"
kind = \"import\"
storage = \"default\"
retention = { target = {} }
";

pub(crate) const WHILE_THERE_IS_ROOM: &str = "name = \"table\"
[[operation]]
id = \"backup\"
kind = \"backup\"
storage = \"default\"
retention = \"capacity-managed\"
";

pub(crate) const COPY_OF_A_REPLICA: &str = "[[operation]]
id = \"dup\"
kind = \"duplication\"
source = \"copy\"
storage = \"a\"
retention = { fixed = \"30d\" }
";

/// The units `a` and `default` are of one pool.
pub(crate) const COPY_IN_PLACE: &str = "[[operation]]
id = \"dup\"
kind = \"duplication\"
source = \"backup\"
storage = \"a\"
retention = { fixed = \"30d\" }
";

pub(crate) const SAME_ID: &str = "[[operation]]
id = \"backup\"
kind = \"duplication\"
source = \"backup\"
storage = \"wide\"
retention = { fixed = \"30d\" }
";

pub(crate) const LOOP: &str = "[[operation]]
id = \"one\"
kind = \"duplication\"
source = \"two\"
storage = \"a\"
retention = { fixed = \"30d\" }
[[operation]]
id = \"two\"
kind = \"duplication\"
source = \"one\"
storage = \"wide\"
retention = { fixed = \"30d\" }
";

pub(crate) fn five_backups() -> String {
    let backup = |id| {
        format!(
            "[[operation]]\nid = \"{id}\"\nkind = \"backup\"\nstorage = \"a\"\nretention = {{ fixed = \"30d\" }}\n"
        )
    };
    GOLD.to_owned() + &["second", "third", "fourth", "fifth"].map(backup).concat()
}

/// A duplicate has the life of its own that there has to be.
pub(crate) fn replicated_while_there_is_room() -> String {
    let duplicate = COPY_IN_PLACE.replace("\"a\"", "\"wide\"");
    GOLD.replace("{ fixed = \"30d\" }", "\"capacity-managed\"") + &duplicate
}

pub(crate) fn gold_into_silver() -> String {
    let gold = GOLD.replace("\"table\"", "\"table\"\ndata_classification = \"gold\"");
    gold.replace("gold-import", "silver-import")
}

pub(crate) const WEB01: &str = "clients = [\"web01\"]";

pub(crate) const SYNTHETIC: &str =
    "[[schedule]]\nname = \"s\"\nkind = \"optimised-synthetic\"\ndays = \"daily\"\n";

/// Applies a policy of the SLP `silvery`, which replicates and is classified as silver.
pub(crate) async fn planned(east: &House, clients: &str, class: &str, schedule: &str) -> Option<ApiError> {
    let silvery = GOLD.replacen("\"table\"", "\"silvery\"\ndata_classification = \"silver\"", 1);
    apply(east, &request(silvery.replace("gold-import", "silver-import"))).await.unwrap();
    let class = if class.is_empty() { "data_classification = \"silver\"" } else { class };
    let text = format!("name = \"p\"\n{clients}\npaths = [\"/srv\"]\nslp = \"silvery\"\n{class}\n{schedule}");
    put_policy(east, &text).await.err()
}

/// An SLP that stays here, and a policy of it with a synthetic schedule.
async fn stays(east: &House) -> String {
    let local = local_slp().text.replace("\"gold\"", "\"stays\"");
    apply(east, &request(local.clone())).await.unwrap();
    let text = format!("name = \"stays\"\n{WEB01}\npaths = [\"/srv\"]\nslp = \"stays\"\n{SYNTHETIC}");
    put_policy(east, &text).await.unwrap();
    local
}

pub(crate) async fn named_by_policy(east: &House) -> Option<ApiError> {
    stays(east).await;
    let refused = delete(east, "stays", false).await.err()?;
    assert!(refused.message.contains("policy `stays`"), "{refused}");
    Some(refused)
}

pub(crate) async fn reclassified_under_policy(east: &House) -> Option<ApiError> {
    let local = stays(east).await;
    apply(east, &request(local.replacen('\n', "\ndata_classification = \"silver\"\n", 1))).await.err()
}

pub(crate) async fn replicates_under_policy(east: &House) -> Option<ApiError> {
    stays(east).await;
    apply(east, &request(GOLD.replacen("\"table\"", "\"stays\"", 1))).await.err()
}

pub(crate) async fn unit_behind_group(east: &House) -> Option<ApiError> {
    put_group(east, Making::Add, "default", (None, &["a"])).await.err()
}

pub(crate) async fn reclassified(east: &House) -> Option<ApiError> {
    let text = slp("west").text.replacen('\n', "\ndata_classification = \"silver\"\n", 1);
    apply(east, &request(text)).await.err()
}

/// The SLP was stored first; its pool spans from then on.
pub(crate) async fn spans_by_now(east: &House) -> Option<ApiError> {
    pool_with_unit(east, "late").await;
    apply(east, &request(GOLD.replace("\"default\"", "\"late\"").replace("\"table\"", "\"gold\"")))
        .await
        .unwrap();
    let (web, _) = east.enroll("web02").await;
    let spans = PoolChange { spanning: true, ..PoolChange::default() };
    assert!(set_pool(east, "late", spans).await.unwrap().spanning);
    let refused = ask_backup(east, &web, Path::new("/srv/late")).await.err();
    apply(east, &slp("west")).await.unwrap();
    refused
}

fn to_west() -> TargetName {
    TargetName { pool: None, domain: "west".to_owned() }
}

async fn put_target(east: &House, making: Making, unit: Option<&str>) -> Result<TargetInfo, ApiError> {
    put_target_in(east, "west", making, unit).await
}

async fn put_target_in(
    east: &House,
    domain: &str,
    making: Making,
    unit: Option<&str>,
) -> Result<TargetInfo, ApiError> {
    let request = TargetRequest {
        making,
        name: TargetName { domain: domain.to_owned(), ..to_west() },
        unit: unit.map(str::to_owned),
        bandwidth: None,
        schedule: None,
        weight: None,
        direction: None,
    };
    east.admin().post(paths::TARGETS, &request).await
}

/// No SLP may replicate by the target that is taken away, so this stands on a domain of its own.
pub(crate) async fn without_target(_east: &House) -> Option<ApiError> {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    let request_gone = RemoveTargetRequest { name: to_west(), dry_run: false };
    let gone: RemoveReply = east.admin().post(paths::TARGET_REMOVE, &request_gone).await.unwrap();
    assert!(gone.removed);
    let refused = apply(&east, &request(GOLD.to_owned())).await.err();
    put_target(&east, Making::Add, None).await.unwrap();
    apply(&east, &request(GOLD.to_owned())).await.unwrap();
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
    refused
}

/// What receives over there says that it is a pool that is here: two servers share their storage.
pub(crate) async fn own_storage(east: &House, west: &House) -> Option<ApiError> {
    let refused =
        with_shared_pool(east, west, async || put_target(east, Making::Set, None).await.err()).await;
    put_target(east, Making::Set, None).await.unwrap();
    refused
}

pub(crate) async fn own_storage_by_slp(east: &House, west: &House) -> Option<ApiError> {
    with_shared_pool(east, west, async || apply(east, &request(GOLD.to_owned())).await.err()).await
}

/// What was refused is the whole SLP, for more than this: the plan names all.
pub(crate) async fn import_behind_backup(east: &House) -> Option<ApiError> {
    let import = import_slp().text;
    let text = format!("{GOLD}{}", import.replace("name = \"gold-import\"\n", ""));
    let plan: ApplyReply = apply(east, &ApplyRequest { plan: true, ..request(text) }).await.unwrap();
    plan.errors.into_iter().find(|it| it.code == "SLP-002")
}

/// As it is found when a target is configured whose server has no wire version of ours.
/// The program there is of another age: nothing is known of how it names and packs segments. That is found when a target is set.
pub(crate) async fn unlike_storage(east: &House) -> Option<ApiError> {
    let mut pluto = House::build("pluto").await;
    pluto.restart_with(|it| it.test.wire_version = Some(9)).await;
    pluto.pair(&east.invite().await).await.unwrap();
    apply(&pluto, &import_slp()).await.unwrap();
    let target = put_target_in(east, "pluto", Making::Set, None).await.unwrap();
    assert!(target.unlike.contains("wire versions 9..=9"), "{target:?}");
    let to_pluto = GOLD.replace("\"west\"", "\"pluto\"").replace("\"table\"", "\"far\"");
    let refused = apply(east, &request(to_pluto)).await.err();
    let path = paths::DOMAIN_UNPAIR.replace("{name}", "pluto");
    let parting = UnpairRequest { how: Parting::Now, dry_run: false };
    let parted: UnpairReply = east.admin().post(&path, &parting).await.unwrap();
    assert!(parted.applied, "{parted:?}");
    pluto.stop().await;
    refused
}

/// The target names a unit of another pool than the one into which the import SLP takes.
pub(crate) async fn unit_of_target(east: &House, west: &House) -> Option<ApiError> {
    pool_with_unit(west, "cellar").await;
    put_target(east, Making::Set, Some("cellar")).await.unwrap();
    let refused = apply(east, &request(GOLD.to_owned())).await.err();
    put_target(east, Making::Set, Some("")).await.unwrap();
    apply(east, &request(GOLD.to_owned())).await.unwrap();
    refused
}

pub(crate) async fn shorter_than_locked(east: &House) -> Option<ApiError> {
    let app = east.server.as_ref().unwrap().app().clone();
    let pools = app.catalog.pools().await.unwrap();
    let mut pool = pools.into_iter().find(|it| it.name == "wide").unwrap();
    pool.lock = Some(LockRange { at_least: "31d".parse().unwrap(), at_most: "1y".parse().unwrap() });
    app.control.put(vec![Change::Pool(pool.clone())]).await.unwrap();
    let text = local_slp().text.replace("\"gold\"", "\"locked\"").replace("\"default\"", "\"wide\"");
    let refused = apply(east, &request(text.clone())).await.err();
    apply(east, &request(text.replace("30d", "31d"))).await.unwrap();
    pool.lock = None;
    app.control.put(vec![Change::Pool(pool)]).await.unwrap();
    refused
}

pub(crate) async fn shortened_in_place(east: &House) -> Option<ApiError> {
    let shorter = edited(&request(GOLD.to_owned()), "90d", "10d");
    apply(east, &ApplyRequest { in_place: true, ..shorter }).await.err()
}

/// An SLP to `north`, of which so much is known.
async fn to_north(east: &House, trust: Trust) -> Option<ApiError> {
    let app = east.server.as_ref().unwrap().app().clone();
    let known = Partner::half(DomainId([66; 16]), 1, "north", narrows_server::time::now());
    app.control.put(vec![Change::Partner(Partner { trust, ..known.clone() })]).await.unwrap();
    let refused = apply(east, &request(GOLD.replace("\"west\"", "\"north\""))).await.err();
    app.control.put(vec![Change::Partner(Partner { trust: Trust::Unpaired, ..known })]).await.unwrap();
    refused
}

pub(crate) async fn half_paired(east: &House) -> Option<ApiError> {
    to_north(east, Trust::Half).await
}

pub(crate) async fn unpaired(east: &House) -> Option<ApiError> {
    to_north(east, Trust::Unpaired).await
}

pub(crate) async fn in_doubt(east: &House, west: &House) -> Option<ApiError> {
    let app = east.server.as_ref().unwrap().app().clone();
    let known = app.catalog.partner(west.domain()).await.unwrap().unwrap();
    let frozen = Partner { trust: Trust::Frozen, ..known.clone() };
    app.control.put(vec![Change::Partner(frozen)]).await.unwrap();
    let refused = apply(east, &request(GOLD.to_owned())).await.err();
    app.control.put(vec![Change::Partner(known)]).await.unwrap();
    refused
}
