//! [`Exit`]: the port by which a known flow's packets leave.
//!
//! To whom they are addressed on the link follows from what is remembered of the flow, and so does by which port
//! they leave: until the configuration changes, a station of that bridge moves or goes, a neighbour is another or has to be
//! asked after, or this station ages out. All of it can be seen without looking anybody up. What then remains to be done for a
//! packet is to write its headers and to put it into the outbox.

use std::num::NonZeroU32;

use pktio::PktBuf;
use pktio::wire::{EthernetHeader, Layers};

use super::bridge::{Ingress, Sender, fits, may_leave};
use super::desk::Desk;
use super::inspect::{Case, Memory};
use super::transform::{Transform, Way};
use super::witness::Witness;
use crate::fdb::Location;
use crate::router::forward::{expires, has_sound_header};
use crate::session::Key;
use crate::{BridgeDomain, Nanos, PortIndex, Seconds, VlanPolicy};

/// Where the packets of a flow leave as they are, and how long this holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exit {
    pub(super) port: PortIndex,
    /// The longest IP packet that may.
    mtu_bytes: NonZeroU32,
    /// The revisions that say so: of the stations of the bridge that the packets leave, and, if they are routed, of all neighbours.
    stations: u32,
    neighbors: u32,
    /// It holds up to and including this second.
    until: Seconds,
}

impl Exit {
    /// Whether nothing is in the way of a packet of the flow.
    #[inline(always)]
    pub(super) fn takes(&self, frame: &PktBuf, layers: &Layers, by: &Transform) -> bool {
        let data = frame.data();
        let is_routed = matches!(by.way, Way::Route(_));
        let may_go = !is_routed || has_sound_header(data, layers) && !expires(data, layers);
        may_go && fits(frame, self.mtu_bytes.get())
    }
}

impl<W: Witness> Memory<W> {
    /// Whether it is known where the packets of a flow leave. So it is known that what was decided about them holds, too.
    #[inline(always)]
    pub(super) fn has_exit(&self, desk: &Desk, from: &Ingress, by: &Transform) -> bool {
        let Some(exit) = &by.exit else { return false };
        let bridge = match &by.way {
            Way::Route(_) if self.tables.neighbors.revision() != exit.neighbors => None,
            Way::Route(hop) => desk.snapshot.bridge(hop.bridge),
            _ => Some(from.bridge),
        };
        bridge.is_some_and(|bridge| bridge.fdb.revision() == exit.stations)
            && desk.seconds <= exit.until
    }

    /// Finds out where the packets of a flow leave, to be remembered if that is by one port, and in the form in which they are.
    /// False when what was decided about them does not hold any more.
    #[inline(never)]
    pub(super) fn find_exit(
        &mut self,
        desk: &Desk,
        case: &Case,
        frame: &PktBuf,
        by: &mut Transform,
    ) -> bool {
        by.exit = None;
        let neighbors = self.tables.neighbors.revision();
        let (bridge, end) = match &by.way {
            Way::Bridge => (Some(case.from.bridge), FOREVER),
            Way::Port(_) => return true,
            Way::Nowhere(_) => return !self.has_session(case, frame),
            Way::Route(hop) => match self.tables.neighbors.lasts(hop.neighbor, desk.now) {
                Some((_, end)) => (desk.snapshot.bridge(hop.bridge), end),
                None => return false,
            },
        };
        let found = bridge.filter(|_| !by.has_steps);
        let found = found.and_then(|bridge| desk.locate(bridge, case, frame, by));
        by.exit = found.map(|(Location { port, revision: stations, until }, mtu_bytes)| {
            // Of the second in which the neighbour's entry ends it is not known when.
            let until = until.min(Seconds(end.seconds().0.saturating_sub(1)));
            Exit { port, mtu_bytes, stations, neighbors, until }
        });
        true
    }

    /// Whether a session takes a packet in.
    fn has_session(&mut self, case: &Case, frame: &PktBuf) -> bool {
        let key = case.tuple(frame).map(|tuple| Key::new(case.bridge(), tuple));
        key.is_some_and(|key| self.witness.find(&self.tables, &key).is_some())
    }
}

/// What nothing outlasts.
const FOREVER: Nanos = Nanos::from_nanos(u64::MAX);

impl Desk<'_> {
    /// By which port the packets of a flow leave a bridge, and how long they may be. `None` when that is not by one port, or they
    /// have to be given another form for it.
    fn locate(
        &self,
        bridge: &BridgeDomain,
        case: &Case,
        frame: &PktBuf,
        by: &Transform,
    ) -> Option<(Location, NonZeroU32)> {
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
        Some((location, NonZeroU32::new(port.mtu_bytes)?))
    }
}
