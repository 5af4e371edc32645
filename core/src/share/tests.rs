//! The published vectors, and that a share only grows.

use proptest::prelude::*;

use super::{Dice, choose, hash, is_in};

#[test]
fn the_published_vectors_hold() {
    let mut count = 0;
    for line in include_str!("../../../docs/sharing.md").lines() {
        let cells: Vec<&str> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let ["", salt, key, expected, bucket, ""] = cells.as_slice() else { continue };
        let Ok(expected) = u64::from_str_radix(expected, 16) else { continue };
        let hash = hash(salt.as_bytes(), key.as_bytes());
        assert_eq!((hash, (hash % 10_000).to_string().as_str()), (expected, *bucket), "{salt} {key}");
        count += 1;
    }
    assert_eq!(count, 11, "vectors of docs/sharing.md");
}

/// Basis points that are tried.
const SHARES: [u32; 7] = [0, 1, 100, 200, 5_000, 9_999, 10_000];

#[test]
fn a_share_takes_its_part_of_a_million_keys() {
    const KEYS: u32 = 1_000_000;
    for salt in 0..20 {
        let salt = format!("namespaces/default/laneGroups/shop/lanes/gray-{salt}");
        let mut taken = [0_u32; SHARES.len()];
        for key in 0..KEYS {
            let hash = hash(salt.as_bytes(), key.to_string().as_bytes());
            for (taken, share) in taken.iter_mut().zip(SHARES) {
                *taken += u32::from(is_in(hash, share));
            }
        }
        assert_eq!((taken[0], taken[SHARES.len() - 1]), (0, KEYS), "{salt}: 0 % and 100 % are exact");
        for (taken, share) in taken.iter().zip(SHARES) {
            let percent = f64::from(*taken) * 100.0 / f64::from(KEYS);
            let off = (percent - f64::from(share) / 100.0).abs();
            assert!(off <= 0.2, "{salt}: {share} basis points take {percent} %");
        }
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
    fn short_and_long_keys_are_hashed_alike(salt in prop::collection::vec(any::<u8>(), 0..129), length in 0..600_usize) {
        let key = vec![b'k'; length];
        prop_assert_eq!(hash(&salt, &key), xxhash_rust::xxh3::xxh3_64(&[&salt[..], &[0], &key].concat()));
    }

    #[test]
    fn a_larger_share_only_adds(hash: u64, small in 0..=10_000_u32, more in 0..=10_000_u32) {
        let large = (small + more).min(10_000);
        prop_assert!(!is_in(hash, small) || is_in(hash, large));
        prop_assert!(is_in(hash, 10_000) && !is_in(hash, 0));
    }
}
