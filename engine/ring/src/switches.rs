//! Switches that force a fallback, so that each can be tested on a kernel that would not need it.
//!
//! In the environment: `NARROWS_RING=no-huge-pages,no-send-zc`.

use std::{env, fmt};

/// The environment variable that is read.
pub const VARIABLE: &str = "NARROWS_RING";

/// One thing left out on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Files are read and written without registered buffers.
    NoRegisteredBuffers,
    /// The arena is made of ordinary pages.
    NoHugePages,
    /// Cores wake each other through eventfd.
    NoMsgRing,
    /// The kernel copies what is sent.
    NoSendZc,
    /// Rings are made without single issuer and deferred task work.
    PlainRingFlags,
    /// Files are opened without `O_DIRECT`.
    Buffered,
    /// No `io_uring` at all: blocking calls on helper threads.
    Threads,
}

/// A set of switches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches(u8);

/// A word in `NARROWS_RING` that is no switch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` in {VARIABLE} is no switch; known are: {}", Known)]
pub struct UnknownSwitch {
    /// The word.
    pub word: String,
}

struct Known;

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, switch) in Switch::ALL.into_iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{}", switch.name())?;
        }
        Ok(())
    }
}

impl Switch {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::NoRegisteredBuffers,
        Self::NoHugePages,
        Self::NoMsgRing,
        Self::NoSendZc,
        Self::PlainRingFlags,
        Self::Buffered,
        Self::Threads,
    ];

    /// As written in the environment.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoRegisteredBuffers => "no-registered-buffers",
            Self::NoHugePages => "no-huge-pages",
            Self::NoMsgRing => "no-msg-ring",
            Self::NoSendZc => "no-send-zc",
            Self::PlainRingFlags => "plain-ring-flags",
            Self::Buffered => "buffered",
            Self::Threads => "threads",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl Switches {
    /// Nothing left out.
    pub const NONE: Self = Self(0);

    /// This set and one more.
    #[must_use]
    pub const fn with(self, switch: Switch) -> Self {
        Self(self.0 | switch.bit())
    }

    /// This set and another.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the switch is set.
    pub const fn has(self, switch: Switch) -> bool {
        self.0 & switch.bit() != 0
    }

    /// Parses a list separated by commas; empty words are skipped.
    pub fn parse(list: &str) -> Result<Self, UnknownSwitch> {
        let words = list.split(',').map(str::trim).filter(|word| !word.is_empty());
        words.into_iter().try_fold(Self::NONE, |set, word| {
            let known = Switch::ALL.into_iter().find(|switch| switch.name() == word);
            known.map(|switch| set.with(switch)).ok_or_else(|| UnknownSwitch { word: word.to_owned() })
        })
    }

    /// What the environment says.
    pub fn from_environment() -> Result<Self, UnknownSwitch> {
        match env::var_os(VARIABLE) {
            Some(list) => Self::parse(&list.to_string_lossy()),
            None => Ok(Self::NONE),
        }
    }
}

impl fmt::Display for Switches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for switch in Switch::ALL.into_iter().filter(|switch| self.has(*switch)) {
            write!(f, "{comma}{}", switch.name())?;
            comma = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_switch_is_read_as_it_is_written() {
        for switch in Switch::ALL {
            let set = Switches::parse(switch.name());
            assert_eq!(set, Ok(Switches::NONE.with(switch)));
            assert_eq!(set.map(|set| set.to_string()), Ok(switch.name().to_owned()));
        }
        let all = Switch::ALL.into_iter().fold(Switches::NONE, Switches::with);
        assert_eq!(Switches::parse(&all.to_string()), Ok(all));
        assert_eq!(Switches::parse(" buffered ,, threads").map(|set| set.has(Switch::Threads)), Ok(true));
    }

    #[test]
    fn a_wrong_word_is_named_with_those_that_would_do() {
        let refused = Switches::parse("no-hugepages").expect_err("is none").to_string();
        assert!(refused.contains("`no-hugepages`") && refused.contains("no-huge-pages"), "{refused}");
    }
}
