//! `cert list|renew`.

use narrows_api::{
    certificates::{CertificateInfo, RenewRequest},
    paths,
};

use super::Session;
use crate::{
    cli::CertCommand,
    failure::Outcome,
    output::{table, time, time_or_dash},
};

pub(super) async fn run(session: &Session, command: CertCommand) -> Outcome<()> {
    let api = session.administrator()?;
    let infos: Vec<CertificateInfo> = match command {
        CertCommand::List => api.get(paths::CERTIFICATES, &()).await?,
        CertCommand::Renew { ca, force } => {
            api.post(paths::CERTIFICATES_RENEW, &RenewRequest { ca, force }).await?
        }
    };
    session.style.show(&infos, |infos| {
        let row = |info: &CertificateInfo| {
            vec![
                info.domain.clone(),
                info.kind.clone(),
                time(info.until),
                time_or_dash(info.renewed),
                info.fingerprint.to_string(),
            ]
        };
        let rows: Vec<_> = infos.iter().map(row).collect();
        table(&["DOMAIN", "KIND", "UNTIL", "RENEWED", "FINGERPRINT"], &rows)
    })
}
