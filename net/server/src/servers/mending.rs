//! What reading a pool for damage finds, and an image that is to be made whole: plain data, so that the pool may be here or on
//! a media server.

use narrows_api::{ApiError, Hex, text::by_text};
use narrows_domain::retry::{Failure, Side};
use narrows_format::{ContainerId, DomainId, ImageId, PoolId, node::Child};
use narrows_pool::scrub::{Scrubbed, Survey};
use serde::{Deserialize, Serialize};

use super::{
    destination::{Destination, Dialler},
    errand::Stopped,
    words::{RootWord, strange},
};
use crate::{
    hands::ended,
    limits::{HURT_TOLD_MAX, SENTENCE_LETTERS_MAX},
    plane::{Heal, Plane},
};

/// What reading one container found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRead {
    container: u64,
    /// Bytes that were read of it.
    pub bytes: u64,
    /// Places that are damaged, known before or not.
    pub harms: u64,
    /// Whether some of them were not known before.
    pub news: bool,
    /// Places that hold nothing and are not as they were written.
    pub stray: u64,
    /// It could not be read; then nothing is known of it.
    pub unread: bool,
}

impl ContainerRead {
    /// Which.
    pub fn container(&self) -> ContainerId {
        ContainerId(self.container)
    }

    /// What another server says that it found, if it went forward: a pass ends.
    pub fn behind(self, after: Option<ContainerId>) -> Result<Self, ApiError> {
        let ContainerId(before) = after.unwrap_or(ContainerId(0));
        let is_behind = after.is_none() || self.container > before;
        if is_behind && i64::try_from(self.container).is_ok() {
            return Ok(self);
        }
        Err(strange("a container that was read before"))
    }
}

impl From<Scrubbed> for ContainerRead {
    fn from(scrubbed: Scrubbed) -> Self {
        Self {
            container: scrubbed.container.0,
            bytes: scrubbed.bytes,
            harms: scrubbed.harms.len() as u64,
            news: scrubbed.news,
            stray: scrubbed.stray,
            unread: scrubbed.unread.is_some(),
        }
    }
}

/// What a walk over all images of a pool found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surveyed {
    images: Vec<Hex<16>>,
    /// What is damaged or gone under them: the first places.
    pub damage: Vec<String>,
    /// How many nodes and segments that are.
    pub damaged: u64,
}

impl Surveyed {
    /// Images that can't be read as a whole, at most [`HURT_TOLD_MAX`]: the others are found when these are whole.
    pub fn images(&self) -> Vec<ImageId> {
        self.images.iter().map(|image| ImageId(image.0)).collect()
    }

    /// What is said of each of them: which of the damaged places it needs was not noted for each.
    pub fn reason(&self) -> String {
        let first = self.damage.first().map_or("nobody said where", String::as_str);
        if self.damaged <= 1 {
            return first.to_owned();
        }
        format!("it needs some of {} damaged places, of which the first is: {first}", self.damaged)
    }

    /// The same from another server, no longer than it may be.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.images.truncate(HURT_TOLD_MAX);
        self.damage.truncate(narrows_pool::limits::DAMAGE_LISTED_MAX);
        self.damage.iter_mut().for_each(|place| *place = place.chars().take(SENTENCE_LETTERS_MAX).collect());
        self
    }
}

impl From<Survey> for Surveyed {
    fn from(survey: Survey) -> Self {
        let images = survey.images.iter().take(HURT_TOLD_MAX);
        Self {
            images: images.map(|image| Hex(image.0)).collect(),
            damage: survey.damage.iter().map(ToString::to_string).collect(),
            damaged: survey.damaged,
        }
    }
}

/// An image of which a pool lacks something, and who has that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mending {
    /// The image.
    #[serde(with = "by_text")]
    pub image: ImageId,
    /// The domain that made it.
    #[serde(with = "by_text")]
    pub origin: DomainId,
    /// Its root as it is known here.
    pub root: RootWord,
    /// The pool that lacks something.
    #[serde(with = "by_text")]
    pub pool: PoolId,
    /// Where from.
    pub source: Destination,
}

impl Mending {
    /// Brings what lacks, to a pool of this process; gives how many bytes came. Dropping the future stops that.
    pub async fn carry_out(self, plane: &Plane, dialler: Dialler<'_>) -> Result<u64, Failure> {
        let to = self.source.dial(dialler, Side::Source).await?;
        let Self { image, origin, pool, .. } = self;
        let (root, ticket) = (Child::from(self.root), self.source.ticket.0);
        let received = ended(plane.heal(Heal { image, origin, root, pool, ticket, to }).await)?;
        Ok(received.data_bytes + received.node_bytes)
    }
}

/// How that ended, as a media server says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mended {
    /// So many bytes came.
    Done(u64),
    /// It stopped.
    Stopped(Stopped),
}

impl From<Result<u64, Failure>> for Mended {
    fn from(outcome: Result<u64, Failure>) -> Self {
        outcome.map_or_else(|failure| Self::Stopped(failure.into()), Self::Done)
    }
}

impl From<Mended> for Result<u64, Failure> {
    fn from(mended: Mended) -> Self {
        match mended {
            Mended::Done(bytes) => Ok(bytes),
            Mended::Stopped(stopped) => Err(stopped.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a media server can't hold a pass up for ever, nor fill the primary's memory.
    #[test]
    fn what_a_media_server_finds_is_bounded() {
        let read = ContainerRead { container: 7, bytes: 1, harms: 0, news: false, stray: 0, unread: false };
        assert_eq!(read.behind(None), Ok(read));
        assert_eq!(read.behind(Some(ContainerId(6))), Ok(read));
        for (read, after) in [(read, 7), (read, 8), (ContainerRead { container: u64::MAX, ..read }, 7)] {
            assert!(read.behind(Some(ContainerId(after))).is_err(), "{after}");
        }
        let damage = vec!["x".repeat(SENTENCE_LETTERS_MAX + 1); 10_000];
        let many = Surveyed { images: vec![Hex([1; 16]); HURT_TOLD_MAX + 1], damage, damaged: 3 }.bounded();
        assert_eq!(many.images().len(), HURT_TOLD_MAX);
        assert!(many.damage.len() < 10_000 && many.damage.iter().all(|it| it.len() == SENTENCE_LETTERS_MAX));
    }

    /// Symptom: each damaged image was told to suffer from the first damage of its pool, whichever it had.
    #[test]
    fn no_image_is_told_of_damage_that_may_be_anothers() {
        let found = |damaged| Surveyed {
            images: vec![Hex([1; 16])],
            damage: vec!["container 7, slot 3".to_owned()],
            damaged,
        };
        assert_eq!(found(1).reason(), "container 7, slot 3");
        assert_eq!(
            found(2).reason(),
            "it needs some of 2 damaged places, of which the first is: container 7, slot 3"
        );
    }
}
