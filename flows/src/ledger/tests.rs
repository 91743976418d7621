use std::collections::BTreeMap;

use pktio::{Pool, PoolConfig};
use proptest::prelude::*;

use super::*;

const POOL: PoolConfig = PoolConfig { small: 4, slabs: 1 };

fn drop_one(ledger: &mut Ledger, pool: &mut Pool, kind: Kind, at: u64) {
    let frame = pool.frame_from(&at.to_be_bytes()).unwrap();
    ledger.drop_frame(pool, frame, kind, Nanos::from_secs(at));
}

/// What is remembered: when, and the first bytes.
fn remembered(ledger: &Ledger) -> BTreeMap<(u16, bool, usize), (Nanos, Vec<u8>)> {
    let key = |o: &Offender| (o.port.0, o.side == DropSide::Egress, o.reason as usize);
    ledger.offenders().iter().map(|o| (key(o), (o.at, o.headers().to_vec()))).collect()
}

#[test]
fn a_flood_of_one_kind_makes_no_other_forgotten() {
    let (mut ledger, mut pool) = (Ledger::new(), Pool::new(POOL).unwrap());
    let rare = (PortIndex(1), DropSide::Ingress, DropReason::InvalidSource);
    drop_one(&mut ledger, &mut pool, rare, 1);
    for at in 2..2000 {
        let flood = (PortIndex(2), DropSide::Egress, DropReason::TxQueueFull);
        drop_one(&mut ledger, &mut pool, flood, at);
    }
    assert!(ledger.offenders().iter().any(|offender| offender.kind() == rare));
    assert_eq!(ledger.offenders().len(), 2);
}

#[test]
fn more_kinds_than_fit_displace_the_oldest_and_nothing_breaks() {
    let (mut ledger, mut pool) = (Ledger::new(), Pool::new(POOL).unwrap());
    for port in 0..1000 {
        let kind = (PortIndex(port), DropSide::Ingress, DropReason::Runt);
        drop_one(&mut ledger, &mut pool, kind, u64::from(port));
    }
    let ports: Vec<_> = remembered(&ledger).keys().map(|(port, ..)| *port).collect();
    assert_eq!(ports, (744..1000).collect::<Vec<_>>());
}

#[test]
fn what_the_kernel_refused_is_counted_with_its_time() {
    let mut ledger = Ledger::new();
    ledger.note_refused(PortIndex(3), DropReason::TxRefused, 0, Nanos::from_secs(1));
    assert!(ledger.offenders().is_empty());
    ledger.note_refused(PortIndex(3), DropReason::TxRefused, 5, Nanos::from_secs(2));
    let last = ledger.offenders()[0];
    assert_eq!(
        (last.at, last.reason, last.headers()),
        (Nanos::from_secs(2), DropReason::TxRefused, &[][..])
    );
    assert_eq!(ledger.port(PortIndex(3)).egress_dropped(), 5);
}

#[test]
fn lost_frames_are_kept_while_there_is_room_and_somebody_wants_them() {
    let (mut ledger, mut pool) = (Ledger::new(), Pool::new(POOL).unwrap());
    let kind = (PortIndex(1), DropSide::Ingress, DropReason::Runt);
    drop_one(&mut ledger, &mut pool, kind, 1);
    assert_eq!(ledger.take_kept().count(), 0, "nobody wants them");
    ledger.keep(2);
    (2..5).for_each(|at| drop_one(&mut ledger, &mut pool, kind, at));
    let kept: Vec<_> = ledger.take_kept().collect();
    let bytes: Vec<_> = kept.iter().map(|lost| lost.frame.data().to_vec()).collect();
    assert_eq!(bytes, [2u64, 3].map(|at| at.to_be_bytes().to_vec()), "the first ones, in order");
    assert!(kept.iter().all(|lost| (lost.port, lost.side, lost.reason) == kind));
    kept.into_iter().for_each(|lost| pool.recycle(lost.frame));
    drop_one(&mut ledger, &mut pool, kind, 5);
    assert_eq!(ledger.take_kept().count(), 1, "there is room again");
    ledger.keep(0);
    drop_one(&mut ledger, &mut pool, kind, 6);
    assert_eq!(ledger.take_kept().count(), 0);
    assert_eq!(ledger.port(PortIndex(1)).ingress_dropped(), 6, "all of them are counted");
}

#[test]
fn the_last_frames_of_removed_ports_are_remembered_by_side_and_reason() {
    let (mut ledger, mut pool) = (Ledger::new(), Pool::new(POOL).unwrap());
    let runt = |port| (PortIndex(port), DropSide::Ingress, DropReason::Runt);
    let full = (PortIndex(2), DropSide::Egress, DropReason::TxQueueFull);
    for (kind, at) in [(runt(1), 4), (runt(2), 3), (full, 5), (runt(3), 6)] {
        drop_one(&mut ledger, &mut pool, kind, at);
    }
    [1, 2].into_iter().for_each(|port| ledger.forget(PortIndex(port)));
    let of = |ledger: &Ledger| {
        let mut all: Vec<_> = ledger.departed().iter().map(|o| (o.at, o.reason as usize)).collect();
        all.sort_unstable();
        all
    };
    let second = Nanos::from_secs;
    let expected = [(second(4), DropReason::Runt), (second(5), DropReason::TxQueueFull)];
    assert_eq!(of(&ledger), expected.map(|(at, reason)| (at, reason as usize)));
    assert_eq!(ledger.offenders().len(), 1, "that of the port that is there");
    let mut copy = Ledger::new();
    copy.copy_from(&ledger);
    let mut other = Ledger::new();
    drop_one(&mut other, &mut pool, runt(1), 9);
    other.forget(PortIndex(1));
    copy.add(&other);
    let expected = [(second(5), DropReason::TxQueueFull), (second(9), DropReason::Runt)];
    assert_eq!(of(&copy), expected.map(|(at, reason)| (at, reason as usize)), "of all workers");
}

proptest! {
    /// Against a map of the last one of each kind, with ports that are forgotten in between.
    #[test]
    fn the_last_of_every_kind_is_remembered(
        drops in prop::collection::vec((0u16..6, any::<bool>(), 0usize..DropReason::COUNT, 0u8..20), 0..300)
    ) {
        let (mut ledger, mut pool) = (Ledger::new(), Pool::new(POOL).unwrap());
        let mut model: BTreeMap<(u16, bool, usize), (Nanos, Vec<u8>)> = BTreeMap::new();
        for (at, (port, egress, reason, dice)) in (0u64..).zip(drops) {
            let side = if egress { DropSide::Egress } else { DropSide::Ingress };
            if dice == 0 {
                ledger.forget(PortIndex(port));
                model.retain(|(other, ..), _| *other != port);
            } else {
                drop_one(&mut ledger, &mut pool, (PortIndex(port), side, DropReason::ALL[reason]), at);
                let bytes = at.to_be_bytes().to_vec();
                model.insert((port, egress, reason), (Nanos::from_secs(at), bytes));
            }
        }
        prop_assert_eq!(remembered(&ledger), model);
    }
}
