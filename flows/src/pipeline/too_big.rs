//! Bridged packets that are too long for a tunnel.
//!
//! The links of a bridge are to have one MTU, and what is longer than the next one is dropped. Tunnels make an
//! exception of it: the stations of an overlay have no way to know that their frames get longer on the way,
//! and the network below must not cut them (RFC 7348, section 4.3). So the bridge does here what a router
//! does: an IPv4 packet that may be fragmented is, and the sender of any other IP packet is told how long it
//! may be, in the name of whom the packet was for (RFC 1191, RFC 8201), as the kernel's own tunnels do.

use pktio::PktBuf;
use pktio::wire::Layers;

use super::bridge::{Ingress, Sender, Undelivered};
use super::desk::Desk;
use super::evaluate::Refusal;
use super::inspect::{Case, Memory};
use super::route::{Onward, may_be_fragmented};
use super::witness::Witness;
use crate::router::IcmpError;
use crate::{DropReason, Horizon, Vid};

impl<W: Witness> Memory<W> {
    /// Settles a frame that was to go on in its bridge: it went on, or it is dropped.
    #[inline]
    pub(super) fn settle(
        &mut self,
        desk: &mut Desk,
        from: &Ingress,
        vid: Vid,
        result: Result<(), Undelivered>,
    ) {
        if let Err(undelivered) = result {
            self.lose(desk, from, vid, undelivered);
        }
    }

    #[cold]
    fn lose(&mut self, desk: &mut Desk, from: &Ingress, vid: Vid, undelivered: Undelivered) {
        let mtu_bytes = tunnel_mtu(desk, &undelivered);
        let Undelivered { frame, reason, .. } = undelivered;
        match (mtu_bytes, layers(&frame)) {
            (Some(mtu_bytes), Some(layers)) => {
                let case = Case { from, vid, layers: &layers, is_routed: false, part_of: None };
                self.send_too_big(desk, case, frame, mtu_bytes);
            }
            _ => desk.refuse(frame, reason),
        }
    }

    fn send_too_big(&mut self, desk: &mut Desk, case: Case, frame: PktBuf, mtu_bytes: u32) {
        let Case { from, vid, .. } = case;
        if may_be_fragmented(&frame, &case) {
            let sender = Sender::Port(from);
            let onward = Onward { sender, bridge: from.bridge, vid, mtu_bytes };
            return self.send_fragments(desk, frame, onward);
        }
        let error = IcmpError::TooBig { mtu_bytes };
        self.refuse(desk, case, frame, Refusal::Tell(DropReason::TooBig, error));
    }
}

fn layers(frame: &PktBuf) -> Option<Layers> {
    Layers::parse(frame.data()).ok().flatten()
}

/// The MTU of the tunnel that a frame is too long for.
fn tunnel_mtu(desk: &Desk, undelivered: &Undelivered) -> Option<u32> {
    let Undelivered { reason: DropReason::Oversized, to: Some(to), .. } = undelivered else {
        return None;
    };
    let port = desk.snapshot.port(*to)?;
    (port.horizon == Horizon::Tunnel).then_some(port.mtu_bytes)
}
