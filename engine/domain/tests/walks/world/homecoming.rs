//! Partners that bring back what was made elsewhere: in the end each tries it with each image.

use narrows_domain::Catalog as _;
use narrows_domain::image::ImageCopy;
use narrows_domain::import::{Arrival, Proof};
use narrows_domain::primary::Error;
use narrows_format::Timestamp;

use super::backups::record_of;
use super::{World, now, ready};
use crate::invariant::{Held, Invariant};

/// An image of a domain is let in there only while a copy of it can be read there, and then lives no longer by it.
/// Nobody in a walk asks for one.
pub(crate) fn nothing_comes_unasked(world: &mut World) -> Held {
    let made: Vec<_> = world.made.iter().map(|(image, (origin, _))| (*image, *origin)).collect();
    for (image, origin) in made {
        for at in (0..world.domains.len()).filter(|at| *at != origin) {
            let known = now(world.domains[at].catalog().image(image));
            let Some(known) = known.filter(|known| known.content.is_some()) else { continue };
            let arrival = Arrival {
                record: record_of(&known),
                signed: vec![1],
                proof: Proof::Good,
                sender: world.domains[at].id(),
                import_slp: Some(format!("from-{at}")),
                asked_expiry: None,
            };
            let copies = now(world.domains[origin].catalog().copies(image));
            let readable = copies.iter().filter(|copy| ImageCopy::is_readable(copy));
            // Never is later than any date.
            let later = |one: Option<Timestamp>, other: Option<Timestamp>| Some(one?.max(other?));
            let lives = readable.map(|copy| copy.wanted.expires).reduce(later);
            let (moment, pool) = (world.moment(origin), world.domains[origin].pool);
            let outcome = ready(world.domains[origin].primary().admit(pool, &arrival, moment));
            let is_right = match (&outcome, lives) {
                (Ok(copy), Some(expires)) => copy.expires == expires,
                (Err(Error::Refused(_)), _) => true,
                _ => false,
            };
            Invariant::NothingComesUnasked
                .holds(is_right, || format!("{image} comes home though {copies:?}: {outcome:?}"))?;
        }
    }
    Ok(())
}
