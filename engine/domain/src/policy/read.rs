//! Reads a backup policy from TOML or JSON, as SLPs are read, and writes it as JSON.
//!
//! Guarantee: what comes out is well-formed in itself: calendars, grids, dates and hooks hold. What it names is judged
//! by [`crate::policy::check()`].

use std::collections::BTreeSet;

use crate::limits::{
    CLIENTS_PER_POLICY_MAX, DATES_PER_SCHEDULE_MAX, EVERY_MIN, HOOK_TIME_MAX, HOOK_WORDS_MAX, NAME_BYTES_MAX,
    PATHS_PER_POLICY_MAX, PRIORITY_MAX, RETRIES_MAX, SCHEDULES_PER_POLICY_MAX,
};
use crate::policy::{Hook, Policy, Schedule, StartWindow};
use crate::slp::Retention;
use crate::slp::read::{Format, Unreadable, check_name, read};
use crate::window::grid;

/// Reads a policy.
pub fn parse(text: &str, format: Format) -> Result<Policy, Unreadable> {
    let policy: Policy = read(text, format)?;
    check_whole(&policy)?;
    let mut names = BTreeSet::new();
    for (at, schedule) in policy.schedules.iter().enumerate() {
        let place = |message: String| Unreadable::at_start(format!("schedule {}: {message}", at + 1));
        check_schedule(schedule).map_err(place)?;
        if !names.insert(schedule.name.as_str()) {
            return Err(place(format!("there is another schedule `{}`", schedule.name)));
        }
    }
    Ok(policy)
}

/// Writes a policy as JSON.
///
/// # Panics
/// Never: strings, numbers and lists of them always serialise.
pub fn to_json(policy: &Policy) -> String {
    serde_json::to_string(policy).expect("strings, numbers and lists of them always serialise")
}

fn check_whole(policy: &Policy) -> Result<(), Unreadable> {
    let bad = |message: String| Err(Unreadable::at_start(message));
    check_name("name", &policy.name)?;
    check_name("data_classification", &policy.data_classification)?;
    let (clients, paths) = (policy.clients.len(), policy.paths.len());
    if clients == 0 || clients > CLIENTS_PER_POLICY_MAX {
        return bad(format!("`clients` has {clients} names; it takes 1 to {CLIENTS_PER_POLICY_MAX}"));
    }
    if policy.clients.iter().collect::<BTreeSet<_>>().len() != clients {
        return bad("`clients` names one of them twice".to_owned());
    }
    if paths == 0 || paths > PATHS_PER_POLICY_MAX || policy.exclude.len() > PATHS_PER_POLICY_MAX {
        return bad(format!("`paths` takes 1 to {PATHS_PER_POLICY_MAX}, and `exclude` at most as many"));
    }
    if let Some(path) = policy.paths.iter().find(|path| !path.starts_with('/')) {
        return bad(format!("`paths` has {path:?}, which is not absolute"));
    }
    if policy.priority > PRIORITY_MAX {
        return bad(format!("`priority` is {}, at most {PRIORITY_MAX}", policy.priority));
    }
    if policy.schedules.len() > SCHEDULES_PER_POLICY_MAX {
        return bad(format!("more than {SCHEDULES_PER_POLICY_MAX} schedules"));
    }
    match (&policy.slp, &policy.storage, policy.retention) {
        (Some(_), None, None) | (None, Some(_), Some(Retention::Fixed(_))) => {}
        (Some(_), None, Some(_)) => {
            return bad("`retention` is the SLP's, here it is for a `storage`".to_owned());
        }
        (None, Some(_), _) => return bad("a `storage` needs a `retention = { fixed = \"30d\" }`".to_owned()),
        _ => return bad("one of `slp` and `storage` is needed".to_owned()),
    }
    let mut hooks = [&policy.before, &policy.after].into_iter().flatten();
    hooks.try_for_each(check_hook).map_err(Unreadable::at_start)
}

fn check_schedule(schedule: &Schedule) -> Result<(), String> {
    check_name("name", &schedule.name).map_err(|bad| bad.message)?;
    let Schedule { every, days, days_of_month, dates, excluded, .. } = schedule;
    let is_calendar = days.is_some() || !days_of_month.is_empty() || !dates.is_empty();
    match every {
        Some(_) if is_calendar => {
            return Err("`every` goes with none of `days`, `days_of_month`, `dates`".into());
        }
        Some(every) if every.span() < EVERY_MIN => return Err(format!("`every` is {every}, at least 1m")),
        None if !is_calendar => {
            return Err("one of `every`, `days`, `days_of_month`, `dates` is needed".into());
        }
        _ => {}
    }
    if let Some(days) = days {
        let rule = "mon, tue, wed, thu, fri, sat, sun, ranges and lists of them, or daily";
        grid::days_of(days).ok_or_else(|| format!("`days` is {days:?}: it takes {rule}"))?;
    }
    if let Some(day) = days_of_month.iter().find(|day| !matches!(day, -28..=-1 | 1..=31)) {
        return Err(format!("`days_of_month` has {day}; it takes 1 to 31, and -1 for the last day"));
    }
    if dates.len() > DATES_PER_SCHEDULE_MAX || excluded.len() > DATES_PER_SCHEDULE_MAX {
        return Err(format!("more than {DATES_PER_SCHEDULE_MAX} dates"));
    }
    if schedule.retries > RETRIES_MAX {
        return Err(format!("`retries` is {}, at most {RETRIES_MAX}", schedule.retries));
    }
    if let Some(StartWindow::Own(own)) = &schedule.window {
        if own.open.is_empty()
            || own.open.len() > DATES_PER_SCHEDULE_MAX
            || own.excluded.len() > DATES_PER_SCHEDULE_MAX
        {
            return Err(format!("`window.open` takes 1 to {DATES_PER_SCHEDULE_MAX} lines"));
        }
        for line in &own.open {
            grid::parse(line).map_err(|bad| format!("`window.open`: {bad}"))?;
        }
    }
    [&schedule.before, &schedule.after].into_iter().flatten().try_for_each(check_hook)
}

