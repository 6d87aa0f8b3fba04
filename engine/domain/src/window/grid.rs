//! The weekly grid as people write it: `mon-fri 22:00-06:00`.
//!
//! Days are `mon` to `sun`, ranges of them (`fri-mon` runs over the end of the week), lists of both by commas,
//! or `daily`. A time to that is not after the time from is on the next day; `00:00-24:00` is a whole day.

use super::OpenSpan;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY_MINUTES: u16 = 24 * 60;

/// A line that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{line}` is not like `mon-fri 22:00-06:00`: {why}")]
pub struct BadLine {
    /// What was written.
    pub line: String,
    /// What is wrong with it.
    pub why: String,
}

/// The spans that a line stands for, one for each of its days.
pub fn parse(line: &str) -> Result<Vec<OpenSpan>, BadLine> {
    let bad = |why: &str| BadLine { line: line.to_owned(), why: why.to_owned() };
    let mut words = line.split_whitespace();
    let (Some(days), Some(times), None) = (words.next(), words.next(), words.next()) else {
        return Err(bad("it needs days and a time from and to"));
    };
    let (from, to) = times.split_once('-').ok_or_else(|| bad("the times are not `from-to`"))?;
    let from = minute(from).filter(|from| *from < DAY_MINUTES);
    let (Some(from), Some(to)) = (from, minute(to)) else {
        return Err(bad("times are 00:00 to 23:59, and 24:00 at the end"));
    };
    if from == to {
        return Err(bad("it would be open for no time; a whole day is 00:00-24:00"));
    }
    let minutes = if to > from { to - from } else { to + DAY_MINUTES - from };
    let days = days_of(days).ok_or_else(|| bad("days are mon, tue, wed, thu, fri, sat, sun or daily"))?;
    Ok(days.into_iter().map(|day| OpenSpan { from_minute: day * DAY_MINUTES + from, minutes }).collect())
}

/// The lines that a grid is written with, days of the same times together.
pub fn lines(open: &[OpenSpan]) -> Vec<String> {
    let mut times: Vec<(u16, u16)> =
        open.iter().map(|span| (span.from_minute % DAY_MINUTES, span.minutes)).collect();
    times.sort_unstable();
    times.dedup();
    let line = |(from, minutes): (u16, u16)| {
        let is_of = |span: &&OpenSpan| (span.from_minute % DAY_MINUTES, span.minutes) == (from, minutes);
        let mut days: Vec<u16> =
            open.iter().filter(is_of).map(|span| span.from_minute / DAY_MINUTES).collect();
        days.sort_unstable();
        days.dedup();
        let to = if from + minutes == DAY_MINUTES { DAY_MINUTES } else { (from + minutes) % DAY_MINUTES };
        format!("{} {}-{}", words_of(&days), clock(from), clock(to))
    };
    times.into_iter().map(line).collect()
}

fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let is_digits = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(hours) || !is_digits(minutes) {
        return None;
    }
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    let minute = hours * 60 + minutes;
    (minutes < 60 && minute <= DAY_MINUTES).then_some(minute)
}

fn clock(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

fn day_of(word: &str) -> Option<u16> {
    let at = DAYS.iter().position(|day| *day == word)?;
    u16::try_from(at).ok()
}

/// Days as a line begins with, Monday being 0; in order.
pub(crate) fn days_of(text: &str) -> Option<Vec<u16>> {
    let mut days = Vec::new();
    for part in text.split(',') {
        match part.split_once('-') {
            None if part == "daily" => days.extend(0..7),
            None => days.push(day_of(part)?),
            Some((first, last)) => {
                let (first, last) = (day_of(first)?, day_of(last)?);
                let count = (last + 7 - first) % 7;
                days.extend((0..=count).map(|more| (first + more) % 7));
            }
        }
    }
    days.sort_unstable();
    days.dedup();
    Some(days)
}

/// Days in order: runs of three and more as a range.
fn words_of(days: &[u16]) -> String {
    if days.len() == DAYS.len() {
        return "daily".to_owned();
    }
    let name = |day: u16| DAYS.get(usize::from(day)).copied().unwrap_or("day");
    let mut words: Vec<String> = Vec::new();
    for run in days.chunk_by(|one, next| one + 1 == *next) {
        match run {
            [first, .., last] if run.len() > 2 => words.push(format!("{}-{}", name(*first), name(*last))),
            run => words.extend(run.iter().map(|day| name(*day).to_owned())),
        }
    }
    words.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_written_again() {
        for (line, spans, again) in [
            ("mon 08:00-12:30", vec![(480, 270)], "mon 08:00-12:30"),
            ("sun 22:00-06:00", vec![(6 * 1440 + 1320, 480)], "sun 22:00-06:00"),
            (
                "sat-mon,mon 00:00-24:00",
                vec![(0, 1440), (5 * 1440, 1440), (6 * 1440, 1440)],
                "mon,sat,sun 00:00-24:00",
            ),
        ] {
            let read = parse(line).unwrap();
            let found: Vec<_> = read.iter().map(|span| (span.from_minute, span.minutes)).collect();
            assert_eq!((found, lines(&read)), (spans, vec![again.to_owned()]), "{line}");
        }
        let mut week = parse("daily 22:00-23:00").unwrap();
        week.extend(parse("mon-fri 12:00-13:00").unwrap());
        assert_eq!(lines(&week), ["mon-fri 12:00-13:00", "daily 22:00-23:00"]);
    }

    #[test]
    fn what_is_no_line_says_why() {
        for line in [
            "",
            "mon",
            "mon 8:00-9:00",
            "mon 10:00-10:00",
            "fun 10:00-11:00",
            "mon 24:00-01:00",
            "mon 10:00-24:01",
            "mon 10:60-11:00",
            "mon-10:00 11:00",
            "mon 10:00-11:00 x",
        ] {
            let bad = parse(line).unwrap_err();
            assert!(!bad.why.is_empty() && bad.to_string().contains("mon-fri 22:00-06:00"), "{line}");
        }
    }
}
