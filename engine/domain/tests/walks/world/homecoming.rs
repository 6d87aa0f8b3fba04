//! Partners that bring back what was made elsewhere: in the end each tries it with each image.

use narrows_domain::image::ImageCopy;
use narrows_domain::retention::later;

use super::*;

/// An image of a domain is let in there only while a copy of it can be read there, and then lives no longer by it.
/// Nobody in a walk asks for one.
pub(crate) fn nothing_comes_unasked(world: &mut World) -> Result<(), String> {
    let made: Vec<_> = world.made.iter().map(|(image, origin)| (*image, *origin)).collect();
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
            let lives = readable.map(|copy| copy.wanted.expires).reduce(later);
            let (moment, pool) = (world.moment(origin), world.domains[origin].pool);
            match (ready(world.domains[origin].primary().admit(pool, &arrival, moment)), lives) {
                (Ok(copy), Some(expires)) if copy.expires == expires => {}
                (Err(Error::Refused(_)), _) => {}
                (outcome, _) => return Err(format!("{image} comes home though {copies:?}: {outcome:?}")),
            }
        }
    }
    Ok(())
}
