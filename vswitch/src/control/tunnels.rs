//! Answers to questions about tunnels.

use std::collections::HashMap;

use ctl::response::{PortState, VtepInfo, VxlanInfo};
use ctl::{CtlError, PortName, Vxlan};
use flows::PortIndex;

use super::compile::inner_mtu;
use super::inspect::Books;
use super::switch::Switch;

impl Switch {
    /// All tunnels.
    ///
    /// # Errors
    /// [`CtlError`], when a worker does not answer.
    pub fn vxlans(&mut self) -> Result<Vec<VxlanInfo>, CtlError> {
        let books = self.books()?;
        let vxlans = self.config().vxlans.iter();
        Ok(vxlans.map(|(name, vxlan)| self.vxlan_info(name, vxlan, &books)).collect())
    }

    /// One tunnel.
    ///
    /// # Errors
    /// [`CtlError`], when a worker does not answer.
    pub fn vxlan(&mut self, name: &PortName) -> Result<Option<VxlanInfo>, CtlError> {
        let books = self.books()?;
        let vxlan = self.config().vxlans.get(name);
        Ok(vxlan.map(|vxlan| self.vxlan_info(name, vxlan, &books)))
    }

    fn vxlan_info(&self, name: &PortName, settings: &Vxlan, books: &Books) -> VxlanInfo {
        let state = match self.why_waiting(name) {
            Some(why) => PortState::Waiting(why.to_owned()),
            None => PortState::Up,
        };
        let stations = self.stations_by_port(settings);
        let vteps = self.numbering().overlay.segments.get(name).map(|slot| &slot.vteps);
        let vtep = |(remote, own): (&std::net::IpAddr, &super::compile::VtepSlot)| VtepInfo {
            remote: *remote,
            learned: !settings.remotes.contains(remote),
            stations: stations.get(&own.port).copied().unwrap_or(0),
            counters: books.counters(&[own.port]),
        };
        VxlanInfo {
            name: name.clone(),
            settings: settings.clone(),
            network: self.config().network_of_vxlan(name).cloned(),
            state,
            inner_mtu: inner_mtu(settings).into(),
            vteps: vteps.into_iter().flatten().map(vtep).collect(),
        }
    }

    /// How many stations are behind each port of a tunnel's bridge.
    fn stations_by_port(&self, vxlan: &Vxlan) -> HashMap<PortIndex, u32> {
        let mut stations = HashMap::new();
        let slot = self.numbering().bridges.get(&vxlan.bridge);
        for entry in slot.iter().flat_map(|slot| slot.fdb.entries(self.now())) {
            *stations.entry(entry.port).or_default() += 1;
        }
        stations
    }
}
