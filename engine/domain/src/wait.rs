//! What operations waited for, and when partners were silent: remembered for people, no decision depends on it.
//!
//! Guarantee: each wait for a reason of its own is one [`Wait`], the newest [`WAITS_KEPT`] of an operation; what all work for a
//! partner that is silent or full waits for together is one [`Silence`] of the partner, however much work that is.

use std::time::Duration;

use narrows_format::Timestamp;

use crate::moment::since;
use crate::operation::{Note, Operation, OperationKey, OperationState, WaitReason};

/// The newest waits of one operation that are remembered.
pub const WAITS_KEPT: u32 = 32;
/// The newest silences of one partner that are remembered.
pub const SILENCES_KEPT: u32 = 500;
/// What took less is not told: nobody waited for it.
pub const TOLD_MIN: Duration = Duration::from_millis(100);

/// One wait of an operation that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Which operation.
    pub operation: OperationKey,
    /// In which state it waited: `waiting` with its reason, or `paused`.
    pub state: OperationState,
    /// What was said of it.
    pub note: Option<Note>,
    /// Since when.
    pub began: Timestamp,
    /// Until when.
    pub ended: Timestamp,
}

/// A time in which a partner did not answer, or took nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// For which reason all work for it waited: `target-down` or `target-full`.
    pub reason: WaitReason,
    /// Since when.
    pub began: Timestamp,
    /// Until when; `None`: it still does not.
    pub ended: Option<Timestamp>,
}

/// Whether what waits together for this reason is remembered once, with the partner: it comes and goes by itself, and often.
pub const fn is_of_partner(reason: WaitReason) -> bool {
    matches!(reason, WaitReason::TargetDown | WaitReason::TargetFull)
}

/// The wait that is over when an operation goes from one state to another, if it is to be remembered.
pub fn over(before: &Operation, after: &Operation) -> Option<Wait> {
    let waits = matches!(before.state, OperationState::Waiting(_) | OperationState::Paused);
    let of_partner = matches!(before.state, OperationState::Waiting(reason) if is_of_partner(reason));
    let with_all = of_partner && before.next_try.is_none() && before.behind.is_none();
    (waits && !with_all && before.state != after.state).then(|| Wait {
        operation: before.key,
        state: before.state.clone(),
        note: before.note.clone(),
        began: before.since,
        ended: after.since,
    })
}

/// A part of the time between two runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part<'w> {
    /// Since when.
    pub began: Timestamp,
    /// Until when.
    pub ended: Timestamp,
    /// Why nothing was done.
    pub why: Why<'w>,
}

/// Why nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why<'w> {
    /// For a reason that was remembered.
    Waited(&'w Wait),
    /// The partner did not answer, or took nothing: the reason.
    Silent(WaitReason),
    /// Nothing stood against it but its turn, or nothing is remembered.
    Turn,
}

/// What there is to tell of the time from `gap.0` to `gap.1`, in order and without a hole that is worth telling: the waits in it,
/// between them the partner's silences, and between those nothing but its turn.
pub fn parts<'w>(
    gap: (Timestamp, Timestamp),
    waits: impl IntoIterator<Item = &'w Wait>,
    silences: &[Silence],
) -> Vec<Part<'w>> {
    let mut whole = Vec::new();
    let mut reached = gap.0;
    for wait in waits {
        let (began, ended) = (wait.began.max(reached), wait.ended.min(gap.1));
        if began < ended {
            fill((reached, began), silences, &mut whole);
            whole.push(Part { began, ended, why: Why::Waited(wait) });
            reached = ended;
        }
    }
    fill((reached, gap.1), silences, &mut whole);
    whole.retain(|part| since(part.ended, part.began) >= TOLD_MIN);
    whole
}

fn fill((mut reached, end): (Timestamp, Timestamp), silences: &[Silence], whole: &mut Vec<Part<'_>>) {
    for silence in silences {
        let (began, ended) = (silence.began.max(reached), silence.ended.map_or(end, |ended| ended.min(end)));
        if began < ended {
            whole.push(Part { began: reached, ended: began, why: Why::Turn });
            whole.push(Part { began, ended, why: Why::Silent(silence.reason) });
            reached = ended;
        }
    }
    whole.push(Part { began: reached, ended: end, why: Why::Turn });
}

#[cfg(test)]
mod tests {
    use narrows_format::ImageId;
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    fn wait(began: i64, ended: i64, reason: WaitReason) -> Wait {
        let operation = OperationKey { image: ImageId([1; 16]), ordinal: 2 };
        let state = OperationState::Waiting(reason);
        Wait { operation, state, note: None, began: at(began), ended: at(ended) }
    }

    fn told(gap: (i64, i64), waits: &[Wait], silences: &[(i64, Option<i64>)]) -> Vec<(i64, i64, String)> {
        let silences: Vec<_> = silences
            .iter()
            .map(|(began, ended)| (at(*began), ended.map(at)))
            .map(|(began, ended)| Silence { reason: WaitReason::TargetDown, began, ended })
            .collect();
        let parts = parts((at(gap.0), at(gap.1)), waits, &silences);
        let word = |why: Why<'_>| match why {
            Why::Waited(wait) => wait.state.detail().to_owned(),
            Why::Silent(_) => "silent".to_owned(),
            Why::Turn => "turn".to_owned(),
        };
        parts.iter().map(|it| (it.began.seconds, it.ended.seconds, word(it.why))).collect()
    }

    #[test]
    fn a_gap_is_told_by_what_is_remembered_of_it() {
        let waits = [wait(2, 5, WaitReason::Window), wait(8, 30, WaitReason::TargetFull)];
        let silences = [(-9, Some(1)), (5, Some(6)), (9, Some(40))];
        let of = |parts: &[(i64, i64, &str)]| -> Vec<(i64, i64, String)> {
            parts.iter().map(|(began, ended, why)| (*began, *ended, (*why).to_owned())).collect()
        };
        assert_eq!(
            told((0, 20), &waits, &silences),
            of(&[
                (0, 1, "silent"),
                (1, 2, "turn"),
                (2, 5, "window"),
                (5, 6, "silent"),
                (6, 8, "turn"),
                (8, 20, "target-full"),
            ])
        );
        assert_eq!(told((0, 3), &[], &[(1, None)]), of(&[(0, 1, "turn"), (1, 3, "silent")]));
        assert_eq!(told((3, 3), &waits, &silences), of(&[]), "no time, nothing to tell");
        assert_eq!(told((9, 3), &waits, &silences), of(&[]), "a clock that was set back");
    }

    proptest! {
        /// Goal: whatever is remembered, in whatever order clocks have left it, the parts follow one another without a hole
        /// and do not reach beyond the gap.
        #[test]
        fn parts_follow_one_another(
            gap in (0i64..50, 0i64..50),
            waits in prop::collection::vec((-5i64..60, -5i64..60), 0..6),
            silences in prop::collection::vec((-5i64..60, prop::option::of(-5i64..60)), 0..6),
        ) {
            let waits: Vec<_> = waits.iter().map(|(from, to)| wait(*from, *to, WaitReason::Clock)).collect();
            let parts = told(gap, &waits, &silences);
            if gap.0 >= gap.1 {
                prop_assert!(parts.is_empty());
            } else {
                prop_assert_eq!(parts.first().map(|it| it.0), Some(gap.0));
                prop_assert_eq!(parts.last().map(|it| it.1), Some(gap.1));
                prop_assert!(parts.windows(2).all(|pair| pair[0].1 == pair[1].0));
                prop_assert!(parts.iter().all(|it| it.0 < it.1));
            }
        }
    }
}
