//! What is remembered, for how long, and who makes room.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

fn client(number: u32) -> Client {
    (7, Ipv4Addr::from(number).into())
}

fn always(_: u16) -> bool {
    true
}

#[test]
fn a_client_keeps_its_backend_for_as_long_as_it_comes_again_in_time() {
    let table = Affinities::new(64, 1);
    let find = |now| table.find(client(1), 10, Seconds(now));
    assert_eq!(find(100), None);
    assert_eq!(table.keep(client(1), 3, 10, Seconds(100), always), 3);
    assert_eq!((find(100), find(110), find(111)), (Some(3), Some(3), None));
    assert_eq!(table.keep(client(1), 9, 10, Seconds(109), always), 3, "it has one already");
    assert_eq!((find(119), find(120)), (Some(3), None));
    assert_eq!(table.keep(client(1), 9, 10, Seconds(121), always), 9, "it was away for too long");
    assert_eq!(table.keep(client(1), 4, 10, Seconds(121), |number| number != 9), 4);
}

#[test]
fn clients_and_services_are_told_apart() {
    let table = Affinities::new(1024, 1);
    let v6 = (7, Ipv6Addr::from(1 << 100).into());
    for (at, client) in (0..).zip([client(1), client(2), (8, client(1).1), v6]) {
        assert_eq!(table.keep(client, at, 10, Seconds(1), always), at);
    }
    assert_eq!(table.find(client(1), 10, Seconds(1)), Some(0));
    assert_eq!(table.find((8, client(1).1), 10, Seconds(1)), Some(2));
    assert_eq!(table.find(v6, 10, Seconds(1)), Some(3));
}

#[test]
fn who_was_away_longest_makes_room() {
    let table = Affinities::new(BUCKET, 1);
    // Who came first came again before there was no more room.
    for (now, number) in [0u32, 1, 2, 3, 4, 5, 6, 7, 0, 8].into_iter().enumerate() {
        let now = Seconds(u32::try_from(now).unwrap());
        table.keep(client(number), 1, 100, now, always);
    }
    let is_known = |number: &u32| table.find(client(*number), 100, Seconds(9)).is_some();
    assert_eq!((0..9).filter(is_known).collect::<Vec<_>>(), [0, 2, 3, 4, 5, 6, 7, 8]);
}

proptest! {
    #[test]
    fn it_behaves_as_a_map_while_there_is_room(
        steps in prop::collection::vec((0u32..6, 0u16..4095, 0u32..5), 0..60)
    ) {
        let table = Affinities::new(4096, 3);
        let (mut map, mut now) = (HashMap::<u32, (u16, u32)>::new(), 1u32 << 24);
        for (number, backend, later) in steps {
            now += later;
            let known = map.get(&number).filter(|(_, last)| now - last <= 6).map(|(had, _)| *had);
            prop_assert_eq!(table.find(client(number), 6, Seconds(now)), known);
            let kept = table.keep(client(number), backend, 6, Seconds(now), always);
            prop_assert_eq!(kept, known.unwrap_or(backend));
            map.insert(number, (kept, now));
        }
    }
}
