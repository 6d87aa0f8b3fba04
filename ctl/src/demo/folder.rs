//! Where the demo works: a folder of its own on a disk that takes direct I/O, gone at the end.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::failure::{Failure, Outcome};

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
        if !self.keep
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the demo's folder is left behind");
        }
    }
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
