//! A pool that was put back tells again of what is known: that stays what it is.

use narrows_domain::ImageCopy;

use super::*;

/// Symptom: the log of a pool that was put back made backups of its duplicates: with the staging policy they were let go,
/// and what copied from them did not keep them any more.
#[test]
fn a_duplicate_that_is_read_of_again_is_the_same() {
    let mut primary = duplication::with_two_pools(duplication::CHAIN);
    let (id, commands) = backed_up(&mut primary, NOW);
    let Some(Command::Duplicate(order)) = commands.first() else { panic!("{commands:?}") };
    duplication::copied(&mut primary, id, order.copy, 1, NOW + 1);
    let known = ready(primary.catalog().copies(id)).unwrap().remove(1);
    let before = operations(&primary, id);
    ready(primary.pool_put_back((duplication::OTHER, 2), "a test".into(), moment(NOW + 20))).unwrap();
    let record = record(&ready(primary.catalog().image(id)).unwrap().unwrap());
    let logged = Logged::Backup { record, signed: vec![1], copy: order.copy, stored_bytes: 3 };
    let event = PoolEvent { pool: duplication::OTHER, incarnation: 2, sequence: Sequence(5), logged };
    ready(primary.handle(Event::Pool(event), moment(NOW + 21))).unwrap();
    let copy = ready(primary.catalog().copies(id)).unwrap().remove(1);
    let anew = ImageCopy { incarnation: 2, sequence: Sequence(5), ..known };
    assert_eq!((copy, operations(&primary, id)), (anew, before));
}
