//! Datagrams that the router passes on and translates, carried by the kernel.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use ctl::response::FdbInfo;
use ctl::{
    Backend, ConnFilter, FdbFilter, Mutation, Named, NatRule, NatSet, PortSet, Protocol, Publish,
    Query, Service, ServiceAdd, ServiceBackends, TimeoutsSet,
};
use netlab::raw::RawSocket;
use netlab::{Container, Need, Test, TestResult, test};
use pktio::wire::checksum::{fold, sum};

use super::crossing::Crossing;
use super::laboratory::{Outcome, SOON};
use crate::daemon::eventually;
use crate::routing::io;

/// Datagrams of a burst, fewer than a socket's receive buffer holds.
const BURST: u64 = 100;
/// Bytes of Ethernet, IPv4 and UDP headers.
const HEADERS: u64 = 14 + 20 + 8;
const HELLO: &[u8] = b"datagram";

pub fn tests() -> Vec<Test> {
    [
        test!(routed_datagrams_are_carried_both_ways_and_counted),
        test!(masqueraded_datagrams_are_carried_both_ways_and_counted),
        test!(datagrams_of_ipv6_are_carried),
        test!(datagrams_to_a_published_port_are_carried),
        test!(datagrams_to_a_service_are_carried_until_its_backend_goes),
        test!(an_unanswered_stream_outlives_the_timeouts_of_its_session_and_its_neighbour),
        test!(a_session_that_is_flushed_is_not_carried_on),
        test!(a_rule_stops_routed_datagrams_before_it_is_acknowledged),
        test!(a_container_that_goes_gets_nothing_more),
        test!(a_neighbour_with_another_address_on_the_link_gets_what_is_for_it),
        test!(what_the_router_has_to_see_is_left_to_it),
        test!(a_session_goes_on_when_the_kernel_carries_it_no_more),
    ]
    .into_iter()
    .map(|test| test.needs(Need::Bpf).needs(Need::Tun))
    .collect()
}

/// A client and whom it talks to.
struct Talk {
    client: UdpSocket,
    server: UdpSocket,
    /// As whom the server knows the client.
    known_as: SocketAddr,
}

fn bound(container: &Container, at: &str) -> Outcome<UdpSocket> {
    let at: SocketAddr = at.parse()?;
    let socket = container.run(|| UdpSocket::bind(at).map_err(io))?;
    socket.set_read_timeout(Some(SOON))?;
    Ok(socket)
}

impl Talk {
    /// The client says something to an address, and the server answers.
    fn begin(client: UdpSocket, to: &str, server: UdpSocket) -> Outcome<Self> {
        client.connect(to.parse::<SocketAddr>()?)?;
        client.send(HELLO)?;
        let (_, known_as) = server.recv_from(&mut [0; 64])?;
        let talk = Self { client, server, known_as };
        talk.answer()?;
        Ok(talk)
    }

    /// The client says something, and the server hears it.
    fn say(&self) -> Outcome<()> {
        self.client.send(HELLO)?;
        let mut heard = [0; 64];
        let (bytes, from) = self.server.recv_from(&mut heard)?;
        assert_eq!((&heard[..bytes], from), (HELLO, self.known_as));
        Ok(())
    }

    fn answer(&self) -> Outcome<()> {
        self.server.send_to(HELLO, self.known_as)?;
        let mut heard = [0; 64];
        let bytes = self.client.recv(&mut heard)?;
        assert_eq!(&heard[..bytes], HELLO);
        Ok(())
    }

    fn exchange(&self) -> Outcome<()> {
        self.say()?;
        self.answer()
    }

    /// Whether the server hears what the client says.
    fn is_heard(&self) -> Outcome<bool> {
        self.server.set_read_timeout(Some(Duration::from_millis(100)))?;
        self.client.send(HELLO)?;
        let heard = self.server.recv_from(&mut [0; 64]).is_ok();
        self.server.set_read_timeout(Some(SOON))?;
        Ok(heard)
    }
}

impl Crossing {
    /// A talk from inside to outside.
    fn talk(&self) -> Outcome<Talk> {
        let (client, server) =
            (bound(&self.inner, "10.1.0.2:4000")?, bound(&self.world, "192.0.2.9:5353")?);
        Talk::begin(client, "192.0.2.9:5353", server)
    }

