//! Time zones of windows: the domain knows offsets and when they change, the zone database is here.
//!
//! Guarantee: a window's offsets are known for [`ZONE_DAYS_AHEAD`] from the last start or day on; they are
//! stored anew when the database says otherwise, so a new release of it takes effect by a restart.

use jiff::{SignedDuration, Timestamp, Zoned, tz::TimeZone};
use narrows_domain::{
    Catalog as _,
    policy::{Policy, Schedule, StartWindow},
    window::{Transition, Window, grid},
};

use crate::{
    api::{App, answer::Failure},
    limits::ZONE_DAYS_AHEAD,
};

/// What a zone's local time is from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offsets {
    /// From when on they are known, in seconds since 1970.
    pub from: i64,
    /// Minutes east of UTC from then to the first transition.
    pub offset_minutes: i16,
    /// When that changes.
    pub transitions: Vec<Transition>,
}

/// The offsets of an IANA zone; `None`: there is no such zone.
pub fn offsets(zone: &str, now: Timestamp) -> Option<Offsets> {
    let zone = TimeZone::get(zone).ok()?;
    // From a day earlier: a clock may be set back a little without asking anew.
    let from = now.checked_sub(SignedDuration::from_hours(24)).unwrap_or(now);
    let to = now.checked_add(SignedDuration::from_hours(24 * ZONE_DAYS_AHEAD)).unwrap_or(Timestamp::MAX);
    let ahead = zone.following(from).take_while(|transition| transition.timestamp() <= to);
    let transitions = ahead.map(|transition| Transition {
        at: transition.timestamp().as_second(),
        offset_minutes: minutes(transition.offset().seconds()),
    });
    Some(Offsets {
        from: from.as_second(),
        offset_minutes: minutes(Zoned::new(from, zone.clone()).offset().seconds()),
        transitions: transitions.collect(),
    })
}

fn minutes(seconds: i32) -> i16 {
    i16::try_from(seconds.div_euclid(60)).unwrap_or(0)
}

/// Stores the windows anew whose offsets are others now.
pub async fn renew(app: &App) {
    renew_own(app).await;
    let windows = match app.catalog.windows().await {
        Ok(windows) => windows,
        Err(error) => return tracing::error!(%error, "the windows can't be read"),
    };
    for window in windows.into_iter().filter(|window| !window.zone.is_empty()) {
        let Some(offsets) = offsets(&window.zone, Timestamp::now()) else {
            tracing::error!(window = window.name, zone = window.zone, "there is no such zone any more");
            continue;
        };
        if is_news(&window, &offsets)
            && let Err(Failure(error)) = app.control.put_window(with(window, offsets)).await
        {
            tracing::error!(%error, "a window's offsets could not be stored");
        }
    }
}

/// The windows that a policy's schedules have of their own, by schedule; or the place of the first whose zone does not
/// exist, and that zone. Their grids hold already.
pub fn own_windows(policy: &Policy) -> Result<Vec<Option<Window>>, (usize, String)> {
    let window = |(at, schedule): (usize, &Schedule)| {
        let Some(StartWindow::Own(own)) = &schedule.window else { return Ok(None) };
        let known = offsets(&own.zone, Timestamp::now()).ok_or_else(|| (at, own.zone.clone()))?;
        Ok(Some(Window {
            name: format!("{}/{}", policy.name, schedule.name),
            offset_minutes: known.offset_minutes,
            open: own.open.iter().flat_map(|line| grid::parse(line).into_iter().flatten()).collect(),
            excluded_days: own.excluded.iter().map(|date| date.0).collect(),
            zone: own.zone.clone(),
            transitions: known.transitions,
        }))
    };
    policy.schedules.iter().enumerate().map(window).collect()
}

/// Stores the own windows of policies anew whose offsets are others now.
async fn renew_own(app: &App) {
    let policies = match app.catalog.policies().await {
        Ok(policies) => policies,
        Err(error) => return tracing::error!(%error, "the policies can't be read"),
    };
    for stored in policies {
        let windows = match own_windows(&stored.policy) {
            Ok(windows) => windows,
            Err((_, zone)) => {
                tracing::error!(policy = stored.policy.name, zone, "there is no such zone any more");
                continue;
            }
        };
        let news = |(known, fresh): (&Option<Window>, &Option<Window>)| match (known, fresh) {
            (Some(known), Some(fresh)) => is_news(known, &offsets_of(fresh)),
            (known, fresh) => known.is_some() != fresh.is_some(),
        };
        if !stored.windows.iter().zip(&windows).any(news) {
            continue;
        }
        let name = stored.policy.name;
        let put = app.control.act(move |primary, _| {
            Box::pin(async move { Ok((primary.put_policy_windows(&name, windows).await?, Vec::new())) })
        });
        if let Err(Failure(error)) = put.await {
            tracing::error!(%error, "a policy's offsets could not be stored");
        }
    }
}

fn offsets_of(window: &Window) -> Offsets {
    let from = Timestamp::now().checked_sub(SignedDuration::from_hours(24)).unwrap_or(Timestamp::now());
    Offsets {
        from: from.as_second(),
        offset_minutes: window.offset_minutes,
        transitions: window.transitions.clone(),
    }
}

/// A window with these offsets.
pub fn with(window: Window, Offsets { offset_minutes, transitions, .. }: Offsets) -> Window {
    Window { offset_minutes, transitions, ..window }
}

/// Whether what is stored ends before it has to, or is not what the database says.
fn is_news(window: &Window, offsets: &Offsets) -> bool {
    let past = window.transitions.iter().take_while(|transition| transition.at < offsets.from);
    let offset = past.last().map_or(window.offset_minutes, |transition| transition.offset_minutes);
    let known = window.transitions.iter().skip_while(|transition| transition.at < offsets.from);
    offset != offsets.offset_minutes || !known.eq(&offsets.transitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_change_when_the_database_says() {
        let now: Timestamp = "2026-01-15T12:00:00Z".parse().unwrap();
        let berlin = offsets("Europe/Berlin", now).unwrap();
        assert_eq!(berlin.offset_minutes, 60);
        let first = Transition { at: 1_774_746_000, offset_minutes: 120 };
        let second = Transition { at: 1_792_890_000, offset_minutes: 60 };
        assert_eq!(berlin.transitions[..2], [first, second]);
        assert!(berlin.transitions.len() >= 8, "{berlin:?}");
        let utc = offsets("UTC", now).unwrap();
        assert_eq!((utc.offset_minutes, utc.transitions), (0, vec![]));
        assert_eq!(offsets("Asia/Kathmandu", now).unwrap().offset_minutes, 345);
        assert_eq!(offsets("Mars/Olympus", now), None);
    }

    #[test]
    fn what_is_known_is_stored_again_only_when_it_is_news() {
        let now: Timestamp = "2026-01-15T12:00:00Z".parse().unwrap();
        let fresh = offsets("Europe/Berlin", now).unwrap();
        let window = Window {
            name: "nights".into(),
            offset_minutes: 60,
            open: Vec::new(),
            excluded_days: Vec::new(),
            zone: "Europe/Berlin".into(),
            transitions: fresh.transitions.clone(),
        };
        assert!(!is_news(&window, &fresh));
        let later = offsets("Europe/Berlin", "2027-06-15T12:00:00Z".parse().unwrap()).unwrap();
        assert!(is_news(&window, &later), "there is more to know by then");
        let abolished = Offsets { transitions: fresh.transitions[1..].to_vec(), ..fresh };
        assert!(is_news(&window, &abolished));
    }
}
