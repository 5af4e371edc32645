//! What a lane has of each service.

use laneway_core::compile::Objects;
use laneway_core::document::{self, Document};

use super::{catalog, coverage};

const SERVICES: &str = "
kind: Service
name: a
endpoints: [{address: '10.0.0.1:80'}, {address: '10.0.0.2:80', tag: gray}, {address: '10.0.0.3:80', tag: gray, state: unhealthy}]
---
kind: Service
name: b
endpoints: [{address: '10.0.1.1:80'}, {address: '10.0.1.2:80', tag: stable}]
---
kind: Service
name: c
endpoints: [{address: '10.0.2.1:80', tag: gray}]
---
kind: Service
name: d
ports: [{port: 0}, {port: 80, name: web}]
endpoints: [{address: 10.0.3.1, tag: gray}, {address: '10.0.3.1:8080', portName: web, tag: gray}]
";

const OBJECTS: &str = "
kind: LaneGroup
name: shop
baseline: {tag: stable}
---
kind: LaneGroup
name: other
services: [c]
---
kind: Lane
name: gray
group: shop
";

#[test]
fn coverage_counts_the_services_of_the_group() {
    let mut objects = Objects::default();
    let mut services = Vec::new();
    let read = |text| document::read(text).expect("good documents");
    for document in read(SERVICES).into_iter().chain(read(OBJECTS)) {
        match document {
            Document::LaneGroup(group) => drop(objects.groups.insert(group.name.clone(), group)),
            Document::Lane(mut lane) => {
                lane.tag = "gray".to_owned();
                objects.lanes.insert(lane.name.clone(), lane);
            }
            Document::Service(service) => services.push(service),
            Document::ServicePolicy(_) | Document::Proxy(_) => {}
        }
    }
    let lane = "namespaces/default/laneGroups/shop/lanes/gray";
    let found: Vec<(String, u32, u32, u32)> = coverage(&objects, &catalog(&services), lane)
        .into_iter()
        .map(|own| (own.service, own.ready_endpoints, own.total_endpoints, own.baseline_ready_endpoints))
        .collect();
    let service = |id: &str| format!("namespaces/default/services/{id}");
    assert_eq!(
        found,
        [(service("a"), 1, 2, 1), (service("b"), 0, 0, 2), (service("d"), 1, 1, 0)],
        "one instance has two endpoints"
    );
}
