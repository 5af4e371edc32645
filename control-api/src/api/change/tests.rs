//! What is read of a call before anything is done.

use tonic::metadata::MetadataMap;

use super::trace_id;

#[test]
fn a_trace_id_is_taken_only_from_a_good_traceparent() {
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    for (value, expected) in [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", id),
        ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", id),
        ("00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01", ""),
        ("00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01", ""),
        ("garbage", ""),
        ("", ""),
    ] {
        let mut metadata = MetadataMap::new();
        metadata.insert("traceparent", value.parse().expect("it is ASCII"));
        assert_eq!(trace_id(&metadata), expected, "{value}");
    }
    assert_eq!(trace_id(&MetadataMap::new()), "");
}
