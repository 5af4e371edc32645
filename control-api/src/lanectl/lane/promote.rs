//! `lanectl lane promote`: what has to be done so that the lane's versions become the baseline, in order, and what stands
//! in the way. A plan: who deploys is not us. It goes by what the control plane says runs.

use laneway_proto::admin::{Lane, LaneGroup, ServiceCoverage, ServicePolicy};
use serde_json::{Value, json};

use super::super::arguments::{Format, Promote};
use super::super::client::Client;
use super::super::look::Look;
use super::super::print::{self, Table};
use super::super::{Trouble, find};
use crate::name;

#[cfg(test)]
mod tests;

/// What is to be done.
#[derive(Debug, PartialEq)]
struct Plan {
    services: Vec<Service>,
    steps: Vec<String>,
    /// Why it should not begin yet.
    obstacles: Vec<String>,
}

/// One service of the group.
#[derive(Debug, PartialEq)]
struct Service {
    mark: &'static str,
    id: String,
    lane: String,
    baseline: String,
    says: String,
}

pub(super) async fn promote(
    client: &mut Client,
    options: Promote,
    look: Look,
    out: &mut String,
) -> Result<(), Trouble> {
    let lane = find::lane(client, &options.name, &options.place).await?;
    let namespace = format!("namespaces/{}", laneway_core::name::namespace_of(&lane.name));
    let groups = client.groups(&namespace).await?;
    let lanes = client.lanes(laneway_core::name::group_of_lane(&lane.name)).await?;
    let policies = client.policies(&namespace).await?;
    let plan = plan(&lane, &groups, &lanes, &policies);
    match look.format {
        Format::Table | Format::Wide => people(&lane, &plan, look, out),
        Format::Json | Format::Yaml => out.push_str(&print::values(vec![machines(&lane, &plan)], true, look.format)),
        Format::Name => plan.steps.iter().for_each(|step| out.push_str(&format!("{step}\n"))),
    }
    if plan.obstacles.is_empty() { Ok(()) } else { Err(Trouble::Said(plan.obstacles.join("\n"))) }
}

fn plan(lane: &Lane, groups: &[LaneGroup], lanes: &[Lane], policies: &[ServicePolicy]) -> Plan {
    let id = name::id(&lane.name);
    let services: Vec<Service> = lane.coverage.iter().map(service).collect();
    let own: Vec<&ServiceCoverage> = lane.coverage.iter().filter(|service| service.total_endpoints > 0).collect();
    let mut obstacles = Vec::new();
    if own.is_empty() {
        let nothing = format!("no instance has the tag {}: there is nothing to promote", lane.tag);
        return Plan { services, steps: Vec::new(), obstacles: vec![nothing] };
    }
    for service in own.iter().filter(|service| service.ready_endpoints < service.total_endpoints) {
        let (service, missing) = (name::id(&service.service), service.total_endpoints - service.ready_endpoints);
        obstacles.push(format!(
            "{service}: {} of the lane not ready; promote what runs well, not what does not",
            print::count(missing as usize, "instance")
        ));
    }
    let mut steps = vec![format!("see that it does as well as the baseline: lanectl lane compare {id}")];
    for service in &own {
        let baseline = service.baseline_ready_endpoints.max(1);
        steps.push(format!(
            "roll out the lane's version of {} as baseline: {} without LANEWAY_TAG, in place of those that run",
            name::id(&service.service),
            print::count(baseline as usize, "instance")
        ));
    }
    steps.extend(references(lane, groups, lanes, policies));
    steps.push(format!(
        "send everybody to the new baseline: lanectl lane disable {id} --wait (and back: lanectl lane enable {id})"
    ));
    steps.push(format!("stop the instances with the tag {}", lane.tag));
    steps.push(format!("remove the lane: lanectl lane close {id}"));
    Plan { services, steps, obstacles }
}

