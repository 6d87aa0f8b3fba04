//! Reads a policy from TOML or JSON and writes it as JSON.
//!
//! Guarantee: what was written by [`to_json`] is read back the same. It does not judge what the text
//! asks for: that is [`crate::slp::check()`]. An unknown field is an error, so that a typing mistake never
//! silently means "default".

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::limits::{NAME_BYTES_MAX, OPERATIONS_PER_SLP_MAX, PRIORITY_MAX, SLP_TEXT_BYTES_MAX};
use crate::period::Period;
use crate::slp::{Retention, Slp};

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// TOML.
    Toml,
    /// JSON.
    Json,
}

impl Format {
    /// JSON if the first visible character is `{`, TOML otherwise.
    pub fn guess(text: &str) -> Self {
        if text.trim_start().starts_with('{') { Self::Json } else { Self::Toml }
    }
}

/// The text is no policy at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct Unreadable {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// What the parser met.
    pub message: String,
}

impl Unreadable {
    pub(crate) fn at_start(message: impl Into<String>) -> Self {
        Self { line: 1, column: 1, message: message.into() }
    }
}

/// Reads a policy.
pub fn parse(text: &str, format: Format) -> Result<Slp, Unreadable> {
    let slp = read(text, format)?;
    check_bounds(&slp)?;
    Ok(slp)
}

/// Reads what people declare; what is wrong is said with its place.
pub(crate) fn read<T: DeserializeOwned>(text: &str, format: Format) -> Result<T, Unreadable> {
    if text.len() > SLP_TEXT_BYTES_MAX {
        return Err(Unreadable::at_start(format!("the text is longer than {SLP_TEXT_BYTES_MAX} bytes")));
    }
    match format {
        Format::Toml => toml::from_str(text).map_err(|error| toml_error(text, &error)),
        Format::Json => serde_json::from_str(text).map_err(|error| Unreadable {
            line: error.line(),
            column: error.column(),
            message: json_message(&error),
        }),
    }
}

/// Writes a policy as JSON.
///
/// # Panics
/// Never: strings, numbers and lists of them always serialise.
pub fn to_json(slp: &Slp) -> String {
    serde_json::to_string(slp).expect("strings, numbers and lists of them always serialise")
}

fn check_bounds(slp: &Slp) -> Result<(), Unreadable> {
    check_name("name", &slp.name)?;
    check_name("data_classification", &slp.data_classification)?;
    if slp.priority > PRIORITY_MAX {
        return Err(Unreadable::at_start(format!("`priority` is {}, at most {PRIORITY_MAX}", slp.priority)));
    }
    if slp.operations.len() > OPERATIONS_PER_SLP_MAX {
        return Err(Unreadable::at_start(format!("more than {OPERATIONS_PER_SLP_MAX} operations")));
    }
    slp.operations.iter().try_for_each(|operation| check_name("id", &operation.id))
}

/// A name is one word that can stand in a command line, a file name and a log.
pub(crate) fn check_name(field: &str, name: &str) -> Result<(), Unreadable> {
    if is_name(name) {
        return Ok(());
    }
    let rule = format!("1 to {NAME_BYTES_MAX} letters, digits, `-`, `_`, `.`, not beginning with `-` or `.`");
    Err(Unreadable::at_start(format!("`{field}` is {name:?}: a name has {rule}")))
}

/// Whether a text can name an SLP, an operation, a unit, a domain or a client.
pub fn is_name(name: &str) -> bool {
    let legal = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.chars().all(legal)
        && !name.starts_with(['-', '.'])
}

fn toml_error(text: &str, error: &toml::de::Error) -> Unreadable {
    let offset = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    Unreadable { line, column, message: error.message().to_owned() }
}

/// The parser repeats the place at the end of its message.
fn json_message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// Retention as it is spelt: a word, or a table with exactly one kind.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum RetentionText {
    Word(String),
    Table(RetentionTable),
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetentionTable {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fixed: Option<Period>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<Nothing>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_least: Option<Period>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_most: Option<Period>,
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "expire-after-copy")]
    expire_after_copy: Option<Nothing>,
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "capacity-managed")]
    capacity_managed: Option<Nothing>,
}

/// The `{}` in `target = {}`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

impl TryFrom<RetentionText> for Retention {
    type Error = String;

