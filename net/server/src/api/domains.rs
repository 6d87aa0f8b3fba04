//! Partner domains, as people see them.

use axum::extract::{Path, State};
use narrows_api::{
    Hex,
    domains::{DomainInfo, InviteReply, InviteRequest, PairRequest},
    text::time_out,
};
use narrows_domain::{
    Catalog as _,
    partner::{Partner, Reach, Trust},
};
use narrows_format::DomainId;

use super::{
    App,
    answer::{Answer, Body, Failure, good, internal, not_found},
    caller::Admin,
};
use crate::{
    pairing,
    pki::authority::{certificate_of_pem, fingerprint},
};

/// POST: a line to paste on the other side.
pub async fn invite(
    State(app): State<App>,
    _admin: Admin,
    Body(request): Body<InviteRequest>,
) -> Answer<InviteReply> {
    good(pairing::invite(&app, request).await?)
}

/// POST: pairs with whoever made the line.
pub async fn pair(
    State(app): State<App>,
    _admin: Admin,
    Body(request): Body<PairRequest>,
) -> Answer<DomainInfo> {
    let partner = pairing::pair(&app, request).await?;
    good(info(&app, partner).await?)
}

/// GET the list: this domain, then its partners.
pub async fn list(State(app): State<App>, _admin: Admin) -> Answer<Vec<DomainInfo>> {
    let mut infos = vec![own_info(&app)];
    for partner in app.catalog.partners().await.map_err(|error| internal(&error))? {
        infos.push(info(&app, partner).await?);
    }
    good(infos)
}

/// GET one, by name or UUID.
pub async fn show(State(app): State<App>, _admin: Admin, Path(name): Path<String>) -> Answer<DomainInfo> {
    if name == app.who.name || name.parse() == Ok(app.who.domain) {
        return good(own_info(&app));
    }
    let partner = find(&app, &name).await?;
    good(info(&app, partner).await?)
}

/// A partner by name or UUID.
pub async fn find(app: &App, name: &str) -> Result<Partner, Failure> {
    let id: Option<DomainId> = name.parse().ok();
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let found = partners.into_iter().find(|partner| partner.name == name || Some(partner.domain) == id);
    found.ok_or_else(|| not_found("domain", name))
}

/// A domain's name here; its UUID when it is not known.
pub fn name_of(app: &App, partners: &[Partner], domain: DomainId) -> String {
    if domain == app.who.domain {
        return app.who.name.clone();
    }
    let known = partners.iter().find(|partner| partner.domain == domain);
    known.map_or_else(|| domain.to_string(), |partner| partner.name.clone())
}

/// This domain as people see it.
pub fn own_info(app: &App) -> DomainInfo {
    DomainInfo {
        domain: app.who.domain,
        name: app.who.name.clone(),
        state: "this".to_owned(),
        why: String::new(),
        incarnation: app.who.incarnation,
        url: app.config.url(),
        data_addr: app.config.data_addr(),
        ca_fingerprint: app.authority().fingerprint(),
        signing_key: Hex(app.signing.public()),
        grants: Vec::new(),
        receive_unit: String::new(),
        images_at_once: 0,
        dials: String::new(),
        dial_window: None,
        since: None,
        last_seen: None,
        clock_skew_ms: None,
        backlog_images: 0,
    }
}

/// A partner as people see it.
pub async fn info(app: &App, partner: Partner) -> Result<DomainInfo, Failure> {
    let lines = app.catalog.backlog().await.map_err(|error| internal(&error))?;
    let backlog = lines.iter().filter(|line| line.partner == partner.domain);
    let (state, why) = match (partner.trust, &partner.reach) {
        (Trust::Half, _) => ("half-paired", "only one side trusts the other as yet".to_owned()),
        (Trust::Complete, reach) => {
            let state = match (partner.draining.is_some(), partner.paused) {
                (true, _) => "draining",
                (false, true) => "paused",
                (false, false) => "paired",
            };
            let why = match reach {
                Reach::Up => String::new(),
                Reach::Down { code, sentence, .. } if code.is_empty() => {
                    format!("does not answer: {sentence}")
                }
                Reach::Down { code, sentence, .. } => format!("{code}: {sentence}"),
            };
            (state, why)
        }
        (Trust::Expired, _) => ("expired", "its certificate has expired".to_owned()),
        (Trust::Frozen, _) => ("frozen", "its identity is in doubt (TRUST-003)".to_owned()),
        (Trust::Unpaired, _) => ("unpaired", String::new()),
    };
    let ca = certificate_of_pem(&partner.ca_pem).map_or(Hex([0; 32]), |der| fingerprint(&der));
    Ok(DomainInfo {
        domain: partner.domain,
        name: partner.name,
        state: state.to_owned(),
        why,
        incarnation: partner.incarnation,
        url: partner.url,
        data_addr: partner.data_address,
        ca_fingerprint: ca,
        signing_key: Hex(partner.signing_key),
        grants: partner.grants.to_words(),
        receive_unit: partner.receive_unit,
        images_at_once: partner.running_max,
        dials: partner.dials.to_string(),
        dial_window: partner.dial_window,
        since: Some(time_out(partner.paired)),
        last_seen: partner.heard.map(time_out),
        clock_skew_ms: partner.skew_ms,
        backlog_images: backlog.map(|line| line.operations).sum(),
    })
}
