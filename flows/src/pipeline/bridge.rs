//! Bridging: the first look at a frame, and its way to one port of a bridge or to all.
//!
//! IEEE 802.1Q with independent VLAN learning (clause 8); what differs per port is a
//! [`VlanPolicy`](crate::VlanPolicy).

use std::cell::Cell;

use pktio::wire::field::ethertype;
use pktio::wire::{ETHERNET_BYTES, EthernetHeader, MacAddr};
use pktio::{Csum, PktBuf};

use super::desk::Desk;
use super::vlan;
use crate::fdb::{self, Learned};
use crate::{
    BridgeDomain, BridgeIndex, DropReason, Horizon, PortConfig, PortIndex, RouterPort, Seconds,
    Snapshot, Vid,
};

/// The ingress side of a burst, looked up once.
pub(super) struct Ingress<'a> {
    pub(super) index: PortIndex,
    pub(super) port: &'a PortConfig,
    pub(super) bridge: &'a BridgeDomain,
    snapshot: &'a Snapshot,
    /// A station has come from another port.
    pub(super) has_moved: Cell<bool>,
}

/// What the first look at a frame finds out. Of eight bytes, so that one is found by a shift.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(align(8))]
pub(super) enum Step {
    /// It goes to one port, in the form that its VLAN policy wants.
    Forward(PortIndex, Vid),
    /// It goes to every other port of the VLAN.
    Flood(Vid),
    /// It is to be decided about by what is in it: for the gateway, which it may be addressed to, or because rules apply.
    Inspect { vid: Vid, is_gateways: bool },
    /// Nowhere.
    Drop(DropReason),
}

const _: () = assert!(size_of::<Step>() == 8);

/// Who puts a frame into a bridge.
#[derive(Clone, Copy)]
pub(super) enum Sender<'a> {
    /// The port that it came in by.
    Port(&'a Ingress<'a>),
    /// The router: it came in by a port of another bridge, or goes back to where it came from.
    Router,
    /// The router, of a packet's pieces all but the first.
    Piece,
    /// The switch itself: its gateway made it.
    Gateway,
}

/// A frame that a bridge did not take, and why.
pub(super) struct Undelivered {
    pub(super) frame: PktBuf,
    pub(super) reason: DropReason,
    /// The port that it should have left by, if it is known.
    pub(super) to: Option<PortIndex>,
}

impl<'a> Ingress<'a> {
    pub(super) fn of(snapshot: &'a Snapshot, index: PortIndex) -> Option<Self> {
        let port = snapshot.port(index)?;
        let bridge = snapshot.bridge(port.bridge)?;
        Some(Self { index, port, bridge, snapshot, has_moved: Cell::new(false) })
    }

    /// What frames of a VLAN that come in by this port are in, to the router, as [`BridgeDomain::domain`] says.
    #[inline]
    pub(super) fn domain(&self, vid: Vid) -> Option<(BridgeIndex, &'a BridgeDomain)> {
        let index = self.bridge.domain(self.port.bridge, vid)?;
        let domain =
            if index == self.port.bridge { self.bridge } else { self.snapshot.bridge(index)? };
        Some((index, domain))
    }

    /// The number by which sessions and neighbours of a VLAN are told from those of others.
    #[inline]
    pub(super) fn number(&self, vid: Vid) -> BridgeIndex {
        self.domain(vid).map_or(self.port.bridge, |(index, _)| index)
    }

