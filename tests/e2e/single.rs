//! Goal: streams and devices are backed up, replicated and restored like files, and cost what changed.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use narrows_tests::{
    domains::{Domain, Pair, Setup, folder, last_json},
    trees::Seeded,
};
use serde_json::Value;

/// Runs `narrowsctl` with these bytes on its standard input.
fn fed(domain: &Domain, words: &[&str], bytes: &[u8]) -> Output {
    let mut command = domain.command(words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let feeder = std::thread::spawn(move || input.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn back_up(domain: &Domain, name: &str, bytes: &[u8]) -> Value {
    let output = fed(domain, &["backup", "--slp", "gold", "--stdin", "--name", name, "--json"], bytes);
    last_json(&String::from_utf8(output.stdout).unwrap())
}

/// What `restore --to -` gives, and the summary that it prints aside.
fn streamed(domain: &Domain, words: &[&str]) -> (Vec<u8>, Value) {
    let words = [&["restore", "--to", "-", "--json"], words].concat();
    let output = domain.ctl(&words);
    let aside = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{words:?}: {aside}");
    (output.stdout, last_json(&aside))
}

fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("{field} is missing: {value}"))
}

fn id(backup: &Value) -> &str {
    backup["image"].as_str().unwrap()
}

#[test]
fn streams_are_backed_up_and_restored() {
    let pair = Pair::start(&Setup::default());
    let mut bytes =
        [Seeded::new(4).text(30_000_000), vec![0; 3_000_000], Seeded::new(5).text(100_000)].concat();
    let first = back_up(&pair.east, "db.sql", &bytes);
    assert_eq!((number(&first, "files"), number(&first, "logical_bytes")), (1, bytes.len() as u64));
    pair.replicated(id(&first));

    let same = back_up(&pair.east, "db.sql", &bytes);
    let (new, sent) = (number(&same, "new_bytes"), number(&same, "sent_bytes"));
    assert!(new == 0 && sent < 4096, "an unchanged stream sent {sent} bytes, {new} of them new");
    bytes.splice(17_000_000..17_000_000, *b"inserted");
    let changed = back_up(&pair.east, "db.sql", &bytes);
    let sent = number(&changed, "sent_bytes");
    assert!(sent < 400_000, "eight more bytes sent {sent}");
    pair.replicated(id(&changed));

    for domain in [&pair.east, &pair.west] {
        let (whole, summary) = streamed(domain, &[id(&changed)]);
        assert!(whole == bytes, "in {}", domain.name);
        assert_eq!(
            (summary["verified"].clone(), number(&summary, "bytes")),
            (true.into(), bytes.len() as u64)
        );
    }
    let target = folder();
    pair.west.ok(&["restore", id(&changed), "--to", target.path().to_str().unwrap()]);
    assert!(fs::read(target.path().join("db.sql")).unwrap() == bytes);

    let nothing = back_up(&pair.east, "nothing", b"");
    assert_eq!((number(&nothing, "files"), number(&nothing, "logical_bytes")), (1, 0));
    assert_eq!(streamed(&pair.east, &[id(&nothing)]).0, b"");
}

/// Goal: one file of many goes to a stream under any of its names, whoever reads it and however slowly; a reader that goes
/// away is a clean error.
#[test]
fn one_file_goes_to_a_stream() {
    let pair = Pair::start(&Setup::default());
    let source = folder();
    fs::create_dir(source.path().join("sub")).unwrap();
    // More than may be under way at once.
    let bytes = Seeded::new(6).bytes(100 << 20);
    fs::write(source.path().join("sub/file"), &bytes).unwrap();
    fs::hard_link(source.path().join("sub/file"), source.path().join("zulu")).unwrap();
    fs::write(source.path().join("other"), b"other").unwrap();
    let backup = pair.backup(source.path());
    let image = id(&backup);
    for path in ["sub/file", "zulu"] {
        assert!(streamed(&pair.east, &[image, path]).0 == bytes, "{path}");
    }
    assert_eq!(streamed(&pair.east, &[image, "other"]).0, b"other");

    let to_stream = |words: &[&'static str]| [&["restore", "--to", "-", image], words].concat();
    pair.east.refused(&to_stream(&[]), 2, "LOCAL-003");
    pair.east.refused(&to_stream(&["sub"]), 2, "LOCAL-003");
    pair.east.refused(&to_stream(&["other", "zulu"]), 2, "LOCAL-003");
    let gone = pair.east.ctl(&to_stream(&["nowhere", "--json"]));
    assert!(!gone.status.success());
    assert_eq!(gone.stdout, b"", "standard output is the file's alone");

    let mut command = pair.east.command(&to_stream(&["sub/file"]));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut some = vec![0; 1 << 20];
    output.read_exact(&mut some).unwrap();
    assert!(some == bytes[..1 << 20]);
    drop(output);
    let ended = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{text}");
    assert!(text.contains("error[LOCAL-001]") && text.contains("Broken pipe"), "{text}");
}

/// A block device made of a file where we may have one; else that file.
struct Device {
    path: PathBuf,
    is_loop: bool,
}

impl Device {
    fn new(file: &Path) -> Self {
        let made = Command::new("losetup").args(["--find", "--show"]).arg(file).output();
        match made {
            Ok(made) if made.status.success() => {
                let path = String::from_utf8(made.stdout).unwrap().trim().into();
                Self { path, is_loop: true }
            }
            _ => Self { path: file.into(), is_loop: false },
        }
    }

    fn text(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if self.is_loop {
            Command::new("losetup").arg("--detach").arg(&self.path).status().ok();
        }
    }
}

#[test]
fn devices_are_backed_up_and_restored() {
    const SIZE: usize = 48 << 20;
    let pair = Pair::start(&Setup::default());
    let (disk, fresh) = (pair.work.path().join("disk.img"), pair.work.path().join("fresh.img"));
    let mut bytes = vec![0; SIZE];
    bytes[5_000_000..15_000_000].copy_from_slice(&Seeded::new(7).bytes(10_000_000));
    bytes[SIZE - 100..].fill(9);
    fs::write(&disk, &bytes).unwrap();
    let device = Device::new(&disk);
    assert_eq!(fs::metadata(&device.path).unwrap().file_type().is_block_device(), device.is_loop);
    let backup = |device: &Device| pair.east.json(&["backup", "--slp", "gold", "--device", device.text()]);
    let first = backup(&device);
    assert_eq!((number(&first, "files"), number(&first, "logical_bytes")), (1, SIZE as u64));
    assert!(number(&first, "sent_bytes") < 11_000_000, "zeros were sent: {first}");
    let same = backup(&device);
    assert!(number(&same, "sent_bytes") < 4096, "an unchanged device sent {same}");

    let target = folder();
    pair.east.ok(&["restore", id(&first), "--to", target.path().to_str().unwrap()]);
    let name = device.path.file_name().unwrap();
    assert!(fs::read(target.path().join(name)).unwrap() == bytes);

    fs::write(&fresh, vec![0xee; SIZE]).unwrap();
    let other = Device::new(&fresh);
    let onto =
        |words: &[&'static str]| [&["restore", id(&first), "--to-device", other.text()], words].concat();
    pair.east.refused(&onto(&[]), 2, "LOCAL-003");
    pair.east.ok(&onto(&["--dry-run"]));
    assert!(fs::read(&other.path).unwrap().iter().all(|byte| *byte == 0xee), "nothing was written yet");
    let summary = pair.east.json(&onto(&["--yes"]));
    assert_eq!((number(&summary, "bytes"), summary["verified"].clone()), (SIZE as u64, true.into()));
    assert!(fs::read(&other.path).unwrap() == bytes);
    if other.is_loop {
        // What a mounted file system does: it holds the device for itself.
        let exclusive = i32::try_from(rustix::fs::OFlags::EXCL.bits()).unwrap();
        let held = fs::File::options().read(true).custom_flags(exclusive).open(&other.path).unwrap();
        let text = pair.east.refused(&onto(&["--yes"]), 1, "LOCAL-001");
        assert!(text.contains("in use"), "{text}");
        drop(held);
    }

    let small = pair.work.path().join("small.img");
    fs::write(&small, vec![0xee; SIZE - 4096]).unwrap();
    let small = Device::new(&small);
    let words = ["restore", id(&first), "--to-device", small.text(), "--yes"];
    let text = pair.east.refused(&words, 1, "LOCAL-001");
    assert!(text.contains("too small"), "{text}");
    assert!(fs::read(&small.path).unwrap().iter().all(|byte| *byte == 0xee));
}
