//! Two trees, compared by programs that know nothing of Narrows: rsync for all that it can see, the kernel
//! for the holes.

use std::{
    fs::File,
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::fs::SeekFrom;

/// What differs, one line each; empty when nothing does.
///
/// rsync compares contents, owners, modes, times to the nanosecond, hard links, ACLs and attributes; and both
/// directions, because `--delete` names what is too much. Paths that one system call cannot take are left to `find`.
pub fn differences(left: &Path, right: &Path) -> io::Result<Vec<String>> {
    let mut slash = left.as_os_str().to_owned();
    slash.push("/");
    let output = Command::new("rsync")
        .args(["-aHAXcn", "-@-1", "--delete", "--itemize-changes"])
        .arg(slash)
        .arg(right)
        .output()?;
    let mut lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    lines.retain(|line| !expected_complaint(line));
    let complaints = String::from_utf8_lossy(&output.stderr);
    lines.extend(complaints.lines().filter(|line| !expected_complaint(line)).map(str::to_owned));
    lines.extend(hole_differences(left, right)?);
    lines.extend(listing_differences(left, right)?);
    Ok(lines)
}

/// rsync says this of paths above `PATH_MAX`, and of its exit after that; `find` judges those.
fn expected_complaint(line: &str) -> bool {
    line.contains("File name too long")
        || line.contains("overflows")
        || line.contains("(code 23)")
        || line.contains("cannot convert")
        || line.contains("skipping file deletion")
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
        let other = right.join(&path);
        let (Ok(before), Ok(after)) = (holes(&left.join(&path)), holes(&other)) else { continue };
        if before != after {
            lines.push(format!("holes of {}: {before:?} became {after:?}", path.display()));
        }
    }
    Ok(lines)
}

fn regular_files(root: &Path) -> io::Result<Vec<PathBuf>> {
    let output = Command::new("find").args([".", "-type", "f", "-print0"]).current_dir(root).output()?;
    let names = output.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(|name| PathBuf::from(std::ffi::OsStr::from_bytes(name))).collect())
}

/// Where the holes of a file begin and end.
pub fn holes(path: &Path) -> io::Result<Vec<(u64, u64)>> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
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
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::trees;

    type Spoil = fn(&Path);

    /// A comparison that finds nothing is worth something only if it can find each kind of difference.
    #[test]
    fn each_kind_of_difference_is_found() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let (left, right) = (dir.path().join("left"), dir.path().join("right"));
        let copy = || {
            fs::remove_dir_all(&right).ok();
            let status =
                Command::new("cp").arg("-a").arg("--sparse=auto").args([&left, &right]).status().unwrap();
            assert!(status.success());
        };
        fs::create_dir(&left).unwrap();
        trees::odd_but_reachable(&left).unwrap();
        copy();
        assert_eq!(differences(&left, &right).unwrap(), Vec::<String>::new());

        let spoils: [(&str, Spoil); 8] = [
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
        ];
        for (what, spoil) in spoils {
            copy();
            spoil(&right);
            assert_ne!(differences(&left, &right).unwrap(), Vec::<String>::new(), "{what} was not found");
        }
    }
}
