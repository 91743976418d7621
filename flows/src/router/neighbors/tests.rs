//! The states one by one, and the table against a plain map.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const BRIDGE: BridgeIndex = BridgeIndex(3);
const CAPACITY: u32 = 256;

fn neighbors() -> Neighbors {
    Neighbors::new(CAPACITY, Timers::default(), 42)
}

fn host(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, last])
}

fn at(ms: u64) -> Nanos {
    Nanos::from_micros(ms * 1000)
}

fn learn(neighbors: &Neighbors, last: u8, claim: Claim, ms: u64) -> Heard {
    neighbors.learn(BRIDGE, host(last), &claim, at(ms))
}

fn state(neighbors: &Neighbors, last: u8, ms: u64) -> Option<NeighborState> {
    let entries = neighbors.entries(at(ms));
    entries.iter().find(|entry| entry.ip == host(last)).map(|entry| entry.state)
}

fn known(neighbors: &Neighbors, last: u8, ms: u64) -> Option<Neighbor> {
    match neighbors.lookup(BRIDGE, host(last), at(ms)) {
        Lookup::Known(neighbor) => Some(neighbor),
        _ => None,
    }
}

fn resolve(resolver: &mut Resolver, neighbors: &Neighbors, last: u8, ms: u64) -> Resolution {
    resolver.resolve(neighbors, BRIDGE, host(last), at(ms))
}

fn due(resolver: &mut Resolver, neighbors: &Neighbors, ms: u64) -> Vec<Option<MacAddr>> {
    let mut asked = Vec::new();
    resolver.due(neighbors, at(ms), 100, |question| asked.push(question.to));
    asked
}

#[test]
fn an_unknown_neighbour_is_asked_for_three_times_and_then_fails() {
    let (neighbors, mut resolver) = (neighbors(), Resolver::new(8));
    assert_eq!(resolve(&mut resolver, &neighbors, 1, 0), Resolution::Pending);
    assert_eq!(resolve(&mut resolver, &neighbors, 1, 1), Resolution::Pending);
    for (ms, questions) in [(1, 1), (500, 0), (1001, 1), (1500, 0), (2001, 1), (3000, 0)] {
        assert_eq!(due(&mut resolver, &neighbors, ms), vec![None; questions], "at {ms} ms");
    }
    assert!(due(&mut resolver, &neighbors, 3001).is_empty());
    assert!(resolver.is_idle());
    assert_eq!(resolve(&mut resolver, &neighbors, 1, 3002), Resolution::Unreachable);
    assert_eq!(resolve(&mut resolver, &neighbors, 1, 4001), Resolution::Pending, "a new attempt");
    assert_eq!(due(&mut resolver, &neighbors, 4001), [None]);
}

#[test]
fn an_answer_makes_a_neighbour_reachable() {
    let (neighbors, mut resolver) = (neighbors(), Resolver::new(8));
    resolve(&mut resolver, &neighbors, 1, 0);
    due(&mut resolver, &neighbors, 0);
    assert_eq!(learn(&neighbors, 1, Claim::answering(mac(1)), 5), Heard::Learned);
    assert_eq!(state(&neighbors, 1, 5), Some(NeighborState::Reachable));
    assert_eq!(known(&neighbors, 1, 6).unwrap().mac, mac(1));
    assert!(due(&mut resolver, &neighbors, 2000).is_empty() && resolver.is_idle());
}

#[test]
fn a_stale_neighbour_is_used_and_asked_after() {
    let (neighbors, mut resolver) = (neighbors(), Resolver::new(8));
    learn(&neighbors, 1, Claim::asking(mac(1)), 0);
    learn(&neighbors, 1, Claim::answering(mac(1)), 0);
    assert!(matches!(resolve(&mut resolver, &neighbors, 1, 30_000), Resolution::Known(_)));
    assert!(resolver.is_idle(), "it is reachable for 30 s");
    let Resolution::Known(neighbor) = resolve(&mut resolver, &neighbors, 1, 30_001) else {
        panic!("it is still used")
    };
    assert_eq!(state(&neighbors, 1, 30_001), Some(NeighborState::Probe));
    assert_eq!(due(&mut resolver, &neighbors, 30_001), [Some(mac(1))]);
    assert!(neighbors.lasts(neighbor.version, at(30_500)).is_some(), "flows go on meanwhile");
    learn(&neighbors, 1, Claim::answering(mac(1)), 30_600);
    assert_eq!(state(&neighbors, 1, 60_600), Some(NeighborState::Reachable));
    assert!(neighbors.lasts(neighbor.version, at(60_600)).is_some());
    assert_eq!(neighbors.lasts(neighbor.version, at(60_601)), None, "to be asked after again");
}

