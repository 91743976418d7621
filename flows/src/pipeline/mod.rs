//! [`Pipeline`]: what becomes of a burst.
//!
//! ```text
//!   frame ──► classify (source, reserved group, VLAN) ──► learn ──► look up ──► deliver
//!                 │                                                    │           │
//!              drop(reason)                              unknown: flood copies   outbox
//! ```
//!
//! One straight line per frame, no callback and no queue between the stages. Bridging is IEEE 802.1Q
//! with independent VLAN learning (clause 8); what differs per port is a [`VlanPolicy`](crate::VlanPolicy).
//!
//! A burst is gone over twice: first every frame is decided about, so that the table accesses of several
//! frames overlap, then every frame is delivered.
//!
//! A pipeline belongs to one worker. Only the forwarding databases are shared.

pub(crate) mod vlan;

use std::sync::Arc;

use pktio::wire::{ETHERNET_BYTES, EthernetHeader, MacAddr};
use pktio::{Burst, Csum, PktBuf, Pool};

use crate::{
    BridgeDomain, DropReason, DropSide, Ledger, Nanos, Outboxes, PortConfig, PortIndex, Seconds,
    Snapshot, Vid,
};

/// Decides about frames by the configuration and the tables.
#[derive(Debug)]
pub struct Pipeline {
    snapshot: Arc<Snapshot>,
    /// What becomes of each frame of the burst at hand.
    verdicts: Vec<Verdict>,
}

/// What a burst is delivered by: the configuration, and everything that is written to.
struct Desk<'a> {
    now: Nanos,
    ingress: PortIndex,
    snapshot: &'a Snapshot,
    pool: &'a mut Pool,
    outboxes: &'a mut Outboxes,
    ledger: &'a mut Ledger,
    /// Frames that went on, for the ingress port's books.
    forwarded: u64,
}

/// The ingress side of a burst, looked up once.
#[derive(Clone, Copy)]
struct Ingress<'a> {
    index: PortIndex,
    port: &'a PortConfig,
    bridge: &'a BridgeDomain,
}

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// To one port, in the form that its VLAN policy wants.
    Forward(PortIndex, Vid),
    /// To every other port of the VLAN.
    Flood(Vid),
    /// Nowhere.
    Drop(DropReason),
}

impl Pipeline {
    /// A pipeline that decides by `snapshot`.
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        Self { snapshot, verdicts: Vec::with_capacity(Burst::CAPACITY) }
    }

    /// Decides by `snapshot` from now on.
    pub fn adopt(&mut self, snapshot: Arc<Snapshot>) {
        self.snapshot = snapshot;
    }

    /// Decides about every frame of `burst`, which came in by `ingress`: each one is in an outbox, or
    /// dropped into the ledger, when this returns.
    pub fn run(
        &mut self,
        now: Nanos,
        ingress: PortIndex,
        burst: &mut Burst,
        pool: &mut Pool,
        outboxes: &mut Outboxes,
        ledger: &mut Ledger,
    ) {
        let books = ledger.port_mut(ingress);
        books.received += burst.len() as u64;
        books.received_bytes += burst.iter().map(|frame| frame.len() as u64).sum::<u64>();
        let snapshot = &*self.snapshot;
        let mut desk = Desk { now, ingress, snapshot, pool, outboxes, ledger, forwarded: 0 };
        let Some(from) = Ingress::of(snapshot, ingress) else {
            burst.drain(..).for_each(|frame| desk.refuse(frame, DropReason::PortUnknown));
            return;
        };
        self.verdicts.extend(burst.iter().map(|frame| decide(from, frame, now.seconds())));
        for (frame, verdict) in burst.drain(..).zip(self.verdicts.drain(..)) {
            match verdict {
                Verdict::Forward(to, vid) => desk.forward(from, frame, to, vid),
                Verdict::Flood(vid) => desk.flood(from, frame, vid),
                Verdict::Drop(reason) => desk.refuse(frame, reason),
            }
        }
        desk.ledger.port_mut(ingress).forwarded += desk.forwarded;
    }
}

impl<'a> Ingress<'a> {
    fn of(snapshot: &'a Snapshot, index: PortIndex) -> Option<Self> {
        let port = snapshot.port(index)?;
        let bridge = snapshot.bridge(port.bridge)?;
        Some(Self { index, port, bridge })
    }
}

