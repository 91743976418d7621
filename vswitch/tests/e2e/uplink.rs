//! An interface that the host keeps, and shares with the switch: a namespace is the host, and another one the world.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant};

use ctl::response::{
    BackendInfo, BackendState, Checks, NetworkInfo, PortState, ServiceInfo, Status,
};
use ctl::{
    Backend, BridgeSet, HealthCheck, Masquerade, Mutation, Named, NatAdd, NatRule, NetdevMode,
    NetworkConnect, NetworkCreate, Port, PortKind, PrefixTranslation, Publish, Query, RouteAdd,
    Service, ServiceAdd, Tap, Vxlan, VxlanAdd,
};
use netlab::{Container, LabError, Need, Path, Test, TestResult, ping, test, transfer};
use rustix::process::Signal;

use crate::daemon::{Daemon, eventually};
use crate::routing::{container, reaches, routed_bridge};

/// Longer than any connection takes to come about.
const SOON: Duration = Duration::from_secs(5);
/// The host's addresses, the world's, and a container's.
pub const HOST: [&str; 2] = ["192.0.2.2", "2001:db8:9::2"];
pub const WORLD: [&str; 2] = ["192.0.2.9", "2001:db8:9::9"];
pub const INNER: [&str; 2] = ["10.1.0.2", "fd01::2"];
/// Where masquerading gets its ports from, on an interface that is shared.
const MASQUERADED: std::ops::RangeInclusive<u16> = 61000..=65535;

pub fn tests() -> Vec<Test> {
    [
        test!(the_host_keeps_its_interface_and_containers_are_reached_by_its_address),
        test!(the_host_keeps_an_interface_that_is_shared_by_xdp),
        test!(a_host_whose_switch_is_killed_has_its_interface_back),
        test!(what_the_host_has_is_followed),
        test!(an_interface_that_is_switched_off_is_told),
        test!(global_addresses_of_ipv6_leave_masqueraded_where_the_host_shares_its_interface),
        test!(an_interface_that_is_called_something_else_is_waited_for_and_the_status_says_so_once),
        test!(a_host_with_an_address_by_itself_is_followed),
        test!(a_published_port_is_at_every_address_of_the_host),
        test!(rules_wait_for_the_hosts_addresses),
        test!(programs_at_ports_that_masquerading_takes_are_told_of),
        test!(an_interface_is_shared_by_a_bridge_of_its_own),
        test!(backends_beside_the_host_are_not_checked),
        test!(the_host_has_an_interface_on_a_bridge),
        test!(a_tunnel_goes_by_an_interface_that_the_host_keeps),
    ]
    .into_iter()
    .map(|test| test.needs(Need::Tun).needs(Need::Bpf))
    .collect()
}

pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A host with a switch, a container on it, and the world.
pub struct Site {
    pub daemon: Daemon,
    pub inner: Container,
    pub host: Container,
    pub world: Container,
}

impl Site {
    pub fn new() -> Outcome<Self> {
        Self::with(NetdevMode::Auto)
    }

    /// One whose interface is shared in this way.
    fn with(mode: NetdevMode) -> Outcome<Self> {
        let (host, world) = (Container::new()?, Container::new()?);
        host.netlink()?.create_veth("eth0", "eth0", Some(world.namespace().as_fd()))?;
        world.address("eth0", &[&format!("{}/24", WORLD[0]), &format!("{}/64", WORLD[1])])?;
        host.address("eth0", &[&format!("{}/24", HOST[0]), &format!("{}/64", HOST[1])])?;
        host.await_ready("eth0")?;
        world.await_ready("eth0")?;
        let daemon = Daemon::start_on(&host, &[])?;
        daemon.add("up0", shared("out", mode)?)?;
        routed_bridge(&daemon, "inside", &["10.1.0.1/24", "fd01::1/64"])?;
        let addresses = ["10.1.0.2/24", "fd01::2/64"];
        let inner = container(&daemon, "inner", "inside", &addresses, &["10.1.0.1", "fd01::1"])?;
        let masquerade = Masquerade::new("inside".parse()?, "out".parse()?);
        let rule = NatRule::Masquerade(Masquerade { ipv6: true, ..masquerade });
        daemon.change(Mutation::NatAdd(NatAdd { name: None, rule }))?;
        for (own, name) in INNER.into_iter().zip(["web4", "web6"]) {
            publish(&daemon, name, own.parse()?)?;
        }
        Ok(Self { daemon, inner, host, world })
    }
}

