//! Two trees, compared by programs that know nothing of Narrows: rsync for all that it can see, the kernel
//! for the holes, and a reader that descends by steps for the paths that neither rsync nor the kernel takes whole.

mod steps;

use std::{
    fs::File,
    io,
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::fs::SeekFrom;

use crate::trees::over_long_name;

/// What differs, one line each; empty when nothing does.
///
/// rsync compares contents, owners, modes, times to the nanosecond, hard links, ACLs and attributes; and both
/// directions, because `--delete` names what is too much. It has to say nothing at all, and to end well.
pub fn differences(left: &Path, right: &Path) -> io::Result<Vec<String>> {
    let mut lines = rsync_differences(left, right)?;
    lines.extend(hole_differences(left, right)?);
    lines.extend(listing_differences(left, right)?);
    lines.extend(steps::differences(left, right, &over_long_name())?);
    Ok(lines)
}

/// Leaves out the tree whose paths are too long for rsync, and nothing else.
fn rsync_differences(left: &Path, right: &Path) -> io::Result<Vec<String>> {
    let mut slash = left.as_os_str().to_owned();
    slash.push("/");
    let output = Command::new("rsync")
        .args(["-aHAXcn", "-@-1", "--delete", "--itemize-changes"])
        .arg(format!("--exclude=/{}", over_long_name()))
        .arg(slash)
        .arg(right)
        .output()?;
    let mut lines = Vec::new();
    for said in [&output.stdout, &output.stderr] {
        lines.extend(String::from_utf8_lossy(said).lines().map(str::to_owned));
    }
    if !output.status.success() {
        lines.push(format!("rsync ended with {}", output.status));
    }
    Ok(lines)
}

/// `find` descends by steps and so reaches any depth: names, kinds, modes, owners, sizes, times.
fn listing_differences(left: &Path, right: &Path) -> io::Result<Vec<String>> {
    let listing = |root: &Path| -> io::Result<Vec<String>> {
        let output = Command::new("find")
            .args([".", "-printf", "%P\\t%y\\t%m\\t%U:%G\\t%s\\t%T@\\t%l\\n"])
            .current_dir(root)
            .output()?;
        let mut lines: Vec<String> = String::from_utf8_lossy(&output.stdout)
            .lines()
            // The size of a directory is the file system's business.
            .map(|line| {
                let mut fields: Vec<&str> = line.split('\t').collect();
                if fields.get(1) == Some(&"d") && fields.len() > 4 {
                    fields[4] = "";
                }
                fields.join("\t")
            })
            .collect();
        lines.sort_unstable();
        Ok(lines)
    };
    let (left, right) = (listing(left)?, listing(right)?);
    let only = |of: &[String], other: &[String], side: &str| -> Vec<String> {
        let lines = of.iter().filter(|line| other.binary_search(line).is_err());
        lines.map(|line| format!("only {side}: {line}")).collect()
    };
    let mut lines = only(&left, &right, "before");
    lines.extend(only(&right, &left, "after"));
    Ok(lines)
}

fn hole_differences(left: &Path, right: &Path) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    for path in regular_files(left)? {
        let file = path.display();
        match (holes_at(&left.join(&path)), holes_at(&right.join(&path))) {
            (Ok(before), Ok(after)) if before == after => {}
            (before, after) => lines.push(format!("holes of {file}: {before:?} became {after:?}")),
        }
    }
    Ok(lines)
}

/// All regular files but those whose paths are too long.
fn regular_files(root: &Path) -> io::Result<Vec<PathBuf>> {
    let over_long = format!("./{}", over_long_name());
    let output = Command::new("find")
        .args([".", "-path", &over_long, "-prune", "-o", "-type", "f", "-print0"])
        .current_dir(root)
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let names = output.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(|name| PathBuf::from(std::ffi::OsStr::from_bytes(name))).collect())
}

fn holes_at(path: &Path) -> io::Result<Vec<(u64, u64)>> {
    holes(&File::open(path)?)
}

