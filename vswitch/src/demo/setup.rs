//! The laboratory of the demonstration: two containers on the switch, two on a Linux bridge.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::path::PathBuf;

use ctl::response::{DropInfo, Stats};
use ctl::{
    BridgeAdd, Client, IpCidr, Mutation, NetdevMode, Port, PortAdd, PortKind, Query, Request, Tap,
};
use hostnet::{Interface, Netlink};
use netlab::Container;
use netlab::topology::LinuxBridge;

use super::DemoError;
use crate::control::Background;
use crate::worker::PollMode;

/// Two connected containers.
pub(super) struct Pair {
    pub(super) name: &'static str,
    pub(super) a: Container,
    pub(super) b: Container,
    /// Address of `a`.
    pub(super) own_ip4: Ipv4Addr,
    /// Addresses of `b`.
    pub(super) ip4: Ipv4Addr,
    pub(super) ip6: Ipv6Addr,
}

/// Everything that the demonstration needs.
pub(super) struct Lab {
    pub(super) switched: Pair,
    pub(super) bridged: Pair,
    socket: PathBuf,
    _daemon: Background,
    _bridge: LinuxBridge,
}

/// What the switch says of the frames that it carried.
pub(super) struct Books {
    pub(super) stats: Stats,
    pub(super) drops: Vec<DropInfo>,
}

const IP4: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 99, 0, 1), Ipv4Addr::new(10, 99, 0, 2)];
const IP6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 2)];

fn addresses(number: usize) -> [IpCidr; 2] {
    [
        IpCidr { addr: IP4[number].into(), prefix_len: 24 },
        IpCidr { addr: IP6[number].into(), prefix_len: 64 },
    ]
}

impl Lab {
    pub(super) fn set_up() -> Result<Self, DemoError> {
        let socket = PathBuf::from("/run/vswitch-demo.sock");
        let daemon = Background::start(socket.clone(), PollMode::Adaptive, None)?;
        let switched = switched(&mut Client::connect(&socket)?)?;
        let (bridged, bridge) = bridged()?;
        Ok(Self { switched, bridged, socket, _daemon: daemon, _bridge: bridge })
    }

    pub(super) fn books(&self) -> Result<Books, DemoError> {
        let mut client = Client::connect(&self.socket)?;
        let stats = client.ask(Request::Query(Query::stats()))?;
        let drops = client.ask(Request::Query(Query::drops()))?;
        Ok(Books { stats, drops })
    }
}

/// Two containers on the switch: by TAP devices, or by veths where there is no access to TAP.
fn switched(client: &mut Client) -> Result<Pair, DemoError> {
    let bridge = "demo".parse::<ctl::BridgeName>()?;
    client.call(Request::Mutation(Mutation::BridgeAdd(BridgeAdd::new(bridge.clone()))))?;
    let containers = [Container::new()?, Container::new()?];
    let has_tun = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun").is_ok();
    for (number, container) in containers.iter().enumerate() {
        let kind = if has_tun { tap(container, number)? } else { veth(container, number)? };
        let port = Port::new(bridge.clone(), kind);
        let name = ["left", "right"][number].parse()?;
        let add = Mutation::PortAdd(Box::new(PortAdd { name, port }));
        client.call(Request::Mutation(add))?;
    }
    let name = if has_tun { "vswitch (tap)" } else { "vswitch (veth)" };
    Ok(pair(name, containers))
}

/// An interface that the switch makes and moves into the container.
fn tap(container: &Container, number: usize) -> Result<PortKind, DemoError> {
    Ok(PortKind::Tap(Tap {
        netns: Some(container.reference()),
        ips: addresses(number).to_vec(),
        ..Tap::new("eth0".parse()?)
    }))
}

/// A pair of interfaces, one end of which the container has already.
fn veth(container: &Container, number: usize) -> Result<PortKind, DemoError> {
    let name = format!("demo{number}");
    Netlink::open()?.create_veth(&name, "eth0", Some(container.namespace().as_fd()))?;
    configure(container, number)?;
    Ok(PortKind::Netdev { device: name.parse()?, netns: None, mode: NetdevMode::Auto })
}

/// Two containers on a Linux bridge.
fn bridged() -> Result<(Pair, LinuxBridge), DemoError> {
    let containers = [Container::new()?, Container::new()?];
    let bridge = LinuxBridge::new()?;
    for (number, container) in containers.iter().enumerate() {
        bridge.connect(container, "eth0")?;
        configure(container, number)?;
    }
    Ok((pair("Linux bridge", containers), bridge))
}

fn configure(container: &Container, number: usize) -> Result<(), DemoError> {
    let wanted = Interface { ips: &addresses(number), ..Interface::default() };
    container.configure("eth0", &wanted)?;
    Ok(())
}

fn pair(name: &'static str, [a, b]: [Container; 2]) -> Pair {
    Pair { name, a, b, own_ip4: IP4[0], ip4: IP4[1], ip6: IP6[1] }
}
