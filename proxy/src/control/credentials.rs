//! What the sidecar shows the control plane, and whom it believes: read from files anew for each stream, so a certificate or a
//! token that was renewed is used from the next stream on. Nothing of it is ever logged.

use std::fmt;
use std::path::{Path, PathBuf};

use tokio::io::AsyncReadExt;

#[cfg(test)]
mod tests;

/// More than a bundle of every public authority.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where it is read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Authorities that the control plane's certificate is checked against; needed for https.
    pub ca: Option<PathBuf>,
    /// Own certificate chain and key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Name that the control plane's certificate must have; unset: the host of the URL.
    pub server_name: Option<String>,
    pub token: Option<PathBuf>,
}

/// What was read.
pub(super) struct Credentials {
    pub(super) ca: Option<Vec<u8>>,
    pub(super) identity: Option<(Vec<u8>, Vec<u8>)>,
    pub(super) server_name: Option<String>,
    pub(super) token: Option<String>,
}

impl Credentials {
    /// The error is in words and names the file.
    pub(super) async fn read(files: &Files) -> Result<Credentials, String> {
        let ca = match &files.ca {
            Some(path) => Some(read(path).await?),
            None => None,
        };
        let identity = match &files.identity {
            Some((certificate, key)) => Some((read(certificate).await?, read(key).await?)),
            None => None,
        };
        let token = match &files.token {
            Some(path) => Some(token(path, &read(path).await?)?),
            None => None,
        };
        Ok(Credentials { ca, identity, server_name: files.server_name.clone(), token })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of secrets only that they are there.
        let (has_identity, has_token) = (self.identity.is_some(), self.token.is_some());
        f.debug_struct("Credentials").field("identity", &has_identity).field("token", &has_token).finish()
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("read {}: {error}", path.display());
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).await.map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("{} has more than {FILE_BYTES_MAX} bytes", path.display()));
    }
    Ok(bytes)
}

fn token(path: &Path, bytes: &[u8]) -> Result<String, String> {
    let token = std::str::from_utf8(bytes).map(str::trim).unwrap_or_default();
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    if is_token { Ok(token.to_owned()) } else { Err(format!("{} holds no token: one word of ASCII", path.display())) }
}
