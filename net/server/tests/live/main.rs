//! Real servers in this process: real keys, TLS, catalogs and pools, on loopback.
#![cfg(test)]

mod access;
mod bandwidth;
mod codes;
mod data;
mod failing;
mod forged;
mod house;
mod pairing;
mod shown;
mod slps;
mod storage;
mod windows;
