//! Windows: when work of SLPs may run.

use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};
use jiff::{Timestamp, ToSpan as _, civil::Date};
use narrows_api::{
    ApiError,
    error::codes,
    paths,
    slps::Format,
    storage::{RemoveReply, RemoveRequest},
    text::time_out,
    windows::{WindowInfo, WindowRequest, WindowText},
};
use narrows_domain::{
    Catalog as _,
    window::{Gate, Window, grid},
};

use super::{
    App,
    answer::{Answer, Body, Failure, good, internal},
    caller::Admin,
    storage::absent,
};
use crate::{
    limits::{WINDOW_DATES_MAX, WINDOW_LINES_MAX},
    pace,
    zones::{self, Offsets},
};

/// The routes of this file.
pub fn routes() -> Router<App> {
    Router::new()
        .route(paths::WINDOWS, get(list).post(apply))
        .route(paths::WINDOW, get(show))
        .route(paths::WINDOW_REMOVE, post(remove))
}

async fn list(State(app): State<App>, _admin: Admin) -> Answer<Vec<WindowInfo>> {
    let mut infos = Vec::new();
    for window in app.catalog.windows().await.map_err(|error| internal(&error))? {
        infos.push(info(&app, &window).await?);
    }
    good(infos)
}

async fn show(State(app): State<App>, _admin: Admin, Path(name): Path<String>) -> Answer<WindowInfo> {
    let known = app.catalog.windows().await.map_err(|error| internal(&error))?;
    let window = known.iter().find(|window| window.name == name);
    good(info(&app, window.ok_or_else(|| absent("window", &name, "window list"))?).await?)
}

async fn apply(
    State(app): State<App>,
    _admin: Admin,
    Body(request): Body<WindowRequest>,
) -> Answer<WindowInfo> {
    let window = read(&request)?;
    app.control.put_window(window.clone()).await?;
    pace::renew(&app).await;
    good(info(&app, &window).await?)
}

async fn remove(
    State(app): State<App>,
    _admin: Admin,
    Path(name): Path<String>,
    Body(request): Body<RemoveRequest>,
) -> Answer<RemoveReply> {
    let uses = app.control.window_uses(name.clone()).await?;
    if request.dry_run {
        let known = app.catalog.windows().await.map_err(|error| internal(&error))?;
        if !known.iter().any(|window| window.name == name) {
            return Err(absent("window", &name, "window list"));
        }
    } else {
        app.control.remove_window(name.clone()).await?;
    }
    good(RemoveReply { name, uses, removed: !request.dry_run })
}

/// Reads a window's text; each refusal names the file and the field.
fn read(request: &WindowRequest) -> Result<Window, Failure> {
    let place = |field: &str| match request.file.as_str() {
        "" => format!("field `{field}`"),
        file => format!("{file}: field `{field}`"),
    };
    let bad = |field: &str, message: String| ApiError::new(codes::MALFORMED, message).at(place(field));
    let text: WindowText = match request.format {
        Format::Toml => toml::from_str(&request.text).map_err(|error| error.to_string()),
        Format::Json => serde_json::from_str(&request.text).map_err(|error| error.to_string()),
    }
    .map_err(|why| {
        ApiError::new(codes::MALFORMED, "this is no window").at(request.file.clone()).because(why)
    })?;
    if text.name.is_empty()
        || text.name.trim() != text.name
        || text.name.len() > narrows_api::limits::NAME_BYTES_MAX
    {
        return Err(bad("name", format!("a window can't be called `{}`", text.name)).into());
    }
    if text.open.is_empty() || text.open.len() > WINDOW_LINES_MAX || text.excluded.len() > WINDOW_DATES_MAX {
        let message = format!("1 to {WINDOW_LINES_MAX} lines and at most {WINDOW_DATES_MAX} dates are taken");
        return Err(bad("open", message).into());
    }
    let mut open = Vec::new();
    for line in &text.open {
        open.extend(grid::parse(line).map_err(|error| bad("open", error.to_string()))?);
    }
    let mut excluded_days = Vec::new();
    for date in &text.excluded {
        let day = date.parse::<Date>().ok().and_then(days_since_1970);
        excluded_days
            .push(day.ok_or_else(|| bad("excluded", format!("`{date}` is no date like 2026-12-24")))?);
    }
    let Offsets { offset_minutes, transitions, .. } = zones::offsets(&text.zone, Timestamp::now())
        .ok_or_else(|| {
            let message = format!("there is no time zone `{}`", text.zone);
            bad("zone", message).help("name it as the IANA database does, e.g. \"Europe/Berlin\" or \"UTC\"")
        })?;
    Ok(Window { name: text.name, offset_minutes, open, excluded_days, zone: text.zone, transitions })
}

const EPOCH: Date = Date::constant(1970, 1, 1);

fn days_since_1970(date: Date) -> Option<i32> {
    Some(EPOCH.until(date).ok()?.get_days())
}

async fn info(app: &App, window: &Window) -> Result<WindowInfo, Failure> {
    let now = app.clock.now();
    let gate = window.gate(now);
    let dates = window.excluded_days.iter().filter_map(|day| EPOCH.checked_add(day.days()).ok());
    Ok(WindowInfo {
        text: WindowText {
            name: window.name.clone(),
            zone: if window.zone.is_empty() { fixed(window.offset_minutes) } else { window.zone.clone() },
            open: grid::lines(&window.open),
            excluded: dates.map(|date| date.to_string()).collect(),
        },
        is_open: gate == Gate::Open,
        changes: match gate {
            Gate::Open => window.closing(now).map(time_out),
            Gate::ShutUntil(opening) => opening.map(time_out),
        },
        uses: app.control.window_uses(window.name.clone()).await?,
    })
}

/// A fixed offset in words: windows of before zones were known have one.
fn fixed(offset_minutes: i16) -> String {
    let sign = if offset_minutes < 0 { '-' } else { '+' };
    let minutes = offset_minutes.unsigned_abs();
    format!("UTC{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}
