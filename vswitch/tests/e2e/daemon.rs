//! A daemon for one test: its own process, socket and state.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ctl::response::{BridgeInfo, PortInfo, Stats, Status, Version, VxlanInfo};
use ctl::{
    BridgeAdd, Client, ClientError, IfName, Mutation, Named, NetdevMode, Port, PortAdd, PortKind,
    Query, Request, Tap,
};
use hostnet::{Interface, Netlink, Netns};
use netlab::{Container, LabError, TestResult};
pub use netlab::{eventually, within};
use rustix::process::{Pid, Signal, kill_process};
use std::os::fd::AsFd;

thread_local! {
    static OFFLOADED: Cell<bool> = const { Cell::new(false) };
}

/// From now on, daemons that this thread starts have the kernel carry what it can, and TAP interfaces of containers are veths
/// of the same properties, of which it can.
pub fn offload() {
    OFFLOADED.set(true);
}

/// Whether [`offload`] was called.
pub fn is_offloaded() -> bool {
    OFFLOADED.get()
}

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A running `vswitchd` with one bridge, `br0`. It is ended when dropped.
pub struct Daemon {
    child: Child,
    directory: PathBuf,
}

impl Daemon {
    /// Starts one with state of its own.
    pub fn start() -> Result<Self, Box<dyn std::error::Error>> {
        Self::start_with(&[])
    }

    /// Starts one with state of its own and these arguments.
    pub fn start_with(arguments: &[&str]) -> Result<Self, Box<dyn std::error::Error>> {
        let daemon = Self::start_in(&fresh_directory(), arguments)?;
        bridge(&daemon, "br0")?;
        Ok(daemon)
    }

    /// Starts one that may have only so many descriptors at first.
    pub fn start_short_of_descriptors(limit: u64) -> Result<Self, Box<dyn std::error::Error>> {
        Self::start_by(&["sh", "-c", &format!("ulimit -Sn {limit}; exec \"$0\" \"$@\"")], &[])
    }

    /// Starts one by another program, whose last arguments are the daemon and its arguments. It has no bridge.
    pub fn start_by(
        program: &[&str],
        arguments: &[&str],
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let directory = fresh_directory();
        let daemon = command(&directory, arguments);
        let (name, own) = program.split_first().ok_or("no program")?;
        let mut command = Command::new(name);
        command.args(own).arg(daemon.get_program()).args(daemon.get_args());
        Self::serving(command.stderr(Stdio::piped()).spawn()?, &directory)
    }

    /// Starts one with the state in `directory`.
    pub fn start_in(
        directory: &Path,
        arguments: &[&str],
    ) -> Result<Self, Box<dyn std::error::Error>> {
        Self::serving(spawn(directory, arguments)?, directory)
    }

    /// Starts one with state of its own on another host: in the namespace of a container. It has no bridge.
    pub fn start_on(
        host: &Container,
        arguments: &[&str],
    ) -> Result<Self, Box<dyn std::error::Error>> {
        Self::start_again_on(host, &fresh_directory(), arguments)
    }

    /// Starts one on another host with the state in `directory`.
    pub fn start_again_on(
        host: &Container,
        directory: &Path,
        arguments: &[&str],
    ) -> Result<Self, Box<dyn std::error::Error>> {
        // A process is born into the namespace of the thread that makes it.
        let child: Result<Child, LabError> = host.run(|| {
            let failed = |source| LabError::Socket { operation: "start a daemon", source };
            spawn(directory, arguments).map_err(failed)
        });
        Self::serving(child?, directory)
    }

    fn serving(child: Child, directory: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let daemon = Self { child, directory: directory.to_owned() };
        // Its socket is there before it has taken up its state: it serves when it answers.
        let version = || daemon.ask::<Version>(Query::Version);
        eventually("the daemon serves", || version().is_ok())?;
        Ok(daemon)
    }

    /// Its state and socket are here.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A connection to it.
    pub fn client(&self) -> Result<Client, ClientError> {
        Client::connect(&self.socket())
    }

    /// Asks it something.
    pub fn ask<T: serde::de::DeserializeOwned>(&self, query: Query) -> Result<T, ClientError> {
        self.client()?.ask(Request::Query(query))
    }

