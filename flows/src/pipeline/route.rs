//! A hop further: how routed packets leave, and what their senders are told when they do not.

use pktio::offload::fit;
use pktio::wire::field::{be16, ipv4};
use pktio::wire::{EthernetHeader, Layers, MacAddr, Network};
use pktio::{Accepts, PktBuf};

use super::bridge::{Sender, packet_bytes};
use super::desk::Desk;
use super::evaluate::Refusal;
use super::inspect::{Case, Memory};
use super::transform::{Change, Hop};
use super::witness::Witness;
use crate::nat::identification::{datagrams, is_atomic};
use crate::nat::{Datagram, Unapplied, renumber, translate};
use crate::router::forward::{decrement, expires, has_sound_header};
use crate::router::icmp::{make, reset};
use crate::router::{Held, IcmpError, NextHop, Station, Unbroken, fragment};
use crate::{BridgeDomain, DropReason, DropSide, Finding, Vid};

/// Where the pieces of a packet go.
#[derive(Clone, Copy)]
pub(super) struct Onward<'a> {
    /// Who puts the first piece there.
    pub(super) sender: Sender<'a>,
    pub(super) bridge: &'a BridgeDomain,
    pub(super) vid: Vid,
    pub(super) mtu_bytes: u32,
}

impl<'a> Onward<'a> {
    fn routed(bridge: &'a BridgeDomain, mtu_bytes: u32) -> Self {
        Self { sender: Sender::Router, bridge, vid: bridge.vid(), mtu_bytes }
    }
}

impl<W: Witness> Memory<W> {
    /// Rewrites a packet and sends it to its next hop.
    pub(super) fn send_hop(
        &mut self,
        desk: &mut Desk,
        case: &Case,
        mut frame: PktBuf,
        hop: &Hop,
        change: Change,
    ) {
        let Some(bridge) = desk.snapshot.bridge(hop.bridge) else {
            return desk.refuse(frame, DropReason::NoRoute);
        };
        if !has_sound_header(frame.data(), case.layers) {
            return desk.refuse(frame, DropReason::MalformedPacket);
        }
        if expires(frame.data(), case.layers) {
            let refusal = Refusal::Tell(DropReason::TtlExpired, IcmpError::TimeExceeded);
            return self.refuse(desk, *case, frame, refusal);
        }
        let mtu_bytes = desk.mtu_towards(bridge, hop.to);
        let (packet_bytes, may_fragment) = (packet_bytes(&frame), may_be_fragmented(&frame, case));
        self.witness.note(|| Finding::Mtu { packet_bytes, mtu_bytes, may_fragment });
        let is_long = mtu_bytes.is_some_and(|mtu| packet_bytes > mtu as usize);
        if is_long && !may_fragment {
            let error = IcmpError::TooBig { mtu_bytes: mtu_bytes.unwrap_or(u32::MAX) };
            return self.refuse(desk, *case, frame, Refusal::Tell(DropReason::TooBig, error));
        }
        if let Err(reason) = self.renew(&mut frame, || *case, case.layers, hop, change) {
            return desk.refuse(frame, reason);
        }
        self.witness.note(|| desk.link(hop.bridge, &frame, bridge.vid()));
        match mtu_bytes.filter(|_| is_long) {
            Some(mtu) => self.send_fragments(desk, frame, Onward::routed(bridge, mtu)),
            None => {
                let result = desk.deliver(Sender::Router, bridge, frame, bridge.vid());
                desk.settle(result);
            }
        }
    }

