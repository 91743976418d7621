//! Rules as a part of the configuration.

use ctl::ErrorCode::{Invalid, NotFound};
use ctl::{Config, apply};

use crate::apply::{change, config_of, refuses};

const RULES: [&str; 4] = [
    r#"bridge.add {"name":"br0"}"#,
    r#"port.add {"name":"p0","port":{"bridge":"br0","kind":{"tap":{"netns":"web"}}}}"#,
    r#"flow.add {"priority":100,"match":"in_port=p0,tcp,dport=80","actions":"allow"}"#,
    r#"flow.add {"priority":1,"match":"any","actions":"drop"}"#,
];

fn rules(config: &Config) -> Vec<String> {
    config.flows.iter().map(|(id, rule)| format!("{id}: {rule}")).collect()
}

fn after(text: &str) -> Vec<String> {
    rules(&apply(&config_of(&RULES), &change(text)).unwrap())
}

#[test]
fn a_rule_is_known_by_its_priority_and_match_and_keeps_its_number() {
    assert_eq!(
        rules(&config_of(&RULES)),
        ["0: 100 in_port=p0,tcp,dport=80 allow", "1: 1 any drop"]
    );
    let other =
        after(r#"flow.add {"priority":100,"match":"tcp,dport=80,in_port=p0","actions":"drop"}"#);
    assert_eq!(other, ["0: 100 in_port=p0,tcp,dport=80 drop", "1: 1 any drop"]);
    let higher =
        after(r#"flow.add {"priority":2,"match":"any","actions":"drop","hard_timeout":9}"#);
    assert_eq!(higher[2], "2: 2 any drop hard_timeout=9");
}

#[test]
fn rules_are_removed_by_number_or_match() {
    assert_eq!(after(r#"flow.del {"id":0}"#), ["1: 1 any drop"]);
    assert_eq!(after(r#"flow.del {"match":"any"}"#), ["0: 100 in_port=p0,tcp,dport=80 allow"]);
}

#[test]
fn all_rules_are_replaced_and_those_that_stay_keep_their_numbers() {
    let replaced = after(
        r#"flow.replace {"rules":[{"priority":7,"match":"arp","actions":"allow"},
           {"priority":1,"match":"any","actions":"reject"}]}"#,
    );
    assert_eq!(replaced, ["1: 1 any reject", "2: 7 arp allow"]);
    assert!(after(r#"flow.replace {"rules":[]}"#).is_empty());
}

#[test]
fn a_rule_that_cannot_be_is_refused_with_a_reason() {
    let config = config_of(&RULES);
    let twice = r#"flow.replace {"rules":[{"priority":1,"match":"any","actions":"drop"},
        {"priority":1,"match":"any","actions":"allow"}]}"#;
    refuses(
        &config,
        &[
            (
                r#"flow.add {"priority":1,"match":"in_port=p9","actions":"drop"}"#,
                NotFound,
                "rule 1 in_port=p9 drop: port p9 does not exist; `port list`",
            ),
            (
                r#"flow.add {"priority":1,"match":"arp","actions":"forward:p9"}"#,
                NotFound,
                "port p9",
            ),
            (
                r#"flow.replace {"rules":[{"priority":1,"match":"arp","actions":"mirror:p9,allow"}]}"#,
                NotFound,
                "port p9",
            ),
            (r#"flow.add {"priority":1,"match":"bridge=br9","actions":"drop"}"#, NotFound, "br9"),
            (
                r#"flow.add {"priority":1,"match":"any","actions":"drop","idle_timeout":0}"#,
                Invalid,
                "rule 1: a timeout of 0 is none",
            ),
            (r#"flow.del {"id":9}"#, NotFound, "rule 9 does not exist; `flow list`"),
            (r#"flow.del {"match":"arp"}"#, NotFound, "no rule has just the match arp"),
            (twice, Invalid, "two rules of priority 1 match any"),
        ],
    );
}

#[test]
fn a_rule_outlives_the_port_that_it_names() {
    let config = config_of(&RULES);
    let detached = apply(&config, &change(r#"port.del {"name":"p0"}"#)).unwrap();
    assert_eq!(detached.flows, config.flows);
    assert_eq!(Config::from_json(detached.to_json().as_bytes()).unwrap(), detached);
    // What is there already need not be written anew.
    let kept = r#"flow.replace {"rules":[{"priority":100,"match":"in_port=p0,tcp,dport=80",
        "actions":"allow"}]}"#;
    assert_eq!(apply(&detached, &change(kept)).unwrap().flows.len(), 1);
}

#[test]
fn a_priority_that_was_taken_for_a_rules_number_is_told() {
    let config = config_of(&RULES);
    let told = "rule 100 does not exist (a rule is known by its number; priority 100 is that of 0)";
    refuses(
        &config,
        &[
            (r#"flow.del {"id":100}"#, NotFound, told),
            (r#"flow.del {"id":99}"#, NotFound, "rule 99 does not exist; `flow list`"),
        ],
    );
}
