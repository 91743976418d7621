//! From one configuration to another.

use ctl::{Action, Config, plan};
use proptest::prelude::*;

use crate::arbitrary;

/// Carries out a step, and holds it to the order that the steps promise.
fn step(config: &mut Config, action: Action) {
    match action {
        Action::RemovePort(name) => {
            assert!(config.ports.remove(&name).is_some(), "{name} is not there to remove");
        }
        Action::RemoveBridge(name) => {
            assert_eq!(config.ports_of(&name).count(), 0, "bridge {name} still has ports");
            assert!(config.bridges.remove(&name).is_some(), "{name} is not there to remove");
        }
        Action::PutBridge(name, bridge) => _ = config.bridges.insert(name, bridge),
        Action::AddPort(name, port) => {
            assert!(config.bridges.contains_key(&port.bridge), "the bridge of {name} is not there");
            let taken =
                config.ports.values().any(|other| other.kind.interface() == port.kind.interface());
            assert!(!taken, "the interface of {name} is still another port's");
            assert!(config.ports.insert(name, *port).is_none());
        }
        Action::ChangePort(name, port) => {
            let before = config.ports.insert(name, *port.clone()).unwrap();
            assert_eq!((before.bridge, before.kind), (port.bridge, port.kind));
        }
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
