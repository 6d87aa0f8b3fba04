//! Trees for tests: everything that a file system can hold and a backup can get wrong.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
    os::{
        fd::AsFd,
        unix::{
            ffi::OsStrExt,
            fs::{FileExt, PermissionsExt, chown, lchown, symlink},
        },
    },
    path::Path,
};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags};

/// A seeded stream of bytes: `SplitMix64`.
pub struct Seeded(u64);

impl Seeded {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0..`bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound
    }

    /// `length` bytes without any pattern.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        for piece in bytes.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            piece.copy_from_slice(&word[..piece.len()]);
        }
        bytes
    }

    /// `length` bytes that compress about two to one.
    pub fn text(&mut self, length: usize) -> Vec<u8> {
        const WORDS: [&str; 16] = [
            "segment ",
            "container ",
            "recipe ",
            "image ",
            "copy ",
            "catalog ",
            "policy ",
            "domain ",
            "pool ",
            "volume ",
            "the ",
            "of ",
            "and\n",
            "is ",
            "a ",
            "to ",
        ];
        let mut bytes = Vec::with_capacity(length + 16);
        while bytes.len() < length {
            let word = WORDS[usize::try_from(self.below(16)).expect("small")];
            bytes.extend_from_slice(word.as_bytes());
            if self.below(4) == 0 {
                bytes.extend_from_slice(format!("{} ", self.below(100_000)).as_bytes());
            }
        }
        bytes.truncate(length);
        bytes
    }
}

/// Files of many sizes in nested folders: `files` of them, about `mean` bytes each.
pub fn plain(root: &Path, files: u64, mean: u64, seed: u64) -> io::Result<()> {
    let mut seeded = Seeded::new(seed);
    for file in 0..files {
        let dir = root.join(format!("d{}/e{}", file % 7, file % 11));
        fs::create_dir_all(&dir)?;
        let length = usize::try_from(seeded.below(mean * 2 + 1)).expect("a file of a test fits memory");
        let bytes = if file % 3 == 0 { seeded.bytes(length) } else { seeded.text(length) };
        fs::write(dir.join(format!("f{file}")), bytes)?;
    }
    Ok(())
}

/// So many files without any pattern that their number is the work: about `mean` bytes each, 50 in a folder.
pub fn many(root: &Path, files: u64, mean: u64, seed: u64) -> io::Result<()> {
    let mut seeded = Seeded::new(seed);
    let mut dir = root.to_owned();
    for file in 0..files {
        if file % 50 == 0 {
            dir = root.join(format!("d{}/e{}", file / 5_000, file / 50));
            fs::create_dir_all(&dir)?;
        }
        let length = usize::try_from(seeded.below(mean * 2 + 1)).expect("a file of a test fits memory");
        fs::write(dir.join(format!("f{file}")), seeded.bytes(length))?;
    }
    Ok(())
}

/// Everything odd at once. Needs root for owners and devices; without it those are left out.
pub fn odd(root: &Path) -> io::Result<()> {
    odd_but_reachable(root)?;
    long_path(root)
}

/// [`odd`] without the path that only tools which descend by steps can copy.
pub fn odd_but_reachable(root: &Path) -> io::Result<()> {
    names(root)?;
    links(root)?;
    sparse(root)?;
    deep(root)?;
    modes_and_owners(root)?;
    attributes(root)?;
    times(root)
}

fn names(root: &Path) -> io::Result<()> {
    let dir = root.join("names");
    fs::create_dir(&dir)?;
    let longest = "x".repeat(255);
    let odd: [&[u8]; 9] = [
        b"new\nline",
        b"invalid\xff\xfeutf8",
        b" leading and trailing ",
        b"-rf",
        b"quote\"'`$",
        b"back\\slash",
        "ünïcödé 文字".as_bytes(),
        b"a",
        longest.as_bytes(),
    ];
    for name in odd {
        fs::write(dir.join(OsStr::from_bytes(name)), name)?;
    }
    // Order by component: `a` and what is under `a-b` must not mix with what is under `a`.
    for name in ["order/a/z", "order/a-b/z", "order/a.b/z", "order/a0/z"] {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().expect("has one"))?;
        fs::write(path, name)?;
    }
    fs::create_dir(dir.join("empty directory"))?;
    fs::write(dir.join("empty file"), b"")
}

fn links(root: &Path) -> io::Result<()> {
    let dir = root.join("links");
    fs::create_dir(&dir)?;
    fs::write(dir.join("original"), b"linked bytes")?;
    fs::hard_link(dir.join("original"), dir.join("second name"))?;
    fs::hard_link(dir.join("original"), root.join("third name, elsewhere"))?;
    symlink("original", dir.join("soft"))?;
    symlink("../does/not/exist", dir.join("dangling"))?;
    symlink(OsStr::from_bytes(&[b'y'; 4000]), dir.join("long target"))?;
    symlink("/etc/passwd", dir.join("absolute"))?;
    rustix::fs::mknodat(CWD, dir.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0)?;
    if rustix::process::geteuid().is_root() {
        let device = rustix::fs::makedev(1, 3);
        rustix::fs::mknodat(
            CWD,
            dir.join("null"),
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o666),
            device,
        )?;
        let device = rustix::fs::makedev(7, 200);
        rustix::fs::mknodat(
            CWD,
            dir.join("loop"),
            FileType::BlockDevice,
            Mode::from_raw_mode(0o600),
            device,
        )?;
    }
    Ok(())
}