    /// Changes something.
    pub fn change(&self, mutation: Mutation) -> Result<ctl::response::Changed, ClientError> {
        self.client()?.ask(Request::Mutation(mutation))
    }

    /// Ends it by a signal. One that it is asked to end by it heeds in order.
    pub fn end(&mut self, signal: Signal) -> TestResult {
        let pid = i32::try_from(self.child.id())?;
        kill_process(Pid::from_raw(pid).ok_or("no process")?, signal)?;
        let status = self.child.wait()?;
        if signal == Signal::TERM && !status.success() {
            return Err(format!("it ended with {status}").into());
        }
        Ok(())
    }

    /// Adds a port.
    pub fn add(&self, name: &str, port: Port) -> Result<(), Box<dyn std::error::Error>> {
        let port = if is_offloaded() { self.with_veth(port)? } else { port };
        let add = PortAdd { name: name.parse()?, port };
        self.change(Mutation::PortAdd(Box::new(add)))?;
        Ok(())
    }

    /// A port that is not on a TAP interface, but on a veth whose other end is like it.
    fn with_veth(&self, port: Port) -> Result<Port, Box<dyn std::error::Error>> {
        let (PortKind::Tap(tap), None) = (&port.kind, port.egress) else { return Ok(port) };
        let Some(netns) = tap.netns.as_ref().filter(|_| !tap.handover && !port.guard) else {
            return Ok(port);
        };
        let bridge: BridgeInfo = self.ask(Query::BridgeShow(Named::new(port.bridge.clone())))?;
        let tunnels: Vec<VxlanInfo> = self.ask(Query::VxlanList)?;
        let tunnels = tunnels.iter().filter(|tunnel| tunnel.settings.bridge == port.bridge);
        let carried = tunnels.map(|tunnel| tunnel.inner_mtu).min().unwrap_or(u32::MAX);
        let mtu = port.mtu.unwrap_or(bridge.settings.mtu).bytes().min(carried);
        // Where the daemon is, which may be on a host of its own.
        let host = Netns::open(&format!("/proc/{}/ns/net", self.pid()).parse()?)?;
        let (place, device) = (Netns::open(netns)?, unique("veth"));
        let netlink = Netlink::open_in(&host)?;
        netlink.create_veth(&device, tap.ifname.as_str(), Some(place.as_fd()))?;
        netlink.set_mtu(netlink.link(&device)?.index, mtu)?;
        let wanted = Interface {
            mac: tap.mac.map(|mac| mac.0),
            mtu: Some(mtu),
            ips: &tap.ips,
            gateways: &tap.gateways,
            routes: &tap.routes,
            ..Interface::default()
        };
        place.run(|| hostnet::configure(tap.ifname.as_str(), &wanted).map(drop))?;
        let mode = NetdevMode::Gso;
        Ok(Port { kind: PortKind::Netdev { device: device.parse()?, netns: None, mode }, ..port })
    }

    /// The ports that it has.
    pub fn ports(&self) -> Result<Vec<PortInfo>, ClientError> {
        self.ask(Query::ports())
    }

    /// Checks that every frame is accounted for, and that nothing but this many frames were dropped for
    /// want of anything.
    pub fn check_ledger(&self) -> TestResult {
        let stats: Stats = self.ask(Query::stats())?;
        if let Some(discrepancy) = stats.discrepancy {
            return Err(format!("frames are missing: {discrepancy}").into());
        }
        for port in &stats.ports {
            let c = &port.counters;
            let kept = c.forwarded + c.answered + c.held;
            assert_eq!(c.received, kept + c.dropped_in, "{}", port.port);
            assert_eq!(c.offered, c.transmitted + c.dropped_out, "{}", port.port);
        }
        let status: Status = self.ask(Query::Status)?;
        assert_eq!(status.discrepancy, None);
        Ok(())
    }

    /// What is wrong with it, as it says itself, or that it says nothing.
    fn complaint(&self) -> Option<String> {
        match self.ask::<Status>(Query::Status) {
            Ok(status) => status.discrepancy.map(|what| format!("frames are missing: {what}")),
            Err(error) => Some(format!("it does not answer: {error}")),
        }
    }
}

