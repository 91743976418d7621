//! Gateways, routes between bridges, masquerading and published ports, with the kernel at both ends.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use ctl::{
    Allowance, BridgeAdd, IpCidr, Masquerade, Mutation, Named, NatAdd, NatRule, Port, PortKind,
    Publish, Tap, Vlan, VlanId, VlanOf,
};
use netlab::{Container, Need, Path, Test, TestResult, ping, test};

use crate::daemon::{Daemon, port};

/// Longer than any connection takes to come about.
const SOON: Duration = Duration::from_secs(5);

pub fn tests() -> Vec<Test> {
    [
        test!(a_gateway_answers_and_routes_only_what_is_allowed),
        test!(masquerading_hides_a_container_and_publishing_shows_it),
        test!(vlans_of_a_bridge_are_routed_as_bridges_are),
    ]
    .into_iter()
    .map(|test| test.needs(Need::Tun))
    .collect()
}

/// A bridge with gateway addresses.
pub fn routed_bridge(
    daemon: &Daemon,
    name: &str,
    gateways: &[&str],
) -> Result<(), Box<dyn std::error::Error>> {
    let gateways = gateways.iter().map(|cidr| cidr.parse()).collect::<Result<Vec<IpCidr>, _>>()?;
    let add = BridgeAdd { gateways, ..BridgeAdd::new(name.parse()?) };
    daemon.change(Mutation::BridgeAdd(add))?;
    Ok(())
}

/// A container on a bridge, with addresses and default gateways.
pub fn container(
    daemon: &Daemon,
    name: &str,
    bridge: &str,
    addresses: &[&str],
    gateways: &[&str],
) -> Result<Container, Box<dyn std::error::Error>> {
    let at = (bridge, Vlan::Unaware);
    container_in(daemon, name, at, addresses, gateways)
}

/// A container on a port that handles VLANs, with addresses and default gateways.
fn container_in(
    daemon: &Daemon,
    name: &str,
    (bridge, vlan): (&str, Vlan),
    addresses: &[&str],
    gateways: &[&str],
) -> Result<Container, Box<dyn std::error::Error>> {
    let container = Container::new()?;
    let ips = addresses.iter().map(|cidr| cidr.parse()).collect::<Result<Vec<IpCidr>, _>>()?;
    let gateways = gateways.iter().map(|ip| ip.parse()).collect::<Result<Vec<IpAddr>, _>>()?;
    let kind = PortKind::Tap(Tap {
        netns: Some(container.reference()),
        ips,
        gateways,
        ..Tap::new("eth0".parse()?)
    });
    daemon.add(name, Port { vlan, ..port(bridge, kind)? })?;
    container.await_ready("eth0")?;
    Ok(container)
}

pub fn reaches(from: &Container, ip: &str) -> TestResult {
    ping::ping(from, ip.parse()?, &ping::Options::default())?;
    Ok(())
}

fn a_gateway_answers_and_routes_only_what_is_allowed() -> TestResult {
    let daemon = Daemon::start()?;
    routed_bridge(&daemon, "a", &["10.1.0.1/24", "fd01::1/64"])?;
    routed_bridge(&daemon, "b", &["10.2.0.1/24", "fd02::1/64"])?;
    let one =
        container(&daemon, "one", "a", &["10.1.0.2/24", "fd01::2/64"], &["10.1.0.1", "fd01::1"])?;
    let two =
        container(&daemon, "two", "b", &["10.2.0.2/24", "fd02::2/64"], &["10.2.0.1", "fd02::1"])?;
    reaches(&one, "10.1.0.1")?;
    reaches(&one, "fd01::1")?;
    let silent = Duration::from_millis(500);
    for closed in ["10.2.0.2", "fd02::2"] {
        assert!(ping::is_silent(&one, closed.parse()?, silent)?, "closed by default");
    }
    let masquerade = NatRule::Masquerade(Masquerade::new("a".parse()?, "b".parse()?));
    let add = NatAdd { name: Some("v4".parse()?), rule: masquerade };
    daemon.change(Mutation::NatAdd(add))?;
    reaches(&one, "10.2.0.2")?;
    let is_open = !ping::is_silent(&one, "fd02::2".parse()?, silent)?;
    assert!(!is_open, "what is not masqueraded stays where it is");
    daemon.change(Mutation::NatDel(Named::new("v4".parse()?)))?;
    assert!(ping::is_silent(&one, "10.2.0.2".parse()?, silent)?, "closed again");
    daemon.change(Mutation::RouteAllow(Allowance { from: "a".parse()?, to: "b".parse()? }))?;
    reaches(&one, "10.2.0.2")?;
    reaches(&one, "fd02::2")?;
    assert!(ping::is_silent(&two, "10.1.0.2".parse()?, silent)?, "one way only");
    daemon.check_ledger()
}

/// Gateway and container inside, and gateway and container outside, by either version of IP.
const HIDDEN: [[&str; 4]; 2] = [
    ["10.1.0.1", "10.1.0.2", "192.0.2.1", "192.0.2.9"],
    ["fd01::1", "fd01::2", "2001:db8:9::1", "2001:db8:9::9"],
];

