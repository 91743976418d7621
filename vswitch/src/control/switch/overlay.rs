//! Tunnels: opening their endpoints, numbering their remotes, learning and forgetting remotes.
//!
//! An endpoint is open as long as a tunnel is on it, whatever their number. Configured remotes have their
//! ports from the start. One that is learned gets its port when a worker reports that it sent something, and
//! loses it when two sweeps in a row found no station behind it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU8;

use ctl::{Config, CtlError, ErrorCode, PortName, Vxlan};
use flows::{PortIndex, Seconds};
use pktio::underlay::{self, Underlay, UnderlayConfig, UnderlayError};

use super::Switch;
use super::commit::{Prepared, full, stuck};
use crate::control::compile::{SegmentSlot, TunnelEndpoint, VtepSlot, endpoint_of, inner_mtu};
use crate::fleet::FleetError;
use crate::worker::{QueueId, Stranger};

/// The most remotes of one tunnel that are known, as many as can be configured: each gets a copy of every
/// broadcast.
const MAX_VTEPS: usize = 1024;

impl Switch {
    /// Opens what a new tunnel needs: an endpoint with a queue for each worker, in the daemon's own namespace, unless its packets
    /// travel over a bridge.
    pub(super) fn open_endpoint(
        &self,
        vxlan: &Vxlan,
        prepared: &mut Prepared,
    ) -> Result<(), UnderlayError> {
        let at = endpoint_of(vxlan);
        let is_open = self.numbering.overlay.endpoints.contains_key(&at);
        if !is_open && !prepared.endpoints.contains_key(&at) {
            // What travels over a bridge has the queues of that bridge's ports.
            let queues = match at.via {
                Some(_) => Vec::new(),
                None => underlay::open(&config_of(vxlan), self.queues())?,
            };
            prepared.endpoints.insert(at, queues);
        }
        Ok(())
    }

    /// One queue for each worker.
    fn queues(&self) -> u16 {
        u16::try_from(self.fleet.workers().count()).unwrap_or(1)
    }

    /// Takes away what the next configuration has no tunnels for: the ports of their remotes, with the stations
    /// behind them, and the endpoints.
    pub(super) fn close_tunnels(&mut self, next: &Config) -> Result<(), FleetError> {
        let overlay = &mut self.numbering.overlay;
        let mut ports = BTreeSet::new();
        overlay.segments.retain(|name, slot| {
            let stays = self.config.vxlans.get(name).zip(next.vxlans.get(name));
            let stays = stays.is_some_and(|(old, new)| old.is_same_tunnel(new));
            if !stays {
                ports.extend(slot.ports());
            }
            stays
        });
        for (name, slot) in &mut overlay.segments {
            let Some(vxlan) = next.vxlans.get(name) else { continue };
            let before = self.config.vxlans.get(name);
            let is_removed = |remote: &IpAddr| {
                let was_configured = before.is_some_and(|old| old.remotes.contains(remote));
                !vxlan.remotes.contains(remote) && (was_configured || !vxlan.learning)
            };
            let removed = slot.vteps.extract_if(.., |remote, _| is_removed(remote));
            ports.extend(removed.map(|(_, vtep)| vtep.port));
        }
        let used: BTreeSet<_> = next.vxlans.values().map(endpoint_of).collect();
        let unused = overlay.endpoints.extract_if(.., |at, _| !used.contains(at));
        ports.extend(unused.map(|(_, port)| port));
        self.note_stations_behind(&ports);
        ports.into_iter().try_for_each(|port| self.vacate(port))
    }

    /// Numbers the tunnels of the configuration whose endpoints are open, and hands new endpoints out.
    pub(super) fn number_tunnels(
        &mut self,
        opened: BTreeMap<TunnelEndpoint, Vec<Underlay>>,
    ) -> Result<Vec<(PortIndex, Vec<Underlay>)>, CtlError> {
        let mut fresh = Vec::new();
        for (at, queues) in opened {
            let port = self.numbering.free_port().ok_or_else(|| full("ports"))?;
            self.numbering.overlay.endpoints.insert(at, port);
            fresh.push((port, queues));
        }
        let vxlans = self.config.vxlans.clone();
        for (name, vxlan) in &vxlans {
            if self.numbering.overlay.endpoints.contains_key(&endpoint_of(vxlan)) {
                self.number_tunnel(name, vxlan)?;
                self.waiting.remove(name);
            }
        }
        Ok(fresh)
    }

    fn number_tunnel(&mut self, name: &PortName, vxlan: &Vxlan) -> Result<(), CtlError> {
        if !self.numbering.overlay.segments.contains_key(name) {
            let base = self.numbering.free_port().ok_or_else(|| full("ports"))?;
            let slot = SegmentSlot { base, vteps: BTreeMap::new() };
            self.numbering.overlay.segments.insert(name.clone(), slot);
        }
        vxlan.remotes.iter().try_for_each(|remote| self.number_vtep(name, *remote))
    }

    /// Gives a remote a port, unless it has one.
    fn number_vtep(&mut self, name: &PortName, remote: IpAddr) -> Result<(), CtlError> {
        let free = self.numbering.free_port();
        let Some(slot) = self.numbering.overlay.segments.get_mut(name) else { return Ok(()) };
        if let Entry::Vacant(place) = slot.vteps.entry(remote) {
            place.insert(VtepSlot::new(free.ok_or_else(|| full("ports"))?));
        }
        Ok(())
    }

