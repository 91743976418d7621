//! [`Transform`]: what becomes of the packets of a flow, compiled.

use pktio::wire::MacAddr;

use super::exit::Exit;
use crate::cache::FlowCache;
use crate::nat::{Embedded, Rewrite};
use crate::router::NeighborVersion;
use crate::rules::RuleId;
use crate::session::{Direction, SessionRef};
use crate::{BridgeIndex, Generation, PortIndex, Tuple};

/// A decision about a flow, in the form in which it is applied. It holds as long as what it depends on is of
/// the version that it was made from; whoever applies it checks that first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transform {
    /// The configuration that it was made by.
    pub(super) generation: Generation,
    /// Where the packets go.
    pub(super) way: Way,
    /// New addresses and ports.
    pub(super) rewrite: Option<Rewrite>,
    /// The session, which every packet is tracked by.
    pub(super) session: Option<(SessionRef, Direction)>,
    /// The rules look at whether a session was answered, and this one was not.
    pub(super) awaits_answer: bool,
    /// The rule that let it pass, which counts its packets.
    pub(super) rule: Option<RuleId>,
    /// The rule does more than letting it pass.
    pub(super) has_steps: bool,
    /// Where packets leave, once one has.
    pub(super) exit: Option<Exit>,
}

const _: () = assert!(size_of::<Transform>() <= 128, "what is applied is two cache lines");

/// What a worker knows of flows. It is apart from the rest of what deciding takes, so that a transform can be
/// applied where it lies.
pub(super) type Flows = FlowCache<Transform>;

impl Transform {
    /// What a router changes in the packets.
    #[inline]
    pub(super) fn change(&self) -> Change<'_> {
        self.rewrite.as_ref().map_or(Change::Hop, Change::Rewrite)
    }
}

/// What a router changes in a packet besides the stations.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change<'a> {
    /// One hop less.
    Hop,
    /// Addresses and ports too.
    Rewrite(&'a Rewrite),
    /// It is an ICMP error: what it quotes becomes a packet of this tuple again.
    Quote(&'a Embedded, Tuple),
}

impl Change<'_> {
    /// Whether the packet has another source or destination afterwards.
    #[inline]
    pub(super) fn is_of_addresses(&self) -> bool {
        match self {
            Self::Hop => false,
            Self::Rewrite(rewrite) => rewrite.changes_addresses(),
            Self::Quote(embedded, was) => embedded.tuple != *was,
        }
    }
}

/// Where the packets of a flow go.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    /// On in their bridge, to whom they are addressed.
    Bridge,
    /// To a port, to whomever they are addressed.
    Port(PortIndex),
    /// A hop further.
    Route(Hop),
    /// Nowhere: the rule denies them, until a session takes them in.
    Nowhere(RuleId),
}

impl Way {
    /// That of a packet that stays in its bridge.
    pub(super) fn bridged(to: Option<PortIndex>) -> Self {
        to.map_or(Self::Bridge, Self::Port)
    }
}

/// A hop from the gateway of a bridge to one of its stations.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hop {
    /// The bridge.
    pub(super) bridge: BridgeIndex,
    /// The gateway's address.
    pub(super) from: MacAddr,
    /// The station's.
    pub(super) to: MacAddr,
    /// The neighbour entry that says so.
    pub(super) neighbor: NeighborVersion,
}
