//! Who is let in by what an API server says, with an API server that is made up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::{Authority, NotKnown, POD_NAME, POD_UID};
use crate::access::reviewer::{Asked, Away, Pod, Reviewer, User, Verdict};
use crate::access::rights::{CHANGES, READS, RESOURCES};
use crate::access::turns::{ANSWERS_MAX, Later, REVIEWS_MAX};
use crate::access::{Access, Denied, Door, Pass, Refusal, Role, Rules, Said};
use crate::discovery::PodService;

const AUDIENCE: &str = "laneway.io";
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// Knows tokens, with the audience that each is for (empty: the API server), and rights.
#[derive(Default)]
struct Server {
    users: BTreeMap<&'static str, (&'static str, User)>,
    rights: BTreeSet<(String, &'static str, &'static str)>,
    is_away: AtomicBool,
    /// Never says which audience.
    is_old: bool,
    reviews: AtomicUsize,
    /// Of pods.
    reads: AtomicUsize,
    /// At a time, and the most there were.
    running: Mutex<(usize, usize)>,
    /// Answers wait for it.
    gate: Option<Notify>,
}

impl Reviewer for Arc<Server> {
    fn token<'a>(&'a self, token: &'a str, audience: Option<&'a str>) -> Asked<'a, Verdict> {
        Box::pin(async move {
            self.reviews.fetch_add(1, Ordering::Relaxed);
            {
                let mut running = self.running.lock().expect("nobody panics with it");
                running.0 += 1;
                running.1 = running.1.max(running.0);
            }
            if let Some(gate) = &self.gate {
                gate.notified().await;
            }
            self.running.lock().expect("nobody panics with it").0 -= 1;
            if self.is_away.load(Ordering::Relaxed) {
                return Err(Away("connection refused".to_owned()));
            }
            let wanted = audience.unwrap_or_default();
            let unknown = Verdict::Unknown("invalid bearer token".to_owned());
            Ok(match self.users.get(token.rsplit('.').next().unwrap_or_default()) {
                Some((_, user)) if self.is_old => Verdict::Known(user.clone()),
                Some((is_for, user)) if *is_for == wanted => {
                    let audiences = audience.map(str::to_owned).into_iter().collect();
                    Verdict::Known(User { audiences, ..user.clone() })
                }
                _ => unknown,
            })
        })
    }

    fn may<'a>(&'a self, who: &'a User, resource: &'static str, verb: &'static str) -> Asked<'a, bool> {
        Box::pin(async move { Ok(self.rights.contains(&(who.name.clone(), resource, verb))) })
    }

    fn service<'a>(&'a self, pod: &'a Pod) -> Asked<'a, PodService> {
        Box::pin(async move {
            self.reads.fetch_add(1, Ordering::Relaxed);
            if self.is_away.load(Ordering::Relaxed) {
                return Err(Away("connection refused".to_owned()));
            }
            Ok(match pod.name.as_str() {
                "cart-1" | "early-1" => PodService::Of("cart".to_owned()),
                "plain-1" | "silent-1" => PodService::OfNone,
                _ => PodService::Unknown,
            })
        })
    }
}

fn account(name: &str, pod: Option<&str>) -> User {
    let extra = pod.map(|pod| {
        let one = |value: &str| vec![value.to_owned()];
        BTreeMap::from([(POD_NAME.to_owned(), one(pod)), (POD_UID.to_owned(), one(&format!("uid-of-{pod}")))])
    });
    User { name: name.to_owned(), extra: extra.unwrap_or_default(), ..User::default() }
}

