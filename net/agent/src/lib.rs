//! An enrolled client towards its domain: where to talk to and as whom, how to ask, how to back up; and the agent that
//! runs what policies schedule.
//!
//! `narrowsctl` and `narrowsd client` share it. Both back up by [`backup::back_up`]: what a policy schedules and what a
//! person types differ in nothing but who watches. It decides nothing about lifecycles: the primary server does.
#![forbid(unsafe_code)]

pub mod failure;

pub mod api;
pub mod context;
pub mod renewal;

pub mod attempts;
pub mod backup;

pub mod hooks;

pub mod agent;