/// A program of the client's hooks folder: a bare name, so that a policy cannot run anything else.
fn check_hook(hook: &Hook) -> Result<(), String> {
    let Some(program) = hook.run.first() else { return Err("a hook's `run` is empty".to_owned()) };
    let is_bare = !program.is_empty()
        && program.len() <= NAME_BYTES_MAX
        && !program.starts_with('.')
        && !program.contains(['/', '\0']);
    if !is_bare {
        return Err(format!(
            "a hook's `run` begins with {program:?}: it takes the bare name of a program in the client's hooks folder"
        ));
    }
    if hook.run.len() > HOOK_WORDS_MAX || hook.run.iter().any(|word| word.contains('\0')) {
        return Err(format!("a hook's `run` takes at most {HOOK_WORDS_MAX} words"));
    }
    if hook.timeout.span() > HOOK_TIME_MAX {
        return Err(format!("a hook's `timeout` is {}, at most 1d", hook.timeout));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slp::read::Format;

    const NIGHTLY: &str = r#"
        name = "nightly"
        clients = ["web01", "web02"]
        paths = ["/etc", "/srv"]
        exclude = ["*.tmp"]
        slp = "gold"
        data_classification = "gold"
        before = { run = ["dump", "--all"], timeout = "5m" }

        [[schedule]]
        name = "week"
        kind = "full"
        days = "sun"
        excluded = ["2026-12-27"]
        window = { zone = "Europe/Berlin", open = ["daily 22:00-06:00"] }

        [[schedule]]
        name = "hours"
        kind = "incremental"
        every = "4h"
        window = "work"
        retries = 5
        backoff = "30s"
    "#;

    #[test]
    fn what_is_written_is_read_and_written_again() {
        let policy = parse(NIGHTLY, Format::Toml).unwrap();
        assert_eq!(parse(&to_json(&policy), Format::Json).unwrap(), policy);
        assert_eq!(policy.hook_before("week").unwrap().run, ["dump", "--all"]);
        assert_eq!((policy.schedules[0].retries, policy.schedules[1].retries), (2, 5));
        let bare =
            NIGHTLY.replace("slp = \"gold\"", "storage = \"default\"\nretention = { fixed = \"30d\" }");
        let bare = parse(&bare, Format::Toml).unwrap().bare_lifecycle().unwrap();
        assert_eq!((bare.slp.operations.len(), bare.slp.name.as_str()), (1, ""));
    }

    #[test]
    fn mistakes_are_said() {
        for (from, to, said) in [
            ("clients = [\"web01\", \"web02\"]", "clients = []", "clients"),
            ("\"web02\"", "\"web01\"", "twice"),
            ("\"/srv\"", "\"srv\"", "absolute"),
            ("slp = \"gold\"", "", "`slp`"),
            ("slp = \"gold\"", "slp = \"gold\"\nretention = { fixed = \"1d\" }", "retention"),
            ("slp = \"gold\"", "storage = \"gold\"", "retention"),
            ("\"dump\"", "\"/bin/sh\"", "hooks folder"),
            ("\"5m\"", "\"2d\"", "timeout"),
            ("days = \"sun\"", "days = \"noday\"", "schedule 1"),
            ("days = \"sun\"", "", "schedule 1"),
            ("days = \"sun\"", "days = \"sun\"\nevery = \"1h\"", "schedule 1"),
            ("days = \"sun\"", "days_of_month = [32]", "days_of_month"),
            ("every = \"4h\"", "every = \"4s\"", "schedule 2"),
            ("2026-12-27", "2026-12-32", "no date"),
            ("daily 22:00-06:00", "daily noon", "window.open"),
            ("name = \"hours\"", "name = \"week\"", "another schedule"),
            ("kind = \"full\"", "kind = \"whole\"", "whole"),
            ("retries = 5", "retries = 500", "retries"),
        ] {
            assert!(NIGHTLY.contains(from), "{from}");
            let bad = parse(&NIGHTLY.replace(from, to), Format::Toml).unwrap_err();
            assert!(bad.message.contains(said), "{from} -> {to}: {bad}");
        }
    }
}
