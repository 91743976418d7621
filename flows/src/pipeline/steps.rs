//! What rules do to packets that they let pass.

use pktio::PktBuf;
use pktio::wire::field::{be16, ipv4, put_be16};
use pktio::wire::{EthernetHeader, Layers, Network, checksum};

use super::bridge::{Ingress, Sender};
use super::desk::Desk;
use super::witness::Witness;
use crate::rules::{Meter, Packet, RuleId, Step};
use crate::{DropReason, PortIndex, Vid};

/// Takes the steps of a rule, in order. Returns the VLAN in which the frame goes on.
///
/// # Errors
/// Why it goes no further.
#[inline(never)]
pub(super) fn take_steps<W: Witness>(
    desk: &mut Desk,
    from: &Ingress,
    layers: Option<&Layers>,
    frame: &mut PktBuf,
    mut vid: Vid,
    rule: RuleId,
) -> Result<Vid, DropReason> {
    let snapshot = desk.snapshot;
    let Some(rule) = snapshot.rules().get(rule) else { return Ok(vid) };
    for step in rule.action.steps.iter() {
        match step {
            Step::Mirror { port, snap_bytes } => desk.mirror(*port, frame, *snap_bytes),
            Step::SetVid(other) => vid = *other,
            Step::SetSourceMac(mac) => {
                let to = EthernetHeader::read(frame.data()).map_or(*mac, |header| header.dst);
                EthernetHeader::readdress(frame.data_mut(), to, *mac);
            }
            Step::SetDestinationMac(mac) => {
                let from = EthernetHeader::read(frame.data()).map_or(*mac, |header| header.src);
                EthernetHeader::readdress(frame.data_mut(), *mac, from);
            }
            Step::SetDscp(dscp) => {
                if let Some(layers) = layers {
                    set_dscp(frame.data_mut(), layers, *dscp);
                }
            }
            Step::Limit(meter) => {
                let place = (from.index, from.port.bridge, vid);
                let packet = Packet::read(frame.data(), layers, place);
                let source = packet.map(|packet| meter.source(&packet));
                let bytes = frame.len() as u64;
                let take = if W::IS_DRY { Meter::has } else { Meter::take };
                if !source.is_some_and(|source| take(meter, source, 1, bytes, desk.now)) {
                    return Err(DropReason::RateLimited);
                }
            }
        }
    }
    Ok(vid)
}

/// Sets the differentiated services code point; the congestion bits stay (RFC 2474).
fn set_dscp(frame: &mut [u8], layers: &Layers, dscp: u8) {
    let at = usize::from(layers.l3);
    let Some(old) = be16(frame, at) else { return };
    let (shift, mask) = match layers.network {
        Network::V4 => (2, 0xff03),
        Network::V6 => (6, 0xf03f),
    };
    let new = old & mask | u16::from(dscp & 0x3f) << shift;
    put_be16(frame, at, new);
    if layers.network == Network::V4
        && let Some(sum) = be16(frame, at + ipv4::CHECKSUM)
    {
        put_be16(frame, at + ipv4::CHECKSUM, checksum::update(sum, old, new));
    }
}

impl Desk<'_> {
    /// Sends a copy of a frame, or of its beginning, to a port. Without a buffer or a port there is none.
    fn mirror(&mut self, to: PortIndex, frame: &PktBuf, snap_bytes: Option<u32>) {
        if self.snapshot.port(to).is_none() {
            return;
        }
        let kept = snap_bytes.map_or(frame.len(), |snap| frame.len().min(snap as usize));
        let copy = if kept < frame.len() {
            self.pool.frame_from(&frame.data()[..kept])
        } else {
            self.pool.copy(frame)
        };
        self.count_copy(Sender::Router);
        match copy {
            Some(copy) => self.offer(Sender::Router, to, copy),
            None => self.lose_copy(Sender::Router, to, frame),
        }
    }
}
