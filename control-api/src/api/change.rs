//! The way of every call that means to change something: who calls is looked at, what came of it is recorded.
//!
//! ```text
//!   gRPC, JSON --> change --leave--> repeats --> handler --> reconcile (records what it commits)
//!                    |                             | refused, or nothing to do
//!                    '--- no leave ----------------'--> audit trail
//! ```
//! A handler that writes gets its [`Request`] here and nowhere else, so none is left out. It goes on to its end though the
//! caller goes away, for its answer is what a call with the same `request_id` is given. What `validate_only` tries is no
//! attempt to change anything and is neither recorded nor repeated.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use laneway_proto::admin::{
    ApplyBundleRequest, CreateLaneGroupRequest, CreateLaneRequest, CreateServicePolicyRequest, DeleteLaneGroupRequest,
    DeleteLaneRequest, DeleteServicePolicyRequest, DisableLaneRequest, EnableLaneRequest, RollbackRequest,
    UpdateLaneGroupRequest, UpdateLaneRequest, UpdateServicePolicyRequest,
};
use prost::Message;
use tonic::metadata::MetadataMap;
use tonic::{Code, Response, Status};

use super::{Answer, Api, errors, roles};
use crate::access::Caller;
use crate::reconcile::Request;
use crate::reconcile::audit::Call;

#[cfg(test)]
mod tests;

/// Free text for the history.
const REASON_BYTES_MAX: usize = 256;

/// What all requests that change something have in common.
pub(super) trait Change: Message + 'static {
    const METHOD: &'static str;

    /// Of a bundle its prune_parent.
    fn resource(&self) -> String;
    fn reason(&self) -> &str;
    fn request_id(&self) -> &str;
    fn validate_only(&self) -> bool;
}

macro_rules! changes {
    ($($message:ident: $method:literal, $resource:expr;)*) => {$(
        impl Change for $message {
            const METHOD: &'static str = concat!("laneway.admin.v1.LaneAdmin/", $method);

            fn resource(&self) -> String {
                let resource: fn(&$message) -> String = $resource;
                resource(self)
            }

            fn reason(&self) -> &str {
                &self.reason
            }

            fn request_id(&self) -> &str {
                &self.request_id
            }

            fn validate_only(&self) -> bool {
                self.validate_only
            }
        }
    )*};
}

changes! {
    CreateLaneGroupRequest: "CreateLaneGroup", |own| format!("{}/laneGroups/{}", own.parent, own.lane_group_id);
    UpdateLaneGroupRequest: "UpdateLaneGroup", |own| own.lane_group.as_ref().map(|group| group.name.clone()).unwrap_or_default();
    DeleteLaneGroupRequest: "DeleteLaneGroup", |own| own.name.clone();
    CreateLaneRequest: "CreateLane", |own| format!("{}/lanes/{}", own.parent, own.lane_id);
    UpdateLaneRequest: "UpdateLane", |own| own.lane.as_ref().map(|lane| lane.name.clone()).unwrap_or_default();
    DeleteLaneRequest: "DeleteLane", |own| own.name.clone();
    EnableLaneRequest: "EnableLane", |own| own.name.clone();
    DisableLaneRequest: "DisableLane", |own| own.name.clone();
    CreateServicePolicyRequest: "CreateServicePolicy", |own| format!("{}/servicePolicies/{}", own.parent, own.service_policy_id);
    UpdateServicePolicyRequest: "UpdateServicePolicy", |own| own.service_policy.as_ref().map(|policy| policy.name.clone()).unwrap_or_default();
    DeleteServicePolicyRequest: "DeleteServicePolicy", |own| own.name.clone();
    ApplyBundleRequest: "ApplyBundle", |own| own.prune_parent.clone();
    RollbackRequest: "Rollback", |own| own.name.clone();
}

