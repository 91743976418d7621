//! Sessions.

use ctl::{
    ConnFilter, ConnList, ConnShow, ConnState, ConnTop, FiveTuple, Limit, Mutation, Protocol,
    Query, TopBy,
};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{bridge_name, parsed, route};

pub fn protocol() -> impl Strategy<Value = Protocol> {
    any::<u8>().prop_map(Protocol::of)
}

pub fn tuple() -> impl Strategy<Value = FiveTuple> {
    let some = vec![
        "tcp 10.0.0.2:4000 > 10.1.0.3:80",
        "udp [fd00::2]:53 > [fd00::3]:53",
        "icmp 10.0.0.2:7 > 10.1.0.3:7",
        "proto-47 10.0.0.2 > 10.1.0.3",
    ];
    select(some).prop_map(parsed)
}

pub fn limit() -> impl Strategy<Value = Limit> {
    (1u32..=10_000).prop_map(|number| Limit::try_from(number).unwrap())
}

fn filter() -> impl Strategy<Value = ConnFilter> {
    let states = vec![ConnState::Unreplied, ConnState::Established, ConnState::Closing];
    let ends = (option::of(route::prefix()), option::of(route::prefix()));
    let rest = (option::of(protocol()), option::of(bridge_name()), option::of(select(states)));
    (ends, any::<Option<u16>>(), rest).prop_map(|((from, to), port, (protocol, bridge, state))| {
        ConnFilter { from, to, port, protocol, bridge, state }
    })
}

pub fn mutation() -> impl Strategy<Value = Mutation> {
    filter().prop_map(Mutation::ConnFlush)
}

pub fn query() -> impl Strategy<Value = Query> {
    let list = (filter(), limit(), any::<Option<u64>>())
        .prop_map(|(filter, limit, after)| Query::ConnList(ConnList { filter, limit, after }));
    let show = (tuple(), option::of(bridge_name()))
        .prop_map(|(tuple, bridge)| Query::ConnShow(ConnShow { tuple, bridge }));
    let by = select(vec![TopBy::Sessions, TopBy::Bytes, TopBy::Packets]);
    let top = (filter(), by, limit())
        .prop_map(|(filter, by, limit)| Query::ConnTop(ConnTop { filter, by, limit }));
    prop_oneof![list, show, top]
}
