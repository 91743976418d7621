//! [`Tables`]: what all workers share besides the forwarding databases.

use crate::nat::Identifications;
use crate::router::{Neighbors, Timers};
use crate::rules::RuleCounters;
use crate::service::Affinities;
use crate::session::Sessions;

/// Clients of services whose backends are remembered.
const AFFINITIES: usize = if cfg!(loom) { 8 } else { 1 << 16 };

/// How large the tables are, and the seed of their hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableSizes {
    /// Neighbours of all gateways.
    pub neighbors: u32,
    /// Sessions.
    pub sessions: u32,
    /// Flows that each worker remembers the decision about: a session is two, one for each direction, and mostly of
    /// two workers. 200 bytes each, used as they come.
    pub cached_flows: usize,
    /// Keys the hashes, so that nobody outside can choose addresses that collide.
    pub seed: u64,
}

impl Default for TableSizes {
    /// 16384 neighbours, a million sessions, and as many cached flows for each worker; memory is used as they fill.
    fn default() -> Self {
        Self { neighbors: 16_384, sessions: 1 << 20, cached_flows: 1 << 20, seed: 0 }
    }
}

/// State that outlives configurations, shared by all workers and the control thread. Nothing in it ever
/// waits for a lock on the packet path.
#[derive(Debug)]
pub struct Tables {
    sizes: TableSizes,
    /// Who has which address on the link, by bridge.
    pub neighbors: Neighbors,
    /// Who talks to whom.
    pub sessions: Sessions,
    /// Which backend each client of a service had last.
    pub affinities: Affinities,
    /// How much each rule is used.
    pub rules: RuleCounters,
    /// What tells translated datagrams apart that may be in fragments.
    pub identifications: Identifications,
}

impl Tables {
    /// Empty tables.
    pub fn new(sizes: TableSizes) -> Self {
        let neighbors = Neighbors::new(sizes.neighbors, Timers::default(), sizes.seed);
        let sessions = Sessions::new(sizes.sessions, sizes.seed);
        let affinities = Affinities::new(AFFINITIES, sizes.seed);
        let identifications = Identifications::new(sizes.seed);
        let rules = RuleCounters::new();
        Self { sizes, neighbors, sessions, affinities, rules, identifications }
    }

    /// What they were made for.
    pub fn sizes(&self) -> TableSizes {
        self.sizes
    }
}

impl Default for Tables {
    fn default() -> Self {
        Self::new(TableSizes::default())
    }
}
