//! [`Maglev`]: consistent hashing by a table (D. Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load
//! Balancer", NSDI 2016, section 3.4).
//!
//! Every backend goes through the places of the table in an order of its own, and in turn each takes the next one that
//! is free. So all have the same share, within one place of each other; and when one comes or goes, hardly any place
//! of the others changes hands. The orders come from the backends' endpoints alone, so that whoever makes the
//! table for the same backends makes the same one.
//!
//! The paper's table has 65537 places. Here it is the smallest of some primes with at least a hundred places for each
//! backend (more is of no use, says the paper's section 5.3), so that ten thousand services take megabytes and not a gigabyte.

use crate::Endpoint;
use crate::router::hash::{keyed, words};

/// Sizes of tables, the smallest first.
const SIZES: [u32; 8] = [251, 509, 1021, 2039, 4093, 8191, 16381, 32749];
/// The size for more backends: the paper's.
const LARGEST: u32 = 65537;
/// Places that a backend has at least.
const PLACES: usize = 100;
/// A place that is nobody's yet.
const FREE: u16 = u16::MAX;

/// Which backend, by position, is in which place.
#[derive(Debug, PartialEq, Eq)]
pub struct Maglev {
    table: Box<[u16]>,
}

/// How a backend goes through the places: from one on, in steps. As their number is prime, it comes to all.
struct Walk {
    next: u64,
    skip: u64,
    size: u64,
}

impl Maglev {
    /// The table for backends at these endpoints, which are all different. Takes time: not for the packet path.
    pub fn new(endpoints: &[Endpoint]) -> Self {
        let wanted = endpoints.len().saturating_mul(PLACES);
        let fits = |size: &&u32| usize::try_from(**size).is_ok_and(|size| size >= wanted);
        let size = *SIZES.iter().find(fits).unwrap_or(&LARGEST);
        let mut walks: Vec<_> = (0..FREE).zip(endpoints).collect();
        // Whose turn comes first is a matter of who they are, and not of their order here.
        walks.sort_by_key(|(_, endpoint)| **endpoint);
        let mut walks: Vec<_> =
            walks.into_iter().map(|(at, endpoint)| (at, Walk::of(*endpoint, size))).collect();
        let mut table = vec![FREE; if walks.is_empty() { 0 } else { size as usize }];
        let mut free = table.len();
        while free > 0 {
            for (backend, walk) in walks.iter_mut().take(free) {
                let mut place = walk.step();
                while table[place] != FREE {
                    place = walk.step();
                }
                table[place] = *backend;
                free -= 1;
            }
        }
        Self { table: table.into() }
    }

    /// The backends for a hash: the one that it belongs to, and then those that take its place if that cannot.
    pub(super) fn from(&self, hash: u64) -> impl Iterator<Item = usize> + '_ {
        let at = usize::try_from(hash % self.table.len().max(1) as u64).unwrap_or(0);
        let (before, after) = self.table.split_at(at.min(self.table.len()));
        after.iter().chain(before).map(|backend| usize::from(*backend))
    }
}

impl Walk {
    fn of(endpoint: Endpoint, size: u32) -> Self {
        let [high, low] = words(endpoint.ip);
        let name = [high, low, endpoint.port.into()];
        let size = u64::from(size);
        Self { next: keyed(1, name) % size, skip: keyed(2, name) % (size - 1) + 1, size }
    }

    /// The next place.
    fn step(&mut self) -> usize {
        let place = self.next;
        self.next = (place + self.skip) % self.size;
        usize::try_from(place).unwrap_or(0)
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
