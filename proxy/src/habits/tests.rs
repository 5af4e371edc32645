//! What is remembered, and what of it the next process hears.

use super::*;

fn instance(port: u16, is_http2: bool) -> Instance {
    Instance { address: SocketAddr::from(([10, 0, 0, 1], port)), is_application: false, is_http2 }
}

#[test]
fn a_successor_hears_what_every_worker_called_and_what_was_wanted() {
    let habits = Habits::default();
    habits.called(0, vec![instance(1, false), instance(2, true)]);
    habits.called(1, vec![instance(2, true), instance(3, false)]);
    habits.called(1, Vec::new());
    habits.wanted([Arc::from("host/cart")].iter());
    let next = Habits::decode(&habits.encode()).expect("it was just encoded");
    assert_eq!(next.former_instances(), [instance(1, false), instance(2, true), instance(3, false)]);
    assert_eq!(next.former_keys(), [Arc::from("host/cart")]);
    assert_eq!(
        next.instances(),
        next.former_instances(),
        "it has called nobody yet, and may itself be replaced at once"
    );
    next.called(0, vec![instance(4, false)]);
    assert_eq!(next.instances(), [instance(4, false)]);
}

#[test]
fn what_a_predecessor_told_goes_before_the_disk() {
    let habits = Habits::default();
    habits.recall(vec![instance(1, false)]);
    habits.recall(vec![instance(2, false)]);
    assert_eq!(habits.former_instances(), [instance(1, false)]);
}

#[test]
fn no_more_is_remembered_than_fits() {
    let habits = Habits::default();
    habits.called(0, (0..1000).map(|port| instance(port, false)).collect());
    assert_eq!(habits.instances().len(), INSTANCES_MAX);
    let keys: Vec<Arc<str>> = (0..2 * KEYS_MAX).map(|key| Arc::from(key.to_string())).collect();
    habits.wanted(keys.iter());
    assert_eq!(Habits::decode(&habits.encode()).expect("it is whole").former_keys().len(), KEYS_MAX);
}

#[test]
fn what_cannot_be_read_is_left_out() {
    let bytes = WrittenHabits {
        keys: Vec::new(),
        called: vec![
            Written { address: "nowhere".to_owned(), is_application: false, is_http2: false },
            Written::from(instance(7, false)),
        ],
    };
    let habits = Habits::decode(&bytes.encode_to_vec()).expect("it is a message");
    assert_eq!(habits.former_instances(), [instance(7, false)]);
    assert!(Habits::decode(b"\xff\xff").is_err());
}
