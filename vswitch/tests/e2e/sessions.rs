//! Sessions, neighbours and what gateways say: what can be asked about them, and that they end with what they depend
//! on.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use ctl::response::{ConnInfo, ConnPage, NatInfo, NeighborInfo, NeighborState, Routes, TopInfo};
use ctl::{
    Advertise, Allowance, Attach, BridgeAdd, BridgeSet, ConnFilter, ConnList, ConnShow, ConnState,
    ConnTop, Detach, FdbFilter, IfName, Masquerade, Mutation, Named, NatAdd, NatRule, NeighborAdd,
    NeighborFilter, NeighborKey, NetdevMode, PortKind, Publish, Query, StaticNeighbor, Vlan,
};
use hostnet::Interface;
use netlab::raw::RawSocket;
use netlab::{Container, LabError, Need, Path, Test, TestResult, ping, test, topology};

use crate::daemon::{Daemon, eventually, port, within};
use crate::routing::{container, reaches, routed_bridge};
use crate::rules::drops;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

pub fn tests() -> Vec<Test> {
    [
        test!(a_masqueraded_connection_is_listed_with_both_its_tuples),
        test!(a_connection_outlives_changes_that_do_not_concern_it),
        test!(removing_a_nat_rule_ends_its_sessions_at_once),
        test!(denying_a_route_ends_the_sessions_that_took_it),
        test!(a_detached_container_takes_its_sessions_and_neighbours_along),
        test!(a_device_that_goes_takes_the_sessions_of_who_was_behind_it_along),
        test!(a_device_that_goes_takes_the_sessions_within_its_bridge_along),
        test!(a_container_with_another_address_loses_the_sessions_of_the_old_one),
        test!(flushing_ends_only_the_sessions_that_are_meant),
        test!(neighbours_are_shown_entered_and_forgotten),
        test!(a_published_port_is_never_claimed_by_masquerading),
        test!(a_router_advertisement_gives_a_container_an_address),
        test!(a_gateway_with_a_new_address_on_the_link_says_so),
        test!(a_translated_prefix_is_seen_outside_and_leads_back),
    ]
    .into_iter()
    .map(|test| test.needs(Need::Tun))
    .collect()
}

/// A daemon with an inside and an outside that hides it, and a container on each: 10.1.0.2 and 192.0.2.9.
struct Scene {
    daemon: Daemon,
    inner: Container,
    world: Container,
}

impl Scene {
    fn new() -> Outcome<Self> {
        let daemon = Daemon::start()?;
        routed_bridge(&daemon, "inside", &["10.1.0.1/24"])?;
        routed_bridge(&daemon, "outside", &["192.0.2.1/24"])?;
        let inner = container(&daemon, "inner", "inside", &["10.1.0.2/24"], &["10.1.0.1"])?;
        let world = container(&daemon, "world", "outside", &["192.0.2.9/24"], &["192.0.2.1"])?;
        Ok(Self { daemon, inner, world })
    }

    fn masqueraded() -> Outcome<Self> {
        let scene = Self::new()?;
        let rule = NatRule::Masquerade(Masquerade::new("inside".parse()?, "outside".parse()?));
        scene.daemon.change(Mutation::NatAdd(NatAdd { name: None, rule }))?;
        Ok(scene)
    }

    /// A connection from the inside to the outside.
    fn connect(&self) -> Outcome<(TcpStream, TcpStream)> {
        Ok(Path::new(&self.inner, &self.world, ip("192.0.2.9")?).tcp()?)
    }

    fn publish(&self, forward: &str) -> TestResult {
        let on = "outside".parse()?;
        let rule =
            NatRule::Publish(Publish { on, forward: forward.parse()?, to: None, port: None });
        self.daemon.change(Mutation::NatAdd(NatAdd { name: None, rule }))?;
        Ok(())
    }
}

fn ip(text: &str) -> Outcome<IpAddr> {
    Ok(text.parse()?)
}

pub fn tcp_only() -> ConnFilter {
    ConnFilter { protocol: Some(ctl::Protocol::Tcp), ..ConnFilter::default() }
}

pub fn sessions(daemon: &Daemon, filter: ConnFilter) -> Outcome<Vec<ConnInfo>> {
    let list = ConnList { filter, ..ConnList::default() };
    Ok(daemon.ask::<ConnPage>(Query::ConnList(list))?.sessions)
}

fn neighbors(daemon: &Daemon) -> Outcome<Vec<NeighborInfo>> {
    Ok(daemon.ask(Query::NeighborShow(NeighborFilter::default()))?)
}

