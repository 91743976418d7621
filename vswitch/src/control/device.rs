//! Opening what is behind a port. Everything that can fail about a port fails here, before any worker
//! hears of it; dropping an [`OpenDevice`] undoes what opening it did.

mod handover;
mod shared;

use std::borrow::Cow;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use ctl::{
    Config, CtlError, ErrorCode, IfName, MacAddr, NetdevMode, NetnsRef, Port, PortKind, PortName,
    Tap,
};
use hostnet::{HostError, Interface, Link, Netlink, Netns, Settings};
use pktio::bpf::{BpfError, XdpAttach};
use pktio::buffer::Memory;
use pktio::packet::{HostStack, PacketError, PacketPort};
use pktio::shared::{Questions, Sharing};
use pktio::shortcut::Shortcuts;
use pktio::tap::{self, Handle, TapDevice, TapError, TapPort};
use pktio::xdp::{self, XdpError};

use super::place;
use super::station::Station;
use super::watch::Watch;
use crate::worker::WorkerId;

pub use handover::discard;

/// The queues of a port, by number.
pub type Queues = Vec<Box<dyn pktio::Port>>;

/// An open device: its queues, and what there is to know about it.
pub struct OpenDevice {
    /// The queues, by number.
    pub queues: Queues,
    /// What there is to know.
    pub facts: Facts,
    /// The only worker that can serve it, if it cannot be any.
    pub home: Option<WorkerId>,
}

/// What a device is opened with: the worker that will serve it, if it is bound to a worker's packet memory.
#[derive(Debug, Clone)]
pub struct Home {
    /// The worker.
    pub worker: WorkerId,
    /// Its packet memory.
    pub memory: Memory,
    /// By which the kernel carries frames, if it is to.
    pub shortcuts: Option<Arc<Shortcuts>>,
    /// The namespace of the daemon's own station.
    pub station: Arc<Station>,
}

/// What there is to know about an open device.
#[derive(Debug, Clone)]
pub struct Facts {
    /// How frames are moved.
    pub mode: String,
    /// The interface's number in its namespace.
    pub index: u32,
    /// What looks after it, if it exists without the switch in another namespace.
    pub watch: Option<Arc<Watch>>,
    /// The device itself, if it was handed over to an engine.
    pub handed_over: Option<Arc<Handle>>,
    /// What is taken from the interface, if the host shares it.
    pub sharing: Option<Arc<Sharing>>,
    /// The interface's MAC address.
    pub mac: Option<MacAddr>,
    /// The longest packet that the interface takes, in bytes.
    pub mtu: u32,
    /// Whether only the worker for which it was opened can serve it.
    pub is_bound: bool,
    /// Whether it is one end of a veth pair, whose other end is a container's.
    pub is_veth: bool,
    /// The number of the gate by which the kernel can carry frames of this port by itself, or why it cannot.
    pub gate: Result<u32, Cow<'static, str>>,
    /// Since when it is switched off, if it is, as far as was heard.
    pub down_since: Option<SystemTime>,
    /// Whether what the kernel sends to the container arrives: the other end is there, and on.
    is_far_end_ready: bool,
    /// The longest packet that the interface takes by now, whoever has changed it.
    mtu_now: u32,
    /// What the device hands over without software work in the switch.
    pub offloads: Vec<String>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

impl Facts {
    /// What an engine calls the device that it was handed.
    pub fn present_name(&self) -> Option<String> {
        let name = self.handed_over.as_ref()?.name().ok()?;
        Some(format!("handed over to an engine, and called {name} now"))
    }

    /// Whether the kernel carries frames of the port by itself, and why not: maybe for what has to see them all.
    pub fn offload_note(&self, onlooker: Option<&str>) -> String {
        match (&self.gate, onlooker) {
            (Ok(_), None) => "offloaded: the kernel carries plain unicast, and UDP and TCP that are routed, between this port and \
                              others like it whose host ends are in the same namespace"
                .to_owned(),
            (Ok(_), Some(why)) => format!("not offloaded: {why}"),
            (Err(why), _) => format!("not offloaded: {why}"),
        }
    }

    /// Takes up what the kernel says of the interface now.
    pub fn heed(&mut self, link: &Link) {
        self.down_since = (!link.up).then(|| self.down_since.unwrap_or_else(SystemTime::now));
        self.is_far_end_ready = link.ready && link.is_pair_apart;
        self.mtu_now = link.mtu;
    }

