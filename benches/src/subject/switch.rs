//! This project's switch, with every kind of port.

use std::cell::RefCell;
use std::error::Error;
use std::os::fd::AsFd;
use std::path::{Path as FilePath, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

use ctl::response::BridgeInfo;
use ctl::{
    BridgeAdd, Client, IpCidr, Mutation, Named, NetdevMode, Port, PortAdd, PortKind, Query,
    Request, Tap,
};
use hostnet::{HostError, Interface, MacBytes, Netlink};
use netlab::Container;
use vswitch::control::{Background, Offload};
use vswitch::worker::PollMode;

use super::process::fresh_directory;
use super::{
    Family, INTERFACE, Labour, Reset, Rig, Subject, Wish, cidr, containers, guests, monitor,
};

const OURS: Subject = Subject {
    name: "",
    about: "",
    family: Family::Bridging,
    needs: &[],
    is_default: true,
    start: |wish| start(wish, None, PollMode::Adaptive),
};

pub(super) const SUBJECTS: &[Subject] = &[
    Subject { name: "tap", about: "this switch, TAP ports, one adaptive worker", ..OURS },
    Subject {
        name: "gso",
        about: "this switch, veth ports in gso mode, one adaptive worker",
        start: |wish| start(wish, Some(NetdevMode::Gso), PollMode::Adaptive),
        ..OURS
    },
    Subject {
        name: "xdp",
        about: "this switch, veth ports in xdp mode, one adaptive worker",
        start: |wish| start(wish, Some(NetdevMode::Xdp), PollMode::Adaptive),
        ..OURS
    },
    Subject {
        name: "offload",
        about: "this switch, veth ports in gso mode, the kernel carries what it can (--offload ebpf)",
        start: |wish| start_by(Switch::start_offloaded()?, wish, Some(NetdevMode::Gso)),
        ..OURS
    },
    Subject {
        name: "tap-busy",
        about: "this switch, TAP ports, one worker that never sleeps",
        is_default: false,
        start: |wish| start(wish, None, PollMode::Busy),
        ..OURS
    },
    Subject {
        name: "gso-busy",
        about: "this switch, veth ports in gso mode, one worker that never sleeps",
        is_default: false,
        start: |wish| start(wish, Some(NetdevMode::Gso), PollMode::Busy),
        ..OURS
    },
    Subject {
        name: "xdp-busy",
        about: "this switch, veth ports in xdp mode, one worker that never sleeps",
        is_default: false,
        start: |wish| start(wish, Some(NetdevMode::Xdp), PollMode::Busy),
        ..OURS
    },
];

/// How the names of the workers' threads begin.
pub(super) const WORKERS: &str = "vswitch-w";

/// Numbers of sockets and devices.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A daemon in this process, on a host of its own, and the way to give it orders.
pub(crate) struct Switch {
    client: Client,
    socket: PathBuf,
    /// It ends with this; none where somebody else keeps it.
    daemon: Rc<RefCell<Option<Background>>>,
}

impl Switch {
    /// Starts one in this process' own namespace.
    pub(crate) fn start(mode: PollMode) -> Result<Self, Box<dyn Error>> {
        Self::serving(|socket| Ok(Background::start(socket, mode, None)?))
    }

    /// Starts one that keeps its configuration, and can be started again.
    fn start_durable(mode: PollMode) -> Result<(Self, Reset), Box<dyn Error>> {
        let state = fresh_directory("state")?;
        let start = move |socket| Background::start(socket, mode, Some(state.clone()));
        let switch = Self::serving(|socket| Ok(start(socket)?))?;
        let (daemon, socket) = (Rc::downgrade(&switch.daemon), switch.socket.clone());
        let again = move || {
            let daemon = daemon.upgrade().ok_or("the switch has gone")?;
            drop(daemon.take());
            daemon.replace(Some(start(socket.clone())?));
            Ok(())
        };
        Ok((switch, Box::new(again)))
    }

    /// Starts one that has the kernel carry what it can.
    pub(crate) fn start_offloaded() -> Result<Self, Box<dyn Error>> {
        let (mode, offload) = (PollMode::Adaptive, Offload::Ebpf);
        Self::serving(|socket| Ok(Background::start_offloaded(socket, mode, offload)?))
    }

    /// Starts one on a host: in the namespace of a container, with its worker on this core.
    pub(crate) fn start_on(
        host: &Container,
        mode: PollMode,
        core: usize,
    ) -> Result<Self, Box<dyn Error>> {
        // Threads are born into the namespace of the thread that makes them.
        Self::serving(|socket| {
            let start = || Ok::<_, HostError>(Background::start_on(socket, mode, None, vec![core]));
            Ok(host.run(start)??)
        })
    }

    fn serving(
        start: impl FnOnce(PathBuf) -> Result<Background, Box<dyn Error>>,
    ) -> Result<Self, Box<dyn Error>> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let socket = PathBuf::from(format!("/run/vswitch-bench-{number}.sock"));
        let daemon = Rc::new(RefCell::new(Some(start(socket.clone())?)));
        Ok(Self { client: Client::connect(&socket)?, socket, daemon })
    }

    /// Another way to give orders to a daemon that is there.
    pub(crate) fn connect(socket: &FilePath) -> Result<Self, Box<dyn Error>> {
        let (socket, daemon) = (socket.to_owned(), Rc::default());
        Ok(Self { client: Client::connect(&socket)?, socket, daemon })
    }

    /// Changes something.
    pub(crate) fn change(&mut self, mutation: Mutation) -> Result<(), Box<dyn Error>> {
        self.client.call(Request::Mutation(mutation))?;
        Ok(())
    }

    /// Asks something.
    pub(crate) fn ask<T: serde::de::DeserializeOwned>(
        &mut self,
        query: Query,
    ) -> Result<T, Box<dyn Error>> {
        Ok(self.client.ask(Request::Query(query))?)
    }

    /// Its control socket.
    pub(crate) fn socket(&self) -> &FilePath {
        &self.socket
    }

    /// Makes a bridge, with these gateway addresses.
    pub(crate) fn bridge(
        &mut self,
        name: &str,
        mtu: u32,
        gateways: &[IpCidr],
    ) -> Result<(), Box<dyn Error>> {
        let add = BridgeAdd {
            mtu: Some(mtu.try_into()?),
            gateways: gateways.to_vec(),
            ..BridgeAdd::new(name.parse()?)
        };
        self.change(Mutation::BridgeAdd(add))
    }

    /// The router's address on the link of a bridge.
    pub(crate) fn router_mac(&mut self, bridge: &str) -> Result<MacBytes, Box<dyn Error>> {
        let info: BridgeInfo = self.ask(Query::BridgeShow(Named::new(bridge.parse()?)))?;
        Ok(info.router_mac.ok_or("the bridge has no gateway")?.0)
    }

    /// Gives a container an interface on a bridge.
    pub(crate) fn tap(
        &mut self,
        name: &str,
        bridge: &str,
        container: &Container,
        interface: &Interface,
    ) -> Result<(), Box<dyn Error>> {
        self.named_tap(name, bridge, container, (INTERFACE, interface))
    }

    /// Gives a container one more interface on a bridge, of the port's name and without addresses.
    pub(crate) fn guest(
        &mut self,
        name: &str,
        bridge: &str,
        container: &Container,
    ) -> Result<(), Box<dyn Error>> {
        self.named_tap(name, bridge, container, (name, &Interface::default()))
    }

    /// Takes one end of a veth for a port, in gso mode.
    pub(crate) fn veth(
        &mut self,
        name: &str,
        bridge: &str,
        device: &str,
    ) -> Result<(), Box<dyn Error>> {
        let (device, mode) = (device.parse()?, NetdevMode::Gso);
        self.port(name, bridge, PortKind::Netdev { device, netns: None, mode })
    }

    fn named_tap(
        &mut self,
        name: &str,
        bridge: &str,
        container: &Container,
        (ifname, interface): (&str, &Interface),
    ) -> Result<(), Box<dyn Error>> {
        let kind = PortKind::Tap(Tap {
            netns: Some(container.reference()),
            ips: interface.ips.to_vec(),
            gateways: interface.gateways.to_vec(),
            ..Tap::new(ifname.parse()?)
        });
        self.port(name, bridge, kind)
    }

    fn port(&mut self, name: &str, bridge: &str, kind: PortKind) -> Result<(), Box<dyn Error>> {
        let port = Port::new(bridge.parse()?, kind);
        self.change(Mutation::PortAdd(Box::new(PortAdd { name: name.parse()?, port })))
    }
}

