//! The shapes of networks, on a wire with neighbours: containers with MAC addresses of their own there, containers behind the
//! uplink's, and containers that are alone with their gateway.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ctl::response::EndpointInfo;
use ctl::{
    Backend, BridgeAdd, MacAddr, Mutation, NatAdd, NatRule, NetdevMode, NetworkConnect,
    NetworkCreate, PortKind, Publish, RouteAdd, Service, ServiceAdd, Shape,
};
use netlab::raw::RawSocket;
use netlab::topology::LinuxBridge;
use netlab::{Container, Need, Path, Test, TestResult, ping, test, transfer};

use crate::daemon::{Daemon, port};
use crate::explain::why;
use crate::routing::reaches;
use crate::services::talk;
use crate::uplink::{connect, listen};

/// Longer than an answer takes.
const SILENT: Duration = Duration::from_millis(500);
/// An address of the wire that nobody has.
const NOBODY: &str = "192.0.2.77";

pub fn tests() -> Vec<Test> {
    [
        test!(a_direct_container_is_a_station_of_the_wire),
        test!(a_direct_container_hears_and_says_only_what_is_its_own),
        test!(a_routed_container_is_behind_the_uplinks_mac_address),
        test!(nothing_but_routed_packets_crosses_between_the_wire_and_a_routed_container),
        test!(p2p_containers_reach_each_other_by_their_gateway_only),
        test!(p2p_containers_go_out_masqueraded),
        test!(a_p2p_container_is_reached_by_published_ports_and_services),
        test!(a_shape_refuses_what_does_not_go_with_it),
    ]
    .into_iter()
    .map(|test| test.needs(Need::Tun))
    .collect()
}

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

/// A wire with a neighbour, 192.0.2.9, and a router, 192.0.2.254, behind which is 198.51.100.1; and a host on it with a switch,
/// whose port on the wire is `eth1`.
struct Wire {
    daemon: Daemon,
    world: Container,
    router: Container,
    _segment: LinuxBridge,
    host: Container,
}

impl Wire {
    fn new() -> Fallible<Self> {
        let (segment, host) = (LinuxBridge::new()?, Container::new()?);
        let (world, router) = (Container::new()?, Container::new()?);
        segment.connect(&host, "eth1")?;
        let addresses = [["192.0.2.9/24", "2001:db8::9/64"], ["192.0.2.254/24", "2001:db8::fe/64"]];
        for (station, addresses) in [&world, &router].into_iter().zip(addresses) {
            segment.connect(station, "eth0")?;
            station.address("eth0", &addresses)?;
        }
        router.address("lo", &["198.51.100.1/32"])?;
        let daemon = Daemon::start_on(&host, &[])?;
        Ok(Self { daemon, world, router, _segment: segment, host })
    }

    /// Makes the host's interface a port of a bridge.
    fn plug(&self, bridge: &str) -> Fallible<()> {
        let kind =
            PortKind::Netdev { device: "eth1".parse()?, netns: None, mode: NetdevMode::Auto };
        self.daemon.add("up0", port(bridge, kind)?)
    }

    /// A bridge with an address on the wire, and its router as the way out.
    fn uplink(&self) -> Fallible<()> {
        let gateways = vec!["192.0.2.1/24".parse()?, "2001:db8::1/64".parse()?];
        let add = BridgeAdd { gateways, ..BridgeAdd::new("up".parse()?) };
        self.daemon.change(Mutation::BridgeAdd(add))?;
        self.plug("up")?;
        let (to, on) = ("default".parse()?, "up".parse()?);
        let route = RouteAdd { to, on, via: vec!["192.0.2.254".parse()?] };
        self.daemon.change(Mutation::RouteAdd(route))?;
        Ok(())
    }

    fn direct() -> Fallible<Self> {
        let wire = Self::new()?;
        let subnets = ["192.0.2.0/24", "2001:db8::/64"];
        let mut lan = shaped("lan", Shape::Direct, &subnets)?;
        lan.gateways = vec!["192.0.2.254".parse()?, "2001:db8::fe".parse()?];
        lan.ranges = vec!["192.0.2.64/29".parse()?, "2001:db8::d:0/112".parse()?];
        wire.daemon.change(Mutation::NetworkCreate(Box::new(lan)))?;
        wire.plug("lan")?;
        Ok(wire)
    }

