//! What the kernel itself offers to put two containers on one network.

use std::error::Error;

use netlab::topology::{LinuxBridge, veth, without_bridge_netfilter};
use netlab::{Container, LabError};

use super::{Family, INTERFACE, Labour, Rig, Subject, Wish, configure, containers, monitor};

const KERNEL: Subject = Subject {
    name: "",
    about: "",
    family: Family::Bridging,
    needs: &[],
    is_default: true,
    start: direct,
};

pub(super) const SUBJECTS: &[Subject] = &[
    Subject { name: "veth", about: "one veth pair from container to container", ..KERNEL },
    Subject {
        name: "bridge",
        about: "Linux bridge in a namespace of its own, a veth pair to each container; bridge-nf-call-iptables, -ip6tables \
                and -arptables off, no VLANs, no spanning tree",
        start: |wish| bridge(wish, Netfilter::Aside),
        ..KERNEL
    },
    Subject {
        name: "bridge-nf",
        about: "the same, with bridge-nf-call-* as each namespace begins, on where the kernel has it, as Kubernetes asks of a host",
        is_default: false,
        start: |wish| bridge(wish, Netfilter::AsItBegins),
        ..KERNEL
    },
    Subject {
        name: "macvlan",
        about: "two macvlan devices in bridge mode on one veth",
        start: macvlan,
        ..KERNEL
    },
];

/// Whether IP packets that pass a Linux bridge are under the host's rules (`br_netfilter`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Netfilter {
    /// They are not.
    Aside,
    /// As in a namespace that nobody has set anything in.
    AsItBegins,
}

impl Netfilter {
    /// Sets it on a host.
    pub(super) fn set(self, host: &Container) -> Result<(), LabError> {
        match self {
            Self::Aside => without_bridge_netfilter(host),
            Self::AsItBegins => Ok(()),
        }
    }
}

fn direct(wish: &Wish) -> Result<Rig, Box<dyn Error>> {
    let ends = containers()?;
    veth(&ends[0], INTERFACE, &ends[1], INTERFACE)?;
    configure(&ends, wish)?;
    Rig::bridged(ends, Labour::Kernel, ())
}

fn bridge(wish: &Wish, netfilter: Netfilter) -> Result<Rig, Box<dyn Error>> {
    let ends = containers()?;
    let bridge = LinuxBridge::new()?;
    netfilter.set(bridge.host())?;
    let host = bridge.host().netlink()?;
    let monitor = monitor(wish)?;
    for end in ends.iter().chain(&monitor) {
        bridge.connect(end, INTERFACE)?;
    }
    for link in host.links()?.iter().filter(|link| link.name != "lo") {
        host.set_mtu(link.index, wish.mtu)?;
    }
    configure(&ends, wish)?;
    Ok(Rig { monitor, ..Rig::bridged(ends, Labour::Kernel, bridge)? })
}

fn macvlan(wish: &Wish) -> Result<Rig, Box<dyn Error>> {
    let ends = containers()?;
    let (host, wire) = (Container::new()?, Container::new()?);
    veth(&host, "lower", &wire, "lower")?;
    let netlink = host.netlink()?;
    let lower = netlink.link("lower")?.index;
    netlink.set_mtu(lower, wish.mtu)?;
    for (end, name) in ends.iter().zip(["macvlan0", "macvlan1"]) {
        netlink.create_macvlan(name, lower)?;
        netlink.move_to(netlink.link(name)?.index, end.namespace(), INTERFACE)?;
    }
    configure(&ends, wish)?;
    Rig::bridged(ends, Labour::Kernel, (host, wire))
}
