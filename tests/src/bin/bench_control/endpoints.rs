//! Instances that change all the time: how old is what each sidecar has, at worst?
//!
//! ```text
//!   a file for each service, one endpoint of one of them changed, 100 times a second --> laneway-control --> sidecars
//!   and each time the weight of the one endpoint of `clock`, which every sidecar watches: what it has then has a number
//! ```
//! When a sidecar receives number n after m, what it had was out of date since m + 1 was written: that is its age then.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use laneway_proto::contract::TYPE_ENDPOINTS;
use laneway_proto::discovery;
use laneway_proto::xds::DeltaDiscoveryResponse;
use laneway_tests::control::Control;
use laneway_tests::sidecars::{Herd, Simulated, Watcher};
use laneway_tests::usage;
use prost::Message as _;
use serde_json::{Value, json};

use super::{CONNECT_TIMEOUT, milliseconds};

const CLOCK: &str = "namespaces/default/services/clock/";
/// Longest wait for the last change to be everywhere.
const LAST_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Args)]
pub(super) struct Arguments {
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    sidecars: u32,
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
    services: u32,
    /// Of each service
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    endpoints: u32,
    /// Services that each sidecar calls
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(0..=200))]
    calls: u32,
    /// Changes per second
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: u32,
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(6..=90))]
    seconds: u32,
}

/// What sidecars have, by the clock.
struct Ages {
    /// When each number was written.
    written: Mutex<Vec<Instant>>,
    has: Vec<AtomicU32>,
    /// The worst of each sidecar, microseconds.
    worst_us: Vec<AtomicU64>,
    pushes: Vec<AtomicU32>,
}

impl Ages {
    fn watcher(self: &Arc<Ages>) -> Watcher {
        let ages = Arc::clone(self);
        Arc::new(move |sidecar, response: &DeltaDiscoveryResponse| {
            let clock = response.resources.iter().find(|resource| resource.name.starts_with(CLOCK));
            let Some(clock) = clock.filter(|_| response.type_url == TYPE_ENDPOINTS) else { return };
            let body = clock.resource.as_ref().map(|any| any.value.as_slice()).unwrap_or_default();
            let read = discovery::Endpoints::decode(body).ok();
            let number = read.and_then(|shard| shard.endpoints.first().map(|endpoint| endpoint.weight)).unwrap_or(0);
            let before = ages.has[sidecar].swap(number, Ordering::AcqRel);
            ages.pushes[sidecar].fetch_add(1, Ordering::Relaxed);
            // The first one is what there was when it came.
            if before > 0 && number > before {
                let written = ages.written()[before as usize + 1];
                let age = u64::try_from(written.elapsed().as_micros()).unwrap_or(u64::MAX);
                ages.worst_us[sidecar].fetch_max(age, Ordering::AcqRel);
            }
        })
    }

    fn written(&self) -> std::sync::MutexGuard<'_, Vec<Instant>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_all(&self, number: u32) -> bool {
        self.has.iter().all(|has| has.load(Ordering::Acquire) == number)
    }
}