/// Makes a veth pair of which one end is in a container, and returns what the other is called.
pub(crate) fn veth_to(container: &Container, ifname: &str) -> Result<String, Box<dyn Error>> {
    // The kernel takes the devices of an earlier rig down when it comes to it: no two have the same name.
    let device = format!("veth{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let place = Some(container.namespace().as_fd());
    Netlink::open()?.create_veth(&device, ifname, place)?;
    Ok(device)
}

/// An empty container's way onto a bridge, by a port of that name: an interface with these properties.
pub(super) fn join(
    switch: &mut Switch,
    (name, bridge): (&str, &str),
    mode: Option<NetdevMode>,
    end: &Container,
    wanted: &Interface,
) -> Result<(), Box<dyn Error>> {
    let Some(mode) = mode else { return switch.tap(name, bridge, end, wanted) };
    let (netlink, device) = (Netlink::open()?, veth_to(end, INTERFACE)?);
    if let Some(mtu) = wanted.mtu {
        netlink.set_mtu(netlink.link(&device)?.index, mtu)?;
    }
    end.configure(INTERFACE, wanted)?;
    switch.port(name, bridge, PortKind::Netdev { device: device.parse()?, netns: None, mode })
}

fn start(wish: &Wish, mode: Option<NetdevMode>, poll: PollMode) -> Result<Rig, Box<dyn Error>> {
    // A TAP device ends with its switch, and what is bound to it with the device.
    if !wish.is_durable || mode.is_none() {
        return start_by(Switch::start(poll)?, wish, mode);
    }
    let (switch, reset) = Switch::start_durable(poll)?;
    Ok(Rig { reset: Some(reset), ..start_by(switch, wish, mode)? })
}

fn start_by(
    mut switch: Switch,
    wish: &Wish,
    mode: Option<NetdevMode>,
) -> Result<Rig, Box<dyn Error>> {
    let (ends, monitor, guests) = (containers()?, monitor(wish)?, guests(wish)?);
    switch.bridge("br0", wish.mtu, &[])?;
    let mtu = Some(wish.mtu);
    for (number, (end, name)) in ends.iter().zip(["port0", "port1"]).enumerate() {
        let ips = [cidr(number)];
        let wanted = Interface { ips: &ips, mtu, ..Interface::default() };
        join(&mut switch, (name, "br0"), mode, end, &wanted)?;
    }
    for (number, silent) in monitor.iter().chain(&guests).enumerate() {
        let wanted = Interface { mtu, ..Interface::default() };
        join(&mut switch, (&format!("port{}", number + 2), "br0"), mode, silent, &wanted)?;
    }
    let (controls, labour) = (vec![switch.socket().to_owned()], Labour::Threads(WORKERS));
    Ok(Rig { controls, monitor, ..Rig::bridged(ends, labour, (switch, guests))? })
}
