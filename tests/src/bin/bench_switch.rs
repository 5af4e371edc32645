//! Switches a lane off and on again under load, and tells when the last request reached the lane: `./x bench switch`.
//!
//! ```text
//!  load, tag gray, --rate over --connections
//!     `--> sidecars of `gate` (several, each with a stream of its own to the control plane)
//!             `--> [ sidecar | A gray, A base ] --> [ sidecar | B gray, B base ]
//! ```
//! Real processes on loopback without a redirect. Prints one JSON object of raw times; tests/load/switch.py reads it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use laneway_proto::admin::lane_admin_client::LaneAdminClient;
use laneway_proto::admin::{ApplyBundleRequest, Bundle, DisableLaneRequest, EnableLaneRequest, Lane};
use laneway_proto::status::Rollout;
use laneway_tests::load::{Load, Running, Sample};
use laneway_tests::mesh::{Mesh, Plan, PodPlan, ServicePlan};
use serde_json::{Value, json};
use tonic::transport::Channel;

const LANE: &str = "namespaces/default/laneGroups/default/lanes/gray";
const PORT_OUTBOUND: u16 = 15401;
/// Longest wait for every sidecar to acknowledge, and for one call to the control plane.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(3);
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Answers before the first switch: every connection of every hop is open, and all is in the lane.
const WARM_UP: Duration = Duration::from_secs(2);
/// Examples that the result repeats of what went wrong.
const EXAMPLES_MAX: usize = 10;

/// Measures how long a lane takes to end
#[derive(Parser)]
struct Arguments {
    /// How many times the lane is switched off (and on again)
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    switches: u32,
    /// Requests per second, over all connections
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Connections of the load
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// Sidecars that the load enters by
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=32))]
    gates: u32,
    /// How long the lane stays off, and on, in milliseconds
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(50..=10_000))]
    hold_ms: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut mesh = Mesh::up(plan(arguments.gates))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(measure(&arguments, &mut mesh))?;
    #[allow(clippy::print_stdout, reason = "the answer of the program")]
    {
        println!("{result}");
    }
    Ok(())
}

/// Gates in front of A and B, each with a base and a gray instance.
fn plan(gates: u32) -> Plan {
    let mut plan = Plan::chain("switch", false, &[("a", &["", "gray"]), ("b", &["", "gray"])]);
    plan.services.push(ServicePlan { name: "gate".to_owned(), port: 20_010 });
    for number in 1..=gates {
        let mut pod = PodPlan::new("gate", "", "");
        pod.name = format!("gate-{number}");
        plan.pods.push(pod);
    }
    plan
}

async fn measure(arguments: &Arguments, mesh: &mut Mesh) -> Result<Value> {
    let channel = Channel::from_shared(mesh.admin_url())?.timeout(CALL_TIMEOUT).connect().await;
    let mut admin = LaneAdminClient::new(channel.context("reach the control plane")?);
    let lane = Lane { name: LANE.to_owned(), tag: "gray".to_owned(), enabled: Some(true), ..Lane::default() };
    let bundle = Bundle { lanes: vec![lane], ..Bundle::default() };
    admin
        .apply_bundle(ApplyBundleRequest { bundle: Some(bundle), ..Default::default() })
        .await
        .context("apply the lane")?;

    let loads = start_loads(arguments, mesh).await?;
    tokio::time::sleep(WARM_UP).await;
    let mut switches = Vec::new();
    for _ in 0..arguments.switches {
        let hold = Duration::from_millis(arguments.hold_ms);
        let off = Instant::now();
        let rollout = disable(&mut admin).await.context("disable the lane")?;
        let off = Change::answered(off, rollout);
        tokio::time::sleep_until((off.sent + hold).max(off.answered).into()).await;
        let on = Instant::now();
        let rollout = enable(&mut admin).await.context("enable the lane")?;
        let on = Change::answered(on, rollout);
        tokio::time::sleep_until((on.sent + hold).max(on.answered).into()).await;
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
async fn start_loads(arguments: &Arguments, mesh: &mut Mesh) -> Result<Vec<Running>> {
    let gates = arguments.gates;
    ensure!(
        arguments.connections.is_multiple_of(gates) && arguments.rate.is_multiple_of(gates),
        "--connections and --rate must be multiples of --gates ({gates})"
    );
    let host = mesh.plan().service("a")?.host();
    let mut loads = Vec::new();
    for number in 1..=gates {
        let address = mesh.pod(&format!("gate-{number}"))?.address;
        let load = Load {
            namespace: None,
            to: (address, PORT_OUTBOUND).into(),
            path: "/a".to_owned(),
            headers: vec![("host".to_owned(), host.clone()), ("x-mse-tag".to_owned(), "gray".to_owned())],
            connections: arguments.connections / gates,
            requests_per_second: arguments.rate / gates,
        };
        loads.push(load.start());
        tokio::time::sleep(Duration::from_secs(1) / arguments.rate).await;
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

fn judge(switches: &[(Change, Change)], samples: &[Sample]) -> Result<Value> {
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
        let ended = off.settled(samples, Some(on.sent), |chain| chain.contains("gray"));
        let back = on.settled(samples, next, |chain| !is_all_gray(chain));
        rows.push(json!({
            "off_ms": milliseconds(ended.last), "off_answered_ms": milliseconds(off.answered - off.sent),
            "on_ms": milliseconds(back.last), "on_answered_ms": milliseconds(on.answered - on.sent),
            "sidecars": off.rollout.target_count, "acknowledged": off.is_acknowledged() && on.is_acknowledged(),
        }));
        late.extend(ended.late);
        late.extend(back.late);
    }
    let lost: Vec<_> = samples.iter().filter_map(|sample| sample.answer.as_ref().err()).collect();
    let is_mixed = |chain: &str| chain.contains("gray[") && !is_all_gray(chain);
    let mixed: Vec<_> =
        samples.iter().filter_map(|sample| sample.answer.as_deref().ok()).filter(|chain| is_mixed(chain)).collect();
    Ok(json!({
        "mixed": mixed.len(), "mixed_examples": mixed.iter().take(EXAMPLES_MAX).collect::<Vec<_>>(),
        "switches": rows, "requests": samples.len(), "lost": lost.len(), "late": late.len(),
        "lost_examples": lost.iter().take(EXAMPLES_MAX).collect::<Vec<_>>(),
        "late_examples": late.iter().take(EXAMPLES_MAX).map(|sample| format!("{:?}", sample.answer)).collect::<Vec<_>>(),
    }))
}

/// `Agray[..] -> Bgray[..]`: every step in the lane.
fn is_all_gray(chain: &str) -> bool {
    chain.split(" -> ").all(|step| step.contains("gray["))
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e5).round() / 100.0
}