    /// The number of the port's gate, if what the kernel carries to the port arrives as it does from the switch.
    pub fn open_gate(&self) -> Option<u32> {
        let gate = self.gate.as_ref().ok()?;
        (self.is_far_end_ready && self.mtu_now >= self.mtu).then_some(*gate)
    }
}

/// Why a device cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The host's networking refused.
    #[error(transparent)]
    Host(#[from] HostError),
    /// No TAP device.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// No packet socket.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// No program that shares the interface.
    #[error(transparent)]
    Bpf(#[from] BpfError),
    /// No AF_XDP socket.
    #[error(transparent)]
    Xdp(#[from] XdpError),
    /// The interface cannot be a port.
    #[error("interface {device} cannot be a port: {why}")]
    Unfit {
        /// The interface.
        device: IfName,
        /// Why not.
        why: &'static str,
    },
    /// The namespace has an interface of that name already.
    #[error(
        "there is an interface {device} in the namespace already; remove it, or choose another --ifname"
    )]
    Taken {
        /// The name.
        device: IfName,
    },
    /// Not the namespace that the port is of.
    #[error(
        "network namespace {netns} is another one now, and the container that had the port is gone; `attach` \
         the one that is there"
    )]
    Another {
        /// What it is called.
        netns: NetnsRef,
    },
}

impl OpenError {
    /// The error that the caller of the control socket sees.
    pub fn for_port(&self, name: &PortName) -> CtlError {
        let code = match self {
            Self::Taken { .. } | Self::Host(HostError::RouteTaken { .. }) => ErrorCode::Exists,
            Self::Unfit { .. } => ErrorCode::Invalid,
            // What the daemon does not see may be one to the caller.
            Self::Host(error) if error.is_no_namespace() => ErrorCode::Host,
            _ if self.is_absence() => ErrorCode::NotFound,
            _ => ErrorCode::Host,
        };
        CtlError::new(code, format!("port {name}: {self}"))
    }

    /// Whether the namespace or the interface is not there.
    pub fn is_absence(&self) -> bool {
        match self {
            Self::Host(error) => error.is_absence(),
            Self::Another { .. } => true,
            _ => false,
        }
    }
}

/// What a device becomes by the rest of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// The longest packet, in bytes.
    pub mtu: u32,
    /// Its container has no use for IPv6.
    pub ipv4_only: bool,
    /// It was there before: routes that another interface of its container has taken meanwhile do not keep it from being there
    /// again.
    pub was_there: bool,
}

impl Terms {
    /// Those of a port.
    pub fn of(config: &Config, port: &Port) -> Self {
        Self {
            mtu: config.mtu_of(port).bytes(),
            ipv4_only: config.is_ipv4_only(port),
            was_there: false,
        }
    }

    /// The same, for one that is opened again.
    pub fn again(self) -> Self {
        Self { was_there: true, ..self }
    }
}

/// Opens what is behind a port.
///
/// # Errors
/// [`OpenError`]; nothing is left behind.
pub fn open(
    port: &Port,
    terms: Terms,
    home: Home,
    questions: &Arc<Questions>,
) -> Result<OpenDevice, OpenError> {
    let place = place::enter(port)?;
    match &port.kind {
        PortKind::Tap(tap) if port.bridge.is_loopback() => {
            open_tap(&as_the_kernel_can(tap), Some(home.station.namespace()?), terms)
        }
        PortKind::Tap(tap) if tap.handover => handover::open(tap, terms.mtu),
        PortKind::Tap(tap) => open_tap(&configured(tap, port.dhcp), place, terms),
        PortKind::Netdev { device, mode, .. } if port.shared => {
            shared::open(device, *mode, home, questions)
        }
        PortKind::Netdev { device, netns, mode } => {
            let explicit_mtu = port.mtu.map(ctl::Mtu::bytes);
            let watched = netns.as_ref().zip(place.as_ref());
            let watch = watched.map(|(netns, place)| Watch::begin(netns, place)).transpose()?;
            let open = || open_netdev(device, *mode, explicit_mtu, home);
            let mut opened = in_namespace(place.as_ref(), open)?;
            opened.facts.watch = watch.map(Arc::new);
            Ok(opened)
        }
    }
}

/// Changes the MTU of an open port's interface.
///
/// # Errors
/// [`OpenError`]; the MTU is then as it was.
pub fn set_mtu(port: &Port, handle: Option<&Handle>, mtu: u32) -> Result<(), OpenError> {
    let (_, device) = port.kind.interface();
    match handle {
        Some(handle) => handover::set_mtu(handle, mtu),
        None => in_namespace(place::enter(port)?.as_ref(), || set_mtu_of(device.as_str(), mtu)),
    }
}

fn set_mtu_of(name: &str, mtu: u32) -> Result<(), OpenError> {
    let netlink = Netlink::open()?;
    netlink.set_mtu(netlink.link(name)?.index, mtu)?;
    Ok(())
}

