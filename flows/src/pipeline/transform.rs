//! [`Transform`]: what becomes of the packets of a flow, compiled.

use pktio::wire::MacAddr;

use crate::nat::Rewrite;
use crate::router::NeighborVersion;
use crate::{BridgeIndex, DropReason, Generation};

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
}

/// Where the packets of a flow go.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    /// Nowhere.
    Drop(DropReason),
    /// On in their bridge, to whom they are addressed.
    Bridge,
    /// A hop further.
    Route(Hop),
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
