//! What can be asked of the daemon.

mod batch;
mod bridge;
mod capture;
mod conn;
mod explain;
mod fdb;
mod flow;
mod ipam;
mod nat;
mod neighbor;
mod network;
mod port;
mod route;
mod service;
mod vxlan;

use serde::{Deserialize, Deserializer, Serialize};

use crate::flow::FlowRule;
use crate::{BridgeName, PortName, Prefix, RuleName, ServiceName};

pub use batch::Batch;
pub use bridge::{BridgeAdd, BridgeSet};
pub use capture::Capture;
pub use conn::{ConnFilter, ConnList, ConnShow, ConnState, ConnTop, Limit, TopBy};
pub use explain::{Frame, Packet, Party, Trace, Why};
pub use fdb::{FdbFilter, FdbKey, FdbStatic};
pub use flow::{FlowKey, FlowList, FlowReplace};
pub use ipam::{IpamFilter, IpamRelease, IpamRequest, PoolAdd};
pub use nat::{NatAdd, NatSet, TimeoutsSet};
pub use neighbor::{NeighborAdd, NeighborFilter, NeighborKey};
pub use network::{
    HostPort, NetworkConnect, NetworkCreate, NetworkDisconnect, NetworkHandover, NetworkRm,
    NetworkSet,
};
pub use port::{Attach, Detach, PortAdd, PortFilter, PortMove, PortSet, TrafficFilter};
pub use route::{Allowance, RouteAdd, RouteDel};
pub use service::{ServiceAdd, ServiceBackends, ServiceSet};
pub use vxlan::{VxlanAdd, VxlanSet};

/// A request: a question, or a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A question, which changes nothing.
    Query(Query),
    /// A change of the configuration.
    Mutation(Mutation),
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", content = "args")]
pub enum Query {
    /// All bridges.
    #[serde(rename = "bridge.list")]
    BridgeList,
    /// One bridge.
    #[serde(rename = "bridge.show")]
    BridgeShow(Named<BridgeName>),
    /// Ports.
    #[serde(rename = "port.list")]
    PortList(PortFilter),
    /// One port.
    #[serde(rename = "port.show")]
    PortShow(Named<PortName>),
    /// Stations.
    #[serde(rename = "fdb.show")]
    FdbShow(FdbFilter),
    /// Routes, and which bridges may be reached from which.
    #[serde(rename = "route.list")]
    RouteList,
    /// Neighbours of the router.
    #[serde(rename = "neighbor.show")]
    NeighborShow(NeighborFilter),
    /// All tunnels.
    #[serde(rename = "vxlan.list")]
    VxlanList,
    /// One tunnel.
    #[serde(rename = "vxlan.show")]
    VxlanShow(Named<PortName>),
    /// All networks.
    #[serde(rename = "network.list")]
    NetworkList,
    /// One network.
    #[serde(rename = "network.inspect")]
    NetworkInspect(Named<BridgeName>),
    /// Subnets, and what is given out of them.
    #[serde(rename = "ipam.list")]
    IpamList(IpamFilter),
    /// What is given out, and has no port.
    #[serde(rename = "ipam.audit")]
    IpamAudit(IpamFilter),
    /// Address translation.
    #[serde(rename = "nat.list")]
    NatList,
    /// What sessions are kept by.
    #[serde(rename = "nat.settings")]
    NatSettings,
    /// All services.
    #[serde(rename = "service.list")]
    ServiceList,
    /// One service.
    #[serde(rename = "service.show")]
    ServiceShow(Named<ServiceName>),
    /// Sessions.
    #[serde(rename = "conn.list")]
    ConnList(ConnList),
    /// One session.
    #[serde(rename = "conn.show")]
    ConnShow(ConnShow),
    /// Who has the most sessions, or moves the most.
    #[serde(rename = "conn.top")]
    ConnTop(ConnTop),
    /// Rules.
    #[serde(rename = "flow.list")]
    FlowList(FlowList),
    /// What the switch would do with a packet.
    #[serde(rename = "trace")]
    Trace(Trace),
    /// Frames as they pass.
    #[serde(rename = "capture")]
    Capture(Capture),
    /// Whether one container reaches another.
    #[serde(rename = "why")]
    Why(Why),
    /// Frames and bytes by port.
    #[serde(rename = "stats")]
    Stats(TrafficFilter),
    /// Lost frames by reason and port.
    #[serde(rename = "drops")]
    Drops(TrafficFilter),
    /// What the workers' time goes to.
    #[serde(rename = "perf")]
    Perf,
    /// The daemon's state.
    #[serde(rename = "status")]
    Status,
    /// The daemon's version.
    #[serde(rename = "version")]
    Version,
}

