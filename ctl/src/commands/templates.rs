//! `slp new`: policies to begin with. Nothing is asked: what is printed is applied by hand, last domain first.

use std::fmt::Write as _;

use serde::Serialize;

use super::Session;
use crate::{
    cli::{SlpNewArgs, TemplateArg},
    failure::{Failure, Outcome},
};

/// One policy for one domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Made {
    /// The domain to apply it in; empty is the one that backs up.
    domain: String,
    /// What to call the file.
    file: String,
    /// The policy.
    text: String,
}

pub(super) fn new(session: &Session, args: &SlpNewArgs) -> Outcome<()> {
    let made = make(args)?;
    let Some(dir) = &args.dir else {
        return session.style.show(&made, |made| {
            let texts = made.iter().map(|it| format!("# {}\n{}", heading(it), it.text));
            texts.collect::<Vec<_>>().join("\n")
        });
    };
    let unwritten = |path: &std::path::Path, error: &std::io::Error| {
        Failure::file("a policy cannot be written", path, error)
    };
    std::fs::create_dir_all(dir).map_err(|error| unwritten(dir, &error))?;
    for it in &made {
        let path = dir.join(&it.file);
        // What was edited already is not written over.
        let opened = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
        opened
            .and_then(|mut file| std::io::Write::write_all(&mut file, it.text.as_bytes()))
            .map_err(|error| unwritten(&path, &error))?;
    }
    session.style.show(&made, |made| {
        made.iter()
            .map(|it| format!("{}: {}", dir.join(&it.file).display(), heading(it)))
            .collect::<Vec<_>>()
            .join("\n")
    })
}

fn heading(made: &Made) -> String {
    let place = if made.domain.is_empty() { "the domain that backs up" } else { &made.domain };
    format!("apply in {place}: narrowsctl slp apply -f {}", made.file)
}

/// The policies, in the order in which they are applied: each names only what is there by then.
fn make(args: &SlpNewArgs) -> Outcome<Vec<Made>> {
    let SlpNewArgs { name, template, to, storage, .. } = args;
    let many = match (template, to.as_slice()) {
        (TemplateArg::OneToOne, [_]) | (TemplateArg::FanOut | TemplateArg::Cascade, [_, _, ..]) => {
            to.as_slice()
        }
        (TemplateArg::OneToOne, _) => return Err(wrong_number("one-to-one", "one --to")),
        (TemplateArg::FanOut, _) => return Err(wrong_number("fan-out", "at least two --to")),
        (TemplateArg::Cascade, _) => return Err(wrong_number("cascade", "at least two --to, in order")),
    };
    let import = format!("{name}-import");
    let mut made = Vec::new();
    for (at, domain) in many.iter().enumerate().rev() {
        let next = many.get(at + 1).filter(|_| *template == TemplateArg::Cascade);
        let mut text = format!(
            "name = {}\ndata_classification = \"any\"\n\n[[operation]]\nid = \"import\"\nkind = \"import\"\n\
             storage = {}\nretention = {{ target = {{}}, at_least = \"14d\", at_most = \"1y\" }}\n",
            quoted(&import),
            quoted(storage)
        );
        if let Some(next) = next {
            text.push_str(&replication("import", next, &import));
        }
        made.push(Made { domain: domain.clone(), file: format!("{import}.{domain}.toml"), text });
    }
    let mut text = format!(
        "name = {}\ndata_classification = \"any\"\n\n[[operation]]\nid = \"backup\"\nkind = \"backup\"\n\
         storage = {}\nretention = {{ fixed = \"30d\" }}\n",
        quoted(name),
        quoted(storage)
    );
    let direct = if *template == TemplateArg::Cascade { &many[..1] } else { many };
    for domain in direct {
        text.push_str(&replication("backup", domain, &import));
    }
    made.push(Made { domain: String::new(), file: format!("{name}.toml"), text });
    Ok(made)
}

fn wrong_number(template: &str, needed: &str) -> Failure {
    Failure::usage(format!("the template {template} takes {needed}"))
}

fn replication(source: &str, domain: &str, import: &str) -> String {
    let mut text = String::new();
    let id = quoted(&format!("to-{domain}"));
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "\n[[operation]]\nid = {id}\nkind = \"replication\"\nsource = \"{source}\"\n\
         target = {{ domain = {}, import_slp = {} }}\nretention = {{ fixed = \"90d\" }}\n",
        quoted(domain),
        quoted(import)
    );
    text
}

/// As a TOML string: JSON's form of a string is one too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(template: TemplateArg, to: &[&str]) -> SlpNewArgs {
        let to = to.iter().map(|domain| (*domain).to_owned()).collect();
        SlpNewArgs { name: "gold".into(), template, to, storage: "default".into(), dir: None }
    }

    /// Goal: each template gives TOML with the operations that its name promises, imports before what names them.
    #[test]
    fn templates_are_policies_in_the_order_of_their_use() {
        for (template, to, expected) in [
            (TemplateArg::OneToOne, &["west"][..], vec![("west", 1), ("", 2)]),
            (TemplateArg::FanOut, &["west", "north"], vec![("north", 1), ("west", 1), ("", 3)]),
            (TemplateArg::Cascade, &["west", "north"], vec![("north", 1), ("west", 2), ("", 2)]),
        ] {
            let made = make(&args(template, to)).unwrap();
            let found: Vec<_> = made
                .iter()
                .map(|it| {
                    let table: toml::Table = it.text.parse().unwrap();
                    (it.domain.as_str(), table["operation"].as_array().unwrap().len())
                })
                .collect();
            assert_eq!(found, expected, "{template:?}");
        }
        let cascade = make(&args(TemplateArg::Cascade, &["west", "north"])).unwrap();
        assert!(cascade[1].text.contains("source = \"import\"") && cascade[1].text.contains("\"north\""));
        assert!(cascade[2].text.contains("domain = \"west\"") && !cascade[2].text.contains("north"));
    }

    #[test]
    fn each_template_takes_its_number_of_domains() {
        for (template, to) in [
            (TemplateArg::OneToOne, &["a", "b"][..]),
            (TemplateArg::FanOut, &["a"]),
            (TemplateArg::Cascade, &["a"]),
        ] {
            assert_eq!(make(&args(template, to)).unwrap_err().exit_code(), narrows_api::ExitCode::Usage);
        }
    }
}
