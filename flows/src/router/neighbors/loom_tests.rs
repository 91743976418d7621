//! The table under every interleaving of a reader and writers.

use loom::sync::Arc;
use pktio::wire::MacAddr;

use super::*;

const BRIDGE: BridgeIndex = BridgeIndex(1);
const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
const MAC_A: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const MAC_B: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const NOW: Nanos = Nanos::from_secs(1);

fn neighbors() -> Arc<Neighbors> {
    Arc::new(Neighbors::new(1, Timers::default(), 7))
}

/// What a lookup may say of a neighbour that only ever has one MAC.
fn assert_absent_or(neighbors: &Neighbors, ip: IpAddr, mac: MacAddr) {
    match neighbors.lookup(BRIDGE, ip, NOW) {
        Lookup::Known(found) => assert_eq!(found.mac, mac),
        other => assert_eq!(other, Lookup::Unknown),
    }
}

#[test]
fn loom_a_lookup_never_sees_another_neighbours_mac() {
    loom::model(|| {
        let neighbors = neighbors();
        neighbors.learn(BRIDGE, A, &Claim::asking(MAC_A), NOW);
        // Loom sees that a load could have come before a store, but not that a store after a load of the
        // same thread could have come before another thread's load: the reader is the one spawned.
        let reader = {
            let neighbors = Arc::clone(&neighbors);
            loom::thread::spawn(move || {
                assert_absent_or(&neighbors, A, MAC_A);
                assert_absent_or(&neighbors, B, MAC_B);
            })
        };
        // B takes the slot that A leaves.
        neighbors.remove(BRIDGE, A);
        neighbors.learn(BRIDGE, B, &Claim::asking(MAC_B), NOW);
        reader.join().unwrap();
        assert_eq!(neighbors.lookup(BRIDGE, A, NOW), Lookup::Unknown);
    });
}

#[test]
fn loom_a_confirmation_never_writes_to_a_reused_slot() {
    loom::model(|| {
        let neighbors = neighbors();
        neighbors.learn(BRIDGE, A, &Claim::asking(MAC_A), NOW);
        let other = {
            let neighbors = Arc::clone(&neighbors);
            loom::thread::spawn(move || {
                neighbors.learn(BRIDGE, A, &Claim::answering(MAC_A), NOW);
            })
        };
        neighbors.remove(BRIDGE, A);
        neighbors.learn(BRIDGE, B, &Claim::asking(MAC_B), NOW);
        other.join().unwrap();
        assert_absent_or(&neighbors, A, MAC_A);
        assert_absent_or(&neighbors, B, MAC_B);
    });
}

#[test]
fn loom_two_workers_learn_one_neighbour_once() {
    loom::model(|| {
        let neighbors = neighbors();
        let other = {
            let neighbors = Arc::clone(&neighbors);
            loom::thread::spawn(move || {
                neighbors.learn(BRIDGE, A, &Claim::asking(MAC_A), NOW);
            })
        };
        neighbors.learn(BRIDGE, A, &Claim::asking(MAC_A), NOW);
        other.join().unwrap();
        assert_eq!(neighbors.len(), 1);
        assert_absent_or(&neighbors, A, MAC_A);
    });
}

#[test]
fn loom_what_is_remembered_of_a_neighbour_that_changed_is_known_to_be_old() {
    loom::model(|| {
        let neighbors = neighbors();
        neighbors.learn(BRIDGE, A, &Claim::asking(MAC_A), NOW);
        neighbors.learn(BRIDGE, A, &Claim::answering(MAC_A), NOW);
        let Lookup::Known(Neighbor { version, .. }) = neighbors.lookup(BRIDGE, A, NOW) else {
            panic!("it is known")
        };
        let reader = {
            let neighbors = Arc::clone(&neighbors);
            loom::thread::spawn(move || {
                let revision = neighbors.revision();
                (neighbors.lasts(version, NOW).is_some(), revision)
            })
        };
        neighbors.learn(BRIDGE, A, &Claim::answering(MAC_B), NOW);
        let (lasts, revision) = reader.join().unwrap();
        assert!(!lasts || revision != neighbors.revision());
    });
}

#[test]
fn loom_one_of_two_workers_asks() {
    loom::model(|| {
        let neighbors = neighbors();
        neighbors.learn(BRIDGE, A, &Claim::asking(MAC_A), NOW);
        let other = {
            let neighbors = Arc::clone(&neighbors);
            loom::thread::spawn(move || neighbors.begin(BRIDGE, A, NOW))
        };
        let ours = neighbors.begin(BRIDGE, A, NOW);
        let theirs = other.join().unwrap();
        assert!(ours != theirs);
    });
}