impl Query {
    /// All ports.
    pub fn ports() -> Self {
        Self::PortList(PortFilter::default())
    }

    /// The traffic of all ports.
    pub fn stats() -> Self {
        Self::Stats(TrafficFilter::default())
    }

    /// What was lost, of all ports.
    pub fn drops() -> Self {
        Self::Drops(TrafficFilter::default())
    }
}

/// A change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", content = "args")]
pub enum Mutation {
    /// Makes a bridge.
    #[serde(rename = "bridge.add")]
    BridgeAdd(BridgeAdd),
    /// Removes a bridge without ports.
    #[serde(rename = "bridge.del")]
    BridgeDel(Named<BridgeName>),
    /// Changes a bridge.
    #[serde(rename = "bridge.set")]
    BridgeSet(BridgeSet),
    /// Makes a port; safe to repeat.
    #[serde(rename = "port.add")]
    PortAdd(Box<PortAdd>),
    /// Removes a port.
    #[serde(rename = "port.del")]
    PortDel(Named<PortName>),
    /// Changes a port.
    #[serde(rename = "port.set")]
    PortSet(PortSet),
    /// Moves an open port to another worker. It is not remembered: after a restart the daemon chooses anew.
    #[serde(rename = "port.move")]
    PortMove(PortMove),
    /// Gives a container an interface; safe to repeat.
    #[serde(rename = "attach")]
    Attach(Attach),
    /// Takes a container's interface away; safe to repeat.
    #[serde(rename = "detach")]
    Detach(Detach),
    /// Enters a station by hand.
    #[serde(rename = "fdb.add")]
    FdbAdd(FdbStatic),
    /// Removes a station, entered or learned.
    #[serde(rename = "fdb.del")]
    FdbDel(FdbKey),
    /// Forgets learned stations.
    #[serde(rename = "fdb.flush")]
    FdbFlush(FdbFilter),
    /// Adds a route; safe to repeat.
    #[serde(rename = "route.add")]
    RouteAdd(RouteAdd),
    /// Removes a route.
    #[serde(rename = "route.del")]
    RouteDel(RouteDel),
    /// Lets one bridge reach another; safe to repeat.
    #[serde(rename = "route.allow")]
    RouteAllow(Allowance),
    /// Takes that back; safe to repeat.
    #[serde(rename = "route.deny")]
    RouteDeny(Allowance),
    /// Enters a neighbour by hand.
    #[serde(rename = "neighbor.add")]
    NeighborAdd(NeighborAdd),
    /// Removes a neighbour, entered or resolved.
    #[serde(rename = "neighbor.del")]
    NeighborDel(NeighborKey),
    /// Forgets resolved neighbours.
    #[serde(rename = "neighbor.flush")]
    NeighborFlush(NeighborFilter),
    /// Makes a tunnel; safe to repeat.
    #[serde(rename = "vxlan.add")]
    VxlanAdd(VxlanAdd),
    /// Removes a tunnel.
    #[serde(rename = "vxlan.del")]
    VxlanDel(Named<PortName>),
    /// Changes a tunnel.
    #[serde(rename = "vxlan.set")]
    VxlanSet(VxlanSet),
    /// Makes a network: a bridge with addresses, gateways, masquerading and a tunnel; safe to repeat.
    #[serde(rename = "network.create")]
    NetworkCreate(Box<NetworkCreate>),
    /// Removes a network without containers, and what belongs to it.
    #[serde(rename = "network.rm")]
    NetworkRm(NetworkRm),
    /// Changes a network.
    #[serde(rename = "network.set")]
    NetworkSet(Box<NetworkSet>),
    /// Connects a container to a network; safe to repeat.
    #[serde(rename = "network.connect")]
    NetworkConnect(Box<NetworkConnect>),
    /// Makes an interface of a network for an engine that takes it to the container; safe to repeat.
    #[serde(rename = "network.handover")]
    NetworkHandover(Box<NetworkHandover>),
    /// Disconnects a container from a network; safe to repeat.
    #[serde(rename = "network.disconnect")]
    NetworkDisconnect(NetworkDisconnect),
    /// Keeps a subnet for a network to come; safe to repeat.
    #[serde(rename = "pool.add")]
    PoolAdd(Box<PoolAdd>),
    /// Gives a subnet up that no network has.
    #[serde(rename = "pool.del")]
    PoolDel(Named<Prefix>),
    /// Gives an owner an address, without a port; safe to repeat.
    #[serde(rename = "ipam.request")]
    IpamRequest(IpamRequest),
    /// Takes addresses back; safe to repeat.
    #[serde(rename = "ipam.release")]
    IpamRelease(IpamRelease),
    /// Takes all addresses back that no port has.
    #[serde(rename = "ipam.free")]
    IpamFree(IpamFilter),
    /// Adds a rule of address translation; safe to repeat.
    #[serde(rename = "nat.add")]
    NatAdd(NatAdd),
    /// Removes a rule of address translation, and the sessions that depend on it.
    #[serde(rename = "nat.del")]
    NatDel(Named<RuleName>),
    /// Changes what sessions are kept by.
    #[serde(rename = "nat.set")]
    NatSet(NatSet),
    /// Adds a service; safe to repeat.
    #[serde(rename = "service.add")]
    ServiceAdd(Box<ServiceAdd>),
    /// Removes a service, and ends its sessions.
    #[serde(rename = "service.del")]
    ServiceDel(Named<ServiceName>),
    /// Changes a service.
    #[serde(rename = "service.set")]
    ServiceSet(ServiceSet),
    /// Changes who serves, in one step; safe to repeat.
    #[serde(rename = "service.backends")]
    ServiceBackends(ServiceBackends),
    /// Ends sessions.
    #[serde(rename = "conn.flush")]
    ConnFlush(ConnFilter),
    /// Adds a rule, or changes the one of the same priority and match; safe to repeat.
    #[serde(rename = "flow.add")]
    FlowAdd(Box<FlowRule>),
    /// Removes rules.
    #[serde(rename = "flow.del")]
    FlowDel(FlowKey),
    /// Makes the rules these, at once; safe to repeat.
    #[serde(rename = "flow.replace")]
    FlowReplace(FlowReplace),
    /// Several changes, all or none of them.
    #[serde(rename = "batch")]
    Batch(Batch),
}

