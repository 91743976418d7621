//! [`Subtable`]: rules by the hashes of their keys under one mask; immutable.
//!
//! Entries lie in one array, sorted by hash and then by rank. A second array says where the entries
//! begin whose hashes start with the same bits, less than one per start: a lookup reads one pair of
//! starts and mostly no or one entry. A changed table is a merge of two sorted arrays.

use super::rule::{Rule, RuleId};

/// Who goes first: the lower rank. Higher priority, then lower number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Rank(u64);

impl Rank {
    /// After every rule.
    pub const LAST: Self = Self(u64::MAX);

    pub fn of(rule: &Rule) -> Self {
        Self(u64::from(!rule.priority) << 32 | u64::from(rule.id.0))
    }

    /// Whose it is.
    #[inline]
    pub fn id(self) -> RuleId {
        let [.., a, b, c, d] = self.0.to_be_bytes();
        RuleId(u32::from_be_bytes([a, b, c, d]))
    }
}

/// A rule under one of its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub hash: u32,
    pub rank: Rank,
}

/// With so many starts for each entry, most lookups that find nothing read nothing but two starts.
const STARTS_PER_ENTRY: usize = 4;

#[derive(Debug)]
pub(super) struct Subtable {
    /// Hashes that are equal shifted by this have one start.
    shift: u32,
    starts: Box<[u32]>,
    entries: Box<[Entry]>,
}

impl Subtable {
    /// A table of these entries, which are sorted.
    pub fn new(entries: Vec<Entry>) -> Self {
        let bits = (entries.len() * STARTS_PER_ENTRY).next_power_of_two().ilog2().min(31);
        let shift = 32 - bits;
        let buckets = 1usize << bits;
        let mut starts = vec![0; buckets + 1];
        for entry in &entries {
            starts[bucket(entry.hash, shift) + 1] += 1;
        }
        for at in 0..buckets {
            starts[at + 1] += starts[at];
        }
        Self { shift, starts: starts.into(), entries: entries.into() }
    }

    pub fn iter(&self) -> impl Iterator<Item = Entry> + '_ {
        self.entries.iter().copied()
    }

    /// The rules whose keys have a hash, the first ones first.
    #[inline]
    pub fn of_hash(&self, hash: u32) -> impl Iterator<Item = Rank> + '_ {
        let at = bucket(hash, self.shift);
        let entries = &self.entries[self.starts[at] as usize..self.starts[at + 1] as usize];
        let from = entries.partition_point(|entry| entry.hash < hash);
        entries[from..].iter().take_while(move |entry| entry.hash == hash).map(|entry| entry.rank)
    }
}

#[inline]
fn bucket(hash: u32, shift: u32) -> usize {
    // A shift by 32 leaves nothing: there is one bucket.
    hash.checked_shr(shift).unwrap_or(0) as usize
}
