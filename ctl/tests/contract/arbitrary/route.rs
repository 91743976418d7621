//! Gateways, routes and neighbours.

use std::net::IpAddr;

use ctl::{
    Advertise, Allowance, Destination, IpCidr, Mutation, NeighborAdd, NeighborFilter, NeighborKey,
    Prefix, Query, RouteAdd, RouteDel, StaticNeighbor,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{bridge_name, mac, parsed};

pub fn gateways() -> impl Strategy<Value = Vec<IpCidr>> {
    let some = vec![
        "10.0.0.1/24",
        "10.0.0.2/24",
        "10.1.0.1/24",
        "10.2.0.1/24",
        "10.0.0.1/8",
        "fd00::1/64",
        "fd01::1/48",
        "fe80::1/64",
    ];
    vec(select(some).prop_map(parsed), 0..3)
}

pub fn advertise() -> impl Strategy<Value = Advertise> {
    let some = vec!["", "interval=4,lifetime=0", "interval=3", "no-autonomous,dns=fd00::9,managed"];
    select(some).prop_map(parsed)
}

pub fn prefix() -> impl Strategy<Value = Prefix> {
    let some =
        vec!["10.9.0.0/16", "10.0.0.0/24", "10.0.0.7/32", "fd09::/48", "fd00::/64", "ff02::/16"];
    select(some).prop_map(parsed)
}

pub fn proxy() -> impl Strategy<Value = Vec<Prefix>> {
    vec(prefix(), 0..2)
}

fn destination() -> impl Strategy<Value = Destination> {
    prop_oneof![Just(Destination::Default), prefix().prop_map(Destination::Network)]
}

/// Hosts, most of them in the subnets of gateways.
pub fn host() -> impl Strategy<Value = IpAddr> {
    let some = ["10.0.0.1", "10.0.0.9", "10.1.0.9", "fd00::9", "fe80::9", "8.8.8.8", "224.0.0.1"];
    select(some.map(|text| text.parse().unwrap()).to_vec())
}

pub fn mutation() -> impl Strategy<Value = Mutation> {
    let allowance = || (bridge_name(), bridge_name()).prop_map(|(from, to)| Allowance { from, to });
    let add = (destination(), bridge_name(), vec(host(), 0..3))
        .prop_map(|(to, on, via)| Mutation::RouteAdd(RouteAdd { to, on, via }));
    let del = (destination(), bridge_name(), any::<bool>())
        .prop_map(|(to, on, if_exists)| Mutation::RouteDel(RouteDel { to, on, if_exists }));
    let enter = (bridge_name(), host(), mac()).prop_map(|(bridge, ip, mac)| {
        Mutation::NeighborAdd(NeighborAdd { bridge, neighbor: StaticNeighbor { ip, mac } })
    });
    let leave = (bridge_name(), host())
        .prop_map(|(bridge, ip)| Mutation::NeighborDel(NeighborKey { bridge, ip }));
    prop_oneof![
        4 => add,
        1 => del,
        3 => allowance().prop_map(Mutation::RouteAllow),
        1 => allowance().prop_map(Mutation::RouteDeny),
        2 => enter,
        1 => leave,
        1 => filter().prop_map(Mutation::NeighborFlush),
    ]
}

fn filter() -> impl Strategy<Value = NeighborFilter> {
    (option::of(bridge_name()), option::of(host()))
        .prop_map(|(bridge, ip)| NeighborFilter { bridge, ip })
}

pub fn query() -> impl Strategy<Value = Query> {
    prop_oneof![Just(Query::RouteList), filter().prop_map(Query::NeighborShow)]
}
