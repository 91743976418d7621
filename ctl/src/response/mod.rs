//! What the daemon answers. Fields may be added in later versions; clients skip what they do not know.

mod conn;
mod explain;
mod flow;
mod nat;
mod network;
mod route;
mod service;
mod vxlan;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::flow::FlowId;
use crate::{Bridge, BridgeName, HostName, MacAddr, Port, PortName, RuleName, VlanId};

pub use conn::{ConnInfo, ConnPage, TopInfo, Volume};
pub use explain::{
    CaptureInfo, CapturePiece, FollowInfo, LostPacket, TraceInfo, TraceOutcome, TraceStage, WhyInfo,
};
pub use flow::{FlowChanges, FlowInfo, FlowPage};
pub use nat::NatInfo;
pub use network::{AddressInfo, EndpointInfo, LeaseInfo, NetworkInfo, SubnetInfo, UnusedInfo};
pub use route::{NeighborInfo, NeighborState, RouteInfo, RouteKind, Routes};
pub use service::{BackendInfo, BackendState, Checks, Fault, ServiceInfo};
pub use vxlan::{VtepInfo, VxlanInfo};

/// The answer to a change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Changed {
    /// False when everything was as asked for already.
    pub changed: bool,
    /// The port that was made or found, if it was about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortName>,
    /// The rule of address translation that was added or found, if it was about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleName>,
    /// The number of the rule that was added or changed, if it was about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<FlowId>,
    /// How many rules are not what they were, if all were replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flows: Option<FlowChanges>,
    /// The network that was made or found, if it was about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Box<NetworkInfo>>,
    /// The container that was connected or found, if it was about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Box<EndpointInfo>>,
    /// The subnet that was kept or found, if it was about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Box<SubnetInfo>>,
    /// The addresses that were given or found, if it was about these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leases: Vec<LeaseInfo>,
    /// How many entries were removed, if it was about that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<usize>,
    /// What may be otherwise than meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The answer to each of several changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub each: Vec<Changed>,
}

/// A bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeInfo {
    /// Its name.
    pub name: BridgeName,
    /// Its settings.
    pub settings: Bridge,
    /// The network that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<BridgeName>,
    /// The router's MAC address, if the router has an address here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router_mac: Option<MacAddr>,
    /// Its ports.
    pub ports: Vec<PortName>,
    /// Stations known now.
    pub stations: u32,
    /// Stations learned so far.
    pub learned: u64,
    /// Stations that came to another port so far.
    pub moved: u64,
    /// Stations that aged out so far.
    pub expired: u64,
    /// Attempts to learn a station that a limit or a full table prevented so far.
    pub refused: u64,
}

/// A port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortInfo {
    /// Its name.
    pub name: PortName,
    /// Its settings.
    pub settings: Port,
    /// The network on which it is a container's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<BridgeName>,
    /// The names by which others on the network find the container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<HostName>,
    /// Whether it works.
    pub state: PortState,
    /// The MTU in force, in bytes.
    pub mtu: u32,
    /// What there is to know about the open device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceInfo>,
}

/// Whether a port works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortState {
    /// It does.
    Up,
    /// Its device, an interface that is there without the switch, was switched off by somebody.
    Down,
    /// Its device is not there (yet), for this reason; it is opened when it appears.
    Waiting(String),
}

/// What an open device does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// How frames are moved: `tap`, `gso`, `xdp native`, ...; and why, where there was a choice.
    pub mode: String,
    /// The interface's number in its namespace.
    pub index: u32,
    /// The interface's MAC address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
    /// What the device hands over without software work in the switch.
    pub offloads: Vec<String>,
    /// Which worker serves which queue.
    pub queues: Vec<QueueInfo>,
    /// What else is worth knowing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One queue of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueInfo {
    /// Its number.
    pub queue: u16,
    /// The worker that serves it.
    pub worker: u16,
    /// That worker's core.
    pub core: usize,
}

/// A station.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdbInfo {
    /// The bridge.
    pub bridge: BridgeName,
    /// Its VLAN, on VLAN-aware ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<VlanId>,
    /// Its address.
    pub mac: MacAddr,
    /// The port that it is behind.
    pub port: PortName,
    /// The host that it is on, behind a tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vtep: Option<IpAddr>,
    /// Seconds since it was last heard.
    pub age_seconds: u32,
    /// Entered by hand.
    pub is_static: bool,
    /// The kernel carries frames to it by itself (`vswitchd --offload`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_offloaded: bool,
}

/// Frames and bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// By port.
    pub ports: Vec<PortStats>,
    /// Of the whole switch, ports that are no more included.
    pub total: Counters,
    /// Whether every frame is accounted for; if not, what is missing.
    pub discrepancy: Option<String>,
}

