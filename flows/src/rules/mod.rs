//! [`RuleSet`]: which rule decides about a packet.
//!
//! # Structure
//! Tuple space search (V. Srinivasan et al., "Packet Classification Using Tuple Space Search", 1999) as
//! Open vSwitch does it (B. Pfaff et al., "The Design and Implementation of Open vSwitch", 2015), with
//! four differences that keep it simple:
//!
//! ```text
//!   rule ──► Cover: keys, each with a mask ──► Subtable per mask: hash ──► ranks of rules
//!   packet ─► Key ─► Presence: which prefixes exist ─► tables, best rank first ─► candidates ─► Rule::matches
//! ```
//!
//! * The tables are an index only: a candidate counts if the rule itself says that it matches. So sets
//!   and ranges become a handful of prefixes, prefixes become a few lengths, and a field may be left
//!   out.
//! * Tables are searched in the order of their best rule, and the search ends at the first that cannot
//!   improve on what was found.
//! * Tables that look for a prefix which no rule has for this packet's addresses and ports are skipped by
//!   one comparison (`presence`).
//! * Everything is immutable. A changed set shares what did not change with the one before: pages of
//!   rules, tables, prefix counts.
//!
//! # Order
//! The higher priority goes first, of equal ones the lower number. Nothing else decides, so a set that
//! grew rule by rule is the same as one compiled at once.
//!
//! # Threads
//! A set is never changed. The control thread makes the next one, any number of workers look up.
//! Counters and meters are apart ([`RuleCounters`], [`Meter`]) and live longer than sets.

mod counters;
mod fields;
mod key;
mod meter;
mod packet;
mod presence;
mod ranges;
mod rule;
mod subtable;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

pub use counters::{Hits, RuleCounters, Tally, Timeouts};
pub use fields::{Field, Fields};
pub use meter::{LimitSpec, Meter, Scope, Source, Unit};
pub use packet::{ConnState, Icmp, Packet};
pub use ranges::{AddressSet, RangeSet};
pub use rule::{
    ConnStates, FlagsMatch, IcmpMatch, MacMatch, Rejection, Rule, RuleAction, RuleId, RuleMatch,
    Step, Verdict,
};

use fields::Lookers;
use key::{Cover, Key};
use presence::{Needs, Presence};
use subtable::{Entry, Rank, Subtable};

/// Rules per page: what an update copies.
const PAGE: usize = 64;

/// Rules whose numbers follow one another.
type Page = Vec<Option<Rule>>;

/// Why rules cannot be compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// Two rules have one number.
    #[error("two rules have the number {}; give each its own", .id.0)]
    DuplicateId {
        /// The number.
        id: RuleId,
    },
    /// A rule's number is out of range.
    #[error("rule number {} is out of range; use 0 to {}", .id.0, RuleId::LIMIT - 1)]
    IdOutOfRange {
        /// The number.
        id: RuleId,
    },
}

/// What the rules of a table have in common: where they look, and which prefixes they need to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Shape {
    mask: Key,
    needs: Needs,
}

/// New entries of tables, by shape.
type Changes = HashMap<Shape, Vec<Entry>>;

/// A table of the space.
#[derive(Debug, Clone)]
struct Table {
    shape: Shape,
    /// The rank of its best rule.
    first: Rank,
    entries: Arc<Subtable>,
}

impl Table {
    /// A table of these entries, if there are any.
    fn of(shape: Shape, mut entries: Vec<Entry>) -> Option<Self> {
        // Mostly sorted already when a table is changed, which the stable sort makes use of.
        entries.sort();
        let first = entries.iter().map(|entry| entry.rank).min()?;
        Some(Self { shape, first, entries: Arc::new(Subtable::new(entries)) })
    }

    /// The table without rules that are gone and with others, if any are left.
    fn changed(&self, gone: &HashSet<Rank>, added: Vec<Entry>) -> Option<Self> {
        let stay = self.entries.iter().filter(|entry| !gone.contains(&entry.rank));
        Self::of(self.shape, stay.chain(added).collect())
    }
}

/// A compiled set of rules. See the module's documentation.
#[derive(Debug, Clone, Default)]
pub struct RuleSet {
    pages: Vec<Arc<Page>>,
    /// Sorted by the best rule.
    space: Vec<Table>,
    presence: Presence,
    lookers: Lookers,
    fields: Fields,
    rules: usize,
}

impl RuleSet {
    /// Compiles rules, in any order.
    ///
    /// # Errors
    /// [`RulesError`], when the numbers are not what numbers of rules are.
    pub fn compile(rules: Vec<Rule>) -> Result<Self, RulesError> {
        Self::default().updated(&[], rules)
    }

    /// The set with one more rule, or with another one in place of that with the same number.
    ///
    /// # Errors
    /// [`RulesError::IdOutOfRange`].
    pub fn with(&self, rule: Rule) -> Result<Self, RulesError> {
        self.updated(&[], vec![rule])
    }