#[test]
fn a_neighbour_in_use_that_goes_away_fails_after_everybody_was_asked() {
    let (neighbors, mut resolver) = (neighbors(), Resolver::new(8));
    learn(&neighbors, 1, Claim::asking(mac(1)), 0);
    resolve(&mut resolver, &neighbors, 1, 0);
    let version = known(&neighbors, 1, 0).unwrap().version;
    let asked: Vec<_> =
        [0, 1000, 2000].into_iter().flat_map(|ms| due(&mut resolver, &neighbors, ms)).collect();
    assert_eq!(asked, [Some(mac(1)), Some(mac(1)), None]);
    due(&mut resolver, &neighbors, 3000);
    assert_eq!(neighbors.lasts(version, at(3000)), None);
    assert_eq!(resolve(&mut resolver, &neighbors, 1, 3000), Resolution::Unreachable);
}

#[test]
fn a_neighbour_that_comes_back_with_its_old_mac_is_told_of() {
    let (neighbors, mut resolver) = (neighbors(), Resolver::new(8));
    learn(&neighbors, 1, Claim::asking(mac(1)), 0);
    for ms in [0, 0, 1000, 2000, 3000] {
        resolve(&mut resolver, &neighbors, 1, ms);
        due(&mut resolver, &neighbors, ms);
    }
    assert_eq!(resolve(&mut resolver, &neighbors, 1, 4000), Resolution::Pending);
    assert_eq!(neighbors.entries(at(4000))[0].mac, None);
    learn(&neighbors, 1, Claim::answering(mac(1)), 4010);
    assert_eq!(known(&neighbors, 1, 4010).map(|neighbor| neighbor.mac), Some(mac(1)));
}

#[test]
fn the_revision_moves_when_an_entry_in_use_changes_or_goes_and_not_before() {
    let (neighbors, mut resolver) = (neighbors(), Resolver::new(8));
    let first = neighbors.revision();
    resolve(&mut resolver, &neighbors, 1, 0);
    learn(&neighbors, 1, Claim::answering(mac(1)), 5);
    // It is heard again, and others come and fail: what was decided by it holds.
    learn(&neighbors, 1, Claim::answering(mac(1)), 10);
    resolve(&mut resolver, &neighbors, 2, 10);
    for ms in [10, 1010, 2010, 3010] {
        due(&mut resolver, &neighbors, ms);
    }
    assert_eq!(state(&neighbors, 2, 3010), Some(NeighborState::Failed));
    assert_eq!(neighbors.revision(), first);
    let mut seen = vec![first];
    let changed = |what: &str, seen: &mut Vec<u32>| {
        assert!(!seen.contains(&neighbors.revision()), "{what}");
        seen.push(neighbors.revision());
    };
    resolve(&mut resolver, &neighbors, 1, 30_011);
    changed("it is asked after", &mut seen);
    learn(&neighbors, 1, Claim::answering(mac(1)), 30_020);
    changed("it answered", &mut seen);
    learn(&neighbors, 1, Claim::announcing(mac(3)), 30_030);
    changed("it has another MAC", &mut seen);
    learn(&neighbors, 1, Claim::answering(mac(3)), 30_040);
    assert!(neighbors.remove(BRIDGE, host(1)));
    changed("it is gone", &mut seen);
}

#[test]
fn another_mac_moves_the_version() {
    let neighbors = neighbors();
    learn(&neighbors, 1, Claim::asking(mac(1)), 0);
    learn(&neighbors, 1, Claim::answering(mac(1)), 0);
    let before = known(&neighbors, 1, 0).unwrap();
    learn(&neighbors, 1, Claim::answering(mac(1)), 10);
    assert_eq!(known(&neighbors, 1, 10), Some(before));
    learn(&neighbors, 1, Claim::announcing(mac(2)), 20);
    assert_eq!(neighbors.lasts(before.version, at(20)), None);
    assert_eq!(known(&neighbors, 1, 20).unwrap().mac, mac(2));
}