    fn routed() -> Fallible<Self> {
        let wire = Self::new()?;
        wire.uplink()?;
        let subnets = ["192.0.2.128/26", "2001:db8::d:0/112"];
        let dmz = shaped("dmz", Shape::Routed, &subnets)?;
        wire.daemon.change(Mutation::NetworkCreate(Box::new(dmz)))?;
        Ok(wire)
    }

    fn p2p() -> Fallible<Self> {
        let wire = Self::new()?;
        wire.uplink()?;
        let pods = shaped("pods", Shape::P2p, &["10.1.0.0/24", "fd01::/64"])?;
        wire.daemon.change(Mutation::NetworkCreate(Box::new(pods)))?;
        Ok(wire)
    }

    fn join(&self, network: &str) -> Fallible<Joined> {
        let container = Container::new()?;
        let connect = NetworkConnect::new(network.parse()?, container.reference());
        let changed = self.daemon.change(Mutation::NetworkConnect(Box::new(connect)))?;
        container.await_ready("eth0")?;
        let endpoint = *changed.endpoint.ok_or("no endpoint in the answer")?;
        Ok(Joined { container, endpoint })
    }

    /// The station address of the wire's uplink.
    fn uplink_mac(&self) -> Fallible<MacAddr> {
        let bridges: Vec<ctl::response::BridgeInfo> = self.daemon.ask(ctl::Query::BridgeList)?;
        let up = bridges.into_iter().find(|bridge| bridge.name.as_str() == "up").ok_or("no up")?;
        Ok(up.settings.router_mac(&up.name))
    }
}

fn shaped(name: &str, shape: Shape, subnets: &[&str]) -> Fallible<NetworkCreate> {
    let subnets = subnets.iter().map(|cidr| cidr.parse()).collect::<Result<_, _>>()?;
    let mut create = NetworkCreate { subnets, ..NetworkCreate::new(name.parse()?) };
    create.settings.shape = shape;
    Ok(create)
}

/// A container on a network.
struct Joined {
    container: Container,
    endpoint: EndpointInfo,
}

impl Joined {
    fn ip(&self) -> IpAddr {
        self.endpoint.addresses[0].address.addr
    }

    fn addresses(&self) -> Vec<String> {
        self.endpoint.addresses.iter().map(|has| has.address.to_string()).collect()
    }

    fn mac(&self) -> Fallible<MacAddr> {
        Ok(MacAddr(self.container.link("eth0")?.mac.ok_or("no MAC address")?))
    }

    fn ears(&self) -> Fallible<RawSocket> {
        Ok(RawSocket::open(&self.container, "eth0")?)
    }
}

fn source(frame: &[u8]) -> MacAddr {
    let mut mac = [0; 6];
    mac.copy_from_slice(&frame[6..12]);
    MacAddr(mac)
}

fn is_group(frame: &[u8]) -> bool {
    frame[0] & 1 == 1
}

/// A frame with a payload that only this test sends.
fn frame(to: MacAddr, from: MacAddr) -> Vec<u8> {
    [&to.0[..], &from.0, &[0x88, 0xb5], &[0x5a; 46]].concat()
}

fn is_ours(frame: &[u8]) -> bool {
    frame[12..14] == [0x88, 0xb5]
}

const EVERYBODY: MacAddr = MacAddr([0xff; 6]);
/// A station that is nowhere.
const STRANGER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x99]);

/// The question of a station for an address.
fn arp_question(mac: MacAddr, sender: IpAddr, target: IpAddr) -> Fallible<Vec<u8>> {
    let (IpAddr::V4(sender), IpAddr::V4(target)) = (sender, target) else {
        return Err("ARP is IPv4's".into());
    };
    let head: &[u8] = &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1];
    let link = [&EVERYBODY.0[..], &mac.0, head].concat();
    let body = [&mac.0[..], &sender.octets(), &[0; 6], &target.octets()].concat();
    Ok([link, body].concat())
}