pub(super) async fn measure(arguments: &Arguments) -> Result<Value> {
    let Arguments { sidecars, services, endpoints, calls, rate, seconds } = *arguments;
    let control = Control::start("bench-endpoints")?;
    let mut weights = vec![vec![1_u32; endpoints as usize]; services as usize];
    for (number, weights) in weights.iter().enumerate() {
        control.write_services(&format!("{number}.yaml"), &service(number, weights))?;
    }
    let ages = Arc::new(Ages {
        // Numbers begin at 1.
        written: Mutex::new(vec![Instant::now(); 2]),
        has: (0..sidecars).map(|_| AtomicU32::new(0)).collect(),
        worst_us: (0..sidecars).map(|_| AtomicU64::new(0)).collect(),
        pushes: (0..sidecars).map(|_| AtomicU32::new(0)).collect(),
    });
    control.write_services("clock.yaml", &clock(1))?;
    let simulated = (0..sidecars).map(|sidecar| {
        let called = (0..calls).map(|call| format!("host/svc-{}", (sidecar + call * 7) % services));
        Simulated {
            service: format!("caller-{}", sidecar % 10),
            keys: called.chain(["host/clock".to_owned()]).collect(),
        }
    });
    let herd = Herd::start(&control.discovery_url(), simulated, &ages.watcher());
    herd.await_connected(sidecars as usize, CONNECT_TIMEOUT).await?;
    await_all(&ages, 1, CONNECT_TIMEOUT).await?;

    let server = control.id()?;
    let (begun, cpu) = (Instant::now(), usage::cpu(server)?);
    let (mut memory, mut late) = (Vec::new(), 0_u32);
    let changes = rate * seconds;
    for change in 0..changes {
        let due = begun + Duration::from_secs(1) * change / rate;
        late += u32::from(due.elapsed() > Duration::from_secs(1) / rate);
        tokio::time::sleep_until(due.into()).await;
        let (of, at) = ((change % services) as usize, (change * 31 % endpoints) as usize);
        weights[of][at] = weights[of][at] % 10 + 1;
        control.write_services(&format!("{of}.yaml"), &service(of, &weights[of]))?;
        // Known before a sidecar can have it.
        ages.written().push(Instant::now());
        control.write_services("clock.yaml", &clock(change + 2))?;
        if change % (rate / 10).max(1) == 0 {
            memory.push(usage::resident_kib(server)?);
        }
    }
    let took = begun.elapsed();
    let last = Instant::now();
    await_all(&ages, changes + 1, LAST_TIMEOUT).await?;
    let last = last.elapsed();
    ensure!(herd.refused() == 0, "{} responses were refused", herd.refused());
    // A machine that has no time for seconds lets PINGs go unanswered: then ages are those of new streams.
    let reopened = herd.take_opened().len() - sidecars as usize;
    let mut worst: Vec<u64> = ages.worst_us.iter().map(|us| us.load(Ordering::Acquire)).collect();
    worst.sort_unstable();
    let mut pushes: Vec<u32> = ages.pushes.iter().map(|count| count.load(Ordering::Acquire)).collect();
    pushes.sort_unstable();
    let (first_half, second_half) = memory.split_at(memory.len() / 2);
    let worst_ms = |at: usize| milliseconds(Duration::from_micros(worst[at]));
    Ok(json!({
        "sidecars": sidecars, "endpoints": services * endpoints, "changes": changes, "took_ms": milliseconds(took), "late": late,
        "age_ms": {"median": worst_ms(worst.len() / 2), "max": worst_ms(worst.len() - 1)},
        "last_ms": milliseconds(last), "reopened": reopened, "pushes": {"min": pushes.first(), "max": pushes.last()},
        "cpu_share": ((usage::cpu(server)? - cpu).as_secs_f64() / took.as_secs_f64() * 1000.0).round() / 1000.0,
        "memory_kib": {
            "first_half": first_half.iter().max(), "second_half": second_half.iter().max(), "end": usage::resident_kib(server)?,
        },
    }))
}

async fn await_all(ages: &Ages, number: u32, deadline: Duration) -> Result<()> {
    let end = Instant::now() + deadline;
    while !ages.has_all(number) {
        let have = ages.has.iter().filter(|has| has.load(Ordering::Acquire) == number).count();
        ensure!(Instant::now() < end, "{have} of {} sidecars have number {number} after {deadline:?}", ages.has.len());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// The document of one service.
fn service(number: usize, weights: &[u32]) -> String {
    let mut text = format!("kind: Service\nname: svc-{number}\nhosts: [svc-{number}]\nendpoints:\n");
    for (at, weight) in weights.iter().enumerate() {
        // Addresses only need to differ.
        let _ = writeln!(text, "- {{address: '10.{number}.{}.{}:8080', weight: {weight}}}", at / 250, at % 250 + 1);
    }
    text
}

fn clock(number: u32) -> String {
    format!("kind: Service\nname: clock\nhosts: [clock]\nendpoints: [{{address: '10.255.0.1:80', weight: {number}}}]\n")
}
