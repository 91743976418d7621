//! Questions by which the switch explains itself.

use std::num::{NonZeroU32, NonZeroU64};

use ctl::{Capture, Packet, Party, Query, Sketch, TcpFlags, Trace, VlanId, Why};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{flow, parsed, port_name, route, session, vlan_id};

fn flags() -> impl Strategy<Value = TcpFlags> {
    select(vec!["syn", "none", "syn+ack", "fin+psh+ack+urg+ece+cwr+rst"]).prop_map(parsed)
}

/// Any packet that can be sketched.
pub fn sketch() -> impl Strategy<Value = Sketch> {
    let rest = any::<(u16, u8, u8, bool)>();
    (session::tuple(), flags(), rest, option::of(vlan_id())).prop_map(
        |(tuple, flags, (payload_bytes, ttl, tos, dont_fragment), vlan): (
            _,
            _,
            _,
            Option<VlanId>,
        )| { Sketch { tuple, flags, payload_bytes, ttl, tos, vlan, dont_fragment } },
    )
}

fn packet() -> impl Strategy<Value = Packet> {
    let frame = vec(any::<u8>(), 14..100).prop_map(|bytes| {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Packet::Bytes(parsed(&digits))
    });
    prop_oneof![sketch().prop_map(Packet::Like), frame]
}

fn party() -> impl Strategy<Value = Party> {
    prop_oneof![port_name().prop_map(Party::Name), route::host().prop_map(Party::Address)]
}

pub fn query() -> impl Strategy<Value = Query> {
    let limit = || option::of(session::limit());
    let trace =
        (port_name(), packet(), limit(), limit()).prop_map(|(port, packet, live, patience)| {
            Query::Trace(Trace { port, packet, live, patience })
        });
    let count = || option::of(any::<NonZeroU32>());
    let filter = option::of(flow::matches());
    let capture = (vec(port_name(), 0..3), filter, any::<bool>(), count(), count()).prop_map(
        |(ports, filter, drops, count, snaplen)| {
            let count = count.map(NonZeroU64::from);
            Query::Capture(Capture { ports, filter, drops, count, snaplen })
        },
    );
    let why = (party(), party(), session::protocol(), any::<Option<u16>>())
        .prop_map(|(from, to, protocol, port)| Query::Why(Why { from, to, protocol, port }));
    prop_oneof![trace, capture, why]
}