/// Sends something along a connection that stands, and hears it.
fn talk(from: &mut TcpStream, to: &mut TcpStream) -> TestResult {
    let mut heard = [0; 5];
    from.write_all(b"hello")?;
    to.read_exact(&mut heard)?;
    assert_eq!(&heard, b"hello");
    Ok(())
}

/// Waits until all that was said is acknowledged. What is not is said again, which begins a session anew.
fn comes_to_rest(container: &Container, said: &TcpStream) -> TestResult {
    let port = format!(":{:04X} ", said.local_addr()?.port());
    let failed = |source| LabError::Socket { operation: "list connections", source };
    let list = || std::fs::read_to_string("/proc/thread-self/net/tcp").map_err(failed);
    // Established (01), and nothing in the queue to send.
    let rests = |line: &str| line.contains(&port) && line.contains(" 01 00000000:");
    Ok(eventually("all is acknowledged", || {
        container.run(list).is_ok_and(|connections| connections.lines().any(rests))
    })?)
}

/// What the outside sends comes in no more.
fn is_cut(from: &mut TcpStream, to: &mut TcpStream) -> TestResult {
    from.write_all(b"hello")?;
    to.set_read_timeout(Some(Duration::from_millis(700)))?;
    match to.read(&mut [0; 5]) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(()),
        other => Err(format!("something came of a connection that was cut: {other:?}").into()),
    }
}

fn a_masqueraded_connection_is_listed_with_both_its_tuples() -> TestResult {
    let scene = Scene::masqueraded()?;
    let daemon = &scene.daemon;
    let (mut near, mut far) = scene.connect()?;
    talk(&mut near, &mut far)?;
    talk(&mut far, &mut near)?;
    let sessions = sessions(daemon, tcp_only())?;
    let [session] = sessions.as_slice() else { return Err(format!("{sessions:?}").into()) };
    assert_eq!(session.initiator.source, near.local_addr()?);
    assert_eq!(session.initiator.destination, near.peer_addr()?);
    assert_eq!(session.responder.source, far.local_addr()?);
    assert_eq!(session.responder.destination, far.peer_addr()?);
    assert_eq!((session.bridge.as_str(), session.responder_bridge.as_str()), ("inside", "outside"));
    assert_eq!(
        (session.state, session.tcp.as_deref()),
        (ConnState::Established, Some("ESTABLISHED"))
    );
    assert!(session.sent.packets >= 3 && session.received.packets >= 2, "{session:?}");
    assert!(session.expires_seconds > 7000, "{session:?}");
    let rule = session.rule.clone().ok_or("no rule")?;
    for tuple in [session.initiator, session.responder] {
        let shown: ConnInfo = daemon.ask(Query::ConnShow(ConnShow { tuple, bridge: None }))?;
        assert_eq!(shown.initiator, session.initiator);
    }
    let rules: Vec<NatInfo> = daemon.ask(Query::NatList)?;
    let [info] = rules.as_slice() else { return Err(format!("{rules:?}").into()) };
    assert_eq!((&info.name, info.sessions, info.mappings, info.begun), (&rule, 1, 1, 1));
    let top: Vec<TopInfo> = daemon
        .ask(Query::ConnTop(ConnTop { filter: tcp_only(), ..serde_json::from_str("{}")? }))?;
    let [talker] = top.as_slice() else { return Err(format!("{top:?}").into()) };
    assert_eq!((talker.address, talker.sessions, talker.mappings), (ip("10.1.0.2")?, 1, 1));
    let status: ctl::response::Status = daemon.ask(Query::Status)?;
    let gauge = status.tables.iter().find(|table| table.name == "mappings");
    assert_eq!(gauge.map(|gauge| gauge.used), Some(1));
    let routes: Routes = daemon.ask(Query::RouteList)?;
    assert!(routes.routes.iter().any(|route| route.to.to_string() == "10.1.0.0/24"), "{routes:?}");
    daemon.check_ledger()
}

fn a_connection_outlives_changes_that_do_not_concern_it() -> TestResult {
    let scene = Scene::masqueraded()?;
    let (mut near, mut far) = scene.connect()?;
    routed_bridge(&scene.daemon, "other", &["10.9.0.1/24"])?;
    let _third = container(&scene.daemon, "third", "other", &["10.9.0.2/24"], &[])?;
    scene.daemon.change(Mutation::BridgeDel(Named::new("br0".parse()?)))?;
    scene.publish("8080:10.1.0.2:80/tcp")?;
    talk(&mut near, &mut far)?;
    talk(&mut far, &mut near)?;
    let rules: Vec<NatInfo> = scene.daemon.ask(Query::NatList)?;
    let mappings: u64 = rules.iter().map(|rule| rule.mappings).sum();
    assert_eq!(mappings, 1, "it has kept its port: {rules:?}");
    scene.daemon.check_ledger()
}