pub fn shared(bridge: &str, mode: NetdevMode) -> Outcome<Port> {
    let kind = PortKind::Netdev { device: "eth0".parse()?, netns: None, mode };
    Ok(Port { shared: true, ..Port::new(bridge.parse()?, kind) })
}

/// Port 8080 outside leads to port 80 of the container.
fn publish(daemon: &Daemon, name: &str, own: IpAddr) -> Outcome<()> {
    let forward = format!("8080:{}/tcp", SocketAddr::new(own, 80)).parse()?;
    let rule = NatRule::Publish(Publish { on: "out".parse()?, forward, to: None, port: None });
    daemon.change(Mutation::NatAdd(NatAdd { name: Some(name.parse()?), rule }))?;
    Ok(())
}

pub fn io(source: std::io::Error) -> LabError {
    LabError::Socket { operation: "speak through a shared interface", source }
}

/// Listens, as soon as whoever listened there before has gone: what another test's thread forks has all sockets of this process for a
/// moment, until it executes its program.
pub fn listen(on: &Container, at: SocketAddr) -> Outcome<TcpListener> {
    let begun = Instant::now();
    loop {
        match on.run(|| Ok::<_, LabError>(TcpListener::bind(at)))? {
            Err(error) if error.kind() == ErrorKind::AddrInUse && begun.elapsed() < SOON => {
                std::thread::sleep(Duration::from_millis(2));
            }
            bound => return Ok(bound.map_err(io)?),
        }
    }
}

pub fn connect(from: &Container, to: SocketAddr) -> Outcome<std::io::Result<TcpStream>> {
    Ok(from.run(|| Ok::<_, LabError>(TcpStream::connect_timeout(&to, SOON)))?)
}

/// Bytes that differ everywhere.
pub fn pattern(bytes: usize) -> Vec<u8> {
    (0u32..)
        .flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes())
        .take(bytes)
        .collect()
}

/// Sends much by one end of a connection and gets all of it by the other.
fn carries(mut near: TcpStream, mut far: TcpStream) -> TestResult {
    let sent = pattern(8 << 20);
    let expected = sent.clone();
    let sender = std::thread::spawn(move || near.write_all(&sent));
    let mut got = Vec::new();
    far.read_to_end(&mut got)?;
    sender.join().map_err(|_| "the sender panicked")??;
    assert!(got == expected, "{} of {} bytes", got.len(), expected.len());
    Ok(())
}

fn the_host_keeps_its_interface_and_containers_are_reached_by_its_address() -> TestResult {
    is_shared(&Site::new()?)
}

fn the_host_keeps_an_interface_that_is_shared_by_xdp() -> TestResult {
    is_shared(&Site::with(NetdevMode::Xdp)?)
}

fn is_shared(site: &Site) -> TestResult {
    for ((own, far), inner) in HOST.into_iter().zip(WORLD).zip(INNER) {
        let (own, far, inner): (IpAddr, IpAddr, IpAddr) =
            (own.parse()?, far.parse()?, inner.parse()?);
        // The host's own: untouched, both ways.
        ping::ping(&site.world, own, &ping::Options::default())?;
        ping::ping(&site.host, far, &ping::Options::default())?;
        transfer::tcp(&Path::new(&site.world, &site.host, own), 8 << 20, 1)?;
        transfer::tcp(&Path::new(&site.host, &site.world, far), 8 << 20, 2)?;
        // A published port: the container sees the client's address.
        let listener = listen(&site.inner, SocketAddr::new(inner, 80))?;
        let client = connect(&site.world, SocketAddr::new(own, 8080))??;
        let (server, seen) = listener.accept()?;
        assert_eq!(seen, client.local_addr()?, "the client's address is kept");
        carries(client, server)?;
        // A masqueraded connection: the world sees the host's address.
        transfer::tcp(&Path::new(&site.inner, &site.world, far), 8 << 20, 3)?;
        let (_near, far_end) = Path::new(&site.inner, &site.world, far).tcp()?;
        let seen = far_end.peer_addr()?;
        assert!(seen.ip() == own && MASQUERADED.contains(&seen.port()), "{seen}");
        ping::ping(&site.inner, far, &ping::Options::default())?;
        is_told_of_a_closed_port(&site.inner, far)?;
        // Nobody listens there on the host: the host says so, and nobody else does.
        let refused = connect(&site.world, SocketAddr::new(own, 8081))?;
        assert!(refused.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused));
    }
    site.daemon.check_ledger()
}

