//! Against a real API server, each test in a namespace of its own: the conformance suite, and what only this store does.

mod commits;
mod proposals;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use laneway_proto::admin::Lane;
use laneway_proto::routing::{Condition, Entry, EntryRule, condition};
use prost::Message;
use serde_json::Value;

use super::{Kubernetes, resource};
use tokio::sync::oneshot;

use crate::crd;
use crate::replicas::Replica;
use crate::store::conformance::{self, Place, suite};
use crate::store::{
    AuditRecord, Capability, Change, Commit, Follow, HistoryBound, Kind, Pending, Record, Revision, Store, Stored,
};

/// A namespace, gone with the test.
pub(crate) struct Namespaced {
    pub(crate) namespace: String,
    is_made: AtomicBool,
}

async fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    crate::kubernetes::connect().await.expect("KUBECONFIG names a cluster")
}

impl Namespaced {
    pub(crate) fn new(test: &str) -> Namespaced {
        let id = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(format!("{test} {}", std::process::id()).as_bytes()));
        Namespaced { namespace: format!("t-{id}"), is_made: AtomicBool::new(false) }
    }

    /// The kinds and the namespace are there.
    async fn make(&self, client: &Client) {
        if self.is_made.swap(true, Ordering::Relaxed) {
            return;
        }
        let definitions = kube::api::ApiResource {
            group: "apiextensions.k8s.io".to_owned(),
            version: "v1".to_owned(),
            api_version: "apiextensions.k8s.io/v1".to_owned(),
            kind: "CustomResourceDefinition".to_owned(),
            plural: "customresourcedefinitions".to_owned(),
        };
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &definitions);
        let apply = PatchParams::apply("test").force();
        for definition in crd::all() {
            let name = definition["metadata"]["name"].as_str().expect("it has a name").to_owned();
            api.patch(&name, &apply, &Patch::Apply(&definition)).await.expect("the API server takes our definition");
            for _ in 0..600 {
                let found = api.get(&name).await.expect("it is there");
                let conditions = found.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
                if conditions.iter().any(|own| own["type"] == "Established" && own["status"] == "True") {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let mut own = Namespace::default();
        own.metadata.name = Some(self.namespace.clone());
        namespaces.create(&PostParams::default(), &own).await.expect("makes the namespace");
        // Kinds that were established a moment ago are served a moment later.
        for names in [crd::LANE_GROUP, crd::LANE, crd::SERVICE_POLICY, crd::REVISION] {
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &self.namespace, &resource(names));
            for _ in 0..600 {
                if api.list(&kube::api::ListParams::default()).await.is_ok() {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }

    pub(crate) async fn store(&self, bound: HistoryBound) -> Kubernetes {
        let client = client().await;
        self.make(&client).await;
        Kubernetes::bounded(client, &self.namespace, bound, Some(self.namespace.clone()))
    }

    fn lanes(&self, store: &Kubernetes) -> Api<DynamicObject> {
        store.api(Kind::Lane, &self.namespace)
    }

    pub(crate) fn lane_name(&self, id: &str) -> String {
        laneway_core::name::lane(&self.namespace, "default", id)
    }
}

impl Drop for Namespaced {
    fn drop(&mut self) {
        if !self.is_made.load(Ordering::Relaxed) {
            return;
        }
        let namespace = self.namespace.clone();
        let work = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime starts").block_on(async {
                let namespaces: Api<Namespace> = Api::all(client().await);
                let _ = namespaces.delete(&namespace, &DeleteParams::default()).await;
            });
        });
        let _ = work.join();
    }
}

/// The suite speaks of objects that are names and bytes; here they are lanes that hold these.
struct Translated {
    store: Kubernetes,
    namespace: String,
}

const CHUNK: usize = 1000;

impl Translated {
    fn there(&self, record: Record) -> Record {
        let name = self.name_there(&record.name);
        let hex: String = record.body.iter().map(|byte| format!("{byte:02x}")).collect();
        let chunks = hex.as_bytes().chunks(CHUNK).map(|chunk| String::from_utf8_lossy(chunk).into_owned());
        let test = Condition {
            source: Some(condition::Source::Header("x-body".to_owned())),
            r#in: chunks.chain(["end".to_owned()]).collect(),
            ..Condition::default()
        };
        let rule = EntryRule { r#match: Some(test), ..EntryRule::default() };
        let entry = Entry { services: vec!["a".to_owned()], rules: vec![rule], ..Entry::default() };
        let lane = Lane {
            name: name.clone(),
            uid: "u".to_owned(),
            tag: record.name.clone(),
            enabled: Some(true),
            entry: Some(entry),
            ..Lane::default()
        };
        Record { name, kind: Kind::Lane, body: lane.encode_to_vec() }
    }

    fn back(record: Record) -> Record {
        let lane = Lane::decode(record.body.as_slice()).expect("it is a lane");
        let values = lane.entry.into_iter().flat_map(|own| own.rules).filter_map(|rule| rule.r#match);
        let mut values: Vec<String> = values.flat_map(|test| test.r#in).collect();
        assert_eq!(values.pop().as_deref(), Some("end"));
        let hex = values.concat();
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
        let body = (0..hex.len()).step_by(2).map(byte).collect();
        Record { name: laneway_core::name::id_of(&record.name).to_owned(), kind: Kind::Lane, body }
    }

    fn name_there(&self, name: &str) -> String {
        laneway_core::name::lane(&self.namespace, "default", name)
    }

    fn whole_back(stored: Stored) -> Stored {
        Stored { revision: stored.revision, records: stored.records.into_iter().map(Translated::back).collect() }
    }
}

impl Store for Translated {
    fn load(&self) -> Pending<'_, Stored> {
        Box::pin(async { self.store.load().await.map(Translated::whole_back) })
    }

    fn commit(&self, commit: Commit) -> Pending<'_, i64> {
        let puts = commit.puts.into_iter().map(|record| self.there(record)).collect();
        let deletes = commit.deletes.iter().map(|name| self.name_there(name)).collect();
        self.store.commit(Commit { puts, deletes, ..commit })
    }

    fn revisions(&self, before: i64, count_max: usize) -> Pending<'_, Vec<Revision>> {
        self.store.revisions(before, count_max)
    }