fn removing_a_nat_rule_ends_its_sessions_at_once() -> TestResult {
    let scene = Scene::masqueraded()?;
    let (mut near, mut far) = scene.connect()?;
    talk(&mut far, &mut near)?;
    let rules: Vec<NatInfo> = scene.daemon.ask(Query::NatList)?;
    let name = rules.first().ok_or("no rule")?.name.clone();
    scene.daemon.change(Mutation::NatDel(Named::new(name)))?;
    assert_eq!(sessions(&scene.daemon, ConnFilter::default())?, []);
    is_cut(&mut far, &mut near)?;
    let status: ctl::response::Status = scene.daemon.ask(Query::Status)?;
    assert!(status.tables.iter().all(|table| table.name != "mappings" || table.used == 0));
    scene.daemon.check_ledger()
}

fn denying_a_route_ends_the_sessions_that_took_it() -> TestResult {
    let scene = Scene::new()?;
    let allowance = Allowance { from: "inside".parse()?, to: "outside".parse()? };
    scene.daemon.change(Mutation::RouteAllow(allowance.clone()))?;
    let (mut near, mut far) = scene.connect()?;
    talk(&mut far, &mut near)?;
    scene.daemon.change(Mutation::RouteDeny(allowance))?;
    assert_eq!(sessions(&scene.daemon, ConnFilter::default())?, []);
    is_cut(&mut far, &mut near)?;
    scene.daemon.check_ledger()
}

fn a_detached_container_takes_its_sessions_and_neighbours_along() -> TestResult {
    let scene = Scene::masqueraded()?;
    let guest = Container::new()?;
    let (netns, ifname) = (guest.reference(), IfName::default());
    let attach = Attach {
        netns: netns.clone(),
        bridge: "inside".parse()?,
        ifname: ifname.clone(),
        mac: None,
        ips: vec!["10.1.0.3/24".parse()?],
        gateways: vec![ip("10.1.0.1")?],
        mtu: None,
        vlan: Vlan::Unaware,
    };
    scene.daemon.change(Mutation::Attach(attach))?;
    let (_near, _far) = Path::new(&guest, &scene.world, ip("192.0.2.9")?).tcp()?;
    let (_stays, _with) = scene.connect()?;
    let own = || {
        let from = Some("10.1.0.3/32".parse().ok()?);
        sessions(&scene.daemon, ConnFilter { from, ..tcp_only() }).ok()
    };
    assert_eq!(own().map(|sessions| sessions.len()), Some(1));
    assert!(neighbors(&scene.daemon)?.iter().any(|known| known.ip.to_string() == "10.1.0.3"));
    scene.daemon.change(Mutation::Detach(Detach { netns, ifname }))?;
    assert_eq!(own(), Some(Vec::new()));
    assert!(neighbors(&scene.daemon)?.iter().all(|known| known.ip.to_string() != "10.1.0.3"));
    assert_eq!(sessions(&scene.daemon, tcp_only())?.len(), 1, "the other's stays");
    scene.daemon.check_ledger()
}

/// A container whose interface is connected to a device that is a port of the bridge inside: what addresses are behind it
/// nobody told the switch.
struct Guest {
    container: Container,
    /// Where the device is.
    place: Container,
}

impl Guest {
    fn new(daemon: &Daemon, name: &str, address: &str) -> Outcome<Self> {
        let (container, place) = (Container::new()?, Container::new()?);
        topology::veth(&place, "v0", &container, "eth0")?;
        let (ips, gateways) = ([address.parse()?], [ip("10.1.0.1")?]);
        let wanted = Interface { ips: &ips, gateways: &gateways, ..Interface::default() };
        container.configure("eth0", &wanted)?;
        let (device, netns) = ("v0".parse()?, Some(place.reference()));
        let kind = PortKind::Netdev { device, netns, mode: NetdevMode::Gso };
        daemon.add(name, port("inside", kind)?)?;
        Ok(Self { container, place })
    }

    fn delete_device(&self) -> TestResult {
        let netlink = self.place.netlink()?;
        Ok(netlink.delete_link(netlink.link("v0")?.index)?)
    }
}

