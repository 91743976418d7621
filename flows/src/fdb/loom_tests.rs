//! The table under every interleaving of a reader, a refresher and a writer.

use loom::sync::Arc;
use pktio::wire::MacAddr;

use super::{Fdb, Learned, Limits, Slot, key};
use crate::{PortIndex, Seconds, Vid};

const LIMITS: Limits = Limits { bridge: 100, port: 100 };
const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
/// At home in the slot that is A's home, and so in the slot that A leaves.
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 16]);

fn fdb() -> Arc<Fdb> {
    Arc::new(Fdb::new(1, 300, 7))
}

/// Every interleaving takes minutes; a lookup is torn by two changes of thread.
fn model(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(test);
}

/// The slot of a station that is there.
fn slot_of(fdb: &Fdb, mac: MacAddr) -> Option<Slot> {
    fdb.table.find(key(mac, Vid::NONE)).map(|(slot, _)| slot)
}

fn learn(fdb: &Fdb, mac: MacAddr, port: u16, now: u32) -> Learned {
    fdb.learn(mac, Vid::NONE, PortIndex(port), Seconds(now), LIMITS)
}

/// What a lookup may say of a station that is only ever at one port.
fn assert_absent_or_at(fdb: &Fdb, mac: MacAddr, port: u16) {
    let found = fdb.lookup(mac, Vid::NONE, Seconds(1));
    assert!(found.is_none() || found == Some(PortIndex(port)), "{found:?}");
}

#[test]
fn loom_a_lookup_never_sees_another_stations_port() {
    model(|| {
        let fdb = fdb();
        learn(&fdb, A, 1, 0);
        let slot = slot_of(&fdb, A);
        // Loom sees that a load could have come before a store, but not that a store after a load of the
        // same thread could have come before another thread's load: the reader is the one spawned.
        let reader = {
            let fdb = Arc::clone(&fdb);
            loom::thread::spawn(move || {
                assert_absent_or_at(&fdb, A, 1);
                assert_absent_or_at(&fdb, B, 2);
            })
        };
        // B takes the slot that A leaves.
        fdb.remove(A, Vid::NONE);
        learn(&fdb, B, 2, 0);
        reader.join().unwrap();
        assert_eq!(slot_of(&fdb, B), slot);
        assert_eq!(fdb.lookup(A, Vid::NONE, Seconds(1)), None);
        assert_eq!(fdb.lookup(B, Vid::NONE, Seconds(1)), Some(PortIndex(2)));
    });
}

#[test]
fn loom_a_refresh_never_writes_to_a_reused_slot() {
    model(|| {
        let fdb = fdb();
        learn(&fdb, A, 1, 0);
        let slot = slot_of(&fdb, A);
        let refresher = {
            let fdb = Arc::clone(&fdb);
            loom::thread::spawn(move || learn(&fdb, A, 1, 1))
        };
        fdb.remove(A, Vid::NONE);
        let learned = learn(&fdb, B, 2, 0);
        refresher.join().unwrap();
        if learned == Learned::Refused {
            // The other one was writing: the station's next frame does it.
            learn(&fdb, B, 2, 0);
        }
        assert_eq!(fdb.lookup(B, Vid::NONE, Seconds(1)), Some(PortIndex(2)));
        if slot_of(&fdb, A).is_none() {
            assert_eq!(slot_of(&fdb, B), slot);
        }
        assert_absent_or_at(&fdb, A, 1);
    });
}

#[test]
fn loom_two_workers_learn_one_station_once() {
    loom::model(|| {
        let fdb = fdb();
        let other = {
            let fdb = Arc::clone(&fdb);
            loom::thread::spawn(move || learn(&fdb, A, 1, 0))
        };
        learn(&fdb, A, 1, 0);
        other.join().unwrap();
        assert_eq!(fdb.len(), 1);
        assert_eq!(fdb.lookup(A, Vid::NONE, Seconds(1)), Some(PortIndex(1)));
    });
}

#[test]
fn loom_what_is_remembered_of_a_station_that_moved_is_known_to_be_old() {
    loom::model(|| {
        let fdb = fdb();
        learn(&fdb, A, 1, 0);
        let reader = {
            let fdb = Arc::clone(&fdb);
            loom::thread::spawn(move || fdb.locate(A, Vid::NONE, Seconds(1)))
        };
        learn(&fdb, A, 2, 1);
        let found = reader.join().unwrap().unwrap();
        assert!(found.port == PortIndex(2) || found.revision != fdb.revision(), "{found:?}");
    });
}
