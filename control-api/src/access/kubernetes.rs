//! The API server of a cluster as a reviewer of tokens and rights: TokenReview and SubjectAccessReview.

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Client;
use kube::api::{Api, PostParams};

use super::reviewer::{Asked, Away, Pod, Reviewer, User, Verdict};
use crate::discovery::{self, PodService};
use crate::kubernetes::GROUP;

#[cfg(test)]
mod tests;

/// Asks by the ServiceAccount of this program, which may create TokenReviews and SubjectAccessReviews
/// (deploy/kubernetes/install/access.yaml).
pub struct ApiServer(Client);

impl ApiServer {
    pub fn new(client: Client) -> ApiServer {
        ApiServer(client)
    }
}

impl Reviewer for ApiServer {
    fn token<'a>(&'a self, token: &'a str, audience: Option<&'a str>) -> Asked<'a, Verdict> {
        Box::pin(async move {
            let spec = TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: audience.map(|audience| vec![audience.to_owned()]),
            };
            let review = TokenReview { spec, ..TokenReview::default() };
            let api: Api<TokenReview> = Api::all(self.0.clone());
            let answer = api.create(&PostParams::default(), &review).await.map_err(away)?;
            let status = answer.status.unwrap_or_default();
            let Some(user) = status.user.filter(|_| status.authenticated == Some(true)) else {
                return Ok(Verdict::Unknown(status.error.unwrap_or_default()));
            };
            Ok(Verdict::Known(User {
                name: user.username.unwrap_or_default(),
                uid: user.uid.unwrap_or_default(),
                groups: user.groups.unwrap_or_default(),
                extra: user.extra.unwrap_or_default(),
                audiences: status.audiences.unwrap_or_default(),
            }))
        })
    }

    fn may<'a>(&'a self, who: &'a User, resource: &'static str, verb: &'static str) -> Asked<'a, bool> {
        Box::pin(async move {
            let attributes = ResourceAttributes {
                group: Some(GROUP.to_owned()),
                resource: Some(resource.to_owned()),
                verb: Some(verb.to_owned()),
                ..ResourceAttributes::default()
            };
            let spec = SubjectAccessReviewSpec {
                user: Some(who.name.clone()),
                uid: Some(who.uid.clone()),
                groups: Some(who.groups.clone()),
                extra: Some(who.extra.clone()),
                resource_attributes: Some(attributes),
                ..SubjectAccessReviewSpec::default()
            };
            let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
            let api: Api<SubjectAccessReview> = Api::all(self.0.clone());
            let answer = api.create(&PostParams::default(), &review).await.map_err(away)?;
            Ok(answer.status.is_some_and(|status| status.allowed && status.denied != Some(true)))
        })
    }

    fn service<'a>(&'a self, pod: &'a Pod) -> Asked<'a, PodService> {
        Box::pin(async move {
            let asked = discovery::kubernetes::service_of(&self.0, &pod.namespace, &pod.name, &pod.uid);
            asked.await.map_err(away)
        })
    }
}

fn away(error: kube::Error) -> Away {
    Away(error.to_string())
}
