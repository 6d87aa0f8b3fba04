//! Real servers in this process: real keys, TLS, catalogs and pools, on loopback.
#![cfg(test)]

mod access;
mod ages;
mod bandwidth;
mod clients;
mod codes;
mod data;
mod expiry;
mod failing;
mod forged;
mod house;
mod imports;
mod orders;
mod pairing;
mod partners;
mod policies;
mod shown;
mod slp_codes;
mod slps;
mod storage;
mod timeline;
mod windows;
