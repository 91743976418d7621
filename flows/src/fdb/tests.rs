//! The database against a plain map, and its rules one by one.

use std::collections::HashMap;

use pktio::wire::MacAddr;
use proptest::prelude::*;

use super::{Fdb, Learned, Limits};
use crate::{PortIndex, Seconds, Vid};

const AGEING: u32 = 300;
const LIMITS: Limits = Limits { bridge: 8192, port: 8192 };

fn mac(number: u32) -> MacAddr {
    MacAddr::from_bits(0x0200_0000_0000 | u64::from(number))
}

fn fdb() -> Fdb {
    Fdb::new(8192, AGEING, 42)
}

fn learn(fdb: &Fdb, number: u32, port: u16, now: u32) -> Learned {
    fdb.learn(mac(number), Vid(0), PortIndex(port), Seconds(now), LIMITS)
}

fn lookup(fdb: &Fdb, number: u32, now: u32) -> Option<PortIndex> {
    fdb.lookup(mac(number), Vid(0), Seconds(now))
}

/// An operation on the database, and on the map that is its model.
#[derive(Debug, Clone)]
enum Step {
    Learn(u32, u16, u16),
    Lookup(u32, u16),
    Remove(u32, u16),
    Static(u32, u16, u16),
    FlushPort(u16),
    Sweep,
    Wait(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let station = 0u32..40;
    let step = prop_oneof![
        4 => (station.clone(), 0u16..3, 0u16..5).prop_map(|(m, v, p)| Step::Learn(m, v, p)),
        3 => (station.clone(), 0u16..3).prop_map(|(m, v)| Step::Lookup(m, v)),
        1 => (station.clone(), 0u16..3).prop_map(|(m, v)| Step::Remove(m, v)),
        1 => (station, 0u16..3, 0u16..5).prop_map(|(m, v, p)| Step::Static(m, v, p)),
        1 => (0u16..5).prop_map(Step::FlushPort),
        1 => Just(Step::Sweep),
        1 => (0u32..400).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn the_database_behaves_as_a_map_with_ages(steps in steps()) {
        let fdb = fdb();
        // (port, seen, static)
        let mut model: HashMap<(u32, u16), (u16, u32, bool)> = HashMap::new();
        let mut now = 0;
        for step in steps {
            let alive = |entry: &(u16, u32, bool)| entry.2 || now - entry.1 <= AGEING;
            match step {
                Step::Learn(m, v, p) => {
                    fdb.learn(mac(m), Vid(v), PortIndex(p), Seconds(now), LIMITS);
                    let entry = model.entry((m, v)).or_insert((p, now, false));
                    if !entry.2 {
                        *entry = (p, now, false);
                    }
                }
                Step::Lookup(m, v) => {
                    let expected = model.get(&(m, v)).filter(|e| alive(e)).map(|e| PortIndex(e.0));
                    prop_assert_eq!(fdb.lookup(mac(m), Vid(v), Seconds(now)), expected);
                }
                Step::Remove(m, v) => {
                    fdb.remove(mac(m), Vid(v));
                    model.remove(&(m, v));
                }
                Step::Static(m, v, p) => {
                    prop_assert!(fdb.add_static(mac(m), Vid(v), PortIndex(p)));
                    model.insert((m, v), (p, 0, true));
                }
                Step::FlushPort(p) => {
                    fdb.flush(Seconds(now), |entry| entry.port == PortIndex(p));
                    model.retain(|_, entry| entry.0 != p);
                }
                Step::Sweep => {
                    let mut from = fdb.sweep(Seconds(now), 0, 100);
                    while from != 0 {
                        from = fdb.sweep(Seconds(now), from, 100);
                    }
                    model.retain(|_, entry| alive(entry));
                    let learned = model.values().filter(|entry| !entry.2).count();
                    prop_assert_eq!(fdb.len() as usize, learned);
                }
                Step::Wait(seconds) => now += seconds,
            }
        }
        let alive = model.values().filter(|e| e.2 || now - e.1 <= AGEING).count();
        prop_assert_eq!(fdb.entries(Seconds(now)).len(), alive);
    }
}

#[test]
fn a_station_ages_out_exactly_when_its_time_is_over() {
    let fdb = fdb();
    learn(&fdb, 1, 1, 10);
    assert_eq!(lookup(&fdb, 1, 10 + AGEING), Some(PortIndex(1)));
    assert_eq!(lookup(&fdb, 1, 11 + AGEING), None);
    assert_eq!(learn(&fdb, 1, 2, 500), Learned::Moved, "an aged entry is renewed in place");
    assert_eq!(lookup(&fdb, 1, 500), Some(PortIndex(2)));
}

#[test]
fn a_frame_refreshes_its_station() {
    let fdb = fdb();
    learn(&fdb, 1, 1, 0);
    learn(&fdb, 1, 1, 200);
    assert_eq!(lookup(&fdb, 1, 400), Some(PortIndex(1)));
}

#[test]
fn a_station_moves_and_the_move_is_counted() {
    let fdb = fdb();
    assert_eq!(learn(&fdb, 1, 1, 0), Learned::New);
    assert_eq!(learn(&fdb, 1, 1, 0), Learned::Known);
    assert_eq!(learn(&fdb, 1, 2, 0), Learned::Moved);
    assert_eq!((fdb.events().learned, fdb.events().moved), (1, 1));
}

#[test]
fn a_static_station_neither_ages_nor_moves() {
    let fdb = fdb();
    assert!(fdb.add_static(mac(1), Vid(0), PortIndex(1)));
    assert_eq!(learn(&fdb, 1, 2, 0), Learned::Static);
    assert_eq!(lookup(&fdb, 1, 1_000_000), Some(PortIndex(1)));
}

#[test]
fn limits_of_port_and_bridge_are_kept() {
    let fdb = fdb();
    let limits = Limits { bridge: 5, port: 3 };
    let learn = |number, port| fdb.learn(mac(number), Vid(0), PortIndex(port), Seconds(0), limits);
    assert!((0..3).all(|number| learn(number, 1) == Learned::New));
    assert_eq!(learn(3, 1), Learned::Refused);
    assert_eq!((learn(4, 2), learn(5, 2)), (Learned::New, Learned::New));
    assert_eq!(learn(6, 3), Learned::Refused);
    assert_eq!(fdb.events().refused, 2);
    fdb.remove(mac(0), Vid(0));
    assert_eq!(learn(7, 1), Learned::New, "a freed place can be taken");
}

#[test]
fn vlans_learn_independently() {
    let fdb = fdb();
    fdb.learn(mac(1), Vid(10), PortIndex(1), Seconds(0), LIMITS);
    fdb.learn(mac(1), Vid(20), PortIndex(2), Seconds(0), LIMITS);
    assert_eq!(fdb.lookup(mac(1), Vid(10), Seconds(0)), Some(PortIndex(1)));
    assert_eq!(fdb.lookup(mac(1), Vid(20), Seconds(0)), Some(PortIndex(2)));
    assert_eq!(fdb.lookup(mac(1), Vid(30), Seconds(0)), None);
}

#[test]
fn a_table_at_its_limit_holds_every_station() {
    let fdb = fdb();
    let learned = (0..8192).filter(|number| learn(&fdb, *number, 1, 0) == Learned::New).count();
    assert_eq!(learned, 8192);
    assert!((0..8192).all(|number| lookup(&fdb, number, 0) == Some(PortIndex(1))));
}

#[test]
fn another_database_takes_over_what_is_alive() {
    let old = fdb();
    learn(&old, 1, 1, 0);
    learn(&old, 2, 1, 400);
    let new = Fdb::new(100, 60, 7);
    new.take_over(&old, Seconds(420));
    assert_eq!(lookup(&new, 1, 420), None);
    assert_eq!(lookup(&new, 2, 420), Some(PortIndex(1)));
}

#[test]
fn a_location_holds_until_the_station_moves_or_goes_and_no_longer_than_it_lives() {
    let fdb = fdb();
    let locate = |number, now| fdb.locate(mac(number), Vid(0), Seconds(now));
    assert_eq!(locate(1, 5), None);
    learn(&fdb, 1, 3, 5);
    let first = locate(1, 7).unwrap();
    assert_eq!((first.port, first.until), (PortIndex(3), Seconds(5 + AGEING)));
    assert_eq!(locate(1, 6 + AGEING), None);
    // Others come, and it is heard: nothing that is remembered becomes wrong.
    learn(&fdb, 2, 3, 6);
    learn(&fdb, 1, 3, 8);
    assert_eq!(fdb.revision(), first.revision);
    assert_eq!(locate(1, 8).unwrap().until, Seconds(8 + AGEING));
    learn(&fdb, 1, 4, 9);
    assert_ne!(fdb.revision(), first.revision);
    let second = locate(1, 9).unwrap();
    assert_eq!((second.port, second.revision), (PortIndex(4), fdb.revision()));
    assert!(fdb.remove(mac(1), Vid(0)));
    assert_ne!(fdb.revision(), second.revision);
    assert!(fdb.add_static(mac(1), Vid(0), PortIndex(6)));
    assert_eq!(locate(1, 9).unwrap().until, Seconds(u32::MAX));
}

#[test]
fn a_station_that_somebody_else_heard_is_younger_and_stays_where_it_is() {
    let fdb = fdb();
    learn(&fdb, 1, 3, 100);
    fdb.refresh(mac(1), Vid(0), PortIndex(3), Seconds(350));
    fdb.refresh(mac(1), Vid(0), PortIndex(3), Seconds(200));
    fdb.refresh(mac(1), Vid(0), PortIndex(4), Seconds(600));
    fdb.refresh(mac(2), Vid(0), PortIndex(3), Seconds(600));
    assert_eq!(lookup(&fdb, 1, 350 + AGEING), Some(PortIndex(3)));
    assert_eq!(lookup(&fdb, 1, 351 + AGEING), None);
    assert_eq!(lookup(&fdb, 2, 600), None);
}

#[test]
fn a_station_is_unknown_from_its_end_on() {
    let fdb = fdb();
    learn(&fdb, 1, 3, 100);
    let station = fdb.find(mac(1), Vid(0), Seconds(250)).unwrap();
    let end = fdb.end_of(&station, Seconds(250)).seconds();
    assert_eq!(lookup(&fdb, 1, end.0 - 1), Some(PortIndex(3)));
    assert_eq!(lookup(&fdb, 1, end.0), None);
    assert!(fdb.add_static(mac(2), Vid(0), PortIndex(3)));
    let fixed = fdb.find(mac(2), Vid(0), Seconds(250)).unwrap();
    assert_eq!(fdb.end_of(&fixed, Seconds(250)).as_nanos(), u64::MAX);
}
