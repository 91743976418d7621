//! How sets follow configurations.

use std::sync::Arc;

use ctl::flow::FlowRule;
use ctl::{Bridge, Config, Mutation, Port, PortKind, Tap, Vxlan, apply};
use flows::rules::{RuleId, RuleSet, Step, Verdict};
use flows::{BridgeIndex, Fdb, PortIndex};

use super::super::{BridgeSlot, Numbering};
use super::Rules;

/// Ports `a` and `b` on `br0`, and `c` on `br1`.
fn configured(rules: &[&str]) -> Config {
    let mut config = Config::default();
    for bridge in ["br0", "br1"] {
        config.bridges.insert(bridge.parse().unwrap(), Bridge::default());
    }
    for (port, bridge) in [("a", "br0"), ("b", "br0"), ("c", "br1")] {
        let tap = Tap::new(port.parse().unwrap());
        let port_config = Port::new(bridge.parse().unwrap(), PortKind::Tap(tap));
        config.ports.insert(port.parse().unwrap(), port_config);
    }
    rules.iter().fold(config, |config, rule| with(&config, rule))
}

fn with(config: &Config, rule: &str) -> Config {
    let rule: FlowRule = rule.parse().unwrap();
    apply(config, &Mutation::FlowAdd(Box::new(rule))).unwrap()
}

fn numbered(ports: &[(&str, u16)]) -> Numbering {
    let mut numbering = Numbering::default();
    for (bridge, index) in [("br0", 0), ("br1", 1)] {
        let slot = BridgeSlot { index: BridgeIndex(index), fdb: Arc::new(Fdb::new(8, 300, 1)) };
        numbering.bridges.insert(bridge.parse().unwrap(), slot);
    }
    for (port, index) in ports {
        numbering.ports.insert(port.parse().unwrap(), (PortIndex(*index), 1500));
    }
    numbering
}

const ALL: [(&str, u16); 3] = [("a", 0), ("b", 1), ("c", 2)];

fn ids(set: &RuleSet) -> Vec<u32> {
    set.iter().map(|rule| rule.id.0).collect()
}

#[test]
fn a_rule_waits_for_the_ports_that_it_names() {
    let config = configured(&[
        "10 in_port=a allow",
        "10 in_port=b,tcp forward:a",
        "10 udp mirror:c,drop",
        "0 any drop",
    ]);
    let mut rules = Rules::default();
    assert_eq!(rules.update(&config, &numbered(&ALL[1..])).len(), 4, "all are begun");
    assert_eq!(ids(&rules.set()), [2, 3]);
    assert_eq!(rules.update(&config, &numbered(&ALL)), []);
    assert_eq!(ids(&rules.set()), [0, 1, 2, 3]);
    assert_eq!(rules.update(&config, &numbered(&ALL[..2])), []);
    assert_eq!(ids(&rules.set()), [0, 1, 3]);
}

#[test]
fn a_rule_follows_its_port_to_another_number() {
    let config = configured(&["10 in_port=a allow", "5 in_port=b forward:c"]);
    let mut rules = Rules::default();
    rules.update(&config, &numbered(&ALL));
    rules.update(&config, &numbered(&[("a", 7), ("b", 1), ("c", 8)]));
    let set = rules.set();
    let found = |id| set.get(RuleId(id)).unwrap();
    assert_eq!(found(0).matches.ingress, Some(PortIndex(7)));
    assert_eq!(found(1).action.verdict, Verdict::Forward(PortIndex(8)));
}

#[test]
fn what_does_not_change_is_neither_made_again_nor_begun_again() {
    let meter = |rules: &Rules| match &rules.set().get(RuleId(0)).unwrap().action.steps[0] {
        Step::Limit(meter) => Arc::clone(meter),
        other => panic!("{other:?}"),
    };
    let numbering = numbered(&ALL);
    let before = configured(&["10 tcp limit:10pps,allow", "5 udp drop"]);
    let mut rules = Rules::default();
    rules.update(&before, &numbering);
    let (set, first) = (rules.set(), meter(&rules));
    rules.update(&before, &numbering);
    assert!(Arc::ptr_eq(&set, &rules.set()));
    // Another action of the same rule: its limit goes on.
    let after = with(&with(&before, "10 tcp limit:10pps,drop"), "7 icmp allow");
    assert_eq!(rules.update(&after, &numbering), [RuleId(2)]);
    assert!(Arc::ptr_eq(&first, &meter(&rules)));
    let other = with(&after, "10 tcp limit:11pps,drop");
    assert_eq!(rules.update(&other, &numbering), []);
    assert!(!Arc::ptr_eq(&first, &meter(&rules)));
}

#[test]
fn what_comes_in_by_a_tunnel_is_known_by_its_network() {
    let mut config = configured(&[]);
    let vxlan = Vxlan::new("br1".parse().unwrap(), "7".parse().unwrap(), [192, 0, 2, 1].into());
    config.vxlans.insert("t".parse().unwrap(), vxlan);
    let config = with(&with(&config, "5 in_port=t,tcp drop"), "5 in_port=t,bridge=br0 drop");
    let mut rules = Rules::default();
    rules.update(&config, &numbered(&ALL));
    let set = rules.set();
    assert_eq!(ids(&set), [0], "nothing is on two bridges");
    let matches = &set.get(RuleId(0)).unwrap().matches;
    let found = (matches.ingress, matches.bridge, matches.vni);
    assert_eq!(found, (None, Some(BridgeIndex(1)), Some(7)));
}

#[test]
fn ports_are_looked_into_where_rules_could_match_and_their_answers_pass() {
    let bridges = |texts: &[&str]| {
        let config = configured(texts);
        let mut rules = Rules::default();
        rules.update(&config, &numbered(&ALL));
        rules.bridges(&config).into_iter().map(|bridge| bridge.0).collect::<Vec<_>>()
    };
    assert!(bridges(&[]).is_empty());
    assert_eq!(bridges(&["1 in_port=a drop"]), [0]);
    assert_eq!(bridges(&["1 bridge=br1,tcp drop"]), [1]);
    assert_eq!(bridges(&["1 bridge=br1,tcp drop", "2 arp drop"]), [0, 1]);
}
