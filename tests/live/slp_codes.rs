//! Goal: each rule of SLPs and topologies is refused with its own code by a running server.
//! Method: a table, one row or more for each code: the rule, and an edit of an SLP that is right, or a request of
//! another kind, that breaks just that rule. `tests/tidy` holds the rows against the list of codes.

use std::pin::Pin;

use crate::{
    data::ask_backup,
    house::House,
    pairing::{apply, import_slp, local_slp, pair_both, request, slp},
    policies::put_policy,
    pools::{asked, make_pool, pool_with_unit, put_unit_on, set_pool},
    slps::delete,
    storage::{put_group, put_unit},
    topology::{joins_as_partners, meets_own_pool, meets_own_port, with_shared_pool},
};
use narrows_api::{
    ApiError, paths,
    pools::{PoolChange, PoolRequest},
    storage::{Making, RemoveReply, RemoveTargetRequest, TargetInfo, TargetName, TargetRequest},
};

type Answering<'a> = Pin<Box<dyn Future<Output = Option<ApiError>> + Send + 'a>>;

/// How a rule is broken.
enum Break {
    /// An edit of [`GOLD`]: everything of the first replaced by the second.
    Edit(&'static str, &'static str),
    /// This SLP is applied instead.
    Slp(&'static str),
    /// Something else; east and west are given.
    By(for<'a> fn(&'a House, &'a House) -> Answering<'a>),
}

struct Row {
    code: &'static str,
    rule: &'static str,
    broken: Break,
}

/// Right as it stands: backs up here, and replicates to west.
const GOLD: &str = "name = \"table\"
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

const IMPORT_AND_BACKUP: &str = "name = \"table\"
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

const IMPORT_FOR_30_DAYS: &str = "name = \"table\"
[[operation]]
id = \"import\"
kind = \"import\"
storage = \"default\"
retention = { fixed = \"30d\" }
";

const IMPORT_WITH_SOURCE: &str = "name = \"table\"
[[operation]]
id = \"import\"
kind = \"import\"
source = \"import\"
storage = \"default\"
retention = { target = {} }
";

const DUPLICATION_FIRST: &str = "name = \"table\"
[[operation]]
id = \"dup\"
kind = \"duplication\"
source = \"dup\"
storage = \"default\"
retention = { fixed = \"30d\" }
";

const ROWS: &[Row] = &[
    Row { code: "SLP-001", rule: "an SLP has operations", broken: Break::Slp("name = \"table\"") },
    Row {
        code: "SLP-001",
        rule: "an SLP begins with a Backup or an Import",
        broken: Break::Slp(DUPLICATION_FIRST),
    },
    Row { code: "SLP-002", rule: "an Import has no source", broken: Break::Slp(IMPORT_WITH_SOURCE) },
    Row {
        code: "SLP-003",
        rule: "Backup and Import exclude one another",
        broken: Break::Slp(IMPORT_AND_BACKUP),
    },
    Row {
        code: "SLP-004",
        rule: "a Replication has a source",
        broken: Break::Edit("source = \"backup\"\n", ""),
    },
    Row {
        code: "SLP-004",
        rule: "a source exists",
        broken: Break::Edit("source = \"backup\"", "source = \"nobody\""),
    },
    Row {
        code: "SLP-005",
        rule: "a replication source is not a group",
        broken: Break::Edit("storage = \"default\"", "storage = \"any-a\""),
    },
    Row {
        code: "SLP-005",
        rule: "a referenced unit does not move behind a group",
        broken: Break::By(|east, _| Box::pin(unit_behind_group(east))),
    },
    Row {
        code: "SLP-006",
        rule: "a pool replicates where it has a replication target",
        broken: Break::By(|east, _| Box::pin(without_target(east))),
    },
    Row {
        code: "SLP-007",
        rule: "nothing replicates from a pool that spans",
        broken: Break::Edit("storage = \"default\"", "storage = \"wide\""),
    },
    Row {
        code: "SLP-007",
        rule: "a backup whose pool spans by now fails before it reads",
        broken: Break::By(|east, _| Box::pin(spans_by_now(east))),
    },
    Row {
        code: "SLP-008",
        rule: "the target is paired",
        broken: Break::Edit("domain = \"west\"", "domain = \"mars\""),
    },
    Row {
        code: "SLP-008",
        rule: "the import SLP exists there",
        broken: Break::Edit("gold-import", "lead-import"),
    },
    Row {
        code: "SLP-008",
        rule: "the import SLP there begins with an Import",
        broken: Break::Edit("gold-import", "plain"),
    },
    Row {
        code: "SLP-009",
        rule: "a source of any class does not go into an import of one",
        broken: Break::Edit("gold-import", "silver-import"),
    },
    Row {
        code: "SLP-010",
        rule: "an import SLP has an operation of target retention",
        broken: Break::Slp(IMPORT_FOR_30_DAYS),
    },
    Row {
        code: "SLP-010",
        rule: "target retention belongs to imports",
        broken: Break::Edit("{ fixed = \"90d\" }", "{ target = {} }"),
    },
    Row {
        code: "SLP-011",
        rule: "expire-after-copy leaves a copy here",
        broken: Break::Edit("{ fixed = \"30d\" }", "\"expire-after-copy\""),
    },
    Row {
        code: "SLP-012",
        rule: "an SLP that replicates is not capacity-managed",
        broken: Break::Edit("{ fixed = \"30d\" }", "\"capacity-managed\""),
    },
    Row {
        code: "SLP-013",
        rule: "storage exists",
        broken: Break::Edit("storage = \"default\"", "storage = \"nowhere\""),
    },
    Row {
        code: "SLP-013",
        rule: "a window exists",
        broken: Break::Edit("{ fixed = \"90d\" }", "{ fixed = \"90d\" }\nwindow = \"never\""),
    },
    Row {
        code: "SLP-013",
        rule: "a data classification exists",
        broken: Break::Edit("name = \"table\"", "name = \"table\"\ndata_classification = \"gilt\""),
    },
    Row {
        code: "SLP-014",
        rule: "an SLP with an unfinished image is not deleted",
        broken: Break::By(|east, _| Box::pin(async { delete(east, "gold", false).await.err() })),
    },
    Row {
        code: "SLP-014",
        rule: "an SLP that a partner's names is not deleted",
        broken: Break::By(|_, west| Box::pin(async { delete(west, "gold-import", false).await.err() })),
    },
    Row {
        code: "SLP-014",
        rule: "an SLP with an unfinished image is not reclassified",
        broken: Break::By(|east, _| Box::pin(reclassified(east))),
    },
    Row {
        code: "SLP-013",
        rule: "a client that a policy names exists",
        broken: Break::By(|east, _| Box::pin(planned(east, "clients = [\"nobody\"]", "", ""))),
    },
    Row {
        code: "SLP-014",
        rule: "an SLP that a policy names is not deleted",
        broken: Break::By(|east, _| Box::pin(named_by_policy(east))),
    },
    Row {
        code: "SLP-015",
        rule: "a policy has the classification of its SLP",
        broken: Break::By(|east, _| Box::pin(planned(east, WEB01, "data_classification = \"gold\"", ""))),
    },
    Row {
        code: "SLP-015",
        rule: "an SLP has the classification of its policies",
        broken: Break::By(|east, _| Box::pin(reclassified_under_policy(east))),
    },
    Row {
        code: "SLP-016",
        rule: "an SLP that replicates has no synthetic schedule",
        broken: Break::By(|east, _| Box::pin(planned(east, WEB01, "", SYNTHETIC))),
    },
    Row {
        code: "SLP-016",
        rule: "an SLP with a synthetic schedule does not replicate",
        broken: Break::By(|east, _| Box::pin(replicates_under_policy(east))),
    },
    Row {
        code: "SLP-017",
        rule: "no domain is reached twice",
        broken: Break::Edit(
            "[[operation]]\nid = \"copy\"",
            "[[operation]]\nid = \"all\"\nkind = \"replication\"\nsource = \"backup\"\ntarget = \"all\"\n\
             retention = { fixed = \"90d\" }\n[[operation]]\nid = \"copy\"",
        ),
    },
    Row {
        code: "TOPO-001",
        rule: "a replication target is not one's own storage",
        broken: Break::By(|east, west| Box::pin(own_storage(east, west))),
    },
    Row {
        code: "TOPO-001",
        rule: "an SLP does not replicate to one's own storage",
        broken: Break::By(|east, west| Box::pin(own_storage_by_slp(east, west))),
    },
    Row {
        code: "TOPO-001",
        rule: "a domain that receives at one's own data port is not paired with",
        broken: Break::By(|east, _| Box::pin(meets_own_port(east))),
    },
    Row {
        code: "TOPO-001",
        rule: "a domain that receives with one's own pool is not paired with",
        broken: Break::By(|east, _| Box::pin(meets_own_pool(east))),
    },
    Row {
        code: "TOPO-001",
        rule: "a media server does not join that stores where a partner receives",
        broken: Break::By(|east, west| Box::pin(joins_as_partners(east, west))),
    },
];

const WEB01: &str = "clients = [\"web01\"]";

const SYNTHETIC: &str = "[[schedule]]\nname = \"s\"\nkind = \"optimised-synthetic\"\ndays = \"daily\"\n";

/// Applies a policy of the SLP `silvery`, which replicates and is classified as silver.
async fn planned(east: &House, clients: &str, class: &str, schedule: &str) -> Option<ApiError> {
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

async fn named_by_policy(east: &House) -> Option<ApiError> {
    stays(east).await;
    let refused = delete(east, "stays", false).await.err()?;
    assert!(refused.message.contains("policy `stays`"), "{refused}");
    Some(refused)
}

async fn reclassified_under_policy(east: &House) -> Option<ApiError> {
    let local = stays(east).await;
    apply(east, &request(local.replacen('\n', "\ndata_classification = \"silver\"\n", 1))).await.err()
}

async fn replicates_under_policy(east: &House) -> Option<ApiError> {
    stays(east).await;
    apply(east, &request(GOLD.replacen("\"table\"", "\"stays\"", 1))).await.err()
}

async fn unit_behind_group(east: &House) -> Option<ApiError> {
    put_group(east, Making::Add, "default", (None, &["a"])).await.err()
}

async fn reclassified(east: &House) -> Option<ApiError> {
    let text = slp("west").text.replacen('\n', "\ndata_classification = \"silver\"\n", 1);
    apply(east, &request(text)).await.err()
}

/// The SLP was stored first; its pool spans from then on.
async fn spans_by_now(east: &House) -> Option<ApiError> {
    pool_with_unit(east, "late").await;
    apply(east, &request(GOLD.replace("\"default\"", "\"late\"").replace("\"table\"", "\"gold\"")))
        .await
        .unwrap();
    let (web, _) = east.enroll("web02").await;
    let spans = PoolChange { spanning: true, ..PoolChange::default() };
    assert!(set_pool(east, "late", spans).await.unwrap().spanning);
    let refused = ask_backup(east, &web, std::path::Path::new("/srv/late")).await.err();
    apply(east, &slp("west")).await.unwrap();
    refused
}

fn to_west() -> TargetName {
    TargetName { pool: None, domain: "west".to_owned() }
}

async fn put_target(east: &House, making: Making) -> Result<TargetInfo, ApiError> {
    let request = TargetRequest {
        making,
        name: to_west(),
        unit: None,
        bandwidth: None,
        schedule: None,
        direction: None,
    };
    east.admin().post(paths::TARGETS, &request).await
}

/// No SLP may replicate by the target that is taken away, so this stands on a domain of its own.
async fn without_target(_east: &House) -> Option<ApiError> {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    let request_gone = RemoveTargetRequest { name: to_west(), dry_run: false };
    let gone: RemoveReply = east.admin().post(paths::TARGET_REMOVE, &request_gone).await.unwrap();
    assert!(gone.removed);
    let refused = apply(&east, &request(GOLD.to_owned())).await.err();
    put_target(&east, Making::Add).await.unwrap();
    apply(&east, &request(GOLD.to_owned())).await.unwrap();
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
    refused
}

/// What receives over there says that it is a pool that is here: two servers share their storage.
async fn own_storage(east: &House, west: &House) -> Option<ApiError> {
    let refused = with_shared_pool(east, west, async || put_target(east, Making::Set).await.err()).await;
    put_target(east, Making::Set).await.unwrap();
    refused
}

async fn own_storage_by_slp(east: &House, west: &House) -> Option<ApiError> {
    with_shared_pool(east, west, async || apply(east, &request(GOLD.to_owned())).await.err()).await
}

/// Both domains with all that the rows name, and a backup under `gold` that has begun.
async fn scene() -> (House, House) {
    let (east, west) = pair_both().await;
    let import = import_slp();
    for (name, class) in [("gold-import", "any"), ("silver-import", "silver")] {
        let head = format!("name = \"{name}\"\ndata_classification = \"{class}\"");
        let text = import.text.replace("name = \"gold-import\"", &head);
        apply(&west, &request(text)).await.unwrap();
    }
    apply(&west, &request(local_slp().text.replace("\"gold\"", "\"plain\""))).await.unwrap();
    put_unit(&east, Making::Add, "a", None).await.unwrap();
    let folders = ["wide1", "wide2"].map(|name| east.folder.path().join(name).to_str().unwrap().to_owned());
    let wide = PoolRequest { spanning: true, ..asked("wide", &[]) };
    make_pool(&east, &PoolRequest { directories: folders.into(), ..wide }).await.unwrap();
    put_unit_on(&east, "wide").await;
    put_group(&east, Making::Add, "any-a", (None, &["a"])).await.unwrap();
    apply(&east, &slp("west")).await.unwrap();
    let (web, _) = east.enroll("web01").await;
    ask_backup(&east, &web, std::path::Path::new("/srv")).await.unwrap();
    (east, west)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rule_is_refused_with_its_code() {
    let (mut east, mut west) = scene().await;
    apply(&east, &request(GOLD.to_owned())).await.unwrap();
    let mut faults = Vec::new();
    for Row { code, rule, broken } in ROWS {
        let answer = match broken {
            Break::Edit(from, to) => {
                assert!(GOLD.contains(from), "{code}: {from}");
                apply(&east, &request(GOLD.replace(from, to))).await.err()
            }
            Break::Slp(text) => apply(&east, &request((*text).to_owned())).await.err(),
            Break::By(ask) => ask(&east, &west).await,
        };
        match answer {
            Some(error) if error.code == *code => {
                assert!(!error.message.is_empty() && !error.help.is_empty(), "{code}: {error}");
                assert_eq!(error.http_status(), 422, "{error}");
            }
            Some(error) => faults.push(format!("{code} ({rule}): answered with {error}")),
            None => faults.push(format!("{code} ({rule}): was let through")),
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}