/// Frames and bytes of a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortStats {
    /// The port or tunnel; of tunnel packets that are for no tunnel, the address and UDP port that got them.
    pub port: String,
    /// Its counters.
    #[serde(flatten)]
    pub counters: Counters,
}

/// Counters. `received = forwarded + answered + held + dropped_in` and
/// `offered = transmitted + dropped_out`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Frames received.
    pub received: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Received frames that went on.
    pub forwarded: u64,
    /// Received frames that were for the switch itself: its gateway's.
    #[serde(default)]
    pub answered: u64,
    /// Received frames that wait at the moment, for their next hop's address or their first fragment.
    #[serde(default)]
    pub held: u64,
    /// Frames put into the port's outbox that the switch itself made.
    #[serde(default)]
    pub originated: u64,
    /// Copies beyond the first that floods made.
    pub copies: u64,
    /// Received frames that were dropped.
    pub dropped_in: u64,
    /// Frames to be transmitted.
    pub offered: u64,
    /// Frames transmitted.
    pub transmitted: u64,
    /// Bytes transmitted.
    pub transmitted_bytes: u64,
    /// Frames that should have been transmitted and were dropped.
    pub dropped_out: u64,
    /// Frames that the kernel lost before the switch received them.
    pub missed: u64,
}

/// Lost frames of one port for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropInfo {
    /// The port or tunnel, as in [`PortStats`]; `(removed)` for all that are no more.
    pub port: String,
    /// `in` when it came by the port, `out` when it should have left by it.
    pub side: String,
    /// The reason's name.
    pub reason: String,
    /// What the reason means, and what to do.
    pub explanation: String,
    /// How many.
    pub count: u64,
    /// The last of them, if it is still remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastDrop>,
}

/// The last frame that was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastDrop {
    /// Milliseconds ago.
    pub milliseconds_ago: u64,
    /// When that was by the host's clock, in UTC (RFC 3339).
    pub at: String,
    /// Its length in bytes; zero when only the kernel saw it.
    pub frame_bytes: u32,
    /// Its headers, for people.
    pub summary: String,
    /// Its first bytes, hexadecimal.
    pub bytes: String,
}

/// What a worker's time goes to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerPerf {
    /// The worker.
    pub worker: u16,
    /// Its core.
    pub core: usize,
    /// Frames received.
    pub frames: u64,
    /// Turns of its loop.
    pub turns: u64,
    /// Turns that moved no frame.
    pub empty_turns: u64,
    /// Cycles per frame, by stage.
    pub cycles_per_frame: Vec<StageCost>,
    /// Share of its waking time in which it moved frames, 0 to 1.
    pub busy: f64,
    /// Share of all time in which it slept, 0 to 1.
    pub asleep: f64,
    /// Receive bursts by size: of 1, 2 to 3, 4 to 7, ... 64 and more frames.
    pub batches: Vec<u64>,
    /// Times it went from polling to sleeping.
    pub sleeps: u64,
    /// Sleeps that something ended.
    pub wakeups: u64,
    /// Frames handed to other workers.
    pub handed_out: u64,
    /// Frames taken from other workers.
    pub handed_in: u64,
}

/// What a stage costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageCost {
    /// The stage.
    pub stage: String,
    /// Cycles per frame; in all if no frame was received.
    pub cycles: f64,
}

/// The daemon's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// `adaptive` or `busy`.
    pub poll: String,
    /// Its workers' cores.
    pub cores: Vec<usize>,
    /// Number of bridges.
    pub bridges: usize,
    /// Number of ports that work.
    pub ports_up: usize,
    /// Number of ports whose interface somebody has switched off.
    #[serde(default)]
    pub ports_down: usize,
    /// Number of ports that wait for their device.
    pub ports_waiting: usize,
    /// The state directory, if there is one.
    pub state_directory: Option<String>,
    /// Whether every frame is accounted for; if not, what is missing.
    pub discrepancy: Option<String>,
    /// The tables that all workers share.
    #[serde(default)]
    pub tables: Vec<TableInfo>,
    /// What is wrong, and what went wrong since the start, the newest last.
    pub problems: Vec<Problem>,
}

/// Something that is not as it should be, or was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// When it was heard of first, by the host's clock, in UTC (RFC 3339).
    pub since: String,
    /// What it is, for people.
    pub text: String,
}

/// How full a table is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableInfo {
    /// What is in it.
    pub name: String,
    /// Entries now.
    pub used: u64,
    /// The most that it has room for, where that is one number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u64>,
    /// Entries refused so far for want of room, or because of a quota.
    pub refused: u64,
}

/// The daemon's version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Of the program.
    pub version: String,
    /// Of the control protocol.
    pub protocol: u32,
}
