//! What can be asked of the daemon.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    BridgeName, IfName, IpCidr, MacAddr, Mtu, NetnsRef, Port, PortName, StaticMac, Vlan, VlanId,
};

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
    /// All ports.
    #[serde(rename = "port.list")]
    PortList,
    /// One port.
    #[serde(rename = "port.show")]
    PortShow(Named<PortName>),
    /// Stations.
    #[serde(rename = "fdb.show")]
    FdbShow(FdbFilter),
    /// Frames and bytes by port.
    #[serde(rename = "stats")]
    Stats,
    /// Lost frames by reason and port.
    #[serde(rename = "drops")]
    Drops,
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
    /// Makes a port.
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
}

impl Query {
    /// The operations that are questions, by their names in the protocol.
    pub const OPERATIONS: [&str; 10] = [
        "bridge.list",
        "bridge.show",
        "port.list",
        "port.show",
        "fdb.show",
        "stats",
        "drops",
        "perf",
        "status",
        "version",
    ];
}

impl Mutation {
    /// The operations that are changes, by their names in the protocol.
    pub const OPERATIONS: [&str; 12] = [
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
    ];
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

/// A bridge to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BridgeAdd {
    /// Its name.
    pub name: BridgeName,
    /// See [`crate::Bridge`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ageing_seconds: Option<u32>,
    /// See [`crate::Bridge`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_limit: Option<u32>,
    /// See [`crate::Bridge`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<Mtu>,
    /// It is no error if it exists.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_exist: bool,
}

/// A bridge to change; what is not given stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BridgeSet {
    /// Its name.
    pub name: BridgeName,
    /// See [`crate::Bridge`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ageing_seconds: Option<u32>,
    /// See [`crate::Bridge`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_limit: Option<u32>,
    /// See [`crate::Bridge`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<Mtu>,
}

/// A port to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortAdd {
    /// Its name.
    pub name: PortName,
    /// What it is.
    pub port: Port,
}

/// A port to change; what is not given stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortSet {
    /// Its name.
    pub name: PortName,
    /// VLANs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<Vlan>,
    /// See [`crate::Port`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolated: Option<bool>,
    /// See [`crate::Port`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hairpin: Option<bool>,
    /// See [`crate::Port`]; `null`, which is `Some(None)`, for its bridge's again.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub mac_limit: Option<Option<u32>>,
    /// See [`crate::Port`]; `null`, which is `Some(None)`, for its bridge's again.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub mtu: Option<Option<Mtu>>,
}

/// A port to move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortMove {
    /// Its name.
    pub name: PortName,
    /// The worker that is to serve all of its queues, counted from 0.
    pub worker: u16,
}

/// Tells a value that is `null` from one that is not given.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

/// A container to attach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attach {
    /// Its namespace.
    pub netns: NetnsRef,
    /// The bridge.
    pub bridge: BridgeName,
    /// The name of its interface; `eth0` if not given.
    #[serde(default)]
    pub ifname: IfName,
    /// The interface's MAC address; chosen if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
    /// The interface's addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpCidr>,
    /// The container's default gateways.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<IpAddr>,
    /// The MTU; the bridge's if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<Mtu>,
    /// VLANs.
    #[serde(default, skip_serializing_if = "Vlan::is_unaware")]
    pub vlan: Vlan,
}

/// A container to detach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detach {
    /// Its namespace.
    pub netns: NetnsRef,
    /// The name of its interface; `eth0` if not given.
    #[serde(default)]
    pub ifname: IfName,
}

/// A station to enter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FdbStatic {
    /// The bridge.
    pub bridge: BridgeName,
    /// The station.
    pub station: StaticMac,
}

/// A station to remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FdbKey {
    /// The bridge.
    pub bridge: BridgeName,
    /// Its address.
    pub mac: MacAddr,
    /// Its VLAN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<VlanId>,
}

/// Which stations are meant; what is not given matches all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FdbFilter {
    /// Of this bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<BridgeName>,
    /// Behind this port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortName>,
    /// In this VLAN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<VlanId>,
}
