//! The record with which the backup of an image ends, for the tests of lifecycles, of policies, and the walks.

use narrows_domain::Image;
use narrows_format::Fingerprint;
use narrows_format::record::ImageRecord;

/// Says of the image what the catalog does; what was found in the files is the same for all.
pub(crate) fn record(image: &Image) -> ImageRecord {
    ImageRecord {
        origin: image.origin,
        client: image.client,
        client_name: image.client_name.clone(),
        policy: image.policy.clone(),
        schedule: image.schedule,
        started: image.started,
        written: image.started,
        classification: image.classification.clone(),
        slp: image.slp.clone(),
        slp_version: image.slp_version,
        lineage: image.lineage,
        logical_bytes: 7,
        ..ImageRecord::sample(image.id, Fingerprint([9; 32]), 7)
    }
}
