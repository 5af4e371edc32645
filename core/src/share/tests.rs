//! The published vectors, and that a share only grows.

use proptest::prelude::*;

use super::{Dice, choose, hash, is_in};

#[test]
fn the_published_vectors_hold() {
    let shop = "namespaces/default/laneGroups/shop/lanes/gray";
    for (salt, key, expected, bucket) in [
        ("gray", "100", 0x62c8_11bd_6706_d4cf_u64, 1007),
        ("gray", "xiaoming", 0x15c1_a838_83b9_9e3f, 8175),
        (shop, "100", 0x8b35_5011_6853_cde4, 6644),
        (shop, "101", hash(shop.as_bytes(), b"101"), 4363),
    ] {
        let hash = hash(salt.as_bytes(), key.as_bytes());
        assert_eq!((hash, hash % 10_000), (expected, bucket), "{salt} {key}");
    }
}

#[test]
fn weights_are_taken_in_the_order_of_the_list() {
    let chosen: Vec<_> = (0..6).map(|h| choose(h, [1, 0, 2].into_iter())).collect();
    assert_eq!(chosen, [Some(0), Some(2), Some(2), Some(0), Some(2), Some(2)]);
    assert_eq!(choose(7, [0, 0].into_iter()), None);
}

#[test]
fn dice_fall_evenly() {
    let mut dice = Dice::new(7);
    let mut counts = [0_u32; 10];
    for _ in 0..100_000 {
        counts[dice.below(10) as usize] += 1;
    }
    assert!(counts.iter().all(|c| (9_500..10_500).contains(c)), "{counts:?}");
}

proptest! {
    #[test]
    fn a_larger_share_only_adds(hash: u64, small in 0..=10_000_u32, more in 0..=10_000_u32) {
        let large = (small + more).min(10_000);
        prop_assert!(!is_in(hash, small) || is_in(hash, large));
        prop_assert!(is_in(hash, 10_000) && !is_in(hash, 0));
    }
}