#[test]
fn neighbour_advertisements_follow_rfc_4861_section_7_2_5() {
    use NeighborState::{Reachable, Stale};
    let claim = |last: u8, solicited, overrides| Claim {
        mac: Some(mac(last)),
        solicited,
        overrides,
        creates: false,
    };
    for (before, claim, (expected_mac, expected_state)) in [
        (Reachable, claim(1, true, false), (1, Reachable)),
        (Stale, claim(1, true, false), (1, Reachable)),
        (Stale, claim(1, false, true), (1, Stale)),
        (Reachable, claim(2, true, false), (1, Stale)),
        (Stale, claim(2, true, false), (1, Stale)),
        (Reachable, claim(2, false, true), (2, Stale)),
        (Reachable, claim(2, true, true), (2, Reachable)),
        (Stale, Claim { mac: None, ..claim(1, true, false) }, (1, Reachable)),
        (Reachable, Claim { mac: None, ..claim(1, false, true) }, (1, Reachable)),
    ] {
        let neighbors = neighbors();
        learn(&neighbors, 1, Claim::asking(mac(1)), 0);
        if before == Reachable {
            learn(&neighbors, 1, Claim::answering(mac(1)), 0);
        }
        learn(&neighbors, 1, claim, 1);
        let entry = neighbors.entries(at(1))[0];
        let expected = (Some(mac(expected_mac)), expected_state);
        assert_eq!((entry.mac, entry.state), expected, "{before:?} {claim:?}");
    }
}

#[test]
fn an_unknown_neighbours_advertisement_is_ignored() {
    let neighbors = neighbors();
    assert_eq!(learn(&neighbors, 1, Claim::answering(mac(1)), 0), Heard::Ignored);
    assert_eq!(learn(&neighbors, 1, Claim::announcing(mac(1)), 0), Heard::Ignored);
    assert!(neighbors.is_empty());
}

#[test]
fn an_incomplete_entry_needs_a_mac() {
    let (neighbors, mut resolver) = (neighbors(), Resolver::new(8));
    resolve(&mut resolver, &neighbors, 1, 0);
    let claim = Claim { mac: None, ..Claim::answering(mac(1)) };
    assert_eq!(learn(&neighbors, 1, claim, 0), Heard::Ignored);
    assert_eq!(state(&neighbors, 1, 0), Some(NeighborState::Incomplete));
}

#[test]
fn a_permanent_neighbour_stays_as_it_is() {
    let neighbors = neighbors();
    assert!(neighbors.add_static(BRIDGE, host(1), mac(1)));
    assert_eq!(learn(&neighbors, 1, Claim::answering(mac(2)), 0), Heard::Ignored);
    neighbors.sweep(at(1 << 40), 0, usize::MAX / 2);
    assert_eq!(known(&neighbors, 1, 1 << 40).unwrap().mac, mac(1));
    assert!(neighbors.remove(BRIDGE, host(1)));
    assert!(!neighbors.remove(BRIDGE, host(1)));
}

#[test]
fn one_worker_asks_for_all_and_another_takes_over_when_it_is_gone() {
    let (neighbors, mut first, mut second) = (neighbors(), Resolver::new(8), Resolver::new(8));
    resolve(&mut first, &neighbors, 1, 0);
    assert_eq!(resolve(&mut second, &neighbors, 1, 0), Resolution::Pending);
    assert!(second.is_idle());
    drop(first);
    assert_eq!(resolve(&mut second, &neighbors, 1, 4001), Resolution::Pending);
    assert_eq!(due(&mut second, &neighbors, 4001), [None]);
}