fn server() -> Server {
    let user = |name: &str| User { name: name.to_owned(), ..User::default() };
    let users = BTreeMap::from([
        ("cart", (AUDIENCE, account("system:serviceaccount:shop:default", Some("cart-1")))),
        ("new", (AUDIENCE, account("system:serviceaccount:shop:default", Some("new-1")))),
        ("early", (AUDIENCE, account("system:serviceaccount:shop:default", Some("early-1")))),
        ("silent", (AUDIENCE, account("system:serviceaccount:shop:default", Some("silent-1")))),
        ("plain", (AUDIENCE, account("system:serviceaccount:shop:default", Some("plain-1")))),
        ("loose", (AUDIENCE, account("system:serviceaccount:shop:default", None))),
        ("person", (AUDIENCE, account("alice", Some("cart-1")))),
        ("foreign", ("vault", account("system:serviceaccount:shop:default", Some("cart-1")))),
        ("admin", ("", user("root"))),
        ("ci", (AUDIENCE, user("system:serviceaccount:ci:deployer"))),
        ("viewer", ("", user("vera"))),
        ("half", ("", user("half"))),
        ("nobody", ("", user("nobody"))),
    ]);
    let mut server = Server { users, ..Server::default() };
    let mut may = |who: &str, resource, verb| {
        server.rights.insert((who.to_owned(), resource, verb));
    };
    for resource in RESOURCES {
        CHANGES.iter().for_each(|verb| may("root", resource, *verb));
        READS.iter().for_each(|verb| may("vera", resource, *verb));
    }
    may("system:serviceaccount:ci:deployer", "lanes", "enable");
    // Some of the rights are not a role.
    CHANGES.iter().for_each(|verb| may("half", "lanes", *verb));
    may("half", "lanes", "get");
    server
}

/// Discovery knows of two pods.
fn authority(server: &Arc<Server>) -> Authority {
    let service_of = |pod: &Pod| match (pod.namespace.as_str(), pod.name.as_str()) {
        ("shop", "cart-1") => PodService::Of("cart".to_owned()),
        ("shop", "plain-1") => PodService::OfNone,
        _ => PodService::Unknown,
    };
    Authority::new(Box::new(Arc::clone(server)), AUDIENCE.to_owned(), Arc::new(service_of))
}

/// A token as a pod has it; what is its signature here says who it is.
fn token(who: &str) -> String {
    // printf %s '{"aud":["laneway.io"],"sub":"a"}' | basenc --base64url | tr -d =
    format!("header.eyJhdWQiOlsibGFuZXdheS5pbyJdLCJzdWIiOiJhIn0.{who}")
}

fn bearer(who: &str) -> String {
    format!("Bearer {}", token(who))
}

async fn sidecar(authority: &Authority, who: &str, now: Instant) -> Result<Pass, NotKnown> {
    authority.sidecar(&token(who), HERE, now).await
}

/// Of those who have a token for us.
async fn person(authority: &Authority, who: &str, now: Instant) -> Result<(String, Role), NotKnown> {
    let token = if ["ci", "cart"].contains(&who) { token(who) } else { who.to_owned() };
    authority.person(&token, HERE, now).await
}

fn away() -> Later {
    Later::Away(Away("connection refused".to_owned()))
}

fn unseen(pod: &str) -> Later {
    Later::Unseen { namespace: "shop".to_owned(), name: pod.to_owned() }
}

