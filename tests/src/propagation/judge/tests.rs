//! What counts as right, wrong and unknown.

use super::{Tally, lane_of};

fn order_in(lane: &str) -> u64 {
    (0..).find(|order| lane_of(*order) == lane).expect("every lane has orders")
}

fn tally(lane: &str, b: &str, c: &str) -> Tally {
    let order = order_in(lane);
    let answer = format!("A[10.1.0.11 {order}] -> B{b}[10.1.0.12 {order}] -> C{c}[10.1.0.14 {order}]\n");
    Tally::of_answer(&answer, order).expect("the answer is whole")
}

#[test]
fn an_instance_says_which_lane_was_believed() {
    // lane, B, C; right, wrong, unknown, untagged, unseen
    let cases = [
        ("", "", "", [2, 0, 0, 2, 0]),
        ("", "gray", "gray", [0, 2, 0, 0, 0]),
        ("", "", "blue", [1, 1, 0, 1, 0]),
        ("gray", "gray", "gray", [2, 0, 0, 0, 0]),
        ("gray", "gray", "", [1, 0, 1, 0, 0]),
        ("gray", "", "", [0, 0, 2, 0, 0]),
        ("gray", "", "blue", [0, 1, 1, 0, 0]),
        // B has no blue instance: baseline is where a blue request belongs.
        ("blue", "", "blue", [2, 0, 0, 0, 1]),
        ("blue", "", "", [1, 0, 1, 0, 1]),
        ("blue", "gray", "gray", [0, 2, 0, 0, 0]),
    ];
    for (lane, b, c, [right, wrong, unknown, untagged, unseen]) in cases {
        let expected = Tally { right, wrong, unknown, untagged, unseen };
        assert_eq!(tally(lane, b, c), expected, "lane `{lane}` at B{b}, C{c}");
    }
}

#[test]
fn an_answer_for_another_order_is_no_answer() {
    for answer in [
        "A[10.1.0.11 7] -> B[10.1.0.12 8] -> C[10.1.0.14 7]",
        "A[10.1.0.11 17] -> B[10.1.0.12 17] -> C[10.1.0.14 17]",
        "A[10.1.0.11 7] -> B[10.1.0.12 7]",
        "A[10.1.0.11 7] -> C[10.1.0.12 7] -> C[10.1.0.12 7]",
        "A[10.1.0.11 7] -> B[10.1.0.12 7] -> C[10.1.0.14 7] -> D[10.1.0.15 7]",
        "A[10.1.0.11] -> B[10.1.0.12] -> C[10.1.0.14]",
        "",
    ] {
        assert!(Tally::of_answer(answer, 7).is_err(), "{answer}");
    }
}

#[test]
fn every_lane_has_its_third() {
    for lane in super::LANES {
        let count = (0..30_000).filter(|order| lane_of(*order) == lane).count();
        assert!((9_700..10_300).contains(&count), "`{lane}` has {count} of 30,000");
    }
}
