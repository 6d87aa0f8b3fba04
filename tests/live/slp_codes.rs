//! Goal: each rule of SLPs and topologies is refused with its own code by a running server.
//! Method: a table, one row for each rule, several for codes of several: the rule, words that only its refusal has, and an edit
//! of an SLP that is right, or a request of another kind ([`slp_broken`](crate::slp_broken)), that breaks just that rule.
//! `tests/tidy` holds the rows against the list of codes.

use std::{path::Path, pin::Pin};

use narrows_api::{ApiError, pools::PoolRequest, storage::Making};

use crate::{
    data::ask_backup,
    house::House,
    pairing::{apply, import_slp, local_slp, pair_both, request, slp},
    pools::{asked, make_pool, put_unit_on},
    slp_broken::{
        COPY_IN_PLACE, COPY_OF_A_REPLICA, DUPLICATION_FIRST, GOLD, IMPORT_AND_BACKUP, IMPORT_FOR_30_DAYS,
        IMPORT_TWICE, IMPORT_WITH_SOURCE, LOOP, SAME_ID, SYNTHETIC, WEB01, WHILE_THERE_IS_ROOM, five_backups,
        gold_into_silver, half_paired, import_behind_backup, in_doubt, named_by_policy, own_storage,
        own_storage_by_slp, planned, reclassified, reclassified_under_policy, replicated_while_there_is_room,
        replicates_under_policy, shortened_in_place, shorter_than_locked, spans_by_now, unit_behind_group,
        unit_of_target, unlike_storage, unpaired, without_target,
    },
    slps::delete,
    storage::{put_group, put_unit},
    topology::{joins_as_partners, meets_own_pool, meets_own_port},
};

type Answering<'a> = Pin<Box<dyn Future<Output = Option<ApiError>> + Send + 'a>>;

