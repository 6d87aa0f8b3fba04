//! The missing-segment protocol as a whole: live sources and targets over model pools, in simulation.

mod model;

mod client_to_pool;
mod opening;
mod pool_to_pool;
mod quiet;
mod restore;
mod unread;
