//! Certificates that a test makes for itself: an authority, and what it signs.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::program::Control;

/// Signs certificates.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) pem: String,
}

/// A certificate and its key, PEM.
pub(super) struct Pair {
    pub(super) cert: String,
    pub(super) key: String,
}

impl Authority {
    pub(super) fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("signed").pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate with one name: a DNS name, an address, or a URI.
    pub(super) fn sign(&self, name: &str) -> Pair {
        self.sign_until(name, 2999)
    }

    /// One whose time is over.
    pub(super) fn sign_expired(&self, name: &str) -> Pair {
        self.sign_until(name, 2021)
    }

    fn sign_until(&self, name: &str, year: i32) -> Pair {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        let ascii = || name.try_into().expect("ASCII");
        params.subject_alt_names = vec![match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) if name.contains("://") => SanType::URI(ascii()),
            Err(_) => SanType::DnsName(ascii()),
        }];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("signed").pem();
        Pair { cert, key: key.serialize_pem() }
    }

    /// What a client of a server that this authority signed uses.
    pub(super) fn client(&self, own: Option<&Pair>) -> ClientTlsConfig {
        let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.pem));
        match own {
            Some(pair) => config.identity(Identity::from_pem(&pair.cert, &pair.key)),
            None => config,
        }
    }
}

impl Pair {
    /// Writes both into a control plane's folder.
    pub(super) fn write(&self, control: &Control, name: &str) -> (PathBuf, PathBuf) {
        let (cert, key) = (format!("{name}.pem"), format!("{name}.key"));
        control.write(&cert, &self.cert);
        control.write(&key, &self.key);
        (control.path(&cert), control.path(&key))
    }
}
