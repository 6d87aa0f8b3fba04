//! A media server's certificate and the CAs of its domain: read, kept, and renewed at two thirds of the certificate's life.
//!
//! The key stays; what is renewed is one file, which is replaced whole. At each start, and until it was heard, the media
//! server says where it is reached.

use narrows_api::{
    media_servers::{RenewServerReply, RenewServerRequest},
    paths,
};
use narrows_transport::{Identity, trust::certificate_life};
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use tokio::time::sleep;

use super::{Joined, asking::tell};
use crate::{
    api::answer::{Failure, internal},
    certificates::{Renewal, renewed_at},
    folder::{Folder, write_secret},
    limits::MEDIA_RENEWAL_LOOK,
    pki::{PkiError, authority::certificates_of_pem},
    servers::asked::Asked,
};

const CHAIN_FILE: &str = "server.pem";
const KEY_FILE: &str = "server.key";
const CA_FILE: &str = "ca.pem";

/// Writes what joining gave.
pub(super) fn keep(folder: &Folder, key: &KeyPair, chain_pem: &str, ca_pem: &str) -> Result<(), PkiError> {
    write(folder, KEY_FILE, &key.serialize_pem())?;
    write(folder, CHAIN_FILE, chain_pem)?;
    write(folder, CA_FILE, ca_pem)
}

fn write(folder: &Folder, name: &str, text: &str) -> Result<(), PkiError> {
    let path = folder.pki().join(name);
    write_secret(&path, text.as_bytes()).map_err(|source| PkiError::Disk { path, source })
}

fn read(folder: &Folder, name: &str) -> Result<String, PkiError> {
    let path = folder.pki().join(name);
    std::fs::read_to_string(&path).map_err(|source| PkiError::Disk { path, source })
}

/// The CAs of the domain, as they were told last.
pub(super) fn known_cas(folder: &Folder) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    Ok(certificates_of_pem(&read(folder, CA_FILE)?))
}

/// The primary names the CAs of the domain: kept if they are others than before.
pub(super) fn keep_cas(joined: &Joined, cas: &[CertificateDer<'static>]) -> Result<(), Failure> {
    let known = known_cas(&joined.folder).map_err(|error| internal(&error))?;
    if known == cas {
        return Ok(());
    }
    let text: String = cas.iter().map(|ca| pem::encode(&pem::Pem::new("CERTIFICATE", ca.to_vec()))).collect();
    write(&joined.folder, CA_FILE, &text).map_err(|error| internal(&error))
}

/// Certificate and key, with the CAs behind it.
pub(super) fn identity(folder: &Folder) -> Result<Identity, PkiError> {
    let chain = certificates_of_pem(&read(folder, CHAIN_FILE)?);
    let key = PrivatePkcs8KeyDer::from_pem_slice(read(folder, KEY_FILE)?.as_bytes());
    let key = key.map_err(|_| PkiError::Key(KEY_FILE))?;
    if chain.is_empty() {
        return Err(PkiError::Key(CHAIN_FILE));
    }
    Ok(Identity { chain, key: PrivateKeyDer::Pkcs8(key) })
}

/// Says where it is reached, then looks from time to time whether the certificate is to be renewed.
pub(super) async fn run(joined: Joined) {
    let (url, data_addr) = (joined.config.url(), joined.config.data_addr());
    tell(&joined, Asked::Here { url, data_addr }).await;
    loop {
        let leaf = joined.credentials.leaf().and_then(|leaf| certificate_life(&leaf).ok());
        let is_due = leaf.is_none_or(|life| joined.clock.now().seconds >= renewed_at(life, Renewal::Server));
        if is_due && let Err(Failure(error)) = renew(&joined).await {
            tracing::warn!(%error, "the certificate could not be renewed; it is tried again");
        }
        sleep(MEDIA_RENEWAL_LOOK).await;
    }
}

/// Renews the certificate; open connections stay.
pub async fn renew(joined: &Joined) -> Result<(), Failure> {
    let key = KeyPair::from_pem(&read(&joined.folder, KEY_FILE).map_err(|error| internal(&error))?);
    let key = key.map_err(|error| internal(&error))?;
    let csr_pem = request(&key).map_err(|error| internal(&error))?;
    let asked = RenewServerRequest { csr_pem };
    let reply: RenewServerReply = joined.primary()?.post(paths::MEDIA_SERVER_RENEW, &asked).await?;
    write(&joined.folder, CHAIN_FILE, &reply.chain_pem).map_err(|error| internal(&error))?;
    let identity = identity(&joined.folder).map_err(|error| internal(&error))?;
    joined.credentials.replace(&identity).map_err(|error| internal(&error))?;
    tracing::info!("the certificate is renewed");
    Ok(())
}

/// A signing request for a key; nothing in it but the key counts.
pub(super) fn request(key: &KeyPair) -> Result<String, PkiError> {
    Ok(CertificateParams::default().serialize_request(key)?.pem()?)
}
