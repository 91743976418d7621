//! Services.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use ctl::{
    Affinity, Backend, Balance, BridgeName, HealthCheck, Listen, Mutation, Probe, Query, Service,
    ServiceAdd, ServiceBackends, ServiceName, ServiceSet, Target,
};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{bridge_name, named, parsed};

fn name() -> impl Strategy<Value = ServiceName> {
    select(vec!["web", "db", "dns"]).prop_map(parsed)
}

fn listen() -> impl Strategy<Value = Listen> {
    select(vec!["10.96.0.1:80/tcp", "10.96.0.1:53/udp", "[fd96::1]:80/tcp", "10.0.0.9:1/sctp"])
        .prop_map(parsed)
}

fn target() -> impl Strategy<Value = Target> {
    select(vec!["10.0.0.2", "10.0.0.2:8080", "10.1.0.2:80", "fd00::2", "[fd00::2]:53"])
        .prop_map(parsed)
}

fn affinity() -> impl Strategy<Value = Option<Affinity>> {
    option::of(select(vec!["client-ip", "client-ip:60"]).prop_map(parsed))
}

fn balance() -> impl Strategy<Value = Balance> {
    select(vec![Balance::RoundRobin, Balance::Maglev])
}

fn node_port() -> impl Strategy<Value = Option<u16>> {
    option::of(select(vec![0, 80, 30_080]))
}

fn on() -> impl Strategy<Value = BTreeSet<BridgeName>> {
    btree_set(bridge_name(), 0..2)
}

fn health() -> impl Strategy<Value = Option<HealthCheck>> {
    let probe = select(vec!["tcp", "http:/", "http:/healthz?full=1"]).prop_map(parsed::<Probe>);
    let port = option::of(select(vec![0, 8080]));
    let numbers = (0u32..70, 0u32..70, 0u32..3, 0u32..3);
    let check =
        (probe, port, numbers).prop_map(|(probe, port, (interval, timeout, fall, rise))| {
            HealthCheck { probe, port, interval, timeout, fall, rise }
        });
    option::of(check)
}

fn service() -> impl Strategy<Value = Service> {
    let backend = (target(), any::<bool>()).prop_map(|(target, draining)| Backend {
        at: SocketAddr::new(target.ip, target.port.unwrap_or(80)),
        draining,
    });
    let places = (on(), option::of(bridge_name()));
    let fails = (0u32..3, 0u32..3);
    let ways = (balance(), affinity(), node_port());
    (listen(), vec(backend, 0..3), ways, places, fails, health()).prop_map(
        |(listen, backends, (balance, affinity, node_port), (on, to), fails, health)| Service {
            listen,
            backends,
            balance,
            affinity,
            node_port,
            on,
            to,
            max_fails: fails.0,
            fail_timeout: fails.1,
            health,
        },
    )
}

pub fn mutation() -> impl Strategy<Value = Mutation> {
    let add = (name(), service())
        .prop_map(|(name, service)| Mutation::ServiceAdd(Box::new(ServiceAdd { name, service })));
    let ways = (option::of(balance()), option::of(affinity()), option::of(node_port()));
    let fails = (option::of(0u32..3), option::of(0u32..3));
    let set = (name(), ways, option::of(on()), fails, option::of(health())).prop_map(
        |(name, (balance, affinity, node_port), on, (max_fails, fail_timeout), health)| {
            Mutation::ServiceSet(ServiceSet {
                name,
                balance,
                affinity,
                node_port,
                on,
                max_fails,
                fail_timeout,
                health,
            })
        },
    );
    let some = || vec(target(), 0..2);
    let backends = (name(), some(), some(), some()).prop_map(|(name, add, drain, del)| {
        Mutation::ServiceBackends(ServiceBackends { name, add, drain, del })
    });
    prop_oneof![4 => add, 1 => named(name()).prop_map(Mutation::ServiceDel), 2 => set, 2 => backends]
}

pub fn query() -> impl Strategy<Value = Query> {
    prop_oneof![Just(Query::ServiceList), named(name()).prop_map(Query::ServiceShow)]
}
