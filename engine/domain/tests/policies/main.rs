//! Goal: each due time of a policy gets one image as long as anybody is there to make it within its window, and none gets
//! two, whatever goes away when.
//! Method: random walks over a [`Primary`] and the model catalog: agents come, die at every step of a backup, take too long
//! to say how it went; the server crashes; time passes. Rules that policies are refused by are in `rules.rs`.
#![expect(clippy::unwrap_used, reason = "helpers of a test: what fails in them fails the test")]

#[path = "../lifecycle/records.rs"]
mod records;
mod rules;
mod site;

use std::collections::BTreeMap;

use narrows_domain::image::ImageState;
use narrows_domain::limits::RUNS_KEPT_MIN;
use narrows_domain::model::Bug;
use narrows_domain::policy::{RunOutcome, RunState};
use site::{Site, note};

const WALKS: u64 = 80;
const STEPS: u32 = 150;

/// Random numbers out of a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        narrows_domain::retry::mix(self.0) % bound
    }
}

fn walk(seed: u64, bug: Option<Bug>) -> Result<(), String> {
    let mut dice = Dice(seed << 20);
    let mut site = Site::new(bug);
    for _ in 0..STEPS {
        let agent = usize::try_from(dice.below(2)).unwrap();
        match dice.below(12) {
            0..=2 => site.pass(i64::try_from(dice.below(90)).unwrap()),
            3 | 4 => site.ask(agent),
            5 => site.begin(agent),
            6 | 7 => site.commit(agent),
            8 => site.end(agent, RunOutcome::Done),
            9 => site.end(agent, RunOutcome::Failed(note())),
            10 => site.die(agent),
            _ => site.crash(),
        }
        check(&site)?;
    }
    // Everybody is well again: what is owed is done within the next window's first minutes.
    for _ in 0..40 {
        site.pass(61);
        for agent in 0..2 {
            site.ask(agent);
            site.begin(agent);
            site.commit(agent);
            site.end(agent, RunOutcome::Done);
        }
        check(&site)?;
    }
    let due = site.runs().iter().filter(|it| it.run.state == RunState::Done).count();
    if due < 40 {
        return Err(format!("only {due} runs were done though nothing was in the way"));
    }
    Ok(())
}

/// What always holds.
fn check(site: &Site) -> Result<(), String> {
    let mut live = BTreeMap::new();
    let mut running = BTreeMap::new();
    let mut images = BTreeMap::new();
    for numbered in site.runs() {
        let key = &numbered.run.key;
        if !numbered.run.state.is_final() {
            let before = live.insert((key.schedule.clone(), key.client), numbered.number);
            if let Some(before) = before {
                return Err(format!("runs {before} and {} are of one schedule and client", numbered.number));
            }
        }
        if numbered.run.state == RunState::Running
            && let Some(before) = running.insert(key.client, numbered.number)
        {
            return Err(format!("one client does runs {before} and {} at once", numbered.number));
        }
        let is_done = matches!(numbered.run.state, RunState::Done | RunState::Partial);
        if is_done && let Some(before) = images.insert(numbered.run.image, numbered.number) {
            return Err(format!("runs {before} and {} have one image", numbered.number));
        }
    }
    // Every due time is known by the image's kind and the time of its start.
    for (slot, made) in site.whole_by_slot() {
        if made.len() > 1 {
            return Err(format!("due time {slot:?} has {} whole images", made.len()));
        }
    }
    if let Some(image) = site.images().iter().find(|it| it.state == ImageState::Whole && it.policy != "often")
    {
        return Err(format!("image {} is of no policy", image.label()));
    }
    Ok(())
}

#[test]
fn each_due_time_has_at_most_one_image() {
    for seed in 0..WALKS {
        if let Err(wrong) = walk(seed, None) {
            panic!("seed {seed}: {wrong}");
        }
    }
}

/// Goal: the walks would notice.
#[test]
fn planted_bugs_are_caught() {
    for bug in [Bug::ForgetsSlots, Bug::ForgetsRunImages] {
        let caught = (0..WALKS / 2).find(|seed| walk(*seed, Some(bug)).is_err());
        assert!(caught.is_some(), "{bug:?} was not caught");
    }
}

/// What agent 0 is given and does until there is nothing, a few times at most; how much that was.
fn work_off(site: &mut Site) -> usize {
    let mut done = 0;
    while done < 20 {
        site.pass(1);
        site.ask(0);
        if !site.is_at_work(0) {
            break;
        }
        site.begin(0);
        site.commit(0);
        site.end(0, RunOutcome::Done);
        done += 1;
    }
    done
}

/// Symptom: a clock ran ahead by days and was set back; from then on a client was backed up again and again, because the
/// run of the future hid the one of today.
#[test]
fn after_a_clock_that_ran_ahead_each_due_time_is_done_once() {
    let mut site = Site::new(None);
    assert!((2..=3).contains(&work_off(&mut site)));
    site.pass(3 * 86_400);
    assert!((2..=3).contains(&work_off(&mut site)));
    site.pass(-3 * 86_400 + 3600);
    let done = work_off(&mut site);
    assert!(done <= 3, "{done} runs for two due times, and a minute that may have begun meanwhile");
    check(&site).unwrap();
}

/// Goal: what ended long ago is forgotten, but for what tells what was done; and nothing is done again for it.
#[test]
fn old_runs_are_forgotten_and_not_done_again() {
    let mut site = Site::new(None);
    let day = 86_400;
    let mut done = 0;
    for _ in 0..100 {
        done += work_off(&mut site);
        site.pass(day);
    }
    assert!(
        (200..=300).contains(&done),
        "{done} runs: one for each schedule, and now and then for the next minute"
    );
    let kept = |site: &Site| site.runs().iter().filter(|it| it.run.key.client.0[0] == 0).count();
    assert!((2 * 90..done - 10).contains(&kept(&site)), "{} of {done} runs of 100 days", kept(&site));
    // The client is away for a year: its last good runs are known still, and nothing of then is done again.
    site.pass(365 * day);
    let runs = site.runs();
    let is_good = |it: &&narrows_domain::catalog::NumberedRun| it.run.state == RunState::Done;
    assert!(runs.iter().filter(is_good).count() >= 2, "the last good one of each schedule");
    assert!(runs.len() <= 2 * 2 * (RUNS_KEPT_MIN + 1), "{} are left of last year", runs.len());
    assert!((2..=3).contains(&work_off(&mut site)));
    check(&site).unwrap();
}

/// Goal: an image that is whole ends its run, though the run was given up before the log said so.
#[test]
fn an_image_that_is_whole_ends_its_run_whenever_that_is_heard() {
    let mut site = Site::new(None);
    let state = |site: &Site| {
        let of_it = |it: &&narrows_domain::catalog::NumberedRun| it.run.image.is_some();
        site.runs().iter().find(of_it).map(|it| it.run.state)
    };
    site.ask(0);
    site.begin(0);
    // It falls silent while its commit is on its way.
    site.pass(61);
    assert_eq!(state(&site), Some(RunState::Waiting));
    site.commit(0);
    assert_eq!(state(&site), Some(RunState::Done));
    check(&site).unwrap();
}
