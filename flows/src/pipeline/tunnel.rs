//! Tunnels whose packets travel over a bridge: where they leave the pipeline to be unwrapped, and how they get into it.
//!
//! A tunnel packet is a packet to the gateway's station like any other: its sender is learned, and a port's guard and rate
//! are kept to. Rules do not see it, as a host's own socket is not behind them; nor is it taken from guarded ports, whose
//! containers are nobody's underlay.

use std::net::{IpAddr, SocketAddr};

use pktio::offload::fit;
use pktio::underlay::Outer;
use pktio::wire::Layers;
use pktio::wire::field::protocol;
use pktio::{Accepts, Gso, PktBuf};

use super::bridge::Ingress;
use super::desk::Desk;
use super::evaluate::Refusal;
use super::inspect::Memory;
use super::witness::Witness;
use crate::vxlan::outer::{Way, enclose, finish_inner, must_be_cut, open};
use crate::vxlan::{Native, Vtep, encap, entropy, reason_of};
use crate::{BridgeDomain, DropReason, Endpoint, Finding, PortIndex, Vid};

/// Datagrams whose checksums nobody will look at.
const DATAGRAMS: Accepts = Accepts { partial_csum: true, ..Accepts::PLAIN };

/// A packet for an endpoint of tunnels, without its outer headers.
#[derive(Debug)]
pub struct Tunnelled {
    /// The endpoint.
    pub endpoint: PortIndex,
    /// What the outer headers said.
    pub outer: Outer,
    /// The VXLAN header, and the frame behind it.
    pub frame: PktBuf,
}

/// A frame that was not put into its tunnel.
#[derive(Debug)]
pub struct Untunnelled {
    /// The frame.
    pub frame: PktBuf,
    /// Why; nothing, when its next hop is being asked for, and it can be tried again.
    pub reason: Option<DropReason>,
}

impl Ingress<'_> {
    /// The endpoint that a packet to the gateway's station is for.
    #[inline]
    pub(super) fn endpoint_of(
        &self,
        frame: &PktBuf,
        layers: &Layers,
        vid: Vid,
    ) -> Option<PortIndex> {
        let (_, domain) = self.domain(vid)?;
        if domain.endpoints.is_empty() || self.port.guard.is_some() {
            return None;
        }
        endpoint_at(domain, frame, layers)
    }
}

#[inline(never)]
fn endpoint_at(domain: &BridgeDomain, frame: &PktBuf, layers: &Layers) -> Option<PortIndex> {
    let (_, port) = layers.ports(frame.data()).filter(|_| layers.protocol == protocol::UDP)?;
    let (_, ip) = layers.addresses(frame.data())?;
    let meant = SocketAddr::new(ip, port);
    domain.endpoints.iter().find(|(own, _)| *own == meant).map(|(_, endpoint)| *endpoint)
}

impl<W: Witness> Memory<W> {
    /// Takes a packet for an endpoint out of the pipeline.
    pub(super) fn take_out(
        &mut self,
        desk: &mut Desk,
        frame: PktBuf,
        layers: &Layers,
        endpoint: PortIndex,
    ) {
        self.witness.note(|| Finding::Tunnel { endpoint });
        if W::IS_DRY {
            return desk.absorb(frame);
        }
        desk.take();
        // The kernel of a machine beside us may send many datagrams as one.
        if !matches!(frame.offload.gso, Gso::Udp { .. }) {
            return self.open(desk, frame, layers, endpoint);
        }
        if let Err((frame, why)) = fit(frame, &DATAGRAMS, desk.pool, &mut self.segments) {
            return lose(desk, endpoint, frame, why.into());
        }
        let mut segments = std::mem::take(&mut self.segments);
        for segment in segments.drain(..) {
            match Layers::parse(segment.data()) {
                Ok(Some(layers)) => self.open(desk, segment, &layers, endpoint),
                _ => lose(desk, endpoint, segment, DropReason::MalformedTunnel),
            }
        }
        self.segments = segments;
    }

    fn open(&mut self, desk: &mut Desk, mut frame: PktBuf, layers: &Layers, endpoint: PortIndex) {
        match open(&mut frame, layers) {
            Ok(outer) => self.tunnelled.push(Tunnelled { endpoint, outer, frame }),
            Err(refusal) => lose(desk, endpoint, frame, reason_of(refusal)),
        }
    }

