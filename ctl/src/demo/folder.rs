//! Where the demo works: a folder of its own on a disk that takes direct I/O, gone at the end.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    thread,
};

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::failure::{Failure, Outcome};

/// Files removed at once.
const REMOVALS_AT_ONCE: usize = 16;

/// Longest path that is removed by its whole name.
const REACHED_BYTES_MAX: usize = 3500;

/// The folder; removed when dropped, unless it is to be kept.
pub(super) struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    /// A temporary one, or the one to be kept.
    pub(super) fn make(keep: Option<&Path>) -> Outcome<Self> {
        match keep {
            Some(path) => Self::kept(path),
            None => Self::temporary(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn kept(path: &Path) -> Outcome<Self> {
        let failed = |error: std::io::Error| Failure::file("the folder cannot be made", path, &error);
        fs::create_dir_all(path).map_err(failed)?;
        if fs::read_dir(path).map_err(failed)?.next().is_some() {
            return Err(Failure::usage("the folder to keep things in is not empty")
                .at(path.display().to_string())
                .help("name one that is empty or not there yet"));
        }
        Ok(Self { path: fs::canonicalize(path).map_err(failed)?, keep: true })
    }

    fn temporary() -> Outcome<Self> {
        let asked = std::env::var_os("TMPDIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let below = asked.filter(|dir| takes_direct_io(dir)).unwrap_or_else(|| PathBuf::from("/var/tmp"));
        for number in 0..1000 {
            let path = below.join(format!("narrows-demo-{}-{number}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path, keep: false }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Failure::file("no temporary folder can be made", &path, &error)),
            }
        }
        Err(Failure::usage("there are a thousand demo folders already").at(below.display().to_string()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        remove_files(&self.path);
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the demo's folder is left behind");
        }
    }
}

/// Removes the files of a tree, many at once: where each removal waits for the disk (`discard`), one after the other
/// takes minutes. What it does not reach (very long paths) is left to whoever removes the directories.
fn remove_files(tree: &Path) {
    let (mut files, mut directories) = (Vec::new(), vec![tree.to_path_buf()]);
    while let Some(directory) = directories.pop() {
        if !rustix::process::geteuid().is_root() {
            // Restored directories may be closed to their owner. If it cannot be opened, the end will say so.
            fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).ok();
        }
        for entry in fs::read_dir(&directory).into_iter().flatten().filter_map(Result::ok) {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && path.as_os_str().len() < REACHED_BYTES_MAX => {
                    directories.push(path);
                }
                Ok(kind) if !kind.is_dir() => files.push(path),
                _ => {}
            }
        }
    }
    thread::scope(|scope| {
        for share in files.chunks(files.len().div_ceil(REMOVALS_AT_ONCE).max(1)) {
            scope.spawn(|| share.iter().for_each(|file| drop(fs::remove_file(file))));
        }
    });
}

/// Whether files in a directory can be opened past the page cache.
fn takes_direct_io(dir: &Path) -> bool {
    let path = dir.join(format!(".narrows-probe-{}", std::process::id()));
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC;
    let opened = openat(CWD, &path, flags, Mode::RUSR | Mode::WUSR);
    // Made even where it cannot be opened so.
    fs::remove_file(&path).ok();
    opened.is_ok()
}
