//! [`Presence`]: which prefixes any rule looks for, to skip the tables that cannot have a match.
//!
//! For each axis (addresses, ports) and each length of prefix there is a set of the prefixes that rules
//! are found under. A packet's address has about eight prefixes of such lengths: those that are in no
//! set rule out every table that looks at that length. This is what a trie per axis would say, of the
//! lengths at which its path has a rule, for as many reads, and it changes by counting.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use super::key::{Axis, Cell, Key, Kind, halves, mix};

/// What a table needs of a packet, or what a packet has: one bit for each length of prefix on each axis,
/// and for each IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Needs(u64);

/// Bits of an axis: lengths of zero are never missing and have none.
const FIRST_BIT: [u32; 4] = [0, 16, 32, 36];
const BITS: usize = 40;
const V4: u64 = 1 << 40;
const V6: u64 = 1 << 41;

fn family(kind: Kind) -> u64 {
    match kind {
        Kind::V4 => V4,
        Kind::V6 => V6,
        Kind::Any | Kind::Port => 0,
    }
}

/// The bit of a cell; `None` of one that is everything of its kind.
fn bit(axis: Axis, cell: &Cell) -> Option<usize> {
    let level = cell.prefix.len / cell.kind.step();
    let first = FIRST_BIT[axis as usize] as usize;
    level.checked_sub(1).map(|level| first + usize::from(level))
}

impl Needs {
    /// What a table of keys made of such cells needs.
    pub fn of(cells: &[Cell; 4]) -> Self {
        let bits = Axis::ALL
            .into_iter()
            .zip(cells)
            .map(|(axis, cell)| bit(axis, cell).map_or(0, |bit| 1 << bit) | family(cell.kind));
        Self(bits.fold(0, |needs, bit| needs | bit))
    }

    /// Whether a packet that has `has` can be in the table.
    #[inline]
    pub fn met_by(self, has: Self) -> bool {
        self.0 & !has.0 == 0
    }
}

/// Hashes what is a hash already.
#[derive(Default)]
struct Ready(u64);

impl Hasher for Ready {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = mix(self.0, (*byte).into()));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// How many keys have each prefix of one length, by its hash: two prefixes of one hash cost a needless
/// look into a table.
type Counts = HashMap<u64, u32, BuildHasherDefault<Ready>>;

/// Parts of the counts of one length: a change copies one of them.
const SHARDS: usize = 64;

/// The counts of one length, by some bits of the hash that the maps do not go by; none as long as there is nothing to
/// count.
type Shards = Vec<Arc<Counts>>;

fn shard(hash: u64) -> usize {
    (hash >> 32) as usize % SHARDS
}

#[derive(Debug, Clone)]
pub(super) struct Presence {
    counts: [Arc<Shards>; BITS],
    /// The bits that have any counts.
    used: u64,
}

impl Default for Presence {
    fn default() -> Self {
        Self { counts: std::array::from_fn(|_| Arc::default()), used: 0 }
    }
}

fn hash(kind: Kind, bits: u128) -> u64 {
    let [a, b] = halves(bits);
    mix(mix(kind as u64, a), b)
}

impl Presence {
    /// Counts a key made of these cells.
    pub fn add(&mut self, cells: &[Cell; 4]) {
        for (axis, cell) in Axis::ALL.into_iter().zip(cells) {
            let Some(bit) = bit(axis, cell) else { continue };
            let hash = hash(cell.kind, cell.prefix.bits);
            let shards = Arc::make_mut(&mut self.counts[bit]);
            shards.resize_with(SHARDS, Arc::default);
            *Arc::make_mut(&mut shards[shard(hash)]).entry(hash).or_insert(0) += 1;
            self.used |= 1 << bit;
        }
    }

    /// Takes such a key out again.
    pub fn remove(&mut self, cells: &[Cell; 4]) {
        for (axis, cell) in Axis::ALL.into_iter().zip(cells) {
            let Some(bit) = bit(axis, cell) else { continue };
            let hash = hash(cell.kind, cell.prefix.bits);
            let shards = Arc::make_mut(&mut self.counts[bit]);
            let Some(counts) = shards.get_mut(shard(hash)).map(Arc::make_mut) else { continue };
            if let Some(count) = counts.get_mut(&hash) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&hash);
                }
            }
            if shards.iter().all(|counts| counts.is_empty()) {
                shards.clear();
                self.used &= !(1 << bit);
            }
        }
    }

    /// What a packet has.
    #[inline]
    pub fn of(&self, key: &Key) -> Needs {
        let mut has = family(key.family());
        for axis in Axis::ALL {
            let (kind, bits) = key.along(axis);
            let first = FIRST_BIT[axis as usize];
            for level in 1..=kind.width() / kind.step() {
                let bit = first + u32::from(level) - 1;
                let prefix = bits & super::ranges::leading(level * kind.step());
                let hash = hash(kind, prefix);
                let present = self.used >> bit & 1 == 1
                    && self.counts[bit as usize][shard(hash)].contains_key(&hash);
                has |= u64::from(present) << bit;
            }
        }
        Needs(has)
    }
}
