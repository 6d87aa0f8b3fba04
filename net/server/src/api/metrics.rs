//! Gauges for Prometheus, in its text format: what waits and since when, what ends when, and whose clock is off.
//!
//! It is for administrators as everything else is: a scraper shows the token (`authorization`), or asks by the local socket.

use std::{collections::BTreeSet, fmt::Write as _};

use axum::{extract::State, http::header, response::IntoResponse};
use narrows_api::text::time_in;
use narrows_catalog::{Amiss, AmissBy};
use narrows_domain::{
    Catalog as _,
    moment::{before, since},
    partner::Partner,
};

use super::{
    App,
    answer::{Failure, internal},
    caller::Admin,
    certificates, damage,
    domains::name_of,
    status::local_backlog,
};
use crate::servers::link::Found;

/// GET the text.
pub async fn show(State(app): State<App>, _admin: Admin) -> Result<impl IntoResponse, Failure> {
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text(&app).await?))
}

struct Sheet(String);

impl Sheet {
    fn gauge(&mut self, name: &str, help: &str) {
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "# HELP narrows_{name} {help}\n# TYPE narrows_{name} gauge");
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<_> =
            labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escaped(text))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "narrows_{name}{labels} {value}");
    }
}

async fn text(app: &App) -> Result<String, Failure> {
    let mut sheet = Sheet(String::new());
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    backlog(app, &partners, &mut sheet).await?;
    sheet.gauge("partner_up", "1 if the partner answered when it was asked last.");
    for partner in &partners {
        let is_up = u8::from(partner.reach.answers());
        sheet.value("partner_up", &[("partner", partner.name.as_str())], is_up);
    }
    sheet.gauge("media_server_up", "1 if the media server answered when it was asked last.");
    for link in app.servers.all() {
        let is_up = u8::from(matches!(link.found(), Found::Up { .. }));
        sheet.value("media_server_up", &[("server", link.row().name.as_str())], is_up);
    }
    sheet.gauge("clock_skew_milliseconds", "The partner's clock minus ours, as measured last.");
    for partner in &partners {
        if let Some(skew) = partner.skew_ms {
            sheet.value("clock_skew_milliseconds", &[("partner", partner.name.as_str())], skew);
        }
    }
    sheet.gauge("certificate_expires_seconds", "When a certificate ends, in seconds since 1970.");
    for info in certificates::infos(app).await? {
        let labels = [("domain", info.domain.as_str()), ("kind", info.kind.as_str())];
        sheet.value("certificate_expires_seconds", &labels, info.until.as_second());
    }
    sheet.gauge(
        "client_certificate_expires_seconds",
        "When a client's certificate ends, in seconds since 1970.",
    );
    for client in app.catalog.clients().await.map_err(|error| internal(&error))? {
        if let Some(until) = client.until.filter(|_| client.revoked.is_none()) {
            let labels = [("client", client.name.as_str())];
            sheet.value("client_certificate_expires_seconds", &labels, until.seconds);
        }
    }
    sheet.gauge(
        "media_server_certificate_expires_seconds",
        "When a media server's certificate ends, in seconds since 1970.",
    );
    for row in app.servers.all().iter().map(|link| link.row()) {
        if let Some(until) = row.certificate_until {
            let labels = [("server", row.name.as_str())];
            sheet.value("media_server_certificate_expires_seconds", &labels, until.seconds);
        }
    }
    pending(app, &mut sheet).await?;
    lost(app, &mut sheet).await?;
    short(app, &partners, &mut sheet).await?;
    damaged(app, &mut sheet).await?;
    let reconciling = app.catalog.reconciling().await.map_err(|error| internal(&error))?;
    sheet.gauge("reconciling", "1 while nothing expires because an older catalog was put back.");
    sheet.value("reconciling", &[], u8::from(reconciling.is_some()));
    Ok(sheet.0)
}

