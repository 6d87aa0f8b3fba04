//! `window list|show|apply|delete`.

use narrows_api::{
    paths,
    slps::Format,
    windows::{WindowInfo, WindowRequest},
};

use super::{Session, removing, slps::read};
use crate::{
    api::filled,
    cli::WindowCommand,
    failure::Outcome,
    output::{table, time_or_dash},
};

pub(super) async fn run(session: &Session, command: WindowCommand) -> Outcome<()> {
    let api = session.administrator()?;
    let info: WindowInfo = match command {
        WindowCommand::List => {
            let windows: Vec<WindowInfo> = api.get(paths::WINDOWS, &()).await?;
            return session.style.show(&windows, |windows| list(windows));
        }
        WindowCommand::Show { name } => api.get(&filled(paths::WINDOW, &name), &()).await?,
        WindowCommand::Apply { file } => {
            let (text, file) = read("the window", &file)?;
            let format = if text.trim_start().starts_with('{') { Format::Json } else { Format::Toml };
            api.post(paths::WINDOWS, &WindowRequest { text, format, file }).await?
        }
        WindowCommand::Delete { name, sure } => {
            let path = filled(paths::WINDOW_REMOVE, &name);
            return removing::remove(session, &api, &path, ("window", &name), sure).await;
        }
    };
    session.style.show(&info, describe)
}

fn state(info: &WindowInfo) -> String {
    let (now, then) = if info.is_open { ("open", "closes") } else { ("shut", "opens") };
    match info.changes {
        Some(_) => format!("{now}, {then} {}", time_or_dash(info.changes)),
        None => format!("{now}, {then} on no day of the next 53 weeks"),
    }
}

fn list(windows: &[WindowInfo]) -> String {
    let row = |info: &WindowInfo| {
        vec![
            info.text.name.clone(),
            info.text.zone.clone(),
            info.text.open.join("; "),
            state(info),
            info.uses.len().to_string(),
        ]
    };
    let rows: Vec<_> = windows.iter().map(row).collect();
    table(&["NAME", "ZONE", "OPEN", "NOW", "OPERATIONS"], &rows)
}

fn describe(info: &WindowInfo) -> String {
    let mut lines = vec![
        format!("name       {}", info.text.name),
        format!("zone       {}", info.text.zone),
        format!("now        {}", state(info)),
    ];
    lines.extend(info.text.open.iter().map(|line| format!("open       {line}")));
    lines.extend(info.text.excluded.iter().map(|date| format!("excluded   {date}")));
    lines.extend(info.uses.iter().map(|used| format!("used by    {used}")));
    lines.join("\n")
}
