//! The lives of a partner's servers: each start of one is a life, and an earlier one does not come back.
//!
//! A server counts its starts beside its catalog, and draws an instance at random for each. A copy of its data folder has
//! the same certificate and the same incarnation, but starts as another instance: whoever is alive beside it comes back
//! after it, or comes with the same count. An ordinary restart never does.

use std::fmt;
use std::str::FromStr;

use narrows_format::{DomainId, Timestamp};

/// Longest name of a server in a life's words.
const SERVER_BYTES_MAX: usize = 64;

/// One start of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// Which server of its domain.
    pub server: String,
    /// The domain's incarnation.
    pub incarnation: u64,
    /// Which of its starts, counted from 1.
    pub start: u64,
    /// Drawn at random for it.
    pub instance: u128,
}

/// The newest life of a partner's server that was heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifeSeen {
    /// The partner.
    pub partner: DomainId,
    /// The life.
    pub life: Life,
    /// When it was first heard of.
    pub since: Timestamp,
}

/// What a life that was heard of means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the one that is known.
    Known,
    /// It is the newest from now on.
    Newer,
    /// It is an older one, which may have spoken before the newest did.
    Late,
    /// An older one is alive beside the newest: one of them is a copy, or was put back.
    Returned,
}

/// What it means that `heard` was alive at a time, or after it.
pub fn judge(known: Option<&LifeSeen>, heard: &Life, alive_at: Timestamp) -> Verdict {
    let Some(known) = known else { return Verdict::Newer };
    let age = |life: &Life| (life.incarnation, life.start);
    if *heard == known.life {
        Verdict::Known
    } else if age(heard) > age(&known.life) {
        Verdict::Newer
    } else if age(heard) == age(&known.life) || alive_at > known.since {
        // No two starts of one folder have the same number.
        Verdict::Returned
    } else {
        Verdict::Late
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:032x} {}", self.incarnation, self.start, self.instance, self.server)
    }
}

/// The words are no life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a life: INCARNATION START INSTANCE SERVER")]
pub struct BadLife;

impl FromStr for Life {
    type Err = BadLife;

    fn from_str(text: &str) -> Result<Self, BadLife> {
        let mut words = text.split(' ');
        let mut word = || words.next().ok_or(BadLife);
        let number =
            |word: &str| word.parse::<u64>().ok().filter(|it| i64::try_from(*it).is_ok()).ok_or(BadLife);
        let (incarnation, start) = (number(word()?)?, number(word()?)?);
        let instance = u128::from_str_radix(word()?, 16).map_err(|_| BadLife)?;
        let server = word()?.to_owned();
        let is_plain = |it: char| it.is_ascii_alphanumeric() || it == '-';
        if server.is_empty()
            || server.len() > SERVER_BYTES_MAX
            || !server.chars().all(is_plain)
            || word().is_ok()
        {
            return Err(BadLife);
        }
        Ok(Self { server, incarnation, start, instance })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(start: u64, instance: u128) -> Life {
        Life { server: "s-1".into(), incarnation: 3, start, instance }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    fn seen(start: u64, instance: u128) -> LifeSeen {
        LifeSeen { partner: DomainId([2; 16]), life: life(start, instance), since: at(100) }
    }

    #[test]
    fn a_life_survives_its_words() {
        let written = life(7, 0xab).to_string();
        assert_eq!(written.parse(), Ok(life(7, 0xab)));
        for bad in
            ["", "1 2 3", "1 2 zz s", "1 2 3 s t", "1 2 3 a_b", "1 -2 3 s", "18446744073709551615 1 1 s"]
        {
            assert_eq!(bad.parse::<Life>(), Err(BadLife), "{bad}");
        }
    }

    /// Goal: a restart is never taken for a second life, whatever was still on its way when the first one ended.
    #[test]
    fn restarts_are_newer_and_what_was_on_its_way_is_late() {
        assert_eq!(judge(None, &life(1, 1), at(0)), Verdict::Newer);
        assert_eq!(judge(Some(&seen(5, 1)), &life(5, 1), at(500)), Verdict::Known);
        assert_eq!(judge(Some(&seen(5, 1)), &life(6, 2), at(0)), Verdict::Newer);
        assert_eq!(judge(Some(&seen(6, 2)), &life(5, 1), at(100)), Verdict::Late);
        let recovered = Life { incarnation: 4, ..life(1, 3) };
        assert_eq!(judge(Some(&seen(6, 2)), &recovered, at(0)), Verdict::Newer);
    }

    #[test]
    fn who_comes_back_after_another_or_with_its_number_is_alive_twice() {
        assert_eq!(judge(Some(&seen(6, 2)), &life(5, 1), at(101)), Verdict::Returned);
        assert_eq!(judge(Some(&seen(6, 2)), &life(6, 3), at(0)), Verdict::Returned);
        let earlier = Life { incarnation: 2, ..life(9, 1) };
        assert_eq!(judge(Some(&seen(6, 2)), &earlier, at(101)), Verdict::Returned);
    }
}
