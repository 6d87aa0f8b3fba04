//! What people order about many images, about imports and about partners.

use narrows_domain::Settings;
use narrows_domain::primary::{Backfill, Doing, PartnerOrder};

use super::*;

/// Backups alone: nothing goes anywhere by itself.
const LOCAL: &str = r#"
name = "gold"
[[operation]]
id = "backup"
kind = "backup"
storage = "default"
retention = { fixed = "30d" }
"#;

fn backfill(
    primary: &mut Primary<MemoryCatalog>,
    id: ImageId,
    doing: Doing,
    seconds: i64,
) -> (Backfill, usize) {
    let to = (THERE, Some("gold-import".to_owned()));
    let (counts, commands) = ready(primary.backfill(&[id], to, doing, moment(seconds))).unwrap();
    (counts, commands.len())
}

/// Goal: an image is sent once, whatever is asked how often, and what is left alone is counted for its reason.
#[test]
fn a_backfill_sends_what_is_absent_and_nothing_else() {
    let mut primary = primary(LOCAL);
    let (id, _) = backed_up(&mut primary, NOW);
    assert_eq!(backfill(&mut primary, id, Doing::Count, NOW + 1).0.sent, 1);
    assert_eq!(operations(&primary, id).len(), 1, "it was only counted");
    let to = (THERE, None);
    let (counts, commands) = ready(primary.backfill(&[id], to, Doing::Send, moment(NOW + 2))).unwrap();
    let order = sent(&commands);
    assert_eq!(
        (counts.sent, order.expires),
        (1, Some(at(NOW + 30 * DAY))),
        "it lives as long as it does here"
    );
    let under_way = Backfill { under_way: 1, ..Backfill::default() };
    assert_eq!(backfill(&mut primary, id, Doing::Send, NOW + 3), (under_way, 0));
    acknowledge(&mut primary, &order, NOW + 4);
    assert_eq!(
        backfill(&mut primary, id, Doing::Send, NOW + 5),
        (under_way, 0),
        "its import is not confirmed"
    );
    report(&mut primary, id, 1, Outcome::Imported { expires: None, note: None }, NOW + 6);
    let present = Backfill { present: 1, ..Backfill::default() };
    assert_eq!(backfill(&mut primary, id, Doing::Send, NOW + 7), (present, 0));

    // Another pool receives there: what was there is missing, and goes again though its operation is complete.
    let other = ReceivePool { pool: PoolId([8; 16]), incarnation: 1 };
    let up = Event::PartnerUp { partner: THERE, receive_pool: Some(other), pools: Vec::new(), skew_ms: None };
    ready(primary.handle(up, moment(NOW + 8))).unwrap();
    assert_eq!(ready(primary.catalog().missing(THERE, at(NOW + 9), 9)).unwrap(), [id]);
    let (counts, commands) = backfill(&mut primary, id, Doing::Send, NOW + 9);
    assert_eq!((counts.sent, commands), (1, 1));
}

#[test]
fn a_backfill_leaves_what_would_not_be_taken_over() {
    let mut primary = primary(LOCAL);
    let (id, _) = backed_up(&mut primary, NOW);
    let expired = Backfill { expired: 1, ..Backfill::default() };
    assert_eq!(backfill(&mut primary, id, Doing::Send, NOW + 31 * DAY), (expired, 0));
    let mut image = ready(primary.catalog().image(id)).unwrap().unwrap();
    if let Some(content) = &mut image.content {
        content.flags.spans = true;
    }
    ready(primary.put(&[Change::Image(image.clone())])).unwrap();
    let unfit = Backfill { unfit: 1, ..Backfill::default() };
    assert_eq!(backfill(&mut primary, id, Doing::Send, NOW + 1), (unfit, 0), "AIR-010");
    image.origin = THERE;
    ready(primary.put(&[Change::Image(image)])).unwrap();
    let own = Backfill { own: 1, ..Backfill::default() };
    assert_eq!(backfill(&mut primary, id, Doing::Send, NOW + 1), (own, 0));
    let mut partner = ready(primary.catalog().partner(THERE)).unwrap().unwrap();
    partner.trust = Trust::Unpaired;
    ready(primary.put(&[Change::Partner(partner)])).unwrap();
    let to = (THERE, None);
    assert_eq!(code(ready(primary.backfill(&[id], to, Doing::Send, moment(NOW)))), "TRUST-001");
}

const NEVER: CopyState = CopyState { expires: None, locked_until: None, held: false };

