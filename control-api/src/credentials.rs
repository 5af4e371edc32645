//! What a client of ours (lanectl, another replica) shows the control plane, and whom it believes. A token leaves the machine over
//! TLS alone, or to loopback, and is never printed.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Uri};
use tonic::{Request, Status};

#[cfg(test)]
mod tests;

/// Where it is found.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Authorities that the other end's certificate is checked against; needed with https.
    pub ca: Option<PathBuf>,
    /// The authorities themselves, PEM, where there is no file.
    pub authorities: Option<watch::Receiver<Arc<str>>>,
    /// Own certificate chain and key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Name that the other end's certificate must have; unset: the host of the URL.
    pub server_name: Option<String>,
    pub token_file: Option<PathBuf>,
    /// The token itself, where there is no file.
    pub token: Option<String>,
}

/// Adds the token to each call.
#[derive(Clone, Default)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let has_token = self.token.is_some();
        f.debug_struct("Credentials").field("ca", &self.ca).field("token", &has_token).finish_non_exhaustive()
    }
}

impl Credentials {
    /// The token, if there is one and it may be sent there. The error is in words.
    pub fn bearer(&self, server: &Uri) -> Result<Bearer, String> {
        let token = match (&self.token_file, &self.token) {
            (Some(path), _) => read(path)?,
            (None, Some(token)) => token.clone(),
            (None, None) => return Ok(Bearer(None)),
        };
        if !is_tls(server) && !is_local(server) {
            return Err(format!(
                "the token would be sent in clear to {server}: it takes https:// or a loopback address"
            ));
        }
        let token = token.trim();
        let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        let value = MetadataValue::try_from(format!("Bearer {token}")).ok().filter(|_| is_token);
        let mut value = value.ok_or_else(|| "the token is not one word of ASCII".to_owned())?;
        value.set_sensitive(true);
        Ok(Bearer(Some(value)))
    }

    /// With TLS where the URL says so.
    pub fn secured(&self, endpoint: Endpoint) -> Result<Endpoint, String> {
        if !is_tls(endpoint.uri()) {
            return Ok(endpoint);
        }
        let authorities = match (&self.ca, &self.authorities) {
            (Some(path), _) => read(path)?,
            (None, Some(current)) => current.borrow().to_string(),
            (None, None) => return Err("https:// needs the authorities of the other end's certificate".to_owned()),
        };
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authorities));
        if let Some((certificate, key)) = &self.identity {
            tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        if let Some(name) = &self.server_name {
            tls = tls.domain_name(name);
        }
        endpoint.tls_config(tls).map_err(|error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("certificates or key: {error}{cause}")
        })
    }
}

fn is_tls(server: &Uri) -> bool {
    server.scheme_str() == Some("https")
}

fn is_local(server: &Uri) -> bool {
    let host = server.host().unwrap_or_default();
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("read {}: {error}", path.display()))
}