    /// The router that stations of a VLAN have.
    #[inline]
    pub(super) fn router(&self, vid: Vid) -> Option<&'a RouterPort> {
        self.domain(vid)?.1.router.as_deref()
    }

    /// Whether a station address is that of the gateway of a VLAN.
    #[inline]
    pub(super) fn is_gateways(&self, station: MacAddr, vid: Vid) -> bool {
        self.domain(vid).is_some_and(|(_, domain)| domain.gateway_mac == station)
    }

    /// Asks for the memory in which stations are looked up.
    #[inline]
    pub(super) fn warm(&self, frame: &PktBuf) {
        let data = frame.data();
        let Some(header) = EthernetHeader::read(data) else { return };
        let Ok(vid) = vlan::classify(&self.port.vlan, &header, data) else { return };
        self.bridge.fdb.warm(header.src, vid);
        self.bridge.fdb.warm(header.dst, vid);
    }

    /// Classifies, learns and looks up. Whom the frame before this one in the burst taught is `heard`, by its
    /// [key](fdb::key), or 0: mostly it is the same one again.
    #[inline(always)]
    pub(super) fn look(&self, frame: &PktBuf, now: Seconds, heard: &mut u64) -> Step {
        let data = frame.data();
        let Some(header) = EthernetHeader::read(data) else { return Step::Drop(DropReason::Runt) };
        let EthernetHeader { dst, src, .. } = header;
        if src.is_group() || src == MacAddr::default() {
            return Step::Drop(DropReason::InvalidSource);
        }
        if dst.is_reserved() {
            return Step::Drop(DropReason::ReservedGroup);
        }
        if self.port.guard.as_ref().is_some_and(|guard| guard.mac != src) {
            return Step::Drop(DropReason::SpoofGuard);
        }
        let vid = match vlan::classify(&self.port.vlan, &header, data) {
            Ok(vid) => vid,
            Err(reason) => return Step::Drop(reason),
        };
        let fdb = &self.bridge.fdb;
        let station = fdb::key(src, vid);
        if self.port.mac_limit > 0 && *heard != station {
            let limits = Snapshot::limits(self.bridge, self.port);
            let learned = fdb.learn(src, vid, self.index, now, limits);
            if learned == Learned::Moved {
                self.has_moved.set(true);
            }
            *heard = if learned == Learned::Refused { 0 } else { station };
        }
        let (port, is_gateways) = (self.port, self.is_gateways(dst, vid));
        if port.is_inspected || port.guard.is_some() || is_gateways {
            return Step::Inspect { vid, is_gateways };
        }
        if dst.is_group() {
            return if self.concerns_gateway(&header, vid) {
                Step::Inspect { vid, is_gateways }
            } else {
                Step::Flood(vid)
            };
        }
        fdb.lookup(dst, vid, now).map_or(Step::Flood(vid), |to| Step::Forward(to, vid))
    }

    /// The VLAN of a frame that came in by this port.
    pub(super) fn vid_of(&self, frame: &PktBuf) -> Option<Vid> {
        let header = EthernetHeader::read(frame.data())?;
        vlan::classify(&self.port.vlan, &header, frame.data()).ok()
    }

    /// Gives a frame of a VLAN back the form in which it came in by this port, before it waits: it will be looked
    /// into anew. False when there is no room for a tag.
    #[must_use]
    pub(super) fn restore(&self, frame: &mut PktBuf, vid: Vid) -> bool {
        vlan::dress(frame, &self.port.vlan, vid)
    }

    /// Whether the gateway of a VLAN has to hear a group frame: address resolution, and who asks for an address
    /// if it gives any. The tag of a tagged frame hides what it carries; whoever looks into it sees.
    #[inline]
    fn concerns_gateway(&self, header: &EthernetHeader, vid: Vid) -> bool {
        const HEARD: [u16; 3] = [ethertype::ARP, ethertype::IPV6, ethertype::VLAN];
        self.router(vid).is_some_and(|router| {
            let gives_addresses = router.gateway.serves.addresses;
            HEARD.contains(&header.ethertype)
                || gives_addresses && header.ethertype == ethertype::IPV4
        })
    }
}

