//! What is on which page, and which tokens lead on.

use std::time::{Duration, SystemTime};

use laneway_proto::admin::Lane;
use tonic::{Code, Status};

use super::{Page, Query};

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn lanes(lanes: &[(&str, i32)]) -> Vec<Lane> {
    let lane =
        |(name, priority): &(&str, i32)| Lane { name: (*name).to_owned(), priority: *priority, ..Lane::default() };
    lanes.iter().map(lane).collect()
}

fn page(query: Query<'_>, items: &[(&str, i32)], now: SystemTime) -> Result<Page<Lane>, Status> {
    query.page(lanes(items), "laneway.admin.v1.Lane", |lane| &lane.name, now)
}

/// All pages, as their names.
fn all(query: Query<'_>, items: &[(&str, i32)]) -> Vec<Vec<String>> {
    let (mut pages, mut token) = (Vec::new(), String::new());
    loop {
        let page = page(Query { page_token: &token, ..query }, items, NOW).expect("it is listed");
        pages.push(page.items.into_iter().map(|lane| lane.name).collect());
        if page.next_token.is_empty() {
            return pages;
        }
        token = page.next_token;
    }
}

#[test]
fn pages_are_cut_out_of_what_the_filter_takes_in_the_order_that_is_asked_for() {
    let items = [("d", 2), ("a", 1), ("c", 2), ("b", 3), ("e", 0)];
    let query = Query { page_size: 2, ..Query::default() };
    assert_eq!(all(query, &items), [vec!["a", "b"], vec!["c", "d"], vec!["e"]]);
    assert_eq!(all(Query { order_by: "priority desc", ..query }, &items), [vec!["b", "c"], vec!["d", "a"], vec!["e"]]);
    assert_eq!(all(Query { filter: "priority > 1", ..query }, &items), [vec!["b", "c"], vec!["d"]]);
    assert_eq!(all(Query { page_size: 5, ..query }, &items).len(), 1);
    assert_eq!(all(query, &[]), [Vec::<String>::new()]);
    let first = page(Query { filter: "priority > 1", ..query }, &items, NOW).expect("it is listed");
    assert_eq!(first.total, 3);
}

#[test]
fn what_is_there_all_the_time_is_listed_once_whatever_comes_and_goes() {
    let query = Query { page_size: 2, order_by: "priority", ..Query::default() };
    let first = page(query, &[("a", 1), ("b", 2), ("c", 3), ("d", 4)], NOW).expect("it is listed");
    // The one that the token names is gone, another has come before it.
    let after = [("a", 1), ("x", 0), ("c", 3), ("d", 4)];
    let second = page(Query { page_token: &first.next_token, ..query }, &after, NOW).expect("it is listed");
    assert_eq!(second.items.iter().map(|lane| lane.name.as_str()).collect::<Vec<_>>(), ["c", "d"]);
}

#[test]
fn a_token_is_good_for_its_own_list_and_for_ten_minutes() {
    let items = [("a", 1), ("b", 2), ("c", 3)];
    let query = Query { parent: "p", page_size: 1, ..Query::default() };
    let token = page(query, &items, NOW).expect("it is listed").next_token;
    let query = Query { page_token: &token, ..query };
    assert!(page(Query { page_size: 7, ..query }, &items, NOW + Duration::from_secs(600)).is_ok());
    let (old, foreign) = ("10 minutes", "not a token of this list");
    for (query, now, word) in [
        (query, NOW + Duration::from_secs(601), old),
        (Query { parent: "q", ..query }, NOW, foreign),
        (Query { filter: "priority > 0", ..query }, NOW, foreign),
        (Query { order_by: "tag", ..query }, NOW, foreign),
        (Query { page_token: "x", ..query }, NOW, foreign),
        (Query { page_token: "éé", ..query }, NOW, foreign),
        (Query { page_token: &token[2..], ..query }, NOW, foreign),
        (Query { page_size: -1, ..query }, NOW, "page_size"),
    ] {
        let refusal = page(query, &items, now).err().expect("it is refused");
        assert!(refusal.code() == Code::InvalidArgument && refusal.message().contains(word), "{refusal}");
    }
}