impl Query {
    /// The operations that are questions, by their names in the protocol.
    pub const OPERATIONS: [&str; 29] = [
        "bridge.list",
        "bridge.show",
        "port.list",
        "port.show",
        "fdb.show",
        "route.list",
        "neighbor.show",
        "vxlan.list",
        "vxlan.show",
        "network.list",
        "network.inspect",
        "ipam.list",
        "ipam.audit",
        "nat.list",
        "nat.settings",
        "service.list",
        "service.show",
        "conn.list",
        "conn.show",
        "conn.top",
        "flow.list",
        "trace",
        "capture",
        "why",
        "stats",
        "drops",
        "perf",
        "status",
        "version",
    ];
}

impl Mutation {
    /// The operations that are changes, by their names in the protocol.
    pub const OPERATIONS: [&str; 45] = [
        "bridge.add",
        "bridge.del",
        "bridge.set",
        "port.add",
        "port.del",
        "port.set",
        "port.move",
        "attach",
        "detach",
        "fdb.add",
        "fdb.del",
        "fdb.flush",
        "route.add",
        "route.del",
        "route.allow",
        "route.deny",
        "neighbor.add",
        "neighbor.del",
        "neighbor.flush",
        "vxlan.add",
        "vxlan.del",
        "vxlan.set",
        "network.create",
        "network.rm",
        "network.set",
        "network.connect",
        "network.handover",
        "network.disconnect",
        "pool.add",
        "pool.del",
        "ipam.request",
        "ipam.release",
        "ipam.free",
        "nat.add",
        "nat.del",
        "nat.set",
        "service.add",
        "service.del",
        "service.set",
        "service.backends",
        "conn.flush",
        "flow.add",
        "flow.del",
        "flow.replace",
        "batch",
    ];

    /// Whether it is about what is kept, and not about what the switch just happens to know or do.
    pub fn is_kept(&self) -> bool {
        let is_fleeting = matches!(
            self,
            Self::PortMove(_)
                | Self::FdbFlush(_)
                | Self::NeighborFlush(_)
                | Self::ConnFlush(_)
                | Self::Batch(_)
        );
        !is_fleeting
    }
}

/// Something by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named<T> {
    /// The name.
    pub name: T,
    /// It is no error if it does not exist.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub if_exists: bool,
}

impl<T> Named<T> {
    /// What must exist.
    pub fn new(name: T) -> Self {
        Self { name, if_exists: false }
    }
}

/// Tells a value that is `null` from one that is not given.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}
