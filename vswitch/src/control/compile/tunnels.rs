//! Tunnels: which numbers they have, and what the pipeline and the workers get of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU8;

use ctl::{BridgeName, Config, PortName, Tos, Vxlan};
use flows::vxlan::{Dscp, Native, Segment, Ttl, Tunnel, Tunnels, Vni, Vtep};
use flows::{Horizon, PortConfig, PortIndex};

use super::Numbering;

/// Where packets of tunnels arrive, and how.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TunnelEndpoint {
    /// Address and port.
    pub local: SocketAddr,
    /// The bridge over which they travel; without one it is a socket of the kernel's.
    pub via: Option<BridgeName>,
}

/// The numbers of the tunnels that are open.
#[derive(Debug, Clone, Default)]
pub struct Overlay {
    /// Endpoints.
    pub endpoints: BTreeMap<TunnelEndpoint, PortIndex>,
    /// Segments.
    pub segments: BTreeMap<PortName, SegmentSlot>,
}

/// The numbers of a segment.
#[derive(Debug, Clone)]
pub struct SegmentSlot {
    /// The port by which frames of unknown remotes come in.
    pub base: PortIndex,
    /// The ports of the remotes that are known, configured and learned ones.
    pub vteps: BTreeMap<IpAddr, VtepSlot>,
}

/// The number of a remote.
#[derive(Debug, Clone, Copy)]
pub struct VtepSlot {
    /// Its port.
    pub port: PortIndex,
    /// The last sweep found no station behind it.
    pub is_deserted: bool,
}

impl VtepSlot {
    /// That of a remote that has just become known.
    pub fn new(port: PortIndex) -> Self {
        Self { port, is_deserted: false }
    }
}

impl SegmentSlot {
    /// The numbers of all its ports.
    pub fn ports(&self) -> impl Iterator<Item = PortIndex> + '_ {
        std::iter::once(self.base).chain(self.vteps.values().map(|vtep| vtep.port))
    }
}

impl Overlay {
    /// Every number that is taken.
    pub fn numbers(&self) -> impl Iterator<Item = PortIndex> + '_ {
        let segments = self.segments.values().flat_map(SegmentSlot::ports);
        self.endpoints.values().copied().chain(segments)
    }

    /// The tunnel that a port is of.
    pub fn name_of(&self, port: PortIndex) -> Option<&PortName> {
        let is_of = |slot: &SegmentSlot| slot.ports().any(|own| own == port);
        self.segments.iter().find(|(_, slot)| is_of(slot)).map(|(name, _)| name)
    }

    /// The remote that a port leads to.
    pub fn remote_of(&self, port: PortIndex) -> Option<IpAddr> {
        let mut vteps = self.segments.values().flat_map(|slot| &slot.vteps);
        vteps.find(|(_, vtep)| vtep.port == port).map(|(remote, _)| *remote)
    }

    /// The port that leads to a remote of a tunnel.
    pub fn port_towards(&self, name: &PortName, remote: IpAddr) -> Option<PortIndex> {
        Some(self.segments.get(name)?.vteps.get(&remote)?.port)
    }
}

/// The endpoint of a tunnel.
pub fn endpoint_of(vxlan: &Vxlan) -> TunnelEndpoint {
    let local = SocketAddr::new(vxlan.local, vxlan.dstport);
    TunnelEndpoint { local, via: vxlan.via.clone() }
}

/// The longest inner packet of a tunnel, in bytes.
pub fn inner_mtu(vxlan: &Vxlan) -> u16 {
    // A configuration in which nothing fits through is refused.
    vxlan.inner_mtu().ok().and_then(|mtu| u16::try_from(mtu.bytes()).ok()).unwrap_or(0)
}

/// Compiles the tunnels that are open.
pub(super) fn tunnels(config: &Config, numbering: &Numbering) -> Tunnels {
    let overlay = &numbering.overlay;
    let mut tunnels = Tunnels::default();
    for (name, slot) in &overlay.segments {
        let Some(vxlan) = config.vxlans.get(name) else { continue };
        let at = endpoint_of(vxlan);
        let Some(endpoint) = overlay.endpoints.get(&at).copied() else { continue };
        let over = at.via.as_ref().and_then(|via| numbering.bridges.get(via));
        let native = over.map(|slot| Native { bridge: slot.index, local: at.local });
        let Some(tunnel) = tunnel(vxlan) else { continue };
        let (base, is_learning) = (slot.base, vxlan.learning);
        tunnels.add_segment(Segment { endpoint, base, tunnel, is_learning }, inner_mtu(vxlan));
        for (remote, vtep) in &slot.vteps {
            tunnels.add_vtep(vtep.port, Vtep { endpoint, remote: *remote, tunnel, native });
        }
    }
    tunnels
}

/// The endpoints whose packets travel over a bridge, with their numbers.
pub(super) fn endpoints_over(
    overlay: &Overlay,
    bridge: &BridgeName,
) -> Vec<(SocketAddr, PortIndex)> {
    let over = overlay.endpoints.iter().filter(|(at, _)| at.via.as_ref() == Some(bridge));
    over.map(|(at, index)| (at.local, *index)).collect()
}

/// How frames are put into a tunnel. Endpoints have the usual TTL, and are shared.
fn tunnel(vxlan: &Vxlan) -> Option<Tunnel> {
    let ttl = match NonZeroU8::new(vxlan.ttl) {
        Some(ttl) if vxlan.ttl != Vxlan::TTL => Ttl::Fixed(ttl),
        _ => Ttl::Endpoint,
    };
    let dscp = match vxlan.tos {
        Tos::Inherit => Dscp::Inherited,
        Tos::Fixed(byte) => Dscp::Fixed(byte >> 2),
    };
    Some(Tunnel { dscp, ttl, ..Tunnel::new(Vni::new(vxlan.vni.number())?) })
}

/// The ports of a tunnel. Nothing is learned on the base: whoever sends by it will have a port.
pub(super) fn ports(
    config: &Config,
    numbering: &Numbering,
    name: &PortName,
) -> Vec<(PortIndex, PortConfig)> {
    let slots = config.vxlans.get(name).zip(numbering.overlay.segments.get(name));
    let Some((vxlan, slot)) = slots else { return Vec::new() };
    let Some(bridge) = numbering.bridges.get(&vxlan.bridge) else { return Vec::new() };
    let limit = config.bridges.get(&vxlan.bridge).map_or(0, |bridge| bridge.mac_limit);
    let vtep = PortConfig {
        horizon: Horizon::Tunnel,
        mtu_bytes: inner_mtu(vxlan).into(),
        mac_limit: if vxlan.learning { limit } else { 0 },
        vni: Some(vxlan.vni.number()),
        ..PortConfig::new(bridge.index)
    };
    let base = PortConfig { is_ingress_only: true, mac_limit: 0, ..vtep.clone() };
    let vteps = slot.vteps.values().map(|own| (own.port, vtep.clone()));
    std::iter::once((slot.base, base)).chain(vteps).collect()
}