    /// Goes on until the kernel carries both directions.
    fn settle(&self, talk: &Talk) -> TestResult {
        eventually("the kernel carries both directions", || {
            talk.exchange().is_ok() && self.carried().is_ok_and(|count| count == 2)
        })?;
        Ok(())
    }

    /// The kernel carries a burst both ways: it is in the books, in the session and nearly not at the workers.
    fn carries(&self, talk: &Talk) -> TestResult {
        self.settle(talk)?;
        let (before, workers) = (self.session(Protocol::Udp)?, self.by_workers()?);
        let [inner, world] = [self.counters("inner")?, self.counters("world")?];
        (0..BURST).try_for_each(|_| talk.exchange())?;
        let after = self.session(Protocol::Udp)?;
        assert!(after.is_offloaded && after.idle_seconds <= 1, "{after:?}");
        let (packets, bytes) = (BURST, BURST * (HEADERS + HELLO.len() as u64));
        for (now, then) in [(after.sent, before.sent), (after.received, before.received)] {
            assert_eq!((now.packets - then.packets, now.bytes - then.bytes), (packets, bytes));
        }
        for (name, then) in [("inner", inner), ("world", world)] {
            let now = self.counters(name)?;
            assert!(now.received - then.received >= packets, "{now:?}");
            assert!(now.transmitted_bytes - then.transmitted_bytes >= bytes, "{now:?}");
        }
        assert!(self.by_workers()? - workers < BURST, "the workers carried them all");
        self.daemon.check_ledger()
    }
}

fn routed_datagrams_are_carried_both_ways_and_counted() -> TestResult {
    let crossing = Crossing::routed()?;
    let talk = crossing.talk()?;
    assert_eq!(talk.known_as, "10.1.0.2:4000".parse()?);
    crossing.carries(&talk)?;
    let stations: Vec<FdbInfo> = crossing.daemon.ask(Query::FdbShow(FdbFilter::default()))?;
    assert_eq!(stations.iter().filter(|station| station.is_offloaded).count(), 2);
    // One hop less, and the rest as it was.
    let wire = RawSocket::open(&crossing.world, "eth0")?;
    talk.say()?;
    let is_it = |frame: &[u8]| frame.ends_with(HELLO);
    let frame = wire.receive(SOON, is_it)?.ok_or("nothing arrives")?;
    assert_eq!(frame.bytes[14 + 8], 63);
    Ok(())
}

fn masqueraded_datagrams_are_carried_both_ways_and_counted() -> TestResult {
    let crossing = Crossing::masqueraded()?;
    let talk = crossing.talk()?;
    assert_eq!(talk.known_as.ip().to_string(), "192.0.2.1");
    crossing.carries(&talk)?;
    assert!(crossing.session(Protocol::Udp)?.rule.is_some());
    // What the sender left to a device is half done still: the sum of the pseudo-header, as it is now.
    let wire = RawSocket::open(&crossing.world, "eth0")?;
    talk.say()?;
    let frame = wire.receive(SOON, |frame| frame.ends_with(HELLO))?.ok_or("nothing arrives")?;
    let (addresses, udp) = (&frame.bytes[26..34], &frame.bytes[34..]);
    let length = u64::try_from(udp.len())?;
    assert!(frame.checksum_is_partial);
    assert_eq!(udp[6..8], fold(sum(addresses) + 17 + length).to_be_bytes());
    Ok(())
}

fn datagrams_of_ipv6_are_carried() -> TestResult {
    let crossing = Crossing::routed()?;
    let (client, server) =
        (bound(&crossing.inner, "[fd01::2]:4000")?, bound(&crossing.world, "[fd02::9]:5353")?);
    let talk = Talk::begin(client, "[fd02::9]:5353", server)?;
    crossing.settle(&talk)?;
    let workers = crossing.by_workers()?;
    (0..BURST).try_for_each(|_| talk.exchange())?;
    assert!(crossing.by_workers()? - workers < BURST, "the workers carried them all");
    crossing.daemon.check_ledger()
}

