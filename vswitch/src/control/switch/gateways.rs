//! What gateways say by themselves: their addresses when these are new, and router advertisements.

use std::collections::BTreeMap;
use std::time::Duration;

use ctl::{BridgeName, Config};
use flows::router::{AdvertisingSchedule, Gateway};
use flows::{BridgeIndex, Saying, Snapshot};

use super::Switch;
use crate::fleet::FleetError;
use crate::random::random;

/// When each gateway advertises next.
#[derive(Debug, Default)]
pub(super) struct Schedules(BTreeMap<BridgeName, AdvertisingSchedule>);

impl Switch {
    /// Tells all stations of gateways that are new or have changed since `old`, and begins to advertise anew where
    /// that changed.
    pub(super) fn announce_gateways(&mut self, old: &Snapshot) -> Result<(), FleetError> {
        let now = self.fleet.clock().now();
        self.schedules.0.retain(|name, _| self.config.bridges.contains_key(name));
        let mut changed = Vec::new();
        for (name, slot) in &self.numbering.bridges {
            let (before, after) =
                (gateway_of(old, slot.index), gateway_of(&self.snapshot, slot.index));
            let advertised = after.and_then(|gateway| gateway.advertise.as_ref());
            if advertised.is_none() {
                self.schedules.0.remove(name);
            } else if before.and_then(|gateway| gateway.advertise.as_ref()) != advertised {
                let schedule = AdvertisingSchedule::new(now, u64::from_ne_bytes(random()));
                self.schedules.0.insert(name.clone(), schedule);
            }
            let who = |gateway: &Gateway| (gateway.mac, gateway.addresses.clone());
            if after.is_some() && before.map(who) != after.map(who) {
                changed.push(slot.index);
            }
        }
        changed.into_iter().try_for_each(|index| self.fleet.say(index, Saying::Announcement))
    }

    /// Tells the stations of gateways that will advertise no more that they are no routers any more (RFC 4861
    /// section 6.2.5). To be called while the workers still know these gateways.
    pub(super) fn say_farewells(&mut self, next: &Config) -> Result<(), FleetError> {
        let speaks = |config: &Config, name: &BridgeName| {
            config.bridges.get(name).is_some_and(|bridge| bridge.advertise.is_some())
        };
        let silenced = |name: &&BridgeName| speaks(&self.config, name) && !speaks(next, name);
        let silenced = self.schedules.0.keys().filter(silenced);
        let indexes: Vec<_> = silenced
            .filter_map(|name| self.numbering.bridges.get(name))
            .map(|slot| slot.index)
            .collect();
        indexes.into_iter().try_for_each(|index| self.fleet.say(index, Saying::Farewell))
    }

    /// Sends the router advertisements that are due.
    pub fn advertise(&mut self) {
        let now = self.fleet.clock().now();
        let mut due = Vec::new();
        for (name, schedule) in &mut self.schedules.0 {
            let Some(slot) = self.numbering.bridges.get(name) else { continue };
            let gateway = gateway_of(&self.snapshot, slot.index);
            let config = gateway.and_then(|gateway| gateway.advertise.as_ref());
            if config.is_some_and(|config| schedule.is_due(config, now)) {
                due.push(slot.index);
            }
        }
        for index in due {
            if let Err(error) = self.fleet.say(index, Saying::Advertisement) {
                self.note_problem(format!("no router advertisement was sent: {error}"));
            }
        }
    }

    /// How long it is until an advertisement is due; `None` when nothing is advertised.
    pub fn next_advertisement(&self) -> Option<Duration> {
        let next = self.schedules.0.values().map(AdvertisingSchedule::next).min();
        next.map(|next| next.since(self.fleet.clock().now()))
    }
}

fn gateway_of(snapshot: &Snapshot, bridge: BridgeIndex) -> Option<&Gateway> {
    Some(&snapshot.bridge(bridge)?.router.as_deref()?.gateway)
}