    /// The set without a rule; the same set if it has no such rule.
    #[must_use]
    pub fn without(&self, id: RuleId) -> Self {
        let mut next = self.clone();
        next.change(&[id], Vec::new());
        next
    }

    /// The set without the rules of the numbers `removed`, and with the rules `added`, which take the
    /// place of those that have their numbers. It costs what the tables cost that change, not one
    /// update per rule.
    ///
    /// # Errors
    /// [`RulesError`], when the numbers of `added` are not what numbers of rules are.
    pub fn updated(&self, removed: &[RuleId], added: Vec<Rule>) -> Result<Self, RulesError> {
        let mut seen = HashSet::with_capacity(added.len());
        for id in added.iter().map(|rule| rule.id) {
            if id.0 >= RuleId::LIMIT {
                return Err(RulesError::IdOutOfRange { id });
            }
            if !seen.insert(id) {
                return Err(RulesError::DuplicateId { id });
            }
        }
        let mut next = self.clone();
        next.change(removed, added);
        Ok(next)
    }

    /// The rule that decides about a packet, if any matches.
    pub fn lookup(&self, packet: &Packet) -> Option<&Rule> {
        let key = Key::of(packet);
        let has = self.presence.of(&key);
        let mut best = None;
        let mut best_rank = Rank::LAST;
        for table in &self.space {
            if table.first >= best_rank {
                break;
            }
            if !table.shape.needs.met_by(has) {
                continue;
            }
            let candidates = table.entries.of_hash(key.hash(&table.shape.mask));
            let found = candidates
                .take_while(|rank| *rank < best_rank)
                .filter_map(|rank| Some((rank, self.get(rank.id())?)))
                .find(|(_, rule)| rule.matches.matches(packet));
            if let Some((rank, rule)) = found {
                (best_rank, best) = (rank, Some(rule));
            }
        }
        best
    }

    /// The rule of a number.
    #[inline]
    pub fn get(&self, id: RuleId) -> Option<&Rule> {
        self.pages.get(id.slot() / PAGE)?.get(id.slot() % PAGE)?.as_ref()
    }

    /// All rules, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.pages.iter().flat_map(|page| page.iter().flatten())
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules == 0
    }

    /// What the rules look at: all that a cache of lookups must tell apart.
    pub fn fields(&self) -> Fields {
        self.fields
    }

    /// How many tables there are; a measure of how varied the rules are.
    pub fn tables(&self) -> usize {
        self.space.len()
    }

    fn change(&mut self, removed: &[RuleId], added: Vec<Rule>) {
        let replaced = added.iter().map(|rule| rule.id);
        let leaving: Vec<Rule> =
            removed.iter().copied().chain(replaced).filter_map(|id| self.take(id)).collect();
        let mut changes = Changes::new();
        for rule in &leaving {
            Cover::of(&rule.matches).for_each(|cells, _, mask| {
                self.presence.remove(cells);
                changes.entry(Shape { mask, needs: Needs::of(cells) }).or_default();
            });
        }
        for rule in &added {
            let rank = Rank::of(rule);
            Cover::of(&rule.matches).for_each(|cells, key, mask| {
                self.presence.add(cells);
                let entries = changes.entry(Shape { mask, needs: Needs::of(cells) }).or_default();
                entries.push(Entry { hash: key.hash(&mask), rank });
            });
        }
        self.change_tables(&leaving.iter().map(Rank::of).collect(), changes);
        leaving.iter().for_each(|rule| self.lookers.remove(rule.matches.fields()));
        added.iter().for_each(|rule| self.lookers.add(rule.matches.fields()));
        self.fields = self.lookers.fields();
        added.into_iter().for_each(|rule| self.put(rule));
    }

    /// Changes the tables of some shapes: takes out the entries of rules that are gone, and adds others.
    fn change_tables(&mut self, gone: &HashSet<Rank>, mut changes: Changes) {
        let old = std::mem::take(&mut self.space);
        for table in old {
            match changes.remove(&table.shape) {
                Some(added) => self.space.extend(table.changed(gone, added)),
                None => self.space.push(table),
            }
        }
        let new = changes.into_iter().filter_map(|(shape, added)| Table::of(shape, added));
        self.space.extend(new);
        self.space.sort_by_key(|table| table.first);
    }

    fn take(&mut self, id: RuleId) -> Option<Rule> {
        self.get(id)?;
        self.rules -= 1;
        let page = Arc::make_mut(self.pages.get_mut(id.slot() / PAGE)?);
        page.get_mut(id.slot() % PAGE)?.take()
    }

    /// Puts a rule into its place, which is empty.
    fn put(&mut self, rule: Rule) {
        let (page, at) = (rule.id.slot() / PAGE, rule.id.slot() % PAGE);
        if self.pages.len() <= page {
            self.pages.resize_with(page + 1, Arc::default);
        }
        let page = Arc::make_mut(&mut self.pages[page]);
        if page.len() <= at {
            page.resize_with(at + 1, || None);
        }
        self.rules += 1;
        page[at] = Some(rule);
    }
}