/// An ICMP error that is about a masqueraded datagram comes back to who sent it.
fn is_told_of_a_closed_port(inner: &Container, far: IpAddr) -> TestResult {
    let any: IpAddr = if far.is_ipv4() { "0.0.0.0".parse()? } else { "::".parse()? };
    let socket: UdpSocket = inner.run(|| {
        let socket = UdpSocket::bind((any, 0)).map_err(io)?;
        socket.connect((far, 9)).map_err(io)?;
        Ok::<_, LabError>(socket)
    })?;
    socket.set_read_timeout(Some(SOON))?;
    socket.send(b"anybody?")?;
    let error = socket.recv(&mut [0; 16]).err().ok_or("nobody listens there")?;
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    Ok(())
}

fn a_host_whose_switch_is_killed_has_its_interface_back() -> TestResult {
    let mut site = Site::new()?;
    let (own, inner) = (HOST[0].parse::<IpAddr>()?, INNER[0].parse::<IpAddr>()?);
    let listener = listen(&site.inner, SocketAddr::new(inner, 80))?;
    let mut client = connect(&site.world, SocketAddr::new(own, 8080))??;
    let (mut server, _) = listener.accept()?;
    let (mut hosts_client, mut hosts) = Path::new(&site.world, &site.host, own).tcp()?;
    // Traffic on both, while it is killed.
    let talker = std::thread::spawn(move || {
        let block = [7; 65536];
        while client.write_all(&block).is_ok() {}
    });
    let mut some = vec![0; 1 << 20];
    server.read_exact(&mut some)?;
    hosts_client.write_all(b"before")?;
    site.daemon.end(Signal::KILL)?;
    hosts_client.write_all(b" and after")?;
    let mut text = [0; 16];
    hosts.read_exact(&mut text)?;
    assert_eq!(&text, b"before and after");
    // What was the switch's is the host's again, which knows of no such connection.
    talker.join().map_err(|_| "the talker panicked")?;
    let refused = connect(&site.world, SocketAddr::new(own, 8080))?;
    assert!(refused.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused));
    let listener = listen(&site.host, SocketAddr::new(own, 8080))?;
    connect(&site.world, SocketAddr::new(own, 8080))??;
    listener.accept()?;
    transfer::tcp(&Path::new(&site.world, &site.host, own), 8 << 20, 4)?;
    Ok(())
}

fn what_the_host_has_is_followed() -> TestResult {
    let site = Site::new()?;
    let (netlink, link) = (site.host.netlink()?, site.host.link("eth0")?);
    let gateways = || -> Outcome<Vec<String>> {
        let bridge: ctl::response::BridgeInfo =
            site.daemon.ask(Query::BridgeShow(Named::new("out".parse()?)))?;
        Ok(bridge.settings.gateways.iter().map(ToString::to_string).collect())
    };
    assert_eq!(gateways()?, ["192.0.2.2/24", "2001:db8:9::2/64"]);
    netlink.add_address(link.index, "198.51.100.2/24".parse()?)?;
    eventually("the new address is followed", || {
        gateways().is_ok_and(|all| all.contains(&"198.51.100.2/24".to_owned()))
    })?;
    site.world
        .netlink()?
        .add_address(site.world.link("eth0")?.index, "198.51.100.9/24".parse()?)?;
    let listener = listen(&site.inner, SocketAddr::new(INNER[0].parse()?, 80))?;
    connect(&site.world, "198.51.100.2:8080".parse()?)??;
    listener.accept()?;
    // A router in the world, and something behind it.
    site.world.run(|| -> Result<(), LabError> {
        let netlink = hostnet::Netlink::open()?;
        let lo = netlink.link("lo")?.index;
        netlink.set_up(lo, true)?;
        Ok(netlink.add_address(
            lo,
            "203.0.113.7/32".parse().map_err(|_| io(ErrorKind::InvalidInput.into()))?,
        )?)
    })?;
    netlink.set_mtu(link.index, 1400)?;
    eventually("the MTU is followed", || {
        let port: Result<ctl::response::PortInfo, _> = "up0"
            .parse()
            .map_err(drop)
            .and_then(|name| site.daemon.ask(Query::PortShow(Named::new(name))).map_err(drop));
        port.is_ok_and(|port| port.mtu == 1400)
    })?;
    transfer::tcp(&Path::new(&site.inner, &site.world, WORLD[0].parse::<IpAddr>()?), 1 << 20, 7)?;
    netlink.add_default_route(WORLD[0].parse()?, link.index)?;
    let router: IpAddr = WORLD[0].parse()?;
    eventually("the default route is followed", || {
        let all = site.daemon.ask::<ctl::response::Routes>(Query::RouteList);
        all.is_ok_and(|all| all.routes.iter().any(|route| route.via.contains(&router)))
    })?;
    reaches(&site.inner, "203.0.113.7")?;
    site.daemon.check_ledger()
}

