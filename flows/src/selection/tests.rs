use std::sync::Arc;

use etherparse::PacketBuilder;

use super::*;
use crate::rules::{AddressSet, RangeSet};
use crate::{BridgeDomain, BridgeIndex, Fdb, Generation, PortConfig, Vid, VlanPolicy, VlanSet};

const BRIDGE: BridgeIndex = BridgeIndex(0);
const ACCESS: PortIndex = PortIndex(0);
const TUNNEL: PortIndex = PortIndex(1);
const TRUNK: PortIndex = PortIndex(2);

fn snapshot() -> Snapshot {
    let domain = BridgeDomain::new(Arc::new(Fdb::new(8, 300, 1)), 8);
    let access = PortConfig { vlan: VlanPolicy::Access(Vid(10)), ..PortConfig::new(BRIDGE) };
    let tunnel = PortConfig { vni: Some(7), ..PortConfig::new(BRIDGE) };
    let allowed = Arc::new(VlanSet::from_iter([Vid(10)]));
    let vlan = VlanPolicy::Trunk { allowed, native: None };
    let trunk = PortConfig { vlan, ..PortConfig::new(BRIDGE) };
    let ports = [access, tunnel, trunk].map(Some).into();
    Snapshot::new(Generation(1), ports, vec![Some(domain)]).unwrap()
}

fn frame(vlan: Option<u16>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let ips = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let udp = match vlan {
        Some(vid) => builder.single_vlan(vid.try_into().unwrap()).ipv4(ips.0, ips.1, 64),
        None => builder.ipv4(ips.0, ips.1, 64),
    };
    udp.udp(4000, 53).write(&mut bytes, b"query").unwrap();
    bytes
}

/// Whether frames that are this are meant when they come in, and when they go out.
fn takes(matches: RuleMatch, port: PortIndex, frame: &[u8]) -> (bool, bool) {
    let selection = Selection { ports: None, matches: Some(matches) };
    let takes = |side| selection.takes((port, side), frame, &snapshot());
    (takes(DropSide::Ingress), takes(DropSide::Egress))
}

#[test]
fn a_frame_is_meant_by_what_it_is_where_it_is_seen() {
    let any = RuleMatch::default;
    let dns = RuleMatch {
        protocol: Some(17),
        destination: Some(AddressSet::from_iter([([10, 0, 0, 2].into(), 32)])),
        destination_ports: Some(RangeSet::from_iter([(53, 53)])),
        ..any()
    };
    assert_eq!(takes(dns.clone(), ACCESS, &frame(None)), (true, true));
    let web = RuleMatch { destination_ports: Some(RangeSet::from_iter([(80, 80)])), ..dns };
    assert_eq!(takes(web, ACCESS, &frame(None)), (false, false));
    let ingress = RuleMatch { ingress: Some(ACCESS), ..any() };
    assert_eq!(takes(ingress.clone(), ACCESS, &frame(None)), (true, false), "what comes in by it");
    assert_eq!(takes(ingress, TUNNEL, &frame(None)), (false, false));
    let vlan = RuleMatch { vid: Some(Vid(10)), ..any() };
    assert_eq!(takes(vlan.clone(), ACCESS, &frame(None)), (true, true), "without its tag");
    assert_eq!(takes(vlan, TRUNK, &frame(Some(10))), (true, true), "and with it");
    let vni = RuleMatch { vni: Some(7), ..any() };
    assert_eq!(takes(vni.clone(), TUNNEL, &frame(None)), (true, true));
    assert_eq!(takes(vni, ACCESS, &frame(None)), (false, false));
    assert_eq!(takes(any(), PortIndex(9), &frame(None)), (false, false), "there is no such port");
    assert_eq!(takes(any(), ACCESS, b"runt"), (false, false), "which nothing can be said of");
}

#[test]
fn without_a_match_everything_of_its_ports_is_meant_until_they_are_others() {
    let snapshot = snapshot();
    let all = Selection::default();
    assert!(all.takes((PortIndex(9), DropSide::Ingress), b"runt", &snapshot));
    let mut own = Selection { ports: Some(vec![ACCESS, TRUNK]), matches: None };
    let is_meant = |own: &Selection, port| own.takes((port, DropSide::Egress), b"runt", &snapshot);
    assert!(is_meant(&own, ACCESS) && is_meant(&own, TRUNK) && !is_meant(&own, TUNNEL));
    own.forget(ACCESS);
    assert!(!is_meant(&own, ACCESS) && is_meant(&own, TRUNK));
}