impl Desk<'_> {
    /// Sends a frame to one port, if that may be.
    #[inline]
    fn forward(&mut self, from: Ingress, mut frame: PktBuf, to: PortIndex, vid: Vid) {
        let Some(port) = self.snapshot.port(to) else {
            return self.refuse(frame, DropReason::PortGone);
        };
        if let Err(reason) = admit(from, &frame, to, port, vid) {
            return self.refuse(frame, reason);
        }
        if !vlan::dress(&mut frame, &port.vlan, vid) {
            return self.refuse(frame, DropReason::NoBuffer);
        }
        self.forwarded += 1;
        self.offer(to, frame);
    }

    /// Sends a copy of a frame to every other port of its VLAN, and the frame itself to the last.
    fn flood(&mut self, from: Ingress, frame: PktBuf, vid: Vid) {
        let mut last: Option<(PortIndex, &PortConfig)> = None;
        let mut reason = DropReason::NoDestination;
        for member in &from.bridge.members {
            let Some(port) = self.snapshot.port(*member) else { continue };
            if !port.vlan.carries(vid) {
                continue;
            }
            match admit(from, &frame, *member, port, vid) {
                Ok(()) => {
                    if let Some(target) = last.replace((*member, port)) {
                        self.send_copy(&frame, target, vid);
                    }
                }
                // The frame is lost for a reason worth telling only if it is lost to everybody.
                Err(DropReason::SameSegment) => {}
                Err(other) => reason = other,
            }
        }
        match last {
            Some(target) => {
                self.forwarded += 1;
                self.send(frame, target, vid);
            }
            None => self.refuse(frame, reason),
        }
    }

    /// Drops a frame that was offered to no port.
    #[cold]
    fn refuse(&mut self, frame: PktBuf, reason: DropReason) {
        let whose = (self.ingress, DropSide::Ingress, reason);
        self.ledger.drop_frame(self.pool, frame, whose, self.now);
    }

    /// Puts a frame into an outbox.
    #[inline]
    fn offer(&mut self, to: PortIndex, frame: PktBuf) {
        self.ledger.port_mut(to).offered += 1;
        self.outboxes.push(to, frame);
    }

    /// Dresses a flooded frame for a port and puts it into its outbox.
    fn send(&mut self, mut frame: PktBuf, (to, port): (PortIndex, &PortConfig), vid: Vid) {
        if vlan::dress(&mut frame, &port.vlan, vid) {
            self.offer(to, frame);
        } else {
            self.ledger.port_mut(to).offered += 1;
            let whose = (to, DropSide::Egress, DropReason::NoBuffer);
            self.ledger.drop_frame(self.pool, frame, whose, self.now);
        }
    }

    /// Sends a copy of a flooded frame. Without a free buffer the copy is accounted for as dropped at
    /// the port that does not get it.
    fn send_copy(&mut self, frame: &PktBuf, target: (PortIndex, &PortConfig), vid: Vid) {
        self.ledger.port_mut(self.ingress).copies += 1;
        match self.pool.copy(frame) {
            Some(copy) => self.send(copy, target, vid),
            None => self.ledger.lose_copy(target.0, frame, self.now),
        }
    }
}

/// Classifies, learns and looks up.
#[inline]
fn decide(from: Ingress, frame: &PktBuf, now: Seconds) -> Verdict {
    let data = frame.data();
    let Some(header) = EthernetHeader::read(data) else { return Verdict::Drop(DropReason::Runt) };
    let EthernetHeader { dst, src, .. } = header;
    if src.is_group() || src == MacAddr::default() {
        return Verdict::Drop(DropReason::InvalidSource);
    }
    if dst.is_reserved() {
        return Verdict::Drop(DropReason::ReservedGroup);
    }
    let vid = match vlan::classify(&from.port.vlan, &header, data) {
        Ok(vid) => vid,
        Err(reason) => return Verdict::Drop(reason),
    };
    let fdb = &from.bridge.fdb;
    fdb.learn(src, vid, from.index, now, Snapshot::limits(from.bridge, from.port));
    if dst.is_group() {
        return Verdict::Flood(vid);
    }
    fdb.lookup(dst, vid, now).map_or(Verdict::Flood(vid), |to| Verdict::Forward(to, vid))
}

/// Whether a frame may leave by a port of its bridge.
#[inline]
fn admit(
    from: Ingress,
    frame: &PktBuf,
    to: PortIndex,
    port: &PortConfig,
    vid: Vid,
) -> Result<(), DropReason> {
    if to == from.index && !port.hairpin {
        return Err(DropReason::SameSegment);
    }
    if port.isolated && from.port.isolated {
        return Err(DropReason::Isolated);
    }
    if !port.vlan.carries(vid) {
        return Err(DropReason::VlanEgress);
    }
    let mtu = port.mtu_bytes as usize;
    // Almost every frame is short enough even when its tags are counted as payload.
    if frame.len() <= ETHERNET_BYTES + mtu || packet_bytes(frame) <= mtu {
        Ok(())
    } else {
        Err(DropReason::Oversized)
    }
}

/// Bytes of the longest IP packet that a frame becomes on the wire: Ethernet header and VLAN tags do not
/// count, and a super-frame counts as its longest segment.
fn packet_bytes(frame: &PktBuf) -> usize {
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

#[cfg(test)]
mod tests;
