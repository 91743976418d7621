//! Two hosts that are joined by a wire, a container on each, and VXLAN between them.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};

use ctl::{BridgeName, Mutation, NetdevMode, Port, PortAdd, PortKind, Vxlan, VxlanAdd};
use hostnet::Interface;
use netlab::Container;
use netlab::topology::veth;
use vswitch::fleet::usable_cores;
use vswitch::worker::PollMode;

use super::bridging::Netfilter;
use super::ovs::{self, OpenVswitch};
use super::switch::WORKERS;
use super::{
    ADDRESSES, Family, INTERFACE, Labour, Rig, Subject, Switch, Wish, cidr, configure, containers,
    mac,
};

const OVERLAY: Subject = Subject {
    name: "",
    about: "",
    family: Family::Overlay,
    needs: &[],
    is_default: true,
    start: |wish| ours(wish, PollMode::Adaptive),
};

pub(super) const SUBJECTS: &[Subject] = &[
    Subject {
        name: "linux-vxlan",
        about: "on each host a Linux bridge (as bridge) with a vxlan device (nolearning, without outer checksums) and a \
                veth pair to the container; the MTU of the wire is 1500, the containers' 1450",
        start: |wish| kernel(wish, Netfilter::Aside),
        ..OVERLAY
    },
    Subject {
        name: "linux-vxlan-nf",
        about: "the same, with the bridges as bridge-nf",
        is_default: false,
        start: |wish| kernel(wish, Netfilter::AsItBegins),
        ..OVERLAY
    },
    Subject {
        name: "vxlan",
        about: "on each host this switch with a TAP port and a tunnel, one adaptive worker, the second host's on \
                another core; the MTU of the wire is 1500, the containers' 1450",
        ..OVERLAY
    },
    Subject {
        name: "vxlan-busy",
        about: "the same, with workers that never sleep",
        is_default: false,
        start: |wish| ours(wish, PollMode::Busy),
        ..OVERLAY
    },
    Subject {
        name: "vxlan-via",
        about: "the same as vxlan, by an uplink that the switch shares with the host in gso mode, not by a socket",
        is_default: false,
        start: |wish| ours_by(wish, PollMode::Adaptive, Some(NetdevMode::Gso)),
        ..OVERLAY
    },
    Subject {
        name: "vxlan-via-xdp",
        about: "the same, in xdp mode",
        is_default: false,
        start: |wish| ours_by(wish, PollMode::Adaptive, Some(NetdevMode::Xdp)),
        ..OVERLAY
    },
    Subject {
        name: "ovs-vxlan",
        about: "on each host OVS userspace: a bridge with the container's veth (AF_PACKET) and a vxlan port, another \
                one with the wire; the MTU of the wire is 1500, the containers' 1450",
        needs: ovs::NEEDS,
        is_default: false,
        start: open_vswitch,
        ..OVERLAY
    },
];

const VNI: u32 = 42;
/// Bytes that VXLAN over IPv4 puts in front of a packet: Ethernet inside, VXLAN, UDP, IPv4.
pub(super) const OVERHEAD_BYTES: u32 = 14 + 8 + 8 + 20;

fn underlay(host: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, host])
}

/// Two hosts on one wire, without addresses.
fn wired() -> Result<[Container; 2], Box<dyn Error>> {
    let hosts = containers()?;
    veth(&hosts[0], "wire", &hosts[1], "wire")?;
    Ok(hosts)
}

/// Two hosts on one wire.
fn hosts(wish: &Wish) -> Result<[Container; 2], Box<dyn Error>> {
    let hosts = wired()?;
    for (host, number) in hosts.iter().zip([1, 2]) {
        address(host, "wire", number, wish.mtu)?;
    }
    Ok(hosts)
}

/// Gives a host its address on the wire.
fn address(host: &Container, device: &str, number: u8, mtu: u32) -> Result<(), Box<dyn Error>> {
    let ips = [ctl::IpCidr { addr: underlay(number), prefix_len: 24 }];
    let wanted = Interface { ips: &ips, mtu: Some(mtu), ..Interface::default() };
    host.configure(device, &wanted)?;
    Ok(())
}

fn inner(wish: &Wish) -> Wish {
    Wish { mtu: wish.mtu - OVERHEAD_BYTES, ..*wish }
}

