//! Power loss and broken links in a seeded world: the real pool and the real exchange below TLS.

mod crash;
mod model;
mod site;
