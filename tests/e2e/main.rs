//! Whole-system tests: real servers, real sockets, real files, driven by `narrowsctl`.

mod demo;
mod kill;
mod machine;
mod main_job;
mod refusals;