    fn follow(&self, after: i64) -> Box<dyn Follow> {
        Box::new(TranslatedFollow(self.store.follow(after)))
    }

    fn lacks(&self) -> &'static [(Capability, &'static str)] {
        self.store.lacks()
    }

    fn append_audit(&self, records: Vec<AuditRecord>) -> Pending<'_, ()> {
        self.store.append_audit(records)
    }

    fn audit(&self, before: String, count_max: usize) -> Pending<'_, Vec<AuditRecord>> {
        self.store.audit(before, count_max)
    }

    fn name(&self) -> &'static str {
        self.store.name()
    }
}

struct TranslatedFollow(Box<dyn Follow>);

impl Follow for TranslatedFollow {
    fn next(&mut self) -> Pending<'_, Change> {
        Box::pin(async {
            Ok(match self.0.next().await? {
                Change::Whole(stored) => Change::Whole(Translated::whole_back(stored)),
                Change::Commit { revision, puts, deletes } => Change::Commit {
                    revision,
                    puts: puts.into_iter().map(Translated::back).collect(),
                    deletes: deletes.iter().map(|name| laneway_core::name::id_of(name).to_owned()).collect(),
                },
            })
        })
    }
}

impl Place for Namespaced {
    async fn open_bounded(&self, bound: HistoryBound, _audit_records_max: usize) -> Arc<dyn Store> {
        Arc::new(Translated { store: self.store(bound).await, namespace: self.namespace.clone() })
    }
}

mod kubernetes_conformance {
    use super::{Namespaced, suite};

    suite!([#[ignore = "needs an API server: ./x test-k8s"]] |test: &str| Some(Namespaced::new(test)));
}

pub(super) fn lane(name: &str, enabled: bool) -> Record {
    let lane = Lane {
        name: name.to_owned(),
        uid: "uid".to_owned(),
        tag: laneway_core::name::id_of(name).to_owned(),
        enabled: Some(enabled),
        description: "as it was".to_owned(),
        ..Lane::default()
    };
    Record { name: name.to_owned(), kind: Kind::Lane, body: lane.encode_to_vec() }
}

pub(super) fn commit(number: i64, puts: Vec<Record>, deletes: Vec<String>) -> Commit {
    Commit { revision: conformance::revision(number, "[]"), puts, deletes, audit: Vec::new() }
}

/// As they are loaded.
fn sorted(mut records: Vec<Record>) -> Vec<Record> {
    records.sort_by(|left, right| left.name.cmp(&right.name));
    records
}

async fn patched(api: &Api<DynamicObject>, name: &str, patch: Value) -> DynamicObject {
    let parameters = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
    api.patch(name, &parameters, &Patch::Merge(&patch)).await.expect("the API server takes it")
}

/// As long as the machine may take.
pub(crate) const WAIT: std::time::Duration = std::time::Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn one_replica_leads_and_another_when_it_ends_or_is_gone() {
    let place = Namespaced::new("lease");
    let store = place.store(super::BOUND).await;
    let replica = |name: &str| Replica { name: name.to_owned(), api: format!("http://{name}:1") };
    let (first, leads_first, _) = store.join(replica("First_1")).await.expect("joins");
    let (second, mut leads_second, mut known) = store.join(replica("second")).await.expect("joins");
    assert!(leads_first.leads() && !leads_second.leads());
    assert_eq!(known.others(), [replica("First_1")]);
    let ((end_first, ends_first), (end_second, ends_second)) = (oneshot::channel(), oneshot::channel());
    let first = tokio::spawn(first.run(ends_first));
    let second = tokio::spawn(second.run(ends_second));
    // It ends: at once, or nearly.
    end_first.send(()).expect("it runs");
    first.await.expect("it does not panic");
    assert!(!leads_first.leads());
    let led = async {
        while !leads_second.leads() {
            leads_second.changed().await;
        }
    };
    tokio::time::timeout(WAIT, led).await.expect("the second leads");
    let alone = async {
        while !known.others().is_empty() {
            known.changed().await;
        }
    };
    tokio::time::timeout(WAIT, alone).await.expect("the second is alone");
    // It is killed: the next waits until the Lease is over.
    second.abort();
    drop(end_second);
    let (third, mut leads_third, _) = store.join(replica("third")).await.expect("joins");
    assert!(!leads_third.leads());
    let (_end_third, ends_third) = oneshot::channel();
    let third = tokio::spawn(third.run(ends_third));
    let led = async {
        while !leads_third.leads() {
            leads_third.changed().await;
        }
    };
    tokio::time::timeout(WAIT, led).await.expect("the third leads");
    third.abort();
}
