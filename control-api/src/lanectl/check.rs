//! `lanectl check`: whether the installation is well. Certificates are looked at, three questions are put to the control plane; then
//! marks: ✓ well, ! odd, ✗ not well. With --pre or --cluster it is an API server that is asked (`cluster`).
//!
//! It judges what is connected and who answered; what is odd about lanes is the control plane's word (a trial run of nothing).

use std::time::SystemTime;

use laneway_proto::admin::{ApplyBundleRequest, Bundle, Diagnostic};
use laneway_proto::status::{ConfigState, Proxy, ServerInfo};
use serde_json::json;

use super::arguments::{Check, Format, Shown};
use super::client::{Cause, Client, Failure};
use super::documents::is_error;
use super::look::{Colour, Look};
use super::print;
use super::status::{node_id, refusals};
use super::{Trouble, find};
use crate::name;

mod certificates;
#[cfg(feature = "kubernetes")]
mod cluster;
mod handshake;
#[cfg(feature = "kubernetes")]
mod new_pod;
#[cfg(feature = "kubernetes")]
mod rights;
mod validity;

#[cfg(test)]
mod tests;

/// Names in one line.
const NAMES_MAX: usize = 5;
/// What is looked at of an installation in a cluster.
#[cfg(feature = "kubernetes")]
const INSTALLATION: &str = "installation";
/// A sidecar answers within milliseconds; what takes longer does not come.
const STALE_SECONDS: u64 = 10;
/// Findings of the checker that have a line of their own, and what is said where there is none.
const WATCHED: [(&str, &str, &str); 2] = [
    ("LANE0201", "check-coverage", "every enabled lane has ready instances"),
    ("LANE0210", "check-trust", "no entry takes tags from callers without a sidecar unasked"),
];

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Well,
    Odd,
    NotWell,
}

/// One thing that was looked at.
#[derive(Debug, PartialEq)]
struct Item {
    section: &'static str,
    /// Stable: where docs/lanectl.md, or docs/diagnostics.md for a code, says more.
    anchor: String,
    mark: Mark,
    says: String,
    /// What to do. Empty where it is well.
    hint: String,
}

/// A cluster, before an installation or with one.
pub(super) async fn check_cluster(options: &Check, look: Look, out: &mut String) -> Result<(), Trouble> {
    #[cfg(feature = "kubernetes")]
    let items = if options.pre {
        cluster::before(&options.namespace).await
    } else {
        cluster::there(&options.namespace, SystemTime::now()).await
    };
    #[cfg(not(feature = "kubernetes"))]
    let items = vec![not_well(
        "cluster",
        "check-api-server",
        format!("this lanectl cannot ask an API server{}", if options.pre { " before an installation" } else { "" }),
        "build it with the feature kubernetes",
    )];
    tell(&items, look, out)
}

/// `client`: an error where what was typed makes none; then the certificates say why.
pub(super) async fn check(
    client: Result<Client, Failure>,
    server: &str,
    shown: &Shown,
    look: Look,
    out: &mut String,
) -> Result<(), Trouble> {
    let now = SystemTime::now();
    let certificates = certificates::certificates(server, shown, now).await;
    let mut items = match client {
        Ok(mut client) => match client.server().await {
            Ok(info) => looked_at(&mut client, server, &info, now).await?,
            Err(failure) => vec![unreached(server, &failure)],
        },
        Err(failure) if certificates.iter().all(|item| item.mark == Mark::Well) => return Err(failure.into()),
        Err(failure) => vec![unreached(server, &failure)],
    };
    // What is to be done first stands first: without good certificates there is nothing else to see.
    items.splice(0..0, certificates);
    tell(&items, look, out)
}

fn tell(items: &[Item], look: Look, out: &mut String) -> Result<(), Trouble> {
    match look.format {
        Format::Table | Format::Wide => people(items, look, out),
        Format::Json | Format::Yaml => {
            let values = items.iter().map(|item| {
                let state = match item.mark {
                    Mark::Well => "well",
                    Mark::Odd => "odd",
                    Mark::NotWell => "notWell",
                };
                json!({"section": item.section, "check": item.anchor, "state": state, "says": item.says, "hint": item.hint})
            });
            out.push_str(&print::values(values.collect(), false, look.format));
        }
        Format::Name => {
            let failed = items.iter().filter(|item| item.mark != Mark::Well);
            failed.for_each(|item| out.push_str(&format!("{}\n", item.anchor)));
        }
    }
    let count = items.iter().filter(|item| item.mark == Mark::NotWell).count();
    if count == 0 { Ok(()) } else { Err(Trouble::Said(format!("lanectl: {} failed", print::count(count, "check")))) }
}

