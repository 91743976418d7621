//! The nouns an operator sees: configuration, requests, responses, errors, the wire protocol and its client.
//!
//! Pure, but for the [`Client`]'s socket and the [`SocketFile`] of those who listen: [`apply`] makes the next [`Config`] out of this one and a
//! [`Mutation`], [`plan`] says what has to be done to get from one to the other, and [`wire`] turns
//! requests and responses into lines. The daemon does the doing.
#![forbid(unsafe_code)]

mod apply;
mod attach;
mod check;
mod client;
mod config;
mod error;
pub mod flow;
pub mod ipam;
mod listen;
mod lock;
mod loopback;
mod names;
mod network;
mod notes;
mod packet;
mod plan;
mod prefix;
mod rate;
mod request;
pub mod response;
mod uplink;
mod vlan;
pub mod wire;

pub use apply::{apply, apply_all};
pub use check::shown;
pub use client::{Client, ClientError, DEFAULT_SOCKET, HangUp, usual_socket};
pub use config::{
    Advertise, Affinity, Backend, Balance, Bridge, CONFIG_VERSION, Config, ConfigError, Egress,
    End, Endpoint, Filtering, Flows, Forward, HealthCheck, Indexed, Ingress, Listen, Marked,
    Masquerade, NatRule, NatRules, NetdevMode, NetnsIdentity, Network, NetworkChange,
    NetworkSettings, Overlay, Port, PortKind, PrefixTranslation, Probe, Publish, Route, Service,
    Shape, StaticMac, StaticNeighbor, Table, Tap, TapRoute, Target, Timeouts, Tos, Tracking,
    VlanOf, Vni, Vxlan,
};
pub use error::{CtlError, ErrorCode};
pub use imbl::ordmap::DiffItem;
pub use listen::{ListenError, SocketFile};
pub use lock::{LockError, hold};
pub use loopback::{Relayed, RelayedBy};
pub use names::{
    BadName, BridgeName, HostName, IfName, IpCidr, MacAddr, Mtu, NetnsRef, Owner, PortName,
    RawNetns, RuleName, ServiceName,
};
pub use network::UPLINK_REMEDY;
pub use packet::{FiveTuple, Protocol, Sketch, TcpFlags};
pub use plan::{Action, plan};
pub use prefix::{AddressRange, AddressRanges, Destination, PortRange, Prefix};
pub use rate::Rate;
pub use request::{
    Allowance, Attach, Batch, BridgeAdd, BridgeSet, Capture, ConnFilter, ConnList, ConnShow,
    ConnState, ConnTop, Detach, FdbFilter, FdbKey, FdbStatic, FlowKey, FlowList, FlowReplace,
    Frame, HostPort, IpamFilter, IpamRelease, IpamRequest, Limit, Mutation, Named, NatAdd, NatSet,
    NeighborAdd, NeighborFilter, NeighborKey, NetworkConnect, NetworkCreate, NetworkDisconnect,
    NetworkHandover, NetworkRm, NetworkSet, Packet, Party, PoolAdd, PortAdd, PortFilter, PortMove,
    PortSet, Query, Request, RouteAdd, RouteDel, ServiceAdd, ServiceBackends, ServiceSet,
    TimeoutsSet, TopBy, Trace, TrafficFilter, VxlanAdd, VxlanSet, Why,
};
pub use uplink::HostUplink;
pub use vlan::{Vlan, VlanId, VlanIds};