fn kernel(wish: &Wish, netfilter: Netfilter) -> Result<Rig, Box<dyn Error>> {
    let (ends, hosts) = (containers()?, hosts(wish)?);
    for ((host, end), number) in hosts.iter().zip(&ends).zip([1, 2]) {
        let netlink = host.netlink()?;
        netfilter.set(host)?;
        netlink.create_bridge("br0")?;
        let local = SocketAddr::new(underlay(number), Vxlan::PORT);
        netlink.create_vxlan("vxlan0", VNI, local, underlay(3 - number))?;
        veth(host, "veth0", end, INTERFACE)?;
        let bridge = netlink.link("br0")?.index;
        for member in ["vxlan0", "veth0"] {
            let index = netlink.link(member)?.index;
            netlink.set_mtu(index, inner(wish).mtu)?;
            netlink.set_controller(index, bridge)?;
            netlink.set_up(index, true)?;
        }
        netlink.set_up(bridge, true)?;
        host.await_ready("br0")?;
    }
    configure(&ends, &inner(wish))?;
    Rig::bridged(ends, Labour::Kernel, hosts)
}

fn open_vswitch(wish: &Wish) -> Result<Rig, Box<dyn Error>> {
    let (ends, hosts) = (containers()?, wired()?);
    let mut switches = Vec::new();
    for ((host, end), number) in hosts.iter().zip(&ends).zip([1, 2]) {
        veth(host, "veth0", end, INTERFACE)?;
        let switch = OpenVswitch::start(host, &ovs::PACKET)?;
        switch.port(host, "br0", "veth0", &[&format!("mtu_request={}", inner(wish).mtu)])?;
        switch.bridge(host, "phy")?;
        switch.port(host, "phy", "wire", &[])?;
        address(host, "phy", number, wish.mtu)?;
        let remote = format!("options:remote_ip={}", underlay(3 - number));
        let key = format!("options:key={VNI}");
        switch.port(host, "br0", "vxlan0", &["type=vxlan", &remote, &key])?;
        for device in ["veth0", "wire"] {
            let netlink = host.netlink()?;
            netlink.set_up(netlink.link(device)?.index, true)?;
        }
        switches.push(switch);
    }
    configure(&ends, &inner(wish))?;
    // OVS has no segmentation and no partial checksums in tunnels.
    ends.iter().try_for_each(|end| end.set_offloads(INTERFACE, false))?;
    let labour = Labour::Processes(switches.iter().map(OpenVswitch::pid).collect());
    Rig::bridged(ends, labour, (switches, hosts))
}

fn ours(wish: &Wish, poll: PollMode) -> Result<Rig, Box<dyn Error>> {
    ours_by(wish, poll, None)
}

/// Tunnels by sockets, or by an uplink in this mode.
fn ours_by(wish: &Wish, poll: PollMode, uplink: Option<NetdevMode>) -> Result<Rig, Box<dyn Error>> {
    let (ends, hosts) = (containers()?, hosts(wish)?);
    let cores = usable_cores();
    let mut switches = Vec::new();
    for (number, (host, end)) in hosts.iter().zip(&ends).enumerate() {
        let core =
            *cores.iter().rev().nth(number).or(cores.first()).ok_or("no core may be used")?;
        let mut switch = Switch::start_on(host, poll, core)?;
        switch.bridge("br0", inner(wish).mtu, &[])?;
        let [local, remote] = if number == 0 { [1, 2] } else { [2, 1] }.map(underlay);
        let vxlan = Vxlan::new("br0".parse()?, VNI.try_into()?, local);
        let via = uplink.map(|mode| share(&mut switch, mode)).transpose()?;
        let vxlan = Vxlan { remotes: vec![remote], via, ..vxlan };
        switch.change(Mutation::VxlanAdd(VxlanAdd { name: "vx0".parse()?, vxlan }))?;
        let ips = [cidr(number)];
        let wanted = Interface { ips: &ips, ..Interface::default() };
        switch.tap("port0", "br0", end, &wanted)?;
        switches.push(switch);
    }
    let [near, far] = ends;
    let (next_hop, labour) = (mac(&far)?, Labour::Threads(WORKERS));
    let controls = switches.iter().map(|switch| switch.socket().to_owned()).collect();
    let (addresses, _between) = (ADDRESSES, Box::new((switches, hosts)));
    let (monitor, reset) = (None, None);
    Ok(Rig { _between, near, far, monitor, addresses, next_hop, labour, controls, reset })
}

/// Lets a switch share its host's wire; returns the bridge of that.
fn share(switch: &mut Switch, mode: NetdevMode) -> Result<BridgeName, Box<dyn Error>> {
    let bridge: BridgeName = "up".parse()?;
    let kind = PortKind::Netdev { device: "wire".parse()?, netns: None, mode };
    let port = Port { shared: true, ..Port::new(bridge.clone(), kind) };
    switch.change(Mutation::PortAdd(Box::new(PortAdd { name: "up0".parse()?, port })))?;
    Ok(bridge)
}
