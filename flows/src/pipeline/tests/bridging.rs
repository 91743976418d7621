//! Bridging by tables and properties: what comes in, in which form, and what goes out where.

use std::sync::Arc;

use pktio::wire::MacAddr;
use pktio::{Burst, Csum, Gso, Pool, PoolConfig};
use proptest::prelude::*;

use crate::Pipeline;
use crate::{
    BridgeDomain, BridgeIndex, DropReason, Fdb, Generation, Horizon, Ledger, Nanos, Outboxes,
    PortConfig, PortIndex, Snapshot, Vid, VlanPolicy,
};

mod offers;
mod rules;
mod tunnels;

const POOL: PoolConfig = PoolConfig { small: 512, slabs: 16 };

fn station(number: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, number])
}

/// A pipeline and everything around it.
struct Rig {
    pipeline: Pipeline,
    pool: Pool,
    outboxes: Outboxes,
    ledger: Ledger,
}

fn plain(bridge: u16) -> PortConfig {
    PortConfig { mac_limit: 100, ..PortConfig::new(BridgeIndex(bridge)) }
}

fn aware(vlan: VlanPolicy) -> PortConfig {
    PortConfig { vlan, ..plain(0) }
}

fn trunk(allowed: &[u16], native: Option<u16>) -> VlanPolicy {
    let allowed = Arc::new(allowed.iter().map(|vid| Vid(*vid)).collect());
    VlanPolicy::Trunk { allowed, native: native.map(Vid) }
}

impl Rig {
    fn new(ports: Vec<PortConfig>) -> Self {
        let domain = || BridgeDomain::new(Arc::new(Fdb::new(1000, 300, 1)), 1000);
        let ports = ports.into_iter().map(Some).collect();
        let bridges = (0..3).map(|_| Some(domain())).collect();
        let snapshot = Snapshot::new(Generation(1), ports, bridges).unwrap();
        Self {
            pipeline: Pipeline::new(Arc::new(snapshot), Arc::default()),
            pool: Pool::new(POOL).unwrap(),
            outboxes: Outboxes::new(),
            ledger: Ledger::new(),
        }
    }

    fn run(&mut self, ingress: u16, burst: &mut Burst) {
        self.pipeline.run(
            Nanos::from_secs(1),
            PortIndex(ingress),
            burst,
            &mut self.pool,
            &mut self.outboxes,
            &mut self.ledger,
        );
    }

    /// Gives one frame to the pipeline, and returns what it put into which outbox.
    fn send(&mut self, ingress: u16, bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
        let mut burst = Burst::new();
        burst.push(self.pool.frame_from(bytes).unwrap());
        self.run(ingress, &mut burst);
        self.collect()
    }

    /// Empties the outboxes, as a worker that transmits everything.
    fn collect(&mut self) -> Vec<(u16, Vec<u8>)> {
        let mut out = Vec::new();
        while let Some(port) = self.outboxes.next_dirty() {
            for frame in self.outboxes.of(port).drain(..) {
                self.ledger.port_mut(port).transmitted += 1;
                out.push((port.0, frame.data().to_vec()));
            }
        }
        self.ledger.reconcile().unwrap();
        out.sort();
        out
    }

    fn drops(&self, port: u16, reason: DropReason) -> u64 {
        self.ledger.port(PortIndex(port)).ingress_drops[reason as usize]
    }
}

fn frame(dst: MacAddr, src: MacAddr, tag: Option<u16>) -> Vec<u8> {
    let mut bytes = [dst.0, src.0].concat();
    if let Some(tag) = tag {
        bytes.extend([0x81, 0x00]);
        bytes.extend(tag.to_be_bytes());
    }
    bytes.extend([0x88, 0xb5]);
    bytes.extend([0x5a; 50]);
    bytes
}

fn ports_of(out: &[(u16, Vec<u8>)]) -> Vec<u16> {
    out.iter().map(|(port, _)| *port).collect()
}

#[test]
fn an_unknown_destination_is_flooded_and_a_known_one_is_not() {
    let mut rig = Rig::new(vec![plain(0), plain(0), plain(0)]);
    assert_eq!(ports_of(&rig.send(0, &frame(station(2), station(1), None))), [1, 2]);
    assert_eq!(ports_of(&rig.send(1, &frame(station(1), station(2), None))), [0]);
    assert_eq!(ports_of(&rig.send(0, &frame(station(2), station(1), None))), [1]);
}

