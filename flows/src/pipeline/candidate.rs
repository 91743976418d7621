//! Packets of a known flow that whoever takes [offers](Offer) could carry without the pipeline.
//!
//! What is decided about them is known, and so is the port by which they leave as they are ([`Exit`](super::exit::Exit)). What is left to ask is
//! whether anything looks at each of them. TCP is looked at by its session, and [lent](crate::session::Sessions::lend) by it.

use pktio::PktBuf;
use pktio::wire::EthernetHeader;
use pktio::wire::field::protocol;

use super::desk::Desk;
use super::inspect::{Case, Memory};
use super::transform::{Hop, Transform, Way};
use super::witness::Witness;
use crate::{Offer, PortIndex, Routed, Tuple, Vid};

/// So many packets of a direction of a TCP connection pass before it is offered: most connections that are short are over then, and
/// are not worth what it takes to enter and withdraw them.
const WORTH: u64 = 8;

impl Desk<'_> {
    /// What can be offered of a packet that is about to be routed to a port, as it is now: it is not known yet what it
    /// becomes.
    #[inline(never)]
    pub(super) fn candidate(
        &self,
        case: &Case,
        frame: &PktBuf,
        by: &Transform,
        to: PortIndex,
    ) -> Option<Offer> {
        let (Way::Route(hop), Some((session, direction))) = (&by.way, by.session) else {
            return None;
        };
        let Hop { bridge, from: near, to: far, neighbor } = *hop;
        let (ingress, vid, generation) = (case.from.index, case.vid, by.generation);
        let is_looked_at = by.rule.is_some() || by.awaits_answer || self.snapshot.key_fields().dscp;
        let may_take_it = self.snapshot.port(to)?.takes_shortcuts && to != ingress;
        let is_untagged = case.from.port.vlan.untagged() == Some(vid);
        let is_known_by_its_tuple = match case.layers.protocol {
            protocol::UDP => true,
            // Where its numbers are not checked, they are not lent either.
            protocol::TCP => self.snapshot.translation().tcp.check_windows,
            _ => false,
        };
        if !is_known_by_its_tuple || is_looked_at || !may_take_it || !is_untagged {
            return None;
        }
        let EthernetHeader { src, dst, .. } = EthernetHeader::read(frame.data())?;
        let from = Tuple::of(frame.data(), case.layers)?;
        let whose =
            Routed { session, direction, from, to: from, bridge, src: near, dst: far, neighbor };
        let (egress, tag, routed) = (to, Vid::NONE, Some(whose));
        Some(Offer { generation, ingress, egress, vid, tag, src, dst, routed })
    }
}

impl<W: Witness> Memory<W> {
    /// Offers what became of a packet.
    #[inline(never)]
    pub(super) fn offer(&mut self, desk: &Desk, case: &Case, frame: &PktBuf, candidate: Offer) {
        let became = Tuple::of(frame.data(), case.layers);
        let sessions = &self.tables.sessions;
        let is_lent = |routed: &Routed| {
            let Routed { session, direction, .. } = *routed;
            routed.from.protocol != protocol::TCP
                || sessions.has_counted(session, direction, WORTH) && sessions.lend(session)
        };
        if let (Some(routed), Some(to)) = (candidate.routed.filter(is_lent), became) {
            let routed = Some(Routed { to, ..routed });
            self.offers.make(Offer { routed, ..candidate }, desk.now);
        }
    }
}
