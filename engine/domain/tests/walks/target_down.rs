//! One target down: the others complete as if it were not there.

use std::collections::{BTreeMap, BTreeSet};

use narrows_domain::operation::{OperationState, WaitReason};
use narrows_domain::{Catalog as _, Command, Event};
use narrows_format::ImageId;

use crate::invariant::Held;
use crate::world::{Answer, Dice, World, now};

/// The one that is down.
const DOWN: usize = 2;
const DOMAINS: usize = 4;
const BACKUPS: u8 = 10;
/// Backups begin within this, in seconds.
const HOUR: i64 = 3600;
/// Links that break are whole again by then, and all is done that can be.
const END: i64 = 12 * HOUR;

/// Something that takes its time.
enum Act {
    Begin(usize, u8, ImageId),
    End(usize),
    Do(usize, Command),
    Say(Box<Answer>),
    Cut(usize, usize),
}

/// What happens when, in simulated time; the same every time.
struct History {
    world: World,
    start: i64,
    /// By time, then in the order in which it was begun.
    coming: BTreeMap<(i64, u64), Act>,
    begun: u64,
    /// When a domain was told the time last.
    ticked: [i64; DOMAINS],
    /// When a replication was complete: which image, from where, to where.
    complete: BTreeMap<(ImageId, usize, usize), i64>,
}

/// Images go out to all, and on from two of them, but never through the one that is down.
fn edges(dice: &mut Dice) -> BTreeSet<(usize, usize, usize)> {
    let mut edges = BTreeSet::new();
    for origin in [0, 1] {
        for from in (0..DOMAINS).filter(|from| *from != DOWN) {
            for to in (0..DOMAINS).filter(|to| *to != from) {
                if from == origin || dice.one_in(3) {
                    edges.insert((origin, from, to));
                }
            }
        }
    }
    edges
}

impl History {
    fn new(seed: u64, is_down: bool) -> Self {
        let mut dice = Dice::new(seed);
        let edges = edges(&mut dice);
        let world = World::calm(seed, DOMAINS, edges);
        let start = world.now;
        let coming = BTreeMap::new();
        let mut history =
            Self { world, start, coming, begun: 0, ticked: [start; DOMAINS], complete: BTreeMap::new() };
        let at_some_time = |dice: &mut Dice| start + i64::try_from(dice.below(3600)).unwrap();
        for number in 1..=BACKUPS {
            let (at, client) = (dice.below(2), number % 2);
            let when = at_some_time(&mut dice);
            history.begin(when, Act::Begin(at, client, ImageId([number; 16])));
            history.begin(when + 40, Act::End(at));
        }
        // In both histories another link breaks for a while.
        let (one, other) = [(0, 1), (0, 3), (1, 3)][dice.below(3)];
        let when = at_some_time(&mut dice);
        history.begin(when, Act::Cut(one, other));
        history.begin(when + HOUR, Act::Cut(one, other));
        if is_down {
            (0..DOMAINS).filter(|at| *at != DOWN).for_each(|at| history.world.cut_or_join(at, DOWN));
        }
        history
    }

    fn begin(&mut self, when: i64, act: Act) {
        self.begun += 1;
        self.coming.insert((when, self.begun), act);
    }

    /// Until all is over that was begun.
    fn run(&mut self) -> Held {
        while self.world.now < self.start + END {
            let due = (0..DOMAINS).filter_map(|at| Some((self.due(at)?, at))).min();
            let next = self.coming.first_key_value().map(|((when, _), _)| *when);
            match (due, next) {
                (None, None) => break,
                (Some((when, at)), next) if next.is_none_or(|next| when <= next) => {
                    self.world.now = self.world.now.max(when);
                    self.ticked[at] = self.world.now;
                    self.world.handle(at, Event::Tick);
                }
                _ => {
                    let ((when, _), act) = self.coming.pop_first().expect("something comes");
                    self.world.now = self.world.now.max(when);
                    self.act(act);
                }
            }
            self.follow();
            self.world.verdict()?;
        }
        Ok(())
    }

    /// When a domain has to be told the time.
    fn due(&self, at: usize) -> Option<i64> {
        let due = now(self.world.domains[at].catalog().next_due())?;
        let rounded = due.seconds + i64::from(due.nanos > 0);
        Some(rounded.max(self.ticked[at] + 1))
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Begin(at, client, image) => self.world.begin_backup_of(at, client, image),
            Act::End(at) => self.world.end_backup(at),
            Act::Do(at, command) => self.world.carry_out(at, command),
            Act::Say(answer) => {
                self.world.handle(answer.to, answer.event);
            }
            Act::Cut(one, other) => self.world.cut_or_join(one, other),
        }
    }

    /// Logs are read at once; what is commanded and answered takes its time; what is complete is noted.
    fn follow(&mut self) {
        for at in 0..DOMAINS {
            while self.world.domains[at]
                .pools_here()
                .into_iter()
                .any(|pool| self.world.unread(at, pool).is_some())
            {
                self.world.read_log(at);
            }
        }
        let time = self.world.now;
        for at in 0..DOMAINS {
            for command in std::mem::take(self.world.domains[at].commands()) {
                let seconds = match &command {
                    Command::Replicate(order) => 30 + i64::from(order.operation.image.0[0]) * 7,
                    Command::Duplicate(_) => 20,
                    _ => 2,
                };
                self.begin(time + seconds, Act::Do(at, command));
            }
        }
        for answer in std::mem::take(&mut self.world.answers) {
            self.begin(time + 1, Act::Say(Box::new(answer)));
        }
        for at in 0..DOMAINS {
            for operation in self.world.domains[at].catalog().all_operations() {
                let to = operation.target.as_ref().map(|target| self.world.at(target.partner));
                if let Some(to) = to.filter(|_| operation.state == OperationState::Complete) {
                    self.complete.entry((operation.key.image, at, to)).or_insert(time);
                }
            }
        }
    }
}

/// Goal: a target that is down delays nobody else (specification, 2).
/// Method: the same history twice, once with a target that never answers; every replication that is not for it is complete at
/// the same simulated second, and those for it wait with reason `target-down`.
#[test]
fn one_target_down_delays_nobody_else() {
    for seed in 0..100 {
        let (mut with, mut without) = (History::new(seed, false), History::new(seed, true));
        for history in [&mut with, &mut without] {
            history.run().unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        }
        let of_others = |history: &History| -> BTreeMap<_, _> {
            history
                .complete
                .iter()
                .filter(|((.., to), _)| *to != DOWN)
                .map(|(key, time)| (*key, *time))
                .collect()
        };
        assert_eq!(of_others(&with), of_others(&without), "seed {seed}");
        let mut waiting = 0;
        for (at, domain) in with.world.domains.iter().enumerate() {
            for operation in domain.catalog().all_operations() {
                assert_eq!(operation.state, OperationState::Complete, "seed {seed}: nothing is in the way");
                let there = without.world.domains[at].catalog();
                let Some(target) = &operation.target else { continue };
                let twin = now(there.operation(operation.key)).expect("it is made in both");
                let is_for_it = without.world.at(target.partner) == DOWN;
                let expected = if is_for_it {
                    OperationState::Waiting(WaitReason::TargetDown)
                } else {
                    OperationState::Complete
                };
                assert_eq!(twin.state, expected, "seed {seed}");
                waiting += usize::from(is_for_it);
            }
        }
        assert!(waiting > 0 && !of_others(&with).is_empty(), "seed {seed}: too little to say anything");
    }
}
