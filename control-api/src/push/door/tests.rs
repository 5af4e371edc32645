//! Who stays, when the rules change and when nobody can be asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::watch;

use super::Visitor;
use crate::access::review::Authority;
use crate::access::reviewer::{Asked, Away, Pod, Reviewer, User, Verdict};
use crate::access::{Access, Door, Rules, Said};
use crate::discovery::PodService;

// printf %s '{"aud":["laneway.io"],"sub":"a"}' | basenc --base64url | tr -d =
const OF_POD: &str = "header.eyJhdWQiOlsibGFuZXdheS5pbyJdLCJzdWIiOiJhIn0.cart";
const AUDIENCE: &str = "laneway.io";
// printf %s secret | sha256sum
const SECRET: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
const NODE: &str = "sidecar~10.0.0.1~cart-1.shop~";

/// Knows one pod, for as long as it is there.
#[derive(Default)]
pub(in crate::push) struct Server {
    pub(in crate::push) is_away: AtomicBool,
    is_gone: AtomicBool,
    pub(in crate::push) reviews: AtomicUsize,
}

impl Reviewer for Arc<Server> {
    fn token<'a>(&'a self, _token: &'a str, _audience: Option<&'a str>) -> Asked<'a, Verdict> {
        Box::pin(async move {
            self.reviews.fetch_add(1, Ordering::Relaxed);
            if self.is_away.load(Ordering::Relaxed) {
                return Err(Away("connection refused".to_owned()));
            }
            if self.is_gone.load(Ordering::Relaxed) {
                return Ok(Verdict::Unknown("the pod is gone".to_owned()));
            }
            let one = |key: &str, value: &str| (format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
            Ok(Verdict::Known(User {
                name: "system:serviceaccount:shop:default".to_owned(),
                extra: [one("pod-name", "cart-1"), one("pod-uid", "first")].into(),
                audiences: vec![AUDIENCE.to_owned()],
                ..User::default()
            }))
        })
    }

    fn may<'a>(&'a self, _: &'a User, _: &'static str, _: &'static str) -> Asked<'a, bool> {
        Box::pin(async { Ok(false) })
    }

    fn service<'a>(&'a self, _: &'a Pod) -> Asked<'a, PodService> {
        Box::pin(async { Ok(PodService::Of("cart".to_owned())) })
    }
}

/// The door of a cluster, and of an access file if there is one.
fn door(server: &Arc<Server>, access: Option<watch::Receiver<Arc<Access>>>) -> Door {
    let unread = Arc::new(|_: &Pod| PodService::Unread);
    let authority = Authority::new(Box::new(Arc::clone(server)), AUDIENCE.to_owned(), unread);
    Door::new("discovery", Rules { access, cluster: Some(Arc::new(authority)) })
}

/// The sidecar of the pod.
pub(in crate::push) async fn visitor(server: &Arc<Server>) -> Visitor {
    Visitor::at(door(server, None), Some(OF_POD)).await.expect("it is known")
}

fn said() -> Said<'static> {
    Said { node_id: NODE, namespace: "shop", service: "cart", pod_name: "cart-1", pod_uid: "first" }
}

#[tokio::test(start_paused = true)]
async fn an_edit_of_the_access_file_ends_whom_it_let_in_and_asks_the_cluster_nothing() {
    let server = Arc::new(Server::default());
    let file = |service: &str| {
        let text = format!("sidecars: [{{namespace: shop, service: {service}, sha256: {SECRET}}}]");
        Arc::new(Access::parse(text.as_bytes()).expect("it is good"))
    };
    let (current, followed) = watch::channel(file("cart"));
    let door = door(&server, Some(followed));
    let mut of_cluster = Visitor::at(door.clone(), Some(OF_POD)).await.expect("the cluster knows it");
    let mut of_file = Visitor::at(door.clone(), Some("secret")).await.expect("the file names it");
    assert_eq!((of_cluster.pod_uid(), of_file.pod_uid()), (Some("first"), None));
    assert!(of_file.may_be(&said()).is_ok());
    server.is_away.store(true, Ordering::Relaxed);
    // The answer of the cluster is forgotten by then.
    tokio::time::advance(std::time::Duration::from_secs(600)).await;

    current.send_replace(file("order"));
    of_cluster.rules_changed().await;
    assert!(of_cluster.look_again(&said()).is_ok());
    of_file.rules_changed().await;
    let status = of_file.look_again(&said()).expect_err("it may be another now");
    assert_eq!(status.code(), tonic::Code::PermissionDenied);
    current.send_replace(Arc::default());
    of_file.rules_changed().await;
    let status = of_file.look_again(&said()).expect_err("nothing names it");
    assert_eq!(status.code(), tonic::Code::Unauthenticated);
    assert_eq!(server.reviews.load(Ordering::Relaxed), 1, "as it came in");

    // Who comes after a change is not told of it.
    server.is_away.store(false, Ordering::Relaxed);
    let mut late = Visitor::at(door, Some(OF_POD)).await.expect("the cluster knows it");
    let told = tokio::time::timeout(std::time::Duration::from_secs(60), late.rules_changed()).await;
    assert!(told.is_err(), "there was no change since");
}

#[tokio::test(start_paused = true)]
async fn an_old_stream_ends_where_it_can_be_said_who_comes_again_and_nobody_is_refused_before() {
    let server = Arc::new(Server::default());
    let visitor = visitor(&server).await;
    let forgotten = std::time::Duration::from_secs(60);
    assert!(visitor.ask().await.is_ok());
    tokio::time::advance(forgotten).await;
    server.is_away.store(true, Ordering::Relaxed);
    let away = visitor.ask().await.expect_err("nobody can say");
    assert_eq!(away.code(), tonic::Code::Unavailable);
    server.is_away.store(false, Ordering::Relaxed);
    // What it showed is over: the kubelet has given it another since, or it is told so when it comes.
    server.is_gone.store(true, Ordering::Relaxed);
    assert!(visitor.ask().await.is_ok());
    assert_eq!(visitor.door.denied(), 0);
    assert_eq!(visitor.door.not_yet().map(|(_, count)| count).sum::<u64>(), 1, "while it was away");
    let refused = Visitor::at(visitor.door.clone(), Some(OF_POD)).await.err().expect("its pod is gone");
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    // Where nobody is asked everybody stays who they are.
    assert!(Visitor::anybody().await.ask().await.is_ok());
}