/// How a rule is broken.
enum Break {
    /// An edit of [`GOLD`]: everything of the first replaced by the second.
    Edit(&'static str, &'static str),
    /// This stands behind it.
    More(&'static str),
    /// This SLP is applied instead.
    Slp(&'static str),
    /// The same, of a text that is made.
    Made(fn() -> String),
    /// Something else; east and west are given.
    By(for<'a> fn(&'a House, &'a House) -> Answering<'a>),
}

struct Row {
    code: &'static str,
    rule: &'static str,
    /// What the answer says of this rule, and of no other with the same code.
    says: &'static str,
    broken: Break,
}

const ROWS: &[Row] = &[
    Row {
        code: "SLP-001",
        rule: "an SLP has operations",
        says: "has no operation",
        broken: Break::Slp("name = \"table\""),
    },
    Row {
        code: "SLP-001",
        rule: "an SLP begins with a Backup or an Import",
        says: "neither Backup nor Import",
        broken: Break::Slp(DUPLICATION_FIRST),
    },
    Row {
        code: "SLP-002",
        rule: "an Import has no source",
        says: "is an Import with a source",
        broken: Break::Slp(IMPORT_WITH_SOURCE),
    },
    Row {
        code: "SLP-002",
        rule: "an SLP has one Import",
        says: "`again` is an Import that is not the first",
        broken: Break::Slp(IMPORT_TWICE),
    },
    Row {
        code: "SLP-002",
        rule: "an Import comes first",
        says: "`import` is an Import that is not the first",
        broken: Break::By(|east, _| Box::pin(import_behind_backup(east))),
    },
    Row {
        code: "SLP-003",
        rule: "Backup and Import exclude one another",
        says: "is a Backup in an SLP that has an Import",
        broken: Break::Slp(IMPORT_AND_BACKUP),
    },
    Row {
        code: "SLP-003",
        rule: "an SLP has at most four Backups",
        says: "is Backup number 5",
        broken: Break::Made(five_backups),
    },
    Row {
        code: "SLP-004",
        rule: "a Replication has a source",
        says: "`copy` has no source",
        broken: Break::Edit("source = \"backup\"\n", ""),
    },
    Row {
        code: "SLP-004",
        rule: "a source exists",
        says: "has the source `nobody`, which does not exist",
        broken: Break::Edit("source = \"backup\"", "source = \"nobody\""),
    },
    Row {
        code: "SLP-004",
        rule: "a Backup has no source",
        says: "is a Backup with a source",
        broken: Break::Edit("kind = \"backup\"", "kind = \"backup\"\nsource = \"copy\""),
    },
    Row {
        code: "SLP-004",
        rule: "a Replication feeds nothing",
        says: "has the source `copy`, a Replication",
        broken: Break::More(COPY_OF_A_REPLICA),
    },
    Row {
        code: "SLP-004",
        rule: "sources make no loop",
        says: "is, over its sources, its own source",
        broken: Break::More(LOOP),
    },
    Row {
        code: "SLP-005",
        rule: "a replication source is not a group",
        says: "replicates from storage unit group `any-a`",
        broken: Break::Edit("storage = \"default\"", "storage = \"any-a\""),
    },
    Row {
        code: "SLP-005",
        rule: "a referenced unit does not move behind a group",
        says: "which would be a group",
        broken: Break::By(|east, _| Box::pin(unit_behind_group(east))),
    },
    Row {
        code: "SLP-005",
        rule: "a replication source is not any storage",
        says: "replicates from any available storage",
        broken: Break::Edit("storage = \"default\"", "storage = \"any\""),
    },
    Row {
        code: "SLP-006",
        rule: "a pool replicates where it has a replication target",
        says: "which has no replication target",
        broken: Break::By(|east, _| Box::pin(without_target(east))),
    },
    Row {
        code: "SLP-006",
        rule: "a pool replicates to similar storage",
        says: "that is not similar: it speaks wire versions 9..=9",
        broken: Break::By(|east, _| Box::pin(unlike_storage(east))),
    },
    Row {
        code: "SLP-007",
        rule: "nothing replicates from a pool that spans",
        says: "replicates from `wide`, whose pool spans",
        broken: Break::Edit("storage = \"default\"", "storage = \"wide\""),
    },
    Row {
        code: "SLP-007",
        rule: "a backup whose pool spans by now fails before it reads",
        says: "of SLP `gold` replicates the copy of `backup`",
        broken: Break::By(|east, _| Box::pin(spans_by_now(east))),
    },
    Row {
        code: "SLP-008",
        rule: "the target is paired",
        says: "which is not paired",
        broken: Break::Edit("domain = \"west\"", "domain = \"mars\""),
    },
    Row {
        code: "SLP-008",
        rule: "the import SLP exists there",
        says: "`lead-import`, which does not exist",
        broken: Break::Edit("gold-import", "lead-import"),
    },
    Row {
        code: "SLP-008",
        rule: "the import SLP there begins with an Import",
        says: "`plain`, which in domain `west` does not import",
        broken: Break::Edit("gold-import", "plain"),
    },
    Row {
        code: "SLP-008",
        rule: "a Replication has a target",
        says: "`copy` has no target",
        broken: Break::Edit("target = { domain = \"west\", import_slp = \"gold-import\" }\n", ""),
    },
    Row {
        code: "SLP-008",
        rule: "the only target in one word is all",
        says: "has the target `some`",
        broken: Break::Edit("{ domain = \"west\", import_slp = \"gold-import\" }", "\"some\""),
    },
    Row {
        code: "SLP-008",
        rule: "the import SLP there has the unit of the target",
        says: "does not import into the storage unit `cellar`",
        broken: Break::By(|east, west| Box::pin(unit_of_target(east, west))),
    },
    Row {
        code: "SLP-008",
        rule: "an SLP that replicates has a name of less than 113",
        says: "has a name of 113",
        broken: Break::Made(|| GOLD.replace("\"table\"", &format!("\"{}\"", "x".repeat(113)))),
    },
    Row {
        code: "SLP-008",
        rule: "an import SLP has a name of less than 113",
        says: "names an import SLP of 113",
        broken: Break::Made(|| GOLD.replace("gold-import", &"x".repeat(113))),
    },
    Row {
        code: "SLP-009",
        rule: "a source of any class does not go into an import of one",
        says: "has classification `any`, `silver-import`",
        broken: Break::Edit("gold-import", "silver-import"),
    },
    Row {
        code: "SLP-009",
        rule: "two classes that are named are the same",
        says: "has classification `gold`, `silver-import`",
        broken: Break::Made(gold_into_silver),
    },
    Row {
        code: "SLP-010",
        rule: "an import SLP has an operation of target retention",
        says: "none of its operations has target retention",
        broken: Break::Slp(IMPORT_FOR_30_DAYS),
    },
    Row {
        code: "SLP-010",
        rule: "target retention belongs to imports",
        says: "in an SLP that does not begin with Import",
        broken: Break::Edit("{ fixed = \"90d\" }", "{ target = {} }"),
    },
    Row {
        code: "SLP-011",
        rule: "expire-after-copy leaves a copy here",
        says: "all its copies are in other domains",
        broken: Break::Edit("{ fixed = \"30d\" }", "\"expire-after-copy\""),
    },
    Row {
        code: "SLP-011",
        rule: "expire-after-copy has something to wait for",
        says: "but nothing copies from it",
        broken: Break::Edit("{ fixed = \"90d\" }", "\"expire-after-copy\""),
    },
    Row {
        code: "SLP-012",
        rule: "an SLP that replicates is not capacity-managed",
        says: "is capacity-managed in an SLP that replicates",
        broken: Break::Made(replicated_while_there_is_room),
    },
    Row {
        code: "SLP-012",
        rule: "every copy has a retention",
        says: "`copy` has no retention",
        broken: Break::Edit("retention = { fixed = \"90d\" }\n", ""),
    },
    Row {
        code: "SLP-012",
        rule: "a copy here has a life of its own",
        says: "has no operation in this domain with fixed or target",
        broken: Break::Slp(WHILE_THERE_IS_ROOM),
    },
    Row {
        code: "SLP-012",
        rule: "a locked copy lives as long as its volume locks",
        says: "the lock range of its volume",
        broken: Break::By(|east, _| Box::pin(shorter_than_locked(east))),
    },
    Row {
        code: "SLP-013",
        rule: "storage exists",
        says: "names the storage `nowhere`",
        broken: Break::Edit("storage = \"default\"", "storage = \"nowhere\""),
    },
    Row {
        code: "SLP-013",
        rule: "a window exists",
        says: "names the window `never`",
        broken: Break::Edit("{ fixed = \"90d\" }", "{ fixed = \"90d\" }\nwindow = \"never\""),
    },
    Row {
        code: "SLP-013",
        rule: "a window holds secondary work back",
        says: "names the window `days` for a backup",
        broken: Break::Edit("kind = \"backup\"", "kind = \"backup\"\nwindow = \"days\""),
    },
    Row {
        code: "SLP-013",
        rule: "a data classification exists",
        says: "has the data classification `gilt`",
        broken: Break::Edit("name = \"table\"", "name = \"table\"\ndata_classification = \"gilt\""),
    },
    Row {
        code: "SLP-013",
        rule: "operations have ids of their own",
        says: "has the id of an operation before it",
        broken: Break::More(SAME_ID),
    },
    Row {
        code: "SLP-013",
        rule: "a copy has storage",
        says: "`backup` has no storage",
        broken: Break::Edit("storage = \"default\"\n", ""),
    },
    Row {
        code: "SLP-013",
        rule: "a Replication has no storage here",
        says: "is a Replication with a storage unit",
        broken: Break::Edit("{ fixed = \"90d\" }", "{ fixed = \"90d\" }\nstorage = \"a\""),
    },
    Row {
        code: "SLP-013",
        rule: "a Duplication leaves its pool",
        says: "duplicates into the pool that its source lies in",
        broken: Break::More(COPY_IN_PLACE),
    },
    Row {
        code: "SLP-014",
        rule: "an SLP with an unfinished image is not deleted",
        says: "is referred to by image web01_",
        broken: Break::By(|east, _| Box::pin(async { delete(east, "gold", false).await.err() })),
    },
    Row {
        code: "SLP-014",
        rule: "an SLP that a partner's names is not deleted",
        says: "of domain `east`",
        broken: Break::By(|_, west| Box::pin(async { delete(west, "gold-import", false).await.err() })),
    },
    Row {
        code: "SLP-014",
        rule: "an SLP with an unfinished image is not reclassified",
        says: "while referred to by image web01_",
        broken: Break::By(|east, _| Box::pin(reclassified(east))),
    },
    Row {
        code: "SLP-014",
        rule: "nothing is lessened in place",
        says: "from `fixed 90d` to `fixed 10d` in place",
        broken: Break::By(|east, _| Box::pin(shortened_in_place(east))),
    },
    Row {
        code: "SLP-013",
        rule: "a client that a policy names exists",
        says: "names client `nobody`",
        broken: Break::By(|east, _| Box::pin(planned(east, "clients = [\"nobody\"]", "", ""))),
    },
    Row {
        code: "SLP-014",
        rule: "an SLP that a policy names is not deleted",
        says: "is referred to by policy `stays`",
        broken: Break::By(|east, _| Box::pin(named_by_policy(east))),
    },
    Row {
        code: "SLP-015",
        rule: "a policy has the classification of its SLP",
        says: "its SLP `silvery` has `silver`",
        broken: Break::By(|east, _| Box::pin(planned(east, WEB01, "data_classification = \"gold\"", ""))),
    },
    Row {
        code: "SLP-015",
        rule: "an SLP has the classification of its policies",
        says: "has classification `silver`, policy `stays`",
        broken: Break::By(|east, _| Box::pin(reclassified_under_policy(east))),
    },
    Row {
        code: "SLP-016",
        rule: "an SLP that replicates has no synthetic schedule",
        says: "is synthetic, and SLP `silvery` replicates",
        broken: Break::By(|east, _| Box::pin(planned(east, WEB01, "", SYNTHETIC))),
    },
    Row {
        code: "SLP-016",
        rule: "an SLP with a synthetic schedule does not replicate",
        says: "schedule `s` of policy `stays` is synthetic",
        broken: Break::By(|east, _| Box::pin(replicates_under_policy(east))),
    },
    Row {
        code: "SLP-017",
        rule: "no domain is reached twice",
        says: "reaches domain `west`, as operation 2 does",
        broken: Break::Edit(
            "[[operation]]\nid = \"copy\"",
            "[[operation]]\nid = \"all\"\nkind = \"replication\"\nsource = \"backup\"\ntarget = \"all\"\n\
             retention = { fixed = \"90d\" }\n[[operation]]\nid = \"copy\"",
        ),
    },
    Row {
        code: "TOPO-001",
        rule: "a replication target is not one's own storage",
        says: "what receives in domain `west` is pool `default`",
        broken: Break::By(|east, west| Box::pin(own_storage(east, west))),
    },
    Row {
        code: "TOPO-001",
        rule: "an SLP does not replicate to one's own storage",
        says: "goes to domain `west`, but what receives",
        broken: Break::By(|east, west| Box::pin(own_storage_by_slp(east, west))),
    },
    Row {
        code: "TOPO-001",
        rule: "a domain that receives at one's own data port is not paired with",
        says: "the data port of media server `primary`",
        broken: Break::By(|east, _| Box::pin(meets_own_port(east))),
    },
    Row {
        code: "TOPO-001",
        rule: "a domain that receives with one's own pool is not paired with",
        says: "what receives in domain `mars` is pool",
        broken: Break::By(|east, _| Box::pin(meets_own_pool(east))),
    },
    Row {
        code: "TOPO-001",
        rule: "a media server does not join that stores where a partner receives",
        says: "where domain `west` receives",
        broken: Break::By(|east, west| Box::pin(joins_as_partners(east, west))),
    },
    Row {
        code: "TRUST-001",
        rule: "an SLP does not replicate to a half-paired domain",
        says: "`north`, which is only half paired",
        broken: Break::By(|east, _| Box::pin(half_paired(east))),
    },
    Row {
        code: "TRUST-001",
        rule: "an SLP does not replicate to a domain that was unpaired",
        says: "`north`, which was unpaired",
        broken: Break::By(|east, _| Box::pin(unpaired(east))),
    },
    Row {
        code: "TRUST-003",
        rule: "an SLP does not replicate to a domain in doubt",
        says: "which is frozen because its identity is in doubt",
        broken: Break::By(|east, west| Box::pin(in_doubt(east, west))),
    },
];

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
    ask_backup(&east, &web, Path::new("/srv")).await.unwrap();
    (east, west)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rule_is_refused_with_its_code() {
    let (mut east, mut west) = scene().await;
    apply(&east, &request(GOLD.to_owned())).await.unwrap();
    let mut faults = Vec::new();
    for Row { code, rule, says, broken } in ROWS {
        let applied = async |text: String| apply(&east, &request(text)).await.err();
        let answer = match broken {
            Break::Edit(from, to) => {
                assert!(GOLD.contains(from), "{code}: {from}");
                applied(GOLD.replace(from, to)).await
            }
            Break::More(text) => applied(format!("{GOLD}{text}")).await,
            Break::Slp(text) => applied((*text).to_owned()).await,
            Break::Made(make) => applied(make()).await,
            Break::By(ask) => ask(&east, &west).await,
        };
        match answer {
            Some(error) if error.code == *code && error.message.contains(says) => {
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
