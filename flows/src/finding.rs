//! [`Finding`]: what was decided about a packet, and what decided it.

use std::net::IpAddr;

use pktio::wire::MacAddr;

use crate::nat::Unclaimed;
use crate::router::{NeighborEntry, NextHop, Outcome, Prefix};
use crate::rules::{RuleId, Verdict};
use crate::session::{Direction, InsertError, NewSession, Session};
use crate::{BridgeIndex, DropReason, Endpoint, PortIndex, Vid, fdb};

/// A stage of a packet's way through the pipeline: the decision, by what it was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// It is in this VLAN.
    Vlan(Vid),
    /// It is for the gateway, or concerns it.
    Gateway(Outcome),
    /// It is for an endpoint of tunnels, which takes out what is in it.
    Tunnel {
        /// The endpoint.
        endpoint: PortIndex,
    },
    /// It belongs to a session.
    Session {
        /// Which.
        session: Session,
        /// Its direction in it.
        direction: Direction,
    },
    /// It is addressed to the switch, and really for somebody behind it.
    Inward {
        /// As it came in.
        external: Endpoint,
        /// For whom.
        internal: Endpoint,
        /// Where he is.
        bridge: BridgeIndex,
    },
    /// It begins a session to a service, which gives it to a backend.
    Service {
        /// The service's address and port.
        service: Endpoint,
        /// The backend; `None` when there is none that takes it.
        backend: Option<Endpoint>,
    },
    /// This rule decides; with none, everything passes.
    Rule {
        /// The rule, and what it says.
        decided: Option<(RuleId, Verdict)>,
    },
    /// By the routes of its bridge.
    Route {
        /// Whose routes.
        bridge: BridgeIndex,
        /// Where to.
        destination: IpAddr,
        /// The route.
        prefix: Option<Prefix>,
        /// Where it leads to, if anywhere.
        next: Option<NextHop>,
    },
    /// Whom its next hop is.
    Neighbor {
        /// The next hop.
        next: NextHop,
        /// What is known of it.
        known: Acquaintance,
    },
    /// Its source is hidden.
    Masquerade {
        /// Who it is.
        internal: Endpoint,
        /// What the world sees, or why it gets nothing.
        external: Result<Endpoint, Unclaimed>,
    },
    /// It begins a session, or cannot.
    Begins {
        /// The session.
        new: NewSession,
        /// Why not.
        refused: Option<InsertError>,
    },
    /// How long it is, on a way that takes packets of this length.
    Mtu {
        /// Its longest packet.
        packet_bytes: usize,
        /// What the way takes, if that is known.
        mtu_bytes: Option<u32>,
        /// It may be cut up.
        may_fragment: bool,
    },
    /// It goes to whom it is addressed to on a link.
    Link {
        /// The bridge.
        bridge: BridgeIndex,
        /// To whom.
        mac: MacAddr,
        /// Where he is; if nobody knows, it goes to all.
        station: Option<fdb::Entry>,
    },
}

/// What is known of a next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acquaintance {
    /// It answered.
    Known(NeighborEntry),
    /// It was not asked yet, and would answer with this address.
    Presumed(MacAddr),
    /// It would be asked, and the packet would wait.
    Asked,
    /// It did not answer lately.
    Silent,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It went on.
    Forwarded,
    /// It was for the switch itself, which took it and perhaps answered.
    Answered,
    /// It waits: for its next hop's address, or the first fragment of its datagram.
    Held,
    /// It is lost.
    Dropped(DropReason),
}

/// The way of a packet that was rehearsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// What was decided, in order.
    pub findings: Vec<Finding>,
    /// What became of it.
    pub fate: Fate,
    /// What left by which port: the packet as it became, and what its sender was told.
    pub sent: Vec<(PortIndex, Vec<u8>)>,
}