#[test]
fn a_scan_of_absent_hosts_is_bounded() {
    let (neighbors, mut resolver) = (neighbors(), Resolver::new(8));
    for last in 0..8 {
        assert_eq!(resolve(&mut resolver, &neighbors, last, 0), Resolution::Pending);
    }
    assert_eq!(resolve(&mut resolver, &neighbors, 8, 0), Resolution::Busy);
    assert_eq!(neighbors.len(), 8);
    let mut asked = 0;
    resolver.due(&neighbors, at(0), 3, |_| asked += 1);
    assert_eq!(asked, 3, "the budget");
    resolver.due(&neighbors, at(0), 30, |_| asked += 1);
    assert_eq!(asked, 8, "the others' turn comes");
}

#[test]
fn a_full_table_gives_up_what_is_missed_least() {
    let neighbors = Neighbors::new(4, Timers::default(), 42);
    for last in 0..4 {
        assert_eq!(
            learn(&neighbors, last, Claim::asking(mac(last)), u64::from(last)),
            Heard::Learned
        );
        if last != 2 {
            learn(&neighbors, last, Claim::answering(mac(last)), 10);
        }
    }
    assert_eq!(learn(&neighbors, 9, Claim::asking(mac(9)), 20), Heard::Learned);
    assert_eq!(state(&neighbors, 2, 20), None, "the stale one");
    learn(&neighbors, 9, Claim::answering(mac(9)), 20);
    assert_eq!(learn(&neighbors, 8, Claim::asking(mac(8)), 20), Heard::Refused);
    assert_eq!(neighbors.len(), 4);
}

#[test]
fn bridges_and_families_are_apart() {
    let neighbors = neighbors();
    let v6: IpAddr = "::10.0.0.1".parse().unwrap();
    for (number, bridge, ip) in [(1, 1, host(1)), (2, 2, host(1)), (3, 1, v6)] {
        neighbors.learn(BridgeIndex(bridge), ip, &Claim::asking(mac(number)), at(0));
    }
    for (number, bridge, ip) in [(1, 1, host(1)), (2, 2, host(1)), (3, 1, v6)] {
        let Lookup::Known(found) = neighbors.lookup(BridgeIndex(bridge), ip, at(0)) else {
            panic!("{ip} on {bridge}")
        };
        assert_eq!(found.mac, mac(number));
    }
    let mut listed: Vec<_> = neighbors.entries(at(0)).iter().map(|e| (e.bridge.0, e.ip)).collect();
    listed.sort_unstable();
    assert_eq!(listed, [(1, host(1)), (1, v6), (2, host(1))]);
    assert_eq!(neighbors.flush(at(0), |entry| entry.bridge == BridgeIndex(1)), 2);
    assert_eq!(neighbors.len(), 1);
}

#[test]
fn a_sweep_removes_what_failed_and_what_was_forgotten() {
    let (neighbors, mut resolver) = (neighbors(), Resolver::new(8));
    resolve(&mut resolver, &neighbors, 1, 0);
    for ms in [0, 1000, 2000, 3000] {
        due(&mut resolver, &neighbors, ms);
    }
    learn(&neighbors, 2, Claim::asking(mac(2)), 0);
    neighbors.sweep(at(62_999), 0, usize::MAX / 2);
    assert_eq!(state(&neighbors, 1, 62_999), Some(NeighborState::Failed));
    neighbors.sweep(at(63_000), 0, usize::MAX / 2);
    assert_eq!((state(&neighbors, 1, 63_000), neighbors.len()), (None, 1));
    neighbors.sweep(at(3_600_001), 0, usize::MAX / 2);
    assert!(neighbors.is_empty());
}

#[test]
fn a_neighbour_that_failed_is_silent_until_it_is_heard_also_while_it_is_asked_again() {
    let (neighbors, mut resolver) = (neighbors(), Resolver::new(8));
    let is_silent = || neighbors.is_silent(BRIDGE, host(1));
    resolve(&mut resolver, &neighbors, 1, 0);
    assert!(!is_silent(), "it has not had its time yet");
    for ms in [0, 1000, 2000, 3000] {
        due(&mut resolver, &neighbors, ms);
    }
    assert!(is_silent());
    assert_eq!(resolve(&mut resolver, &neighbors, 1, 4000), Resolution::Pending);
    assert_eq!(state(&neighbors, 1, 4000), Some(NeighborState::Retry));
    assert!(is_silent());
    learn(&neighbors, 1, Claim::answering(mac(1)), 4500);
    assert!(!is_silent());
}