/// Gives the interface of an open port, if the switch made and configures it, the addresses and gateways of another version of the
/// port.
///
/// # Errors
/// [`OpenError`]; some of its addresses may be changed already.
pub fn readdress(from: &Port, to: &Port) -> Result<(), OpenError> {
    let place = place::enter(to)?;
    let (PortKind::Tap(tap), PortKind::Tap(other)) = (&from.kind, &to.kind) else { return Ok(()) };
    if other.handover {
        return Ok(());
    }
    let (from, to) = (configured(tap, from.dhcp), configured(other, to.dhcp));
    in_namespace(place.as_ref(), || {
        Ok(hostnet::readdress(to.ifname.as_str(), &addresses(&from), &addresses(&to))?)
    })
}

fn addresses(tap: &Tap) -> Interface<'_> {
    Interface {
        ips: &tap.ips,
        gateways: &tap.gateways,
        routes: &tap.routes,
        ..Interface::default()
    }
}

/// The interface of a port as the switch configures it: without what its container is told by DHCP.
fn configured(tap: &Tap, dhcp: bool) -> Tap {
    let mut tap = tap.clone();
    if dhcp {
        tap.ips.retain(|cidr| cidr.addr.is_ipv6());
        tap.gateways.retain(IpAddr::is_ipv6);
        tap.routes.retain(|route| route.via.is_ipv6());
    }
    tap
}

/// An interface without IPv6 addresses where the kernel knows no IPv6 at all.
fn as_the_kernel_can(tap: &Tap) -> Tap {
    let mut tap = tap.clone();
    let has_ipv6 = Path::new("/proc/net/if_inet6").exists();
    tap.ips.retain(|cidr| has_ipv6 || cidr.addr.is_ipv4());
    tap
}

/// Runs `work` in a namespace, or in the daemon's own.
fn in_namespace<T: Send>(
    place: Option<&Netns>,
    work: impl FnOnce() -> Result<T, OpenError> + Send,
) -> Result<T, OpenError> {
    match place {
        Some(place) => place.run(work),
        None => work(),
    }
}

/// Makes a TAP device, moves it into the container and configures it there. The device goes away with its queues, whatever it
/// is called and wherever it is by then. (It is not made there, though the move is most of what an attachment costs: containers
/// whose device was did not end, as their ports did not.)
fn open_tap(tap: &Tap, place: Option<Netns>, terms: Terms) -> Result<OpenDevice, OpenError> {
    let namespace = place.map_or_else(Netns::current, Ok)?;
    let (device, queues) = tap::create("vsw%d", tap.queues)?;
    let name = tap.ifname.as_str();
    let moved = Netlink::open()?.move_as(device.index, &namespace, name, &settings(tap, terms.mtu));
    moved.map_err(|error| match error.io().map(io::Error::kind) {
        Some(io::ErrorKind::AlreadyExists) => OpenError::Taken { device: tap.ifname.clone() },
        _ => error.into(),
    })?;
    let wanted =
        Interface { ipv4_only: terms.ipv4_only, yields: terms.was_there, ..addresses(tap) };
    let link = namespace.run(|| hostnet::configure(name, &wanted).map_err(OpenError::from))?;
    Ok(made(&device, queues, &link))
}

/// What a TAP device is given before it is switched on.
fn settings(tap: &Tap, mtu: u32) -> Settings {
    let mac = tap.mac.map(|mac| mac.0);
    Settings { mac, mtu: Some(mtu), queue_frames: Some(tap::QUEUE_FRAMES) }
}

/// An open TAP device.
fn made(device: &TapDevice, queues: Vec<TapPort>, link: &Link) -> OpenDevice {
    let mut offloads = vec!["checksum", "tcp4-segmentation", "tcp6-segmentation"];
    offloads.extend(device.udp_segmentation.then_some("udp-segmentation"));
    let offloads = offloads.into_iter().map(str::to_owned).collect();
    let facts = Facts { mode: "tap".to_owned(), offloads, ..facts_of(link) };
    OpenDevice { queues: queues.into_iter().map(boxed).collect(), facts, home: None }
}

fn boxed(port: TapPort) -> Box<dyn pktio::Port> {
    Box::new(port)
}

