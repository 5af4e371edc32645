//! Commits that are refused, slow, or left half done.

use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::super::claim::Claim;
use super::super::journal::Entry;
use super::super::object::{self, Place, Proposal, Standing};
use super::super::rewrite::{Purpose, Step, Theirs, steps};
use super::super::settle::SILENT_MAX;
use super::super::{BOUND, Kubernetes, resource};
use super::{Namespaced, WAIT, commit, lane, patched, sorted};
use crate::crd;
use crate::store::{Change, Kind, Store, StoreError, Stored};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn what_the_api_server_would_refuse_changes_nothing() {
    let place = Namespaced::new("rehearsal");
    let store = place.store(BOUND).await;
    let good = lane(&place.lane_name("good"), true);
    let nowhere = lane("namespaces/is-not-there/laneGroups/default/lanes/bad", true);
    let refused = store.commit(commit(1, vec![good, nowhere], Vec::new())).await;
    assert!(matches!(refused, Err(StoreError::Failed { .. })), "{refused:?}");
    assert_eq!(store.load().await.expect("loads"), Stored::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn a_commit_whose_writer_died_reaches_who_follows_though_nobody_loads() {
    let place = Namespaced::new("left to followers");
    let (writer, next) = (place.store(BOUND).await, place.store(BOUND).await);
    let whole = commit(1, vec![lane(&place.lane_name("one"), true), lane(&place.lane_name("two"), true)], Vec::new());
    let mut followers = [writer.follow(0), next.follow(0)];
    writer.shared.journal.claim(&Entry::of(&whole), 1).await.expect("claims, and dies");
    for follower in &mut followers {
        let change = tokio::time::timeout(WAIT, follower.next()).await.expect("in time").expect("follows");
        assert!(matches!(&change, Change::Commit { revision: 1, puts, .. } if *puts == whole.puts), "{change:?}");
    }
    assert!(place.lanes(&next).get_opt("two").await.expect("asks").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn who_carries_a_commit_on_says_what_the_api_server_did_not_take() {
    let place = Namespaced::new("refused later");
    let store = place.store(BOUND).await;
    let good = lane(&place.lane_name("good"), true);
    let nowhere = lane("namespaces/is-not-there/laneGroups/default/lanes/bad", true);
    let whole = commit(1, vec![good.clone(), nowhere.clone()], Vec::new());
    store.shared.journal.claim(&Entry::of(&whole), 1).await.expect("claims, and dies");
    let change = tokio::time::timeout(WAIT, store.follow(0).next()).await.expect("in time").expect("follows");
    assert!(matches!(&change, Change::Commit { puts, .. } if *puts == [good.clone()]), "{change:?}");
    let stored = store.load().await.expect("loads");
    assert_eq!((stored.revision, stored.records), (1, vec![good]));
    let reason = store.revisions(2, 1).await.expect("reads")[0].reason.clone();
    assert!(reason.contains(&format!("{} was left as it was: ", nowhere.name)), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn a_commit_that_is_refused_half_way_is_put_back() {
    let place = Namespaced::new("put back");
    let store = place.store(BOUND).await;
    let (one, two) = (place.lane_name("one"), place.lane_name("two"));
    store.commit(commit(1, vec![lane(&one, true)], Vec::new())).await.expect("commits");
    // It passes the rehearsal, and is refused when it is meant.
    let refusal = Policy::refuses(&store, &place, "two").await;
    let refused = store.commit(commit(2, vec![lane(&one, false), lane(&two, true)], Vec::new())).await;
    assert!(matches!(refused, Err(StoreError::Failed { .. } | StoreError::Unusable(_))), "{refused:?}");
    let stored = store.load().await.expect("loads");
    assert_eq!((stored.revision, stored.records), (1, vec![lane(&one, true)]));
    assert!(place.lanes(&store).get_opt("two").await.expect("asks").is_none());
    refusal.end().await;
    // The number is free again.
    store.commit(commit(2, vec![lane(&one, false)], Vec::new())).await.expect("commits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn what_is_put_back_is_so_though_others_wrote_the_object_meanwhile() {
    let place = Namespaced::new("put back over others");
    let store = place.store(BOUND).await;
    let [old, new] = ["old", "new"].map(|id| place.lane_name(id));
    store.commit(commit(1, vec![lane(&old, true)], Vec::new())).await.expect("commits");
    let api = place.lanes(&store);
    for theirs in [None, Some(json!({"spec": {"priority": 7}}))] {
        let puts = [lane(&old, false), lane(&new, true)];
        for (put, id) in puts.iter().zip(["old", "new"]) {
            let planned = store.plan(Step::Put(put), purpose(2)).await.expect("plans");
            let written = store.apply(&planned, false).await.expect("writes");
            let key = (Kind::Lane, Place { namespace: place.namespace.clone(), name: id.to_owned() });
            store.report(&key, &json!({"acked": "1/1"})).await.expect("reports");
            if let Some(theirs) = &theirs {
                patched(&api, id, theirs.clone()).await;
            }
            store.undo(written).await.expect("puts back");
        }
        let object = api.get("old").await.expect("it is there");
        let read = object::read(Kind::Lane, &object);
        assert_eq!((read.revision, matches!(read.standing, Standing::Accepted(_))), (1, theirs.is_none()));
        let made = api.get_opt("new").await.expect("asks");
        // What people wrote on it is a proposal, and nobody says that it was accepted.
        assert_eq!(made.map(|made| object::read(Kind::Lane, &made).revision), theirs.is_some().then_some(0));
        assert_eq!(place.store(BOUND).await.load().await.expect("loads").records, [lane(&old, true)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn what_an_admission_policy_adds_refuses_no_write() {
    let place = Namespaced::new("added");
    let store = place.store(BOUND).await;
    let name = place.lane_name("gray");
    store.commit(commit(1, vec![lane(&name, true)], Vec::new())).await.expect("commits");
    let policy = Policy::adds_a_label(&store, &place, "gray").await;
    store.commit(commit(2, vec![lane(&name, false)], Vec::new())).await.expect("a switch works");
    let object = place.lanes(&store).get("gray").await.expect("it is there");
    assert_eq!((&object.data["spec"]["enabled"], object.metadata.labels.is_some()), (&json!(false), true));
    let Standing::Proposed(proposal) = object::read(Kind::Lane, &object).standing else {
        panic!("nobody has judged it")
    };
    assert!(matches!(&*proposal, Proposal::Lane(own) if own.labels.len() == 1), "{proposal:?}");
    assert_eq!(place.store(BOUND).await.load().await.expect("loads").records, [lane(&name, false)]);
    policy.end().await;
}

/// An admission policy, while a test needs it.
struct Policy {
    policies: Api<DynamicObject>,
    bindings: Api<DynamicObject>,
    name: String,
}

impl Policy {
    /// Takes lanes of a name for a rehearsal alone.
    async fn refuses(store: &Kubernetes, place: &Namespaced, lane: &str) -> Policy {
        let rule =
            json!({"validations": [{"expression": format!("request.dryRun || object.metadata.name != '{lane}'")}]});
        let own = Policy::make(store, place, "Validating", rule, json!({"validationActions": ["Deny"]})).await;
        let (lanes, mut probe) =
            (place.lanes(store), DynamicObject::new(lane, &resource(crd::LANE)).within(&place.namespace));
        probe.data = json!({"spec": {"tag": lane}});
        let begun = std::time::Instant::now();
        while lanes.create(&PostParams::default(), &probe).await.is_ok() {
            assert!(begun.elapsed() < WAIT, "the policy refuses nothing");
            lanes.delete(lane, &DeleteParams::default()).await.expect("it was made");
        }
        own
    }

    /// Labels every lane; that one is there.
    async fn adds_a_label(store: &Kubernetes, place: &Namespaced, lane: &str) -> Policy {
        let expression = "Object{metadata: Object.metadata{labels: {'team': 'shop'}}}";
        let rule = json!({
            "reinvocationPolicy": "Never", "failurePolicy": "Fail",
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
        });
        let own = Policy::make(store, place, "Mutating", rule, json!({})).await;
        let begun = std::time::Instant::now();
        let rehearsal = PatchParams { dry_run: true, ..PatchParams::default() };
        let patch = Patch::Merge(json!({"metadata": {"annotations": {"probe": "1"}}}));
        while place.lanes(store).patch(lane, &rehearsal, &patch).await.expect("it is there").metadata.labels.is_none() {
            assert!(begun.elapsed() < WAIT, "the policy adds nothing");
        }
        own
    }

    /// In force a moment later.
    async fn make(store: &Kubernetes, place: &Namespaced, which: &str, mut rule: Value, binding: Value) -> Policy {
        let api = |suffix: &str| {
            let kind = format!("{which}AdmissionPolicy{suffix}");
            let group = "admissionregistration.k8s.io".to_owned();
            let plural = format!("{}s", kind.to_lowercase()).replace("policys", "policies");
            let own = ApiResource { api_version: format!("{group}/v1"), group, version: "v1".to_owned(), kind, plural };
            (Api::<DynamicObject>::all_with(store.shared.client.clone(), &own), own)
        };
        let ((policies, policy), (bindings, binder)) = (api(""), api("Binding"));
        let own = Policy { policies, bindings, name: place.namespace.clone() };
        rule["matchConstraints"] = json!({
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": own.name}},
            "resourceRules": [{
                "apiGroups": ["laneway.io"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": ["lanes"],
            }],
        });
        for (api, kind, mut spec) in [(&own.policies, &policy, rule), (&own.bindings, &binder, binding)] {
            if kind == &binder {
                spec["policyName"] = json!(own.name);
            }
            let mut object = DynamicObject::new(&own.name, kind);
            object.data = json!({ "spec": spec });
            api.create(&PostParams::default(), &object).await.expect("it is good");
        }
        own
    }

    async fn end(self) {
        self.bindings.delete(&self.name, &DeleteParams::default()).await.expect("it is there");
        self.policies.delete(&self.name, &DeleteParams::default()).await.expect("it is there");
    }
}

fn purpose(number: i64) -> Purpose {
    Purpose { number, theirs: Theirs::Awaited, is_noted: false }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn a_commit_whose_writer_died_is_carried_on_by_the_next_who_loads() {
    let place = Namespaced::new("left behind");
    let (writer, next) = (place.store(BOUND).await, place.store(BOUND).await);
    let (one, two) = (place.lane_name("one"), place.lane_name("two"));
    let whole = commit(1, vec![lane(&one, true), lane(&two, true)], Vec::new());
    let first = writer.plan(Step::Put(&whole.puts[0]), purpose(1)).await.expect("plans");
    writer.shared.journal.claim(&Entry::of(&whole), 1).await.expect("claims");
    writer.apply(&first, false).await.expect("writes the first, and dies");
    // Nobody takes the half of it for the whole, nor the number.
    let refused = next.commit(commit(1, vec![lane(&one, false)], Vec::new())).await;
    assert!(matches!(refused, Err(StoreError::Moved { .. })), "{refused:?}");
    let stored = next.load().await.expect("loads");
    assert_eq!((stored.revision, stored.records), (1, vec![lane(&one, true), lane(&two, true)]));
    next.commit(commit(2, Vec::new(), vec![one])).await.expect("commits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn who_is_slow_and_alive_is_waited_for() {
    let place = Namespaced::new("slow and alive");
    let (writer, other) = (place.store(BOUND).await, place.store(BOUND).await);
    let whole = commit(1, vec![lane(&place.lane_name("one"), true)], Vec::new());
    let mut claim = Claim::make(&writer.shared.journal, &Entry::of(&whole), 1).await.expect("claims");
    let loading = tokio::spawn(async move { other.load().await });
    // One call of the API server that takes longer than somebody of whom nothing is heard has.
    let slow = async {
        tokio::time::sleep(SILENT_MAX * 3 / 2).await;
        Ok(())
    };
    claim.beside(slow).await.expect("it is held");
    assert!(!loading.is_finished());
    claim.give_back().await.expect("it is ours to give back");
    assert_eq!(loading.await.expect("no panic").expect("loads"), Stored::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn who_was_taken_over_goes_no_further() {
    let place = Namespaced::new("taken over");
    let (slow, other) = (place.store(BOUND).await, place.store(BOUND).await);
    let [kept, gone, new] = ["kept", "gone", "new"].map(|id| place.lane_name(id));
    other.commit(commit(1, vec![lane(&kept, true), lane(&gone, true)], Vec::new())).await.expect("commits");
    slow.load().await.expect("loads");
    let half = commit(2, vec![lane(&kept, false), lane(&new, true)], vec![gone.clone()]);
    let mut late = Vec::new();
    for step in steps(&half.puts, &half.deletes) {
        late.push(slow.plan(step, purpose(2)).await.expect("plans"));
    }
    let mut claim = Claim::make(&slow.shared.journal, &Entry::of(&half), 1).await.expect("claims");
    let written = slow.apply(&late[0], false).await.expect("writes the first, and stands still");
    // Others do all of it, and then the opposite.
    assert_eq!(other.load().await.expect("loads").records, [lane(&kept, false), lane(&new, true)]);
    // What it wrote cannot be put back any more, though the others wrote nothing else there.
    slow.undo(written).await.expect("it is theirs");
    assert_eq!(other.load().await.expect("loads").records, [lane(&kept, false), lane(&new, true)]);
    let opposite = vec![lane(&kept, true), lane(&gone, true)];
    other.commit(commit(3, opposite.clone(), vec![new])).await.expect("commits");
    // It asks before it goes on.
    for rewrite in &late {
        let refused = claim.beside(slow.apply(rewrite, false)).await;
        assert!(matches!(refused, Err(StoreError::Doubtful(_))), "{refused:?}");
    }
    // And what is on its way already finds that it is too late, or makes a copy that is nobody's.
    for (rewrite, is_made) in late.iter().zip([false, true, false]) {
        let done = slow.apply(rewrite, false).await;
        let is_too_late = matches!(done, Err(StoreError::Moved { found: 3, .. }));
        assert!(if is_made { done.is_ok() } else { is_too_late }, "{done:?}");
    }
    let put_back = slow.put_back(claim, Vec::new()).await;
    assert!(matches!(put_back, Err(StoreError::Doubtful(_))), "{put_back:?}");
    assert!(slow.shared.journal.head(2).await.expect("asks").is_some());
    let expected = Stored { revision: 3, records: sorted(opposite) };
    assert_eq!(other.load().await.expect("loads"), expected);
    assert_eq!(place.store(BOUND).await.load().await.expect("loads"), expected);
}
