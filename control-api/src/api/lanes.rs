//! The switch: EnableLane and DisableLane.
//!
//! The path that must be short: plan, one fsync, compile, push. Disabling is held up by no check of anything else.

use std::time::{Duration, Instant, SystemTime};

use laneway_core::compile::Objects;
use laneway_core::duration;
use laneway_proto::admin::{
    DisableLaneRequest, DisableLaneResponse, EnableLaneRequest, EnableLaneResponse, Lane, enable_lane_request, lane,
};
use tonic::Status;

use super::write::{has_group, shown_lane, write};
use super::{Api, errors, rollout};
use crate::edit::{Cause, Edit, expiry};
use crate::reconcile::{MakeEdit, Request, WriteError};
use crate::{catalog, name};

/// Longest `wait_timeout`.
const WAIT_MAX: Duration = Duration::from_secs(60);

pub(super) async fn enable(
    api: Api,
    common: Request,
    request: EnableLaneRequest,
) -> Result<EnableLaneResponse, Status> {
    let begun = Instant::now();
    is_lane(&request.name)?;
    let wait = wait(request.wait_timeout)?;
    let name = request.name.clone();
    let now = api.reconciler.now();
    let make: MakeEdit = Box::new(move |state| {
        let mut lane = found(&state.objects, &request.name, &request.etag)?;
        if request.require_coverage {
            let coverage = catalog::coverage(&state.objects, &state.catalog, &request.name);
            if coverage.iter().all(|service| service.ready_endpoints == 0) {
                let message = format!("{} has no ready instance of any service (tag {:?})", request.name, lane.tag);
                return Err(WriteError::Precondition { kind: "NO_COVERAGE", subject: request.name.clone(), message });
            }
        }
        lane.expiration = expiration(&lane, request.expiration, now)?;
        lane.enabled = Some(true);
        Ok(Edit { lanes: vec![lane], cause: Cause::Enabled, ..Edit::default() })
    });
    let validate_only = common.validate_only;
    // Findings are of fields that the request has itself (`ttl`), or of the lane that is there.
    let outcome = write(&api, common, make, &name, "").await?;
    let lane = shown_lane(&api, &outcome, &name)?;
    let rollout = rollout::follow(&api, &name, outcome.revision, begun, wait, validate_only).await;
    Ok(EnableLaneResponse { lane: Some(lane), rollout })
}

pub(super) async fn disable(
    api: Api,
    mut common: Request,
    request: DisableLaneRequest,
) -> Result<DisableLaneResponse, Status> {
    let begun = Instant::now();
    common.is_urgent = true;
    is_lane(&request.name)?;
    let wait = wait(request.wait_timeout)?;
    let name = request.name.clone();
    let make: MakeEdit = Box::new(move |state| {
        let lane = match found(&state.objects, &request.name, &request.etag) {
            Ok(lane) => lane,
            // So a tag that runs without a lane is switched off too.
            Err(WriteError::Missing { .. }) if request.allow_missing && has_group(&state.objects, &request.name) => {
                Lane { name: request.name.clone(), ..Lane::default() }
            }
            Err(error) => return Err(error),
        };
        Ok(Edit { lanes: vec![Lane { enabled: Some(false), ..lane }], ..Edit::default() })
    });
    let validate_only = common.validate_only;
    let outcome = write(&api, common, make, &name, "name").await?;
    let lane = shown_lane(&api, &outcome, &name)?;
    let rollout = rollout::follow(&api, &name, outcome.revision, begun, wait, validate_only).await;
    Ok(DisableLaneResponse { lane: Some(lane), rollout })
}

/// When a lane ends that is enabled now: as asked, else its ttl anew, else at its time if that is still to come.
fn expiration(
    lane: &Lane,
    asked: Option<enable_lane_request::Expiration>,
    now: SystemTime,
) -> Result<Option<lane::Expiration>, WriteError> {
    use enable_lane_request::Expiration;
    match asked {
        Some(Expiration::Ttl(ttl)) => return Ok(Some(lane::Expiration::Ttl(ttl))),
        Some(Expiration::ExpireTime(end)) => return Ok(Some(lane::Expiration::ExpireTime(end))),
        None => {}
    }
    if let Some(ttl) = lane.given_ttl {
        return Ok(Some(lane::Expiration::Ttl(ttl)));
    }
    match expiry::expire_time(lane) {
        Some(end) if expiry::is_over(&end, now) => {
            let message = format!(
                "the time of {} was over at {end}. Say how long it is to run now: `lanectl lane enable {} --ttl 48h` or \
                 --expire-time, in the API `ttl` or `expire_time`; or change its document",
                lane.name,
                name::id(&lane.name)
            );
            Err(WriteError::Precondition { kind: "EXPIRED", subject: lane.name.clone(), message })
        }
        _ => Ok(lane.expiration),
    }
}

fn found(objects: &Objects, name: &str, etag: &str) -> Result<Lane, WriteError> {
    let lane = objects.lanes.get(name).ok_or_else(|| WriteError::Missing { name: name.to_owned() })?;
    if !etag.is_empty() && etag != lane.etag {
        return Err(WriteError::Stale { name: name.to_owned() });
    }
    Ok(lane.clone())
}

fn is_lane(name: &str) -> Result<(), Status> {
    match name::parse_lane(name) {
        Some(_) => Ok(()),
        None => Err(errors::bad_field("name", "is namespaces/{namespace}/laneGroups/{lane_group}/lanes/{lane}")),
    }
}

pub(super) fn wait(given: Option<prost_types::Duration>) -> Result<Option<Duration>, Status> {
    let Some(given) = given else { return Ok(None) };
    match duration::read(given) {
        Some(wait) if wait <= WAIT_MAX => Ok(Some(wait)),
        _ => Err(errors::bad_field("wait_timeout", "is between 0 and 60s")),
    }
}