impl Desk<'_> {
    /// Sends a frame that is in `bridge` to whom it is addressed.
    #[inline]
    pub(super) fn deliver(
        &mut self,
        sender: Sender,
        bridge: &BridgeDomain,
        frame: PktBuf,
        vid: Vid,
    ) -> Result<(), Undelivered> {
        let to = EthernetHeader::read(frame.data()).map(|header| header.dst);
        let known = to.filter(|to| !to.is_group());
        match known.and_then(|to| bridge.fdb.lookup(to, vid, self.seconds)) {
            Some(port) => self.forward(sender, frame, port, vid),
            None => self.flood(sender, bridge, frame, vid),
        }
    }

    /// Sends a frame to one port, if that may be.
    #[inline(always)]
    pub(super) fn forward(
        &mut self,
        sender: Sender,
        mut frame: PktBuf,
        to: PortIndex,
        vid: Vid,
    ) -> Result<(), Undelivered> {
        let Some(port) = self.snapshot.port(to) else {
            return Err(Undelivered { frame, reason: DropReason::PortGone, to: Some(to) });
        };
        if let Err(reason) = admit(sender, &frame, to, port, vid) {
            return Err(Undelivered { frame, reason, to: Some(to) });
        }
        if !vlan::dress(&mut frame, &port.vlan, vid) {
            return Err(Undelivered { frame, reason: DropReason::NoBuffer, to: Some(to) });
        }
        self.count_sent(sender);
        self.offer(sender, to, frame);
        Ok(())
    }

    /// Sends a copy of a frame to every other port of its VLAN, and the frame itself to the last.
    pub(super) fn flood(
        &mut self,
        sender: Sender,
        bridge: &BridgeDomain,
        frame: PktBuf,
        vid: Vid,
    ) -> Result<(), Undelivered> {
        let mut last: Option<(PortIndex, &PortConfig)> = None;
        let mut reason = DropReason::NoDestination;
        for member in &bridge.members {
            let Some(port) = self.snapshot.port(*member) else { continue };
            if !port.vlan.carries(vid) || is_elsewhere(&frame, port) {
                continue;
            }
            match admit(sender, &frame, *member, port, vid) {
                Ok(()) => {
                    if let Some(target) = last.replace((*member, port)) {
                        self.send_copy(sender, &frame, target, vid);
                    }
                }
                // The frame is lost for a reason worth telling only if it is lost to everybody.
                Err(DropReason::SameSegment) => {}
                Err(other) => reason = other,
            }
        }
        match last {
            Some(target) => {
                self.count_sent(sender);
                self.send(sender, frame, target, vid);
                Ok(())
            }
            None => Err(Undelivered { frame, reason, to: None }),
        }
    }

    /// Dresses a flooded frame for a port and puts it into its outbox.
    fn send(
        &mut self,
        sender: Sender,
        mut frame: PktBuf,
        (to, port): (PortIndex, &PortConfig),
        vid: Vid,
    ) {
        if vlan::dress(&mut frame, &port.vlan, vid) {
            self.spread(sender, to, frame);
        } else {
            self.lose(sender, to, frame, DropReason::NoBuffer);
        }
    }

    /// Sends a copy of a flooded frame. Without a free buffer the copy is accounted for as dropped at
    /// the port that does not get it.
    fn send_copy(
        &mut self,
        sender: Sender,
        frame: &PktBuf,
        target: (PortIndex, &PortConfig),
        vid: Vid,
    ) {
        self.count_copy(sender);
        match self.pool.copy(frame) {
            Some(copy) => self.send(sender, copy, target, vid),
            None => self.lose_copy(sender, target.0, frame),
        }
    }
}

/// Whether a frame is for one station that is not behind a port, whose only one is known.
fn is_elsewhere(frame: &PktBuf, port: &PortConfig) -> bool {
    let to = EthernetHeader::read(frame.data()).map(|header| header.dst);
    let known = port.guard.as_ref().map(|guard| guard.mac);
    known.zip(to).is_some_and(|(known, to)| !to.is_group() && to != known)
}

/// Whether a frame may leave by a port of its bridge.
#[inline(always)]
fn admit(
    sender: Sender,
    frame: &PktBuf,
    to: PortIndex,
    port: &PortConfig,
    vid: Vid,
) -> Result<(), DropReason> {
    may_leave(sender, to, port, vid)?;
    if fits(frame, port.mtu_bytes) { Ok(()) } else { Err(DropReason::Oversized) }
}

/// Whether frames of a VLAN may leave by a port of their bridge, if they are not too long.
#[inline(always)]
pub(super) fn may_leave(
    sender: Sender,
    to: PortIndex,
    port: &PortConfig,
    vid: Vid,
) -> Result<(), DropReason> {
    if let Sender::Port(from) = sender {
        if to == from.index && !port.hairpin {
            return Err(DropReason::SameSegment);
        }
        if port.horizon != Horizon::Open && port.horizon == from.port.horizon {
            return Err(DropReason::Isolated);
        }
    }
    if port.vlan.carries(vid) { Ok(()) } else { Err(DropReason::VlanEgress) }
}

/// Whether a frame's packet is short enough.
#[inline]
pub(super) fn fits(frame: &PktBuf, mtu_bytes: u32) -> bool {
    let mtu = mtu_bytes as usize;
    // Almost every frame is, even when its tags are counted as payload.
    frame.len() <= ETHERNET_BYTES + mtu || packet_bytes(frame) <= mtu
}

/// Bytes of the longest IP packet that a frame becomes on the wire: Ethernet header and VLAN tags do not
/// count, and a super-frame counts as its longest segment.
pub(super) fn packet_bytes(frame: &PktBuf) -> usize {
    let data = frame.data();
    let headers = ETHERNET_BYTES + vlan::tag_bytes(data);
    segment_bytes(frame).unwrap_or(frame.len()).saturating_sub(headers)
}

/// Length of a super-frame's longest segment; `None` for other frames.
fn segment_bytes(frame: &PktBuf) -> Option<usize> {
    let payload = usize::from(frame.offload.gso.segment_bytes()?);
    let Csum::Partial { start, .. } = frame.offload.csum else { return None };
    let transport = pktio::offload::transport_bytes(frame)?;
    Some((usize::from(start) + transport + payload).min(frame.len()))
}