/// Whether a frame is the answer to it, with the MAC address that it gives.
fn arp_answer(frame: &[u8], target: IpAddr) -> Option<MacAddr> {
    let sender = <[u8; 4]>::try_from(frame.get(28..32)?).ok().map(Ipv4Addr::from)?;
    let is_answer = frame[12..14] == [8, 6] && frame[20..22] == [0, 2] && target == sender;
    is_answer.then(|| source(frame))
}

fn a_direct_container_is_a_station_of_the_wire() -> TestResult {
    let wire = Wire::direct()?;
    let (one, two) = (wire.join("lan")?, wire.join("lan")?);
    assert_eq!(one.addresses(), ["192.0.2.64/24", "2001:db8::d:0/64"]);
    assert_eq!(one.endpoint.default_gateways[0], "192.0.2.254".parse::<IpAddr>()?);
    let unknown = why(&wire.daemon, &format!("{} 192.0.2.9 tcp 80", one.ip()))?.sentence;
    assert!(unknown.starts_with("it is not known yet whether"), "{unknown}");
    let heard = RawSocket::open(&wire.world, "eth0")?;
    reaches(&one.container, "192.0.2.9")?;
    reaches(&wire.world, &two.ip().to_string())?;
    reaches(&one.container, &two.ip().to_string())?;
    reaches(&one.container, "198.51.100.1")?;
    reaches(&one.container, "2001:db8::9")?;
    reaches(&wire.world, "2001:db8::d:1")?;
    let (own, its) = (one.mac()?, two.mac()?);
    for mac in [own, its] {
        let is_it = |frame: &[u8]| frame[12..14] == [8, 0] && source(frame) == mac;
        assert!(heard.receive(SILENT, is_it)?.is_some(), "{mac} is a station of the wire");
        reaches(&wire.world, &two.ip().to_string())?;
    }
    let (_near, far) = Path::new(&one.container, &wire.router, [192, 0, 2, 254]).tcp()?;
    assert_eq!(far.peer_addr()?.ip(), one.ip(), "nothing is translated");
    transfer::tcp(&Path::new(&wire.world, &one.container, one.ip()), 1 << 20, 1)?;
    wire.daemon.check_ledger()
}

fn a_direct_container_hears_and_says_only_what_is_its_own() -> TestResult {
    let wire = Wire::direct()?;
    let (one, two) = (wire.join("lan")?, wire.join("lan")?);
    let (heard, ears) = (RawSocket::open(&wire.world, "eth0")?, two.ears()?);
    // To nobody's station, then to everybody: only the second is for a container.
    let from = MacAddr(wire.world.link("eth0")?.mac.ok_or("no MAC address")?);
    heard.send(&frame(STRANGER, from))?;
    heard.send(&frame(EVERYBODY, from))?;
    let first = ears.receive(SILENT, is_ours)?.ok_or("broadcasts are the wire's too")?;
    assert!(is_group(&first.bytes), "what is for nobody here does not come here");
    // As somebody else, then as itself.
    let (mouth, own) = (one.ears()?, one.mac()?);
    mouth.send(&frame(EVERYBODY, STRANGER))?;
    mouth.send(&frame(EVERYBODY, own))?;
    let first = heard.receive(SILENT, is_ours)?.ok_or("it is a station of the wire")?;
    assert_eq!(source(&first.bytes), own);
    wire.daemon.check_ledger()
}

fn a_routed_container_is_behind_the_uplinks_mac_address() -> TestResult {
    let wire = Wire::routed()?;
    let (one, two) = (wire.join("dmz")?, wire.join("dmz")?);
    assert_eq!(one.addresses(), ["192.0.2.130/32", "2001:db8::d:2/128"]);
    let heard = RawSocket::open(&wire.world, "eth0")?;
    // The wire's neighbour takes it to be on its own link, and is told nothing else.
    for container in [&one, &two] {
        reaches(&wire.world, &container.ip().to_string())?;
        reaches(&container.container, "192.0.2.9")?;
        reaches(&container.container, "192.0.2.254")?;
    }
    reaches(&one.container, &two.ip().to_string())?;
    reaches(&one.container, "2001:db8::d:3")?;
    reaches(&one.container, "2001:db8::9")?;
    reaches(&wire.world, "2001:db8::d:3")?;
    let (_near, far) = Path::new(&one.container, &wire.world, [192, 0, 2, 9]).tcp()?;
    assert_eq!(far.peer_addr()?.ip(), one.ip(), "nothing is translated");
    transfer::tcp(&Path::new(&wire.world, &two.container, two.ip()), 1 << 20, 1)?;
    for (from, to) in
        [(one.ip().to_string(), "192.0.2.9"), ("192.0.2.9".to_owned(), &*two.ip().to_string())]
    {
        let both = why(&wire.daemon, &format!("{from} {to} tcp 80"))?;
        assert!(both.reaches, "the uplink answers for containers: {both:?}");
    }
    let (own, its) = (one.mac()?, two.mac()?);
    let (mut from_uplink, uplink) = (0, wire.uplink_mac()?);
    for frame in heard.drain(|_| true)? {
        let source = source(&frame.bytes);
        assert!(source != own && source != its, "no MAC address of a container is seen");
        from_uplink += usize::from(source == uplink);
    }
    assert!(from_uplink > 0);
    wire.daemon.check_ledger()
}