impl Api {
    /// Runs a call that means to change something, if it may.
    pub(super) async fn change<Q, A, F>(
        &self,
        request: tonic::Request<Q>,
        work: impl FnOnce(Api, Request, Q) -> F + Send + 'static,
    ) -> Answer<A>
    where
        Q: Change,
        A: Message + Default + 'static,
        F: Future<Output = Result<A, Status>> + Send + 'static,
    {
        let (metadata, extensions, message) = request.into_parts();
        // Put there at the door; without it nobody knows who calls, so nobody may.
        let Some(caller) = extensions.get::<Caller>().cloned() else {
            return Err(errors::unauthenticated("the call did not come through the door of the port".to_owned()));
        };
        let call = Call {
            principal: caller.principal.clone(),
            remote_address: caller.remote_address.clone(),
            method: Q::METHOD,
            resource: message.resource(),
            request_id: message.request_id().to_owned(),
            reason: message.reason().to_owned(),
            trace_id: trace_id(&metadata),
        };
        let api = self.clone();
        let done = tokio::spawn(async move { api.changed(caller, call, message, work).await });
        done.await.unwrap_or_else(|_| Err(Status::internal("the call failed; whether it was done, the history says")))
    }

    async fn changed<Q, A, F>(
        self,
        caller: Caller,
        call: Call,
        message: Q,
        work: impl FnOnce(Api, Request, Q) -> F + Send,
    ) -> Answer<A>
    where
        Q: Change,
        A: Message + Default,
        F: Future<Output = Result<A, Status>> + Send,
    {
        let validate_only = message.validate_only();
        let committed = Arc::new(AtomicI64::new(0));
        let common =
            Request { call: call.clone(), validate_only, committed: Arc::clone(&committed), ..Request::default() };
        let done = match self.leave(&caller, &common, Instant::now()) {
            Err(refusal) => Err(refusal),
            Ok(()) if call.request_id.is_empty() || validate_only => work(self.clone(), common, message).await,
            Ok(()) => match self.repeats.call(&call, &message, Instant::now()) {
                Ok(once) => once.run(work(self.clone(), common, message)).await,
                Err(refusal) => Err(refusal),
            },
        };
        // Of a trial only that somebody tried what they may not.
        let is_attempt = !validate_only || matches!(&done, Err(status) if status.code() == Code::PermissionDenied);
        if committed.load(Ordering::Acquire) == 0 && is_attempt {
            let (code, words) = match &done {
                Ok(_) => (Code::Ok, "there was nothing to do"),
                Err(status) => (status.code(), status.message()),
            };
            self.reconciler.refused(&call, code as i32, words);
        }
        done.map(Response::new)
    }

    /// Whether a call may go on to its handler.
    fn leave(&self, caller: &Caller, request: &Request, now: Instant) -> Result<(), Status> {
        let method = request.call.method;
        match roles::needed(method) {
            Some(needed) if caller.role >= needed => {}
            Some(needed) => return Err(errors::denied(roles::words(caller, method, needed))),
            None => return Err(errors::denied(format!("no role may call {method}"))),
        }
        if let Err(wait) = self.writes.take(&caller.principal, now) {
            let message = format!("{} changes too much a second (--writes-per-second)", caller.principal);
            return Err(errors::too_many(message, wait));
        }
        looked_at(request)
    }
}

/// What a call is refused for whatever it says.
fn looked_at(request: &Request) -> Result<(), Status> {
    let id = &request.call.request_id;
    if !id.is_empty() && !is_uuid4(id) {
        let shape = "is a random UUID (version 4) such as 9f1c0a52-6d0e-4b5e-8f3a-2d1e7c9b0a64, or empty";
        return Err(errors::bad_field("request_id", shape));
    }
    if request.call.reason.len() > REASON_BYTES_MAX {
        return Err(errors::bad_field("reason", format!("has more than {REASON_BYTES_MAX} bytes")));
    }
    Ok(())
}

fn is_uuid4(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            14 => byte == b'4',
            19 => b"89abAB".contains(&byte),
            _ => byte.is_ascii_hexdigit(),
        })
}

/// The trace id of a W3C `traceparent`. Empty: none, or none that is good.
fn trace_id(metadata: &MetadataMap) -> String {
    let value = metadata.get("traceparent").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let id = value.split('-').nth(1).unwrap_or_default();
    let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id { id.to_ascii_lowercase() } else { String::new() }
}
