//! Further Backups of one policy: made from the first one's copy, as Duplications are.

use narrows_domain::event::DuplicateOrder;
use narrows_domain::image::ImageCopy;

use super::duplication::{OTHER, copied, with_two_pools};
use super::*;

const THIRD: PoolId = PoolId([34; 16]);

/// A staging copy, a duplicate of it, and a second Backup with a year of its own that goes on to the partner.
const TWO: &str = r#"
name = "gold"
[[operation]]
id = "a"
kind = "backup"
storage = "default"
retention = "expire-after-copy"
[[operation]]
id = "d"
kind = "duplication"
source = "a"
storage = "third"
retention = { fixed = "1d" }
[[operation]]
id = "b"
kind = "backup"
storage = "other"
retention = { fixed = "1y" }
[[operation]]
id = "to-there"
kind = "replication"
source = "b"
target = { domain = "there", import_slp = "gold-import" }
retention = { fixed = "90d" }
"#;

fn with_three_pools(slp: &str) -> Primary<MemoryCatalog> {
    let mut primary = with_two_pools(slp);
    let changes = [
        Change::Pool(Pool { id: THIRD, name: "third".into(), ..pool() }),
        Change::StorageUnit(StorageUnit { name: "third".into(), pool: THIRD, jobs_max: None }),
    ];
    ready(primary.put(&changes)).unwrap();
    primary
}

fn ordered(commands: &[Command]) -> Vec<DuplicateOrder> {
    let order = |command: &Command| match command {
        Command::Duplicate(order) => order.clone(),
        other => panic!("{other:?}"),
    };
    commands.iter().map(order).collect()
}

fn copy_in(primary: &Primary<MemoryCatalog>, id: ImageId, pool: PoolId) -> ImageCopy {
    let copies = ready(primary.catalog().copies(id)).unwrap();
    copies.into_iter().find(|copy| copy.pool == pool).unwrap()
}

fn in_pool(primary: &mut Primary<MemoryCatalog>, id: ImageId, order: &DuplicateOrder) -> Vec<Command> {
    let image = ready(primary.catalog().image(id)).unwrap().unwrap();
    let logged =
        Logged::Backup { record: record(&image), signed: vec![1], copy: order.copy, stored_bytes: 3 };
    let event = PoolEvent { pool: order.target, incarnation: 1, sequence: Sequence(1), logged };
    ready(primary.handle(Event::Pool(event), moment(NOW + 1))).unwrap()
}

/// Goal: every Backup of a policy has its copy and what copies from that, and the first one waits for them.
#[test]
fn further_backups_are_made_and_what_follows_from_them() {
    let mut primary = with_three_pools(TWO);
    let (id, commands) = backed_up(&mut primary, NOW);
    let orders = ordered(&commands);
    let [to_third, to_other] = &orders[..] else { panic!("{orders:?}") };
    assert_eq!((to_third.source, to_third.target), (POOL, THIRD));
    assert_eq!((to_other.source, to_other.target), (POOL, OTHER));
    assert_eq!(to_other.copy.expires, Some(at(NOW + 365 * DAY)), "the year that was asked for");

    assert_eq!(in_pool(&mut primary, id, to_third), []);
    let because = kept(&primary, id, NOW + 2);
    assert!(because.iter().any(|it| it.contains("operation `b` is in-process")), "{because:?}");
    let commands = in_pool(&mut primary, id, to_other);
    let replicated = commands.iter().find_map(|command| match command {
        Command::Replicate(order) => Some(order.pool),
        _ => None,
    });
    assert_eq!(replicated, Some(OTHER), "{commands:?}");
    assert_eq!(
        copy_in(&primary, id, POOL).wanted.expires,
        Some(at(NOW + 1)),
        "all that copy from it are there"
    );
    let copy = copy_in(&primary, id, OTHER);
    assert_eq!((&copy.operation[..], copy.wanted.expires), ("b", Some(at(NOW + 365 * DAY))));
    let states: Vec<_> = operations(&primary, id).iter().map(|it| it.state.to_string()).collect();
    assert_eq!(states, ["complete", "complete", "complete", "in-process"]);
}

/// Goal: a copy of whose commit the other pool's log tells first is known as what it is.
#[test]
fn a_further_backup_that_is_read_before_the_first_is_one() {
    let mut primary = with_three_pools(TWO);
    let begun = ready(primary.begin_backup(&ask(), moment(NOW))).unwrap();
    let id = begun.image.id;
    let abandoned = narrows_domain::Image { state: ImageState::Gone, ..begun.image.clone() };
    ready(primary.put(&[Change::Image(abandoned)])).unwrap();
    let copy = CopyState { expires: Some(at(NOW + 365 * DAY)), locked_until: None, held: false };
    let commands = copied(&mut primary, id, copy, 1, NOW + 1);
    assert!(matches!(&commands[..], [Command::Replicate(_)]), "{commands:?}");
    assert_eq!(copy_in(&primary, id, OTHER).operation, "b");
}

/// Goal: who cancels a backup hears of all that will never exist.
#[test]
fn what_will_never_exist_is_said_of_further_backups_too() {
    let mut primary = with_three_pools(TWO);
    let begun = ready(primary.begin_backup(&ask(), moment(NOW))).unwrap();
    let (never, _) = ready(primary.cancel_image(begun.image.id, None, moment(NOW + 1))).unwrap();
    let named: Vec<_> = never.iter().map(|it| it.operation.as_str()).collect();
    assert_eq!(named, ["a", "d", "b", "to-there"]);
}

/// Goal: an image of a server that left further Backups out gets them, before the copy that they are made of goes.
#[test]
fn what_an_older_server_left_out_is_made_up_for() {
    let first = TWO.split("[[operation]]\nid = \"d\"").next().unwrap();
    let first = first.replace("\"expire-after-copy\"", "{ fixed = \"30d\" }");
    let mut primary = with_three_pools(&first);
    let (id, commands) = backed_up(&mut primary, NOW);
    assert_eq!(commands, []);
    let both = TWO.replace("\"expire-after-copy\"", "{ fixed = \"30d\" }");
    let slp = parse(&both, Format::Toml).unwrap();
    let version = SlpVersion { slp, version: 1, made: at(NOW), targets: vec![], verified: true };
    ready(primary.put(&[Change::Slp(version)])).unwrap();

    let end = NOW + 30 * DAY;
    let commands = ready(primary.handle(Event::Tick, moment(end))).unwrap();
    let targets: Vec<_> = ordered(&commands).iter().map(|order| order.target).collect();
    assert_eq!(targets, [THIRD, OTHER]);
    let made = operations(&primary, id);
    let commands = ready(primary.handle(Event::Tick, moment(end + 7 * 3600))).unwrap();
    assert_eq!((commands, operations(&primary, id)), (Vec::new(), made), "once");
}

/// SLP-013: no unit moves to where a further Backup would copy into the pool that it copies from.
#[test]
fn units_of_two_backups_do_not_meet_in_one_pool() {
    let mut primary = with_three_pools(TWO);
    let moved = StorageUnit { name: "other".into(), pool: POOL, jobs_max: None };
    assert_eq!(code(ready(primary.put_unit(moved, moment(NOW)))), "SLP-013");
}