fn an_interface_that_is_switched_off_is_told() -> TestResult {
    let site = Site::new()?;
    let (netlink, link) = (site.host.netlink()?, site.host.link("eth0")?);
    let state = || -> Outcome<PortState> {
        let port: ctl::response::PortInfo =
            site.daemon.ask(Query::PortShow(Named::new("up0".parse()?)))?;
        Ok(port.state)
    };
    let problems = || -> Outcome<usize> {
        let status: Status = site.daemon.ask(Query::Status)?;
        let told = "port up0: its interface eth0 is switched off";
        Ok(status.problems.iter().filter(|problem| problem.text.starts_with(told)).count())
    };
    assert_eq!((state()?, problems()?), (PortState::Up, 0));
    netlink.set_up(link.index, false)?;
    eventually("the port is down", || state().is_ok_and(|state| state == PortState::Down))?;
    assert_eq!(problems()?, 1);
    let status: Status = site.daemon.ask(Query::Status)?;
    assert_eq!(
        (status.ports_up, status.ports_down),
        (2, 1),
        "the container, its relay, and this one"
    );
    netlink.set_up(link.index, true)?;
    eventually("the port is up", || state().is_ok_and(|state| state == PortState::Up))?;
    assert_eq!(problems()?, 0);
    Ok(())
}

fn global_addresses_of_ipv6_leave_masqueraded_where_the_host_shares_its_interface() -> TestResult {
    let site = Site::new()?;
    let index = site.host.link("eth0")?.index;
    site.host.netlink()?.add_default_route(WORLD[0].parse()?, index)?;
    let mut create = NetworkCreate::new("web".parse()?);
    create.subnets = vec!["10.7.0.0/24".parse()?, "2001:db8:7::/64".parse()?];
    site.daemon.change(Mutation::NetworkCreate(Box::new(create)))?;
    eventually("the network has a way out", || {
        let named = "web".parse().map_err(drop).map(Named::new).map(Query::NetworkInspect);
        let info: Result<NetworkInfo, _> =
            named.and_then(|query| site.daemon.ask(query).map_err(drop));
        info.is_ok_and(|info| !info.uplinks.is_empty())
    })?;
    let shop = Container::new()?;
    let connect = NetworkConnect::new("web".parse()?, shop.reference());
    site.daemon.change(Mutation::NetworkConnect(Box::new(connect)))?;
    shop.await_ready("eth0")?;
    let at = SocketAddr::new(WORLD[1].parse()?, 80);
    let listener = listen(&site.world, at)?;
    self::connect(&shop, at)??;
    let (_, client) = listener.accept()?;
    assert_eq!(client.ip(), HOST[1].parse::<IpAddr>()?, "the answer comes to the host's address");
    site.daemon.check_ledger()
}