fn nothing_but_routed_packets_crosses_between_the_wire_and_a_routed_container() -> TestResult {
    let wire = Wire::routed()?;
    let (one, two) = (wire.join("dmz")?, wire.join("dmz")?);
    let world = RawSocket::open(&wire.world, "eth0")?;
    let (mouth, ears) = (one.ears()?, two.ears()?);
    // Broadcasts, questions for addresses, and frames past the gateway; of the wire, and of a neighbour.
    let from = MacAddr(wire.world.link("eth0")?.mac.ok_or("no MAC address")?);
    world.send(&frame(EVERYBODY, from))?;
    world.send(&frame(two.mac()?, from))?;
    world.send(&arp_question(from, "192.0.2.9".parse()?, NOBODY.parse()?)?)?;
    mouth.send(&frame(EVERYBODY, one.mac()?))?;
    mouth.send(&frame(two.mac()?, one.mac()?))?;
    mouth.send(&arp_question(one.mac()?, one.ip(), NOBODY.parse()?)?)?;
    assert!(ping::is_silent(&one.container, NOBODY.parse()?, SILENT)?);
    // What comes after all of it: so all of it has been dealt with.
    reaches(&wire.world, &two.ip().to_string())?;
    reaches(&one.container, &two.ip().to_string())?;
    let leaked = ears.drain(|frame| is_group(frame) || is_ours(frame))?;
    assert!(leaked.is_empty(), "a neighbour hears {leaked:02x?}");
    let own = one.mac()?;
    let leaked = world.drain(|frame| is_ours(frame) || source(frame) == own)?;
    assert!(leaked.is_empty(), "the wire hears {leaked:02x?}");
    // Nobody answers for an address that is not given out.
    world.send(&arp_question(from, "192.0.2.9".parse()?, "192.0.2.180".parse()?)?)?;
    let answered = |frame: &[u8]| arp_answer(frame, [192, 0, 2, 180].into()).is_some();
    assert!(world.receive(SILENT, answered)?.is_none());
    wire.daemon.check_ledger()
}

fn p2p_containers_reach_each_other_by_their_gateway_only() -> TestResult {
    let wire = Wire::p2p()?;
    let (one, two) = (wire.join("pods")?, wire.join("pods")?);
    assert_eq!(one.addresses(), ["10.1.0.2/32", "fd01::2/128"]);
    let ears = two.ears()?;
    for ip in ["10.1.0.1", "10.1.0.3", "fd01::1", "fd01::3"] {
        reaches(&one.container, ip)?;
    }
    transfer::tcp(&Path::new(&one.container, &two.container, two.ip()), 1 << 20, 1)?;
    // Who asks for the other is told the gateway's MAC address, and the other does not hear it.
    let mouth = one.ears()?;
    mouth.send(&arp_question(one.mac()?, one.ip(), two.ip())?)?;
    let other = two.ip();
    let answer = mouth.receive(SILENT, |frame| arp_answer(frame, other).is_some())?;
    let answer = answer.and_then(|frame| arp_answer(&frame.bytes, other)).ok_or("no answer")?;
    assert!(answer != two.mac()?, "the gateway stands in for it");
    mouth.send(&frame(EVERYBODY, one.mac()?))?;
    mouth.send(&frame(two.mac()?, one.mac()?))?;
    let nobody = "10.1.0.99".parse()?;
    assert!(ping::is_silent(&one.container, nobody, SILENT)?, "its address is nobody's");
    reaches(&one.container, "10.1.0.3")?;
    let own = two.mac()?;
    let leaked = ears.drain(|frame| frame[..6] != own.0 || source(frame) != answer)?;
    assert!(leaked.is_empty(), "it hears its gateway only, not {leaked:02x?}");
    wire.daemon.check_ledger()
}