#[test]
fn broadcast_and_multicast_go_to_all_others() {
    let mut rig = Rig::new(vec![plain(0), plain(0), plain(0)]);
    for dst in [MacAddr::BROADCAST, MacAddr([1, 0, 0x5e, 0, 0, 1])] {
        assert_eq!(ports_of(&rig.send(0, &frame(dst, station(1), None))), [1, 2]);
    }
}

#[test]
fn a_moved_station_is_found_at_its_new_port() {
    let mut rig = Rig::new(vec![plain(0), plain(0), plain(0)]);
    rig.send(0, &frame(MacAddr::BROADCAST, station(1), None));
    rig.send(1, &frame(MacAddr::BROADCAST, station(1), None));
    assert_eq!(ports_of(&rig.send(2, &frame(station(1), station(3), None))), [1]);
}

#[test]
fn nothing_is_reflected_unless_by_hairpin() {
    let hairpin = PortConfig { hairpin: true, ..plain(0) };
    for (port, expected) in [(plain(0), vec![]), (hairpin, vec![0])] {
        let mut rig = Rig::new(vec![port, plain(0)]);
        rig.send(0, &frame(MacAddr::BROADCAST, station(1), None));
        let out = rig.send(0, &frame(station(1), station(2), None));
        assert_eq!(ports_of(&out), expected);
    }
}

#[test]
fn reserved_groups_and_invalid_sources_are_dropped_with_their_reasons() {
    let mut rig = Rig::new(vec![plain(0), plain(0)]);
    let reserved = MacAddr([1, 0x80, 0xc2, 0, 0, 0x0e]);
    assert!(rig.send(0, &frame(reserved, station(1), None)).is_empty());
    assert!(rig.send(0, &frame(station(2), MacAddr::BROADCAST, None)).is_empty());
    assert!(rig.send(0, &frame(station(2), MacAddr::default(), None)).is_empty());
    assert!(rig.send(0, &[1, 2, 3]).is_empty());
    assert_eq!(rig.drops(0, DropReason::ReservedGroup), 1);
    assert_eq!(rig.drops(0, DropReason::InvalidSource), 2);
    assert_eq!(rig.drops(0, DropReason::Runt), 1);
    // The first address beyond the reserved ones is an ordinary group.
    let ordinary = MacAddr([1, 0x80, 0xc2, 0, 0, 0x10]);
    assert_eq!(ports_of(&rig.send(0, &frame(ordinary, station(1), None))), [1]);
}

#[test]
fn isolated_ports_do_not_reach_each_other() {
    let isolated = PortConfig { horizon: Horizon::Isolated, ..plain(0) };
    let mut rig = Rig::new(vec![isolated.clone(), isolated, plain(0)]);
    rig.send(1, &frame(MacAddr::BROADCAST, station(2), None));
    assert_eq!(ports_of(&rig.send(0, &frame(MacAddr::BROADCAST, station(1), None))), [2]);
    assert!(rig.send(0, &frame(station(2), station(1), None)).is_empty());
    assert_eq!(rig.drops(0, DropReason::Isolated), 1);
}

#[test]
fn bridges_share_nothing() {
    let mut rig = Rig::new(vec![plain(0), plain(1), plain(1)]);
    assert!(rig.send(0, &frame(MacAddr::BROADCAST, station(1), None)).is_empty());
    assert_eq!(ports_of(&rig.send(1, &frame(station(1), station(2), None))), [2]);
    assert_eq!(rig.drops(0, DropReason::NoDestination), 1);
}

