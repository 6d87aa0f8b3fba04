//! Images whose last copy here was lost: marked until there is one here again, or a person accepts that there will be none.

use narrows_format::ImageId;

use super::{Done, Primary};
use crate::catalog::{Catalog, ImageFilter};
use crate::event::{Change, Decision};
use crate::image::ImageState;
use crate::machine::Refusal;

/// In what is decided of a copy that went with its pool, its image is not just gone.
pub(super) fn mark(decision: &mut Decision) {
    for change in &mut decision.changes {
        if let Change::Image(image) = change
            && image.state == ImageState::Gone
        {
            image.state = ImageState::Lost;
        }
    }
}

impl<C: Catalog> Primary<C> {
    /// Accepts that this image is lost (API-003 if it is not), or any of which that is so, so many at a time. How many.
    pub async fn accept_loss(&mut self, image: Option<ImageId>, limit: u32) -> Done<usize, C> {
        let lost = if let Some(id) = image {
            let known = self.ask(self.catalog.image(id)).await?;
            let refused = || {
                let help = "`narrowsctl image list --state lost` names those that are";
                Refusal::new("API-003", format!("image {id} is not lost"), help)
            };
            vec![known.filter(|image| image.state == ImageState::Lost).ok_or_else(refused)?]
        } else {
            let state = Some(ImageState::Lost);
            let filter = ImageFilter { state, limit: Some(limit), ..ImageFilter::default() };
            self.ask(self.catalog.images(&filter)).await?
        };
        let gone = |mut image: crate::Image| {
            image.state = ImageState::Gone;
            Change::Image(image)
        };
        let changes: Vec<_> = lost.into_iter().map(gone).collect();
        self.store(&changes).await?;
        Ok(changes.len())
    }
}