/// Takes an interface of the calling thread's namespace. If it cannot be opened it is left as it was.
fn open_netdev(
    device: &IfName,
    mode: NetdevMode,
    mtu: Option<u32>,
    home: Home,
) -> Result<OpenDevice, OpenError> {
    let netlink = Netlink::open()?;
    let before = netlink.link(device.as_str())?;
    check_fit(device, &before)?;
    let open = || {
        mtu.map_or(Ok(()), |mtu| netlink.set_mtu(before.index, mtu))?;
        netlink.set_up(before.index, true)?;
        let link = netlink.link(device.as_str())?;
        match mode {
            NetdevMode::Auto | NetdevMode::Gso => open_packet(&link, mode, home.shortcuts),
            NetdevMode::Xdp => open_xdp(&link, home),
        }
    };
    open().inspect_err(|_| {
        // It was so a moment ago; and if it is not there any more, there is nothing to leave behind.
        let _ = netlink.set_up(before.index, before.up);
        let _ = netlink.set_mtu(before.index, before.mtu);
    })
}

fn check_fit(device: &IfName, link: &Link) -> Result<(), OpenError> {
    let unfit = |why| Err(OpenError::Unfit { device: device.clone(), why });
    if link.mac.is_none() {
        return unfit("it is no Ethernet interface");
    }
    if link.controller.is_some() {
        return unfit("it belongs to another bridge; take it out with `ip link set DEV nomaster`");
    }
    match link.kind.as_deref() {
        Some("bridge") => unfit("it is a Linux bridge; take its members instead"),
        _ if link.name == "lo" => unfit("it is the loopback interface"),
        _ => Ok(()),
    }
}

fn host_stack(port: &PacketPort) -> String {
    match port.host_stack() {
        HostStack::Blocked(_) => "the host's own stack is kept away by a tcx program".to_owned(),
        HostStack::Shared(_) => {
            "the host keeps the interface; a tcx program takes what is the switch's".to_owned()
        }
        HostStack::Open(error) => format!(
            "the host's own stack sees the frames too, and should have no address here: {error}"
        ),
    }
}

fn open_packet(
    link: &Link,
    mode: NetdevMode,
    shortcuts: Option<Arc<Shortcuts>>,
) -> Result<OpenDevice, OpenError> {
    let is_pair = is_veth(link) && link.is_pair_apart;
    let port = PacketPort::open_with(link.index, shortcuts.as_deref().filter(|_| is_pair))?;
    let gate = match port.gate() {
        Some(Ok(number)) => Ok(number),
        Some(Err(error)) => Err(format!("the kernel refused: {error}").into()),
        None if is_veth(link) => Err("the veth's other end is in the same namespace".into()),
        None => Err("it is no veth".into()),
    };
    let host_stack = host_stack(&port);
    let buffer = format!("receive buffer {} KiB", port.receive_buffer_bytes() / 1024);
    let why = if mode == NetdevMode::Auto { " (auto: the far end keeps its offloads)" } else { "" };
    let offloads = ["checksum", "tcp4-segmentation", "tcp6-segmentation", "udp-segmentation"];
    let facts = Facts {
        mode: format!("gso{why}"),
        offloads: offloads.map(str::to_owned).to_vec(),
        notes: vec![host_stack, buffer],
        gate,
        ..facts_of(link)
    };
    Ok(OpenDevice { queues: vec![Box::new(port)], facts, home: None })
}

fn open_xdp(link: &Link, home: Home) -> Result<OpenDevice, OpenError> {
    let ports = xdp::open(link.index, link.rx_queues, home.memory)?;
    let attach = match ports.first().map(|port| port.mode().attach) {
        Some(XdpAttach::Native) => "native",
        _ => "generic (the driver has no XDP of its own)",
    };
    let copies = match ports.first().map(|port| port.mode().zero_copy) {
        Some(true) => "zero-copy",
        _ => "copy mode (the driver cannot do without)",
    };
    let facts = Facts {
        mode: format!("xdp {attach}, {copies}"),
        offloads: vec!["checksum".to_owned()],
        notes: vec!["super-frames are cut up before they leave by this port".to_owned()],
        is_bound: true,
        gate: Err("in xdp mode".into()),
        ..facts_of(link)
    };
    let queues = ports.into_iter().map(|port| Box::new(port) as Box<dyn pktio::Port>).collect();
    Ok(OpenDevice { queues, facts, home: Some(home.worker) })
}

fn is_veth(link: &Link) -> bool {
    link.kind.as_deref() == Some("veth")
}

fn facts_of(link: &Link) -> Facts {
    Facts {
        mode: String::new(),
        index: link.index,
        watch: None,
        handed_over: None,
        sharing: None,
        mac: link.mac.map(MacAddr),
        mtu: link.mtu,
        is_bound: false,
        is_veth: is_veth(link),
        gate: Err("a TAP interface has no other end in the kernel".into()),
        down_since: None,
        is_far_end_ready: link.ready && link.is_pair_apart,
        mtu_now: link.mtu,
        offloads: Vec::new(),
        notes: Vec::new(),
    }
}