/// Forgets all stations and neighbours, as silence would do.
fn forget_stations(daemon: &Daemon) -> TestResult {
    daemon.change(Mutation::FdbFlush(FdbFilter::default()))?;
    daemon.change(Mutation::NeighborFlush(NeighborFilter::default()))?;
    Ok(())
}

fn a_device_that_goes_takes_the_sessions_of_who_was_behind_it_along() -> TestResult {
    let scene = Scene::masqueraded()?;
    let _stays = scene.connect()?;
    let number = || sessions(&scene.daemon, tcp_only()).map(|sessions| sessions.len());
    let removed = Guest::new(&scene.daemon, "removed", "10.1.0.3/24")?;
    let lost = Guest::new(&scene.daemon, "lost", "10.1.0.4/24")?;
    scene.publish("8080:10.1.0.4:80/tcp")?;
    let _begun = Path::new(&removed.container, &scene.world, ip("192.0.2.9")?).tcp()?;
    let server = lost.container.run(|| TcpListener::bind("10.1.0.4:80").map_err(io))?;
    let _answered = scene.world.run(|| TcpStream::connect("192.0.2.1:8080").map_err(io))?;
    drop(server);
    assert_eq!(number()?, 3);
    forget_stations(&scene.daemon)?;
    let name = "removed".parse()?;
    scene.daemon.change(Mutation::PortDel(Named { name, if_exists: false }))?;
    assert_eq!(number()?, 2, "the session of the port that was removed");
    lost.delete_device()?;
    eventually("the session goes with its device", || number().is_ok_and(|number| number == 1))?;
    scene.daemon.check_ledger()
}

fn a_device_that_goes_takes_the_sessions_within_its_bridge_along() -> TestResult {
    let scene = Scene::new()?;
    scene.daemon.change(Mutation::FlowAdd(Box::new("10 tcp allow".parse()?)))?;
    let number = || sessions(&scene.daemon, tcp_only()).map(|sessions| sessions.len());
    let guest = Guest::new(&scene.daemon, "guest", "10.1.0.3/24")?;
    let other = Guest::new(&scene.daemon, "other", "10.1.0.4/24")?;
    let _begun = Path::new(&guest.container, &scene.inner, ip("10.1.0.2")?).tcp()?;
    let _answered = Path::new(&scene.inner, &guest.container, ip("10.1.0.3")?).tcp()?;
    let _stays = Path::new(&scene.inner, &other.container, ip("10.1.0.4")?).tcp()?;
    assert_eq!(number()?, 3);
    guest.delete_device()?;
    eventually("the sessions go with their device", || number().is_ok_and(|number| number == 1))?;
    scene.daemon.check_ledger()
}

fn a_container_with_another_address_loses_the_sessions_of_the_old_one() -> TestResult {
    let scene = Scene::masqueraded()?;
    let port = "inner".parse::<ctl::PortName>()?;
    let set = |ips: &[&str], gateways: &[&str]| -> Outcome<Mutation> {
        let ips = ips.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        let gateways = gateways.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        let (ips, gateways) = (Some(ips), Some(gateways));
        Ok(Mutation::PortSet(ctl::PortSet { ips, gateways, ..ctl::PortSet::new(port.clone()) }))
    };
    scene.daemon.change(set(&["10.1.0.2/24", "10.1.0.9/24"], &["10.1.0.1"])?)?;
    let (mut near, mut far) = scene.connect()?;
    talk(&mut near, &mut far)?;
    assert_eq!(sessions(&scene.daemon, tcp_only())?.len(), 1, "an address more hurts nobody");
    scene.daemon.change(set(&["10.1.0.7/24"], &["10.1.0.1"])?)?;
    assert_eq!(sessions(&scene.daemon, ConnFilter::default())?, []);
    let known = neighbors(&scene.daemon)?;
    assert!(known.iter().all(|known| known.ip.to_string() != "10.1.0.2"), "{known:?}");
    // Another container, and the world, reach the new one only; and its way out goes on.
    let peer = container(&scene.daemon, "peer", "inside", &["10.1.0.8/24"], &["10.1.0.1"])?;
    reaches(&peer, "10.1.0.7")?;
    reaches(&scene.inner, "192.0.2.9")?;
    assert!(ping::is_silent(&peer, ip("10.1.0.2")?, Duration::from_millis(300))?);
    let refused = scene.daemon.change(set(&["10.1.0.1/24"], &[])?);
    assert!(refused.is_err(), "the gateway's own address");
    reaches(&peer, "10.1.0.7")?;
    scene.daemon.check_ledger()
}

