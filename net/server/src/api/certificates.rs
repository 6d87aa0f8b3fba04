//! Lists certificates and CAs, and renews them.

use axum::{
    Router,
    extract::State,
    routing::{get, post},
};
use narrows_api::{
    certificates::{CertificateInfo, RenewRequest},
    paths,
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
    tracing::info!(by = name, ?renewal, "certificates are renewed by order");
    app.certificates.renew(renewal, &app.trust, app.clock.now()).map_err(|error| internal(&error))?;
    good(infos(&app).await?)
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
