//! From one configuration to another.

use std::sync::Arc;

use ctl::{Action, Config, plan};
use proptest::prelude::*;

use crate::arbitrary;

/// Carries out a step, and holds it to the order that the steps promise.
fn step(config: &mut Config, action: Action) {
    match action {
        Action::RemoveFlow(id) => {
            assert!(Arc::make_mut(&mut config.flows).remove(&id).is_some(), "{id}")
        }
        Action::RemoveNat(name) => assert!(config.nat.remove(&name).is_some(), "{name}"),
        Action::RemoveRoutes(name) => assert!(config.routes.remove(&name).is_some(), "{name}"),
        Action::RemoveAllowed(name) => assert!(config.allowed.remove(&name).is_some(), "{name}"),
        Action::RemoveVxlan(name) => assert!(config.vxlans.remove(&name).is_some(), "{name}"),
        Action::RemovePort(name) => assert!(config.ports.remove(&name).is_some(), "{name}"),
        Action::RemoveBridge(name) => {
            assert_eq!(config.ports_of(&name).count(), 0, "bridge {name} still has ports");
            assert_eq!(config.vxlans_of(&name).count(), 0, "bridge {name} still has tunnels");
            assert!(!config.routes.contains_key(&name), "bridge {name} still has routes");
            assert!(config.bridges.remove(&name).is_some(), "{name} is not there to remove");
        }
        Action::PutBridge(name, bridge) => _ = config.bridges.insert(name, *bridge),
        Action::AddPort(name, port) => {
            assert!(config.bridges.contains_key(&port.bridge), "the bridge of {name} is not there");
            let taken =
                config.ports.values().any(|other| other.kind.interface() == port.kind.interface());
            assert!(!taken, "the interface of {name} is still another port's");
            assert!(!config.has_port(&name), "{name} is still another port");
            config.ports.insert(name, *port);
        }
        Action::ChangePort(name, port) => {
            let before = config.ports.insert(name, *port.clone()).unwrap();
            assert_eq!((before.bridge, before.kind), (port.bridge, port.kind));
        }
        Action::AddVxlan(name, vxlan) => {
            assert!(
                config.bridges.contains_key(&vxlan.bridge),
                "the bridge of {name} is not there"
            );
            let end = (vxlan.vni, vxlan.local, vxlan.dstport);
            let mut others = config.vxlans.values();
            let taken = others.any(|other| (other.vni, other.local, other.dstport) == end);
            assert!(!taken, "the end of {name} is still another tunnel's");
            assert!(!config.has_port(&name), "{name} is still another port");
            config.vxlans.insert(name, *vxlan);
        }
        Action::ChangeVxlan(name, vxlan) => {
            let before = config.vxlans.insert(name, *vxlan.clone()).unwrap();
            assert_eq!((before.bridge, before.vni), (vxlan.bridge, vxlan.vni));
        }
        other => put(config, other),
    }
}

/// Carries out a step that only writes down what should be.
fn put(config: &mut Config, action: Action) {
    match action {
        Action::PutRoutes(name, routes) => _ = config.routes.insert(name, routes),
        Action::PutAllowed(name, reached) => _ = config.allowed.insert(name, reached),
        Action::RemoveNetwork(name) => assert!(config.networks.remove(&name).is_some(), "{name}"),
        Action::RemovePool(subnet) => assert!(config.pools.remove(&subnet).is_some(), "{subnet}"),
        Action::PutNetwork(name, network) => _ = config.networks.insert(name, network),
        Action::PutPool(subnet, pool) => _ = config.pools.insert(subnet, *pool),
        Action::PutNat(name, rule) => _ = config.nat.insert(name, *rule),
        Action::PutFlow(id, rule) => _ = Arc::make_mut(&mut config.flows).insert(id, *rule),
        Action::PutTracking(tracking) => config.tracking = tracking,
        other => panic!("{other:?} is none of these"),
    }
}

proptest! {
    #[test]
    fn carrying_out_the_plan_gives_the_new_configuration(
        old in arbitrary::config(),
        new in arbitrary::config(),
    ) {
        let mut config = old.clone();
        plan(&old, &new).into_iter().for_each(|action| step(&mut config, action));
        prop_assert_eq!(config, new);
    }

    #[test]
    fn there_is_nothing_to_do_where_nothing_changes(config in arbitrary::config()) {
        prop_assert_eq!(plan(&config, &config), []);
    }
}
