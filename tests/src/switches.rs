//! A lane is switched off and on again under load: when did the last request reach it, was one lost, did one go through two
//! versions?
//!
//! ```text
//!  load, tag gray, --rate over --connections
//!     `--> sidecars of `gate` (several, each with a stream of its own to the control plane)
//!             `--> [ sidecar | A gray, A base ] --> [ sidecar | B gray, B base ] --> ...
//! ```
//! Real processes on loopback without a redirect. Sidecars further on may be made to hear of a switch later than those before.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use laneway_proto::admin::lane_admin_client::LaneAdminClient;
use laneway_proto::admin::{ApplyBundleRequest, Bundle, DisableLaneRequest, EnableLaneRequest, Lane};
use laneway_proto::contract::PORT_OUTBOUND;
use laneway_proto::status::Rollout;
use tonic::transport::Channel;

use crate::fault_relay::{Fault, Relay};
use crate::load::{Load, Running, Sample};
use crate::mesh::{Mesh, Plan, PodPlan, ServicePlan, loopback_discovery};

const LANE: &str = "namespaces/default/laneGroups/default/lanes/gray";
/// Longest wait for every sidecar to acknowledge, and for one call to the control plane.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(3);
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Answers before the first switch: every connection of every hop is open, and all is in the lane.
const WARM_UP: Duration = Duration::from_secs(2);

/// What is played.
#[derive(Clone, Debug)]
pub struct Scale {
    /// How many times the lane is switched off, and on again.
    pub switches: u32,
    /// Requests per second, over all connections; both are multiples of the gates.
    pub rate: u32,
    pub connections: u32,
    /// Sidecars that the load enters by.
    pub gates: u32,
    /// How long the lane stays off, and on.
    pub hold: Duration,
    /// Services that call each other in this order.
    pub services: &'static [&'static str],
    /// The first service hears of everything so much later than the gates do, the second twice as much, and so on.
    pub lag: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    pub switches: Vec<Switch>,
    pub requests: usize,
    /// Requests that got no answer, or a failure.
    pub lost: Vec<String>,
    /// Answers to requests that were sent after every sidecar had acknowledged, and yet were routed as before.
    pub late: Vec<String>,
    /// Answers of requests that took one step in the lane and another not.
    pub mixed: Vec<String>,
}

/// Off, and on again.
#[derive(Clone, Copy, Debug)]
pub struct Switch {
    /// From the call until the last answer came that a gray instance took part in, or a base instance when it is on again.
    pub off: Duration,
    pub on: Duration,
    /// Until the call was answered, which waits for every sidecar.
    pub off_answered: Duration,
    pub on_answered: Duration,
    pub sidecars: u32,
    pub is_acknowledged: bool,
}

/// Plays it, and judges every request.
pub fn play(label: &str, scale: &Scale) -> Result<Report> {
    let (plan, _relays) = plan(label, scale)?;
    let mut mesh = Mesh::up(plan)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(scale, &mut mesh))
}

/// Gates in front of services, each with a base and a gray instance; and what delays the control plane's word to these.
fn plan(label: &str, scale: &Scale) -> Result<(Plan, Vec<Relay>)> {
    let services: Vec<(&str, &[&str])> = scale.services.iter().map(|name| (*name, &["", "gray"][..])).collect();
    let mut plan = Plan::chain(label, false, &services);
    let mut relays = Vec::new();
    for (name, position) in scale.services.iter().zip(1..) {
        if scale.lag.is_zero() {
            break;
        }
        let relay = Relay::start(loopback_discovery(), Fault::Delay(scale.lag * position))?;
        let control = ("LANEWAY_CONTROL".to_owned(), format!("http://{}", relay.address));
        for pod in plan.pods.iter_mut().filter(|pod| pod.service == *name) {
            pod.sidecar_environment.push(control.clone());
        }
        relays.push(relay);
    }
    plan.services.push(ServicePlan { name: "gate".to_owned(), port: 20_010 });
    for number in 1..=scale.gates {
        let mut pod = PodPlan::new("gate", "", "");
        pod.name = format!("gate-{number}");
        plan.pods.push(pod);
    }
    Ok((plan, relays))
}

