//! Goal: what is not allowed is refused with its code, by a running server.

use narrows_tests::domains::{Pair, Setup, folder};

#[test]
fn a_client_of_the_first_domain_restores_nothing_from_the_second() {
    let pair = Pair::start(&Setup::default());
    let source = folder();
    std::fs::write(source.path().join("file"), b"of the east").unwrap();
    let backup = pair.backup(source.path());
    let image = backup["image"].as_str().unwrap();
    pair.replicated(image);
    let target = folder();
    let to = target.path().to_str().unwrap();
    pair.west.refused(&["restore", image, "--to", to, "--as", "east/web01"], 5, "AIR-008");
    assert_eq!(std::fs::read_dir(to).unwrap().count(), 0, "nothing was written");
}

#[test]
fn tokens_work_once() {
    let pair = Pair::start(&Setup::default());
    let line = pair.east.json(&["domain", "invite"])["line"].as_str().unwrap().to_owned();
    let third = narrows_tests::domains::Domain::start(pair.work.path(), "north", Setup::default());
    third.ok(&["domain", "pair", &line]);
    let fourth = narrows_tests::domains::Domain::start(pair.work.path(), "south", Setup::default());
    fourth.refused(&["domain", "pair", &line], 5, "AUTH-004");
}

#[test]
fn an_slp_that_names_a_stranger_is_refused() {
    let pair = Pair::start(&Setup::default());
    let file = pair.work.path().join("stranger.toml");
    std::fs::write(
        &file,
        "name = \"s\"\n[[operation]]\nid = \"b\"\nkind = \"backup\"\nstorage = \"default\"\nretention = { fixed = \"1d\" }\n\
         [[operation]]\nid = \"r\"\nkind = \"replication\"\nsource = \"b\"\ntarget = { domain = \"nowhere\", import_slp = \"x\" }\n\
         retention = { fixed = \"1d\" }\n",
    )
    .unwrap();
    pair.east.refused(&["slp", "apply", "-f", file.to_str().unwrap()], 3, "SLP-008");
}
