//! Ports, and what is behind them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::names::bad;
use crate::{
    BridgeName, HostName, IfName, IpCidr, MacAddr, Mtu, NetnsRef, Prefix, Rate, RawNetns, Vlan,
};

/// A port of a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// The bridge.
    pub bridge: BridgeName,
    /// What is behind it.
    pub kind: PortKind,
    /// VLANs.
    #[serde(default, skip_serializing_if = "Vlan::is_unaware")]
    pub vlan: Vlan,
    /// Talks to no other isolated port of its bridge.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub isolated: bool,
    /// Frames may go back to the port that they came from.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hairpin: bool,
    /// The most stations that are learned on it; its bridge's limit if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_limit: Option<u32>,
    /// The MTU; its bridge's if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<Mtu>,
    /// Only its own MAC address and IP addresses may send by it, and no DHCP server or router.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub guard: bool,
    /// How fast frames leave by it; as fast as they can if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Egress>,
    /// A network's container that asks for its IPv4 addresses and routes by itself: it is told them by DHCP, and its
    /// interface is left without.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dhcp: bool,
    /// The interface, which exists already, stays the host's with its addresses: the port takes from it only what is for
    /// published ports and for masqueraded connections. The bridge has no other port, and the host's addresses and routes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// How fast frames may come in by it; as fast as they can if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Ingress>,
    /// Which namespace its interface is in, as the daemon found when it opened the port: names of namespaces are given
    /// again. What a request says here is not heeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<NetnsIdentity>,
}

/// Which network namespace it is, whatever it is called: no two have the same identity, at whatever times they live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetnsIdentity {
    /// The boot of the machine (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
    /// The kernel's number for the namespace, which it gives once in a boot (`SO_NETNS_COOKIE` of `socket(7)`). That of
    /// its file in `/proc` is given again.
    pub cookie: u64,
}

impl Port {
    /// A port with nothing particular about it.
    pub fn new(bridge: BridgeName, kind: PortKind) -> Self {
        Self {
            bridge,
            kind,
            vlan: Vlan::Unaware,
            isolated: false,
            hairpin: false,
            mac_limit: None,
            mtu: None,
            guard: false,
            egress: None,
            dhcp: false,
            shared: false,
            ingress: None,
            place: None,
        }
    }

    /// The name in `/run/netns` by which its container was attached, if it can be that of a host: names with dots are others'.
    pub fn namespace_name(&self) -> Option<HostName> {
        let netns = match &self.kind {
            PortKind::Tap(tap) if tap.handover => None,
            kind => kind.interface().0,
        };
        match netns?.raw() {
            RawNetns::Name(name) if !name.contains('.') => name.parse().ok(),
            _ => None,
        }
    }
}

/// A limit to what leaves by a port: frames above the rate wait in a queue, and what the queue has no room
/// for is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// The rate.
    pub rate: Rate,
    /// The most bytes that wait; what the rate carries in 50 ms if not given, but room for a few
    /// super-frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_bytes: Option<u32>,
}

impl Egress {
    /// The shortest queue: a super-frame of 64 KiB has to fit.
    pub const MIN_QUEUE_BYTES: u32 = 128 * 1024;
    /// The longest queue.
    pub const MAX_QUEUE_BYTES: u32 = 64 * 1024 * 1024;

    /// The most bytes that wait.
    pub fn queue_bytes(&self) -> u32 {
        self.queue_bytes.unwrap_or_else(|| in_50_ms(self.rate))
    }
}

/// A limit to what comes in by a port: a token bucket, and what it has no tokens for is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ingress {
    /// The rate.
    pub rate: Rate,
    /// The most bytes that may come at once; what the rate carries in 50 ms if not given, but a few
    /// super-frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst_bytes: Option<u32>,
}

impl Ingress {
    /// The most bytes that may come at once.
    pub fn burst_bytes(&self) -> u32 {
        self.burst_bytes.unwrap_or_else(|| in_50_ms(self.rate))
    }
}

/// The bytes that a rate carries in 50 ms, but no fewer or more than may wait for a port.
fn in_50_ms(rate: Rate) -> u32 {
    let carried = rate.bits_per_second() / 8 / 20;
    let carried = u32::try_from(carried).unwrap_or(u32::MAX);
    carried.clamp(Egress::MIN_QUEUE_BYTES, Egress::MAX_QUEUE_BYTES)
}

