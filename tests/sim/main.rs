//! Power loss and broken links in a seeded world: the real pool and the real exchange below TLS, alone and under the
//! state machine of whole domains.

#![expect(clippy::unwrap_used, reason = "a test ends by a panic")]

mod counting;
mod crash;
mod domains;
mod frames;
mod links;
mod model;
mod same_image;
mod site;
mod stalled;
