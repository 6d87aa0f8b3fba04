//! Further names of files, made when all files have theirs.
//!
//! Guarantee: a link is made only to what the image has under the first name: something that lay there before and
//! differs gets no further names.

use std::os::fd::OwnedFd;

use rustix::{
    fs::{AtFlags, StatxFlags, linkat, statx},
    io::Errno,
};

use super::{
    Context, Overwrite, directories::State, metadata::LeftOut, prepare::displace, report::TroubleKind,
};
use crate::{beneath::split_name, walk::Status};

/// Gives the file at `first` the further name `link`.
pub(super) fn make_link(context: &Context, link: &[u8], first: &[u8]) {
    match try_link(context, link, first) {
        Ok(None) => context.restored(link, LeftOut::default()),
        Ok(Some(trouble)) => context.progress.trouble(link, trouble),
        Err(error) => context.progress.trouble(link, TroubleKind::Failed(error)),
    }
}

fn try_link(context: &Context, link: &[u8], first: &[u8]) -> Result<Option<TroubleKind>, Errno> {
    let (first_above, first_name) = split_name(first);
    let (link_above, link_name) = split_name(link);
    let unlinked = || Ok(Some(TroubleKind::Unlinked(first.to_vec())));
    if context.directories.state(first_above) == State::Found && !context.standing.has(first) {
        return unlinked();
    }
    let first_above = context.directories.open(first_above)?;
    let link_above = context.directories.open(link_above)?;
    let (first_above, link_above) = (&first_above.fd, &link_above.fd);
    let source = match inode(first_above, first_name) {
        Err(Errno::NOENT) => return unlinked(),
        outcome => outcome?,
    };
    match linkat(first_above, first_name, link_above, link_name, AtFlags::empty()) {
        Err(Errno::EXIST) => {}
        outcome => return outcome.map(|()| None),
    }
    if source == inode(link_above, link_name)? {
        return Ok(None);
    }
    if context.options.overwrite == Overwrite::Never {
        return Ok(Some(TroubleKind::Kept));
    }
    let working = context.files.working_name();
    linkat(first_above, first_name, link_above, working.as_slice(), AtFlags::empty())?;
    displace(link_above, &working, link_name)?;
    Ok(None)
}

fn inode(directory: &OwnedFd, name: &[u8]) -> Result<crate::walk::Inode, Errno> {
    let seen = statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)?;
    Ok(Status::new(&seen).inode)
}