fn flushing_ends_only_the_sessions_that_are_meant() -> TestResult {
    let scene = Scene::masqueraded()?;
    reaches(&scene.inner, "192.0.2.9")?;
    let (mut near, mut far) = scene.connect()?;
    let icmp = ConnFilter { protocol: Some(ctl::Protocol::Icmp), ..ConnFilter::default() };
    let pings = sessions(&scene.daemon, icmp.clone())?.len();
    assert!(pings > 0);
    let elsewhere = ConnFilter { to: Some("10.0.0.0/8".parse()?), ..ConnFilter::default() };
    let flush = |filter| scene.daemon.change(Mutation::ConnFlush(filter));
    assert_eq!(flush(elsewhere)?.removed, Some(0));
    assert_eq!(flush(icmp.clone())?.removed, Some(pings));
    assert_eq!(sessions(&scene.daemon, icmp)?, []);
    talk(&mut near, &mut far)?;
    comes_to_rest(&scene.inner, &near)?;
    let established = Some(ConnState::Established);
    let tcp = ConnFilter { state: established, port: Some(far.local_addr()?.port()), ..tcp_only() };
    assert_eq!(flush(tcp)?.removed, Some(1));
    is_cut(&mut far, &mut near)?;
    scene.daemon.check_ledger()
}

fn neighbours_are_shown_entered_and_forgotten() -> TestResult {
    let scene = Scene::masqueraded()?;
    reaches(&scene.inner, "192.0.2.9")?;
    let world = scene.world.link("eth0")?.mac.ok_or("no address")?;
    let of = |text: &str| -> Outcome<Option<NeighborInfo>> {
        let wanted = ip(text)?;
        Ok(neighbors(&scene.daemon)?.into_iter().find(|known| known.ip == wanted))
    };
    let known = of("192.0.2.9")?.ok_or("not known")?;
    assert_eq!((known.bridge.as_str(), known.mac), ("outside", Some(ctl::MacAddr(world))));
    assert_eq!(known.state, NeighborState::Reachable);
    let neighbor = StaticNeighbor { ip: ip("192.0.2.77")?, mac: ctl::MacAddr(world) };
    let bridge: ctl::BridgeName = "outside".parse()?;
    let add = NeighborAdd { bridge: bridge.clone(), neighbor };
    scene.daemon.change(Mutation::NeighborAdd(add))?;
    scene.daemon.change(Mutation::NeighborFlush(NeighborFilter::default()))?;
    assert_eq!(of("192.0.2.9")?, None);
    assert_eq!(of("192.0.2.77")?.map(|known| known.state), Some(NeighborState::Static));
    let key = NeighborKey { bridge, ip: neighbor.ip };
    scene.daemon.change(Mutation::NeighborDel(key.clone()))?;
    assert_eq!(of("192.0.2.77")?, None);
    assert!(scene.daemon.change(Mutation::NeighborDel(key)).is_err(), "it is not known");
    scene.daemon.check_ledger()
}

fn a_published_port_is_never_claimed_by_masquerading() -> TestResult {
    let scene = Scene::masqueraded()?;
    scene.publish("8080:10.1.0.2:80/tcp")?;
    let listener = scene.world.run(|| std::net::TcpListener::bind("192.0.2.9:7000").map_err(io))?;
    let target: SocketAddr = "192.0.2.9:7000".parse()?;
    let _connected: TcpStream = scene.inner.run(|| connect_from(8080, target).map_err(io))?;
    let (_, seen) = listener.accept()?;
    assert_eq!(seen.ip(), ip("192.0.2.1")?);
    assert_ne!(seen.port(), 8080);
    scene.daemon.check_ledger()
}

