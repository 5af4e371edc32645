use std::net::SocketAddr;
use std::time::Duration;

use laneway_core::conduct::{Outliers, Warmup};
use laneway_core::decide::WHOLE_SHARE;

use super::{Among, Health, RETURN_SECONDS, SHARE_MIN, Verdict, Warm};

fn addresses(count: u8) -> Vec<SocketAddr> {
    (1..=count).map(|number| SocketAddr::from(([10, 0, 0, number], 80))).collect()
}

fn eject(health: &Health, all: &[SocketAddr], which: usize, has_fallback: bool, now: u32) -> Verdict {
    health.eject(all[which], &Among { addresses: all, has_fallback }, &Outliers::default(), None, now)
}

fn out(health: &Health, all: &[SocketAddr]) -> Vec<bool> {
    all.iter().map(|address| health.is_ejected(*address)).collect()
}

#[test]
fn never_more_than_half_of_baseline_is_out_and_never_the_last() {
    for (count, may_be_out) in [(1, 0), (2, 1), (3, 1), (4, 2), (10, 5)] {
        let (health, all) = (Health::default(), addresses(count));
        for which in 0..all.len() {
            eject(&health, &all, which, false, 1);
        }
        assert_eq!(out(&health, &all).iter().filter(|is_out| **is_out).count(), may_be_out, "of {count}");
    }
}

#[test]
fn a_tag_with_a_fallback_may_be_out_as_a_whole() {
    let (health, all) = (Health::default(), addresses(2));
    assert_eq!(eject(&health, &all, 0, true, 100), Verdict::Out { seconds: 10 });
    assert!(matches!(eject(&health, &all, 1, true, 100), Verdict::Out { .. }));
    health.tick(109);
    assert_eq!(out(&health, &all), [true, true], "not back yet");
    health.tick(110);
    assert_eq!(out(&health, &all), [false, false]);
}

#[test]
fn who_comes_back_and_fails_again_is_out_for_longer_and_who_stays_well_begins_anew() {
    let (health, all) = (Health::default(), addresses(2));
    assert_eq!(eject(&health, &all, 0, false, 100), Verdict::Out { seconds: 10 });
    assert_eq!(eject(&health, &all, 0, false, 101), Verdict::Kept, "it is out already");
    health.tick(110);
    assert_eq!(eject(&health, &all, 0, false, 111), Verdict::Out { seconds: 20 });
    health.tick(131);
    for second in 131..=131 + RETURN_SECONDS {
        health.tick(second);
    }
    assert!(!health.has_warming() && !health.has_ejected());
    assert_eq!(eject(&health, &all, 0, false, 200), Verdict::Out { seconds: 10 });
}

#[test]
fn who_is_out_and_answers_comes_back_at_once_and_gets_its_share_step_by_step() {
    let (health, all) = (Health::default(), addresses(2));
    eject(&health, &all, 0, false, 100);
    assert!(health.answered(all[0], 103));
    assert!(!health.answered(all[0], 103) && !health.answered(all[1], 103), "they were not out");
    assert_eq!((health.is_ejected(all[0]), health.share(all[0])), (false, SHARE_MIN));
    health.tick(103 + RETURN_SECONDS / 2);
    assert_eq!(health.share(all[0]), WHOLE_SHARE / 2);
    assert_eq!(health.share(all[1]), WHOLE_SHARE);
    health.tick(103 + RETURN_SECONDS);
    assert_eq!(health.share(all[0]), WHOLE_SHARE);
    assert!(!health.has_warming());
}

#[test]
fn a_warm_up_grows_as_its_curve_says() {
    let quadratic = Warm { seconds: 100, is_quadratic: true };
    let linear = Warm { seconds: 100, is_quadratic: false };
    assert_eq!([0, 50, 99, 100, 500].map(|age| linear.share(age)), [SHARE_MIN, 512, 1013, 1024, 1024]);
    assert_eq!([0, 50, 100].map(|age| quadratic.share(age)), [SHARE_MIN, 256, 1024]);
    let (health, all) = (Health::default(), addresses(1));
    health.is_new(all[0], Warmup { window: Duration::from_secs(4), is_quadratic: false }, 10);
    assert!(health.has_warming());
    health.tick(12);
    assert_eq!(health.share(all[0]), WHOLE_SHARE / 2);
}

#[test]
fn who_went_away_is_forgotten() {
    let (health, all) = (Health::default(), addresses(2));
    eject(&health, &all, 0, false, 100);
    assert_eq!(health.ejected(), [all[0]]);
    health.retain(|_| false);
    assert!(!health.has_ejected() && health.ejected().is_empty());
}
