//! [`Mentions`]: which rules name which ports and bridges, and which go away by themselves, so that a container that comes
//! or goes costs what its own rules cost, and looking for rules whose time is over what such rules cost, and not what all
//! rules cost.

use std::collections::{BTreeMap, BTreeSet};

use ctl::flow::{FlowId, FlowRule};
use ctl::{BridgeName, DiffItem, PortName, Table};

/// What a rule can name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// A port, or a tunnel.
    Port(PortName),
    /// A bridge.
    Bridge(BridgeName),
}

/// An index of rules.
#[derive(Debug, Default)]
pub(super) struct Mentions {
    rules: BTreeMap<Place, BTreeSet<FlowId>>,
    /// How many rules match on a place only; without one, everywhere.
    matched: BTreeMap<Option<Place>, usize>,
    /// Those that have timeouts.
    mortal: BTreeSet<FlowId>,
}

impl Mentions {
    /// Follows from one set of rules to another. Returns the numbers of what is new, changed or gone.
    pub(super) fn update(
        &mut self,
        old: &Table<FlowId, FlowRule>,
        new: &Table<FlowId, FlowRule>,
    ) -> Vec<FlowId> {
        let mut changed = Vec::new();
        for item in old.diff(new) {
            let (id, before, after) = match item {
                DiffItem::Add(id, rule) => (id, None, Some(rule)),
                DiffItem::Update { old: (id, before), new: (_, after) } => {
                    (id, Some(before), Some(after))
                }
                DiffItem::Remove(id, rule) => (id, Some(rule), None),
            };
            before.into_iter().for_each(|rule| self.remove(*id, rule));
            after.into_iter().for_each(|rule| self.add(*id, rule));
            changed.push(*id);
        }
        changed
    }

    /// The rules that name one of these.
    pub(super) fn of(&self, places: &BTreeSet<Place>) -> impl Iterator<Item = FlowId> {
        places.iter().filter_map(|place| self.rules.get(place)).flatten().copied()
    }

    /// The only places on which rules match; `None` when one matches everywhere.
    pub(super) fn matched(&self) -> Option<impl Iterator<Item = &Place>> {
        (!self.matched.contains_key(&None)).then(|| self.matched.keys().flatten())
    }

    /// The rules that go away by themselves.
    pub(super) fn mortal(&self) -> impl Iterator<Item = FlowId> + '_ {
        self.mortal.iter().copied()
    }

    fn add(&mut self, id: FlowId, rule: &FlowRule) {
        if rule.idle_timeout.is_some() || rule.hard_timeout.is_some() {
            self.mortal.insert(id);
        }
        for place in named(rule) {
            self.rules.entry(place).or_default().insert(id);
        }
        *self.matched.entry(matched(rule)).or_default() += 1;
    }

    fn remove(&mut self, id: FlowId, rule: &FlowRule) {
        self.mortal.remove(&id);
        for place in named(rule) {
            if let Some(rules) = self.rules.get_mut(&place) {
                rules.remove(&id);
                if rules.is_empty() {
                    self.rules.remove(&place);
                }
            }
        }
        let place = matched(rule);
        if let Some(count) = self.matched.get_mut(&place) {
            *count -= 1;
            if *count == 0 {
                self.matched.remove(&place);
            }
        }
    }
}

fn named(rule: &FlowRule) -> impl Iterator<Item = Place> {
    let criteria = rule.matches.criteria();
    let ports = criteria.in_port.iter().chain(rule.actions.ports());
    ports.cloned().map(Place::Port).chain(criteria.bridge.clone().map(Place::Bridge))
}

fn matched(rule: &FlowRule) -> Option<Place> {
    let criteria = rule.matches.criteria();
    let port = || criteria.in_port.clone().map(Place::Port);
    criteria.bridge.clone().map(Place::Bridge).or_else(port)
}
