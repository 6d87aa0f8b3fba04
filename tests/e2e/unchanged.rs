//! Goal: files whose status is unchanged are not read, whatever else is; and what the cache says is never believed against
//! the target or, when asked, against the disk.
//! Method: real backups of a real tree; the cache is read, changed and lost between them.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use narrows_format::{
    Tag, Timestamp,
    cursor::Cursor,
    file_cache::{BLOCK_HEAD_BYTES, BlockHead, HEAD_BYTES, Leaf, seal_block},
};
use narrows_tests::{
    compare::differences,
    domains::{Pair, Setup, folder, last_json},
    trees::{self, Seeded},
};
use serde_json::Value;

const FILES: u64 = 300;

/// One file is read by itself, so it counts on its own.
const ALL: u64 = FILES + 1;

struct Site {
    pair: Pair,
    source: tempfile::TempDir,
}

fn unchanged(backup: &Value) -> u64 {
    backup["unchanged_files"].as_u64().unwrap()
}

impl Site {
    /// A tree that was backed up, with times old enough to be relied on.
    fn start() -> Self {
        let (pair, source) = (Pair::start(&Setup::default()), folder());
        trees::plain(source.path(), FILES, 9_000, 5).unwrap();
        fs::write(source.path().join("big"), Seeded::new(6).bytes(3 << 20)).unwrap();
        let site = Self { pair, source };
        assert_eq!(unchanged(&site.backup()), 0, "there is nothing to compare with");
        site.settle();
        site
    }

    /// Backs up until every file has been still for long enough.
    fn settle(&self) {
        for _ in 0..1000 {
            if unchanged(&self.backup()) == ALL {
                return;
            }
        }
        panic!("files that do not change are read again and again");
    }

    fn backup(&self) -> Value {
        self.pair.backup(self.source.path())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.source.path().join(name)
    }

    /// Other content of the same size, with the old mtime.
    fn overwrite_slyly(&self, name: &str) {
        let path = self.file(name);
        let before = fs::metadata(&path).unwrap();
        let size = usize::try_from(before.size()).unwrap();
        fs::write(&path, Seeded::new(77).bytes(size)).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(before.modified().unwrap()).unwrap();
    }

    fn comes_back(&self, backup: &Value) {
        let target = folder();
        let to = target.path().to_str().unwrap();
        self.pair.east.ok(&["restore", backup["image"].as_str().unwrap(), "--to", to]);
        let lines = differences(self.source.path(), target.path()).unwrap();
        assert!(lines.is_empty(), "{}", lines.join("\n"));
    }

    fn cache(&self) -> PathBuf {
        let mut path = self.pair.east.cache().join("narrows/files");
        while path.is_dir() {
            let mut entries: Vec<_> =
                fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
            entries.retain(|path| path.extension().is_none());
            assert_eq!(entries.len(), 1, "{entries:?}");
            path = entries.remove(0);
        }
        path
    }

    /// Changes each leaf of the cache.
    fn change_cache(&self, mut change: impl FnMut(&mut Leaf)) {
        let bytes = fs::read(self.cache()).unwrap();
        let (head, mut rest) = bytes.split_at(HEAD_BYTES);
        let mut out = head.to_vec();
        while !rest.is_empty() {
            let (head, behind) = rest.split_at(BLOCK_HEAD_BYTES);
            let head = BlockHead::decode(head).unwrap();
            let (payload, behind) = behind.split_at(head.payload_bytes());
            let plain = head.open(payload).unwrap();
            let (mut cursor, mut again) = (Cursor::new(&plain), Vec::new());
            while cursor.left() > 0 {
                let mut leaf = Leaf::decode(&mut cursor).unwrap();
                change(&mut leaf);
                leaf.encode(&mut again);
            }
            out.extend(seal_block(&again));
            rest = behind;
        }
        fs::write(self.cache(), out).unwrap();
    }
}

#[test]
fn what_is_unchanged_is_not_read() {
    let site = Site::start();
    let again = site.backup();
    assert_eq!(unchanged(&again), ALL);
    assert_eq!(again["unchanged_bytes"], again["logical_bytes"]);
    assert_eq!((&again["new_bytes"], &again["sent_bytes"]), (&0.into(), &0.into()));
    site.comes_back(&again);

    site.overwrite_slyly("d0/e0/f0");
    fs::write(site.file("new"), b"new").unwrap();
    fs::rename(site.file("d1/e1/f1"), site.file("d1/e1/renamed")).unwrap();
    let changed = site.backup();
    assert_eq!(unchanged(&changed), ALL - 2, "renaming moves the ctime too");
    site.comes_back(&changed);

    // A cache that is lost costs one backup that reads everything, and sends nothing.
    fs::remove_dir_all(site.pair.east.cache()).unwrap();
    let lost = site.backup();
    assert_eq!((unchanged(&lost), &lost["sent_bytes"]), (0, &0.into()));
    site.comes_back(&lost);
}

#[test]
fn damage_is_found_when_asked() {
    let site = Site::start();
    site.overwrite_slyly("d0/e0/f0");
    let status = fs::metadata(site.file("d0/e0/f0")).unwrap();
    let nanos = u32::try_from(status.ctime_nsec()).unwrap();
    let ctime = Timestamp { seconds: status.ctime(), nanos };
    // As if the disk had done it: the status is what the cache remembers, and long ago.
    site.change_cache(|leaf| {
        for (entry, stamp) in leaf.entries.iter().zip(&mut leaf.stamps) {
            if entry.path == b"d0/e0/f0" {
                stamp.as_mut().unwrap().ctime = ctime;
            }
        }
    });
    while UNIX_EPOCH.elapsed().unwrap().as_secs() <= ctime.seconds.unsigned_abs() + 2 {
        site.pair.east.ok(&["status"]);
    }
    let output = site.pair.east.ctl(&backup_of(site.source.path(), &["--verify-unchanged"]));
    let summary = last_json(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(output.status.code(), Some(6), "{summary}");
    assert_eq!((&summary["damaged"], &summary["partial"]), (&1.into(), &false.into()));
    assert_eq!(summary["damaged_files"][0]["path"], "d0/e0/f0");
    assert_eq!(summary["unchanged_files"], 0, "all was read");
    site.comes_back(&summary);
}

fn backup_of<'a>(source: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    [&["backup", "--slp", "gold", "--json", source.to_str().unwrap()], more].concat()
}

/// Goal: when the target has not what only the cache knows, the files are read, and the backup comes to its end.
#[test]
fn what_the_target_lacks_is_read() {
    let site = Site::start();
    // Without the right tag, having is lacking.
    site.change_cache(|leaf| leaf.tags.iter_mut().for_each(|tag| *tag = Tag([9; 16])));
    fs::write(site.file("d0/e0/f0"), b"so that its leaf has to be sent").unwrap();
    fs::write(site.file("new"), Seeded::new(1).bytes(100_000)).unwrap();
    let output = site.pair.east.ctl(&backup_of(site.source.path(), &[]));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    let backup = last_json(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(unchanged(&backup), 0, "the second attempt trusts no cache: {text}");
    assert_eq!(backup["resent_bytes"], 0, "what the first one sent was kept");
    site.comes_back(&backup);
    // And the cache it leaves behind is a good one.
    fs::remove_file(site.file("new")).unwrap();
    site.settle();
}
