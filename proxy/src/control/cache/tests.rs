//! The file as a value: what is read back, and what is refused.

use laneway_core::tag::Tag;
use laneway_proto::contract::{TYPE_LANE, TYPE_SERVICE};
use proptest::prelude::*;
use prost_types::Any;

use super::*;

fn identity(service: &str, tag: &str) -> Identity {
    Identity { namespace: "shop".to_owned(), service: service.to_owned(), tag: Tag::parse(tag.as_bytes()).ok() }
}

fn resource(type_url: &str, name: &str, version: &str) -> Resource {
    Resource {
        name: name.to_owned(),
        version: version.to_owned(),
        aliases: vec![format!("ip/{name}")],
        resource: Some(Any { type_url: type_url.to_owned(), value: version.as_bytes().to_vec() }),
        ..Resource::default()
    }
}

fn kept(entries: &[(&str, &str, &str)]) -> Kept {
    let mut kept = Kept::default();
    for (type_url, name, version) in entries {
        let held = kept.resources.entry((*type_url).to_owned()).or_default();
        held.insert((*name).to_owned(), resource(type_url, name, version));
        kept.keys.insert(Arc::from(*name));
    }
    kept
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000)
}

#[test]
fn what_was_written_is_read_back_with_its_age() {
    let who = identity("b", "gray");
    let kept = kept(&[(TYPE_LANE, "lane", "1"), (TYPE_SERVICE, "c", "7"), (TYPE_SERVICE, "d", "8")]);
    let bytes = kept.encode(&who, now());
    let saved = decode(&bytes, &who, now() + Duration::from_secs(60)).expect("it was just written");
    assert_eq!(saved.age, Duration::from_secs(60));
    assert_eq!(saved.keys, ["c", "d", "lane"].map(Arc::from));
    let names = |response: &DeltaDiscoveryResponse| response.resources.iter().map(|r| r.name.clone()).collect();
    let read: Vec<(String, Vec<String>)> =
        saved.responses.iter().map(|response| (response.type_url.clone(), names(response))).collect();
    assert_eq!(
        read,
        [
            (TYPE_LANE.to_owned(), vec!["lane".to_owned()]),
            (TYPE_SERVICE.to_owned(), vec!["c".to_owned(), "d".to_owned()])
        ]
    );
    assert_eq!(saved.responses[0].resources[0], resource(TYPE_LANE, "lane", "1"));
}

#[test]
fn a_clock_that_was_set_back_makes_no_age() {
    let who = identity("b", "");
    let bytes = kept(&[]).encode(&who, now());
    assert_eq!(decode(&bytes, &who, SystemTime::UNIX_EPOCH).expect("it is whole").age, Duration::ZERO);
}

#[test]
fn the_file_of_another_sidecar_is_refused_by_name() {
    let bytes = kept(&[(TYPE_LANE, "lane", "1")]).encode(&identity("b", "gray"), now());
    for other in [identity("c", "gray"), identity("b", "blue"), identity("b", "")] {
        let refused = decode(&bytes, &other, now()).expect_err("it is of b, gray");
        assert!(refused.to_string().contains("service \"b\", tag \"gray\""), "{refused}");
    }
}

#[test]
fn a_file_of_another_form_is_refused() {
    for bytes in [&b""[..], b"LANEWAY", b"LANEWAY2\0\0\0\0\0\0\0\0", b"{\"resources\": []}"] {
        assert!(matches!(decode(bytes, &identity("b", ""), now()), Err(CacheError::Form)));
    }
}

#[test]
fn a_file_with_a_good_hash_and_no_message_behind_it_is_refused() {
    let body = [0xff_u8; 9];
    let bytes = [MAGIC.as_slice(), &hash_of(&body).to_le_bytes(), &body].concat();
    assert!(matches!(decode(&bytes, &identity("b", ""), now()), Err(CacheError::Undecodable(_))));
}

proptest! {
    #[test]
    fn a_file_with_one_bit_turned_or_its_end_cut_off_is_never_taken(place: prop::sample::Index, bit in 0_u8..8) {
        let who = identity("b", "gray");
        let whole = kept(&[(TYPE_LANE, "lane", "1"), (TYPE_SERVICE, "c", "7")]).encode(&who, now());
        let at = place.index(whole.len());
        let mut turned = whole.clone();
        turned[at] ^= 1 << bit;
        prop_assert!(decode(&turned, &who, now()).is_err());
        prop_assert!(decode(&whole[..at], &who, now()).is_err());
    }
}

#[test]
fn the_new_file_takes_the_place_of_the_old_one_whole() {
    let directory = std::env::temp_dir().join(format!("laneway-cache-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("the directory is ours");
    let path = directory.join("cache");
    assert!(load(&path, &identity("b", "")).expect("no file is no error").is_none());
    for version in ["1", "2"] {
        let bytes = kept(&[(TYPE_LANE, "lane", version)]).encode(&identity("b", ""), now());
        replace(&path, &bytes).expect("the directory can be written");
        let saved = load(&path, &identity("b", "")).expect("it is whole").expect("it is there");
        assert_eq!(saved.responses[0].resources[0].version, version);
    }
    let left: Vec<_> = std::fs::read_dir(&directory).expect("it is there").filter_map(Result::ok).collect();
    assert_eq!(left.len(), 1, "nothing is left beside the file");
    assert!(replace(&directory.join("none/cache"), b"").is_err());
    std::fs::remove_dir_all(&directory).expect("the directory is ours");
}

#[test]
fn a_file_of_any_bytes_is_ours_whole_or_refused() {
    crate::draw::inputs(20_000, 64, &[]).for_each(|bytes| hostile::check(&bytes));
}