fn datagrams_to_a_published_port_are_carried() -> TestResult {
    let crossing = Crossing::masqueraded()?;
    let (on, forward) = ("outside".parse()?, "5353:10.1.0.2:53/udp".parse()?);
    crossing.add(NatRule::Publish(Publish { on, forward, to: None, port: None }))?;
    let (client, server) =
        (bound(&crossing.world, "192.0.2.9:4000")?, bound(&crossing.inner, "10.1.0.2:53")?);
    let talk = Talk::begin(client, "192.0.2.1:5353", server)?;
    assert_eq!(talk.known_as, "192.0.2.9:4000".parse()?);
    crossing.carries(&talk)
}

fn datagrams_to_a_service_are_carried_until_its_backend_goes() -> TestResult {
    let crossing = Crossing::new()?;
    let at: SocketAddr = "192.0.2.9:5353".parse()?;
    let mut service = Service::new("10.96.0.10:53/udp".parse()?);
    service.backends = vec![Backend { at, draining: false }];
    let add = ServiceAdd { name: "dns".parse()?, service };
    crossing.daemon.change(Mutation::ServiceAdd(Box::new(add)))?;
    let (client, server) =
        (bound(&crossing.inner, "10.1.0.2:4000")?, bound(&crossing.world, "192.0.2.9:5353")?);
    let talk = Talk::begin(client, "10.96.0.10:53", server)?;
    crossing.carries(&talk)?;
    assert!(crossing.session(Protocol::Udp)?.service.is_some());
    let (name, add, drain) = ("dns".parse()?, Vec::new(), Vec::new());
    let gone = ServiceBackends { name, add, drain, del: vec![at.to_string().parse()?] };
    crossing.daemon.change(Mutation::ServiceBackends(gone))?;
    assert!(!talk.is_heard()?);
    crossing.daemon.check_ledger()
}

