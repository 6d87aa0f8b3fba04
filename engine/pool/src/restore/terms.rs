//! What is asked of the reader and what it gives.

use narrows_format::{ContainerId, Fingerprint, Location};

use crate::error::Error;

/// One segment to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub fingerprint: Fingerprint,
    /// Plain length, as its parent says.
    pub length: u32,
    /// Where it may lie; a wrong hint costs a look-up.
    pub hint: Location,
}

/// One frame as stored, its checksum verified.
#[derive(Clone, Debug)]
pub struct ReadFrame {
    /// Where it lies.
    pub container: ContainerId,
    /// The encoded frame (without any annex).
    pub bytes: Vec<u8>,
    /// Segments in the frame.
    pub segments: u32,
    /// Which of them were asked for.
    pub wanted: Vec<WantedHere>,
    /// Where each of those lies.
    pub places: Vec<Location>,
}

/// A wanted segment inside a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedHere {
    /// Its position in the request.
    pub request: usize,
    /// Its ordinal in the frame.
    pub ordinal: u32,
}

/// What could not be read.
#[derive(Clone, Debug)]
pub struct Lost {
    /// Why.
    pub error: Error,
    /// Positions in the request.
    pub requests: Vec<usize>,
}
