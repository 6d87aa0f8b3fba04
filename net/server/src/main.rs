//! `narrowsd`: the server.
fn main() {}
