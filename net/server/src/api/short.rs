//! Replicas that partners let go earlier than they had confirmed: told as a problem, with the image, and in its timeline.

use narrows_api::{server::Finding, size::counted, text::time_out};
use narrows_catalog::Missed;
use narrows_domain::{ReplicaRecord, partner::Partner};
use narrows_format::Timestamp;

use super::problems::finding;

/// Images whose copy at the partner does not live as long as was agreed.
pub fn problem(partner: &Partner, missed: &Missed) -> Option<Finding> {
    let oldest = missed.oldest_short?;
    let name = &partner.name;
    let images = counted(missed.short, "image lives shorter", "images live shorter");
    let message = format!("{images} in domain {name} than was agreed; the oldest is of {}", time_out(oldest));
    let help = format!(
        "`narrowsctl image replicate --missing --to-domain {name}` sends {} again that can be read here; what can't may be brought back there: `image undelete`; `image accept-loss` accepts it",
        missed.short_here
    );
    Some(finding("", "expiry of replicas".to_owned(), name, message, &help))
}

/// What is said of one: until when it lives, and until when it was to.
pub fn words(replica: &ReplicaRecord, now: Timestamp) -> Option<String> {
    let expires = replica.expires.filter(|_| replica.is_short(now))?;
    let agreed = replica.agreed.map_or_else(|| "for ever".to_owned(), |at| format!("until {}", time_out(at)));
    let went = if expires <= now { "it went at" } else { "it goes at" };
    Some(format!("{went} {}, and was to live {agreed}", time_out(expires)))
}