async fn looked_at(
    client: &mut Client,
    server: &str,
    info: &ServerInfo,
    now: SystemTime,
) -> Result<Vec<Item>, Failure> {
    let proxies = client.proxies().await?;
    let trial =
        ApplyBundleRequest { bundle: Some(Bundle::default()), validate_only: true, ..ApplyBundleRequest::default() };
    let findings = match client.apply(trial).await {
        Ok(response) => response.diagnostics,
        // Who may not write is told of lanes alone.
        Err(failure) if failure.cause == Cause::Denied => {
            let lanes = client.lanes(&laneway_core::name::group(name::ANY, name::ANY)).await?;
            lanes.into_iter().flat_map(|lane| lane.warnings).collect()
        }
        Err(failure) => return Err(failure),
    };
    let mut items = control_plane(server, info);
    items.extend(sidecars(&proxies, info, now));
    items.extend(lanes(&findings));
    Ok(items)
}

fn unreached(server: &str, failure: &Failure) -> Item {
    let hint = match failure.cause {
        Cause::Unreachable => "start laneway-control, or say where it is: --server or LANECTL_SERVER",
        _ => "this is a port of something else, or its laneway-control is of another version",
    };
    not_well("control plane", "check-reached", format!("{server} does not answer: {failure}"), hint)
}

fn control_plane(server: &str, info: &ServerInfo) -> Vec<Item> {
    const SECTION: &str = "control plane";
    let mut items = vec![well(SECTION, "check-reached", format!("{server} answers: replica {}", info.replica))];
    let own = env!("CARGO_PKG_VERSION");
    items.push(if info.version == own {
        well(SECTION, "check-version", format!("version {own}, as lanectl"))
    } else {
        let says = format!("version {}, lanectl has {own}", info.version);
        odd(SECTION, "check-version", says, "use the lanectl of the control plane's release")
    });
    let store = info.features.iter().find_map(|feature| feature.strip_prefix("store."));
    items.push(match store {
        Some(store) => well(SECTION, "check-store", format!("store {store}, revision {}", info.revision)),
        None => not_well(SECTION, "check-store", "no store".to_owned(), "see the log of laneway-control"),
    });
    let sources: Vec<&str> = info.features.iter().filter_map(|feature| feature.strip_prefix("discovery.")).collect();
    items.push(match sources.as_slice() {
        [] => odd(
            SECTION,
            "check-discovery",
            "nothing tells what runs".to_owned(),
            "start laneway-control with --discovery: without it sidecars pass everything through",
        ),
        some => well(SECTION, "check-discovery", format!("what runs comes from: {}", some.join(", "))),
    });
    items.push(if info.leader {
        well(SECTION, "check-leader", "this replica leads: lanes end when their time is over".to_owned())
    } else {
        odd(
            SECTION,
            "check-leader",
            "another replica leads, or none".to_owned(),
            "ask the others with --server; where none leads, lanes do not end by themselves",
        )
    });
    items
}

fn sidecars(proxies: &[Proxy], info: &ServerInfo, now: SystemTime) -> Vec<Item> {
    const SECTION: &str = "sidecars";
    let in_state =
        |state: ConfigState| proxies.iter().filter(move |proxy| proxy.state() == state).collect::<Vec<&Proxy>>();
    let gone = in_state(ConfigState::Disconnected);
    let connected = proxies.len() - gone.len();
    let mut items = vec![match connected {
        0 => odd(
            SECTION,
            "check-connected",
            "no sidecar is connected".to_owned(),
            "--control (LANEWAY_CONTROL) of laneway-proxy must name the discovery port of this control plane",
        ),
        some => well(SECTION, "check-connected", format!("{} connected", print::count(some, "sidecar"))),
    }];
    let stale: Vec<&Proxy> = proxies.iter().filter(|proxy| is_stale(proxy, now)).collect();
    items.push(match stale.as_slice() {
        [] => well(SECTION, "check-stale", "none is stale: all have answered what they were sent".to_owned()),
        some => not_well(
            SECTION,
            "check-stale",
            format!("{} for {STALE_SECONDS} s and more: {}", verb(some.len(), "is silent", "are silent"), names(some)),
            "look at the log of that laneway-proxy, and whether its machine has time to run it",
        ),
    });
    let refused: Vec<String> = proxies.iter().flat_map(refusals).collect();
    items.push(match refused.as_slice() {
        [] => well(SECTION, "check-refused", "none has refused anything".to_owned()),
        some => not_well(
            SECTION,
            "check-refused",
            some.iter().take(NAMES_MAX).cloned().collect::<Vec<_>>().join("; "),
            "it goes on with what it had; a sidecar older than the control plane may not know a field: upgrade it",
        ),
    });
    if !gone.is_empty() {
        items.push(odd(
            SECTION,
            "check-disconnected",
            format!("{} left in the last five minutes: {}", gone.len(), names(&gone)),
            "well if those pods were stopped; else they run on with what they have and cannot reach the control plane",
        ));
    }
    let other: Vec<&Proxy> = proxies
        .iter()
        .filter(|proxy| {
            let version = proxy.node.as_ref().map(|node| node.proxy_version.as_str()).unwrap_or_default();
            !version.is_empty() && version != info.version
        })
        .collect();
    if !other.is_empty() {
        items.push(odd(
            SECTION,
            "check-sidecar-versions",
            format!("{} another version than the control plane: {}", verb(other.len(), "has", "have"), names(&other)),
            "well during an upgrade; lanectl status -o wide shows which",
        ));
    }
    items
}

