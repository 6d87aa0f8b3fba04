//! Lists certificates and CAs, and renews them.

use std::time::Duration;

use axum::{
    Router,
    extract::State,
    routing::{get, post},
};
use narrows_api::{
    ApiError,
    certificates::{CertificateInfo, RenewRequest},
    error::codes,
    paths,
    size::counted,
    text::time_out,
};
use narrows_domain::{Catalog as _, partner::Trust};
use narrows_format::Timestamp;
use narrows_transport::trust::certificate_life;
use rustls_pki_types::CertificateDer;

use super::{
    App,
    answer::{Answer, Body, Failure, good, internal},
    caller::Admin,
    metrics,
};
use crate::{
    certificates::{Renewal, renewed_at},
    pki::authority::{certificates_of_pem, fingerprint},
};

/// So long after a renewal of the CA the next one needs a word more.
const CA_SETTLED: Duration = Duration::from_hours(30 * 24);

/// All routes of this file, and the metrics.
pub fn routes() -> Router<App> {
    Router::new()
        .route(paths::CERTIFICATES, get(list))
        .route(paths::CERTIFICATES_RENEW, post(renew))
        .route(paths::METRICS, get(metrics::show))
}

/// GET the list: our own first.
async fn list(State(app): State<App>, _admin: Admin) -> Answer<Vec<CertificateInfo>> {
    good(infos(&app).await?)
}

/// POST: renews now.
async fn renew(
    State(app): State<App>,
    Admin { name }: Admin,
    Body(request): Body<RenewRequest>,
) -> Answer<Vec<CertificateInfo>> {
    let renewal = if request.ca { Renewal::Authority } else { Renewal::Server };
    if request.ca && !request.force {
        check_settled(&app)?;
    }
    tracing::info!(by = name, ?renewal, "certificates are renewed by order");
    app.certificates.renew(renewal, &app.trust, app.clock.now()).map_err(|error| internal(&error))?;
    good(infos(&app).await?)
}

/// Two renewals in a row leave those behind who have not met the domain between them.
fn check_settled(app: &App) -> Result<(), Failure> {
    let now = app.clock.now().seconds;
    let authority = app.authority();
    let from = certificate_life(authority.der()).map_or(0, |(from, _)| from);
    if authority.believed(now).len() == 1 || now - from >= CA_SETTLED.as_secs().cast_signed() {
        return Ok(());
    }
    let days = counted((now - from) / 86_400, "day", "days");
    let sentence = format!("the CA was renewed {days} ago");
    let error = ApiError::new(codes::CONFLICT, sentence)
        .because("who has not spoken to this domain since then would believe neither this one nor the next")
        .help("wait until a month is over, or give --force and enrol or pair anew whoever is left behind");
    Err(error.into())
}

/// All that are known.
pub async fn infos(app: &App) -> Result<Vec<CertificateInfo>, Failure> {
    let mut infos = Vec::new();
    let own = app.who.name.as_str();
    let leaf = app.certificates.credentials.leaf();
    infos.extend(leaf.and_then(|leaf| info(own, "server", &leaf, Some(Renewal::Server))));
    for (at, ca) in app.authority().believed(app.clock.now().seconds).iter().enumerate() {
        infos.extend(match at {
            0 => info(own, "ca", ca, Some(Renewal::Authority)),
            _ => info(own, "ca-before", ca, None),
        });
    }
    for partner in app.catalog.partners().await.map_err(|error| internal(&error))? {
        if partner.trust == Trust::Unpaired {
            continue;
        }
        for (at, ca) in certificates_of_pem(&partner.ca_pem).iter().enumerate() {
            infos.extend(info(&partner.name, if at == 0 { "ca" } else { "ca-before" }, ca, None));
        }
    }
    Ok(infos)
}

/// `None` for one that can't be read: `doctor` says so.
fn info(
    domain: &str,
    kind: &str,
    certificate: &CertificateDer<'_>,
    renewal: Option<Renewal>,
) -> Option<CertificateInfo> {
    let life = certificate_life(certificate).ok()?;
    let at = |seconds| time_out(Timestamp { seconds, nanos: 0 });
    Some(CertificateInfo {
        domain: domain.to_owned(),
        kind: kind.to_owned(),
        from: at(life.0),
        until: at(life.1),
        renewed: renewal.map(|renewal| at(renewed_at(life, renewal))),
        fingerprint: fingerprint(certificate),
    })
}
