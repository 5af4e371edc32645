//! Tables and spans as people see them.

use super::{Format, Look, Table, about, count};

use std::time::Duration;

#[test]
fn columns_stand_below_each_other_and_nothing_trails() {
    let mut table = Table::new(&["LANE", "STATE", "OWNER"]);
    table.row(vec!["gray".to_owned(), "enabled".to_owned(), String::new()]);
    table.row(vec!["灰度".to_owned(), "off".to_owned(), "trade".to_owned()]);
    let plain = Look::plain(Format::Table);
    assert_eq!(table.render(plain), "LANE   STATE     OWNER\ngray   enabled\n灰度     off       trade\n");
    let coloured = table.render(Look { is_coloured: true, ..plain });
    assert_eq!(coloured.lines().nth(1), Some("gray   \u{1b}[32menabled\u{1b}[0m"));
}

#[test]
fn only_states_and_marks_are_coloured() {
    let mut table = Table::new(&["", "LANE"]);
    table.row(vec!["✗".to_owned(), "error".to_owned()]);
    let coloured = table.render(Look { is_coloured: true, ..Look::plain(Format::Table) });
    assert_eq!(coloured.lines().nth(1), Some("\u{1b}[31m✗\u{1b}[0m   error"));
}

#[test]
fn spans_are_told_in_one_unit() {
    for (seconds, expected) in [(0, "0s"), (179, "179s"), (180, "3m"), (10_800, "3h"), (259_200, "3d")] {
        assert_eq!(about(Duration::from_secs(seconds)), expected);
    }
    assert_eq!((count(1, "lane"), count(0, "lane")), ("1 lane".to_owned(), "0 lanes".to_owned()));
}
