//! Goal: what is of other clients is read by the right `restore-any` only (AIR-008): by administrators, and by clients that
//! were granted it, until it is taken away.
//! Method: a client of a real server tries each way of reading before, while and after it has the right.

use std::collections::BTreeSet;

use narrows_api::{
    ApiError,
    audit::AuditInfo,
    backups::{RestoreGrant, RestoreRequest},
    clients::{ClientInfo, GrantRequest},
    finding::{DiffPage, FindPage},
    images::{BrowsePage, ImageInfo},
    jobs::JobInfo,
    paths,
};
use narrows_format::ImageId;
use narrows_server::limits::CLIENT_TICKETS_MAX;

use crate::{
    data::{ask_restore, back_up_directory, make_tree, restore_image, same_trees},
    house::{Caller, House},
    pairing::{apply, local_slp},
};

async fn set(house: &House, name: &str, grant: &[&str], revoke: &[&str]) -> Result<ClientInfo, ApiError> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let request = GrantRequest { grant: words(grant), revoke: words(revoke) };
    house.admin().post(&paths::CLIENT_GRANT.replace("{name}", name), &request).await
}

/// What comes of every way to read what is in an image.
async fn readings(caller: &Caller, image: &str) -> Vec<Result<(), ApiError>> {
    let at = |path: &str| path.replace("{id}", image);
    let find = format!("{}?path=*", at(paths::IMAGE_FIND));
    let diff = format!("{}?to={image}", at(paths::IMAGE_DIFF));
    let mut met = vec![
        caller.get::<BrowsePage>(&at(paths::IMAGE_BROWSE)).await.map(drop),
        caller.get::<FindPage>(&find).await.map(drop),
        caller.get::<DiffPage>(&diff).await.map(drop),
        // How commands come from names to images.
        caller.get::<Vec<ImageInfo>>(paths::IMAGES).await.map(drop),
        caller.get::<ImageInfo>(&at(paths::IMAGE)).await.map(drop),
        caller.get::<ImageInfo>(&paths::IMAGE.replace("{id}", "latest")).await.map(drop),
    ];
    for as_tar in [false, true] {
        let image = image.to_owned();
        let request = RestoreRequest { image, client: None, origin: None, at: None, as_tar };
        met.push(caller.post::<_, RestoreGrant>(paths::RESTORES, &request).await.map(drop));
    }
    met
}

