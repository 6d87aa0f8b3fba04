//! `slp apply|plan|list|show|pause|resume|defer|delete|migrate`; `slp new` is in [`super::templates`].

use std::{io::Read as _, path::Path};

use narrows_api::{
    ApiError, ExitCode, paths,
    server::Finding,
    slp_orders::{DeleteReply, HoldRequest, MigrateReply, MigrateRequest},
    slps::{ApplyReply, ApplyRequest, Format, SlpInfo},
    storage::RemoveRequest,
};

use super::{Session, slp_texts, templates};
use crate::{
    api::{Api, filled},
    cli::{SlpCommand, SlpDeferArgs, SlpFileArgs},
    confirm::ConsentArgs,
    failure::{Failure, Outcome},
    output::{counted, table, time},
};

pub(super) async fn run(session: &Session, command: SlpCommand) -> Outcome<ExitCode> {
    let command = match command {
        // Made here: no server is needed.
        SlpCommand::New(args) => return templates::new(session, &args).map(|()| ExitCode::Done),
        command => command,
    };
    let api = session.administrator()?;
    match command {
        SlpCommand::Apply(args) => return apply(session, &api, &args, false).await,
        SlpCommand::Plan(args) => return apply(session, &api, &args, true).await,
        SlpCommand::List => {
            let slps: Vec<SlpInfo> = api.get(paths::SLPS, &()).await?;
            session.style.show(&slps, |slps| list(slps))?;
        }
        SlpCommand::Show { name } => {
            let info: SlpInfo = api.get(&filled(paths::SLP, &name), &()).await?;
            session.style.show(&info, slp_texts::shown)?;
        }
        SlpCommand::Pause { name } => hold(session, &api, &name, None).await?,
        SlpCommand::Defer(SlpDeferArgs { name, until, span }) => {
            let in_span = span.and_then(|span| jiff::Timestamp::now().checked_add(span).ok());
            let until = until.or(in_span).ok_or_else(|| Failure::usage("that time is too far away"))?;
            hold(session, &api, &name, Some(until)).await?;
        }
        SlpCommand::Resume { name } => {
            let info: SlpInfo = api.post(&filled(paths::SLP_RESUME, &name), &()).await?;
            session.style.show(&info, |info| format!("{} goes on", info.name))?;
        }
        SlpCommand::Delete { name, sure } => delete(session, &api, &name, sure).await?,
        SlpCommand::Migrate { name, from, to, sure } => {
            migrate(session, &api, &name, (from, to), sure).await?;
        }
        SlpCommand::New(_) => {}
    }
    Ok(ExitCode::Done)
}

fn list(slps: &[SlpInfo]) -> String {
    let row = |info: &SlpInfo| {
        vec![
            info.name.clone(),
            info.version.to_string(),
            info.data_classification.clone(),
            info.operations.iter().map(|op| op.id.clone()).collect::<Vec<_>>().join(", "),
            info.images_unfinished.to_string(),
            time(info.applied),
            info.made_for.as_ref().map(|domain| format!("by itself, for {domain}")).unwrap_or_default(),
            info.held.map(slp_texts::hold).unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = slps.iter().map(row).collect();
    table(&["NAME", "VERSION", "CLASS", "OPERATIONS", "UNFINISHED", "APPLIED", "MADE", "HELD"], &rows)
}

async fn hold(session: &Session, api: &Api, name: &str, until: Option<jiff::Timestamp>) -> Outcome<()> {
    let info: SlpInfo = api.post(&filled(paths::SLP_HOLD, name), &HoldRequest { until }).await?;
    session.style.show(&info, |info| {
        let held = info.held.map(slp_texts::hold).unwrap_or_default();
        let images = counted(info.images_unfinished, "image is", "images are");
        format!("{} is {held}; {images} not complete", info.name)
    })
}

async fn delete(session: &Session, api: &Api, name: &str, sure: ConsentArgs) -> Outcome<()> {
    let path = filled(paths::SLP_DELETE, name);
    let counted: DeleteReply = api.post(&path, &RemoveRequest { dry_run: true }).await?;
    let reply = if sure.dry_run {
        counted
    } else {
        let versions = versions_of(&counted);
        let unasked = match counted.unasked.join(", ").as_str() {
            "" => String::new(),
            unasked => format!(" (could not be asked: {unasked})"),
        };
        if counted.uses.is_empty() {
            let what = format!("SLP `{name}` goes with {versions}; nothing refers to it{unasked}");
            sure.ask(session.style, &what, name)?;
        }
        api.post(&path, &RemoveRequest { dry_run: false }).await?
    };
    session.style.show(&reply, |reply| {
        let versions = versions_of(reply);
        let mut lines = vec![match (reply.deleted, reply.uses.len()) {
            (true, _) => format!("SLP `{name}` is deleted with {versions}"),
            (false, 0) => format!("SLP `{name}` would be deleted with {versions}"),
            (false, _) => format!("SLP `{name}` would not be deleted; referred to by"),
        }];
        lines.extend(reply.uses.iter().map(|used| format!("  {used}")));
        lines.extend(reply.unasked.iter().map(|domain| format!("  domain `{domain}` could not be asked")));
        lines.join("\n")
    })
}

/// `version 3`, or `versions 1, 3`.
fn versions_of(reply: &DeleteReply) -> String {
    let numbers: Vec<_> = reply.versions.iter().map(ToString::to_string).collect();
    let word = if numbers.len() == 1 { "version" } else { "versions" };
    format!("{word} {}", numbers.join(", "))
}

async fn migrate(
    session: &Session,
    api: &Api,
    name: &str,
    (from, to): (u32, u32),
    sure: ConsentArgs,
) -> Outcome<()> {
    let path = filled(paths::SLP_MIGRATE, name);
    let counted: MigrateReply = api.post(&path, &MigrateRequest { from, to, dry_run: true }).await?;
    let reply = if sure.dry_run {
        counted
    } else {
        let what = format!("SLP `{name}` from version {from} to {to}: {}", migrated(&counted));
        sure.ask(session.style, &what, name)?;
        api.post(&path, &MigrateRequest { from, to, dry_run: false }).await?
    };
    session.style.show(&reply, |reply| {
        let planned = if reply.migrated { "" } else { " (only counted)" };
        format!("{}{planned}", migrated(reply))
    })
}

fn migrated(reply: &MigrateReply) -> String {
    let images = counted(reply.images, "image", "images");
    let kept = counted(reply.kept, "operation goes on", "operations go on");
    let added = counted(reply.added, "is added", "are added");
    let retired = counted(reply.retired, "waits", "wait");
    let running =
        counted(reply.running, "is under way and stays as it is", "are under way and stay as they are");
    format!("{images}, {kept}, {added}, {retired} with reason target-retired, {running}")
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
    session.style.show(&reply, slp_texts::applied)?;
    // The plan is told whole; that the policy would be refused, the exit code tells.
    Ok(reply.errors.first().map_or(ExitCode::Done, ApiError::exit_code))
}

/// A finding on one line.
pub(super) fn sentence(finding: &Finding) -> String {
    let level = format!("{:?}", finding.level).to_lowercase();
    let help = if finding.help.is_empty() { String::new() } else { format!(" ({})", finding.help) };
    let code = if finding.code.is_empty() { String::new() } else { format!(" [{}]", finding.code) };
    format!("{level:8} {:10} {:16} {}{code}{help}", finding.side, finding.check, finding.message)
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
