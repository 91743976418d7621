//! Ports whose device exists already, in the daemon's namespace or in another: what carries on, and what
//! is noticed, when the device or its namespace changes or ends.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use ctl::response::{DropInfo, PortState, Status};
use ctl::{MacAddr, NetdevMode, PortKind, Query, Tap};
use hostnet::Netlink;
use netlab::{Container, Need, Path, Test, TestResult, ping, test, topology, transfer};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::daemon::{Daemon, Kind, connect, eventually, in_a_second, port, tap, unique};

pub fn tests() -> Vec<Test> {
    let gso = [
        test!(a_device_in_another_namespace_carries_traffic),
        test!(a_namespace_that_ends_takes_its_devices_port_along),
        test!(a_device_deleted_in_another_namespace_takes_its_port_along),
        test!(a_device_that_was_off_when_it_was_deleted_takes_its_port_along),
        test!(a_device_that_is_switched_off_and_on_carries_on),
        test!(a_containers_interface_that_is_switched_off_and_on_carries_on).needs(Need::Tun),
        test!(a_daemon_out_of_descriptors_takes_no_namespace_for_ended),
    ];
    let xdp = [
        test!(a_device_in_another_namespace_carries_traffic_by_xdp).needs(Need::Bpf),
        test!(a_namespace_that_ends_takes_its_xdp_port_along).needs(Need::Bpf),
        test!(an_xdp_device_that_is_switched_off_and_on_carries_on).needs(Need::Bpf),
        test!(a_device_that_cannot_be_opened_is_left_as_it_was).needs(Need::Bpf),
        test!(a_device_whose_driver_has_no_xdp_carries_traffic_by_xdp)
            .needs(Need::Bpf)
            .needs(Need::Tun),
    ];
    gso.into_iter().chain(xdp).collect()
}

/// A container whose interface is connected to a device in another namespace, which is a port.
struct Foreign {
    daemon: Daemon,
    /// Where the device `v0` is.
    place: Container,
    /// Whose `eth0` is at the other end of it: 10.0.0.1.
    far: Container,
}

const FAR: [u8; 4] = [10, 0, 0, 1];
const NEAR: [u8; 4] = [10, 0, 0, 2];

impl Foreign {
    fn new(mode: NetdevMode) -> Result<Self, Box<dyn std::error::Error>> {
        let daemon = Daemon::start()?;
        let (place, far) = (Container::new()?, Container::new()?);
        topology::veth(&place, "v0", &far, "eth0")?;
        far.address("eth0", &["10.0.0.1/24"])?;
        let netns = Some(place.reference());
        let kind = PortKind::Netdev { device: "v0".parse()?, netns, mode };
        daemon.add("foreign", port("br0", kind)?)?;
        Ok(Self { daemon, place, far })
    }

    /// Moves traffic both ways between the far container and one on another port.
    fn exchange(&self) -> TestResult {
        let near = Container::new()?;
        connect(&self.daemon, &unique("n"), Kind::Gso, &near, (1500, &["10.0.0.2/24"]))?;
        transfer::tcp(&Path::new(&near, &self.far, FAR), 1 << 20, 1)?;
        transfer::tcp(&Path::new(&self.far, &near, NEAR), 1 << 20, 2)?;
        self.daemon.check_ledger()
    }

    /// Waits until the port is gone, which is how containers end and no problem.
    fn port_goes(&self) -> TestResult {
        eventually("the port is gone", || self.daemon.ports().is_ok_and(|ports| ports.is_empty()))?;
        let status: Status = self.daemon.ask(Query::Status)?;
        assert_eq!(status.problems, []);
        Ok(())
    }
}

fn a_device_in_another_namespace_carries_traffic() -> TestResult {
    Foreign::new(NetdevMode::Gso)?.exchange()
}

fn a_device_in_another_namespace_carries_traffic_by_xdp() -> TestResult {
    Foreign::new(NetdevMode::Xdp)?.exchange()
}

/// A macvlan device, which receives what is for its own address: so the container behind the switch has the same one.
fn a_device_whose_driver_has_no_xdp_carries_traffic_by_xdp() -> TestResult {
    let (daemon, far, near) = (Daemon::start()?, Container::new()?, Container::new()?);
    let (lower, device) = (unique("l"), unique("mv"));
    let netlink = Netlink::open()?;
    netlink.create_veth(&lower, "eth0", Some(far.namespace().as_fd()))?;
    far.address("eth0", &["10.0.0.1/24"])?;
    far.set_offloads("eth0", false)?;
    let below = netlink.link(&lower)?.index;
    netlink.create_macvlan(&device, below)?;
    let own = netlink.link(&device)?;
    [below, own.index].into_iter().try_for_each(|index| netlink.set_up(index, true))?;
    let (netns, mode) = (None, NetdevMode::Xdp);
    daemon.add("up", port("br0", PortKind::Netdev { device: device.parse()?, netns, mode })?)?;
    let PortKind::Tap(interface) = tap(&near, &["10.0.0.2/24"])? else {
        return Err("no tap".into());
    };
    let interface = Tap { mac: own.mac.map(MacAddr), ..interface };
    daemon.add("near", port("br0", PortKind::Tap(interface))?)?;
    transfer::tcp(&Path::new(&near, &far, FAR), 1 << 20, 1)?;
    transfer::tcp(&Path::new(&far, &near, NEAR), 1 << 20, 2)?;
    let ports = daemon.ports()?;
    let opened =
        ports.iter().find(|port| port.name.as_str() == "up").and_then(|port| port.device.as_ref());
    assert!(opened.is_some_and(|opened| opened.mode.starts_with("xdp generic")), "{opened:?}");
    daemon.check_ledger()
}

fn a_namespace_that_ends_takes_its_devices_port_along() -> TestResult {
    the_end_of_its_namespace(NetdevMode::Gso)
}

