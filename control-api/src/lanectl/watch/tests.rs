//! Events as lines.

use laneway_proto::admin::{Lane, WatchEvent, lane, watch_event};

use super::{Seen, event_line};
use crate::lanectl::arguments::Format;
use crate::lanectl::look::Look;

fn event(kind: watch_event::Kind, revision: i64, priority: i32) -> WatchEvent {
    let lane = Lane {
        name: "namespaces/default/laneGroups/shop/lanes/gray".to_owned(),
        state: lane::State::Enabled.into(),
        revision,
        priority,
        ..Lane::default()
    };
    WatchEvent { kind: kind.into(), revision: 0, resource: Some(watch_event::Resource::Lane(lane)) }
}

#[test]
fn a_change_is_told_by_what_changed_since_it_was_last_seen() {
    use watch_event::Kind;
    let (mut seen, mut told) = (Seen::new(), String::new());
    let synced = WatchEvent { kind: Kind::Synced.into(), revision: 3, resource: None };
    for event in [
        event(Kind::Snapshot, 2, 1),
        synced,
        event(Kind::Changed, 4, 7),
        event(Kind::Deleted, 4, 7),
        event(Kind::Changed, 6, 7),
        WatchEvent { kind: Kind::Heartbeat.into(), ..WatchEvent::default() },
    ] {
        event_line(&event, &mut seen, Look::plain(Format::Table), &mut told);
    }
    let gray = "namespaces/default/laneGroups/shop/lanes/gray";
    let expected = format!(
        "there      {gray} (enabled)\nsynced     revision 3\nchanged    {gray} (enabled), revision 4: priority\n\
         deleted    {gray}\nchanged    {gray} (enabled), revision 6\n"
    );
    assert_eq!(told, expected);
}