async fn measure(scale: &Scale, mesh: &mut Mesh) -> Result<Report> {
    let channel = Channel::from_shared(mesh.admin_url())?.timeout(CALL_TIMEOUT).connect().await;
    let mut admin = LaneAdminClient::new(channel.context("reach the control plane")?);
    let lane = Lane { name: LANE.to_owned(), tag: "gray".to_owned(), enabled: Some(true), ..Lane::default() };
    let bundle = Bundle { lanes: vec![lane], ..Bundle::default() };
    admin
        .apply_bundle(ApplyBundleRequest { bundle: Some(bundle), ..Default::default() })
        .await
        .context("apply the lane")?;

    let loads = start_loads(scale, mesh).await?;
    tokio::time::sleep(WARM_UP).await;
    let mut switches = Vec::new();
    for _ in 0..scale.switches {
        let off = Instant::now();
        let rollout = disable(&mut admin).await.context("disable the lane")?;
        let off = Change::answered(off, rollout);
        tokio::time::sleep_until((off.sent + scale.hold).max(off.answered).into()).await;
        let on = Instant::now();
        let rollout = enable(&mut admin).await.context("enable the lane")?;
        let on = Change::answered(on, rollout);
        tokio::time::sleep_until((on.sent + scale.hold).max(on.answered).into()).await;
        switches.push((off, on));
    }
    let mut samples = Vec::new();
    for load in loads {
        samples.extend(load.stop()?);
    }
    samples.sort_by_key(|sample| sample.sent);
    judge(&switches, &samples)
}

/// One load for each gate, a fraction of an interval apart, so that requests come evenly.
async fn start_loads(scale: &Scale, mesh: &mut Mesh) -> Result<Vec<Running>> {
    let gates = scale.gates;
    ensure!(
        scale.connections.is_multiple_of(gates) && scale.rate.is_multiple_of(gates),
        "connections and rate must be multiples of the gates ({gates})"
    );
    let first = scale.services.first().context("there is no service")?;
    let host = mesh.plan().service(first)?.host();
    let mut loads = Vec::new();
    for number in 1..=gates {
        let address = mesh.pod(&format!("gate-{number}"))?.address;
        let load = Load {
            namespace: None,
            to: (address, PORT_OUTBOUND).into(),
            path: format!("/{first}"),
            headers: vec![("host".to_owned(), host.clone()), ("x-mse-tag".to_owned(), "gray".to_owned())],
            connections: scale.connections / gates,
            requests_per_second: scale.rate / gates,
        };
        loads.push(load.start());
        tokio::time::sleep(Duration::from_secs(1) / scale.rate).await;
    }
    Ok(loads)
}

async fn disable(admin: &mut LaneAdminClient<Channel>) -> Result<Rollout> {
    let wait_timeout = Some(ACKNOWLEDGE_TIMEOUT.try_into()?);
    let request = DisableLaneRequest { name: LANE.to_owned(), wait_timeout, ..Default::default() };
    admin.disable_lane(request).await?.into_inner().rollout.context("the answer has no rollout")
}

async fn enable(admin: &mut LaneAdminClient<Channel>) -> Result<Rollout> {
    let wait_timeout = Some(ACKNOWLEDGE_TIMEOUT.try_into()?);
    let request = EnableLaneRequest { name: LANE.to_owned(), wait_timeout, ..Default::default() };
    admin.enable_lane(request).await?.into_inner().rollout.context("the answer has no rollout")
}

/// One call that switched.
struct Change {
    sent: Instant,
    answered: Instant,
    rollout: Rollout,
}

impl Change {
    fn answered(sent: Instant, rollout: Rollout) -> Self {
        Self { sent, answered: Instant::now(), rollout }
    }

