//! Certificates that end: this server's, its CA, those of its media servers, the CAs of partners, and what those show.
//!
//! All of them are renewed by themselves long before; one that is near its end shows that something hinders that. Those of
//! clients are looked at in [`super::clients`].

use narrows_api::{
    server::{Finding, Level},
    text::time_out,
};
use narrows_domain::{Partner, partner::Trust, storage::MediaServer};
use narrows_format::Timestamp;
use narrows_transport::trust::certificate_valid_until;

use super::{App, problems::finding};
use crate::{limits::CERTIFICATE_WARNING_SECONDS, pki::authority::certificates_of_pem};

/// A certificate, and what helps when it was not renewed.
struct Certificate<'a> {
    check: String,
    side: &'a str,
    until: Option<i64>,
    help: String,
}

/// How those of this domain stand.
pub fn own(app: &App) -> Vec<Finding> {
    let side = app.who.name.as_str();
    let leaf = app.certificates.credentials.leaf().and_then(|leaf| certificate_valid_until(&leaf).ok());
    let ca = certificate_valid_until(app.authority().der()).ok();
    let (server, authority) = ("server certificate".to_owned(), "CA".to_owned());
    let renew = |flag: &str| {
        format!(
            "`narrowsctl cert renew{flag}` renews it now; the server's log says why that was not done by itself"
        )
    };
    let mut all = vec![
        Certificate { check: server, side, until: leaf, help: renew("") },
        Certificate { check: authority, side, until: ca, help: renew(" --ca") },
    ];
    let now = app.clock.now().seconds;
    all.extend(app.servers.all().iter().filter_map(|link| of_server(side, &link.row(), now)));
    all.into_iter().map(|it| judged(it, now)).collect()
}

/// None of one that has not said when its certificate ends.
fn of_server<'a>(side: &'a str, server: &MediaServer, now: i64) -> Option<Certificate<'a>> {
    let (name, until) = (&server.name, server.certificate_until?.seconds);
    let help = if until > now {
        format!(
            "start `narrowsd` on media server `{name}`: it renews it by itself, and its log says what hinders that"
        )
    } else {
        format!(
            "`narrowsctl media-server invite {name} --again` makes a line with which it joins anew, with its pools"
        )
    };
    Some(Certificate { check: format!("certificate of media server {name}"), side, until: Some(until), help })
}

/// How the newest CA of a partner stands that is known here.
pub fn of_partner(app: &App, partner: &Partner) -> Finding {
    let known = certificates_of_pem(&partner.ca_pem);
    let until = known.iter().filter_map(|ca| certificate_valid_until(ca).ok()).max();
    let help =
        "renew it there (`narrowsctl cert renew --ca`), and let the two servers reach each other".to_owned();
    judged(Certificate { check: "CA".to_owned(), side: &partner.name, until, help }, app.clock.now().seconds)
}

/// How the certificate stands that a partner's server shows, when it shows one.
pub async fn shown_by(app: &App, partner: &Partner) -> Option<Finding> {
    let shown = app.partners.shown_by(partner.domain, &partner.url, &partner.name).await.ok()?;
    let until = certificate_valid_until(&shown).ok();
    let (check, help) =
        ("server certificate".to_owned(), "renew it there: `narrowsctl cert renew`".to_owned());
    Some(judged(Certificate { check, side: &partner.name, until, help }, app.clock.now().seconds))
}

/// Those that have ended or soon do.
pub fn problems(app: &App, partners: &[Partner]) -> Vec<Finding> {
    // What is known of the others is said by their trust.
    let believed = partners.iter().filter(|it| it.trust == Trust::Complete);
    let all = own(app).into_iter().chain(believed.map(|it| of_partner(app, it)));
    all.filter(|it| it.level != Level::Ok).collect()
}

fn judged(certificate: Certificate<'_>, now: i64) -> Finding {
    let Certificate { check, side, until, help } = certificate;
    let Some(until) = until else { return finding("", check, side, "can't be read".to_owned(), &help) };
    let left = until.saturating_sub(now);
    if left <= 0 {
        return finding("AUTH-002", check, side, "has expired".to_owned(), &help);
    }
    let is_near = left < CERTIFICATE_WARNING_SECONDS;
    let (level, help) = if is_near { (Level::Warning, help.as_str()) } else { (Level::Ok, "") };
    let day = time_out(Timestamp { seconds: until, nanos: 0 }).strftime("%Y-%m-%d");
    let message = format!("is valid for {} more days, until {day}", left / 86_400);
    Finding { level, ..finding("", check, side, message, help) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;

    /// Goal: a certificate that ended, or soon does, is found before replication stops over it.
    #[test]
    fn ending_certificates_are_found() {
        let now = time::now().seconds;
        let found = |until| {
            let (check, help) = ("CA".to_owned(), "renew it".to_owned());
            judged(Certificate { check, side: "west", until, help }, now)
        };
        assert_eq!(found(None).level, Level::Error);
        let expired = found(Some(now - 1));
        assert_eq!((expired.level, expired.code.as_str()), (Level::Error, "AUTH-002"));
        let near = found(Some(now + CERTIFICATE_WARNING_SECONDS - 10));
        assert_eq!((near.level, near.help.as_str()), (Level::Warning, "renew it"));
        let far = found(Some(now + CERTIFICATE_WARNING_SECONDS + 10));
        assert_eq!((far.level, far.help.as_str()), (Level::Ok, ""));
    }
}