/// Goal: what is here is imported when a person asks, also after it was given up, and the sender hears of it.
#[test]
fn an_import_is_tried_again_when_asked() {
    let mut primary = primary(&IMPORT.replace("\"gold\"", "\"other\"")).with_settings(Settings {
        failed_import_keep: std::time::Duration::from_mins(1),
        ..Settings::default()
    });
    let logged = Logged::Arrival { arrival: arrival(), copy: NEVER, stored_bytes: 7 };
    let event = PoolEvent { pool: POOL, incarnation: 1, sequence: Sequence(1), logged };
    ready(primary.handle(Event::Pool(event), moment(NOW))).unwrap();
    let id = arrival().record.image;
    let states = |imports: Vec<Import>| imports.into_iter().map(|it| it.state).collect::<Vec<_>>();
    let (tried, commands) = ready(primary.retry_imports(id, Proof::Good, moment(NOW + 1))).unwrap();
    assert_eq!((states(tried), commands.len()), (vec![ImportState::Failed { keep_until: at(NOW + 60) }], 0));
    ready(primary.handle(Event::Tick, moment(NOW + 60))).unwrap();
    // The policy comes without anybody being told of it.
    let slp = parse(IMPORT, Format::Toml).unwrap();
    let version = SlpVersion { slp, version: 1, made: at(NOW), targets: vec![], verified: true };
    ready(primary.put(&[Change::Slp(version)])).unwrap();
    let (tried, commands) = ready(primary.retry_imports(id, Proof::Good, moment(NOW + 61))).unwrap();
    assert_eq!(states(tried), [ImportState::Imported]);
    assert!(matches!(&commands[..], [Command::Report { .. }]), "{commands:?}");
    assert_eq!(
        code(ready(primary.retry_imports(id, Proof::Good, moment(NOW + 62)))),
        "SLP-013",
        "it is done"
    );
    assert_eq!(
        code(ready(primary.retry_imports(ImageId([0xee; 16]), Proof::Good, moment(NOW + 62)))),
        "SLP-013"
    );
}

/// Goal: one order about a partner leaves everything else of it as it is.
#[test]
fn an_order_about_a_partner_changes_one_thing() {
    let mut primary = primary(GOLD);
    let order =
        |primary: &mut Primary<MemoryCatalog>, order| ready(primary.order_partner(THERE, order, moment(NOW)));
    let before = ready(primary.catalog().partner(THERE)).unwrap().unwrap();
    let (limited, _) = order(&mut primary, PartnerOrder::Limit(9)).unwrap();
    assert_eq!(limited, Partner { running_max: 9, ..before });
    let (paused, _) = order(&mut primary, PartnerOrder::Pause).unwrap();
    assert_eq!(paused, Partner { paused: true, ..limited.clone() });
    let (id, commands) = backed_up(&mut primary, NOW);
    assert_eq!((commands.len(), operations(&primary, id)[1].state.to_string()), (0, "waiting(pause)".into()));
    let (resumed, commands) = order(&mut primary, PartnerOrder::Resume).unwrap();
    assert_eq!((resumed, sent(&commands).operation.image), (limited, id));
    assert_eq!(code(order(&mut primary, PartnerOrder::Limit(0))), "SLP-013");
}

/// Goal: only what a partner made or sent goes back to it, and only if that was granted.
#[test]
fn a_recall_needs_its_grant_and_ones_own_image() {
    let mut primary = primary(LOCAL);
    let (id, _) = backed_up(&mut primary, NOW);
    let recall = |primary: &mut Primary<MemoryCatalog>| {
        ready(primary.recalled(id, (THERE, Some("gold-import".into())), moment(NOW + 1)))
    };
    assert_eq!(code(recall(&mut primary)), "AUTH-005", "neither granted nor its own");
    let given = vec!["recall".to_owned()];
    let grant = PartnerOrder::Grant { given, taken: vec![] };
    ready(primary.order_partner(THERE, grant, moment(NOW))).unwrap();
    assert_eq!(code(recall(&mut primary)), "AUTH-005", "not its own");
    let mut image = ready(primary.catalog().image(id)).unwrap().unwrap();
    image.sender = Some(THERE);
    ready(primary.put(&[Change::Image(image)])).unwrap();
    let (operation, commands) = recall(&mut primary).unwrap();
    assert_eq!(
        (operation.state, sent(&commands).import_slp.as_deref()),
        (OperationState::InProcess, Some("gold-import"))
    );
}

/// A partner's recall is no person's order: what was paused here stays paused.
#[test]
fn a_recall_does_not_resume_what_was_paused() {
    let mut primary = primary(GOLD);
    let (id, _) = backed_up(&mut primary, NOW);
    let order = narrows_domain::primary::PartnerOrder::Grant { given: vec!["recall".into()], taken: vec![] };
    ready(primary.order_partner(THERE, order, moment(NOW))).unwrap();
    let mut image = ready(primary.catalog().image(id)).unwrap().unwrap();
    image.sender = Some(THERE);
    ready(primary.put(&[Change::Image(image)])).unwrap();
    ready(primary.pause_image(id, moment(NOW + 1))).unwrap();
    assert_eq!(operations(&primary, id)[1].state, OperationState::Paused);
    let (operation, commands) = ready(primary.recalled(id, (THERE, None), moment(NOW + 2))).unwrap();
    assert_eq!((operation.state, commands), (OperationState::Paused, vec![]));
    // A person's order is one.
    let (_, commands) = ready(primary.replicate(id, (THERE, None), moment(NOW + 3))).unwrap();
    sent(&commands);
}
