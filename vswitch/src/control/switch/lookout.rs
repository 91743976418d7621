//! What changes by itself: queues fail, interfaces and namespaces go, devices come back, stations age.

use ctl::{Mutation, Named, NetnsRef, Port, PortKind, PortName};
use flows::Nanos;
use hostnet::{Link, Netlink};
use pktio::PortFault;

use super::Switch;
use super::commit::{Prepared, stuck};
use crate::control::device::{self, Facts, Terms};
use crate::control::watch::{DELETED, Found};
use crate::fleet::Fault;

/// Buckets of a forwarding database that one sweep looks at.
const SWEEP_BUCKETS: usize = 4096;
/// Records of sessions that one sweep looks at: a million in half a minute.
const SWEEP_SESSIONS: u32 = 32_768;

/// Where the next sweep begins.
#[derive(Debug, Default)]
pub(super) struct Swept {
    stations: usize,
    neighbors: usize,
    sessions: u32,
    pub(super) backends: u32,
}

impl Switch {
    /// Looks after what the workers tell: queues that failed, who sends by tunnels, what the kernel can carry. Call it
    /// when the fleet's doorbell rings.
    pub fn heed_workers(&mut self) {
        for Fault { queue, fault } in self.fleet.take_faults() {
            if self.lose_endpoint(queue.port, &fault.to_string()) {
                continue;
            }
            if let Some(name) = self.numbering.port_name(queue.port).cloned() {
                self.heed_fault(&name, &fault);
            }
        }
        self.heed_strangers();
        self.heed_questions();
        self.heed_offers();
    }

    fn heed_fault(&mut self, name: &PortName, fault: &PortFault) {
        match fault {
            PortFault::Gone { .. } => self.lose_device(name, &fault.to_string()),
            _ => self.wait_for(name, &fault.to_string()),
        }
    }

    /// A port whose device is gone goes with it if that was a container's; any other waits for it.
    pub(super) fn lose_device(&mut self, name: &PortName, why: &str) {
        let bound = self.config.ports.get(name).is_some_and(is_bound_to_container)
            || self.facts.get(name).is_some_and(|facts| facts.is_veth);
        if !bound {
            return self.wait_for(name, why);
        }
        // That is how containers end, and no problem.
        tracing::info!("port {name}: {why}; the port is removed");
        let removal = Mutation::PortDel(Named { name: name.clone(), if_exists: true });
        if let Err(error) = self.mutate(removal) {
            self.note_problem(format!("port {name}: {error}"));
            self.wait_for(name, why);
        }
    }

    fn wait_for(&mut self, name: &PortName, why: &str) {
        self.note_waiting(name, "port", why);
        let closed = self.close(name).map_err(stuck).and_then(|()| self.publish());
        if let Err(error) = closed {
            self.note_problem(format!("port {name}: {error}"));
        }
    }

    /// An interface of the daemon's own namespace is gone. Its packet socket does not always say so: an
    /// interface that was switched off first goes silently.
    pub fn heed_gone_link(&mut self, interface: u32) {
        if let Some(name) = self.own_device(interface) {
            self.lose_device(&name, DELETED);
        }
    }

    /// Any interface of the daemon's own namespace may be gone: the kernel had more to tell than fits.
    pub fn heed_missed_links(&mut self) {
        let Ok(links) = Netlink::open().and_then(|netlink| netlink.links()) else { return };
        let is_gone = |facts: &Facts| links.iter().all(|link| link.index != facts.index);
        let gone = self.own_devices().filter(|(_, facts)| is_gone(facts));
        let gone: Vec<_> = gone.map(|(name, _)| name.clone()).collect();
        links.iter().for_each(|link| self.heed_changed_link(link));
        gone.iter().for_each(|name| self.lose_device(name, DELETED));
    }

