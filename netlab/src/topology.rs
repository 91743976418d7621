//! Networks to compare a switch with: a wire, and the kernel's own bridge.

use std::os::fd::AsFd;

use hostnet::Interface;

use crate::{Container, LabError};

/// Connects two containers by a veth pair: interface `a_name` of `a` and `b_name` of `b`. Both are on
/// and ready, and without IPv4 address.
///
/// # Errors
/// [`LabError::Host`], when a name is taken.
pub fn veth(a: &Container, a_name: &str, b: &Container, b_name: &str) -> Result<(), LabError> {
    a.netlink()?.create_veth(a_name, b_name, Some(b.namespace().as_fd()))?;
    let ends = [(a, a_name), (b, b_name)];
    ends.iter().try_for_each(|(end, name)| end.configure(name, &Interface::default()).map(drop))?;
    ends.iter().try_for_each(|(end, name)| end.await_ready(name).map(drop))
}

/// Lets frames pass a host's Linux bridges without the rules that its IP packets are under (`br_netfilter`): where the kernel has
/// that built in, or somebody has loaded it, each namespace begins with it on, and every frame pays for it.
///
/// # Errors
/// [`LabError::Socket`], when it may not be switched off.
pub fn without_bridge_netfilter(host: &Container) -> Result<(), LabError> {
    for protocol in ["ip", "ip6", "arp"] {
        let setting = format!("net/bridge/bridge-nf-call-{protocol}tables");
        if host.has_sysctl(&setting)? {
            host.sysctl(&setting, "0")?;
        }
    }
    Ok(())
}

/// A Linux bridge in a namespace of its own. It goes away with this value, and so do the interfaces
/// of the containers that are connected to it.
#[derive(Debug)]
pub struct LinuxBridge {
    host: Container,
    bridge: u32,
}

impl LinuxBridge {
    /// A bridge without members. It forwards at once: there is no spanning tree.
    ///
    /// # Errors
    /// [`LabError::Host`].
    pub fn new() -> Result<Self, LabError> {
        let host = Container::new()?;
        let netlink = host.netlink()?;
        netlink.create_bridge("br0")?;
        let bridge = netlink.link("br0")?.index;
        netlink.set_up(bridge, true)?;
        Ok(Self { host, bridge })
    }

    /// Connects a container to it by a veth pair, of which `interface` is the container's end: on and
    /// ready, and without IPv4 address.
    ///
    /// # Errors
    /// [`LabError::Host`], when the name is taken.
    pub fn connect(&self, container: &Container, interface: &str) -> Result<(), LabError> {
        let netlink = self.host.netlink()?;
        let member = format!("veth{}", netlink.links()?.len());
        veth(&self.host, &member, container, interface)?;
        netlink.set_controller(netlink.link(&member)?.index, self.bridge)?;
        self.host.await_ready("br0").map(drop)
    }

    /// The namespace that the bridge is in.
    pub fn host(&self) -> &Container {
        &self.host
    }
}