/// Every way to come in, with the VLAN in which the frame then is.
#[test]
fn frames_are_classified_by_port_and_tag() {
    use DropReason::{UntaggedNotAllowed, VlanNotAllowed};
    let access = || VlanPolicy::Access(Vid(10));
    let table: [(VlanPolicy, Option<u16>, Result<u16, DropReason>); 10] = [
        (access(), None, Ok(10)),
        (access(), Some(0x6000), Ok(10)),
        (access(), Some(10), Ok(10)),
        (access(), Some(20), Err(VlanNotAllowed)),
        (trunk(&[10, 20], None), Some(20), Ok(20)),
        (trunk(&[10, 20], None), Some(30), Err(VlanNotAllowed)),
        (trunk(&[10, 20], None), None, Err(UntaggedNotAllowed)),
        (trunk(&[10, 20], Some(30)), None, Ok(30)),
        (trunk(&[10, 20], Some(30)), Some(0), Ok(30)),
        (trunk(&[10, 20], Some(30)), Some(30), Ok(30)),
    ];
    for (policy, tag, expected) in table {
        let mut rig = Rig::new(vec![aware(policy.clone()), aware(trunk(&[10, 20, 30], None))]);
        let out = rig.send(0, &frame(MacAddr::BROADCAST, station(1), tag));
        match expected {
            Ok(vid) => {
                assert_eq!(out.len(), 1, "{policy:?} {tag:?}");
                assert_eq!(u16::from_be_bytes([out[0].1[14], out[0].1[15]]) & 0xfff, vid);
            }
            Err(reason) => {
                assert!(out.is_empty(), "{policy:?} {tag:?}");
                assert_eq!(rig.drops(0, reason), 1, "{policy:?} {tag:?}");
            }
        }
    }
}

/// Every form in which a frame can leave.
#[test]
fn frames_leave_in_the_form_of_the_egress_port() {
    let untagged = frame(MacAddr::BROADCAST, station(1), None);
    let tagged = |tag| frame(MacAddr::BROADCAST, station(1), Some(tag));
    let table = [
        (VlanPolicy::Access(Vid(10)), untagged.clone()),
        (trunk(&[10], None), tagged(10)),
        (trunk(&[10], Some(10)), untagged.clone()),
    ];
    for (policy, expected) in table {
        let mut rig = Rig::new(vec![aware(VlanPolicy::Access(Vid(10))), aware(policy)]);
        assert_eq!(rig.send(0, &untagged), [(1, expected)]);
    }
    // The priority of a tag survives; on a port without VLANs everything does.
    let mut rig = Rig::new(vec![aware(trunk(&[10], None)), aware(trunk(&[10], None))]);
    assert_eq!(rig.send(0, &tagged(0xa00a)), [(1, tagged(0xa00a))]);
    let mut rig = Rig::new(vec![aware(VlanPolicy::Access(Vid(10))), aware(trunk(&[10], None))]);
    assert_eq!(rig.send(0, &tagged(0xa000)), [(1, tagged(0xa00a))]);
    let mut rig = Rig::new(vec![plain(0), plain(0)]);
    assert_eq!(rig.send(0, &tagged(0xa123)), [(1, tagged(0xa123))]);
}

#[test]
fn a_service_tag_is_payload_to_a_vlan_aware_port() {
    let mut bytes = frame(MacAddr::BROADCAST, station(1), Some(7));
    bytes[12..14].copy_from_slice(&[0x88, 0xa8]);
    let mut rig = Rig::new(vec![aware(VlanPolicy::Access(Vid(10))), aware(trunk(&[10], None))]);
    let out = rig.send(0, &bytes);
    assert_eq!(out[0].1[12..20], [0x81, 0, 0, 10, 0x88, 0xa8, 0, 7]);
}

#[test]
fn frames_are_measured_against_the_egress_mtu_without_their_tags() {
    let small = PortConfig { mtu_bytes: 100, ..plain(0) };
    let mut rig = Rig::new(vec![plain(0), small]);
    let of = |payload: usize, tag: Option<u16>| {
        let mut bytes = frame(MacAddr::BROADCAST, station(1), tag);
        bytes.resize(bytes.len() - 50 + payload, 0);
        bytes
    };
    assert_eq!(rig.send(0, &of(100, None)).len(), 1);
    assert_eq!(rig.send(0, &of(100, Some(5))).len(), 1);
    assert_eq!(rig.send(0, &of(101, None)).len(), 0);
    assert_eq!(rig.drops(0, DropReason::Oversized), 1);
}

#[test]
fn a_super_frame_is_measured_by_its_segments() {
    let mut rig = Rig::new(vec![plain(0), plain(0)]);
    for (mss, expected) in [(1448, 1), (1449, 0)] {
        let mut bytes = [MacAddr::BROADCAST.0, station(1).0].concat();
        bytes.extend([8, 0]);
        bytes.resize(10_000, 0);
        bytes[34 + 12] = 0x80; // TCP header of 32 bytes
        let mut frame = rig.pool.frame_from(&bytes).unwrap();
        frame.offload.csum = Csum::Partial { start: 34, offset: 16 };
        frame.offload.gso = Gso::Tcp4 { mss };
        let mut burst = Burst::new();
        burst.push(frame);
        rig.run(0, &mut burst);
        assert_eq!(rig.collect().len(), expected, "mss {mss}");
    }
}