    fn try_from(text: RetentionText) -> Result<Self, String> {
        let kinds =
            "one of { fixed = \"30d\" }, { target = {} }, \"expire-after-copy\", \"capacity-managed\"";
        let table = match text {
            RetentionText::Word(word) => {
                return match word.as_str() {
                    "expire-after-copy" => Ok(Self::ExpireAfterCopy),
                    "capacity-managed" => Ok(Self::CapacityManaged),
                    _ => Err(format!("retention is {kinds}, not `{word}`")),
                };
            }
            RetentionText::Table(table) => table,
        };
        let RetentionTable { fixed, target, at_least, at_most, expire_after_copy, capacity_managed } = table;
        let bounded = at_least.is_some() || at_most.is_some();
        match (fixed, target, expire_after_copy, capacity_managed) {
            (None, Some(_), None, None)
                if at_least.zip(at_most).is_some_and(|(least, most)| least > most) =>
            {
                Err("`at_least` is longer than `at_most`".to_owned())
            }
            (None, Some(_), None, None) => Ok(Self::Target { at_least, at_most }),
            _ if bounded => Err("`at_least` and `at_most` belong to `target = {}`".to_owned()),
            (Some(period), None, None, None) => Ok(Self::Fixed(period)),
            (None, None, Some(_), None) => Ok(Self::ExpireAfterCopy),
            (None, None, None, Some(_)) => Ok(Self::CapacityManaged),
            _ => Err(format!("retention is exactly {kinds}")),
        }
    }
}

impl From<Retention> for RetentionText {
    fn from(retention: Retention) -> Self {
        Self::Table(match retention {
            Retention::Fixed(period) => RetentionTable { fixed: Some(period), ..RetentionTable::default() },
            Retention::ExpireAfterCopy => return Self::Word("expire-after-copy".to_owned()),
            Retention::CapacityManaged => return Self::Word("capacity-managed".to_owned()),
            Retention::Target { at_least, at_most } => {
                RetentionTable { target: Some(Nothing {}), at_least, at_most, ..RetentionTable::default() }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slp::{Kind, TargetSpec};

    const GOLD: &str = r#"
        name = "gold"
        data_classification = "gold"
        priority = 50000

        [[operation]]
        id = "backup"
        kind = "backup"
        storage = "stu-a"
        retention = { fixed = "30d" }

        [[operation]]
        id = "to-dr"
        kind = "replication"
        source = "backup"
        target = { domain = "dr", import_slp = "gold-import" }
        retention = { fixed = "90d" }
        window = "nights"
    "#;

    #[test]
    fn the_specifications_own_examples_are_read() {
        let slp = parse(GOLD, Format::Toml).unwrap();
        assert_eq!(slp.operations.len(), 2);
        assert_eq!(slp.operations[1].named_target().unwrap().import_slp.as_deref(), Some("gold-import"));
        let import = r#"
            name = "gold-import"
            [[operation]]
            id = "import"
            kind = "import"
            storage = "stu-dr"
            retention = { target = {}, at_least = "14d", at_most = "1y" }
        "#;
        let import = parse(import, Format::Toml).unwrap();
        assert_eq!(import.data_classification, "any");
        let bounds = Retention::Target { at_least: Some(Period::days(14)), at_most: Some(Period::days(365)) };
        assert_eq!(import.operations[0].retention, Some(bounds));
    }

    #[test]
    fn json_reads_back_what_was_written() {
        let mut slp = parse(GOLD, Format::Toml).unwrap();
        slp.operations[1].target = Some(TargetSpec::Word("all".into()));
        for retention in [
            Retention::ExpireAfterCopy,
            Retention::CapacityManaged,
            Retention::Target { at_least: None, at_most: Some(Period::days(3)) },
        ] {
            slp.operations[0].retention = Some(retention);
            slp.operations[0].kind = Kind::Import;
            let text = to_json(&slp);
            assert_eq!(Format::guess(&text), Format::Json);
            assert_eq!(parse(&text, Format::Json).unwrap(), slp);
        }
    }

    #[test]
    fn mistakes_are_said_with_their_place() {
        let typo = GOLD.replace("storage =", "storgae =");
        let error = parse(&typo, Format::Toml).unwrap_err();
        assert!(error.message.contains("storgae"), "{error}");
        assert!(error.line > 5, "{error}");
        let error = parse("{\n \"name\": 7 }", Format::Json).unwrap_err();
        assert_eq!(error.line, 2);
        assert!(!error.message.contains("at line"), "{error}");
        for (from, to) in [
            ("\"30d\"", "\"30\""),
            ("{ fixed = \"30d\" }", "{ fixed = \"30d\", target = {} }"),
            ("{ fixed = \"30d\" }", "{ fixed = \"30d\", at_least = \"1d\" }"),
            ("{ fixed = \"30d\" }", "{ target = {}, at_least = \"2d\", at_most = \"1d\" }"),
            ("{ fixed = \"30d\" }", "\"for ever\""),
            ("50000", "100000"),
            ("\"gold\"", "\"go ld\""),
            ("\"backup\"\n", "\"\"\n"),
        ] {
            assert!(parse(&GOLD.replace(from, to), Format::Toml).is_err(), "{from} -> {to}");
        }
        assert!(parse(&" ".repeat(SLP_TEXT_BYTES_MAX + 1), Format::Toml).is_err());
    }
}