fn a_namespace_that_ends_takes_its_xdp_port_along() -> TestResult {
    the_end_of_its_namespace(NetdevMode::Xdp)
}

fn the_end_of_its_namespace(mode: NetdevMode) -> TestResult {
    in_a_second(|took| {
        let mut foreign = Foreign::new(mode)?;
        // Dropping the container ends its name; only the daemon's sockets still keep the namespace.
        foreign.place = Container::new()?;
        let died = Instant::now();
        foreign.port_goes()?;
        *took = died.elapsed();
        // And they keep it no longer: with the namespace went the device, and its other end.
        eventually("the namespace has ended", || foreign.far.link("eth0").is_err())?;
        foreign.daemon.check_ledger()
    })
}

fn a_device_deleted_in_another_namespace_takes_its_port_along() -> TestResult {
    let foreign = Foreign::new(NetdevMode::Gso)?;
    let netlink = foreign.place.netlink()?;
    netlink.delete_link(netlink.link("v0")?.index)?;
    foreign.port_goes()
}

fn a_device_that_was_off_when_it_was_deleted_takes_its_port_along() -> TestResult {
    let foreign = Foreign::new(NetdevMode::Gso)?;
    let netlink = foreign.place.netlink()?;
    let index = netlink.link("v0")?.index;
    netlink.set_up(index, false)?;
    // The worker hears of the first event before the second comes, as it mostly does.
    foreign.daemon.check_ledger()?;
    netlink.delete_link(index)?;
    foreign.port_goes()
}

fn a_device_that_is_switched_off_and_on_carries_on() -> TestResult {
    off_and_on(Kind::Gso)
}

fn an_xdp_device_that_is_switched_off_and_on_carries_on() -> TestResult {
    off_and_on(Kind::Xdp)
}

fn off_and_on(kind: Kind) -> TestResult {
    let daemon = Daemon::start()?;
    let (a, b) = (Container::new()?, Container::new()?);
    let name = unique("o");
    connect(&daemon, &name, kind, &a, (1500, &["10.0.0.1/24"]))?;
    connect(&daemon, &unique("p"), Kind::Gso, &b, (1500, &["10.0.0.2/24"]))?;
    let path = Path::new(&a, &b, [10, 0, 0, 2]);
    transfer::tcp(&path, 1 << 16, 1)?;
    let device = daemon.ports()?.into_iter().find(|port| port.name.as_str() == name);
    let index = device.and_then(|port| port.device).ok_or("no device")?.index;
    let netlink = Netlink::open()?;
    netlink.set_up(index, false)?;
    // It is sent to while it is off: frames are lost, and the port is not.
    assert!(ping::is_silent(&b, FAR.into(), Duration::from_millis(300))?);
    netlink.set_up(index, true)?;
    a.await_ready("eth0")?;
    transfer::tcp(&path, 1 << 20, 1)?;
    assert!(daemon.ports()?.iter().all(|port| port.state == PortState::Up));
    daemon.check_ledger()
}

fn a_containers_interface_that_is_switched_off_and_on_carries_on() -> TestResult {
    let daemon = Daemon::start()?;
    let (a, b) = (Container::new()?, Container::new()?);
    daemon.add("a", port("br0", tap(&a, &["10.0.0.1/24"])?)?)?;
    daemon.add("b", port("br0", tap(&b, &["10.0.0.2/24"])?)?)?;
    let path = Path::new(&b, &a, FAR);
    transfer::tcp(&path, 1 << 16, 1)?;
    let netlink = a.netlink()?;
    let index = netlink.link("eth0")?.index;
    netlink.set_up(index, false)?;
    assert!(ping::is_silent(&b, FAR.into(), Duration::from_millis(300))?);
    let drops: Vec<DropInfo> = daemon.ask(Query::drops())?;
    let refused = drops.iter().find(|drop| drop.reason == "tx-refused").ok_or("nothing refused")?;
    assert!(refused.last.is_some(), "it is said when");
    netlink.set_up(index, true)?;
    transfer::tcp(&path, 1 << 20, 1)?;
    daemon.check_ledger()
}

fn a_device_that_cannot_be_opened_is_left_as_it_was() -> TestResult {
    let (first, second) = (Daemon::start()?, Daemon::start()?);
    let a = Container::new()?;
    let name = unique("x");
    connect(&first, &name, Kind::Xdp, &a, (1500, &[]))?;
    let ports = first.ports()?;
    let PortKind::Netdev { device, netns, mode } = &ports[0].settings.kind else {
        return Err("no device".into());
    };
    let netlink = Netlink::open()?;
    let before = netlink.link(device.as_str())?;
    // A device has one XDP program; that of the other daemon stays.
    let kind = PortKind::Netdev { device: device.clone(), netns: netns.clone(), mode: *mode };
    let taken = ctl::Port { mtu: Some(1400.try_into()?), ..port("br0", kind)? };
    assert!(second.add("taken", taken).is_err());
    let after = netlink.link(device.as_str())?;
    assert_eq!((after.mtu, after.up), (before.mtu, before.up));
    assert!(second.ports()?.is_empty());
    Ok(())
}

fn a_daemon_out_of_descriptors_takes_no_namespace_for_ended() -> TestResult {
    let foreign = Foreign::new(NetdevMode::Gso)?;
    let pid = Pid::from_raw(i32::try_from(foreign.daemon.pid())?);
    let before = getrlimit(Resource::Nofile);
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(0), ..before })?;
    // Nothing tells of a look that comes to nothing: time for two.
    std::thread::sleep(Duration::from_millis(1200));
    prlimit(pid, Resource::Nofile, before)?;
    assert_eq!(foreign.daemon.ports()?.len(), 1);
    foreign.exchange()
}