    /// Ports whose device exists without the switch, in the daemon's own namespace.
    fn own_devices(&self) -> impl Iterator<Item = (&PortName, &Facts)> + '_ {
        self.facts.iter().filter(|(name, _)| self.is_own(name))
    }

    fn is_own(&self, name: &PortName) -> bool {
        let kind = self.config.ports.get(name).map(|port| &port.kind);
        matches!(kind, Some(PortKind::Netdev { netns: None, .. }))
    }

    /// The port whose device has this number there.
    fn own_device(&self, interface: u32) -> Option<PortName> {
        let mut all = self.facts.iter();
        let found = all.find(|(name, facts)| facts.index == interface && self.is_own(name));
        found.map(|(name, _)| name.clone())
    }

    /// Whether devices in other namespaces are ports, which have to be looked after.
    pub fn has_foreign_devices(&self) -> bool {
        self.facts.values().any(|facts| facts.watch.is_some())
    }

    /// Looks whether the devices in other namespaces are still there, and what became of them.
    pub fn visit_namespaces(&mut self) {
        let look = |(name, facts): (&PortName, &Facts)| {
            Some((name.clone(), facts.watch.as_ref()?.look(facts.index)))
        };
        let found: Vec<_> = self.facts.iter().filter_map(look).collect();
        for (name, found) in found {
            match found {
                Found::Same => {}
                Found::Changed(link) => self.heed_changed_device(&name, &link),
                Found::Lost(why) => self.lose_device(&name, why),
            }
        }
    }

    /// An interface of the daemon's own namespace has changed.
    pub fn heed_changed_link(&mut self, link: &Link) {
        if let Some(name) = self.own_device(link.index) {
            self.heed_changed_device(&name, link);
        }
    }

    fn heed_changed_device(&mut self, name: &PortName, link: &Link) {
        let Some(facts) = self.facts.get_mut(name) else { return };
        facts.heed(link);
        if facts.open_gate().is_none() {
            self.keep_shortcuts_that_hold();
        }
    }

    /// Whether ports wait for their device, or for another program that has theirs on the loopback.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty() || self.loopback.is_waiting()
    }

    /// Tries to open the ports that wait.
    pub fn retry_waiting(&mut self) {
        self.retry_loopback();
        let mut prepared = Prepared::default();
        let home = self.home();
        for (name, why) in &mut self.waiting {
            let Some(port) = self.config.ports.get(name) else { continue };
            let terms = Terms::of(&self.config, port).again();
            match device::open(port, terms, home.clone(), &self.questions) {
                Ok(device) => _ = prepared.opened.insert(name.clone(), device),
                Err(error) => *why = error.to_string(),
            }
        }
        self.retry_tunnels(&mut prepared);
        if prepared.opened.is_empty() && prepared.endpoints.is_empty() {
            return;
        }
        if let Err(error) = self.commit(self.config.clone(), prepared) {
            self.note_problem(error.to_string());
        }
        self.follow_new_hosts();
    }

    /// Frees some of what timed out: stations, neighbours, sessions.
    pub fn sweep(&mut self) {
        let (now, tables) = (self.fleet.clock().now(), self.fleet.tables());
        let seconds = now.seconds();
        let slots = self.whole_bridges().map(|(_, slot)| slot).filter(|slot| !slot.fdb.is_empty());
        let next = slots.map(|slot| slot.fdb.sweep(seconds, self.swept.stations, SWEEP_BUCKETS));
        self.swept.stations = next.max().unwrap_or(0);
        self.swept.neighbors = tables.neighbors.sweep(now, self.swept.neighbors, SWEEP_BUCKETS);
        self.sweep_sessions(now);
        self.sweep_vteps(seconds);
    }

    fn sweep_sessions(&mut self, now: Nanos) {
        let tables = self.fleet.tables();
        let translation = self.snapshot.translation();
        self.swept.sessions = tables.sessions.expire(
            now.seconds(),
            self.swept.sessions,
            SWEEP_SESSIONS,
            &translation.timeouts,
            |ended| translation.release(ended, now),
        );
    }

    /// Whether anything is known that can time out.
    pub fn has_mortals(&self) -> bool {
        let tables = self.fleet.tables();
        self.numbering.bridges.values().any(|slot| !slot.fdb.is_empty())
            || !tables.neighbors.is_empty()
            || tables.sessions.gauges().used > 0
            || self.has_learned_vteps()
    }
}

/// Whether a port lives and dies with a container.
pub(super) fn is_bound_to_container(port: &Port) -> bool {
    let (netns, _): (Option<&NetnsRef>, _) = port.kind.interface();
    netns.is_some()
}
