//! [`Tunnels`]: which port leads to whom, and by which port it comes in what they send.
//!
//! An *endpoint* of this host is an address and a UDP port; it has a number like a port's, by which its books
//! are kept. On an endpoint there are *segments* (RFC 7348, section 3): bridges that are told apart by their
//! VNI. In a segment every remote endpoint that is known is a port of the bridge, so that stations are learned
//! behind it and floods are replicated to it like to any other port. Of a remote that is not known yet, frames
//! come in by the segment's *base*: a port that nothing is learned on and nothing leaves by.
//!
//! Made by the control thread, shared by all workers, never changed.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use pktio::PktBuf;
use pktio::underlay::Outer;
use pktio::wire::Layers;

use super::{Refusal, Tunnel, Vni, admit, decap, ecn};
use crate::hash::Folding;
use crate::{BridgeIndex, DropReason, PortIndex};

/// How packets of an endpoint travel that the switch itself sends and receives, and not a socket of the host's kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Native {
    /// Over this bridge, by its routes and neighbours.
    pub bridge: BridgeIndex,
    /// The endpoint's address, and the port at which it and the others receive.
    pub local: SocketAddr,
}

/// A remote endpoint in a segment: what a port leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vtep {
    /// The endpoint of this host that its frames leave by.
    pub endpoint: PortIndex,
    /// Its address.
    pub remote: IpAddr,
    /// How frames are put into the tunnel.
    pub tunnel: Tunnel,
    /// How its packets travel, if not by a socket.
    pub native: Option<Native>,
}

/// A bridge's end of a VXLAN segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The endpoint of this host.
    pub endpoint: PortIndex,
    /// The port by which frames of unknown remotes come in.
    pub base: PortIndex,
    /// How frames are taken out of its tunnels.
    pub tunnel: Tunnel,
    /// Whether remotes may become known by what they send; if not, frames of unknown ones are dropped.
    pub is_learning: bool,
}

/// Where a frame that came out of a tunnel comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// The port.
    pub port: PortIndex,
    /// Who sent it, if that is not known yet.
    pub stranger: Option<IpAddr>,
}

/// A frame that does not come out of its tunnel: why not, and in whose books that is to be noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misfit {
    /// The port of its remote, the base of its segment, or the endpoint when there is no such segment.
    pub port: PortIndex,
    /// Why.
    pub reason: DropReason,
}

/// All tunnels of a configuration.
#[derive(Debug, Clone, Default)]
pub struct Tunnels {
    /// Of every endpoint, the longest inner packet that is not a super-frame, in bytes.
    endpoints: Vec<(PortIndex, u16)>,
    segments: HashMap<(PortIndex, Vni), Segment, Folding>,
    ports: HashMap<(PortIndex, Vni, IpAddr), PortIndex, Folding>,
    vteps: Vec<Option<Vtep>>,
}

impl Tunnels {
    /// Adds a segment. What its inner packets can be as long as limits those of the endpoint.
    pub fn add_segment(&mut self, segment: Segment, inner_mtu_bytes: u16) {
        self.segments.insert((segment.endpoint, segment.tunnel.vni), segment);
        let own = self.endpoints.iter_mut().find(|(endpoint, _)| *endpoint == segment.endpoint);
        match own {
            Some((_, least)) => *least = inner_mtu_bytes.min(*least),
            None => self.endpoints.push((segment.endpoint, inner_mtu_bytes)),
        }
    }

    /// Adds a port that leads to a remote.
    pub fn add_vtep(&mut self, port: PortIndex, vtep: Vtep) {
        self.ports.insert((vtep.endpoint, vtep.tunnel.vni, vtep.remote), port);
        if port.slot() >= self.vteps.len() {
            self.vteps.resize(port.slot() + 1, None);
        }
        self.vteps[port.slot()] = Some(vtep);
    }

    /// What a port leads to, if it is a tunnel's.
    #[inline]
    pub fn vtep(&self, port: PortIndex) -> Option<&Vtep> {
        self.vteps.get(port.slot())?.as_ref()
    }

    /// All ports that lead to remotes.
    pub fn vteps(&self) -> impl Iterator<Item = (PortIndex, &Vtep)> + '_ {
        let numbered = (0..=u16::MAX).map(PortIndex).zip(&self.vteps);
        numbered.filter_map(|(port, vtep)| Some((port, vtep.as_ref()?)))
    }

    /// The longest inner packet at an endpoint that is not a super-frame, in bytes: that of its narrowest
    /// segment.
    pub fn inner_mtu_bytes(&self, endpoint: PortIndex) -> Option<u16> {
        self.endpoints.iter().find(|(own, _)| *own == endpoint).map(|(_, mtu)| *mtu)
    }

    /// One more than the highest number of a port or an endpoint.
    pub(crate) fn port_slots(&self) -> usize {
        let endpoints = self.endpoints.iter().map(|(endpoint, _)| endpoint.slot() + 1);
        endpoints.max().unwrap_or(0).max(self.vteps.len())
    }

    /// Takes a frame that an endpoint received out of its tunnel, and finds the port that it comes in by.
    ///
    /// # Errors
    /// [`Misfit`]: the frame is to be dropped.
    #[inline]
    pub fn unwrap(
        &self,
        endpoint: PortIndex,
        frame: &mut PktBuf,
        outer: Outer,
    ) -> Result<Arrival, Misfit> {
        let misfit = |port| move |refusal| Misfit { port, reason: reason_of(refusal) };
        let vni = decap(frame).map_err(misfit(endpoint))?;
        let Some(segment) = self.segments.get(&(endpoint, vni)) else {
            return Err(Misfit { port: endpoint, reason: DropReason::UnknownVni });
        };
        let arrival = match self.ports.get(&(endpoint, vni, outer.remote)) {
            Some(port) => Arrival { port: *port, stranger: None },
            None => Arrival { port: segment.base, stranger: Some(outer.remote) },
        };
        if arrival.stranger.is_some() && !segment.is_learning {
            return Err(Misfit { port: segment.base, reason: DropReason::UnknownVtep });
        }
        // Only what congestion marks are handed on to has to be looked into.
        let parse = || Layers::parse(frame.data()).ok().flatten();
        let layers = if ecn::is_marked(outer.tos) { parse() } else { None };
        let admitted = admit(frame, layers.as_ref(), outer.tos, &segment.tunnel);
        admitted.map_err(misfit(arrival.port)).map(|()| arrival)
    }
}

