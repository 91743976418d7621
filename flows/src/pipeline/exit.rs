//! [`Exit`]: the port by which a known flow's packets leave.
//!
//! To whom they are addressed on the link follows from what is remembered of the flow, and so does by which port
//! they leave: until the configuration changes, a station of that bridge moves or goes, or this one ages out. All
//! three can be seen without looking the station up. What then remains to be done for a packet is to write its
//! headers and to put it into the outbox.

use std::num::NonZeroU32;

use pktio::PktBuf;
use pktio::wire::{EthernetHeader, Layers};

use super::bridge::{Sender, fits, may_leave};
use super::desk::Desk;
use super::inspect::Case;
use super::transform::{Transform, Way};
use crate::fdb::Location;
use crate::router::forward::{expires, has_sound_header};
use crate::{BridgeDomain, PortIndex, VlanPolicy};

/// Where the packets of a flow leave as they are, and how long this holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exit {
    location: Location,
    /// The longest IP packet that may.
    mtu_bytes: NonZeroU32,
}

impl Desk<'_> {
    /// The port by which a packet of a known flow leaves, if nothing is in its way. If something is, or may be, it
    /// has to go the whole way.
    #[inline(always)]
    pub(super) fn exit(
        &self,
        case: &Case,
        layers: &Layers,
        frame: &PktBuf,
        by: &mut Transform,
    ) -> Option<PortIndex> {
        let bridge = match &by.way {
            Way::Bridge => case.from.bridge,
            Way::Route(hop) => self.snapshot.bridge(hop.bridge)?,
            Way::Port(_) | Way::Nowhere(_) => return None,
        };
        let holds = |exit: &Exit| {
            exit.location.revision == bridge.fdb.revision() && self.seconds <= exit.location.until
        };
        if !by.exit.as_ref().is_some_and(holds) {
            by.exit = self.find_exit(bridge, case, frame, by);
        }
        let Exit { location, mtu_bytes } = by.exit.as_ref()?;
        let data = frame.data();
        let is_routed = matches!(by.way, Way::Route(_));
        let may_go = !is_routed || has_sound_header(data, layers) && !expires(data, layers);
        (!by.has_steps && may_go && fits(frame, mtu_bytes.get())).then_some(location.port)
    }

    /// Finds out where the packets of a flow leave. `None` when that is not by one port, or they have to be
    /// given another form for it.
    #[inline(never)]
    fn find_exit(
        &self,
        bridge: &BridgeDomain,
        case: &Case,
        frame: &PktBuf,
        by: &Transform,
    ) -> Option<Exit> {
        let (sender, station, vid) = match &by.way {
            Way::Route(hop) => (Sender::Router, hop.to, bridge.vid()),
            _ => (Sender::Port(case.from), EthernetHeader::read(frame.data())?.dst, case.vid),
        };
        let is_gateways = matches!(sender, Sender::Port(from) if from.is_gateways(station, vid));
        if is_gateways || station.is_group() {
            return None;
        }
        let location = bridge.fdb.locate(station, vid, self.seconds)?;
        let port = self.snapshot.port(location.port)?;
        let is_plain = matches!(port.vlan, VlanPolicy::Unaware);
        may_leave(sender, location.port, port, vid).ok().filter(|()| is_plain)?;
        Some(Exit { location, mtu_bytes: NonZeroU32::new(port.mtu_bytes)? })
    }
}