fn a_router_advertisement_gives_a_container_an_address() -> TestResult {
    let daemon = Daemon::start()?;
    let advertise = Advertise { interval_seconds: 4, ..Advertise::default() };
    daemon.change(Mutation::BridgeAdd(BridgeAdd {
        gateways: vec!["fd01::1/64".parse()?],
        advertise: Some(advertise),
        ..BridgeAdd::new("lan".parse()?)
    }))?;
    let host = container(&daemon, "host", "lan", &[], &[])?;
    let mac = host.link("eth0")?.mac.ok_or("no address")?;
    let own = format!("fd01::{}", ctl_eui64(mac));
    let (netlink, index) = (host.netlink()?, host.link("eth0")?.index);
    let has_it = || {
        let all = netlink.addresses(index);
        all.is_ok_and(|all| all.iter().any(|cidr| cidr.addr.to_string() == own))
    };
    // Advertisements are three seconds apart at least (RFC 4861, section 6.2.6).
    let patience = Duration::from_secs(30);
    within(patience, "the container has an address of the prefix", has_it)?;
    reaches(&host, "fd01::1")?;
    let capture = RawSocket::open(&host, "eth0")?;
    let is_advertisement = |frame: &[u8]| frame.get(54) == Some(&134);
    capture.receive(Duration::from_secs(20), is_advertisement)?.ok_or("none without asking")?;
    daemon.check_ledger()
}

fn a_gateway_with_a_new_address_on_the_link_says_so() -> TestResult {
    let scene = Scene::new()?;
    reaches(&scene.inner, "10.1.0.1")?;
    let mac: ctl::MacAddr = "02:00:00:00:00:99".parse()?;
    let capture = RawSocket::open(&scene.inner, "eth0")?;
    let gateway_mac = Some(Some(mac));
    let set = BridgeSet { gateway_mac, ..BridgeSet::new("inside".parse()?) };
    scene.daemon.change(Mutation::BridgeSet(set))?;
    let is_announced =
        |frame: &[u8]| frame.get(12..14) == Some(&[8, 6]) && frame.get(22..28) == Some(&mac.0);
    capture.receive(Duration::from_secs(5), is_announced)?.ok_or("no announcement")?;
    reaches(&scene.inner, "10.1.0.1")?;
    scene.daemon.check_ledger()
}

fn a_translated_prefix_is_seen_outside_and_leads_back() -> TestResult {
    let daemon = Daemon::start()?;
    routed_bridge(&daemon, "inside", &["fd01:0:0:1::1/64"])?;
    routed_bridge(&daemon, "outside", &["2001:db8:9::1/64"])?;
    let (gateway, far) = ("2001:db8:9::1", "2001:db8:9::9");
    let inner = container(&daemon, "inner", "inside", &["fd01:0:0:1::2/64"], &["fd01:0:0:1::1"])?;
    let world = container(&daemon, "world", "outside", &[&format!("{far}/64")], &[gateway])?;
    let rule = NatRule::Prefix(ctl::PrefixTranslation {
        from: "inside".parse()?,
        to: "outside".parse()?,
        inside: "fd01::/48".parse()?,
        outside: "2001:db8:1::/48".parse()?,
    });
    daemon.change(Mutation::NatAdd(NatAdd { name: None, rule }))?;
    let (_near, far) = Path::new(&inner, &world, ip(far)?).tcp()?;
    let seen = far.peer_addr()?.ip();
    assert!(seen.to_string().starts_with("2001:db8:1:"), "{seen}");
    ping::ping(&world, seen, &ping::Options::default())?;
    // An address of another prefix does not get out by the rule, and its owner hears of it: "source address failed policy"
    // (RFC 4443 section 3.1).
    inner.address("eth0", &["fd02::2/64"])?;
    let capture = RawSocket::open(&inner, "eth0")?;
    let send = || UdpSocket::bind("[fd02::2]:0")?.send_to(b"?", "[2001:db8:9::9]:9");
    inner.run(|| send().map_err(io))?;
    let is_told = |frame: &[u8]| {
        (frame.get(12..14), frame.get(20), frame.get(54..56))
            == (Some(&[0x86, 0xdd]), Some(&58), Some(&[1, 5]))
    };
    capture.receive(netlab::PATIENCE, is_told)?.ok_or("its owner is not told")?;
    assert_eq!(drops(&daemon, "no-external-address")?, 1);
    daemon.check_ledger()
}

/// Connects from a port of one's own choice.
fn connect_from(port: u16, target: SocketAddr) -> std::io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::from(([0, 0, 0, 0], port)))?;
    connect(&socket, &target)?;
    Ok(TcpStream::from(socket))
}

/// The interface identifier that a host makes of its MAC address (RFC 4291 appendix A), as text.
fn ctl_eui64([a, b, c, d, e, f]: [u8; 6]) -> String {
    let words = [[a ^ 2, b], [c, 0xff], [0xfe, d], [e, f]].map(u16::from_be_bytes);
    words.map(|word| format!("{word:x}")).join(":")
}

fn io(source: std::io::Error) -> netlab::LabError {
    netlab::LabError::Socket { operation: "connect through the switch", source }
}