/// What is due and not complete, to partners and within the domain.
async fn backlog(app: &App, partners: &[Partner], sheet: &mut Sheet) -> Result<(), Failure> {
    let now = app.clock.now();
    let backlog = app.catalog.backlog().await.map_err(|error| internal(&error))?;
    sheet.gauge("backlog_operations", "Operations that are due and not complete, by target and state.");
    for line in &backlog {
        let (target, state) = (name_of(app, partners, line.partner), line.state.to_string());
        sheet.value("backlog_operations", &[("target", &target), ("state", &state)], line.operations);
    }
    let local = local_backlog(app).await?;
    for line in &local {
        sheet.value(
            "backlog_operations",
            &[("target", &line.target), ("state", &line.state)],
            line.operations,
        );
    }
    sheet.gauge("backlog_oldest_seconds", "Age of the oldest image of the backlog, by target.");
    for partner in partners {
        let oldest =
            backlog.iter().filter(|line| line.partner == partner.domain).map(|line| line.oldest).min();
        let age = oldest.map_or(0, |oldest| since(now, oldest).as_secs());
        sheet.value("backlog_oldest_seconds", &[("target", &partner.name)], age);
    }
    let storages: BTreeSet<_> = local.iter().map(|line| &line.target).collect();
    for storage in storages {
        let oldest = local.iter().filter(|line| line.target == *storage).filter_map(|line| line.oldest).min();
        let age = oldest.map_or(0, |oldest| since(now, time_in(oldest)).as_secs());
        sheet.value("backlog_oldest_seconds", &[("target", storage)], age);
    }
    Ok(())
}

/// What waits to be imported, here and at partners.
async fn pending(app: &App, sheet: &mut Sheet) -> Result<(), Failure> {
    let then = before(app.clock.now(), app.config.domain.pending_import_max);
    let (open, overdue) = app.catalog.open_imports(then).await.map_err(|error| internal(&error))?;
    let unconfirmed = app.catalog.pending_count(then).await.map_err(|error| internal(&error))?;
    sheet.gauge("imports_pending", "Images that arrived here and are not imported.");
    sheet.value("imports_pending", &[], open);
    sheet.gauge("imports_overdue", "Those of them that have been so for longer than `pending_import_max`.");
    sheet.value("imports_overdue", &[], overdue);
    sheet.gauge(
        "replications_unconfirmed",
        "Images at partners whose import has not been confirmed for so long.",
    );
    sheet.value("replications_unconfirmed", &[], unconfirmed);
    Ok(())
}

/// Images that somebody misses.
async fn lost(app: &App, sheet: &mut Sheet) -> Result<(), Failure> {
    let now = app.clock.now();
    let amiss = app.catalog.amiss(AmissBy { pending: now, refused: now, now });
    let Amiss { lost, without_copies, .. } = amiss.await.map_err(|error| internal(&error))?;
    sheet.gauge("images_lost", "Images whose last copy here was lost.");
    sheet.value("images_lost", &[], lost);
    sheet.gauge(
        "images_without_copies",
        "Images of which no copy is left, and that were to live on at a partner.",
    );
    sheet.value("images_without_copies", &[], without_copies);
    Ok(())
}

/// Replicas that do not live as long as was agreed.
async fn short(app: &App, partners: &[Partner], sheet: &mut Sheet) -> Result<(), Failure> {
    sheet.gauge("replicas_short", "Images that the partner keeps for less long than was agreed.");
    for partner in partners {
        let missed = app.catalog.missed(partner.domain, app.clock.now());
        let missed = missed.await.map_err(|error| internal(&error))?;
        sheet.value("replicas_short", &[("partner", &partner.name)], missed.short);
    }
    Ok(())
}

/// What is damaged in the pools, and when they were read last.
async fn damaged(app: &App, sheet: &mut Sheet) -> Result<(), Failure> {
    let pools = app.catalog.pools().await.map_err(|error| internal(&error))?;
    sheet.gauge("pool_damaged_images", "Images that can't be read as a whole, by pool.");
    for pool in &pools {
        let count = app.damage.of(pool.id).hurt().len();
        sheet.value("pool_damaged_images", &[("pool", &pool.name)], count);
    }
    sheet.gauge(
        "pool_quarantined_containers",
        "Containers of which something is in quarantine, healed or not.",
    );
    for pool in &pools {
        let count = app.damage.of(pool.id).quarantined;
        sheet.value("pool_quarantined_containers", &[("pool", &pool.name)], count);
    }
    sheet.gauge("pool_scrubbed_seconds", "When the last scrub of a pool ended, in seconds since 1970.");
    for pool in &pools {
        if let Some(ended) = damage::last_ended(app, pool).await?.and_then(|pass| pass.ended) {
            sheet.value("pool_scrubbed_seconds", &[("pool", &pool.name)], ended.seconds);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut sheet = Sheet(String::new());
        sheet.value("up", &[("name", "a\"b\\c\nd")], 1);
        assert_eq!(sheet.0, "narrows_up{name=\"a\\\"b\\\\c\\nd\"} 1\n");
    }
}
