//! What is printed: tables and sentences for people, one line of JSON for programs, progress on a terminal.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
pub(crate) use narrows_api::size::{counted, shown as bytes};
use serde::Serialize;

use crate::failure::{Failure, Outcome, codes};

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Style {
    /// Prints a value for programs, or what `text` makes of it for people.
    pub(crate) fn show<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> Outcome<()> {
        match self {
            Self::Json => {
                let line = serde_json::to_string(value)
                    .map_err(|error| Failure::new(codes::BUG, error.to_string()))?;
                print(&format!("{line}\n"))
            }
            Self::Text => {
                let mut text = text(value);
                if !text.is_empty() && !text.ends_with('\n') {
                    text.push('\n');
                }
                print(&text)
            }
        }
    }

    /// The same on standard error, where standard output carries a file.
    pub(crate) fn show_aside<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> Outcome<()> {
        let line = match self {
            Self::Json => {
                serde_json::to_string(value).map_err(|error| Failure::new(codes::BUG, error.to_string()))?
            }
            Self::Text => text(value),
        };
        eprintln!("{}", line.trim_end());
        Ok(())
    }

    /// A bar on standard error; invisible when that is no terminal, or for programs.
    pub(crate) fn bar(self, what: &str, total: Option<u64>) -> ProgressBar {
        if self == Self::Json || !io::stderr().is_terminal() {
            return ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        }
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(10));
        let template = if total.is_some() {
            "{prefix:>10} {bar:30} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta} {msg}"
        } else {
            "{prefix:>10} {spinner} {decimal_bytes} {decimal_bytes_per_sec} {msg}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }

    /// A remark on standard error, for people only.
    pub(crate) fn remark(self, text: &str) {
        if self == Self::Text {
            eprintln!("{text}");
        }
    }
}

/// Writes to standard output; a reader that has gone is no failure.
pub(crate) fn print(text: &str) -> Outcome<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(codes::FILE, "standard output cannot be written").because(error.to_string()))
        }
        _ => Ok(()),
    }
}

/// A plain table; columns as wide as their widest cell.
pub(crate) fn table(headers: &[&str], rows: &[Vec<String>]) -> String {
    table_of(headers, &[], rows)
}

/// The same; what stands under the headers in `figures` ends below one another.
pub(crate) fn table_of(headers: &[&str], figures: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([headers[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headers.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let pad = |((cell, width), header)| {
            if figures.contains(header) { format!("{cell:>width$}") } else { format!("{cell:width$}") }
        };
        let padded: Vec<String> = cells.zip(widths.iter().copied()).zip(headers).map(pad).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut text = line(&mut headers.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

/// A span of time for people: two units at most.
pub(crate) fn span(millis: u64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0..10 => format!("{seconds}.{:03} s", millis % 1000),
        10..60 => format!("{seconds}.{} s", millis % 1000 / 100),
        60..3600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {:02} m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {:02} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// A point in time for people, in UTC.
pub(crate) fn time(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// A point in time that may be none.
pub(crate) fn time_or_dash(at: Option<jiff::Timestamp>) -> String {
    at.map_or_else(|| "-".to_owned(), time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up() {
        let rows = vec![vec!["a".into(), "bcd".into()], vec!["long".into(), String::new()]];
        assert_eq!(table(&["N", "VALUE"], &rows), "N     VALUE\na     bcd\nlong\n");
        assert_eq!(table_of(&["N", "VALUE"], &["N", "VALUE"], &rows), "   N  VALUE\n   a    bcd\nlong\n");
    }

    #[test]
    fn spans_are_readable() {
        for (millis, text) in [
            (0, "0.000 s"),
            (9_999, "9.999 s"),
            (10_049, "10.0 s"),
            (59_999, "59.9 s"),
            (192_000, "3 m 12 s"),
            (7_500_000, "2 h 05 m"),
            (273_600_000, "3 d 04 h"),
        ] {
            assert_eq!(span(millis), text);
        }
    }
}
