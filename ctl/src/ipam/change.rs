//! [`PoolChange`]: what becomes of a subnet's leases, without those that stay.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Lease, Pool};

/// The leases of a subnet that are not what they were. It says what shall be: made twice, it changes nothing more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolChange {
    /// What is given out anew or otherwise, and (`null`) what is not any more.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    leases: BTreeMap<IpAddr, Option<Lease>>,
    /// What was given last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<IpAddr>,
    /// What rests no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    roused: Vec<IpAddr>,
    /// What rests behind all others, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rested: Vec<IpAddr>,
}

impl PoolChange {
    /// What leads from a subnet to what it becomes; `None` if more than leases changes.
    pub(crate) fn between(old: &Pool, new: &Pool) -> Option<Self> {
        let is_in = |addresses: &[IpAddr]| {
            let those: BTreeSet<_> = addresses.iter().copied().collect();
            move |addr: &&IpAddr| those.contains(*addr)
        };
        let [was_resting, rests] = [&old.resting, &new.resting].map(|resting| is_in(resting));
        let change = Self {
            leases: differing(&old.leases, &new.leases),
            last: new.last,
            roused: old.resting.iter().filter(|addr| !rests(addr)).copied().collect(),
            rested: new.resting.iter().filter(|addr| !was_resting(addr)).copied().collect(),
        };
        let only_leases = (&old.subnet, &old.gateway, &old.ranges, &old.reserved)
            == (&new.subnet, &new.gateway, &new.ranges, &new.reserved);
        (only_leases && change.resting(&old.resting) == new.resting).then_some(change)
    }

    /// Makes the change.
    pub(crate) fn carry_out(self, pool: &mut Pool) {
        pool.resting = self.resting(&pool.resting);
        pool.last = self.last;
        put(&mut pool.leases, self.leases);
    }

    fn resting(&self, before: &[IpAddr]) -> Vec<IpAddr> {
        let goes = |addr: &&IpAddr| self.roused.contains(addr) || self.rested.contains(addr);
        let stay = before.iter().filter(|addr| !goes(addr));
        stay.chain(&self.rested).copied().collect()
    }
}

/// The entries of a map that are not what they were.
pub(crate) fn differing<K: Ord + Clone, V: PartialEq + Clone>(
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
) -> BTreeMap<K, Option<V>> {
    let gone = old.keys().filter(|key| !new.contains_key(key)).map(|key| (key.clone(), None));
    let put = new.iter().filter(|(key, value)| old.get(key) != Some(value));
    gone.chain(put.map(|(key, value)| (key.clone(), Some(value.clone())))).collect()
}

/// Makes entries of a map what they shall be.
pub(crate) fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, entries: BTreeMap<K, Option<V>>) {
    for (key, value) in entries {
        match value {
            Some(value) => _ = map.insert(key, value),
            None => _ = map.remove(&key),
        }
    }
}
