//! What an answer of the API server, or none, means for whoever asked.

use std::future::Future;
use std::time::Duration;

use super::super::StoreError;
use crate::causes;

/// Longest wait for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How often something is asked again, and the first pause, doubled each time: 3 s in all.
const ASKED_AGAIN_MAX: u32 = 6;
const ASK_AGAIN: Duration = Duration::from_millis(50);

const CONFLICT: u16 = 409;
const MISSING: u16 = 404;
const TOO_LARGE: u16 = 413;
const TOO_MANY: u16 = 429;
const UNAVAILABLE: u16 = 503;

#[cfg(test)]
mod tests;

/// Waits for an answer. What was refused is `Failed`, with the answer in it; without an answer it is `Away`.
pub(super) async fn call<T>(
    doing: &'static str,
    answer: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(ANSWER_MAX, answer).await {
        Ok(answer) => answer.map_err(|error| failed(doing, error)),
        Err(_) => {
            Err(StoreError::Away(format!("{doing}: no answer from the API server in {} s", ANSWER_MAX.as_secs())))
        }
    }
}

/// The same of what may be asked twice, again while the API server has no room for it: a commit that has begun does not stop half-way for that.
pub(super) async fn ask<T, A>(doing: &'static str, mut again: impl FnMut() -> A) -> Result<T, StoreError>
where
    A: Future<Output = Result<T, kube::Error>>,
{
    let patient = async {
        for attempt in 0..ASKED_AGAIN_MAX {
            match again().await {
                Err(error) if has_no_room(&error) => tokio::time::sleep(ASK_AGAIN * (1 << attempt)).await,
                done => return done,
            }
        }
        again().await
    };
    call(doing, patient).await
}

/// By the word of the API server. A proxy before it says 503 too, of what was done perhaps.
fn has_no_room(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    status.code == TOO_MANY || (status.code == UNAVAILABLE && status.reason == "ServiceUnavailable")
}

fn failed(doing: &'static str, error: kube::Error) -> StoreError {
    let kube::Error::Api(status) = &error else {
        return StoreError::Away(format!("{doing}: {}", causes::in_words(&error)));
    };
    match status.code {
        TOO_LARGE => StoreError::TooLarge(format!("{doing}: {}", status.message)),
        500 if is_of_one_object(&status.message) => StoreError::Failed { doing, source: Box::new(error) },
        TOO_MANY | 500.. => StoreError::Away(format!("{doing}: {}", status.message)),
        // As a 404 without a kind: the definitions are not there.
        MISSING if status.details.as_ref().is_none_or(|details| details.name.is_empty()) => {
            StoreError::Unusable(format!(
                "{doing}: the cluster does not know our kinds ({}). Apply deploy/kubernetes/crds.yaml first",
                status.message
            ))
        }
        401 | 403 => StoreError::Unusable(format!("{doing}: the API server does not let us: {}", status.message)),
        _ => StoreError::Failed { doing, source: Box::new(error) },
    }
}

/// Is an internal error about this object alone? A webhook that fails or denies so, before anything is stored; and etcd, to which it is too
/// large.
fn is_of_one_object(message: &str) -> bool {
    ["failed calling webhook", "denied the request", "request is too large", "message larger than max"]
        .iter()
        .any(|words| message.contains(words))
}

pub(super) fn is_conflict(source: &(dyn std::error::Error + 'static)) -> bool {
    code(source) == Some(CONFLICT)
}

pub(super) fn is_missing(source: &(dyn std::error::Error + 'static)) -> bool {
    code(source) == Some(MISSING)
}

fn code(source: &(dyn std::error::Error + 'static)) -> Option<u16> {
    match source.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    }
}