/// Where the holes of a file begin and end.
fn holes(file: impl AsFd) -> io::Result<Vec<(u64, u64)>> {
    let size = u64::try_from(rustix::fs::fstat(&file)?.st_size).map_err(io::Error::other)?;
    let mut found = Vec::new();
    let mut at = 0;
    while at < size {
        let hole = rustix::fs::seek(&file, SeekFrom::Hole(at))?;
        if hole >= size {
            break;
        }
        let end = match rustix::fs::seek(&file, SeekFrom::Data(hole)) {
            Ok(data) => data,
            Err(rustix::io::Errno::NXIO) => size,
            Err(error) => return Err(error.into()),
        };
        found.push((hole, end));
        at = end;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{FileExt, PermissionsExt},
    };

    use rustix::fs::{Mode, OFlags};

    use super::*;
    use crate::trees;

    type Spoil = fn(&Path);

    /// Does something with the file behind the path that is too long, and hides that in its time.
    fn far_away(root: &Path, spoil: impl FnOnce(&File) -> io::Result<()>) {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut dir = rustix::fs::open(root, flags, Mode::empty()).unwrap();
        for _ in 0..20 {
            dir = rustix::fs::openat(&dir, over_long_name(), flags, Mode::empty()).unwrap();
        }
        let file = rustix::fs::openat(&dir, "far away", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
        let file = File::from(file.unwrap());
        let time = file.metadata().unwrap().modified().unwrap();
        spoil(&file).unwrap();
        file.set_modified(time).unwrap();
    }

    /// A comparison that finds nothing is worth something only if it can find each kind of difference.
    #[test]
    fn each_kind_of_difference_is_found() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let [made, left, right] = ["made", "left", "right"].map(|name| dir.path().join(name));
        fs::create_dir(&made).unwrap();
        trees::odd_but_reachable(&made).unwrap();
        let copy = |to: &Path| {
            fs::remove_dir_all(to).ok();
            let status = Command::new("cp")
                .arg("-a")
                .arg("--sparse=auto")
                .args([made.as_path(), to])
                .status()
                .unwrap();
            assert!(status.success());
            // `cp` does not take it.
            trees::long_path(to).unwrap();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
            File::open(to).unwrap().set_modified(time).unwrap();
        };
        copy(&left);
        copy(&right);
        assert_eq!(differences(&left, &right).unwrap(), Vec::<String>::new());

        let spoils: [(&str, Spoil); 12] = [
            ("content", |root| fs::write(root.join("sparse/one byte"), b"2").unwrap()),
            ("mode", |root| {
                fs::set_permissions(root.join("modes/644"), fs::Permissions::from_mode(0o600)).unwrap();
            }),
            ("missing", |root| fs::remove_file(root.join("names/a")).unwrap()),
            ("too much", |root| fs::write(root.join("new"), b"").unwrap()),
            ("hard link", |root| {
                fs::remove_file(root.join("links/second name")).unwrap();
                fs::write(root.join("links/second name"), b"linked bytes").unwrap();
            }),
            ("attribute", |root| {
                rustix::fs::removexattr(root.join("attributes/file"), "user.short").unwrap();
            }),
            ("hole", |root| {
                let path = root.join("sparse/only a hole");
                fs::write(path, vec![0; 5 << 20]).unwrap();
            }),
            ("nanosecond", |root| {
                let file = File::open(root.join("times/old")).unwrap();
                let time = std::time::UNIX_EPOCH + std::time::Duration::new(1, 2);
                file.set_modified(time).unwrap();
            }),
            ("far content", |root| far_away(root, |file| file.write_all_at(b"6", 0))),
            ("far attribute", |root| {
                far_away(root, |file| Ok(rustix::fs::fremovexattr(file, "user.far")?));
            }),
            ("far hole", |root| far_away(root, |file| file.write_all_at(&vec![0; 1 << 20], 1 << 20))),
            ("all that is far", |root| {
                fs::remove_dir_all(root.join(over_long_name())).unwrap();
            }),
        ];
        for (what, spoil) in spoils {
            copy(&right);
            spoil(&right);
            assert_ne!(differences(&left, &right).unwrap(), Vec::<String>::new(), "{what} was not found");
        }
    }
}
