//! Goal: a vault into which nobody can dial is backed up to, and gives back, as any other domain.
//! Method: real processes; the vault is paired while it tells an address where nobody listens, and the source keeps that one.

use std::{fs, net::TcpStream, path::Path};

use narrows_tests::{
    compare::differences,
    domains::{Domain, Setup, folder, poll},
    trees,
};

fn text(path: &Path) -> &str {
    path.to_str().expect("a test's path is UTF-8")
}

fn apply(domain: &Domain, work: &Path, slp: &str) {
    let file = work.join("slp.toml");
    fs::write(&file, slp).unwrap();
    domain.ok(&["slp", "apply", "-f", text(&file)]);
}

const IMPORT: &str = "name = \"gold-import\"\n[[operation]]\nid = \"import\"\nkind = \"import\"\nstorage = \"default\"\n\
                      retention = { target = {}, at_least = \"1d\", at_most = \"1y\" }\n";
const GOLD: &str = "name = \"gold\"\n[[operation]]\nid = \"backup\"\nkind = \"backup\"\nstorage = \"default\"\n\
                    retention = { fixed = \"30d\" }\n[[operation]]\nid = \"to-vault\"\nkind = \"replication\"\n\
                    source = \"backup\"\ntarget = { domain = \"vault\", import_slp = \"gold-import\" }\n\
                    retention = { fixed = \"90d\" }\n";

/// What a domain says of an image's replication.
fn replication(domain: &Domain, image: &str) -> serde_json::Value {
    let shown = domain.json(&["image", "show", image]);
    let operations = shown["operations"].as_array().unwrap();
    operations.iter().find(|it| it["kind"] == "replication").unwrap().clone()
}

#[test]
fn a_vault_that_nobody_can_dial_is_sent_to_and_gives_back() {
    let work = folder();
    let east = Domain::start(work.path(), "east", Setup::default());
    let mut vault = Domain::start(work.path(), "vault", Setup::default());
    vault.stop();
    vault.try_run(&[("NARROWS_ADVERTISE", "127.0.0.2")]).unwrap();
    let line = east.json(&["domain", "invite"])["line"].as_str().unwrap().to_owned();
    let said = vault.ok(&["domain", "pair", &line, "--dial-out"]);
    assert!(said.contains("east is paired"), "{said}");
    // Its own clients find it again; the source does not.
    vault.stop();
    vault.run();
    let seen = east.json(&["domain", "show", "vault"]);
    let address = seen["data_addr"].as_str().unwrap();
    assert!(address.starts_with("127.0.0.2:") && TcpStream::connect(address).is_err(), "{address} is no way");
    assert!(east.ok(&["domain", "show", "vault"]).contains("dials in"));
    assert!(east.ok(&["target", "list"]).contains("pull"));
    apply(&vault, work.path(), IMPORT);
    apply(&east, work.path(), GOLD);
    east.ok(&["client", "enroll", "web01"]);
    vault.ok(&["client", "enroll", "dr01"]);

    let source = folder();
    trees::plain(source.path(), 60, 2_000_000, 7).unwrap();
    let backup = |source: &Path| {
        let made = east.json(&["backup", "--slp", "gold", text(source)]);
        made["image"].as_str().unwrap().to_owned()
    };
    let image = backup(source.path());
    east.json(&["image", "replicate", &image, "--to-domain", "vault", "--wait"]);
    // Imported there and confirmed here.
    poll("a confirmation", || {
        let shown = east.json(&["image", "show", &image]);
        (shown["replicas"][0]["state"] == "present" && replication(&east, &image)["state"] == "complete")
            .then_some(())
    });
    let target = folder();
    let restored = vault.json(&["restore", &image, "--to", text(target.path())]);
    assert_eq!(restored["verified"], true, "{restored}");
    let lines = differences(source.path(), target.path()).unwrap();
    assert!(lines.is_empty(), "{}", lines.join("\n"));

    // While the vault is not there its image waits, and goes on with its first parked connection.
    vault.stop();
    fs::write(source.path().join("new"), b"new").unwrap();
    let second = backup(source.path());
    let waits = poll("a wait", || {
        let waits = replication(&east, &second);
        (waits["state"] == "waiting(target-down)").then_some(waits)
    });
    let why = waits["why"].as_str().unwrap();
    assert!(why.contains("`vault` dials in by itself"), "{why}");
    vault.run();
    poll("the rest", || (replication(&east, &second)["state"] == "complete").then_some(()));
}
