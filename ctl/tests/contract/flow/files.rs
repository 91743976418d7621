//! Files of rules, and what has to be done to get from one set of rules to another.

use ctl::Table;
use ctl::flow::{FlowId, FlowRule, RuleDiff, diff, parse_rules};
use proptest::collection::vec;
use proptest::prelude::*;

use super::read;

fn numbered(rules: &[&str]) -> Table<FlowId, FlowRule> {
    let id = |number| FlowId::try_from(number).unwrap();
    (0..).map(id).zip(rules.iter().map(|rule| read(rule))).collect()
}

#[test]
fn a_file_has_a_rule_a_line_and_comments() {
    let text = "# what may come in\n\n  100 tcp,dport=80 allow   # the web\npriority=5,arp,actions=drop\r\n#";
    let rules = parse_rules(text).unwrap();
    let rules: Vec<_> = rules.iter().map(ToString::to_string).collect();
    assert_eq!(rules, ["100 tcp,dport=80 allow", "5 arp drop"]);
    assert_eq!(parse_rules("").unwrap(), []);
}

#[test]
fn everything_that_is_wrong_with_a_file_is_told_at_once() {
    let text =
        "100 tcp drop\n  100 dport=80 drop\n# fine\n1 any\n100 dl_type=0x800,nw_proto=6 allow\n";
    let wrong = parse_rules(text).unwrap_err();
    assert_eq!(wrong.0.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 4, 5]);
    let told = wrong.to_string();
    let lines: Vec<_> = told.lines().collect();
    assert!(lines[0].starts_with("line 2: \"dport=80\" at character 7: ports need"), "{told}");
    assert!(lines[1].starts_with("line 4: \"any\" at character 3: a rule is"), "{told}");
    assert!(lines[2].starts_with("line 5: line 1 has the same priority and match"), "{told}");
}

#[test]
fn rules_are_the_same_by_priority_and_match() {
    let old = numbered(&["1 arp allow", "2 tcp drop", "3 udp drop", "4 icmp allow"]);
    let new = parse_rules(
        "2 tcp allow\n3 udp drop\n4 icmp allow idle_timeout=5\n9 arp allow\n8 any drop",
    )
    .unwrap();
    let id = |number| FlowId::try_from(number).unwrap();
    let expected = RuleDiff {
        added: vec![read("9 arp allow"), read("8 any drop")],
        removed: vec![id(0)],
        changed: vec![(id(1), read("2 tcp allow")), (id(3), read("4 icmp allow idle_timeout=5"))],
        kept: 1,
    };
    assert_eq!(diff(&old, &new), expected);
    let rules = expected.apply(&old).unwrap();
    assert_eq!(rules.keys().map(|id| id.number()).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(rules[&id(4)], read("9 arp allow"));
}

fn rules() -> impl Strategy<Value = Vec<FlowRule>> {
    let rule = (0u8..3, 0u8..5, any::<bool>()).prop_map(|(priority, port, allow)| {
        let action = if allow { "allow" } else { "drop" };
        read::<FlowRule>(&format!("{priority} tcp,dport={port} {action}"))
    });
    vec(rule, 0..12).prop_map(|mut rules| {
        rules.sort_by_key(|rule| (rule.priority, rule.matches.clone()));
        rules.dedup_by_key(|rule| (rule.priority, rule.matches.clone()));
        rules
    })
}

proptest! {
    #[test]
    fn doing_what_a_difference_says_leaves_no_difference(old in rules(), new in rules()) {
        let before: Table<_, _> =
            (0..).map(|id| FlowId::try_from(id * 2).unwrap()).zip(old).collect();
        let to_do = diff(&before, &new);
        prop_assert_eq!(to_do.kept + to_do.changed.len() + to_do.removed.len(), before.len());
        let unchanged: Vec<_> = before
            .iter()
            .filter(|(id, _)| !to_do.removed.contains(id))
            .map(|(id, rule)| (*id, rule.matches.clone()))
            .collect();
        let after = to_do.apply(&before).unwrap();
        for (id, matches) in unchanged {
            prop_assert_eq!(&after[&id].matches, &matches);
        }
        let mut rules: Vec<_> = after.values().cloned().collect();
        rules.sort_by_key(|rule| (rule.priority, rule.matches.clone()));
        prop_assert_eq!(&rules, &new);
        let nothing = diff(&after, &new);
        prop_assert!(nothing.is_empty() && nothing.kept == new.len());
        let text: Vec<_> = new.iter().map(ToString::to_string).collect();
        prop_assert_eq!(parse_rules(&text.join("\n")).unwrap(), new);
    }
}
