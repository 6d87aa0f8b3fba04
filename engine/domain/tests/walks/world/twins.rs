//! Servers of partners speak, and now and then a copy of one that is alive beside it.

use narrows_domain::Catalog as _;
use narrows_domain::life::Life;
use narrows_domain::partner::Trust;
use narrows_format::Timestamp;

use super::{World, now, order, ready};
use crate::invariant::Invariant;

fn life(start: u64, instance: u128) -> Life {
    Life { server: "primary".into(), incarnation: 1, start, instance }
}

/// A partner's server is heard of, or its twin, or a person decides which of the two it is.
pub(super) fn hear(world: &mut World, at: usize) {
    let other = world.dice.below(world.domains.len());
    if other == at {
        return;
    }
    world.domains[at].catalog().fail_after(None);
    let (id, start) = (world.domains[other].id(), world.domains[other].starts);
    let partner = now(world.domains[at].catalog().partner(id)).expect("a partner");
    let moment = world.moment(at);
    let is_trusted = |trust| matches!(trust, Trust::Complete | Trust::Expired);
    if partner.trust == Trust::Frozen {
        let decided = (1, Some(life(start, u128::from(start))));
        let outcome = ready(world.domains[at].primary().decide_partner(id, decided, moment));
        world.heard.retain(|(to, of, _), _| (*to, *of) != (at, other));
        world.heard.insert((at, other, start), moment.now.seconds);
        order::obey(world, at, outcome.map(|(_, commands)| commands));
        return;
    }
    let (known, paired) = (world.heard.get(&(at, other, start)).copied(), partner.paired.seconds);
    // What was heard before the pairing does not count.
    let is_twin =
        world.dice.one_in(3) && is_trusted(partner.trust) && known.is_some_and(|since| since >= paired);
    let heard = life(start, if is_twin { u128::MAX } else { u128::from(start) });
    let spoken = (heard, Timestamp { seconds: moment.now.seconds, nanos: 0 });
    let outcome = ready(world.domains[at].primary().life_heard(id, spoken, moment));
    if partner.trust != Trust::Unpaired && known.is_none_or(|since| since < paired) {
        world.heard.insert((at, other, start), moment.now.seconds);
    }
    order::obey(world, at, outcome.map(|(_, commands)| commands));
    let trust = now(world.domains[at].catalog().partner(id)).expect("a partner").trust;
    let expected = if is_twin { Trust::Frozen } else { partner.trust };
    let what = || format!("domain {other} is {trust} in domain {at}, and alive twice: {is_twin}");
    world.note(Invariant::AliveTwiceIsFrozen.holds(trust == expected, what));
}