fn sparse(root: &Path) -> io::Result<()> {
    let dir = root.join("sparse");
    fs::create_dir(&dir)?;
    File::create(dir.join("only a hole"))?.set_len(5 << 20)?;
    let mixed = File::create(dir.join("data between holes"))?;
    mixed.write_all_at(&[7; 4096], 1 << 20)?;
    mixed.write_all_at(&Seeded::new(1).bytes(300_000), 40 << 20)?;
    mixed.set_len(64 << 20)?;
    let mut tail = File::create(dir.join("hole at the beginning"))?;
    tail.seek(SeekFrom::Start(80 << 20))?;
    tail.write_all(b"end")?;
    // Zeros that were written are no hole.
    fs::write(dir.join("written zeros"), vec![0; 3 << 20])?;
    fs::write(dir.join("one byte"), b"1")?;
    fs::write(dir.join("segments"), Seeded::new(2).bytes(3_000_001))
}

fn deep(root: &Path) -> io::Result<()> {
    let mut path = root.join("deep");
    for level in 0..300 {
        path.push(format!("{level}"));
    }
    fs::create_dir_all(&path)?;
    fs::write(path.join("bottom"), b"300 levels down")
}

/// Name of the directories of the path that no system call takes whole.
pub fn over_long_name() -> String {
    "l".repeat(250)
}

/// A path above what one system call takes, made and filled step by step; the same each time, but for the owner.
pub fn long_path(root: &Path) -> io::Result<()> {
    let name = over_long_name();
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dirs = Vec::new();
    let mut dir = rustix::fs::openat(CWD, root, flags, Mode::empty())?;
    for _ in 0..20 {
        rustix::fs::mkdirat(dir.as_fd(), &name, Mode::from_raw_mode(0o755))?;
        let below = rustix::fs::openat(dir.as_fd(), &name, flags, Mode::empty())?;
        dirs.push(std::mem::replace(&mut dir, below));
    }
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir.as_fd(), "far away", flags, Mode::from_raw_mode(0o600))?;
    rustix::fs::fsetxattr(&file, "user.far", b"away", XattrFlags::empty())?;
    let file = File::from(file);
    file.write_all_at(b"5,000 bytes from the root", 0)?;
    file.write_all_at(b"behind a hole", 3 << 20)?;
    let time = Timespec { tv_sec: 1_000_000_000, tv_nsec: 77 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::futimens(&file, &times)?;
    dirs.push(dir);
    for dir in dirs.iter().skip(1) {
        rustix::fs::futimens(dir, &times)?;
    }
    Ok(())
}

fn modes_and_owners(root: &Path) -> io::Result<()> {
    let dir = root.join("modes");
    fs::create_dir(&dir)?;
    for mode in [0o000, 0o400, 0o644, 0o755, 0o1777, 0o2755, 0o4755, 0o6711] {
        let path = dir.join(format!("{mode:o}"));
        fs::write(&path, format!("{mode:o}"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    fs::create_dir(dir.join("sticky"))?;
    fs::set_permissions(dir.join("sticky"), fs::Permissions::from_mode(0o3775))?;
    if rustix::process::geteuid().is_root() {
        fs::write(dir.join("foreign"), b"owned by nobody here")?;
        chown(dir.join("foreign"), Some(12_345), Some(4_000_000_000))?;
        symlink("foreign", dir.join("foreign link"))?;
        lchown(dir.join("foreign link"), Some(54_321), Some(1))?;
    }
    Ok(())
}

fn attributes(root: &Path) -> io::Result<()> {
    let dir = root.join("attributes");
    fs::create_dir(&dir)?;
    let file = dir.join("file");
    fs::write(&file, b"with attributes")?;
    let set =
        |path: &Path, name: &str, value: &[u8]| rustix::fs::setxattr(path, name, value, XattrFlags::empty());
    set(&file, "user.short", b"value")?;
    set(&file, "user.empty", b"")?;
    set(&file, "user.binary", &Seeded::new(3).bytes(200))?;
    set(&dir, "user.on a directory", b"yes")?;
    let big = dir.join("big");
    fs::write(&big, b"large attribute")?;
    set(&big, "user.large", &Seeded::new(4).bytes(3000))?;
    // A POSIX ACL as the kernel keeps it: version 2; owner rwx, user 1000 rw-, group r-x, mask rwx, other ---.
    let mut acl = vec![2, 0, 0, 0];
    for (tag, permissions, id) in
        [(1_u16, 7_u16, u32::MAX), (2, 6, 1000), (4, 5, u32::MAX), (16, 7, u32::MAX), (32, 0, u32::MAX)]
    {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&permissions.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    }
    set(&file, "system.posix_acl_access", &acl)?;
    set(&dir, "system.posix_acl_default", &acl)?;
    Ok(())
}

fn times(root: &Path) -> io::Result<()> {
    let dir = root.join("times");
    fs::create_dir(&dir)?;
    let stamps =
        [("old", 1, 1), ("before 1970", -1_000_000, 123_456_789), ("future", 4_102_444_800, 999_999_999)];
    for (name, seconds, nanos) in stamps {
        fs::write(dir.join(name), name)?;
        set_time(&dir.join(name), seconds, nanos)?;
    }
    symlink("old", dir.join("link with a time"))?;
    set_time(&dir.join("link with a time"), 86_400, 5)?;
    set_time(&dir, 1_000_000_000, 42)
}

fn set_time(path: &Path, seconds: i64, nanos: i64) -> io::Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}