fn masquerading_hides_a_container_and_publishing_shows_it() -> TestResult {
    let daemon = Daemon::start()?;
    let of = |at: usize| [format!("{}/24", HIDDEN[0][at]), format!("{}/64", HIDDEN[1][at])];
    let [inside, inner, outside, world] = [0, 1, 2, 3].map(of);
    let [inside, inner, outside, world] =
        [&inside, &inner, &outside, &world].map(|[v4, v6]| [v4.as_str(), v6.as_str()]);
    routed_bridge(&daemon, "inside", &inside)?;
    routed_bridge(&daemon, "outside", &outside)?;
    let gateways = HIDDEN.map(|[gateway, ..]| gateway);
    let inner = container(&daemon, "inner", "inside", &inner, &gateways)?;
    let world = container(&daemon, "world", "outside", &world, &[])?;
    let masquerade = Masquerade::new("inside".parse()?, "outside".parse()?);
    let rule = NatRule::Masquerade(Masquerade { ipv6: true, ..masquerade });
    daemon.change(Mutation::NatAdd(NatAdd { name: None, rule }))?;
    for [gateway, own, external, far] in HIDDEN {
        is_hidden(&inner, (&world, far.parse()?), external.parse()?)?;
        let ends = (external.parse()?, gateway.parse()?);
        is_shown(&daemon, (&inner, own.parse()?), &world, ends)?;
    }
    daemon.check_ledger()
}

/// The world sees a container by the external address, and by its own port.
fn is_hidden(
    inner: &Container,
    (world, far): (&Container, IpAddr),
    external: IpAddr,
) -> TestResult {
    ping::ping(inner, far, &ping::Options::default())?;
    let (near, far) = Path::new(inner, world, far).tcp()?;
    assert_eq!(far.peer_addr()?, SocketAddr::new(external, near.local_addr()?.port()));
    Ok(())
}

/// A container is reached by its published port, by the world and by itself, whom it sees as its gateway.
fn is_shown(
    daemon: &Daemon,
    (inner, own): (&Container, IpAddr),
    world: &Container,
    (external, gateway): (IpAddr, IpAddr),
) -> TestResult {
    let (on, listening) = ("outside".parse()?, SocketAddr::new(own, 80));
    let forward = format!("8080:{listening}/tcp").parse()?;
    let rule = NatRule::Publish(Publish { on, forward, to: None, port: None });
    let name = if own.is_ipv4() { "web4" } else { "web6" };
    daemon.change(Mutation::NatAdd(NatAdd { name: Some(name.parse()?), rule }))?;
    let listener: TcpListener = inner.run(|| TcpListener::bind(listening).map_err(io))?;
    let target = SocketAddr::new(external, 8080);
    let connect =
        |from: &Container| from.run(|| TcpStream::connect_timeout(&target, SOON).map_err(io));
    let client = connect(world)?;
    let (_, seen) = listener.accept()?;
    assert_eq!(seen, client.local_addr()?, "the client's address is kept");
    let _myself = connect(inner)?;
    let (_, seen) = listener.accept()?;
    assert_eq!(seen.ip(), gateway, "a hairpin is translated");
    Ok(())
}

/// Two access ports in two VLANs, a trunk, and the world.
fn vlans_of_a_bridge_are_routed_as_bridges_are() -> TestResult {
    let daemon = Daemon::start()?;
    routed_bridge(&daemon, "world", &["192.0.2.1/24"])?;
    for (name, vlan, gateway) in [("staff", 20, "10.0.20.1/24"), ("voice", 30, "10.0.30.1/24")] {
        let vlan_of = VlanOf { bridge: "br0".parse()?, vlan: VlanId::try_from(vlan)? };
        let add = BridgeAdd::new(name.parse()?);
        let gateways = vec![gateway.parse()?];
        let add = BridgeAdd { vlan_of: Some(vlan_of), gateways, ..add };
        daemon.change(Mutation::BridgeAdd(add))?;
    }
    let attach = |name, bridge, vlan, ip, gateway| {
        container_in(&daemon, name, (bridge, vlan), &[ip], &[gateway])
    };
    let access = |vlan| Ok::<_, ctl::BadName>(Vlan::Access(VlanId::try_from(vlan)?));
    let one = attach("one", "br0", access(20)?, "10.0.20.2/24", "10.0.20.1")?;
    let two = attach("two", "br0", access(30)?, "10.0.30.2/24", "10.0.30.1")?;
    let far = attach("far", "world", Vlan::Unaware, "192.0.2.9/24", "192.0.2.1")?;
    reaches(&one, "10.0.20.1")?;
    let silent = Duration::from_millis(500);
    assert!(ping::is_silent(&one, "10.0.30.2".parse()?, silent)?, "closed by default");
    daemon
        .change(Mutation::RouteAllow(Allowance { from: "staff".parse()?, to: "voice".parse()? }))?;
    reaches(&one, "10.0.30.2")?;
    assert!(ping::is_silent(&two, "10.0.20.2".parse()?, silent)?, "one way only");
    let rule = NatRule::Masquerade(Masquerade::new("staff".parse()?, "world".parse()?));
    daemon.change(Mutation::NatAdd(NatAdd { name: None, rule }))?;
    is_hidden(&one, (&far, "192.0.2.9".parse()?), "192.0.2.1".parse()?)?;
    let trunk = Vlan::Trunk { allowed: "20,30".parse()?, native: Some(VlanId::try_from(30)?) };
    let phone = attach("phone", "br0", trunk, "10.0.30.3/24", "10.0.30.1")?;
    reaches(&phone, "10.0.30.1")?;
    reaches(&one, "10.0.30.3")?;
    daemon.check_ledger()
}

pub fn io(source: std::io::Error) -> netlab::LabError {
    netlab::LabError::Socket { operation: "connect through the switch", source }
}
