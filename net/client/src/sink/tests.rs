//! Goal: who may write to where a restore goes gets nothing that is not theirs, and nothing is removed before what takes its
//! place is there. Method: what such a person could do between two steps is done between them.

use std::{
    ffi::OsString,
    fs,
    io::IoSlice,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    },
    path::Path,
};

use rustix::{
    fs::{CWD, FileType, Mode, XattrFlags, mknodat, setxattr},
    process::geteuid,
};

use super::{
    directories::Making,
    file::{FileJob, Progress},
    prepare::{Decision, Make, Planned, prepare},
    *,
};
use crate::limits::SINK_FILES_OPEN_MAX;

const SOMEBODY: u32 = 65_534;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/var/tmp").unwrap()
}

fn context(top: &Path, overwrite: Overwrite) -> Context {
    let beneath = Beneath::open_top(top).unwrap();
    let options = SinkOptions { overwrite, ..SinkOptions::default() };
    let now = (Timestamp { seconds: 1_600_000_000, nanos: 0 }, is_empty(beneath.top()).unwrap());
    let directories = Directories::new(beneath.clone(), options.attempts.clone(), now).unwrap();
    let (progress, files, standing) = (Arc::default(), Files::new(), PathSet::default());
    Context { top: beneath, options, progress, directories, files, standing }
}

fn metadata(uid: u32) -> SharedMetadata {
    let mtime = Timestamp { seconds: 1_600_000_000, nanos: 7 };
    SharedMetadata::new(Metadata { mode: 0o644, uid, gid: uid, mtime, xattrs: Vec::new() })
}

fn planned(path: &str, uid: u32, what: Make) -> Planned {
    let path = path.as_bytes().to_vec();
    Planned { path, metadata: metadata(uid), on_the_way: false, late: false, what }
}

