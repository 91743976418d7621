//! [`Selection`]: which frames somebody wants to see, of those that come in and go out by ports.
//!
//! It is said in the words of rules, and means the frame as it is where it is seen: before anything was
//! translated if it comes in, and after that if it goes out. A port is what it comes in by (`ingress`) for the
//! former only. Connections are not known to it.

use pktio::wire::{EthernetHeader, Layers};

use crate::pipeline::vlan;
use crate::rules::{Packet, RuleMatch};
use crate::{DropSide, PortIndex, Snapshot};

/// What no port has: by what a frame comes in that goes out.
const NOWHERE: PortIndex = PortIndex(u16::MAX);

/// Which frames are meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// Of these ports; of all if not given.
    pub ports: Option<Vec<PortIndex>>,
    /// That match this.
    pub matches: Option<RuleMatch>,
}

impl Selection {
    /// Whether frames of a port are meant at all.
    #[inline]
    pub fn includes(&self, port: PortIndex) -> bool {
        self.ports.as_ref().is_none_or(|ports| ports.contains(&port))
    }

    /// Whether a frame at a port is meant.
    pub fn takes(&self, at: (PortIndex, DropSide), frame: &[u8], snapshot: &Snapshot) -> bool {
        let wanted = |matches: &RuleMatch| {
            view(at, frame, snapshot).is_some_and(|packet| matches.matches(&packet))
        };
        self.includes(at.0) && self.matches.as_ref().is_none_or(wanted)
    }

    /// A port's number will be used for another.
    pub fn forget(&mut self, port: PortIndex) {
        if let Some(ports) = &mut self.ports {
            ports.retain(|own| *own != port);
        }
    }
}

/// A frame as rules see it.
fn view((port, side): (PortIndex, DropSide), frame: &[u8], snapshot: &Snapshot) -> Option<Packet> {
    let config = snapshot.port(port)?;
    let header = EthernetHeader::read(frame)?;
    let vid = vlan::classify(&config.vlan, &header, frame).ok()?;
    let ingress = match side {
        DropSide::Ingress => port,
        DropSide::Egress => NOWHERE,
    };
    let layers = Layers::parse(frame).ok().flatten();
    let packet = Packet::read(frame, layers.as_ref(), (ingress, config.bridge, vid))?;
    Some(Packet { vni: config.vni, ..packet })
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
