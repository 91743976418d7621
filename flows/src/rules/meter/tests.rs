//! Limits: what passes, when, and to whose account.

use std::net::Ipv4Addr;

use pktio::wire::{Fragment, MacAddr};
use proptest::prelude::*;

use super::sources::Sources;
use super::{LimitSpec, Meter, Scope, Source, Unit};
use crate::rules::Packet;
use crate::{BridgeIndex, Endpoint, Nanos, PortIndex, Tuple, Vid};

fn meter(rate: u64, burst: u64, unit: Unit, scope: Scope) -> Meter {
    Meter::new(LimitSpec { rate, burst, unit, scope }, 0x5eed)
}

fn packet_from(source: u32) -> Packet {
    let endpoint = |address: u32| Endpoint::new(Ipv4Addr::from_bits(address), 7);
    Packet {
        ingress: PortIndex(1),
        bridge: BridgeIndex(0),
        source_mac: MacAddr([2, 0, 0, 0, 0, 1]),
        destination_mac: MacAddr([2, 0, 0, 0, 0, 2]),
        ethertype: 0x0800,
        vid: Vid::NONE,
        tuple: Some(Tuple { protocol: 17, source: endpoint(source), destination: endpoint(1) }),
        fragment: Fragment::Whole,
        tcp_flags: None,
        icmp: None,
        dscp: 0,
        state: None,
        vni: None,
    }
}

/// How many frames pass that come at once.
fn passing(meter: &Meter, source: Source, frames: u32, now: Nanos) -> usize {
    (0..frames).filter(|_| meter.take(source, 1, 60, now)).count()
}

#[test]
fn a_burst_passes_and_then_the_rate() {
    let meter = meter(1000, 10, Unit::Frames, Scope::Rule);
    let source = Source::EVERYBODY;
    assert_eq!(passing(&meter, source, 100, Nanos::from_secs(1)), 10);
    assert_eq!(passing(&meter, source, 100, Nanos::from_micros(1_000_990)), 0);
    assert_eq!(passing(&meter, source, 100, Nanos::from_micros(1_001_001)), 1);
    assert_eq!(passing(&meter, source, 100, Nanos::from_micros(1_005_002)), 4);
    assert_eq!(passing(&meter, source, 100, Nanos::from_secs(100)), 10);
}

#[test]
fn bits_are_counted_by_the_length_of_frames() {
    let meter = meter(8_000, 16_000, Unit::Bits, Scope::Rule);
    let take = |bytes, second| meter.take(Source::EVERYBODY, 1, bytes, Nanos::from_secs(second));
    assert!(take(1999, 1));
    assert!(!take(1000, 1));
    assert!(take(999, 2));
    assert!(!take(999, 2));
}

#[test]
fn a_frame_larger_than_the_burst_passes_a_full_bucket_and_is_paid_for() {
    let meter = meter(8_000, 8_000, Unit::Bits, Scope::Rule);
    let take = |bytes, second| meter.take(Source::EVERYBODY, 1, bytes, Nanos::from_secs(second));
    assert!(take(10_000, 1));
    assert!(!take(1, 10));
    assert!(take(100, 12));
}

#[test]
fn each_source_has_a_bucket_of_its_own() {
    let meter = meter(1, 5, Unit::Frames, Scope::Source);
    let now = Nanos::from_secs(10);
    let (one, other) = (meter.source(&packet_from(1)), meter.source(&packet_from(2)));
    assert_eq!(passing(&meter, one, 20, now), 5);
    assert_eq!(passing(&meter, other, 20, now), 5);
    assert_eq!(passing(&meter, one, 20, now), 0);
    let elsewhere = Packet { bridge: BridgeIndex(1), ..packet_from(1) };
    assert_eq!(passing(&meter, meter.source(&elsewhere), 20, now), 5);
    let station = Packet { tuple: None, ethertype: 0x0806, ..packet_from(1) };
    assert_eq!(passing(&meter, meter.source(&station), 20, now), 5);
}

#[test]
fn sources_without_number_are_limited_together_and_idle_ones_make_room() {
    let meter = meter(1, 1, Unit::Frames, Scope::Source);
    let all = u32::try_from(Sources::MOST).unwrap() * 10;
    let pass = |now| {
        (0..all).filter(|from| meter.take(meter.source(&packet_from(*from)), 1, 60, now)).count()
    };
    for second in [10, 20] {
        let passed = pass(Nanos::from_secs(second));
        assert!(passed > Sources::MOST * 9 / 10, "{passed}");
        assert!(passed <= Sources::MOST + 1, "{passed}");
    }
}

proptest! {
    #[test]
    fn never_more_than_burst_and_rate_allow(
        rate in prop_oneof![1u64..100, 1_000u64..1_000_000, 1_000_000_000u64..100_000_000_000],
        burst_frames in 1u64..50,
        bits in any::<bool>(),
        // Nanoseconds between frames, and their lengths.
        arrivals in prop::collection::vec((prop_oneof![0u64..2_000, 0u64..2_000_000_000], 64u64..1514), 1..300),
    ) {
        let (unit, burst) =
            if bits { (Unit::Bits, burst_frames * 1514 * 8) } else { (Unit::Frames, burst_frames) };
        let meter = meter(rate, burst, unit, Scope::Rule);
        let mut now = 0;
        // (when, how much) of what passed: any stretch of it is within the limit.
        let mut passed: Vec<(u64, u128)> = Vec::new();
        for (gap, bytes) in arrivals {
            now += gap;
            if meter.take(Source::EVERYBODY, 1, bytes, Nanos::from_nanos(now)) {
                passed.push((now, if bits { u128::from(bytes) * 8 } else { 1 }));
            }
        }
        for (from, (start, _)) in passed.iter().enumerate() {
            let mut sum = 0;
            for (end, units) in &passed[from..] {
                sum += units * 1_000_000_000;
                let allowed = u128::from(burst) * 1_000_000_000 + u128::from(rate) * u128::from(end - start);
                prop_assert!(sum <= allowed, "{sum} > {allowed}");
            }
        }
    }
}
