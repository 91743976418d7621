//! Rules.

use ctl::flow::{Actions, FlowId, FlowRule, Match};
use ctl::{FlowKey, FlowList, FlowReplace, Mutation, Query};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::session;

pub fn matches() -> impl Strategy<Value = Match> {
    let some = ["any", "bridge=br0", "in_port=p0,tcp,dport={22,80-90}", "vni=7,state=new", "arp"];
    select(some.map(|text| text.parse().unwrap()).to_vec())
}

fn actions() -> impl Strategy<Value = Actions> {
    let some =
        ["allow", "drop", "mirror:p1/64,limit:1000pps,forward:web-eth0", "set_dscp:46,reject"];
    select(some.map(|text| text.parse().unwrap()).to_vec())
}

fn rule() -> impl Strategy<Value = FlowRule> {
    let timeout = || option::of(0u32..3);
    (0u32..3, matches(), actions(), timeout(), timeout()).prop_map(
        |(priority, matches, actions, idle_timeout, hard_timeout)| FlowRule {
            idle_timeout,
            hard_timeout,
            ..FlowRule::new(priority, matches, actions)
        },
    )
}

fn id() -> impl Strategy<Value = FlowId> {
    select(vec![0, 1, 2, FlowId::LIMIT - 1]).prop_map(|number| FlowId::try_from(number).unwrap())
}

pub fn mutation() -> impl Strategy<Value = Mutation> {
    let key = prop_oneof![id().prop_map(FlowKey::Id), matches().prop_map(FlowKey::Match)];
    prop_oneof![
        4 => rule().prop_map(|rule| Mutation::FlowAdd(Box::new(rule))),
        1 => key.prop_map(Mutation::FlowDel),
        1 => vec(rule(), 0..4).prop_map(|rules| Mutation::FlowReplace(FlowReplace { rules })),
    ]
}

pub fn query() -> impl Strategy<Value = Query> {
    (session::limit(), option::of(id()))
        .prop_map(|(limit, after)| Query::FlowList(FlowList { limit, after }))
}
