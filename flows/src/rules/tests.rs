//! The index against a plain search, and its rules one by one.

mod arbitrary;
mod frames;

use proptest::prelude::*;

use super::{FlagsMatch, Packet, Rule, RuleId, RuleMatch, RuleSet, RulesError};
use arbitrary::{changes, fitting, packet, rule, rules, siblings};

/// What a set is to say, by looking at every rule.
fn search<'a>(rules: impl IntoIterator<Item = &'a Rule>, packet: &Packet) -> Option<RuleId> {
    rules
        .into_iter()
        .filter(|rule| rule.matches.matches(packet))
        .max_by_key(|rule| (rule.priority, std::cmp::Reverse(rule.id)))
        .map(|rule| rule.id)
}

fn found(set: &RuleSet, packet: &Packet) -> Option<RuleId> {
    set.lookup(packet).map(|rule| rule.id)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_lookup_finds_what_a_search_finds(
        rules in rules(1..60),
        packets in prop::collection::vec(packet(), 60),
        picks in prop::collection::vec((any::<prop::sample::Index>(), packet()), 60),
    ) {
        let set = RuleSet::compile(rules.clone()).unwrap();
        let fitted = picks.iter().map(|(pick, packet)| fitting(&pick.get(&rules).matches, *packet));
        for packet in packets.into_iter().chain(fitted) {
            prop_assert_eq!(found(&set, &packet), search(&rules, &packet), "{:?}", packet);
        }
    }

    #[test]
    fn a_set_that_changed_is_the_set_compiled_at_once(
        rules in rules(1..30),
        changes in changes(),
        packets in prop::collection::vec(packet(), 60),
    ) {
        let mut set = RuleSet::compile(rules.clone()).unwrap();
        let mut model: std::collections::BTreeMap<_, _> =
            rules.into_iter().map(|rule| (rule.id, rule)).collect();
        for (removed, added) in changes {
            let before = set.clone();
            let old: Vec<_> = packets.iter().map(|packet| found(&set, packet)).collect();
            set = match (&*removed, &*added) {
                ([id], []) => set.without(*id),
                ([], [rule]) => set.with(rule.clone()).unwrap(),
                _ => set.updated(&removed, added.clone()).unwrap(),
            };
            removed.iter().for_each(|id| drop(model.remove(id)));
            model.extend(added.into_iter().map(|rule| (rule.id, rule)));
            // The set before is as it was.
            prop_assert_eq!(packets.iter().map(|packet| found(&before, packet)).collect::<Vec<_>>(), old);
        }
        let anew = RuleSet::compile(model.values().cloned().collect()).unwrap();
        prop_assert_eq!(set.fields(), anew.fields());
        prop_assert_eq!(set.tables(), anew.tables());
        prop_assert_eq!(set.len(), model.len());
        prop_assert!(set.iter().map(|rule| rule.id).eq(model.keys().copied()));
        for packet in &packets {
            prop_assert_eq!(found(&set, packet), search(model.values(), packet));
            prop_assert_eq!(found(&set, packet), found(&anew, packet));
        }
    }

    #[test]
    fn packets_that_agree_in_what_is_looked_at_get_the_same_rule(
        rules in rules(1..12),
        pairs in prop::collection::vec(siblings(), 60),
    ) {
        let set = RuleSet::compile(rules).unwrap();
        let fields = set.fields();
        for (one, other) in pairs {
            let projected = fields.project(&one);
            prop_assert_eq!(found(&set, &one), found(&set, &projected), "{:?}", one);
            if projected == fields.project(&other) {
                prop_assert_eq!(found(&set, &one), found(&set, &other), "{:?} {:?}", one, other);
            }
        }
    }
}

#[test]
fn nothing_is_looked_at_that_no_rule_mentions() {
    assert_eq!(RuleSet::default().fields(), super::Fields::default());
    let flags = |value, mask| RuleMatch {
        protocol: Some(6),
        tcp_flags: Some(FlagsMatch { value, mask }),
        ..RuleMatch::default()
    };
    let set =
        RuleSet::compile(vec![rule(1, 1, flags(0x02, 0x12)), rule(2, 1, flags(0, 0x04))]).unwrap();
    assert_eq!(set.fields().tcp_flags(), 0x16);
    assert!(set.fields().contains(super::Field::Protocol));
    assert!(!set.fields().contains(super::Field::Source));
    assert_eq!(set.without(RuleId(1)).fields().tcp_flags(), 0x04);
}

