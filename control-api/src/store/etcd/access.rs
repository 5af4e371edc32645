//! Who we are to etcd, where it asks: user and password for a token, which goes with each call. A token that etcd does not know any
//! more (it was restarted, or the token's time is over) is asked for anew. Neither password nor token is ever printed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::wire::AuthenticateRequest;
use super::wire::auth_client::AuthClient;
use crate::credentials::Credentials;

/// Longest file with a user.
const FILE_BYTES_MAX: u64 = 4 << 10;

/// How long etcd is believed to ask nobody, where it said so: else each call would ask first.
const OFF_BELIEVED: Duration = Duration::from_secs(10);

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
    current: Arc<Mutex<Held>>,
}

#[derive(Default)]
enum Held {
    #[default]
    Nothing,
    Token(Token),
    /// etcd's authentication is off; it is asked again after this.
    Off(Instant),
}

impl Held {
    /// What to show, if it is known.
    fn shown(&self, now: Instant) -> Option<Option<Token>> {
        match self {
            Held::Token(token) => Some(Some(token.clone())),
            Held::Off(until) if now < *until => Some(None),
            Held::Off(_) | Held::Nothing => None,
        }
    }

    /// etcd did not take what was shown. True: something else may be taken; what is held is given up, unless another call has
    /// something newer already.
    fn refused(&mut self, shown: Option<&Token>, status: &Status) -> bool {
        let Some(token) = shown else {
            // It was switched on while it was believed to be off.
            let is_on = status.message().contains("user name is empty");
            if is_on && matches!(self, Held::Off(_)) {
                *self = Held::Nothing;
            }
            return is_on;
        };
        // `invalid auth token`, and `revision of auth store is old` after somebody changed users or roles.
        let is_stale = status.code() == Code::Unauthenticated || status.message().contains("auth store is old");
        if is_stale && matches!(self, Held::Token(held) if held == token) {
            *self = Held::Nothing;
        }
        is_stale
    }
}

impl Tokens {
    pub(super) fn new(user_file: Option<PathBuf>) -> Tokens {
        Tokens { user_file, current: Arc::default() }
    }

    /// The one to show; `None` where etcd asks nobody. Asked for over `channel` where there is none yet.
    pub(super) async fn token(&self, channel: &Channel) -> Result<Option<Token>, Status> {
        let Some(path) = &self.user_file else { return Ok(None) };
        if let Some(shown) = self.current().shown(Instant::now()) {
            return Ok(shown);
        }
        let user = read_user(path).await.map_err(Status::failed_precondition)?;
        let answer = match AuthClient::new(channel.clone()).authenticate(Request::new(user)).await {
            // So that it can be switched on while we run.
            Err(status) if status.message().contains("authentication is not enabled") => {
                *self.current() = Held::Off(Instant::now() + OFF_BELIEVED);
                return Ok(None);
            }
            answer => answer?,
        };
        let mut token = Token::try_from(answer.into_inner().token)
            .map_err(|_| Status::internal("etcd's token is no header value"))?;
        token.set_sensitive(true);
        *self.current() = Held::Token(token.clone());
        Ok(Some(token))
    }

    /// etcd did not take this one, or none. False: it would take no other either.
    pub(super) fn refused(&self, token: Option<&Token>, status: &Status) -> bool {
        self.user_file.is_some() && self.current().refused(token, status)
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Held> {
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
    use std::time::{Duration, Instant};

    use tonic::Status;

    use super::{Held, Token, parse_user};

    #[test]
    fn that_etcd_asks_nobody_is_believed_for_a_while_and_not_against_its_word() {
        let now = Instant::now();
        let mut held = Held::Off(now + Duration::from_secs(10));
        assert_eq!(held.shown(now), Some(None));
        assert_eq!(held.shown(now + Duration::from_secs(10)), None, "it is asked again");
        assert!(!held.refused(None, &Status::unavailable("no leader")) && held.shown(now).is_some());
        assert!(held.refused(None, &Status::invalid_argument("etcdserver: user name is empty")));
        assert_eq!(held.shown(now), None);
    }

    #[test]
    fn a_token_that_is_not_known_any_more_is_given_up_and_a_newer_one_is_not() {
        let (old, new) = (Token::from_static("old"), Token::from_static("new"));
        let stale = Status::unauthenticated("etcdserver: invalid auth token");
        let mut held = Held::Token(old.clone());
        assert!(!held.refused(Some(&old), &Status::permission_denied("etcdserver: permission denied")));
        assert!(held.refused(Some(&old), &stale) && held.shown(Instant::now()).is_none());
        held = Held::Token(new.clone());
        assert!(held.refused(Some(&old), &stale));
        assert_eq!(held.shown(Instant::now()), Some(Some(new)));
    }

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
