use laneway_core::conduct::Retry;

use super::{Again, Cause, Reach, Tries};

const ANYWHERE: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 80);

#[test]
fn a_request_goes_out_once_more_where_it_was_not_begun_or_doing_it_twice_does_no_harm() {
    let usual = Retry::default();
    let all = Retry { on_gateway_error: true, ..usual };
    for (rules, reach, is_idempotent, is_at_hand, expected) in [
        (usual, Reach::Unprocessed, true, true, Again::Fresh),
        (usual, Reach::Unprocessed, false, true, Again::Fresh),
        (usual, Reach::Unprocessed, true, false, Again::No),
        (usual, Reach::Unanswered, true, true, Again::Fresh),
        (usual, Reach::Unanswered, false, true, Again::No),
        (usual, Reach::Dropped, true, true, Again::Elsewhere(Cause::Unprocessed)),
        (usual, Reach::Dropped, false, true, Again::No),
        (Retry { on_unprocessed: false, ..all }, Reach::Dropped, true, true, Again::Elsewhere(Cause::GatewayError)),
        (Retry { on_unprocessed: false, ..usual }, Reach::Dropped, true, true, Again::No),
        (usual, Reach::Unsent, false, true, Again::Elsewhere(Cause::Connect)),
        (usual, Reach::Unsent, true, false, Again::No),
        (usual, Reach::Unknown, true, true, Again::No),
        (all, Reach::Unknown, true, true, Again::Elsewhere(Cause::GatewayError)),
        (all, Reach::Unknown, false, true, Again::No),
        (all, Reach::Late, true, true, Again::No),
        (all, Reach::Held, true, true, Again::Elsewhere(Cause::GatewayError)),
        (usual, Reach::Held, true, true, Again::No),
        (all, Reach::Held, false, true, Again::No),
        (all, Reach::Final, true, true, Again::No),
        (Retry { on_connect: false, ..usual }, Reach::Unsent, true, true, Again::No),
        (Retry { retries_max: 0, ..usual }, Reach::Unsent, true, true, Again::No),
        (Retry { retries_max: 0, ..usual }, Reach::Unprocessed, true, true, Again::Fresh),
    ] {
        let again = Tries::default().again(reach, is_idempotent, is_at_hand, &rules);
        assert_eq!(again, expected, "{reach:?}, idempotent: {is_idempotent}, at hand: {is_at_hand}, {rules:?}");
    }
}

#[test]
fn a_fresh_connection_is_tried_once_and_then_another_instance_as_often_as_is_said() {
    let rules = Retry { retries_max: 2, ..Retry::default() };
    let mut tries = Tries::default();
    assert_eq!(tries.again(Reach::Unprocessed, true, true, &rules), Again::Fresh);
    tries.goes_fresh();
    assert_eq!(tries.again(Reach::Unprocessed, true, true, &rules), Again::Elsewhere(Cause::Unprocessed));
    tries.leaves(ANYWHERE);
    assert_eq!(tries.again(Reach::Unsent, true, true, &rules), Again::Elsewhere(Cause::Connect));
    tries.leaves(ANYWHERE);
    assert_eq!(tries.again(Reach::Unsent, true, true, &rules), Again::No);
    assert_eq!(tries.again(Reach::Unprocessed, true, true, &rules), Again::Fresh, "that costs nobody anything");
}