/// An operation on the table, and on the map that is its model.
#[derive(Debug, Clone)]
enum Step {
    Learn(u8, u8),
    Remove(u8),
    Static(u8, u8),
    Lookup(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0u8..40, 0u8..5).prop_map(|(host, mac)| Step::Learn(host, mac)),
        1 => (0u8..40).prop_map(Step::Remove),
        1 => (0u8..40, 0u8..5).prop_map(|(host, mac)| Step::Static(host, mac)),
        3 => (0u8..40).prop_map(Step::Lookup),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn the_table_behaves_as_a_map(steps in steps()) {
        let neighbors = neighbors();
        // (mac, permanent)
        let mut model: HashMap<u8, (u8, bool)> = HashMap::new();
        for step in steps {
            match step {
                Step::Learn(h, m) => {
                    learn(&neighbors, h, Claim::asking(mac(m)), 0);
                    let entry = model.entry(h).or_insert((m, false));
                    entry.0 = if entry.1 { entry.0 } else { m };
                }
                Step::Remove(h) => {
                    let was_there = model.remove(&h).is_some();
                    prop_assert_eq!(neighbors.remove(BRIDGE, host(h)), was_there);
                }
                Step::Static(h, m) => {
                    prop_assert!(neighbors.add_static(BRIDGE, host(h), mac(m)));
                    model.insert(h, (m, true));
                }
                Step::Lookup(h) => {
                    let found = known(&neighbors, h, 0).map(|neighbor| neighbor.mac);
                    prop_assert_eq!(found, model.get(&h).map(|entry| mac(entry.0)));
                }
            }
            prop_assert_eq!(neighbors.len() as usize, model.len());
        }
    }
}

#[test]
fn readers_never_see_a_mac_that_is_not_the_neighbours_while_slots_are_reused() {
    let neighbors = Neighbors::new(8, Timers::default(), 1);
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = 0u64;
            while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
                for last in 0..32 {
                    if let Some(neighbor) = known(&neighbors, last, 0) {
                        assert_eq!(neighbor.mac, mac(last));
                        seen += 1;
                    }
                }
            }
            seen
        });
        for round in 0..200_000u32 {
            let last = u8::try_from(round % 32).unwrap();
            learn(&neighbors, last, Claim::asking(mac(last)), u64::from(round));
            if round % 3 == 0 {
                neighbors.remove(BRIDGE, host(last));
            }
        }
        is_done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
}

#[test]
fn who_is_kept_is_asked_after_before_it_is_stale() {
    let (neighbors, mut resolver) = (neighbors(), Resolver::new(8));
    let next = NextHop { bridge: BRIDGE, ip: host(1) };
    assert_eq!(resolve(&mut resolver, &neighbors, 1, 0), Resolution::Pending);
    assert_eq!(due(&mut resolver, &neighbors, 1).len(), 1);
    learn(&neighbors, 1, Claim::answering(mac(1)), 2);
    due(&mut resolver, &neighbors, 3);
    let version = known(&neighbors, 1, 3).unwrap().version;
    assert_eq!(neighbors.lasts(version, at(1000)), Some((next, at(30_003))));
    resolver.seek(&neighbors, next, at(20_000));
    assert!(resolver.is_idle());
    resolver.seek(&neighbors, next, at(20_500));
    assert_eq!(due(&mut resolver, &neighbors, 20_500), [Some(mac(1))]);
    assert_eq!(neighbors.lasts(version, at(20_600)), Some((next, at(24_501))));
    learn(&neighbors, 1, Claim::answering(mac(1)), 20_700);
    assert_eq!(neighbors.lasts(version, at(20_700)), Some((next, at(50_701))));
    assert_eq!(neighbors.lasts(version, at(50_701)), None);
    learn(&neighbors, 1, Claim::answering(mac(2)), 20_800);
    assert_eq!(neighbors.lasts(version, at(20_800)), None);
    let stranger = NextHop { bridge: BRIDGE, ip: host(9) };
    resolver.seek(&neighbors, stranger, at(20_900));
    assert_eq!(state(&neighbors, 9, 20_900), Some(NeighborState::Incomplete));
}