/// What is behind a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum PortKind {
    /// An interface that the switch makes, and moves into a container.
    Tap(Tap),
    /// An interface that exists already.
    Netdev {
        /// Its name.
        device: IfName,
        /// The namespace in which it is; the daemon's if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        netns: Option<NetnsRef>,
        /// How frames are moved.
        #[serde(default)]
        mode: NetdevMode,
    },
}

impl PortKind {
    /// The interface, if the switch makes it.
    pub fn tap(&self) -> Option<&Tap> {
        match self {
            Self::Tap(tap) => Some(tap),
            Self::Netdev { .. } => None,
        }
    }

    /// Whether one device can be behind either: all but addresses can only be given when it is made.
    pub fn is_same_device(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tap(one), Self::Tap(other)) => {
                let is_there = one.netns == other.netns || one.handover;
                let device = |tap: &Tap| (tap.ifname.clone(), tap.mac, tap.queues, tap.handover);
                is_there && device(one) == device(other)
            }
            _ => self == other,
        }
    }

    /// The namespace and interface name behind the port, which no two ports can share.
    pub fn interface(&self) -> (Option<&NetnsRef>, &IfName) {
        match self {
            Self::Tap(tap) => (tap.netns.as_ref(), &tap.ifname),
            Self::Netdev { device, netns, .. } => (netns.as_ref(), device),
        }
    }

    /// The addresses that are known of the interface: those that it was given here.
    pub fn addresses(&self) -> &[IpCidr] {
        match self {
            Self::Tap(tap) => &tap.ips,
            Self::Netdev { .. } => &[],
        }
    }
}

/// An interface that the switch makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tap {
    /// The container's namespace; the daemon's own if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<NetnsRef>,
    /// Its name there; `eth0` if not given.
    #[serde(default)]
    pub ifname: IfName,
    /// Its MAC address; chosen when the port is added, and kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
    /// Its addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpCidr>,
    /// Its default gateways, at most one of each IP version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<IpAddr>,
    /// Its other routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<TapRoute>,
    /// Queues, each of which may be served by another worker; one if not given.
    #[serde(default = "one")]
    pub queues: u16,
    /// An engine takes it to the container, and names and configures it there. The switch makes it in its own
    /// namespace, gives it its MAC address and MTU, and leaves the rest to the engine; `netns` is where it was taken to,
    /// once that is known. It outlives the daemon, which finds it again by its MAC address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub handover: bool,
}

impl Tap {
    /// An interface of this name that has nothing yet, in the daemon's own namespace: one queue, no addresses or routes.
    pub fn new(ifname: IfName) -> Self {
        Self {
            netns: None,
            ifname,
            mac: None,
            ips: Vec::new(),
            gateways: Vec::new(),
            routes: Vec::new(),
            queues: one(),
            handover: false,
        }
    }

    /// Whether it is an interface of the host itself.
    pub fn is_hosts(&self) -> bool {
        self.netns.is_none() && !self.handover
    }
}

/// A route of a container by its interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TapRoute {
    /// Where it leads to.
    pub to: Prefix,
    /// The next hop.
    pub via: IpAddr,
}

impl std::str::FromStr for TapRoute {
    type Err = crate::BadName;

    fn from_str(text: &str) -> Result<Self, crate::BadName> {
        let ends = text.split_once(" via ");
        let ends = ends.and_then(|(to, via)| to.trim().parse().ok().zip(via.trim().parse().ok()));
        ends.map(|(to, via)| Self { to, via }).ok_or_else(|| {
            bad("route", text, "write a network and a next hop, such as '10.9.0.0/16 via 10.0.0.1'")
        })
    }
}

impl std::fmt::Display for TapRoute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} via {}", self.to, self.via)
    }
}

fn one() -> u16 {
    1
}

/// How frames of an existing interface are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetdevMode {
    /// What suits the device: `gso` for a veth, whose far end keeps its offloads.
    #[default]
    Auto,
    /// AF_PACKET with super-frames: the most bytes per second.
    Gso,
    /// AF_XDP: the most packets per second.
    Xdp,
}

impl std::fmt::Display for NetdevMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::Gso => "gso",
            Self::Xdp => "xdp",
        })
    }
}

impl std::str::FromStr for NetdevMode {
    type Err = crate::BadName;

    fn from_str(text: &str) -> Result<Self, crate::BadName> {
        match text {
            "auto" => Ok(Self::Auto),
            "gso" => Ok(Self::Gso),
            "xdp" => Ok(Self::Xdp),
            _ => Err(crate::BadName {
                what: "mode of an interface",
                text: text.chars().take(64).collect(),
                rule: "use auto, gso or xdp",
            }),
        }
    }
}
