//! What is asked at a time, and that nobody is asked for more than it takes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;

use tokio::sync::Semaphore;

use super::{CHANGES, QUESTIONS_MAX, READS, RESOURCES, Rights, SWITCH};
use crate::access::Role;
use crate::access::reviewer::{Asked, Away, Pod, Reviewer, User, Verdict};
use crate::discovery::PodService;
use crate::tests::until;

type Right = (&'static str, &'static str);

/// Answers when it is let.
struct Server {
    rights: BTreeSet<Right>,
    /// Nobody is told of these.
    unanswered: BTreeSet<Right>,
    gate: Semaphore,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    asked: usize,
    running: usize,
}

impl Server {
    fn new(rights: impl IntoIterator<Item = Right>, gate: usize) -> Arc<Server> {
        let (rights, unanswered) = (rights.into_iter().collect(), BTreeSet::new());
        Arc::new(Server { rights, unanswered, gate: Semaphore::new(gate), seen: Mutex::default() })
    }

    fn asked(&self) -> usize {
        self.seen.lock().expect("nobody panics with it").asked
    }

    fn running(&self) -> usize {
        self.seen.lock().expect("nobody panics with it").running
    }
}

impl Reviewer for Server {
    fn token<'a>(&'a self, _: &'a str, _: Option<&'a str>) -> Asked<'a, Verdict> {
        Box::pin(async { Err(Away("it is asked for rights alone".to_owned())) })
    }

    fn may<'a>(&'a self, _: &'a User, resource: &'static str, verb: &'static str) -> Asked<'a, bool> {
        Box::pin(async move {
            {
                let mut seen = self.seen.lock().expect("nobody panics with it");
                (seen.asked, seen.running) = (seen.asked + 1, seen.running + 1);
            }
            if self.unanswered.contains(&(resource, verb)) {
                std::future::pending::<()>().await;
            }
            self.gate.acquire().await.expect("it stays open").forget();
            self.seen.lock().expect("nobody panics with it").running -= 1;
            Ok(self.rights.contains(&(resource, verb)))
        })
    }

    fn service<'a>(&'a self, _: &'a Pod) -> Asked<'a, PodService> {
        Box::pin(async { Ok(PodService::Unknown) })
    }
}

fn every(verbs: &'static [&'static str]) -> Vec<Right> {
    RESOURCES.iter().flat_map(|resource| verbs.iter().map(move |verb| (*resource, *verb))).collect()
}

#[tokio::test]
async fn a_role_takes_as_many_questions_as_it_has_rights_and_nobody_is_asked_for_more() {
    let cases = [
        (every(&CHANGES), Some(Role::Admin), 3 + 8),
        ([every(&CHANGES), every(&READS), vec![SWITCH]].concat(), Some(Role::Admin), 3 + 8),
        (vec![SWITCH], Some(Role::Operator), 3),
        ([every(&READS), vec![SWITCH]].concat(), Some(Role::Operator), 3),
        (every(&READS), Some(Role::Viewer), 3 + 5),
        (vec![("lanes", "get"), ("lanes", "create")], None, 3),
        (vec![], None, 3),
    ];
    for (rights, expected, questions) in cases {
        let server = Server::new(rights.clone(), 100);
        let role = Rights::new().role(&*server, &User::default()).await;
        assert_eq!((role, server.asked()), (Ok(expected), questions), "{rights:?}");
    }
    // One right of each is missing.
    for missing in every(&CHANGES) {
        let server = Server::new(every(&CHANGES).into_iter().filter(|right| *right != missing), 100);
        assert_eq!(Rights::new().role(&*server, &User::default()).await, Ok(None), "{missing:?}");
    }
    for missing in every(&READS) {
        let server = Server::new(every(&READS).into_iter().filter(|right| *right != missing), 100);
        assert_eq!(Rights::new().role(&*server, &User::default()).await, Ok(None), "{missing:?}");
    }
}

#[tokio::test]
async fn an_admin_waits_for_two_answers_in_a_row_and_not_for_eleven() {
    let server = Server::new(every(&CHANGES), 0);
    let asking = {
        let server = Arc::clone(&server);
        tokio::spawn(async move { Rights::new().role(&*server, &User::default()).await })
    };
    until("the first of each kind are asked", || server.running() == 3).await;
    server.gate.add_permits(3);
    until("the others are, at once", || server.running() == 8).await;
    server.gate.add_permits(8);
    assert_eq!(asking.await.expect("no panic"), Ok(Some(Role::Admin)));
}

#[tokio::test]
async fn one_no_is_enough() {
    let rights = every(&CHANGES).into_iter().filter(|right| *right != ("lanes", "delete"));
    let mut server = Server::new(rights, 100);
    // The others take for ever.
    let unanswered = every(&CHANGES).into_iter().filter(|right| *right != ("lanes", "delete")).skip(1);
    Arc::get_mut(&mut server).expect("nobody else has it").unanswered = unanswered.collect();
    assert_eq!(Rights::new().role(&*server, &User::default()).await, Ok(None));
}

#[tokio::test]
async fn all_who_are_reviewed_ask_no_more_than_so_much_at_a_time() {
    let server = Server::new(every(&CHANGES), 0);
    let rights = Arc::new(Rights::new());
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let (rights, server) = (Arc::clone(&rights), Arc::clone(&server));
            tokio::spawn(async move { rights.role(&*server, &User::default()).await })
        })
        .collect();
    let mut most = 0;
    until("all are answered", || {
        let running = server.running();
        most = most.max(running);
        server.gate.add_permits(running);
        asking.iter().all(|asked| asked.is_finished())
    })
    .await;
    assert_eq!(most, QUESTIONS_MAX);
    assert_eq!(server.asked(), 20 * (3 + 8));
}
