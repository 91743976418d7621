//! From one configuration to another.

use ctl::{Action, Config, apply, plan};
use proptest::prelude::*;

use crate::apply::{change, config_of};
use crate::arbitrary;

/// Carries out a step, and holds it to the order that the steps promise.
fn step(config: &mut Config, action: Action) {
    match &action {
        Action::RemoveFlow(id) => assert!(config.flows.contains_key(id), "{id}"),
        Action::RemoveNetwork(name) => assert!(config.networks.contains_key(name), "{name}"),
        Action::RemovePool(subnet) => assert!(config.pools.contains_key(subnet), "{subnet}"),
        Action::RemoveNat(name) => assert!(config.nat.contains_key(name), "{name}"),
        Action::RemoveService(name) => assert!(config.services.contains_key(name), "{name}"),
        Action::RemoveRoutes(name) => assert!(config.routes.contains_key(name), "{name}"),
        Action::RemoveAllowed(name) => assert!(config.allowed.contains_key(name), "{name}"),
        Action::RemoveVxlan(name) => assert!(config.vxlans.contains_key(name), "{name}"),
        Action::RemovePort(name) => assert!(config.ports.contains_key(name), "{name}"),
        Action::RemoveBridge(name) => {
            assert_eq!(config.ports_of(name).count(), 0, "bridge {name} still has ports");
            assert_eq!(config.vxlans_of(name).count(), 0, "bridge {name} still has tunnels");
            assert!(!config.routes.contains_key(name), "bridge {name} still has routes");
            assert!(config.bridges.contains_key(name), "{name} is not there to remove");
        }
        Action::AddPort(name, port) => {
            assert!(config.bridges.contains_key(&port.bridge), "the bridge of {name} is not there");
            let taken =
                config.ports.values().any(|other| other.kind.interface() == port.kind.interface());
            assert!(!taken, "the interface of {name} is still another port's");
            assert!(!config.has_port(name), "{name} is still another port");
        }
        Action::ChangePort(name, port) => {
            let before = &config.ports[name];
            assert!(before.bridge == port.bridge && before.kind.is_same_device(&port.kind));
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
            assert!(!config.has_port(name), "{name} is still another port");
        }
        Action::ChangeVxlan(name, vxlan) => {
            let before = &config.vxlans[name];
            assert_eq!((&before.bridge, before.vni), (&vxlan.bridge, vxlan.vni));
        }
        // What only says what should be.
        Action::PutBridge(..)
        | Action::PutRoutes(..)
        | Action::PutAllowed(..)
        | Action::PutNetwork(..)
        | Action::ChangeNetwork(..)
        | Action::PutPool(..)
        | Action::ChangePool(..)
        | Action::PutNat(..)
        | Action::PutService(..)
        | Action::PutFlow(..)
        | Action::PutTracking(_) => {}
    }
    config.carry_out(action);
}

/// Who comes to a network and to a subnet that is kept, and goes, one of few at a time.
fn coming_or_going(who: u8, kind: u8) -> String {
    match kind % 6 {
        0 | 1 => {
            format!(r#"network.connect {{"network":"web","netns":"c{who}","aliases":["a{kind}"]}}"#)
        }
        2 => format!(r#"network.disconnect {{"network":"web","netns":"c{who}","ifname":"eth0"}}"#),
        3 => format!(r#"ipam.request {{"network":"web","owner":"o{who}"}}"#),
        4 => format!(r#"ipam.request {{"subnet":"10.3.0.0/28","owner":"o{who}"}}"#),
        _ => format!(r#"ipam.release {{"owner":"o{who}"}}"#),
    }
}

proptest! {
    #[test]
    fn a_change_of_leases_is_planned_by_what_changes_and_may_be_made_twice(
        steps in prop::collection::vec((0u8..6, any::<u8>()), 1..40)
    ) {
        let mut config = config_of(&[
            r#"network.create {"name":"web","subnets":["10.1.0.0/28","fd01::/64"]}"#,
            r#"pool.add {"subnet":"10.3.0.0/28"}"#,
        ]);
        for (who, kind) in steps {
            // What is refused, because it is full or not there, changes nothing.
            let Ok(next) = apply(&config, &change(&coming_or_going(who, kind))) else { continue };
            let steps = plan(&config, &next);
            let is_whole =
                |step: &Action| matches!(step, Action::PutNetwork(..) | Action::PutPool(..));
            prop_assert!(!steps.iter().any(is_whole), "{:?}", steps);
            let changes = |step: &&Action| {
                matches!(step, Action::ChangeNetwork(..) | Action::ChangePool(..))
            };
            let twice = steps.iter().chain(steps.iter().filter(changes)).cloned();
            let mut carried = config.clone();
            twice.for_each(|action| carried.carry_out(action));
            prop_assert_eq!(&carried, &next);
            config = next;
        }
    }

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
