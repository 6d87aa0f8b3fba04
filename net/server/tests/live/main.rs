//! Real servers in this process: real keys, TLS, catalogs and pools, on loopback.
#![cfg(test)]

mod access;
mod data;
mod house;
mod pairing;
