//! The rings against a plain list of everything that came.

use proptest::prelude::*;

use super::*;

fn key(destination: &str, tag: &str) -> Key {
    Key {
        view: View::Callers,
        source_service: "a".into(),
        source_tag: "".into(),
        destination_service: destination.into(),
        request_tag: tag.into(),
        endpoint_tag: tag.into(),
        lane_group: "shop".into(),
    }
}

fn requests(count: u64) -> Cell {
    Cell { requests: count, latency: [(80, count)].into(), ..Cell::default() }
}

fn total(rings: &Rings, when: Range<u64>, now: u64) -> u64 {
    let found = rings.read(&when, (when.end - when.start).max(1), now, |_| true);
    found.iter().flat_map(|(_, points)| points).map(|(_, cell)| cell.requests).sum()
}

#[test]
fn a_quantile_is_right_to_a_twentieth() {
    let mut cell = Cell::default();
    for ms in 1..=1000_u64 {
        let bucket = ((ms * 1000) as f64).log2() * 8.0;
        *cell.latency.entry(bucket.floor() as u32).or_default() += 1;
    }
    for (share, exact) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0)] {
        let found = cell.quantile_ms(share);
        assert!((found / exact - 1.0).abs() < 0.05, "{share}: {found}");
    }
    assert!(Cell::default().quantile_ms(0.99).abs() < f64::EPSILON);
}

#[test]
fn more_series_than_are_kept_are_one_other_and_lose_nothing() {
    let mut rings = Rings::default();
    for number in 0..SERIES_MAX + 100 {
        rings.add(key(&format!("s{number}"), ""), 1000, &requests(1), 1000);
    }
    assert_eq!(rings.series.len(), SERIES_MAX + 1);
    assert_eq!(rings.series[&Key::other(View::Callers)].fine[0].1.requests, 100);
    assert_eq!(total(&rings, 1000..1001, 1000), (SERIES_MAX + 100) as u64);
}

#[test]
fn what_is_too_old_is_forgotten_and_what_has_not_come_is_not_taken() {
    let mut rings = Rings::default();
    rings.add(key("b", ""), 10_001, &requests(1), 10_000);
    rings.add(key("b", ""), 10_000 - COARSE_SECONDS, &requests(1), 10_000);
    assert!(rings.series.is_empty());
    rings.add(key("b", ""), 10_000, &requests(5), 10_000);
    assert_eq!(total(&rings, 9_999..10_001, 10_001), 5);
    rings.sweep(10_000 + FINE_SECONDS);
    assert_eq!(total(&rings, 9_990..10_301, 10_301), 5, "by tens of seconds");
    rings.sweep(10_000 + COARSE_SECONDS);
    assert!(rings.series.is_empty());
}

#[test]
fn the_longest_window_by_the_second_is_read_so_a_little_late_too() {
    let mut rings = Rings::default();
    let asked = 10_003;
    let when = asked - FINE_SECONDS..asked;
    for second in [when.start - 1, when.start, when.end - 1] {
        rings.add(key("b", ""), second, &requests(1), asked);
    }
    for late in [0, 1, LATE_SECONDS - 1] {
        rings.sweep(asked + late);
        assert_eq!(total(&rings, when.clone(), asked + late), 2, "read {late} s later");
    }
}

proptest! {
    #[test]
    fn a_window_holds_what_came_in_it_in_whatever_order(
        came in prop::collection::vec((0_u64..250, 1_u64..10, 0_usize..3), 1..100),
        start in 0_u64..250, length in 1_u64..250, step in 1_u64..60,
    ) {
        let base = 100_000;
        let now = base + 250;
        let mut rings = Rings::default();
        for (second, count, service) in &came {
            rings.add(key(&format!("s{service}"), "gray"), base + second, &requests(*count), now);
        }
        rings.sweep(now);
        let when = base + start..base + start + length;
        let found = rings.read(&when, step, now, |key| &*key.destination_service == "s1");
        for (_, points) in &found {
            for (at, cell) in points {
                let in_step = came.iter().filter(|(second, _, service)| {
                    let second = base + second;
                    *service == 1 && when.contains(&second) && (*at..at + step).contains(&second)
                });
                prop_assert_eq!(cell.requests, in_step.map(|(_, count, _)| count).sum::<u64>());
            }
        }
        let expected: u64 = came.iter()
            .filter(|(second, _, service)| *service == 1 && when.contains(&(base + second)))
            .map(|(_, count, _)| count).sum();
        let seen: u64 = found.iter().flat_map(|(_, points)| points).map(|(_, cell)| cell.requests).sum();
        prop_assert_eq!(seen, expected);
    }
}