fn said(namespace: &'static str, service: &'static str, pod: &'static str) -> Said<'static> {
    let node_id: &str = Box::leak(format!("sidecar~10.0.0.1~{pod}.{namespace}~").into_boxed_str());
    Said { node_id, namespace, service, pod_name: pod, pod_uid: "" }
}

#[tokio::test]
async fn a_sidecar_is_the_pod_of_its_token_and_nobody_else() {
    let server = Arc::new(server());
    let authority = authority(&server);
    let now = Instant::now();
    let cart = sidecar(&authority, "cart", now).await.expect("its token is good");
    assert_eq!(cart.refusal(&said("shop", "cart", "cart-1")), None);
    // It need not know its service.
    assert_eq!(cart.refusal(&said("shop", "", "cart-1")), None);
    for (other, word) in [
        (said("shop", "order", "cart-1"), "service \"order\""),
        (said("test", "cart", "cart-1"), "namespace \"test\""),
        (said("shop", "cart", "cart-2"), "\"cart-2\""),
        (Said { pod_name: "cart-1", ..said("shop", "cart", "cart-2") }, "node.id"),
        (Said { pod_uid: "uid-of-cart-2", ..said("shop", "cart", "cart-1") }, "uid-of-cart-2"),
        (Said { node_id: "cart-1.shop", ..said("shop", "cart", "cart-1") }, "node.id"),
    ] {
        let refusal = cart.refusal(&other).unwrap_or_else(|| panic!("it was taken: {other:?}"));
        assert!(refusal.contains(word) && refusal.contains("shop"), "{refusal}");
    }
    assert_eq!(cart.refusal(&Said { pod_uid: "uid-of-cart-1", ..said("shop", "cart", "cart-1") }), None);
}

#[tokio::test]
async fn a_pod_that_is_not_known_yet_comes_again_and_one_of_no_service_may_name_none() {
    let server = Arc::new(server());
    let seen = Arc::new(Mutex::new(PodService::Unknown));
    let service_of = {
        let seen = Arc::clone(&seen);
        move |_: &Pod| seen.lock().expect("nobody panics with it").clone()
    };
    let authority = Authority::new(Box::new(Arc::clone(&server)), AUDIENCE.to_owned(), Arc::new(service_of));
    let now = Instant::now();
    assert_eq!(sidecar(&authority, "new", now).await, Err(NotKnown::Later(unseen("new-1"))));
    // It has not to be reviewed again when it is known, and nothing of it is remembered meanwhile.
    *seen.lock().expect("nobody panics with it") = PodService::OfNone;
    let plain = sidecar(&authority, "new", now).await.expect("it is known");
    assert_eq!(plain.refusal(&said("shop", "", "new-1")), None);
    for (namespace, service) in [("shop", "cart"), ("shop", "anything"), ("test", ""), ("test", "cart")] {
        let refusal = plain.refusal(&said(namespace, service, "new-1")).expect("it is of no service");
        assert!(refusal.ends_with("pod:shop/new-1 may only be shop without a service"), "{refusal}");
    }
    *seen.lock().expect("nobody panics with it") = PodService::Of("order".to_owned());
    let order = sidecar(&authority, "new", now).await.expect("it is known");
    assert_eq!(order.refusal(&said("shop", "order", "new-1")), None);
    assert!(order.refusal(&said("shop", "cart", "new-1")).is_some());
    assert_eq!((server.reviews.load(Ordering::Relaxed), server.reads.load(Ordering::Relaxed)), (1, 1));
    // That it has to come again is nobody's failure, and is said so.
    *seen.lock().expect("nobody panics with it") = PodService::Unknown;
    let door = Door::new("discovery", Rules { access: None, cluster: Some(Arc::new(authority)) });
    let remote = "10.0.0.1:5".parse().expect("an address");
    let denied = door.sidecar(remote, &[], Some(&bearer("new")), now).await;
    assert_eq!(denied, Err(Denied::Later(unseen("new-1"))));
    assert_eq!(door.denied(), 0);
    assert_eq!(door.not_yet().collect::<Vec<_>>(), [("away", 0), ("crowded", 0), ("unseen", 1)]);
    server.is_away.store(true, Ordering::Relaxed);
    let denied = door.sidecar(remote, &[], Some(&bearer("cart")), now).await;
    assert_eq!(denied, Err(Denied::Later(away())));
    assert_eq!(door.not_yet().collect::<Vec<_>>(), [("away", 1), ("crowded", 0), ("unseen", 1)]);
}

#[tokio::test]
async fn a_pod_that_discovery_has_not_seen_yet_is_let_in_at_once_as_what_it_says_itself() {
    let server = Arc::new(server());
    let seen = Arc::new(Mutex::new(PodService::Unknown));
    let service_of = {
        let seen = Arc::clone(&seen);
        move |_: &Pod| seen.lock().expect("nobody panics with it").clone()
    };
    let authority = Authority::new(Box::new(Arc::clone(&server)), AUDIENCE.to_owned(), Arc::new(service_of));
    let now = Instant::now();
    let early = sidecar(&authority, "early", now).await.expect("it says its service");
    assert_eq!(early.refusal(&said("shop", "cart", "early-1")), None);
    assert!(early.refusal(&said("shop", "order", "early-1")).is_some());
    // One that says none may be selected by a Service: nobody knows yet.
    for _ in 0..3 {
        assert_eq!(sidecar(&authority, "silent", now).await, Err(NotKnown::Later(unseen("silent-1"))));
    }
    assert_eq!(server.reads.load(Ordering::Relaxed), 2, "each was asked for once");
    // When discovery knows, it says.
    *seen.lock().expect("nobody panics with it") = PodService::Of("order".to_owned());
    for (who, pod) in [("early", "early-1"), ("silent", "silent-1")] {
        let pass = sidecar(&authority, who, now).await.expect("it is known");
        assert_eq!(pass.refusal(&said("shop", "order", pod)), None);
        assert!(pass.refusal(&said("shop", "cart", pod)).is_some());
    }
    // While the pod cannot be asked for nobody can say.
    *seen.lock().expect("nobody panics with it") = PodService::Unknown;
    server.is_away.store(true, Ordering::Relaxed);
    assert_eq!(sidecar(&authority, "new", now).await, Err(NotKnown::Later(away())));
}

#[tokio::test]
async fn the_token_of_a_pod_that_is_gone_is_not_that_of_the_pod_which_has_its_name_now() {
    let server = Arc::new(server());
    // A StatefulSet made the pod anew; the API server's answer of before is still remembered.
    let uid = Arc::new(Mutex::new("uid-of-cart-1"));
    let service_of = {
        let uid = Arc::clone(&uid);
        move |pod: &Pod| match pod.uid == *uid.lock().expect("nobody panics with it") {
            true => PodService::Of("cart".to_owned()),
            false => PodService::Unknown,
        }
    };
    let authority = Authority::new(Box::new(Arc::clone(&server)), AUDIENCE.to_owned(), Arc::new(service_of));
    let now = Instant::now();
    assert!(sidecar(&authority, "cart", now).await.is_ok());
    *uid.lock().expect("nobody panics with it") = "another";
    assert_eq!(sidecar(&authority, "cart", now).await, Err(NotKnown::Later(unseen("cart-1"))));
}

#[tokio::test]
async fn of_a_namespace_that_discovery_does_not_read_the_pod_itself_says_its_service() {
    let server = Arc::new(server());
    let authority = Authority::new(
        Box::new(Arc::clone(&server)),
        AUDIENCE.to_owned(),
        // As with --discovery of files alone, or another namespace in --discovery-namespaces.
        Arc::new(|_: &Pod| PodService::Unread),
    );
    let now = Instant::now();
    let cart = sidecar(&authority, "cart", now).await.expect("it says its service");
    assert_eq!(cart.refusal(&said("shop", "cart", "cart-1")), None);
    assert_eq!(cart.refusal(&said("shop", "", "cart-1")), None);
    assert!(cart.refusal(&said("shop", "order", "cart-1")).is_some());
    let plain = sidecar(&authority, "plain", now).await.expect("it says none");
    assert_eq!(plain.refusal(&said("shop", "", "plain-1")), None);
    assert!(plain.refusal(&said("shop", "cart", "plain-1")).is_some());
    // Both are asked for once a minute.
    assert!(sidecar(&authority, "cart", now + Duration::from_secs(59)).await.is_ok());
    assert_eq!(server.reads.load(Ordering::Relaxed), 2);
    // Of one that is not there, or another than that of the token, nothing is remembered.
    for _ in 0..2 {
        assert_eq!(sidecar(&authority, "new", now).await, Err(NotKnown::Later(unseen("new-1"))));
    }
    assert_eq!(server.reads.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn tokens_of_no_pod_of_other_audiences_and_of_nobody_are_refused() {
    let server = Arc::new(server());
    let authority = authority(&server);
    let now = Instant::now();
    let refused = |refusal| Err(NotKnown::Refused(refusal));
    let unreviewed = || Refusal::Unreviewed("invalid bearer token".to_owned());
    let pod = "system:serviceaccount:shop:default".to_owned();
    assert_eq!(sidecar(&authority, "loose", now).await, refused(Refusal::NoPod(pod)));
    assert_eq!(sidecar(&authority, "person", now).await, refused(Refusal::NoPod("alice".to_owned())));
    assert_eq!(sidecar(&authority, "foreign", now).await, refused(unreviewed()));
    assert_eq!(sidecar(&authority, "admin", now).await, refused(unreviewed()));
    assert_eq!(sidecar(&authority, "guess", now).await, refused(unreviewed()));
    // What cannot be the token of a pod is no question to anybody.
    let reviews = server.reviews.load(Ordering::Relaxed);
    for no_jwt in ["", "cart", "header.cart", &format!("{}.more", token("cart")), "header.bm8gSlNPTg.cart"] {
        assert_eq!(authority.sidecar(no_jwt, HERE, now).await, refused(Refusal::NoJwt), "{no_jwt}");
    }
    // printf %s '{"aud":"vault"}' | basenc --base64url | tr -d =
    let of_others = Refusal::OtherAudience { says: vec!["vault".to_owned()], wanted: AUDIENCE.to_owned() };
    assert_eq!(authority.sidecar("header.eyJhdWQiOiJ2YXVsdCJ9.cart", HERE, now).await, refused(of_others));
    assert_eq!(server.reviews.load(Ordering::Relaxed), reviews);
    let old = Arc::new(Server { is_old: true, ..self::server() });
    let authority = self::authority(&old);
    assert_eq!(sidecar(&authority, "cart", now).await, refused(Refusal::Audience(AUDIENCE.to_owned())));
}

#[tokio::test]
async fn the_role_of_a_person_is_the_highest_that_all_its_rights_are_there_for() {
    let server = Arc::new(server());
    let authority = authority(&server);
    let now = Instant::now();
    let is = |principal: &str, role| Ok((principal.to_owned(), role));
    assert_eq!(person(&authority, "admin", now).await, is("kubernetes:root", Role::Admin));
    assert_eq!(person(&authority, "ci", now).await, is("kubernetes:system:serviceaccount:ci:deployer", Role::Operator));
    assert_eq!(person(&authority, "viewer", now).await, is("kubernetes:vera", Role::Viewer));
    for (token, who) in [("half", "half"), ("nobody", "nobody"), ("cart", "system:serviceaccount:shop:default")] {
        let refusal = Refusal::NoRole(format!("kubernetes:{who}"));
        assert_eq!(person(&authority, token, now).await, Err(NotKnown::Refused(refusal)));
    }
    // One that does not say that it is for us is shown once, as it is.
    let reviews = server.reviews.load(Ordering::Relaxed);
    assert!(matches!(person(&authority, "guess", now).await, Err(NotKnown::Refused(Refusal::Unreviewed(_)))));
    assert_eq!(server.reviews.load(Ordering::Relaxed), reviews + 1);
    assert!(matches!(person(&authority, "foreign", now).await, Err(NotKnown::Refused(Refusal::Unreviewed(_)))));
}

#[tokio::test]
async fn an_answer_holds_for_its_minute_whether_the_server_is_there_or_not() {
    let server = Arc::new(server());
    let authority = authority(&server);
    let now = Instant::now();
    let after = |seconds: u64| now + Duration::from_secs(seconds);
    assert!(sidecar(&authority, "cart", now).await.is_ok());
    server.is_away.store(true, Ordering::Relaxed);
    assert!(sidecar(&authority, "cart", after(59)).await.is_ok());
    assert_eq!(server.reviews.load(Ordering::Relaxed), 1);
    assert_eq!(sidecar(&authority, "cart", after(60)).await, Err(NotKnown::Later(away())));
    // What is not known is not remembered as a refusal.
    server.is_away.store(false, Ordering::Relaxed);
    assert!(sidecar(&authority, "cart", after(61)).await.is_ok());
    // A refusal is short.
    assert!(sidecar(&authority, "guess", now).await.is_err());
    let reviews = server.reviews.load(Ordering::Relaxed);
    assert!(sidecar(&authority, "guess", after(4)).await.is_err());
    assert_eq!(server.reviews.load(Ordering::Relaxed), reviews);
    assert!(sidecar(&authority, "guess", after(5)).await.is_err());
    assert_eq!(server.reviews.load(Ordering::Relaxed), reviews + 1);
    // A sidecar's answer is none for the API.
    assert!(matches!(person(&authority, "cart", now).await, Err(NotKnown::Refused(Refusal::NoRole(_)))));
}

#[tokio::test]
async fn guesses_fill_no_memory_and_push_out_nobody() {
    let server = Arc::new(server());
    let authority = authority(&server);
    let now = Instant::now();
    assert!(sidecar(&authority, "cart", now).await.is_ok());
    for guess in 0..ANSWERS_MAX + 10 {
        assert!(sidecar(&authority, &format!("guess-{guess}"), now).await.is_err());
    }
    assert!(authority.of_sidecars.remembered() <= ANSWERS_MAX);
    let reviews = server.reviews.load(Ordering::Relaxed);
    assert!(sidecar(&authority, "cart", now).await.is_ok());
    assert_eq!(server.reviews.load(Ordering::Relaxed), reviews, "it is still known");
}

#[tokio::test(start_paused = true)]
async fn only_so_many_reviews_run_at_a_time_and_the_other_port_has_its_own() {
    let server = Arc::new(Server { gate: Some(Notify::new()), ..server() });
    let authority = Arc::new(authority(&server));
    let now = Instant::now();
    let ask = |number: usize| {
        let authority = Arc::clone(&authority);
        // Each from an address of its own.
        let from = IpAddr::V4(Ipv4Addr::new(10, 0, 1, u8::try_from(number).expect("a few")));
        tokio::spawn(async move { authority.sidecar(&token(&format!("guess-{number}")), from, now).await })
    };
    let flood: Vec<_> = (0..3 * REVIEWS_MAX).map(ask).collect();
    let running = || *server.running.lock().expect("nobody panics with it");
    crate::tests::until("they have come as far as they may", || running().0 == REVIEWS_MAX).await;
    let people = Arc::clone(&authority);
    let person = tokio::spawn(async move { people.person("admin", HERE, now).await });
    crate::tests::until("a person has a turn", || running().0 == REVIEWS_MAX + 1).await;
    let gate = server.gate.as_ref().expect("it has one");
    crate::tests::until("all are answered", || {
        gate.notify_waiters();
        flood.iter().all(|asked| asked.is_finished()) && person.is_finished()
    })
    .await;
    assert!(person.await.expect("no panic").is_ok());
    assert_eq!(running(), (0, REVIEWS_MAX + 1));
}

#[test]
fn only_a_service_account_has_a_pod() {
    let of = |name: &str| super::pod(&account(name, Some("cart-1")));
    let (namespace, name, uid) = ("shop".to_owned(), "cart-1".to_owned(), "uid-of-cart-1".to_owned());
    assert_eq!(of("system:serviceaccount:shop:default"), Some(Pod { namespace, name, uid }));
    for bad in ["alice", "system:serviceaccount:shop", "system:serviceaccount::default", "system:serviceaccount:shop:"]
    {
        assert_eq!(of(bad), None, "{bad}");
    }
    let mut two = account("system:serviceaccount:shop:default", Some("cart-1"));
    two.extra.insert(POD_NAME.to_owned(), vec!["cart-1".to_owned(), "cart-2".to_owned()]);
    assert_eq!(super::pod(&two), None);
}

#[tokio::test]
async fn the_access_file_goes_first_and_the_cluster_is_asked_about_tokens_that_it_does_not_know() {
    let server = Arc::new(server());
    // printf %s secret | sha256sum
    let file = "people: [{name: alice, role: viewer, sha256: 2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b}]";
    let file = Arc::new(Access::parse(file.as_bytes()).expect("it is good"));
    let (_current, followed) = tokio::sync::watch::channel(file);
    let rules = Rules { access: Some(followed), cluster: Some(Arc::new(authority(&server))) };
    let door = Door::new("api", rules);
    let (remote, now) = ("10.0.0.1:5".parse().expect("an address"), Instant::now());
    let ask = async |authorization: Option<&str>| {
        let caller = door.person(remote, &[], authorization, now).await;
        caller.map(|caller| (caller.principal, caller.role))
    };
    assert_eq!(ask(Some("Bearer secret")).await, Ok(("user:alice".to_owned(), Role::Viewer)));
    assert_eq!(server.reviews.load(Ordering::Relaxed), 0, "the file knows it");
    assert_eq!(ask(Some("Bearer admin")).await, Ok(("kubernetes:root".to_owned(), Role::Admin)));
    assert_eq!(ask(None).await, Err(Denied::Refused(Refusal::Nothing)));
    let nobody = Refusal::NoRole("kubernetes:nobody".to_owned());
    assert_eq!(ask(Some("Bearer nobody")).await, Err(Denied::Refused(nobody)));
    assert_eq!(door.denied(), 2);
    // That nobody can be asked is no fault of whoever calls.
    server.is_away.store(true, Ordering::Relaxed);
    assert_eq!(ask(Some("Bearer viewer")).await, Err(Denied::Later(away())));
    assert_eq!(ask(Some("Bearer secret")).await, Ok(("user:alice".to_owned(), Role::Viewer)));
    assert_eq!(door.denied(), 2);
    // And without a file there is the cluster alone, and no open door.
    let door = Door::new("discovery", Rules { access: None, cluster: Some(Arc::new(authority(&server))) });
    assert_eq!(door.sidecar(remote, &[], None, now).await, Err(Denied::Refused(Refusal::Nothing)));
    server.is_away.store(false, Ordering::Relaxed);
    assert_eq!(
        door.sidecar(remote, &[], Some(&bearer("cart")), now).await.expect("it is known").principal,
        "pod:shop/cart-1"
    );
}