fn names(folder: &Path) -> Vec<OsString> {
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

fn troubles(context: &Context) -> Vec<(Vec<u8>, TroubleKind)> {
    context.progress.listed().into_iter().map(|trouble| (trouble.path, trouble.what)).collect()
}

/// Writes a byte each to so many files that the last one is closed, and gives that one and its working name.
fn closed_file(context: &Context, top: &Path) -> (Vec<FileJob>, OsString) {
    let files: Vec<_> = (0..=SINK_FILES_OPEN_MAX)
        .map(|number| FileJob::new(format!("f{number}").as_bytes(), 2, metadata(geteuid().as_raw())))
        .collect();
    for file in &files {
        file.write(context, 0, &mut [IoSlice::new(b"a")]).unwrap();
        assert_eq!(file.settle(context, 1), Ok(Progress::Going));
    }
    let [working] = names(top).try_into().unwrap();
    (files, working)
}

/// A file of somebody else where that can be: it may have the number of one that went, and its time.
fn write_theirs(path: &Path) {
    let other = path.with_extension("other");
    fs::write(&other, "theirs").unwrap();
    if geteuid().is_root() {
        chown(&other, Some(SOMEBODY), None).unwrap();
    }
    fs::rename(other, path).unwrap();
}

#[test]
fn a_file_that_took_a_working_name_is_not_written_to() {
    let dir = folder();
    let context = context(dir.path(), Overwrite::Never);
    let (files, working) = closed_file(&context, dir.path());
    let [.., file] = files.as_slice() else { panic!("some were made") };
    let working = dir.path().join(working);
    for is_gone in [false, true] {
        if is_gone {
            fs::remove_file(dir.path().join("away")).unwrap();
            fs::remove_file(&working).unwrap();
        } else {
            fs::rename(&working, dir.path().join("away")).unwrap();
        }
        write_theirs(&working);
        let written = file.write(&context, 1, &mut [IoSlice::new(b"b")]);
        assert_eq!(written, Err(Errno::STALE), "{is_gone}");
        assert_eq!(fs::read(&working).unwrap(), b"theirs");
    }
    assert!(file.give_up(&context));
    assert_eq!(fs::read(&working).unwrap(), b"theirs", "a file of somebody else was removed");
}

#[test]
fn a_file_that_was_closed_is_gone_on_with_or_removed() {
    let dir = folder();
    let context = context(dir.path(), Overwrite::Never);
    let (files, working) = closed_file(&context, dir.path());
    let [.., before, file] = files.as_slice() else { panic!("some were made") };
    file.write(&context, 1, &mut [IoSlice::new(b"b")]).unwrap();
    assert!(matches!(file.settle(&context, 1), Ok(Progress::Whole(_))));
    let name = OsString::from(format!("f{SINK_FILES_OPEN_MAX}"));
    assert_eq!(fs::read(dir.path().join(&name)).unwrap(), b"ab");
    assert_eq!(names(dir.path()), [name]);
    drop(files.iter().map(|file| file.give_up(&context)).collect::<Vec<_>>());
    assert_ne!(working, OsString::new());
    assert!(before.has_failed());

    let again = folder();
    let context = self::context(again.path(), Overwrite::Never);
    let (files, _) = closed_file(&context, again.path());
    assert!(files.iter().all(|file| file.give_up(&context)));
    assert_eq!(names(again.path()), Vec::<OsString>::new(), "what was closed was left behind");
}

/// Version 2: user, group, mask and others, each with its permissions.
fn default_acl() -> Vec<u8> {
    let entries = [(1_u16, 7_u16), (4, 7), (16, 7), (32, 7)];
    let entries = entries
        .map(|(tag, permissions)| [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &[0xff; 4]].concat());
    [&2_u32.to_le_bytes()[..], &entries.concat()].concat()
}

#[test]
fn a_directory_that_took_the_place_of_ours_is_not_used() {
    let dir = folder();
    let context = context(dir.path(), Overwrite::Never);
    let directories = &context.directories;
    for path in ["sub", "sub/deep", "gone", "kept"] {
        assert_eq!(directories.make(path.as_bytes()), Ok(Making::Ours));
    }
    fs::rename(dir.path().join("sub"), dir.path().join("away")).unwrap();
    fs::create_dir_all(dir.path().join("sub/deep")).unwrap();
    setxattr(dir.path().join("sub"), "system.posix_acl_default", &default_acl(), XattrFlags::empty())
        .unwrap();
    fs::remove_dir(dir.path().join("gone")).unwrap();
    fs::create_dir(dir.path().join("gone")).unwrap();
    if geteuid().is_root() {
        // Else it may have the number and the time of the one that went.
        chown(dir.path().join("gone"), Some(SOMEBODY), None).unwrap();
    }
    let other = self::context(dir.path(), Overwrite::Never).directories;
    for path in ["sub", "sub/deep", "gone"] {
        directories.close_all();
        assert_eq!(directories.open(path.as_bytes()).unwrap_err(), Errno::STALE, "{path}");
        assert!(other.open(path.as_bytes()).is_ok(), "another restore finds it as it is");
    }
    directories.close_all();
    assert!(directories.open(b"kept").is_ok());
}

#[test]
fn a_directory_that_took_the_place_of_ours_gets_no_owner() {
    let dir = folder();
    let context = context(dir.path(), Overwrite::Never);
    let sub = planned("sub", 0, Make::Directory);
    assert_eq!(prepare(&context, std::slice::from_ref(&sub)), [Decision::PutOnLater]);
    let path = dir.path().join("sub");
    fs::rename(&path, dir.path().join("away")).unwrap();
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o701)).unwrap();
    put_on_late(&context, &sub);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o701);
    assert_eq!(troubles(&context), [(b"sub".to_vec(), TroubleKind::Failed(Errno::STALE))]);
}