#[test]
fn of_equal_priority_the_lower_number_goes_first_whenever_it_came() {
    let packet = arbitrary::plain();
    let any = |id, priority| rule(id, priority, RuleMatch::default());
    let set = RuleSet::compile(vec![any(7, 10), any(3, 10), any(5, 9)]).unwrap();
    assert_eq!(found(&set, &packet), Some(RuleId(3)));
    let set = set.with(any(1, 10)).unwrap();
    assert_eq!(found(&set, &packet), Some(RuleId(1)));
    let set = set.with(any(9, 11)).unwrap();
    assert_eq!(found(&set, &packet), Some(RuleId(9)));
    let set = set.with(any(9, 0)).unwrap();
    assert_eq!(found(&set, &packet), Some(RuleId(1)));
    let empty = set.updated(&[1, 3, 5, 7, 9].map(RuleId), Vec::new()).unwrap();
    assert!(empty.is_empty() && empty.tables() == 0);
    assert_eq!(found(&empty, &packet), None);
}

#[test]
fn numbers_given_twice_or_out_of_range_are_refused() {
    let any = |id| rule(id, 1, RuleMatch::default());
    let twice = RuleSet::compile(vec![any(1), any(2), any(1)]);
    assert_eq!(twice.unwrap_err(), RulesError::DuplicateId { id: RuleId(1) });
    let id = RuleId(RuleId::LIMIT);
    assert_eq!(RuleSet::default().with(any(id.0)).unwrap_err(), RulesError::IdOutOfRange { id });
}

#[test]
fn a_later_fragment_matches_no_rule_about_ports_and_flags_and_every_other_one() {
    use pktio::wire::Fragment;
    let later = Packet { fragment: Fragment::Later, tcp_flags: None, ..arbitrary::plain() };
    let by_port = RuleMatch {
        protocol: Some(6),
        destination_ports: Some([(0, u16::MAX)].into_iter().collect()),
        ..RuleMatch::default()
    };
    let by_flags = RuleMatch {
        protocol: Some(6),
        tcp_flags: Some(FlagsMatch { value: 0, mask: 0x02 }),
        ..RuleMatch::default()
    };
    let by_protocol = RuleMatch { protocol: Some(6), ..RuleMatch::default() };
    let set =
        RuleSet::compile(vec![rule(1, 9, by_port), rule(2, 8, by_flags), rule(3, 1, by_protocol)]);
    let set = set.unwrap();
    assert_eq!(found(&set, &later), Some(RuleId(3)));
    assert_eq!(found(&set, &arbitrary::plain()), Some(RuleId(1)));
}

#[test]
fn a_rule_for_thousands_of_addresses_is_found_by_each_of_them_and_under_few_keys() {
    use std::net::{IpAddr, Ipv4Addr};
    // No two have a common prefix of 16 bits.
    let address = |number: u32| IpAddr::from(Ipv4Addr::from_bits(number.reverse_bits() | 1));
    let set = |first: u32| (first..first + 5000).map(|number| (address(number), 32)).collect();
    let matches = RuleMatch {
        source: Some(set(0)),
        destination: Some(set(5000)),
        protocol: Some(6),
        destination_ports: Some([(1, 65_534)].into_iter().collect()),
        ..RuleMatch::default()
    };
    let set = RuleSet::compile(vec![rule(1, 1, matches)]).unwrap();
    assert!(set.tables() <= 64, "{}", set.tables());
    let found_from = |from, to| {
        let mut packet = arbitrary::plain();
        if let Some(tuple) = &mut packet.tuple {
            (tuple.source.ip, tuple.destination.ip) = (address(from), address(to));
        }
        found(&set, &packet)
    };
    for number in 0..5000 {
        assert_eq!(found_from(number, 9999 - number), Some(RuleId(1)));
        assert_eq!(found_from(number, number), None);
        assert_eq!(found_from(5000 + number, 5000 + number), None);
    }
}

#[test]
fn a_hundred_thousand_rules_say_what_a_search_says() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut draw =
        |strategy: &BoxedStrategy<RuleMatch>| strategy.new_tree(&mut runner).unwrap().current();
    let strategy = arbitrary::matches().boxed();
    let kinds: Vec<_> = (0..2_000).map(|_| draw(&strategy)).collect();
    let rules: Vec<_> = (0..100_000u32)
        .map(|id| rule(id, id % 1000, arbitrary::moved(&kinds[id as usize % kinds.len()], id)))
        .collect();
    let set = RuleSet::compile(rules.clone()).unwrap();
    for at in (0..rules.len()).step_by(331) {
        let packet = fitting(&rules[at].matches, arbitrary::plain());
        assert_eq!(found(&set, &packet), search(&rules, &packet), "{packet:?}");
    }
    let without = set.without(RuleId(500));
    assert_eq!(without.len(), 99_999);
    assert!(without.get(RuleId(500)).is_none() && set.get(RuleId(500)).is_some());
}
