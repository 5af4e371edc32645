//! What is asked of an API server about whoever shows a token, and what it answers.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use crate::discovery::PodService;

/// What an API server is asked.
pub trait Reviewer: Send + Sync {
    /// Whose token it is. Without an audience: one for the API server itself.
    fn token<'a>(&'a self, token: &'a str, audience: Option<&'a str>) -> Asked<'a, Verdict>;
    /// May they, in all namespaces?
    fn may<'a>(&'a self, who: &'a User, resource: &'static str, verb: &'static str) -> Asked<'a, bool>;
    /// The service of a pod, by the pod itself.
    fn service<'a>(&'a self, pod: &'a Pod) -> Asked<'a, PodService>;
}

pub type Asked<'a, T> = Pin<Box<dyn Future<Output = Result<T, Away>> + Send + 'a>>;

/// The API server did not answer: why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Away(pub String);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Known(User),
    /// What the API server says about it; may be empty.
    Unknown(String),
}

/// Somebody whom the API server knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
    /// Of those that were asked for, what the token is for.
    pub audiences: Vec<String>,
}

/// The pod of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}