/// As clouds give them: an address alone, and a router that the link is said to have.
fn a_host_with_an_address_by_itself_is_followed() -> TestResult {
    let site = Site::new()?;
    let (netlink, link) = (site.host.netlink()?, site.host.link("eth0")?);
    netlink.remove_address(link.index, format!("{}/24", HOST[0]).parse()?)?;
    netlink.add_address(link.index, format!("{}/32", HOST[0]).parse()?)?;
    netlink.add_default_route(WORLD[0].parse()?, link.index)?;
    let far: ctl::IpCidr = "203.0.113.7/32".parse()?;
    let beyond = site.world.netlink()?;
    let lo = beyond.link("lo")?.index;
    beyond.set_up(lo, true)?;
    beyond.add_address(lo, far)?;
    let router: IpAddr = WORLD[0].parse()?;
    eventually("the router on the link is followed", || {
        let all = site.daemon.ask::<ctl::response::Routes>(Query::RouteList);
        all.is_ok_and(|all| all.routes.iter().any(|route| route.via.contains(&router)))
    })?;
    reaches(&site.inner, &far.addr.to_string())?;
    reaches(&site.inner, WORLD[0])?;
    let listener = listen(&site.inner, SocketAddr::new(INNER[0].parse()?, 80))?;
    connect(&site.world, SocketAddr::new(HOST[0].parse()?, 8080))??;
    listener.accept()?;
    site.daemon.check_ledger()
}

fn a_published_port_is_at_every_address_of_the_host() -> TestResult {
    let site = Site::new()?;
    let (netlink, link) = (site.host.netlink()?, site.host.link("eth0")?);
    let listener = listen(&site.inner, SocketAddr::new(INNER[0].parse()?, 80))?;
    for further in ["192.0.2.3/24", "192.0.2.4/32"] {
        let cidr: ctl::IpCidr = further.parse()?;
        netlink.add_address(link.index, cidr)?;
        eventually("the further address is followed", || {
            let bridge = "out".parse().map_err(drop).map(Named::new).map(Query::BridgeShow);
            let info: Result<ctl::response::BridgeInfo, _> =
                bridge.and_then(|query| site.daemon.ask(query).map_err(drop));
            info.is_ok_and(|info| info.settings.gateways.iter().any(|own| own.addr == cidr.addr))
        })?;
        for from in [&site.world, &site.host] {
            connect(from, SocketAddr::new(cidr.addr, 8080))??;
            listener.accept()?;
        }
    }
    // What begins here begins at the first address, as the kernel has it.
    let (_near, far) = Path::new(&site.inner, &site.world, WORLD[0].parse::<IpAddr>()?).tcp()?;
    assert_eq!(far.peer_addr()?.ip(), HOST[0].parse::<IpAddr>()?);
    site.daemon.check_ledger()
}

fn rules_wait_for_the_hosts_addresses() -> TestResult {
    let mut site = Site::new()?;
    let (netlink, link) = (site.host.netlink()?, site.host.link("eth0")?);
    netlink.remove_address(link.index, format!("{}/64", HOST[1]).parse()?)?;
    netlink.remove_address(link.index, format!("{}/24", HOST[0]).parse()?)?;
    netlink.add_address(link.index, "192.0.2.12/24".parse()?)?;
    let listener = listen(&site.inner, SocketAddr::new(INNER[0].parse()?, 80))?;
    let answers = |site: &Site, own: &str| -> TestResult {
        let at = SocketAddr::new(own.parse()?, 8080);
        Ok(eventually("the port is found at the other address", || {
            connect(&site.world, at).is_ok_and(|connected| connected.is_ok())
        })?)
    };
    answers(&site, "192.0.2.12")?;
    listener.accept()?;
    // A daemon that starts finds the same.
    site.daemon.end(Signal::KILL)?;
    let directory = site.daemon.directory().to_owned();
    site.daemon = Daemon::start_again_on(&site.host, &directory, &[])?;
    answers(&site, "192.0.2.12")?;
    netlink.add_address(link.index, format!("{}/64", HOST[1]).parse()?)?;
    drop(listener);
    let _six = listen(&site.inner, SocketAddr::new(INNER[1].parse()?, 80))?;
    answers(&site, HOST[1])
}

fn programs_at_ports_that_masquerading_takes_are_told_of() -> TestResult {
    let (host, world) = (Container::new()?, Container::new()?);
    host.netlink()?.create_veth("eth0", "eth0", Some(world.namespace().as_fd()))?;
    host.address("eth0", &[&format!("{}/24", HOST[0])])?;
    let _own = listen(&host, "0.0.0.0:62000".parse()?)?;
    let daemon = Daemon::start_on(&host, &[])?;
    daemon.add("up0", shared("out", NetdevMode::Auto)?)?;
    routed_bridge(&daemon, "inside", &["10.1.0.1/24"])?;
    let rule = NatRule::Masquerade(Masquerade::new("inside".parse()?, "out".parse()?));
    daemon.change(Mutation::NatAdd(NatAdd { name: None, rule }))?;
    let status: ctl::response::Status = daemon.ask(Query::Status)?;
    let told = format!("{:?}", status.problems);
    assert!(told.contains("0.0.0.0:62000/tcp") && told.contains("61000-65535"), "{told}");
    Ok(())
}