#[test]
fn a_tag_moves_the_checksum_position_along() {
    let mut rig = Rig::new(vec![aware(VlanPolicy::Access(Vid(10))), aware(trunk(&[10], None))]);
    let mut frame = rig.pool.frame_from(&frame(MacAddr::BROADCAST, station(1), None)).unwrap();
    frame.offload.csum = Csum::Partial { start: 34, offset: 16 };
    let mut burst = Burst::new();
    burst.push(frame);
    rig.run(0, &mut burst);
    let port = rig.outboxes.next_dirty().unwrap();
    assert_eq!(rig.outboxes.of(port)[0].offload.csum, Csum::Partial { start: 38, offset: 16 });
}

#[test]
fn a_flood_without_buffers_is_accounted_for() {
    let mut rig = Rig::new(vec![plain(0), plain(0), plain(0), plain(0)]);
    let mut burst = Burst::new();
    burst.push(rig.pool.frame_from(&frame(MacAddr::BROADCAST, station(1), None)).unwrap());
    let kept: Vec<_> = std::iter::from_fn(|| rig.pool.take_small()).collect();
    rig.run(0, &mut burst);
    assert_eq!(rig.collect().len(), 1);
    let lost: u64 = (1..4)
        .map(|port| rig.ledger.port(PortIndex(port)).egress_drops[DropReason::NoBuffer as usize])
        .sum();
    assert_eq!(lost, 2);
    drop(kept);
}

fn policies() -> impl Strategy<Value = VlanPolicy> {
    prop_oneof![
        Just(VlanPolicy::Unaware),
        (1u16..4).prop_map(|vid| VlanPolicy::Access(Vid(vid))),
        (1u16..4, prop::option::of(1u16..4)).prop_map(|(vid, native)| trunk(&[vid], native)),
    ]
}

fn configs() -> impl Strategy<Value = PortConfig> {
    (0u16..2, policies(), any::<bool>(), any::<bool>(), 60u32..200).prop_map(
        |(bridge, vlan, isolated, hairpin, mtu_bytes)| PortConfig {
            vlan,
            horizon: if isolated { Horizon::Isolated } else { Horizon::Open },
            hairpin,
            mtu_bytes,
            mac_limit: 3,
            ..PortConfig::new(BridgeIndex(bridge))
        },
    )
}

/// Frames among few stations, and any bytes.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let address = prop_oneof![
        (1u8..6).prop_map(station),
        Just(MacAddr::BROADCAST),
        Just(MacAddr([1, 0x80, 0xc2, 0, 0, 0])),
        any::<[u8; 6]>().prop_map(MacAddr),
    ];
    prop_oneof![
        (address.clone(), address, prop::option::of(any::<u16>()), 0usize..200).prop_map(
            |(dst, src, tag, length)| {
                let mut bytes = frame(dst, src, tag.map(|tag| tag & 0xe003));
                bytes.resize(bytes.len() + length, 0);
                bytes
            }
        ),
        prop::collection::vec(any::<u8>(), 0..80),
    ]
}

proptest! {
    #[test]
    fn every_frame_is_accounted_for_whatever_comes(
        ports in prop::collection::vec(configs(), 1..6),
        bursts in prop::collection::vec((0u16..7, prop::collection::vec(frames(), 1..20)), 1..10),
    ) {
        let count = u16::try_from(ports.len()).unwrap();
        let mut rig = Rig::new(ports.clone());
        for (ingress, frames) in bursts {
            let mut burst = Burst::new();
            for bytes in &frames {
                burst.push(rig.pool.frame_from(bytes).unwrap());
            }
            rig.run(ingress, &mut burst);
            prop_assert!(burst.is_empty());
            for (egress, _) in rig.collect() {
                prop_assert!(egress < count && ingress < count);
                let (from, to) = (&ports[usize::from(ingress)], &ports[usize::from(egress)]);
                prop_assert_eq!(from.bridge, to.bridge);
                prop_assert!(from.horizon == Horizon::Open || from.horizon != to.horizon);
                prop_assert!(egress != ingress || to.hairpin);
            }
        }
        rig.pool.reclaim();
        prop_assert_eq!(rig.pool.free(), POOL);
    }
}