    /// Gives each worker its queue of an endpoint.
    pub(super) fn start_endpoint(
        &mut self,
        port: PortIndex,
        queues: Vec<Underlay>,
    ) -> Result<(), FleetError> {
        let workers: Vec<_> = self.fleet.workers().map(|(worker, _)| worker).collect();
        for ((queue, underlay), worker) in (0u16..).zip(queues).zip(workers) {
            self.fleet.attach(worker, QueueId { port, queue }, underlay)?;
        }
        Ok(())
    }

    /// An endpoint cannot be used any more: its tunnels wait until it can be opened again. False when the
    /// port is none.
    pub(super) fn lose_endpoint(&mut self, port: PortIndex, why: &str) -> bool {
        let endpoints = &self.numbering.overlay.endpoints;
        let Some(at) = endpoints.iter().find(|(_, own)| **own == port).map(|(at, _)| at.clone())
        else {
            return false;
        };
        let local = at.local;
        let on_it = |vxlan: &Vxlan| endpoint_of(vxlan) == at;
        let names = self.config.vxlans.iter().filter(|(_, vxlan)| on_it(vxlan));
        let names: Vec<_> = names.map(|(name, _)| name.clone()).collect();
        self.numbering.overlay.endpoints.remove(&at);
        let mut ports = vec![port];
        for name in names {
            let slot = self.numbering.overlay.segments.remove(&name);
            ports.extend(slot.iter().flat_map(SegmentSlot::ports));
            self.note_waiting(&name, "vxlan", why);
        }
        let closed = ports.into_iter().try_for_each(|port| self.vacate(port));
        if let Err(error) = closed.map_err(stuck).and_then(|()| self.publish()) {
            self.note_problem(format!("tunnels at {local}: {error}"));
        }
        true
    }

    /// Opens the endpoints of tunnels that wait, as far as that works now.
    pub(super) fn retry_tunnels(&mut self, prepared: &mut Prepared) {
        let waits = |(name, _): &(&PortName, &Vxlan)| self.waiting.contains_key(*name);
        let vxlans: Vec<_> = self.config.vxlans.iter().filter(waits).collect();
        let mut failed = Vec::new();
        for (name, vxlan) in vxlans {
            if let Err(error) = self.open_endpoint(vxlan, prepared) {
                failed.push((name.clone(), error.to_string()));
            }
        }
        self.waiting.extend(failed);
    }

    /// Gives ports to those who sent by tunnels and were not known.
    pub(super) fn heed_strangers(&mut self) {
        let mut is_new = false;
        for stranger in self.fleet.take_strangers() {
            is_new |= self.meet(stranger);
        }
        if is_new && let Err(error) = self.publish() {
            self.note_problem(error.to_string());
        }
    }

    /// Gives somebody a port, unless there cannot be more of them. The configuration may have changed since
    /// it was heard.
    fn meet(&mut self, Stranger { base, remote }: Stranger) -> bool {
        let Some(name) = self.numbering.overlay.name_of(base).cloned() else { return false };
        let slot = self.numbering.overlay.segments.get(&name);
        let is_room = slot.is_some_and(|slot| {
            slot.base == base && slot.vteps.len() < MAX_VTEPS && !slot.vteps.contains_key(&remote)
        });
        let vxlan = self.config.vxlans.get(&name);
        let is_wanted = vxlan.is_some_and(|vxlan| vxlan.learning && vxlan.local != remote);
        let is_met = is_room && is_wanted && self.number_vtep(&name, remote).is_ok();
        if is_met {
            tracing::info!("vxlan {name}: host {remote} is learned");
        }
        is_met
    }

    /// Forgets learned remotes without stations: those that the last sweep found without any, too.
    pub(super) fn sweep_vteps(&mut self, now: Seconds) {
        let inhabited: BTreeSet<_> = self
            .numbering
            .bridges
            .values()
            .flat_map(|slot| slot.fdb.entries(now))
            .map(|entry| entry.port)
            .collect();
        let mut deserted = Vec::new();
        for (name, slot) in &mut self.numbering.overlay.segments {
            let configured = self.config.vxlans.get(name).map(|vxlan| &vxlan.remotes);
            let is_configured =
                |remote: &IpAddr| configured.is_some_and(|remotes| remotes.contains(remote));
            let removed = slot.vteps.extract_if(.., |remote, vtep| {
                let was_deserted = vtep.is_deserted;
                vtep.is_deserted = !is_configured(remote) && !inhabited.contains(&vtep.port);
                was_deserted && vtep.is_deserted
            });
            deserted.extend(removed.map(|(_, vtep)| vtep.port));
        }
        if deserted.is_empty() {
            return;
        }
        let vacated = deserted.into_iter().try_for_each(|port| self.vacate(port));
        if let Err(error) = vacated.map_err(stuck).and_then(|()| self.publish()) {
            self.note_problem(error.to_string());
        }
    }

    /// Whether remotes are known that can be forgotten.
    pub(super) fn has_learned_vteps(&self) -> bool {
        self.numbering.overlay.segments.iter().any(|(name, slot)| {
            let configured = self.config.vxlans.get(name).map_or(0, |vxlan| vxlan.remotes.len());
            slot.vteps.len() > configured
        })
    }

    /// The error of a tunnel that cannot be opened.
    pub(super) fn tunnel_error(name: &PortName, error: &UnderlayError) -> CtlError {
        CtlError::new(ErrorCode::Host, format!("vxlan {name}: {error}"))
    }
}

/// What a new endpoint is: its TTL is the usual one, and tunnels with another say so with each frame.
fn config_of(vxlan: &Vxlan) -> UnderlayConfig {
    let ttl = NonZeroU8::new(Vxlan::TTL).unwrap_or(NonZeroU8::MAX);
    UnderlayConfig { local: endpoint_of(vxlan).local, ttl, inner_mtu_bytes: inner_mtu(vxlan) }
}
