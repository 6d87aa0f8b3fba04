//! Whole-system tests: real servers, real sockets, real files, driven by `narrowsctl`.

#![expect(clippy::unwrap_used, reason = "a test ends by a panic")]

mod agent;
mod arrange;
mod commits;
mod damage;
mod demo;
mod ended;
mod fan;
mod finding;
mod kill;
mod machine;
mod main_job;
mod memory;
mod mesh;
mod orders;
mod policies;
mod refusals;
mod servers;
mod single;
mod tars;
mod tour;
mod unchanged;
mod vault;
