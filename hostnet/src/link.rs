//! Links: network interfaces, by netlink.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoBridge, InfoData, InfoKind, InfoMacVlan, InfoVeth, InfoVxlan, LinkAttribute, LinkFlags,
    LinkInfo, LinkMessage, MacVlanMode, State, Stats64,
};

use crate::{HostError, Netlink, Netns};

/// A MAC address.
pub type MacBytes = [u8; 6];

/// A network interface, as it was when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC address, if it has one.
    pub mac: Option<MacBytes>,
    /// The longest packet that it sends, in bytes.
    pub mtu: u32,
    /// What made it: `veth`, `tun`, `bridge`; `None` for hardware.
    pub kind: Option<String>,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether frames can leave by it: it is on, has a carrier, and the kernel has acted upon that.
    /// Until then whatever is sent is lost.
    pub ready: bool,
    /// The bridge that it belongs to.
    pub controller: Option<u32>,
    /// What it is connected to, as a veth is to its other end, is in another namespace.
    pub is_pair_apart: bool,
    /// Number of receive queues.
    pub rx_queues: u32,
    /// What went through it.
    pub traffic: Traffic,
}

/// What went through an interface since it was made, from its own point of view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Received frames that were dropped.
    pub rx_dropped: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames that were to be sent and were dropped.
    pub tx_dropped: u64,
}

impl Traffic {
    fn from_stats(stats: &Stats64) -> Self {
        Self {
            rx_frames: stats.rx_packets,
            rx_bytes: stats.rx_bytes,
            rx_dropped: stats.rx_dropped,
            tx_frames: stats.tx_packets,
            tx_bytes: stats.tx_bytes,
            tx_dropped: stats.tx_dropped,
        }
    }
}

impl Link {
    pub(crate) fn from_message(message: &LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            mac: None,
            mtu: 0,
            kind: None,
            up: message.header.flags.contains(LinkFlags::Up),
            ready: false,
            controller: None,
            is_pair_apart: false,
            rx_queues: 1,
            traffic: Traffic::default(),
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Address(mac) => link.mac = mac.as_slice().try_into().ok(),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Controller(index) => link.controller = Some(*index),
                LinkAttribute::LinkNetNsId(_) => link.is_pair_apart = true,
                LinkAttribute::NumRxQueues(count) => link.rx_queues = *count,
                // RFC 2863: "unknown" is what devices without a notion of carrier say.
                LinkAttribute::OperState(state) => {
                    link.ready = link.up && matches!(state, State::Up | State::Unknown);
                }
                LinkAttribute::Stats64(stats) => link.traffic = Traffic::from_stats(stats),
                LinkAttribute::LinkInfo(infos) => link.kind = kind_of(infos),
                _ => {}
            }
        }
        link
    }
}

fn kind_of(infos: &[LinkInfo]) -> Option<String> {
    infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    })
}

fn message(index: u32, attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = attributes;
    message
}

/// What an interface is given, each as it is if not said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// Its MAC address.
    pub mac: Option<MacBytes>,
    /// The longest packet that it sends, in bytes.
    pub mtu: Option<u32>,
    /// How many frames its transmit queue holds. Set it while the interface is off: one that is on loses what is queued.
    pub queue_frames: Option<u32>,
}

impl Settings {
    fn attributes(&self) -> Vec<LinkAttribute> {
        let mac = self.mac.map(|mac| LinkAttribute::Address(mac.to_vec()));
        let mtu = self.mtu.map(LinkAttribute::Mtu);
        let queue = self.queue_frames.map(LinkAttribute::TxQueueLen);
        [mac, mtu, queue].into_iter().flatten().collect()
    }
}

impl Netlink {
    /// An interface by name.
    ///
    /// # Errors
    /// [`HostError::NoSuchLink`] when there is none.
    pub fn link(&self, name: &str) -> Result<Link, HostError> {
        let request = message(0, vec![LinkAttribute::IfName(name.to_owned())]);
        let absent = || HostError::NoSuchLink { name: name.to_owned() };
        match self.query(RouteNetlinkMessage::GetLink(request), ("look up interface", name)) {
            Ok(Some(RouteNetlinkMessage::NewLink(link))) => Ok(Link::from_message(&link)),
            Ok(_) => Err(absent()),
            Err(HostError::Netlink { source, .. })
                if source.raw_os_error() == Some(libc::ENODEV) =>
            {
                Err(absent())
            }
            Err(error) => Err(error),
        }
    }