/// Goal: each way of reading stands in the catalog, after a start of the server too, with who, what, of which image and when; what
/// was refused, and what needed no right, does not.
async fn all_noted(east: &House, image: ImageId, id: &str) {
    let reads = async |query: &str| {
        east.admin().get::<Vec<AuditInfo>>(&format!("{}{query}", paths::AUDIT)).await.unwrap()
    };
    let all = reads("").await;
    let seen: BTreeSet<_> =
        all.iter().map(|it| (it.who.as_str(), it.how.as_str(), it.what.as_str())).collect();
    let web = all[0].image_name.clone();
    assert!(web.starts_with("web01_") && all.iter().all(|it| it.image == image), "{all:?}");
    let with = format!("with {web}");
    let due = [
        ("client desk", "browse", "/"),
        ("client desk", "diff", with.as_str()),
        ("client desk", "find", "*"),
        ("client desk", "restore", "to client desk, by its right `restore-any`"),
    ];
    assert_eq!(seen, due.into_iter().collect(), "{all:?}");
    // A day may have ended meanwhile. A comparison is one of each of its images.
    let times = |how: &str| all.iter().filter(|it| it.how == how).map(|it| it.times).sum::<u64>();
    assert_eq!([times("browse"), times("find"), times("diff"), times("restore")], [2, 2, 4, 5]);
    let now = jiff::Timestamp::now();
    assert!(all.iter().all(|it| it.began <= it.ended && it.ended <= now), "{all:?}");
    assert!(all.is_sorted_by(|a, b| a.ended >= b.ended), "{all:?}");

    let browse = paths::IMAGE_BROWSE.replace("{id}", id);
    east.admin().get::<BrowsePage>(&format!("{browse}?path=/deep")).await.unwrap();
    let admin = reads("?who=administrator%20admin").await;
    let told: Vec<_> = admin.iter().map(|it| (it.how.as_str(), it.what.as_str(), it.times)).collect();
    assert_eq!(told, [("browse", "/deep", 1)]);
    assert_eq!(reads(&format!("?image={web}&limit=1")).await, admin);
    assert_eq!(reads(&format!("?until={}", now - jiff::SignedDuration::from_hours(1))).await, []);
    let unknown = east.admin().get::<Vec<AuditInfo>>(&format!("{}?image=nobody_1", paths::AUDIT)).await;
    assert_eq!(unknown.unwrap_err().code, "API-002");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_of_others_is_read_by_right_only() {
    let mut east = House::build("east").await;
    apply(&east, &local_slp()).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 91);
    let ((web, _), (desk, _)) = (east.enroll("web01").await, east.enroll("desk").await);
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let image = grant.image.to_string();
    let all_refused = async |east: &House| {
        for refused in readings(&east.caller(Some(&desk), None), &image).await {
            assert_eq!(refused.unwrap_err().code, "AUTH-005");
        }
    };
    all_refused(&east).await;
    assert_eq!(set(&east, "desk", &["rule"], &[]).await.unwrap_err().code, "SLP-013");
    assert_eq!(set(&east, "nobody", &["restore-any"], &[]).await.unwrap_err().code, "SLP-013");
    let mine = GrantRequest { grant: vec!["restore-any".into()], revoke: Vec::new() };
    let path = paths::CLIENT_GRANT.replace("{name}", "desk");
    let refused = east.caller(Some(&desk), None).post::<_, ClientInfo>(&path, &mine).await.unwrap_err();
    assert_eq!(refused.code, "AUTH-005", "nobody grants it to itself");

    assert_eq!(set(&east, "desk", &["restore-any"], &[]).await.unwrap().rights, ["restore-any"]);
    for restarted in [false, true] {
        if restarted {
            east.restart_with(|_| {}).await;
        }
        for met in readings(&east.caller(Some(&desk), None), &image).await {
            met.unwrap();
        }
        let all = format!("{}?kind=restore", paths::JOBS);
        let jobs: Vec<JobInfo> = east.admin().get(&all).await.unwrap();
        // The newest two; what ran before a start says that it was interrupted.
        let by_right = |it: &&JobInfo| it.why.contains("client desk, by its right `restore-any`");
        assert!(jobs.len() >= 2 && jobs[..2].iter().all(|it| by_right(&it)), "{jobs:?}");
    }
    let back = tempfile::tempdir().unwrap();
    restore_image(&east, &desk, &image, back.path()).await.unwrap();
    same_trees(files.path(), back.path());
    // It is no more than that right, and web01 has none by it.
    let desk_asks = east.caller(Some(&desk), None);
    let refused = desk_asks.get::<Vec<ClientInfo>>(paths::CLIENTS).await.unwrap_err();
    assert_eq!(refused.code, "AUTH-005");
    let refused = desk_asks.get::<Vec<AuditInfo>>(paths::AUDIT).await.unwrap_err();
    assert_eq!(refused.code, "AUTH-005");
    let browse = paths::IMAGE_BROWSE.replace("{id}", &image);
    let refused = east.caller(Some(&web), None).get::<BrowsePage>(&browse).await.unwrap_err();
    assert!(refused.code == "AUTH-005" && refused.help.contains("client grant"), "{refused}");

    all_noted(&east, grant.image, &image).await;
    let none: [String; 0] = [];
    assert_eq!(set(&east, "desk", &[], &["restore-any"]).await.unwrap().rights, none);
    all_refused(&east).await;
    east.stop().await;
}

/// Symptom: a client that asked for restores and never came took the tickets of all others, and each job that got none ran until
/// the server's next start, and was never forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_asks_and_never_comes_has_a_bound() {
    let mut east = House::build("east").await;
    apply(&east, &local_slp()).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    make_tree(files.path(), 92);
    let ((web, _), (desk, _)) = (east.enroll("web01").await, east.enroll("desk").await);
    let (grant, _) = back_up_directory(&east, &web, files.path()).await;
    let image = grant.image.to_string();
    set(&east, "desk", &["restore-any"], &[]).await.unwrap();
    let ask = async |by| ask_restore(&east, by, &image).await;
    for _ in 0..CLIENT_TICKETS_MAX {
        ask(&desk).await.unwrap();
    }
    for _ in 0..3 {
        let refused = ask(&desk).await.unwrap_err();
        assert!(refused.code == "NET-003" && refused.help.contains("begin them"), "{refused}");
    }
    let all = format!("{}?kind=restore&limit=1000", paths::JOBS);
    let jobs: Vec<JobInfo> = east.admin().get(&all).await.unwrap();
    assert_eq!(jobs.len(), CLIENT_TICKETS_MAX, "what got no ticket has no job");
    let back = tempfile::tempdir().unwrap();
    restore_image(&east, &web, &image, back.path()).await.unwrap();
    same_trees(files.path(), back.path());
    east.stop().await;
}
