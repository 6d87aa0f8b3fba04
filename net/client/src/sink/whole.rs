//! A file that nobody sees before it is whole: where a tar goes.
//!
//! Guarantee: what lies under its name was kept, and is safe on its disk with its name; nothing is replaced. It is made
//! without a name, so that a process that is killed leaves nothing behind. Where the file system knows no such files, it has
//! a working name beside its own (`.narrows-<random>`), which only a killed process leaves behind.

use std::{
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, fsync, openat, statx, unlinkat},
    io::Errno,
};

use super::nameless;

/// See the module.
#[derive(Debug)]
pub struct WholeFile {
    directory: OwnedFd,
    name: Vec<u8>,
    fd: OwnedFd,
    /// Where it has one, until it is kept.
    working_name: Option<Vec<u8>>,
}

impl WholeFile {
    /// A file for its owner alone that is to lie at `path`, where nothing may lie yet.
    pub fn make(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(Errno::ISDIR)?.as_bytes().to_vec();
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        let folder = folder.map_or_else(|| PathBuf::from("."), Path::to_owned);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, &folder, flags, Mode::empty())?;
        match statx(&directory, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE) {
            Err(Errno::NOENT) => {}
            outcome => return Err(outcome.err().unwrap_or(Errno::EXIST).into()),
        }
        let mode = Mode::RUSR | Mode::WUSR;
        let nameless =
            if Path::new("/proc/self/fd").is_dir() { nameless::open(&directory, mode)? } else { None };
        let (fd, working_name) = if let Some(fd) = nameless {
            (fd, None)
        } else {
            let name = nameless::working_prefix().into_bytes();
            (nameless::open_named(&directory, &name, mode)?, Some(name))
        };
        Ok(Self { directory, name, fd, working_name })
    }

    /// Another descriptor of it, to write to.
    pub fn fd(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    /// It is whole: makes it safe on its disk, then gives it its name, and makes that safe.
    pub fn keep(mut self) -> io::Result<()> {
        fsync(&self.fd)?;
        match &self.working_name {
            Some(working) => nameless::rename_to_free(&self.directory, working, &self.name)?,
            None if nameless::link_by_descriptor(&self.fd, &self.directory, &self.name)? => {}
            None => nameless::link_by_path(&self.fd, &self.directory, &self.name)?,
        }
        self.working_name = None;
        fsync(&self.directory)?;
        Ok(())
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if let Some(working) = &self.working_name {
            // Whoever cannot remove it leaves it behind under its working name.
            unlinkat(&self.directory, working.as_slice(), AtFlags::empty()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use super::*;

    fn write(file: &WholeFile, bytes: &[u8]) {
        fs::File::from(file.fd().unwrap()).write_all(bytes).unwrap();
    }

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).collect()
    }

    fn is_working(name: &str) -> bool {
        name.starts_with(".narrows-")
    }

    /// Goal: nothing lies under the name before the file is kept, also when the process is killed. Method: nothing of a
    /// killed process runs, so the file is forgotten. Where files need a name, the working one stays.
    #[test]
    fn a_file_has_no_name_before_it_is_whole() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = folder.path().join("a.tar");
        let killed = WholeFile::make(&path).unwrap();
        write(&killed, b"ha");
        std::mem::forget(killed);
        let given_up = WholeFile::make(&path).unwrap();
        write(&given_up, b"ha");
        drop(given_up);
        assert!(names(folder.path()).iter().all(|name| is_working(name)));

        let (whole, late) = (WholeFile::make(&path).unwrap(), WholeFile::make(&path).unwrap());
        write(&whole, b"whole");
        whole.keep().unwrap();
        assert_eq!(late.keep().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(WholeFile::make(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(WholeFile::make(&folder.path().join("nowhere/a.tar")).is_err());
        assert!(WholeFile::make(Path::new("..")).is_err());
    }

    /// Goal: the same where every file has a name.
    #[test]
    fn a_working_name_is_not_the_name() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = folder.path().join("a.tar");
        let named = || {
            let made = WholeFile::make(&path).unwrap();
            let name = nameless::working_prefix().into_bytes();
            let fd = nameless::open_named(&made.directory, &name, Mode::RUSR | Mode::WUSR).unwrap();
            let directory = made.directory.try_clone().unwrap();
            WholeFile { directory, name: made.name.clone(), fd, working_name: Some(name) }
        };
        let given_up = named();
        write(&given_up, b"ha");
        assert!(matches!(names(folder.path()).as_slice(), [name] if is_working(name)));
        drop(given_up);
        assert_eq!(names(folder.path()), Vec::<String>::new());
        let whole = named();
        write(&whole, b"whole");
        whole.keep().unwrap();
        assert_eq!(
            (names(folder.path()), fs::read(&path).unwrap()),
            (vec!["a.tar".to_owned()], b"whole".to_vec())
        );
    }
}