impl Drop for Daemon {
    /// Ends it. Whatever a test was about, it served until then, unless the test ended it, and every frame was
    /// accounted for.
    fn drop(&mut self) {
        let complaint = match self.child.try_wait() {
            Ok(None) if !std::thread::panicking() => self.complaint(),
            _ => None,
        };
        let _ = self.child.kill();
        let _ = self.child.wait();
        assert_eq!(complaint, None);
    }
}

/// Where no other daemon's state is.
pub fn fresh_directory() -> PathBuf {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    PathBuf::from(format!("/run/test-{}-{number}", std::process::id()))
}

/// Starts a daemon process and does not wait for it.
pub fn spawn(directory: &Path, arguments: &[&str]) -> std::io::Result<Child> {
    command(directory, arguments).stderr(Stdio::piped()).spawn()
}

fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vswitchd"));
    command
        .arg("--socket")
        .arg(directory.join("socket"))
        .arg("--state")
        .arg(directory)
        .args(["--log", "error", "--buffers", "4096"])
        .args(if is_offloaded() { ["--offload", "ebpf"].as_slice() } else { &[] })
        .args(arguments);
    command
}

/// Checks that something takes less than a second, which `attempt` measures. On a busy machine the kernel itself may take
/// longer, so that the best of several attempts counts.
pub fn in_a_second(attempt: impl Fn(&mut Duration) -> TestResult) -> TestResult {
    let mut took = [Duration::MAX; 5];
    for took in &mut took {
        attempt(took)?;
        if *took < Duration::from_secs(1) {
            return Ok(());
        }
    }
    Err(format!("it took {took:?}").into())
}

/// Makes another bridge, like `br0`.
pub fn bridge(daemon: &Daemon, name: &str) -> Result<(), Box<dyn std::error::Error>> {
    let add = BridgeAdd { mtu: Some(9000.try_into()?), ..BridgeAdd::new(name.parse()?) };
    daemon.change(Mutation::BridgeAdd(add))?;
    Ok(())
}

/// A kind of port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An interface that the switch makes.
    Tap,
    /// A veth by packet socket.
    Gso,
    /// A veth by AF_XDP.
    Xdp,
}

/// A port of a bridge with nothing special.
pub fn port(bridge: &str, kind: PortKind) -> Result<Port, Box<dyn std::error::Error>> {
    Ok(Port::new(bridge.parse()?, kind))
}

/// A TAP interface for a container.
pub fn tap(
    container: &Container,
    addresses: &[&str],
) -> Result<PortKind, Box<dyn std::error::Error>> {
    let ips: Result<Vec<_>, _> = addresses.iter().map(|text| text.parse()).collect();
    Ok(PortKind::Tap(Tap {
        netns: Some(container.reference()),
        ips: ips?,
        ..Tap::new("eth0".parse()?)
    }))
}

/// Connects a container to `br0` by a port of this kind, with this MTU and these addresses.
pub fn connect(
    daemon: &Daemon,
    name: &str,
    kind: Kind,
    container: &Container,
    (mtu, addresses): (u32, &[&str]),
) -> Result<(), Box<dyn std::error::Error>> {
    if kind == Kind::Tap {
        let mut port = port("br0", tap(container, addresses)?)?;
        port.mtu = Some(mtu.try_into()?);
        return daemon.add(name, port);
    }
    let device = unique(name);
    Netlink::open()?.create_veth(&device, "eth0", Some(container.namespace().as_fd()))?;
    let ips: Result<Vec<ctl::IpCidr>, _> = addresses.iter().map(|text| text.parse()).collect();
    let wanted = Interface { mtu: Some(mtu), ips: &ips?, ..Interface::default() };
    container.configure("eth0", &wanted)?;
    let mode = if kind == Kind::Xdp { NetdevMode::Xdp } else { NetdevMode::Gso };
    let device: IfName = device.parse()?;
    let mut port = port("br0", PortKind::Netdev { device, netns: None, mode })?;
    port.mtu = Some(mtu.try_into()?);
    daemon.add(name, port)
}

/// An interface name that no other test uses.
pub fn unique(stem: &str) -> String {
    format!("{stem}{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