fn p2p_containers_go_out_masqueraded() -> TestResult {
    let wire = Wire::p2p()?;
    let one = wire.join("pods")?;
    let (_near, far) = Path::new(&one.container, &wire.world, [192, 0, 2, 9]).tcp()?;
    assert_eq!(far.peer_addr()?.ip(), "192.0.2.1".parse::<IpAddr>()?);
    assert!(ping::is_silent(&wire.world, one.ip(), SILENT)?);
    wire.daemon.check_ledger()
}

fn a_p2p_container_is_reached_by_published_ports_and_services() -> TestResult {
    let wire = Wire::p2p()?;
    let (one, two) = (wire.join("pods")?, wire.join("pods")?);
    let publish = |on: &str, forward: &str| -> TestResult {
        let (on, forward) = (on.parse()?, forward.parse()?);
        let rule = NatRule::Publish(Publish { on, forward, to: None, port: None });
        wire.daemon.change(Mutation::NatAdd(NatAdd { name: None, rule }))?;
        Ok(())
    };
    publish("up", "8080:10.1.0.2:80")?;
    publish("up", "8080:[fd01::2]:80")?;
    publish("pods", "127.0.0.1:9000:10.1.0.2:80")?;
    let backends = vec![Backend { at: "10.1.0.2:80".parse()?, draining: false }];
    let service = Service { backends, ..Service::new("10.96.0.10:80/tcp".parse()?) };
    let add = ServiceAdd { name: "web".parse()?, service };
    wire.daemon.change(Mutation::ServiceAdd(Box::new(add)))?;
    let listener = listen(&one.container, "[::]:80".parse()?)?;
    // From outside, from the next container, from itself, and from a program of the host.
    for (client, at, seen) in [
        (&wire.world, "192.0.2.1:8080", "192.0.2.9"),
        (&wire.world, "[2001:db8::1]:8080", "2001:db8::9"),
        (&two.container, "192.0.2.1:8080", "10.1.0.1"),
        (&two.container, "10.96.0.10:80", "10.1.0.1"),
        (&one.container, "10.96.0.10:80", "10.1.0.1"),
        (&wire.host, "127.0.0.1:9000", "10.1.0.1"),
    ] {
        let mut near = connect(client, at.parse()?)?.map_err(|error| format!("{at}: {error}"))?;
        let (mut far, from) = listener.accept()?;
        assert_eq!(from.ip().to_canonical(), seen.parse::<IpAddr>()?, "{at}");
        talk(&mut near, &mut far)?;
        talk(&mut far, &mut near)?;
    }
    wire.daemon.check_ledger()
}

fn a_shape_refuses_what_does_not_go_with_it() -> TestResult {
    let wire = Wire::p2p()?;
    let refused = |change: &dyn Fn(&mut NetworkCreate), shape, word: &str| -> TestResult {
        let mut create = shaped("n", shape, &["10.9.0.0/24"])?;
        change(&mut create);
        let error = match wire.daemon.change(Mutation::NetworkCreate(Box::new(create))) {
            Err(error) => error.to_string(),
            Ok(changed) => return Err(format!("{changed:?}").into()),
        };
        assert!(error.contains(word), "{error}");
        Ok(())
    };
    refused(&|create| create.settings.isolated = true, Shape::P2p, "flow add")?;
    refused(&|create| create.no_gateway = true, Shape::Routed, "--no-gateway")?;
    refused(&|create| create.settings.internal = true, Shape::Routed, "--p2p")?;
    refused(&|create| create.subnets.clear(), Shape::Direct, "--subnet")?;
    let other = shaped("pods", Shape::Bridged, &[])?;
    assert!(wire.daemon.change(Mutation::NetworkCreate(Box::new(other))).is_err());
    Ok(())
}