fn an_interface_that_is_called_something_else_is_waited_for_and_the_status_says_so_once()
-> TestResult {
    let site = Site::new()?;
    let status = || site.daemon.ask::<Status>(Query::Status);
    rename(&site.host, "eth0", "eth9")?;
    eventually("the port waits", || status().is_ok_and(|status| status.ports_waiting == 1))?;
    let ports = site.daemon.ports()?;
    let is_renamed =
        |state: &PortState| matches!(state, PortState::Waiting(why) if why.contains("\"eth0\""));
    assert!(ports.iter().any(|port| is_renamed(&port.state)), "{ports:?}");
    // What the host says of the interface by its other name does not say it again.
    let index = site.host.link("eth9")?.index;
    site.host.netlink()?.add_address(index, "198.51.100.2/24".parse()?)?;
    let [problem] = &status()?.problems[..] else { return Err(format!("{:?}", status()).into()) };
    assert!(problem.text.starts_with("port up0: there is no interface"), "{problem:?}");
    rename(&site.host, "eth9", "eth0")?;
    eventually("the port is back", || status().is_ok_and(|status| status.ports_waiting == 0))?;
    assert_eq!(status()?.problems, [], "it went with its cause");
    site.host.await_ready("eth0")?;
    let listener = listen(&site.inner, SocketAddr::new(INNER[0].parse()?, 80))?;
    connect(&site.world, SocketAddr::new(HOST[0].parse()?, 8080))??;
    listener.accept()?;
    site.daemon.check_ledger()
}

/// An interface can be called something else while it is off.
fn rename(host: &Container, from: &str, to: &str) -> TestResult {
    for arguments in
        [["set", from, "down"].as_slice(), &["set", from, "name", to], &["set", to, "up"]]
    {
        let status = host.run(|| {
            Command::new("/bin/busybox").args(["ip", "link"]).args(arguments).status().map_err(io)
        })?;
        assert!(status.success(), "{arguments:?}: {status}");
    }
    Ok(())
}

/// What answered a check would be the host's kernel's, which would reset the connection.
fn backends_beside_the_host_are_not_checked() -> TestResult {
    let site = Site::new()?;
    let service = Service {
        backends: vec![Backend { at: SocketAddr::new(WORLD[0].parse()?, 80), draining: false }],
        health: Some(HealthCheck::new(ctl::Probe::Tcp)),
        ..Service::new("10.96.0.10:80/tcp".parse()?)
    };
    let add = ServiceAdd { name: "web".parse()?, service };
    site.daemon.change(Mutation::ServiceAdd(Box::new(add)))?;
    eventually("it is said that the backend cannot be checked", || {
        let info = site.daemon.ask::<Vec<ServiceInfo>>(Query::ServiceList);
        info.is_ok_and(|info| {
            let BackendInfo { checks, state, .. } = &info[0].backends[0];
            (*checks, *state) == (Some(Checks::Impossible), BackendState::Up)
        })
    })?;
    site.daemon.check_ledger()
}

fn an_interface_is_shared_by_a_bridge_of_its_own() -> TestResult {
    let site = Site::new()?;
    let reserved = || -> Outcome<String> {
        Ok(site.host.run(|| {
            std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").map_err(io)
        })?)
    };
    assert_eq!(reserved()?.trim(), "8080,61000-65535");
    let kind = PortKind::Netdev { device: "eth1".parse()?, netns: None, mode: NetdevMode::Auto };
    let error = site.daemon.add("other", Port::new("out".parse()?, kind)).err();
    let error = error.ok_or("it would be alone no more")?.to_string();
    assert!(error.contains("has no other port"), "{error}");
    is_the_hosts_to_change(&site.daemon)?;
    let removal = |name: &str| -> Outcome<Mutation> {
        Ok(Mutation::PortDel(Named { name: name.parse()?, if_exists: false }))
    };
    let error = site.daemon.change(removal("up0")?).err().ok_or("rules need its addresses")?;
    assert!(error.to_string().contains("need these: inside-to-out, web4, web6;"), "{error}");
    for name in ["web4", "web6", "inside-to-out"] {
        let named = Named { name: name.parse()?, if_exists: false };
        site.daemon.change(Mutation::NatDel(named))?;
    }
    site.daemon.change(removal("up0")?)?;
    assert_eq!(reserved()?.trim(), "");
    let listener = listen(&site.host, SocketAddr::new(HOST[0].parse()?, 8080))?;
    connect(&site.world, SocketAddr::new(HOST[0].parse()?, 8080))??;
    listener.accept()?;
    site.daemon.check_ledger()
}

