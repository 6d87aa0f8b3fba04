//! `slp apply|plan|list|show`.

use std::{io::Read as _, path::Path};

use narrows_api::{
    ApiError, ExitCode, paths,
    server::Finding,
    slps::{ApplyReply, ApplyRequest, Format, SlpInfo},
};

use super::Session;
use crate::{
    api::{Api, filled},
    cli::{SlpCommand, SlpFileArgs},
    failure::{Failure, Outcome},
    output::{table, time},
};

pub(super) async fn run(session: &Session, command: SlpCommand) -> Outcome<ExitCode> {
    let api = session.administrator()?;
    match command {
        SlpCommand::Apply(args) => return apply(session, &api, &args, false).await,
        SlpCommand::Plan(args) => return apply(session, &api, &args, true).await,
        SlpCommand::List => {
            let slps: Vec<SlpInfo> = api.get(paths::SLPS, &()).await?;
            session.style.show(&slps, |slps| {
                let row = |info: &SlpInfo| {
                    vec![
                        info.name.clone(),
                        info.version.to_string(),
                        info.data_classification.clone(),
                        info.operations.iter().map(|op| op.id.clone()).collect::<Vec<_>>().join(", "),
                        info.images_unfinished.to_string(),
                        time(info.applied),
                    ]
                };
                let rows: Vec<_> = slps.iter().map(row).collect();
                table(&["NAME", "VERSION", "CLASS", "OPERATIONS", "UNFINISHED", "APPLIED"], &rows)
            })?;
        }
        SlpCommand::Show { name } => {
            let info: SlpInfo = api.get(&filled(paths::SLP, &name), &()).await?;
            session.style.show(&info, |info| {
                format!(
                    "# {} version {}, applied {}, {} images unfinished\n{}",
                    info.name,
                    info.version,
                    time(info.applied),
                    info.images_unfinished,
                    info.text
                )
            })?;
        }
    }
    Ok(ExitCode::Done)
}

async fn apply(session: &Session, api: &Api, args: &SlpFileArgs, plan: bool) -> Outcome<ExitCode> {
    let (text, file) = read("the policy", &args.file)?;
    let request = ApplyRequest {
        format: if text.trim_start().starts_with('{') { Format::Json } else { Format::Toml },
        text,
        file,
        plan,
        unverified: args.unverified,
        accept_no_local_copy: args.accept_no_local_copy,
        in_place: args.in_place,
    };
    let reply: ApplyReply = api.post(paths::SLPS, &request).await?;
    session.style.show(&reply, |reply| {
        let applied = if reply.applied { "" } else { " (only planned)" };
        let mut lines =
            vec![format!("{} version {}: {}{applied}", reply.slp.name, reply.slp.version, reply.change)];
        lines.extend(reply.errors.iter().map(ToString::to_string));
        lines.extend(reply.findings.iter().map(sentence));
        lines.join("\n")
    })?;
    // The plan is told whole; that the policy would be refused, the exit code tells.
    Ok(reply.errors.first().map_or(ExitCode::Done, ApiError::exit_code))
}

/// A finding on one line.
pub(super) fn sentence(finding: &Finding) -> String {
    let level = format!("{:?}", finding.level).to_lowercase();
    let help = if finding.help.is_empty() { String::new() } else { format!(" ({})", finding.help) };
    format!("{level:8} {:10} {:16} {}{help}", finding.side, finding.check, finding.message)
}

/// A text that was named on the command line, and what to call its file.
pub(super) fn read(what: &str, file: &Path) -> Outcome<(String, String)> {
    let unread =
        |path: &Path, error: &std::io::Error| Failure::file(&format!("{what} cannot be read"), path, error);
    if file.as_os_str() == "-" {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        read.map_err(|error| unread(Path::new("standard input"), &error))?;
        return Ok((text, "standard input".to_owned()));
    }
    let text = std::fs::read_to_string(file).map_err(|error| unread(file, &error))?;
    Ok((text, file.display().to_string()))
}
