//! Further names of files, made when all files have theirs.

use std::os::fd::OwnedFd;

use rustix::{
    fs::{AtFlags, OFlags, StatxFlags, linkat, statx},
    io::Errno,
};

use super::{Context, Overwrite, metadata::LeftOut, prepare::remove, report::TroubleKind};
use crate::{beneath::split_name, walk::Status};

/// Gives the file at `first` the further name `link`.
pub(super) fn make_link(context: &Context, link: &[u8], first: &[u8]) {
    match try_link(context, link, first) {
        Ok(true) => context.progress.add_restored(link, LeftOut::default()),
        Ok(false) => context.progress.trouble(link, TroubleKind::Kept),
        Err(error) => context.progress.trouble(link, TroubleKind::Failed(error)),
    }
}

/// False when something else lies there and stays.
fn try_link(context: &Context, link: &[u8], first: &[u8]) -> Result<bool, Errno> {
    let open = |path| context.top.open_directory(path, OFlags::PATH);
    let (first_above, first_name) = split_name(first);
    let (link_above, link_name) = split_name(link);
    let first_above = open(first_above)?;
    let link_above = open(link_above)?;
    let attempt = || linkat(&first_above, first_name, &link_above, link_name, AtFlags::empty());
    match attempt() {
        Err(Errno::EXIST) => {}
        outcome => return outcome.map(|()| true),
    }
    if inode(&first_above, first_name)? == inode(&link_above, link_name)? {
        return Ok(true);
    }
    if context.options.overwrite == Overwrite::Never {
        return Ok(false);
    }
    remove(&link_above, link_name)?;
    attempt().map(|()| true)
}

fn inode(directory: &OwnedFd, name: &[u8]) -> Result<crate::walk::Inode, Errno> {
    let seen = statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)?;
    Ok(Status::new(&seen).inode)
}
