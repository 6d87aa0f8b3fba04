//! A judge that never finds anything is worth nothing: each kind of difference is planted once.

use std::{
    fs::{self, File},
    os::unix::fs::{FileExt as _, PermissionsExt as _, symlink},
};

use super::*;

fn make(root: &Path) {
    fs::create_dir_all(root.join("dir/empty")).unwrap();
    fs::write(root.join("dir/file"), "content").unwrap();
    fs::write(root.join("linked"), "linked").unwrap();
    fs::hard_link(root.join("linked"), root.join("second name")).unwrap();
    fs::write(root.join("single"), "linked").unwrap();
    symlink("dir/file", root.join("soft")).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.write_all_at(b"x", 1 << 20).unwrap();
    rustix::fs::setxattr(root.join("dir/file"), "user.a", b"b", rustix::fs::XattrFlags::empty()).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000, 7);
    for path in ["dir/file", "linked", "single", "sparse", "dir/empty", "dir", ""] {
        File::open(root.join(path)).unwrap().set_modified(time).unwrap();
    }
    let time = rustix::fs::Timespec { tv_sec: 5, tv_nsec: 5 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, root.join("soft"), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

#[test]
fn each_kind_of_difference_is_found() {
    type Spoil = fn(&Path);
    let spoils: [(&str, Spoil); 11] = [
        ("nothing", |_| ()),
        ("missing", |root| fs::remove_file(root.join("dir/file")).unwrap()),
        ("too much", |root| fs::write(root.join("new"), "").unwrap()),
        ("bytes", |root| {
            File::options().write(true).open(root.join("single")).unwrap().write_all_at(b"X", 3).unwrap();
        }),
        ("hole", |root| {
            File::options()
                .write(true)
                .open(root.join("sparse"))
                .unwrap()
                .write_all_at(&[0; 4096], 0)
                .unwrap();
        }),
        ("mode", |root| {
            fs::set_permissions(root.join("dir/file"), fs::Permissions::from_mode(0o600)).unwrap();
        }),
        ("attribute", |root| rustix::fs::removexattr(root.join("dir/file"), "user.a").unwrap()),
        ("target", |root| {
            fs::remove_file(root.join("soft")).unwrap();
            symlink("elsewhere", root.join("soft")).unwrap();
        }),
        ("hard link parted", |root| {
            fs::remove_file(root.join("second name")).unwrap();
            fs::copy(root.join("linked"), root.join("second name")).unwrap();
        }),
        ("time of a directory", |root| {
            let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000, 8);
            File::open(root.join("dir/empty")).unwrap().set_modified(time).unwrap();
        }),
        ("kind", |root| {
            fs::remove_dir(root.join("dir/empty")).unwrap();
            fs::write(root.join("dir/empty"), "").unwrap();
        }),
    ];
    for (what, spoil) in spoils {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let (before, after) = (dir.path().join("before"), dir.path().join("after"));
        make(&before);
        make(&after);
        spoil(&after);
        let found = compare(&before, &after, &BTreeSet::new()).unwrap();
        assert_eq!(found.differences.is_empty(), what == "nothing", "{what}: {:?}", found.differences);
        assert_eq!(found.different == 0, what == "nothing");
    }
}

#[test]
fn what_was_skipped_is_not_missed() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let (before, after) = (dir.path().join("before"), dir.path().join("after"));
    make(&before);
    make(&after);
    let keep = fs::metadata(after.join("dir")).unwrap().modified().unwrap();
    fs::remove_file(after.join("dir/file")).unwrap();
    File::open(after.join("dir")).unwrap().set_modified(keep).unwrap();
    let skipped = BTreeSet::from([b"dir/file".to_vec()]);
    assert_eq!(compare(&before, &after, &skipped).unwrap().differences, Vec::<String>::new());
}
