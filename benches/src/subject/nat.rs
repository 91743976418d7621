//! Address translation: a container inside, one outside, and what hides the one from the other.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};

use ctl::{AddressRanges, IpCidr, Masquerade, Mutation, NatAdd, NatRule, NetdevMode};
use hostnet::{Interface, MacBytes};
use netlab::topology::veth;
use netlab::{Container, LabError};
use vswitch::worker::PollMode;

use super::switch::{WORKERS, join};
use super::{Family, INTERFACE, Labour, Rig, Subject, Switch, Wish, containers, process};

const NAT: Subject = Subject {
    name: "",
    about: "",
    family: Family::Nat,
    needs: &[],
    is_default: true,
    start: |wish| translator(wish, PollMode::Adaptive, None),
};

pub(super) const SUBJECTS: &[Subject] = &[
    Subject {
        name: "nft-nat",
        about: "the kernel as a router with one nftables rule: masquerade, without a flowtable, which kernels built without \
                CONFIG_NF_FLOW_TABLE refuse; a veth pair to each container, no other rules",
        needs: &["nft"],
        start: nftables,
        ..NAT
    },
    Subject {
        name: "nat",
        about: "this switch: two bridges with gateways, masquerade, TAP ports, one adaptive worker",
        ..NAT
    },
    Subject {
        name: "nat-busy",
        about: "this switch: two bridges with gateways, masquerade, TAP ports, one worker that never sleeps",
        is_default: false,
        start: |wish| translator(wish, PollMode::Busy, None),
        ..NAT
    },
    Subject {
        name: "offload-nat",
        about: "this switch: two bridges with gateways, masquerade, veth ports in gso mode, the kernel carries what it \
                can (--offload ebpf)",
        is_default: false,
        start: |wish| translate(Switch::start_offloaded()?, Some(NetdevMode::Gso), wish, None),
        ..NAT
    },
];

const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 98, 1, 2);
const INSIDE_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 98, 1, 1);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
const OUTSIDE_GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

const MASQUERADE: &str = "
table ip bench {
    chain post { type nat hook postrouting priority 100; oifname \"outside\" masquerade; }
}";

fn network(addr: Ipv4Addr) -> IpCidr {
    IpCidr { addr: addr.into(), prefix_len: 24 }
}

fn rig(
    [near, far]: [Container; 2],
    next_hop: MacBytes,
    labour: Labour,
    between: impl std::any::Any,
) -> Rig {
    let (addresses, controls) = ([INSIDE, OUTSIDE], Vec::new());
    let (_between, monitor) = (Box::new(between), None);
    let reset = None;
    Rig { _between, near, far, monitor, addresses, next_hop, labour, controls, reset }
}

fn nftables(wish: &Wish) -> Result<Rig, Box<dyn Error>> {
    let (ends, router) = (containers()?, Container::new()?);
    let sides = [("inside", INSIDE_GATEWAY, INSIDE), ("outside", OUTSIDE_GATEWAY, OUTSIDE)];
    for (end, (name, gateway, address)) in ends.iter().zip(sides) {
        veth(&router, name, end, INTERFACE)?;
        let mtu = Some(wish.mtu);
        let (ips, gateways) = ([network(gateway)], [IpAddr::from(gateway)]);
        router.configure(name, &Interface { ips: &ips, mtu, ..Interface::default() })?;
        let ips = [network(address)];
        end.configure(
            INTERFACE,
            &Interface { ips: &ips, gateways: &gateways, mtu, ..Interface::default() },
        )?;
    }
    router.run(|| {
        let failed = |source| LabError::Socket { operation: "let the kernel forward", source };
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").map_err(failed)
    })?;
    process::run_in(&router, "nft", &["-f", "-"], MASQUERADE)?;
    let next_hop = router.link("inside")?.mac.ok_or("the router has no MAC address")?;
    Ok(rig(ends, next_hop, Labour::Kernel, router))
}

/// This switch as a translator: to the gateway's own address, or to others.
pub(crate) fn translator(
    wish: &Wish,
    poll: PollMode,
    addresses: Option<AddressRanges>,
) -> Result<Rig, Box<dyn Error>> {
    translate(Switch::start(poll)?, None, wish, addresses)
}

/// As [`translator`], by a switch that is there, with veth ports in this mode or TAP ports.
fn translate(
    mut switch: Switch,
    mode: Option<NetdevMode>,
    wish: &Wish,
    addresses: Option<AddressRanges>,
) -> Result<Rig, Box<dyn Error>> {
    let ends = containers()?;
    let mtu = mode.map(|_| wish.mtu);
    let sides = [("inside", INSIDE_GATEWAY, INSIDE), ("outside", OUTSIDE_GATEWAY, OUTSIDE)];
    for (end, (name, gateway, address)) in ends.iter().zip(sides) {
        switch.bridge(name, wish.mtu, &[network(gateway)])?;
        let (ips, gateways) = ([network(address)], [IpAddr::from(gateway)]);
        let wanted = Interface { ips: &ips, gateways: &gateways, mtu, ..Interface::default() };
        join(&mut switch, (name, name), mode, end, &wanted)?;
    }
    let rule = Masquerade::new("inside".parse()?, "outside".parse()?);
    let rule = NatRule::Masquerade(Masquerade { addresses, ..rule });
    switch.change(Mutation::NatAdd(NatAdd { name: None, rule }))?;
    let (next_hop, socket) = (switch.router_mac("inside")?, switch.socket().to_owned());
    let rig = rig(ends, next_hop, Labour::Threads(WORKERS), switch);
    Ok(Rig { controls: vec![socket], ..rig })
}
