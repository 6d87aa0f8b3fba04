//! Real servers in this process: real keys, TLS, catalogs and pools, on loopback.
#![cfg(test)]

mod access;
mod ages;
mod alive_twice;
mod auto_import;
mod bandwidth;
mod certificates;
mod clients;
mod codes;
mod damage;
mod data;
mod expiry;
mod failing;
mod forged;
mod homecoming;
mod house;
mod imports;
mod local;
mod orders;
mod pairing;
mod partners;
mod policies;
mod pools;
mod reconcile;
mod room;
mod servers;
mod servers_damage;
mod servers_trust;
mod shown;
mod slp_codes;
mod slps;
mod storage;
mod timeline;
mod true_replicas;
mod windows;