#[test]
fn a_file_in_the_place_of_a_pipe_gets_no_owner() {
    let dir = folder();
    let above = Beneath::open_top(dir.path()).unwrap();
    let uid = geteuid().as_raw();
    let wanted = metadata(if geteuid().is_root() { SOMEBODY } else { uid }).get();
    fs::write(dir.path().join("x"), "theirs").unwrap();
    fs::hard_link(dir.path().join("x"), dir.path().join("y")).unwrap();
    mknodat(CWD, dir.path().join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let before = fs::metadata(dir.path().join("x")).unwrap();
    for kind in [FileType::Fifo, FileType::Symlink] {
        assert_eq!(wanted.put_at(above.top(), b"x", kind, None), Err(Errno::STALE));
    }
    let after = fs::metadata(dir.path().join("x")).unwrap();
    assert_eq!((after.uid(), after.ctime_nsec()), (uid, before.ctime_nsec()));

    wanted.put_at(above.top(), b"pipe", FileType::Fifo, None).unwrap();
    symlink("nowhere", dir.path().join("link")).unwrap();
    wanted.put_at(above.top(), b"link", FileType::Symlink, None).unwrap();
    for name in ["pipe", "link"] {
        let status = fs::symlink_metadata(dir.path().join(name)).unwrap();
        assert_eq!(
            (status.uid(), status.mtime(), status.mtime_nsec()),
            (wanted.uid, 1_600_000_000, 7),
            "{name}"
        );
    }
    assert_eq!(fs::metadata(dir.path().join("pipe")).unwrap().mode() & 0o7777, 0o644);
    fs::hard_link(dir.path().join("pipe"), dir.path().join("other")).unwrap();
    assert_eq!(wanted.put_at(above.top(), b"pipe", FileType::Fifo, None), Err(Errno::STALE));
}

/// Runs as somebody who is not root, in a thread of its own.
fn as_somebody(top: &Path, work: impl FnOnce() + Send + 'static) {
    let is_root = geteuid().is_root();
    if is_root {
        chown(top, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    }
    let run = move || {
        if is_root {
            let (uid, gid) = (rustix::fs::Uid::from_raw(SOMEBODY), rustix::fs::Gid::from_raw(SOMEBODY));
            rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        }
        work();
    };
    std::thread::Builder::new().spawn(run).unwrap().join().unwrap();
}

#[test]
fn what_cannot_be_replaced_stays() {
    let dir = folder();
    let top = dir.path().to_owned();
    for name in ["device", "link", "hard"] {
        fs::write(dir.path().join(name), "mine").unwrap();
    }
    fs::create_dir(dir.path().join("sub")).unwrap();
    as_somebody(dir.path(), move || {
        let context = context(&top, Overwrite::Changed);
        let device = planned("device", 0, Make::Node(FileType::CharacterDevice, 1, 3));
        // Longer than any file system takes.
        let link = planned("link", 0, Make::Symlink(vec![b'a'; 5000]));
        assert_eq!(prepare(&context, &[device, link]), [Decision::Done, Decision::Done]);
        context.standing.add(b"sub");
        // No file system links a directory.
        make_link(&context, b"hard", b"sub");
        let expected = [
            (b"device".to_vec(), TroubleKind::NeedsRoot),
            (b"link".to_vec(), TroubleKind::Failed(Errno::NAMETOOLONG)),
            (b"hard".to_vec(), TroubleKind::Failed(Errno::PERM)),
        ];
        assert_eq!(troubles(&context), expected);
    });
    for name in ["device", "link", "hard"] {
        assert_eq!(fs::read(dir.path().join(name)).unwrap_or_default(), b"mine", "{name} was removed");
    }
    assert_eq!(names(dir.path()), ["device", "hard", "link", "sub"], "a working name was left behind");
}

#[test]
fn what_differs_is_replaced_where_that_can_be() {
    let dir = folder();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("file"), "mine").unwrap();
    fs::write(at("first"), "first").unwrap();
    for name in ["empty", "link in an empty one", "full", "hard link in a full one"] {
        fs::create_dir(at(name)).unwrap();
    }
    for name in ["full/inside", "hard link in a full one/inside"] {
        fs::write(at(name), "mine").unwrap();
    }
    let context = context(dir.path(), Overwrite::Changed);
    let uid = geteuid().as_raw();
    fs::write(at("directory"), "mine").unwrap();
    let directory = planned("directory", uid, Make::Directory);
    assert_eq!(prepare(&context, std::slice::from_ref(&directory)), [Decision::PutOnLater]);
    assert!(context.directories.open(b"directory").unwrap().is_ours());
    put_on_late(&context, &directory);
    assert_eq!(fs::metadata(at("directory")).unwrap().mode() & 0o7777, 0o644);
    let link = |path| planned(path, uid, Make::Symlink(b"target".to_vec()));
    let pipe = planned("empty", uid, Make::Node(FileType::Fifo, 0, 0));
    assert_eq!(prepare(&context, &[link("file"), pipe, link("full")]), [Decision::Done; 3]);
    context.standing.add(b"first");
    make_link(&context, b"link in an empty one", b"first");
    make_link(&context, b"hard link in a full one", b"first");
    let told: Vec<_> = troubles(&context).into_iter().map(|(path, _)| path).collect();
    assert_eq!(told, [b"full".to_vec(), b"hard link in a full one".to_vec()]);
    assert_eq!(fs::read_link(at("file")).unwrap(), Path::new("target"));
    assert_eq!(fs::symlink_metadata(at("file")).unwrap().mtime(), 1_600_000_000);
    let mode = fs::symlink_metadata(at("empty")).unwrap().mode();
    assert_eq!((FileType::from_raw_mode(mode), mode & 0o777), (FileType::Fifo, 0o644));
    assert_eq!(fs::read(at("link in an empty one")).unwrap(), b"first");
    for name in ["full/inside", "hard link in a full one/inside"] {
        assert_eq!(fs::read(at(name)).unwrap(), b"mine", "{name}");
    }
    let working = |name: &OsString| name.as_bytes().starts_with(b".narrows");
    assert!(!names(dir.path()).iter().any(working), "a working name was left behind");
}
