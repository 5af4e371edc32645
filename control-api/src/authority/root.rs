//! One authority: a key and a certificate that signs those of our ports. Makes both by rcgen, ECDSA on P-256.

use std::fmt;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::terms::{Seconds, Term, Validity};

#[cfg(test)]
mod tests;

/// A certificate and its key, PEM.
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// Its key never leaves it but into the Secret.
pub(super) struct Root {
    pub(super) term: Term,
    pub(super) certificate: String,
    key: KeyPair,
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root").field("name", &self.name()).field("term", &self.term).finish_non_exhaustive()
    }
}

impl Root {
    pub(super) fn make(term: Term) -> Result<Root, rcgen::Error> {
        let key = KeyPair::generate()?;
        let certificate = params(&term, &key)?.self_signed(&key)?.pem();
        Ok(Root { term, certificate, key })
    }

    /// As it was kept. The error is in words, without the key.
    pub(super) fn of(term: Term, certificate: String, key: &str) -> Result<Root, String> {
        let key = KeyPair::from_pem(key).map_err(|error| format!("its key is none: {error}"))?;
        let root = Root { term, certificate, key };
        root.check()?;
        Ok(root)
    }

    pub(super) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// Different for each key, so that of several of them the right one is found at once.
    pub(super) fn name(&self) -> String {
        name(&self.key)
    }

    pub(super) fn sign(&self, names: &[String], validity: Validity) -> Result<Pair, rcgen::Error> {
        let mut params = CertificateParams::new(names)?;
        live(&mut params, validity.from, validity.until);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "laneway-control");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let of_issuer = self::params(&self.term, &self.key)?;
        let certificate = params.signed_by(&key, &Issuer::from_params(&of_issuer, &self.key))?.pem();
        Ok(Pair { certificate, key: key.serialize_pem() })
    }

    /// Key and certificate belong together: what the one signs, the other vouches for.
    fn check(&self) -> Result<(), String> {
        let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes());
        let own = der(&self.certificate).map_err(|error| format!("its certificate is none: {error}"))?;
        let anchor =
            webpki::anchor_from_trusted_cert(&own).map_err(|error| format!("its certificate is none: {error}"))?;
        let probe = self
            .sign(&["probe.invalid".to_owned()], self.term.serving(self.term.from))
            .map_err(|error| error.to_string())?;
        let probe = der(&probe.certificate).map_err(|error| error.to_string())?;
        let probe = EndEntityCert::try_from(&probe).map_err(|error| error.to_string())?;
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(self.term.from));
        probe
            .verify_for_usage(algorithms.all, &[anchor], &[], time, KeyUsage::server_auth(), None, None)
            .map(drop)
            .map_err(|error| format!("its key is not that of its certificate: {error}"))
    }
}

/// From them the certificate is made, and the same issuer is named in those that it signs.
fn params(term: &Term, key: &KeyPair) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    live(&mut params, term.from, term.until);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name(key));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn name(key: &KeyPair) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, key.public_key_raw());
    let short: String = digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("laneway-control authority {short}")
}

/// Seconds are bounded where they are read.
fn live(params: &mut CertificateParams, from: Seconds, until: Seconds) {
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(from);
    params.not_after = epoch + Duration::from_secs(until);
}
