//! What the operator of a domain may set; the defaults are [`crate::limits`].

use std::time::Duration;

use crate::limits::{FAILED_IMPORT_KEEP, IMAGE_FORMAT_MAX, PENDING_IMPORT_MAX};

/// Settings of one domain; they hold from its start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long the data of a failed import is kept.
    pub failed_import_keep: Duration,
    /// An import that is pending longer than this is a problem.
    pub pending_import_max: Duration,
    /// Newest recipe format that this server restores (AIR-007); lower than it could only for tests.
    pub image_format_max: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            failed_import_keep: FAILED_IMPORT_KEEP,
            pending_import_max: PENDING_IMPORT_MAX,
            image_format_max: IMAGE_FORMAT_MAX,
        }
    }
}