    /// Puts a frame into a tunnel, and sends it over a bridge.
    pub(super) fn tunnel(
        &mut self,
        desk: &mut Desk,
        (vtep, native): (&Vtep, Native),
        frame: PktBuf,
    ) -> Result<(), Untunnelled> {
        let layers = Layers::parse(frame.data()).ok().flatten();
        let spread = entropy(frame.data(), layers.as_ref());
        let way = match self.way(desk, native, vtep.remote, spread) {
            Ok(way) => way,
            Err(reason) => return Err(Untunnelled { frame, reason }),
        };
        let Some(bridge) = desk.snapshot.bridge(native.bridge) else {
            return Err(Untunnelled { frame, reason: Some(DropReason::TunnelUnreachable) });
        };
        if must_be_cut(&frame, layers.as_ref()) {
            return self.tunnel_segments(desk, bridge, (vtep, &way), frame);
        }
        let packet = wrap(frame, layers.as_ref(), vtep, &way)?;
        desk.originate(bridge, packet, bridge.vid());
        Ok(())
    }

    /// The same with a super-frame that cannot travel as one. Where one segment finds no room for headers, none does.
    fn tunnel_segments(
        &mut self,
        desk: &mut Desk,
        bridge: &BridgeDomain,
        (vtep, way): (&Vtep, &Way),
        frame: PktBuf,
    ) -> Result<(), Untunnelled> {
        let mut segments = std::mem::take(&mut self.segments);
        let cut = fit(frame, &Accepts::PLAIN, desk.pool, &mut segments);
        let mut result =
            cut.map_err(|(frame, why)| Untunnelled { frame, reason: Some(why.into()) });
        for segment in segments.drain(..) {
            let layers = Layers::parse(segment.data()).ok().flatten();
            match wrap(segment, layers.as_ref(), vtep, way) {
                Ok(packet) => desk.originate(bridge, packet, bridge.vid()),
                Err(lost) => match std::mem::replace(&mut result, Err(lost)) {
                    Ok(()) => {}
                    Err(Untunnelled { frame, .. }) => desk.pool.recycle(frame),
                },
            }
        }
        self.segments = segments;
        result
    }

    /// The way of packets of an endpoint to another; nothing, as a reason why there is none, while it is being found.
    fn way(
        &mut self,
        desk: &Desk,
        native: Native,
        remote: IpAddr,
        spread: u16,
    ) -> Result<Way, Option<DropReason>> {
        let Native { bridge, local } = native;
        let to = Endpoint { ip: remote, port: 0 };
        let next = self.next_hop_on(desk, bridge, to, spread.into());
        let hop = next.and_then(|next| self.resolve(desk, next)).map_err(|why| match why {
            Refusal::Hold(_) => None,
            Refusal::Tell(DropReason::Unresolved, _) => Some(DropReason::Unresolved),
            Refusal::Drop(DropReason::HoldFull) => Some(DropReason::HoldFull),
            _ => Some(DropReason::TunnelUnreachable),
        })?;
        Ok(Way { local, remote, from: hop.from, to: hop.to })
    }
}

/// Puts all headers of a tunnel in front of a frame.
fn wrap(
    mut frame: PktBuf,
    layers: Option<&Layers>,
    vtep: &Vtep,
    way: &Way,
) -> Result<PktBuf, Untunnelled> {
    if !finish_inner(&mut frame, layers, vtep.remote) {
        return Err(Untunnelled { frame, reason: Some(DropReason::BadOffload) });
    }
    match encap(&mut frame, layers, &vtep.tunnel) {
        Some(mark) if enclose(&mut frame, way, mark) => Ok(frame),
        _ => Err(Untunnelled { frame, reason: Some(DropReason::NoBuffer) }),
    }
}

/// Drops what an endpoint received. It was for the switch, as far as the port is concerned that it came in by.
#[cold]
fn lose(desk: &mut Desk, endpoint: PortIndex, frame: PktBuf, reason: DropReason) {
    desk.ledger.turn_away(desk.pool, frame, (endpoint, reason), desk.now);
}
