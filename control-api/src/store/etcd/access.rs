//! Who we are to etcd, where it asks: user and password for a token, which goes with each call. A token that etcd does not know any
//! more (it was restarted, or the token's time is over) is asked for anew. Neither password nor token is ever printed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::wire::AuthenticateRequest;
use super::wire::auth_client::AuthClient;
use crate::credentials::Credentials;

/// Longest file with a user.
const FILE_BYTES_MAX: u64 = 4 << 10;

/// What etcd is shown, and whom we believe.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// With TLS; the credentials' authorities are needed then.
    pub is_tls: bool,
    pub credentials: Credentials,
    /// One line, `user:password`. Read for each token, so that a password can be changed.
    pub user_file: Option<PathBuf>,
}

pub(super) type Token = MetadataValue<Ascii>;

/// The token of now, shared by all calls.
#[derive(Clone)]
pub(super) struct Tokens {
    user_file: Option<PathBuf>,
    current: Arc<Mutex<Option<Token>>>,
}

impl Tokens {
    pub(super) fn new(user_file: Option<PathBuf>) -> Tokens {
        Tokens { user_file, current: Arc::default() }
    }

    /// The one to show; `None` where etcd asks nobody. Asked for over `channel` where there is none yet.
    pub(super) async fn token(&self, channel: &Channel) -> Result<Option<Token>, Status> {
        let Some(path) = &self.user_file else { return Ok(None) };
        if let Some(token) = self.current().clone() {
            return Ok(Some(token));
        }
        let user = read_user(path).await.map_err(Status::failed_precondition)?;
        let answer = match AuthClient::new(channel.clone()).authenticate(Request::new(user)).await {
            // So that it can be switched on while we run.
            Err(status) if status.message().contains("authentication is not enabled") => return Ok(None),
            answer => answer?,
        };
        let mut token = Token::try_from(answer.into_inner().token)
            .map_err(|_| Status::internal("etcd's token is no header value"))?;
        token.set_sensitive(true);
        *self.current() = Some(token.clone());
        Ok(Some(token))
    }

    /// etcd did not take this one. False: it would take no other either.
    pub(super) fn refused(&self, token: Option<&Token>, status: &Status) -> bool {
        let Some(token) = token else { return false };
        // `invalid auth token`, and `revision of auth store is old` after somebody changed users or roles.
        let is_stale = status.code() == Code::Unauthenticated || status.message().contains("auth store is old");
        if is_stale {
            let mut current = self.current();
            // Another call may have a newer one already.
            if current.as_ref() == Some(token) {
                *current = None;
            }
        }
        is_stale
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Option<Token>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read_user(path: &PathBuf) -> Result<AuthenticateRequest, String> {
    let shown = path.display();
    let cannot = |error: std::io::Error| format!("--store-user-file: read {shown}: {error}");
    if tokio::fs::metadata(path).await.map_err(cannot)?.len() > FILE_BYTES_MAX {
        return Err(format!("--store-user-file: {shown} has more than {FILE_BYTES_MAX} bytes"));
    }
    let text = tokio::fs::read_to_string(path).await.map_err(cannot)?;
    parse_user(&text).ok_or_else(|| format!("--store-user-file: {shown} is not one line `user:password`"))
}

fn parse_user(text: &str) -> Option<AuthenticateRequest> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    let (name, password) = line.strip_suffix('\r').unwrap_or(line).split_once(':')?;
    let is_good = !name.is_empty() && !password.is_empty() && !line.contains('\n');
    is_good.then(|| AuthenticateRequest { name: name.to_owned(), password: password.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::parse_user;

    #[test]
    fn a_user_is_one_line_and_a_password_may_have_colons() {
        let read = |text: &str| parse_user(text).map(|user| (user.name, user.password));
        let user = |name: &str, password: &str| Some((name.to_owned(), password.to_owned()));
        assert_eq!(read("laneway:s:ecret\n"), user("laneway", "s:ecret"));
        assert_eq!(read("laneway: \r\n"), user("laneway", " "));
        for bad in ["", "laneway", "laneway:\n", ":secret", "a:b\nc:d\n"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