/// A neighbour is reachable for 30 s since it was asked, and is asked again although nobody but the kernel sends to it.
fn an_unanswered_stream_outlives_the_timeouts_of_its_session_and_its_neighbour() -> TestResult {
    const TIMEOUT: u32 = 5;
    let crossing = Crossing::masqueraded()?;
    let timeouts = TimeoutsSet { udp_unreplied: Some(TIMEOUT), ..TimeoutsSet::default() };
    let set = NatSet { timeouts: Some(timeouts), ..NatSet::default() };
    crossing.daemon.change(Mutation::NatSet(set))?;
    let client = bound(&crossing.inner, "10.1.0.2:4000")?;
    let server = bound(&crossing.world, "192.0.2.9:5353")?;
    client.connect("192.0.2.9:5353")?;
    let begun = Instant::now();
    let (mut known_as, mut sent, mut workers) = (None, 0, 0);
    while begun.elapsed() < Duration::from_secs(34) {
        client.send(HELLO)?;
        sent += 1;
        let (_, from) = server.recv_from(&mut [0; 64])?;
        assert_eq!(*known_as.get_or_insert(from), from);
        if begun.elapsed() < Duration::from_secs(2) {
            workers = crossing.by_workers()?;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let session = crossing.session(Protocol::Udp)?;
    assert!(session.age_seconds >= 30 && session.expires_seconds >= TIMEOUT - 1, "{session:?}");
    assert_eq!(session.sent.packets, sent);
    assert!(session.is_offloaded);
    assert!(crossing.by_workers()? - workers < sent / 20, "the workers carried most of it");
    crossing.daemon.check_ledger()
}

fn a_session_that_is_flushed_is_not_carried_on() -> TestResult {
    let crossing = Crossing::masqueraded()?;
    let talk = crossing.talk()?;
    crossing.carries(&talk)?;
    let before = crossing.session(Protocol::Udp)?.sent.packets;
    crossing.daemon.change(Mutation::ConnFlush(ConnFilter::default()))?;
    assert_eq!(crossing.carried()?, 0);
    talk.client.send(HELLO)?;
    talk.server.recv_from(&mut [0; 64])?;
    let session = crossing.session(Protocol::Udp)?;
    assert_eq!((session.sent.packets, session.age_seconds), (1, 0), "{before} before");
    crossing.daemon.check_ledger()
}

fn a_rule_stops_routed_datagrams_before_it_is_acknowledged() -> TestResult {
    let crossing = Crossing::masqueraded()?;
    let talk = crossing.talk()?;
    crossing.carries(&talk)?;
    crossing.daemon.change(Mutation::FlowAdd(Box::new("10 udp,in_port=inner drop".parse()?)))?;
    assert!(!talk.is_heard()?);
    assert_eq!(crossing.carried()?, 0);
    crossing.daemon.check_ledger()
}

fn a_container_that_goes_gets_nothing_more() -> TestResult {
    let crossing = Crossing::masqueraded()?;
    let talk = crossing.talk()?;
    crossing.carries(&talk)?;
    let named = Named { name: "world".parse()?, if_exists: false };
    crossing.daemon.change(Mutation::PortDel(named))?;
    assert_eq!(crossing.carried()?, 0);
    assert!(!talk.is_heard()?);
    crossing.daemon.check_ledger()
}

fn a_neighbour_with_another_address_on_the_link_gets_what_is_for_it() -> TestResult {
    const MAC: [u8; 6] = [2, 0, 0, 0, 0x77, 7];
    let crossing = Crossing::masqueraded()?;
    let talk = crossing.talk()?;
    crossing.carries(&talk)?;
    let wire = RawSocket::open(&crossing.world, "eth0")?;
    let (own, gateway) = ([192, 0, 2, 9], [192, 0, 2, 1]);
    let request = [0, 1, 8, 0, 6, 4, 0, 1];
    wire.send(&[&[0xff; 6], &MAC[..], &[8, 6], &request, &MAC, &own, &[0; 6], &gateway].concat())?;
    let arrives = || -> Outcome<bool> {
        talk.client.send(HELLO)?;
        let frame = wire.receive(SOON, |frame| frame.ends_with(HELLO))?.ok_or("it is lost")?;
        Ok(frame.bytes[..6] == MAC)
    };
    eventually("it is sent there", || arrives().is_ok_and(|is_there| is_there))?;
    eventually("the kernel sends it there", || {
        arrives().is_ok_and(|is_there| is_there)
            && crossing.session(Protocol::Udp).is_ok_and(|session| session.is_offloaded)
    })?;
    let workers = crossing.by_workers()?;
    for _ in 0..BURST {
        assert!(arrives()?);
    }
    assert!(crossing.by_workers()? - workers < BURST, "the workers carried them all");
    crossing.daemon.check_ledger()
}

/// Fragments, options, what is too long and what has no hop left, while all else of the flow is carried.
fn what_the_router_has_to_see_is_left_to_it() -> TestResult {
    let crossing = Crossing::masqueraded()?;
    let set = PortSet { mtu: Some(Some(1000.try_into()?)), ..PortSet::new("world".parse()?) };
    crossing.daemon.change(Mutation::PortSet(set))?;
    let talk = crossing.talk()?;
    crossing.carries(&talk)?;
    // Its kernel does not let the first be cut up, hears how long it may be, and cuts the next ones.
    let long = [0x5a; 1200];
    eventually("the sender is told", || {
        talk.client.send(&long).is_err_and(|error| error.raw_os_error() == Some(libc::EMSGSIZE))
    })?;
    assert!(crossing.drops("too-big")? > 0);
    crossing.settle(&talk)?;
    talk.client.send(&long)?;
    let mut heard = [0; 2000];
    assert_eq!(talk.server.recv_from(&mut heard)?, (long.len(), talk.known_as));
    crossing.settle(&talk)?;
    talk.client.set_ttl(1)?;
    talk.client.send(HELLO)?;
    eventually("it expires", || crossing.drops("ttl-expired").is_ok_and(|drops| drops == 1))?;
    talk.client.set_ttl(64)?;
    crossing.carries(&talk)
}

fn a_session_goes_on_when_the_kernel_carries_it_no_more() -> TestResult {
    let crossing = Crossing::masqueraded()?;
    let talk = crossing.talk()?;
    crossing.carries(&talk)?;
    let before = crossing.session(Protocol::Udp)?;
    let set = PortSet { mtu: Some(Some(1400.try_into()?)), ..PortSet::new("world".parse()?) };
    crossing.daemon.change(Mutation::PortSet(set))?;
    (0..BURST).try_for_each(|_| talk.exchange())?;
    let after = crossing.session(Protocol::Udp)?;
    assert_eq!(after.sent.packets - before.sent.packets, BURST);
    assert_eq!(after.received.packets - before.received.packets, BURST);
    crossing.daemon.check_ledger()
}
