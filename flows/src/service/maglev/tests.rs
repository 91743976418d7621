//! Shares, disruption, and that nothing but the backends matters.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

fn backends(numbers: impl IntoIterator<Item = u16>) -> Vec<Endpoint> {
    let one = |number: u16| {
        let [high, low] = number.to_be_bytes();
        Endpoint::new(Ipv4Addr::new(10, 1, high, low), 80)
    };
    numbers.into_iter().map(one).collect()
}

/// Who is in each place.
fn places(endpoints: &[Endpoint]) -> Vec<Endpoint> {
    let table = Maglev::new(endpoints).table;
    table.iter().map(|at| endpoints[usize::from(*at)]).collect()
}

#[test]
fn the_table_is_large_enough_and_prime() {
    for (count, size) in [(1, 251), (2, 251), (3, 509), (10, 1021), (200, 32749), (600, LARGEST)] {
        assert_eq!(Maglev::new(&backends(1..=count)).table.len(), size as usize);
    }
    let is_prime = |n: u32| (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
    assert!(SIZES.iter().chain([&LARGEST]).all(|size| is_prime(*size)));
    assert_eq!(Maglev::new(&[]).from(77).next(), None);
}

#[test]
fn every_backend_has_the_same_share_within_a_place() {
    for count in [1, 2, 3, 7, 50, 200, 255] {
        let endpoints = backends(1..=count);
        let places = places(&endpoints);
        let share = |it: &Endpoint| places.iter().filter(|other| *other == it).count();
        let shares: Vec<_> = endpoints.iter().map(share).collect();
        let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
        assert!(most - least <= 1, "{count}: {least} to {most}");
    }
}

#[test]
fn hardly_any_place_of_the_others_changes_hands_when_one_goes() {
    for count in [5, 20, 100, 200] {
        let before = places(&backends(1..=count));
        for gone in [1, count / 2, count] {
            let left = backends((1..=count).filter(|number| *number != gone));
            let after = places(&left);
            if before.len() != after.len() {
                continue;
            }
            let gone = backends([gone])[0];
            let pairs = before.iter().zip(&after).filter(|(old, _)| **old != gone);
            let moved = pairs.clone().filter(|(old, new)| old != new).count();
            // By the paper's figure 12 it is a few of a hundred at a hundred places for each.
            assert!(moved * 25 <= pairs.count(), "{count}: {moved} moved");
        }
    }
}

proptest! {
    #[test]
    fn the_order_in_which_backends_are_listed_does_not_matter(
        numbers in prop::collection::hash_set(0u16..5000, 1..40)
    ) {
        let listed: Vec<_> = numbers.iter().copied().collect();
        let mut sorted = listed.clone();
        sorted.sort_unstable();
        prop_assert_eq!(places(&backends(listed)), places(&backends(sorted)));
    }

    #[test]
    fn whoever_cannot_take_its_place_is_stood_in_for_by_each_of_the_others(hash: u64) {
        let table = Maglev::new(&backends(1..=4));
        let mut in_order: Vec<_> = table.from(hash).collect();
        prop_assert_eq!(in_order.len(), 509);
        in_order.sort_unstable();
        in_order.dedup();
        prop_assert_eq!(in_order, [0, 1, 2, 3]);
    }
}