/// What the bridge follows is changed on the host, and nowhere else.
fn is_the_hosts_to_change(daemon: &Daemon) -> TestResult {
    let gateways = Some(vec!["192.0.2.77/24".parse()?]);
    let set = BridgeSet { gateways, ..BridgeSet::new("out".parse()?) };
    let route = RouteAdd {
        to: "203.0.113.0/24".parse()?,
        on: "out".parse()?,
        via: vec![WORLD[0].parse()?],
    };
    for change in [Mutation::BridgeSet(set), Mutation::RouteAdd(route)] {
        let error = daemon.change(change).err().ok_or("it would be overwritten")?.to_string();
        assert!(error.contains("follows them; change them on the host"), "{error}");
    }
    let rule = NatRule::Prefix(PrefixTranslation {
        from: "inside".parse()?,
        to: "out".parse()?,
        inside: "fd01::/64".parse()?,
        outside: "2001:db8:1::/64".parse()?,
    });
    let refused = daemon.change(Mutation::NatAdd(NatAdd { name: None, rule }));
    let error = refused.err().ok_or("nothing would be taken for it")?.to_string();
    assert!(error.contains("whose interface stays the host's"), "{error}");
    Ok(())
}

fn the_host_has_an_interface_on_a_bridge() -> TestResult {
    let site = Site::new()?;
    let kind = PortKind::Tap(Tap {
        ips: vec!["10.1.0.250/24".parse()?, "fd01::250/64".parse()?],
        ..Tap::new("vswitch0".parse()?)
    });
    site.daemon.add("host0", Port::new("inside".parse()?, kind))?;
    site.host.await_ready("vswitch0")?;
    for (inner, own) in INNER.into_iter().zip(["10.1.0.250", "fd01::250"]) {
        transfer::tcp(&Path::new(&site.host, &site.inner, inner.parse::<IpAddr>()?), 8 << 20, 5)?;
        transfer::tcp(&Path::new(&site.inner, &site.host, own.parse::<IpAddr>()?), 8 << 20, 6)?;
    }
    site.daemon.check_ledger()
}

/// Beside published ports and masqueraded connections of the same address.
fn a_tunnel_goes_by_an_interface_that_the_host_keeps() -> TestResult {
    let site = Site::new()?;
    let other = Daemon::start_on(&site.world, &[])?;
    routed_bridge(&other, "inside", &[])?;
    let gateways = ["10.1.0.1", "fd01::1"];
    let remote = container(&other, "remote", "inside", &["10.1.0.9/24", "fd01::9/64"], &gateways)?;
    for (daemon, [own, far]) in [(&site.daemon, [HOST, WORLD]), (&other, [WORLD, HOST])] {
        let vxlan = Vxlan::new("inside".parse()?, 42.try_into()?, own[0].parse()?);
        let vxlan = Vxlan { remotes: [far[0].parse()?].into(), ..vxlan };
        daemon.change(Mutation::VxlanAdd(VxlanAdd { name: "vx0".parse()?, vxlan }))?;
    }
    for (inner, far) in INNER.into_iter().zip(["10.1.0.9", "fd01::9"]) {
        transfer::tcp(&Path::new(&site.inner, &remote, far.parse::<IpAddr>()?), 8 << 20, 8)?;
        transfer::tcp(&Path::new(&remote, &site.inner, inner.parse::<IpAddr>()?), 8 << 20, 9)?;
    }
    // By the gateway at the other end of the tunnel, and from there by the host's address.
    reaches(&remote, WORLD[0])?;
    other.check_ledger()?;
    site.daemon.check_ledger()
}
