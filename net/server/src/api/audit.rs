//! What was read of images by the right `restore-any`, as the catalog has it.

use axum::extract::State;
use narrows_api::{
    audit::{AuditInfo, AuditQuery},
    images::ImageFilter,
    limits::PAGE_ITEMS_MAX,
    text::{time_in, time_out},
};
use narrows_catalog::{Read, Reads, ReadsFilter};
use narrows_domain::{Catalog as _, Image};

use super::{
    App,
    answer::{Answer, Failure, Params, good, internal},
    caller::{Admin, RestoreAny},
    images::named,
};
use crate::limits::AUDIT_LETTERS_MAX;

/// GET the list, newest first.
pub async fn list(
    State(app): State<App>,
    _admin: Admin,
    Params(query): Params<AuditQuery>,
) -> Answer<Vec<AuditInfo>> {
    let image = match &query.image {
        Some(called) => {
            let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
            Some(named(&app, &partners, called, &ImageFilter::default()).await?.id)
        }
        None => None,
    };
    let (since, until) = (query.since.map(time_in), query.until.map(time_in));
    let filter = ReadsFilter { who: query.who, image, since, until };
    let limit = query.limit.unwrap_or(100).min(PAGE_ITEMS_MAX);
    let reads = app.catalog.reads(&filter, limit).await.map_err(|error| internal(&error))?;
    good(reads.into_iter().map(info).collect())
}

fn info(Reads { last, began, times }: Reads) -> AuditInfo {
    let Read { who, how, image, label, what, at } = last;
    let (began, ended) = (time_out(began), time_out(at));
    AuditInfo { who, how, image, image_name: label, what, began, ended, times }
}

impl RestoreAny {
    /// Notes who reads what of an image, durably, before anything of it is given; the log says it too.
    pub async fn audit(&self, app: &App, (how, what): (&str, &str), image: &Image) -> Result<(), Failure> {
        let (who, label) = (self.who.clone(), image.label());
        tracing::warn!(who, how, what, image = %image.id, of = label, "audit: an image is read by `restore-any`");
        let what = what.chars().take(AUDIT_LETTERS_MAX).collect();
        let (how, at) = (how.to_owned(), app.clock.now());
        let read = Read { who, how, image: image.id, label, what, at };
        app.catalog.note_read(&read).await.map_err(|error| internal(&error))
    }
}