fn service(coverage: &ServiceCoverage) -> Service {
    let (ready, total) = (coverage.ready_endpoints, coverage.total_endpoints);
    let baseline = coverage.baseline_ready_endpoints;
    let (mark, says) = match (ready, baseline) {
        _ if total == 0 => ("-", "the baseline serves the lane: stays as it is".to_owned()),
        _ if ready < total => ("✗", format!("{} of {total} not ready", total - ready)),
        (_, 0) => ("!", "has no baseline yet: this is its first".to_owned()),
        (ready, baseline) if ready < baseline => {
            ("✓", format!("becomes the baseline; the lane runs fewer, roll out {baseline}"))
        }
        _ => ("✓", "becomes the baseline".to_owned()),
    };
    Service {
        mark,
        id: name::id(&coverage.service).to_owned(),
        lane: if total == 0 { "-".to_owned() } else { format!("{ready}/{total} ready") },
        baseline: format!("{baseline} ready"),
        says,
    }
}

/// Who else names the tag, and would name nothing afterwards.
fn references(lane: &Lane, groups: &[LaneGroup], lanes: &[Lane], policies: &[ServicePolicy]) -> Vec<String> {
    let mut found = Vec::new();
    for policy in policies {
        for (at, rule) in policy.rules.iter().enumerate() {
            if rule.to.iter().any(|to| to.tag == lane.tag) {
                let title = if rule.name.is_empty() { format!("rules[{at}]") } else { format!("rule {}", rule.name) };
                found.push(format!(
                    "policy {}, {title} sends requests to {}: take it out (lanectl get policy {0} -o yaml, lanectl apply)",
                    name::id(&policy.name),
                    lane.tag
                ));
            }
        }
    }
    let own_group = laneway_core::name::group_of_lane(&lane.name);
    let names = |chain: Option<&laneway_proto::admin::Fallback>| {
        chain.is_some_and(|fallback| fallback.chain.contains(&lane.tag))
    };
    for group in groups.iter().filter(|group| group.name == own_group && names(group.fallback.as_ref())) {
        found.push(format!("group {} falls back to {}: take it out of its chain", name::id(&group.name), lane.tag));
    }
    for other in lanes.iter().filter(|other| other.name != lane.name) {
        let overrides = other.service_overrides.values();
        if names(other.fallback.as_ref()) || overrides.into_iter().any(|own| names(own.fallback.as_ref())) {
            found.push(format!("lane {} falls back to {}: take it out of its chain", name::id(&other.name), lane.tag));
        }
    }
    found
}

fn people(lane: &Lane, plan: &Plan, look: Look, out: &mut String) {
    let mut table = Table::new(&["", "SERVICE", "LANE", "BASELINE", "SAYS"]);
    for service in &plan.services {
        table.row(vec![
            service.mark.to_owned(),
            service.id.clone(),
            service.lane.clone(),
            service.baseline.clone(),
            service.says.clone(),
        ]);
    }
    let covered = lane.coverage.iter().filter(|service| service.ready_endpoints > 0).count();
    out.push_str(&format!("{}: the lane has {covered} of {} services\n\n", lane.name, lane.coverage.len()));
    out.push_str(&table.render(look));
    if !plan.steps.is_empty() {
        out.push_str("\nto do, in this order:\n");
    }
    for (at, step) in plan.steps.iter().enumerate() {
        out.push_str(&format!("{:>2}. {step}\n", at + 1));
    }
}

fn machines(lane: &Lane, plan: &Plan) -> Value {
    let services: Vec<Value> = lane
        .coverage
        .iter()
        .map(|own| {
            json!({
                "service": own.service,
                "readyEndpoints": own.ready_endpoints,
                "totalEndpoints": own.total_endpoints,
                "baselineReadyEndpoints": own.baseline_ready_endpoints,
            })
        })
        .collect();
    json!({"lane": lane.name, "services": services, "steps": plan.steps, "obstacles": plan.obstacles})
}