    /// Gives a packet its new addresses, one hop less, and the stations of its next link.
    #[inline(always)]
    pub(super) fn renew<'a>(
        &mut self,
        frame: &mut PktBuf,
        case: impl Fn() -> Case<'a>,
        layers: &Layers,
        hop: &Hop,
        change: Change,
    ) -> Result<(), DropReason> {
        let is_v4 = layers.network == Network::V4;
        if is_v4 && change.is_of_addresses() && !is_atomic(frame.data(), layers) && !W::IS_DRY {
            return self.renew_datagram(frame, &case(), hop, change);
        }
        renew(frame, layers, hop, change)
    }

    /// The same with an IPv4 packet that may be fragmented, or is: among those with its new addresses it has a number that
    /// no other has (RFC 6864 section 5.3.1).
    #[inline(never)]
    fn renew_datagram(
        &mut self,
        frame: &mut PktBuf,
        case: &Case,
        hop: &Hop,
        change: Change,
    ) -> Result<(), DropReason> {
        let layers = case.layers;
        let datagram = Datagram::of(case.bridge().into(), frame.data(), layers);
        renew(frame, layers, hop, change)?;
        let numbers = &self.tables.identifications;
        let draw = || numbers.draw(frame.data(), layers, datagrams(frame, layers));
        let id = datagram.and_then(|datagram| self.fragments.renumbered(&datagram, draw));
        let id = id.unwrap_or_else(draw);
        renumber(frame, layers, id);
        Ok(())
    }

    /// Cuts a packet that may be fragmented, and sends the pieces in order.
    pub(super) fn send_fragments(&mut self, desk: &mut Desk, frame: PktBuf, onward: Onward) {
        let Onward { mut sender, bridge, vid, mtu_bytes } = onward;
        // A super-frame becomes its segments first, any other frame is its own only one.
        if let Err((frame, _)) = fit(frame, &Accepts::PLAIN, desk.pool, &mut self.segments) {
            return desk.refuse(frame, DropReason::BadOffload);
        }
        let mut unbroken = None;
        for segment in self.segments.drain(..) {
            let mtu = mtu_bytes as usize;
            // Each has lengths of its own.
            let broken = match Layers::parse(segment.data()) {
                Ok(Some(own)) => fragment(segment, &own, mtu, desk.pool, &mut self.pieces),
                _ => Err((segment, Unbroken::BadPacket)),
            };
            if let Err((segment, why)) = broken
                && let Some((earlier, _)) = unbroken.replace((segment, why))
            {
                desk.pool.recycle(earlier);
            }
        }
        for piece in self.pieces.drain(..) {
            match (desk.deliver(sender, bridge, piece, vid), sender) {
                // The packet went on with its first piece, or was refused with it.
                (Err(undelivered), Sender::Piece) => desk.pool.recycle(undelivered.frame),
                (result, _) => desk.settle(result),
            }
            sender = Sender::Piece;
        }
        match (unbroken, sender) {
            // Nothing of it went on.
            (Some((segment, why)), Sender::Router) => desk.refuse(segment, lost(why)),
            (Some((segment, _)), _) => desk.pool.recycle(segment),
            (None, _) => {}
        }
    }

    /// A packet does not go on: it waits, or is lost and its sender is told.
    #[cold]
    pub(super) fn refuse(&mut self, desk: &mut Desk, case: Case, frame: PktBuf, refusal: Refusal) {
        match refusal {
            Refusal::Drop(reason) => desk.refuse(frame, reason),
            Refusal::Denied(rule) | Refusal::Banned(rule) => self.deny(desk, case, frame, rule),
            Refusal::Tell(reason, error) => {
                self.tell(desk, case, &frame, error);
                desk.refuse(frame, reason);
            }
            Refusal::Reset(reason) => {
                if let Some(reply) = reset(&frame, case.layers, desk.pool) {
                    desk.originate(case.from.bridge, reply, case.vid);
                }
                desk.refuse(frame, reason);
            }
            Refusal::Hold(next) => self.wait(desk, &case, next, frame),
            Refusal::Local => self.answer(desk, case, frame),
            Refusal::Checked => self.hear(desk, case, frame),
        }
    }

    /// Lets a packet wait for the address of its next hop.
    fn wait(&mut self, desk: &mut Desk, case: &Case, next: NextHop, mut frame: PktBuf) {
        if !case.from.restore(&mut frame, case.vid) {
            return desk.refuse(frame, DropReason::NoBuffer);
        }
        let ingress = case.from.index;
        desk.hold(ingress);
        let displaced = self.hold.hold(next.bridge, next.ip, ingress, frame, desk.now);
        if let Some(Held { ingress, frame, .. }) = displaced {
            desk.ledger.port_mut(ingress).held -= 1;
            let whose = (ingress, DropSide::Ingress, DropReason::HoldFull);
            desk.ledger.drop_frame(desk.pool, frame, whose, desk.now);
        }
    }

    /// Tells the sender of a packet why it is lost, if that may be.
    fn tell(&mut self, desk: &mut Desk, case: Case, frame: &PktBuf, error: IcmpError) {
        let Some((source, destination)) = case.layers.addresses(frame.data()) else { return };
        let Some(header) = EthernetHeader::read(frame.data()) else { return };
        let own = case.router().and_then(|router| router.gateway.station_for(source));
        // Between stations of one bridge the answer comes from whom the packet was for: the sender may
        // know no gateway.
        let station = match own.filter(|_| case.is_routed) {
            Some(own) => own,
            None => Station { mac: header.dst, ip: destination },
        };
        if !self.errors.allow(source, desk.now) {
            return;
        }
        if let Some(reply) = make(frame, case.layers, error, station, desk.pool) {
            desk.originate(case.from.bridge, reply, case.vid);
        }
    }
}