    fn is_acknowledged(&self) -> bool {
        self.rollout.done && self.rollout.nacked_count == 0 && self.rollout.unreachable.is_empty()
    }

    /// How long after the call the last of the requests that `wrong` names was answered; and those of them that were sent
    /// when everybody had acknowledged, which must be none. What is answered after `end`, when the next call was sent, may
    /// rightly follow either.
    fn settled<'a>(&self, samples: &'a [Sample], end: Option<Instant>, wrong: impl Fn(&str) -> bool) -> Settled<'a> {
        let mut settled = Settled { last: Duration::ZERO, late: Vec::new() };
        for sample in samples.iter().take_while(|sample| end.is_none_or(|end| sample.sent < end)) {
            let is_of_this_phase = sample.answered >= self.sent && end.is_none_or(|end| sample.answered < end);
            if is_of_this_phase && sample.answer.as_deref().is_ok_and(&wrong) {
                settled.last = settled.last.max(sample.answered - self.sent);
                if sample.sent > self.answered && self.is_acknowledged() {
                    settled.late.push(sample);
                }
            }
        }
        settled
    }
}

struct Settled<'a> {
    last: Duration,
    late: Vec<&'a Sample>,
}

fn judge(switches: &[(Change, Change)], samples: &[Sample]) -> Result<Report> {
    let first = switches.first().context("nothing was switched")?.0.sent;
    let before: Vec<_> = samples.iter().filter(|sample| sample.answered < first).collect();
    let in_lane = before.iter().filter(|sample| sample.answer.as_deref().is_ok_and(is_all_gray)).count();
    ensure!(
        !before.is_empty() && in_lane * 2 > before.len(),
        "before the first switch {in_lane} of {} requests were in the lane: {:?}",
        before.len(),
        before.last()
    );

    let (mut rows, mut late) = (Vec::new(), Vec::new());
    for (position, (off, on)) in switches.iter().enumerate() {
        let next = switches.get(position + 1).map(|(off, _)| off.sent);
        // Only what was answered since the switch counts, so an earlier phase is not looked at.
        let ended = off.settled(samples, Some(on.sent), |chain| chain.contains("gray["));
        let back = on.settled(samples, next, |chain| !is_all_gray(chain));
        rows.push(Switch {
            off: ended.last,
            on: back.last,
            off_answered: off.answered - off.sent,
            on_answered: on.answered - on.sent,
            sidecars: off.rollout.target_count,
            is_acknowledged: off.is_acknowledged() && on.is_acknowledged(),
        });
        late.extend(ended.late.into_iter().chain(back.late).map(|sample| format!("{:?}", sample.answer)));
    }
    let lost = samples.iter().filter_map(|sample| sample.answer.as_ref().err().cloned());
    let answers = samples.iter().filter_map(|sample| sample.answer.as_deref().ok());
    let mixed = answers.filter(|chain| is_mixed(chain)).map(str::to_owned);
    Ok(Report { switches: rows, requests: samples.len(), lost: lost.collect(), late, mixed: mixed.collect() })
}

/// `Agray[..] -> Bgray[..]`: every step in the lane.
fn is_all_gray(chain: &str) -> bool {
    chain.split(" -> ").all(|step| step.contains("gray["))
}

fn is_mixed(chain: &str) -> bool {
    chain.contains("gray[") && !is_all_gray(chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_of_one_version_or_of_two() {
        let of = |chain: &str| (is_all_gray(chain), is_mixed(chain));
        assert_eq!(of("Agray[127.0.12.1] -> Bgray[127.0.14.1]"), (true, false));
        assert_eq!(of("A[127.0.11.1] -> B[127.0.13.1]"), (false, false));
        assert_eq!(of("A[127.0.11.1] -> Bgray[127.0.14.1]"), (false, true));
        assert_eq!(of("Agray[127.0.12.1] -> B[127.0.13.1]"), (false, true));
    }
}
