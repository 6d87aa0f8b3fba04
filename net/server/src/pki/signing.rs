//! The Ed25519 key with which a domain signs its image records.
//!
//! Partners learn its public half at pairing and prove with it where an image comes from (AIR-012).

use std::path::Path;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use super::PkiError;
use crate::folder;

const KEY_FILE: &str = "signing.key";

/// The key pair.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: [u8; 32],
}

impl SigningKey {
    /// Makes a new key and writes it to `pki`.
    pub fn create(pki: &Path) -> Result<Self, PkiError> {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let document = Ed25519KeyPair::generate_pkcs8(&random).map_err(|_| PkiError::Key(KEY_FILE))?;
        let path = pki.join(KEY_FILE);
        folder::write_secret(&path, document.as_ref()).map_err(|source| PkiError::Disk { path, source })?;
        Self::from_document(document.as_ref())
    }

    /// Reads the key from `pki`.
    pub fn load(pki: &Path) -> Result<Self, PkiError> {
        let path = pki.join(KEY_FILE);
        let document = std::fs::read(&path).map_err(|source| PkiError::Disk { path, source })?;
        Self::from_document(&document)
    }

    fn from_document(document: &[u8]) -> Result<Self, PkiError> {
        let pair = Ed25519KeyPair::from_pkcs8(document).map_err(|_| PkiError::Key(KEY_FILE))?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| PkiError::Key(KEY_FILE))?;
        Ok(Self { pair, public })
    }

    /// The public half.
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// Signs.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signature = self.pair.sign(message);
        let mut bytes = [0; 64];
        bytes.copy_from_slice(signature.as_ref());
        bytes
    }
}

/// `signature` over `message` was made with the secret half of `public`.
pub fn is_signed_by(public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_bit_is_no_signature() {
        let folder = tempfile::tempdir().unwrap();
        let key = SigningKey::create(folder.path()).unwrap();
        assert_eq!(SigningKey::load(folder.path()).unwrap().public(), key.public());
        let mut signature = key.sign(b"record");
        assert!(is_signed_by(&key.public(), b"record", &signature));
        assert!(!is_signed_by(&key.public(), b"recore", &signature));
        signature[17] ^= 1;
        assert!(!is_signed_by(&key.public(), b"record", &signature));
        assert!(!is_signed_by(&[0; 32], b"record", &key.sign(b"record")));
    }
}