    /// All interfaces of the namespace.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn links(&self) -> Result<Vec<Link>, HostError> {
        let request = RouteNetlinkMessage::GetLink(message(0, vec![]));
        let answers = self.dump(request, ("list", "interfaces"))?;
        let links = answers.iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(link) => Some(Link::from_message(link)),
            _ => None,
        });
        Ok(links.collect())
    }

    /// Makes a pair of connected Ethernet interfaces; the second one in another namespace if one is
    /// given.
    ///
    /// # Errors
    /// [`HostError::Netlink`], when a name is taken.
    pub fn create_veth(
        &self,
        name: &str,
        peer: &str,
        peer_namespace: Option<BorrowedFd<'_>>,
    ) -> Result<(), HostError> {
        let mut far = vec![LinkAttribute::IfName(peer.to_owned())];
        far.extend(peer_namespace.map(|fd| LinkAttribute::NetNsFd(fd.as_raw_fd())));
        let data = InfoData::Veth(InfoVeth::Peer(message(0, far)));
        self.create(name, InfoKind::Veth, Some(data))
    }

    /// Makes a Linux bridge, without spanning tree.
    ///
    /// # Errors
    /// [`HostError::Netlink`], when the name is taken.
    pub fn create_bridge(&self, name: &str) -> Result<(), HostError> {
        let data = InfoData::Bridge(vec![InfoBridge::ForwardDelay(0)]);
        self.create(name, InfoKind::Bridge, Some(data))
    }

    /// Makes a VXLAN device of the kernel: network `vni` between `local` and one remote endpoint, which has
    /// the same port. It learns no others' addresses. Outer checksums are those that the kernel has by default:
    /// none over IPv4, full ones over IPv6.
    ///
    /// # Errors
    /// [`HostError::Netlink`], when the name is taken, or the port.
    pub fn create_vxlan(
        &self,
        name: &str,
        vni: u32,
        local: SocketAddr,
        remote: IpAddr,
    ) -> Result<(), HostError> {
        let mut data = vec![InfoVxlan::Id(vni), InfoVxlan::Port(local.port())];
        data.push(match local.ip() {
            IpAddr::V4(ip) => InfoVxlan::Local(ip),
            IpAddr::V6(ip) => InfoVxlan::Local6(ip),
        });
        data.push(match remote {
            IpAddr::V4(ip) => InfoVxlan::Group(ip),
            IpAddr::V6(ip) => InfoVxlan::Group6(ip),
        });
        data.push(InfoVxlan::Learning(false));
        self.create(name, InfoKind::Vxlan, Some(InfoData::Vxlan(data)))
    }

    /// Makes a macvlan device in bridge mode on another device: it has an address of its own there, and reaches
    /// the other macvlan devices on it.
    ///
    /// # Errors
    /// [`HostError::Netlink`], when the name is taken.
    pub fn create_macvlan(&self, name: &str, lower: u32) -> Result<(), HostError> {
        let mode = InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Bridge)]);
        let on = LinkAttribute::Link(lower);
        self.create_with(name, InfoKind::MacVlan, Some(mode), Some(on))
    }

    fn create(&self, name: &str, kind: InfoKind, data: Option<InfoData>) -> Result<(), HostError> {
        self.create_with(name, kind, data, None)
    }

    fn create_with(
        &self,
        name: &str,
        kind: InfoKind,
        data: Option<InfoData>,
        more: Option<LinkAttribute>,
    ) -> Result<(), HostError> {
        let mut info = vec![LinkInfo::Kind(kind)];
        info.extend(data.map(LinkInfo::Data));
        let mut attributes =
            vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::LinkInfo(info)];
        attributes.extend(more);
        let request = RouteNetlinkMessage::NewLink(message(0, attributes));
        self.request(request, NLM_F_CREATE | NLM_F_EXCL, ("create interface", name))
    }

    /// Deletes an interface.
    ///
    /// # Errors
    /// [`HostError::Netlink`].
    pub fn delete_link(&self, index: u32) -> Result<(), HostError> {
        let request = RouteNetlinkMessage::DelLink(message(index, vec![]));
        self.request(request, 0, ("delete interface", &index.to_string()))
    }

    /// Switches an interface on or off.
    ///
    /// # Errors
    /// [`HostError::Netlink`].
    pub fn set_up(&self, index: u32, up: bool) -> Result<(), HostError> {
        let mut request = message(index, vec![]);
        request.header.change_mask = LinkFlags::Up;
        request.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        let operation = if up { "switch on interface" } else { "switch off interface" };
        let request = RouteNetlinkMessage::SetLink(request);
        self.request(request, 0, (operation, &index.to_string()))
    }

    /// Sets the longest packet of an interface, in bytes.
    ///
    /// # Errors
    /// [`HostError::Netlink`], when the device does not do it.
    pub fn set_mtu(&self, index: u32, mtu: u32) -> Result<(), HostError> {
        self.set(index, LinkAttribute::Mtu(mtu), "set the MTU of interface")
    }

    /// Gives an interface settings, in one request.
    ///
    /// # Errors
    /// [`HostError::Netlink`], when the device does not do one of them; those before it are set then.
    pub fn adjust(&self, index: u32, settings: &Settings) -> Result<(), HostError> {
        let request = message(index, settings.attributes());
        let operation = "set address, MTU and queue length of interface";
        self.request(RouteNetlinkMessage::SetLink(request), 0, (operation, &index.to_string()))
    }

    /// Puts an interface under a bridge.
    ///
    /// # Errors
    /// [`HostError::Netlink`].
    pub fn set_controller(&self, index: u32, bridge: u32) -> Result<(), HostError> {
        self.set(index, LinkAttribute::Controller(bridge), "put under a bridge the interface")
    }

    /// Moves an interface to another namespace, where it has another name.
    ///
    /// The kernel moves first and renames then. So it is looked before whether the name is free; if
    /// somebody takes it in that very moment, the interface ends up there under its old name.
    ///
    /// # Errors
    /// [`HostError::Netlink`], when the name is taken there; the interface stays where it is.
    pub fn move_to(&self, index: u32, namespace: &Netns, name: &str) -> Result<(), HostError> {
        self.move_as(index, namespace, name, &Settings::default())
    }

    /// Moves an interface like [`Self::move_to`], and gives it these settings there. All of it is one request, since
    /// each takes a lock of the kernel that others hold for as long as a move takes.
    ///
    /// # Errors
    /// [`HostError::Netlink`], when the name is taken there; the interface stays where it is. When a setting is refused it
    /// is there already.
    pub fn move_as(
        &self,
        index: u32,
        namespace: &Netns,
        name: &str,
        settings: &Settings,
    ) -> Result<(), HostError> {
        let operation = "move to the container an interface named";
        match Self::open_in(namespace)?.link(name) {
            Err(HostError::NoSuchLink { .. }) => {}
            Err(error) => return Err(error),
            Ok(_) => {
                let source = io::Error::from_raw_os_error(libc::EEXIST);
                let subject = name.to_owned();
                return Err(HostError::Netlink { operation, subject, source, remark: None });
            }
        }
        let mut attributes = vec![
            LinkAttribute::NetNsFd(namespace.as_fd().as_raw_fd()),
            LinkAttribute::IfName(name.to_owned()),
        ];
        attributes.extend(settings.attributes());
        let request = RouteNetlinkMessage::SetLink(message(index, attributes));
        self.request(request, 0, (operation, name))
    }

    fn set(
        &self,
        index: u32,
        attribute: LinkAttribute,
        operation: &'static str,
    ) -> Result<(), HostError> {
        let request = RouteNetlinkMessage::SetLink(message(index, vec![attribute]));
        self.request(request, 0, (operation, &index.to_string()))
    }
}