/// Something was sent a while ago and is not answered.
fn is_stale(proxy: &Proxy, now: SystemTime) -> bool {
    proxy.types.iter().filter(|status| status.state() == ConfigState::Stale).any(|status| {
        let sent = status.last_sent_time.and_then(|time| SystemTime::try_from(time).ok());
        sent.is_none_or(|sent| now.duration_since(sent).unwrap_or_default().as_secs() >= STALE_SECONDS)
    })
}

fn lanes(findings: &[Diagnostic]) -> Vec<Item> {
    const SECTION: &str = "lanes";
    let mut items = Vec::new();
    for (code, anchor, says) in WATCHED {
        if !findings.iter().any(|finding| finding.code == code) {
            items.push(well(SECTION, anchor, says.to_owned()));
        }
    }
    items.extend(findings.iter().map(|finding| Item {
        section: SECTION,
        anchor: finding.code.clone(),
        mark: if is_error(finding) { Mark::NotWell } else { Mark::Odd },
        says: format!("{} {}: {}", find::short(&finding.resource), finding.field, finding.message),
        hint: finding.help.clone(),
    }));
    items
}

fn people(items: &[Item], look: Look, out: &mut String) {
    let mut section = "";
    for item in items {
        if item.section != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            section = item.section;
            out.push_str(&format!("{gap}{section}\n"));
        }
        let mark = match item.mark {
            Mark::Well => look.paint(Colour::Good, "✓"),
            Mark::Odd => look.paint(Colour::Odd, "!"),
            Mark::NotWell => look.paint(Colour::Bad, "✗"),
        };
        out.push_str(&format!("{mark} {}\n", item.says));
        if item.mark != Mark::Well {
            let more = match item.anchor.starts_with("LANE") {
                true => format!("{} in docs/diagnostics.md", item.anchor),
                false => format!("docs/lanectl.md#{}", item.anchor),
            };
            let hint = format!("    {}; see {more}", item.hint);
            out.push_str(&format!("{}\n", look.paint(Colour::Faint, &hint)));
        }
    }
    let count = |mark: Mark| items.iter().filter(|item| item.mark == mark).count();
    let (odd, bad) = (count(Mark::Odd), count(Mark::NotWell));
    out.push_str(&match (odd, bad) {
        (0, 0) => "\nall is well\n".to_owned(),
        _ => format!("\n{bad} not well, {odd} odd, {} well\n", count(Mark::Well)),
    });
}

fn names(proxies: &[&Proxy]) -> String {
    some_of(&proxies.iter().map(|proxy| node_id(proxy)).collect::<Vec<_>>())
}

/// The first of them, and how many more there are.
fn some_of(names: &[impl AsRef<str>]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMES_MAX).map(AsRef::as_ref).collect();
    let more = names.len().saturating_sub(NAMES_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

fn verb(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

fn well(section: &'static str, anchor: &str, says: String) -> Item {
    Item { section, anchor: anchor.to_owned(), mark: Mark::Well, says, hint: String::new() }
}

fn odd(section: &'static str, anchor: &str, says: String, hint: &str) -> Item {
    Item { section, anchor: anchor.to_owned(), mark: Mark::Odd, says, hint: hint.to_owned() }
}

fn not_well(section: &'static str, anchor: &str, says: String, hint: &str) -> Item {
    Item { section, anchor: anchor.to_owned(), mark: Mark::NotWell, says, hint: hint.to_owned() }
}
