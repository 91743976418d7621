//! What is offered to whoever can carry frames without the pipeline.

use proptest::prelude::*;

use super::*;
use crate::Offer;

fn offering(vlan: VlanPolicy) -> PortConfig {
    PortConfig { takes_shortcuts: true, ..aware(vlan) }
}

/// What is offered when a station at port 0 sends to one at port 1, which is known by then, and what came out.
fn offers(ports: [PortConfig; 2], tag: Option<u16>) -> (Vec<Offer>, Vec<(u16, Vec<u8>)>) {
    let mut rig = Rig::new(ports.to_vec());
    for tag in [None, Some(5), Some(7)] {
        rig.send(1, &frame(station(1), station(2), tag));
    }
    while rig.pipeline.next_offer().is_some() {}
    let out = rig.send(0, &frame(station(2), station(1), tag));
    (std::iter::from_fn(|| rig.pipeline.next_offer()).collect(), out)
}

#[test]
fn plain_unicast_between_two_ports_that_take_shortcuts_is_offered_and_nothing_else() {
    let mut rig = Rig::new(vec![
        offering(VlanPolicy::Unaware),
        offering(VlanPolicy::Unaware),
        aware(VlanPolicy::Unaware),
    ]);
    let mut offered = |ingress, dst, src| {
        rig.send(ingress, &frame(dst, src, None));
        std::iter::from_fn(|| rig.pipeline.next_offer()).collect::<Vec<_>>()
    };
    assert_eq!(offered(0, MacAddr::BROADCAST, station(1)), []);
    assert_eq!(offered(2, station(1), station(3)), []);
    assert_eq!(offered(0, station(3), station(1)), []);
    let offer = Offer {
        generation: Generation(1),
        ingress: PortIndex(1),
        egress: PortIndex(0),
        vid: Vid::NONE,
        tag: Vid::NONE,
        src: station(2),
        dst: station(1),
        routed: None,
    };
    assert_eq!(offered(1, station(1), station(2)), [offer]);
    assert_eq!(offered(1, station(1), station(2)), []);
}

#[test]
fn what_is_looked_into_or_kept_apart_is_not_offered() {
    let open = || offering(VlanPolicy::Unaware);
    let inspected = PortConfig { is_inspected: true, ..open() };
    let isolated = || PortConfig { horizon: Horizon::Isolated, ..open() };
    let short = PortConfig { mtu_bytes: 40, ..open() };
    assert_eq!(offers([open(), open()], None).0.len(), 1);
    for ports in [[inspected, open()], [isolated(), isolated()], [open(), short]] {
        assert_eq!(offers(ports, None).0, []);
    }
}

#[test]
fn a_move_is_told_of() {
    let mut rig = Rig::new(vec![offering(VlanPolicy::Unaware), aware(VlanPolicy::Unaware)]);
    rig.send(0, &frame(MacAddr::BROADCAST, station(1), None));
    assert!(!rig.pipeline.take_move());
    rig.send(1, &frame(MacAddr::BROADCAST, station(1), None));
    assert!(rig.pipeline.take_move());
    assert!(!rig.pipeline.take_move());
}

fn any_port() -> impl Strategy<Value = PortConfig> {
    let native = prop::option::of(prop::sample::select(vec![5u16, 7]));
    let vlan = prop_oneof![
        Just(VlanPolicy::Unaware),
        prop::sample::select(vec![5u16, 7]).prop_map(|vid| VlanPolicy::Access(Vid(vid))),
        native.prop_map(|native| trunk(&[5, 7], native)),
    ];
    vlan.prop_map(offering)
}

proptest! {
    /// Whoever takes an offer up does what the pipeline does: the frame leaves as it came.
    #[test]
    fn what_is_offered_leaves_by_that_port_alone_and_as_it_came(
        from in any_port(),
        to in any_port(),
        tag in prop::option::of(prop::sample::select(vec![0u16, 5, 7, 0xa005])),
    ) {
        let (offers, out) = offers([from, to], tag);
        for offer in offers {
            prop_assert_eq!(offer.tag, Vid(tag.unwrap_or(0) & 0xfff));
            prop_assert_eq!((offer.src, offer.dst), (station(1), station(2)));
            prop_assert_eq!(&out, &[(offer.egress.0, frame(station(2), station(1), tag))]);
        }
    }
}