/// Whether an IPv4 packet may be cut up on its way.
pub(super) fn may_be_fragmented(frame: &PktBuf, case: &Case) -> bool {
    let field = be16(frame.data(), usize::from(case.layers.l3) + ipv4::FRAGMENT);
    case.layers.network == Network::V4
        && field.is_some_and(|field| field & ipv4::DONT_FRAGMENT == 0)
}

/// Why a packet is lost that was not cut up.
fn lost(why: Unbroken) -> DropReason {
    match why {
        Unbroken::NoBuffer => DropReason::NoBuffer,
        Unbroken::Forbidden | Unbroken::BadMtu => DropReason::TooBig,
        Unbroken::BadPacket => DropReason::MalformedPacket,
    }
}

/// Gives a packet its new addresses, one hop less, and the stations of its next link.
#[inline(always)]
fn renew(frame: &mut PktBuf, layers: &Layers, hop: &Hop, change: Change) -> Result<(), DropReason> {
    let changed = match change {
        Change::Hop => {
            decrement(frame.data_mut(), layers);
            Ok(())
        }
        Change::Rewrite(rewrite) => rewrite.apply(frame, layers),
        Change::Quote(embedded, was) => translate(frame, layers, embedded, &was, true),
    };
    changed.map_err(|error| match error {
        Unapplied::HopLimit => DropReason::TtlExpired,
        Unapplied::SctpFragment | Unapplied::OtherFlow => DropReason::MalformedPacket,
    })?;
    EthernetHeader::readdress(frame.data_mut(), hop.to, hop.from);
    Ok(())
}

impl Desk<'_> {
    /// The MTU of the port by which a station of a bridge is reached, if that is known.
    fn mtu_towards(&self, bridge: &BridgeDomain, station: MacAddr) -> Option<u32> {
        let port = bridge.fdb.lookup(station, bridge.vid(), self.seconds)?;
        Some(self.snapshot.port(port)?.mtu_bytes)
    }

    /// Sends a frame that the switch itself made. What nobody can be reached with is forgotten: it was
    /// never anybody's.
    pub(super) fn originate(&mut self, bridge: &BridgeDomain, frame: PktBuf, vid: Vid) {
        if let Err(undelivered) = self.deliver(Sender::Gateway, bridge, frame, vid) {
            self.pool.recycle(undelivered.frame);
        }
    }
}
