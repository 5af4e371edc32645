use super::{Again, Reach, Tries};

#[test]
fn a_request_goes_out_once_more_where_it_was_not_begun() {
    for (reach, is_idempotent, is_at_hand, expected) in [
        (Reach::Unprocessed, true, true, Again::Fresh),
        (Reach::Unprocessed, false, true, Again::Fresh),
        (Reach::Unprocessed, true, false, Again::No),
        (Reach::Unanswered, true, true, Again::Fresh),
        (Reach::Unanswered, false, true, Again::No),
        (Reach::Unknown, true, true, Again::No),
        (Reach::Unsent, true, true, Again::No),
    ] {
        let again = Tries::default().again(reach, is_idempotent, is_at_hand);
        assert_eq!(again, expected, "{reach:?}, idempotent: {is_idempotent}, at hand: {is_at_hand}");
    }
}

#[test]
fn a_fresh_connection_is_tried_once() {
    let mut tries = Tries::default();
    assert_eq!(tries.again(Reach::Unanswered, true, true), Again::Fresh);
    assert_eq!(tries.again(Reach::Unprocessed, true, true), Again::No);
}