pub(crate) fn reason_of(refusal: Refusal) -> DropReason {
    match refusal {
        Refusal::Short
        | Refusal::NoVni
        | Refusal::Broken
        | Refusal::BadChecksum
        | Refusal::InnerRunt => DropReason::MalformedTunnel,
        Refusal::InnerTagged => DropReason::VlanNotAllowed,
        Refusal::Congestion => DropReason::TunnelCongestion,
    }
}

#[cfg(test)]
mod tests {
    use pktio::{Pool, PoolConfig};

    use super::*;

    const ENDPOINT: PortIndex = PortIndex(9);
    const BASE: PortIndex = PortIndex(3);
    const FRIEND: PortIndex = PortIndex(4);

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    /// One segment, VNI 7, with one known remote.
    fn tunnels(is_learning: bool) -> Tunnels {
        let tunnel = Tunnel::new(Vni::new(7).unwrap());
        let mut tunnels = Tunnels::default();
        let segment = Segment { endpoint: ENDPOINT, base: BASE, tunnel, is_learning };
        tunnels.add_segment(segment, 1450);
        tunnels.add_vtep(FRIEND, Vtep { endpoint: ENDPOINT, remote: ip(2), tunnel, native: None });
        tunnels
    }

    /// An IPv4 packet (of TOS 0) in a tunnel, under this VNI.
    fn wrapped(vni: u8) -> Vec<u8> {
        let mut frame = vec![0x08, 0, 0, 0, 0, 0, vni, 0];
        etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .udp(1, 2)
            .write(&mut frame, &[1, 2, 3])
            .unwrap();
        frame
    }

    fn unwrap(tunnels: &Tunnels, bytes: &[u8], remote: u8, tos: u8) -> Result<Arrival, Misfit> {
        let mut pool = Pool::new(PoolConfig { small: 1, slabs: 1 }).unwrap();
        let mut frame = pool.frame_from(bytes).unwrap();
        let arrival = tunnels.unwrap(ENDPOINT, &mut frame, Outer { remote: ip(remote), tos })?;
        assert_eq!(frame.data(), &bytes[8..]);
        Ok(arrival)
    }

    #[test]
    fn a_frame_comes_in_by_the_port_of_its_remote_or_by_the_base() {
        let (tunnels, frame) = (tunnels(true), wrapped(7));
        let known = Arrival { port: FRIEND, stranger: None };
        assert_eq!(unwrap(&tunnels, &frame, 2, 0), Ok(known));
        let unknown = Arrival { port: BASE, stranger: Some(ip(3)) };
        assert_eq!(unwrap(&tunnels, &frame, 3, 0), Ok(unknown));
    }

    #[test]
    fn what_is_not_for_anybody_is_dropped_into_the_right_books() {
        let mut tagged = wrapped(7);
        tagged.splice(20..20, [0x81, 0, 0, 5]);
        let mut without_vni = wrapped(7);
        without_vni[0] = 0;
        for (is_learning, bytes, remote, tos, port, reason) in [
            (true, wrapped(8), 2, 0, ENDPOINT, DropReason::UnknownVni),
            (true, without_vni, 2, 0, ENDPOINT, DropReason::MalformedTunnel),
            (true, wrapped(7)[..20].to_vec(), 2, 0, ENDPOINT, DropReason::MalformedTunnel),
            (false, wrapped(7), 3, 0, BASE, DropReason::UnknownVtep),
            (true, tagged.clone(), 2, 0, FRIEND, DropReason::VlanNotAllowed),
            (true, tagged, 3, 0, BASE, DropReason::VlanNotAllowed),
            (true, wrapped(7), 2, 3, FRIEND, DropReason::TunnelCongestion),
        ] {
            let lost = unwrap(&tunnels(is_learning), &bytes, remote, tos);
            assert_eq!(lost, Err(Misfit { port, reason }));
        }
    }

    #[test]
    fn an_endpoint_is_as_wide_as_its_narrowest_segment() {
        let mut tunnels = tunnels(true);
        let tunnel = Tunnel::new(Vni::new(8).unwrap());
        let wide = Segment { endpoint: ENDPOINT, base: BASE, tunnel, is_learning: true };
        tunnels.add_segment(wide, 8950);
        assert_eq!(tunnels.inner_mtu_bytes(ENDPOINT), Some(1450));
        assert_eq!(tunnels.inner_mtu_bytes(BASE), None);
        assert_eq!(tunnels.port_slots(), 10);
        assert_eq!(tunnels.vteps().map(|(port, _)| port).collect::<Vec<_>>(), [FRIEND]);
    }
}
