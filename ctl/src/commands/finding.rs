//! `image find` and `image diff`: page by page, printed as it comes.

use std::{collections::HashSet, ffi::OsStr, os::unix::ffi::OsStrExt as _};

use jiff::SignedDuration;
use narrows_api::{
    PathText,
    finding::{ChangeInfo, DiffPage, DiffQuery, FindPage, FindQuery, FoundEntry},
    images::{BrowseEntry, ImageFilter, ImageInfo},
    limits::PAGE_ITEMS_MAX,
    paths,
};
use serde::Serialize;

use super::{Session, images};
use crate::{
    api::{Api, filled},
    failure::Outcome,
    output::{bytes, time},
};

/// What `image find --json` says of one object.
#[derive(Serialize)]
struct Found<'a> {
    image: String,
    image_name: &'a str,
    #[serde(flatten)]
    entry: &'a FoundEntry,
}

/// All that fits, in all images that do.
pub(super) async fn find(session: &Session, api: &Api, path: &OsStr, filter: ImageFilter) -> Outcome<()> {
    let path = PathText::from_bytes(path.as_bytes());
    let (mut page, mut failed) = (Pages::of(filter), None);
    while let Some(images) = page.next(api).await? {
        // What has expired, or is being written, holds nothing that could be restored.
        for image in images.iter().filter(|image| images::state(image) == "whole") {
            if let Err(failure) = find_in(session, api, image, &path).await {
                session.style.remark(&format!("{} was not searched whole: {failure}", image.name));
                failed = Some(failure);
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

async fn find_in(session: &Session, api: &Api, image: &ImageInfo, path: &PathText) -> Outcome<()> {
    let address = filled(paths::IMAGE_FIND, &image.image.to_string());
    let mut query = FindQuery { path: path.clone(), from: None };
    loop {
        let page: FindPage = api.get(&address, &query).await?;
        for entry in &page.entries {
            let found = Found { image: image.image.to_string(), image_name: &image.name, entry };
            session.style.show(&found, |found| {
                format!("{}  {}  {}", found.image_name, described(&entry.entry), entry.path.0)
            })?;
        }
        query.from = page.next;
        if query.from.is_none() {
            return Ok(());
        }
    }
}

fn described(entry: &BrowseEntry) -> String {
    let size = if entry.kind == "file" { bytes(entry.size) } else { entry.kind.clone() };
    format!("{}  {size:>12}", time(entry.modified))
}

/// Images of a list, newest first, however long it is.
pub(super) struct Pages {
    filter: ImageFilter,
    seen: HashSet<String>,
    over: bool,
}

impl Pages {
    /// All that fit.
    pub(super) fn of(filter: ImageFilter) -> Self {
        let filter = ImageFilter { limit: Some(PAGE_ITEMS_MAX), ..filter };
        Self { filter, seen: HashSet::new(), over: false }
    }

    /// Some more of them; `None` at the end.
    pub(super) async fn next(&mut self, api: &Api) -> Outcome<Option<Vec<ImageInfo>>> {
        if self.over {
            return Ok(None);
        }
        let mut images: Vec<ImageInfo> = api.get(paths::IMAGES, &self.filter).await?;
        let is_full = u32::try_from(images.len()).is_ok_and(|count| count >= PAGE_ITEMS_MAX);
        let oldest = images.iter().map(|image| image.started).min();
        images.retain(|image| self.seen.insert(image.image.to_string()));
        self.over = !is_full;
        // The next page begins with the second in which this one ends; when all of that second was here, before it.
        let step = if images.is_empty() { SignedDuration::from_secs(1) } else { SignedDuration::ZERO };
        self.filter.until = oldest.map(|oldest| oldest - step);
        Ok(Some(images))
    }
}

/// What differs from one image to another.
pub(super) async fn diff(
    session: &Session,
    api: &Api,
    (before, after): (&str, &str),
    filter: &ImageFilter,
) -> Outcome<()> {
    let before = images::find(api, before, filter).await?.image.to_string();
    let after = images::find(api, after, filter).await?.image.to_string();
    let address = filled(paths::IMAGE_DIFF, &before);
    let mut query = DiffQuery { to: after, from: None };
    loop {
        let page: DiffPage = api.get(&address, &query).await?;
        page.changes.iter().try_for_each(|change| session.style.show(change, line))?;
        query.from = page.next;
        if query.from.is_none() {
            return Ok(());
        }
    }
}

fn line(change: &ChangeInfo) -> String {
    let size = |entry: &Option<BrowseEntry>| entry.as_ref().map(|entry| bytes(entry.size));
    let what = match (size(&change.before), size(&change.after)) {
        (Some(before), Some(after)) if before != after => {
            format!(" ({}; {before} before, {after} now)", change.what.join(", "))
        }
        (Some(_), Some(_)) => format!(" ({})", change.what.join(", ")),
        _ => String::new(),
    };
    let path = if change.path.0.is_empty() { "." } else { &change.path.0 };
    format!("{:<8} {path}{what}", change.change)
}
