//! What the ports show of themselves and ask of others over TLS: certificate, key, and the authority of client certificates.
//! Pure: from the contents of files to configurations, or the reason why not. TLS 1.2 and 1.3; ring does the arithmetic.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

#[cfg(test)]
mod tests;

/// Largest of the files: more than a bundle of every public authority.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// Of all ports.
#[derive(Debug)]
pub struct Tls {
    pub discovery: Arc<ServerConfig>,
    pub api: Arc<ServerConfig>,
    pub webhook: Arc<ServerConfig>,
}

/// Which ports hang up on a client without a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Required {
    pub discovery: bool,
    pub api: bool,
}

/// Why files were not taken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the file of --tls-cert holds no certificate (PEM)")]
    NoCertificate,
    #[error("the file of --tls-key holds no private key (PEM)")]
    NoKey,
    #[error("the file of --tls-client-ca holds no certificate (PEM)")]
    NoAuthority,
    #[error("the file of {0} is no good PEM: {1}")]
    Pem(&'static str, String),
    #[error("certificate and key: {0}")]
    Pair(rustls::Error),
    #[error("--tls-client-ca: {0}")]
    Authority(String),
}

/// From the contents of certificate chain, key and, if there is one, client authority, in this order.
pub fn read(contents: &[Vec<u8>], required: Required) -> Result<Tls, TlsError> {
    let none = Vec::new();
    let (chain, key) = (contents.first().unwrap_or(&none), contents.get(1).unwrap_or(&none));
    let chain = certificates(chain, "--tls-cert")?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => TlsError::NoKey,
        other => TlsError::Pem("--tls-key", other.to_string()),
    })?;
    let authority = match contents.get(2) {
        Some(bundle) => Some(roots(bundle)?),
        None => None,
    };
    let port = |is_required: bool, protocols: &[&[u8]]| {
        let builder = ServerConfig::builder();
        let builder = match &authority {
            Some(roots) => {
                let verifier = WebPkiClientVerifier::builder(Arc::clone(roots));
                let verifier = if is_required { verifier } else { verifier.allow_unauthenticated() };
                let verifier = verifier.build().map_err(|error| TlsError::Authority(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain.clone(), key.clone_key()).map_err(TlsError::Pair)?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    };
    Ok(Tls {
        discovery: port(required.discovery, &[b"h2"])?,
        api: port(required.api, &[b"h2", b"http/1.1"])?,
        // An API server shows none, unless it is told to.
        webhook: port(false, &[b"h2", b"http/1.1"])?,
    })
}

/// URI and DNS names of a certificate. Empty: it has none, or cannot be read.
pub fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else { return Vec::new() };
    certificate.valid_uri_names().chain(certificate.valid_dns_names()).map(str::to_owned).collect()
}

fn roots(bundle: &[u8]) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(bundle, "--tls-client-ca")? {
        roots.add(certificate).map_err(|error| TlsError::Authority(error.to_string()))?;
    }
    if roots.is_empty() { Err(TlsError::NoAuthority) } else { Ok(Arc::new(roots)) }
}

fn certificates(pem: &[u8], flag: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found.map_err(|error| TlsError::Pem(flag, error.to_string()))
}
