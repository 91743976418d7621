//! TCP that the router passes on and translates, carried by the kernel.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use ctl::response::ConnInfo;
use ctl::{
    Backend, ConnFilter, Mutation, Named, NatRule, PortSet, Protocol, Publish, Service, ServiceAdd,
    ServiceBackends,
};
use etherparse::{PacketBuilder, SlicedPacket, TcpHeader, TransportSlice};
use netlab::raw::RawSocket;
use netlab::{Container, Need, Test, TestResult, test};

use super::crossing::Crossing;
use super::laboratory::{Outcome, SOON};
use crate::daemon::eventually;
use crate::routing::io;

/// What is said in one go: many windows of the smallest size.
const SPEECH: usize = 8 << 20;

pub fn tests() -> Vec<Test> {
    [
        test!(a_masqueraded_connection_is_carried_both_ways_and_counted),
        test!(a_connection_of_ipv6_is_carried),
        test!(a_connection_to_a_published_port_is_carried),
        test!(a_connection_to_a_service_is_carried_until_its_backend_goes),
        test!(the_end_of_a_connection_is_seen_after_what_the_kernel_carried),
        test!(a_half_closed_connection_goes_on_with_the_workers),
        test!(a_reset_after_what_the_kernel_carried_is_believed),
        test!(segments_of_a_stranger_are_dropped_while_the_connection_is_carried),
        test!(a_connection_goes_on_whenever_what_is_carried_is_withdrawn),
        test!(a_connection_that_is_flushed_is_not_carried_on),
    ]
    .into_iter()
    .map(|test| test.needs(Need::Bpf).needs(Need::Tun))
    .collect()
}

/// A connection from a client to a server.
struct Call {
    client: TcpStream,
    server: TcpStream,
}

impl Call {
    /// The client calls an address, and the server answers at its own.
    fn begin((from, to): (&Container, &str), (server, at): (&Container, &str)) -> Outcome<Self> {
        let (to, at): (SocketAddr, SocketAddr) = (to.parse()?, at.parse()?);
        let listener = server.run(|| TcpListener::bind(at).map_err(io))?;
        let client = from.run(|| TcpStream::connect_timeout(&to, SOON).map_err(io))?;
        let (server, _) = listener.accept()?;
        for end in [&client, &server] {
            end.set_nodelay(true)?;
            end.set_read_timeout(Some(SOON))?;
        }
        Ok(Self { client, server })
    }

    /// Each end says something short to the other.
    fn exchange(&mut self) -> Outcome<()> {
        let Self { client, server } = self;
        say(client, server)?;
        say(server, client)
    }

    /// The client says much, and the server says it back.
    fn speak(&mut self) -> Outcome<()> {
        let Self { client, server } = self;
        stream(client, server)?;
        stream(server, client)
    }
}

/// Something short goes along a connection.
fn say(from: &mut TcpStream, to: &mut TcpStream) -> Outcome<()> {
    let mut heard = [0; 5];
    from.write_all(b"hello")?;
    to.read_exact(&mut heard)?;
    assert_eq!(&heard, b"hello");
    Ok(())
}

/// Many bytes go along a connection, and arrive as they were.
fn stream(from: &mut TcpStream, to: &mut TcpStream) -> Outcome<()> {
    let said: Vec<u8> = (0..SPEECH).map(|at| (at * 31 + at / 251).to_le_bytes()[0]).collect();
    let mut heard = vec![0; SPEECH];
    std::thread::scope(|scope| {
        let speaker = scope.spawn(|| from.write_all(&said));
        to.read_exact(&mut heard)?;
        speaker.join().map_err(|_| "the speaker failed")??;
        assert!(heard == said, "it arrives as something else");
        Ok(())
    })
}

impl Crossing {
    fn call(&self) -> Outcome<Call> {
        Call::begin((&self.inner, "192.0.2.9:8080"), (&self.world, "192.0.2.9:8080"))
    }

    fn connection(&self) -> Outcome<ConnInfo> {
        self.session(Protocol::Tcp)
    }

    /// Goes on until the kernel carries both directions.
    fn settle_call(&self, call: &mut Call) -> TestResult {
        eventually("the kernel carries both directions", || {
            call.exchange().is_ok() && self.carried().is_ok_and(|count| count == 2)
        })?;
        Ok(())
    }

    /// The kernel carries nearly all of what both ends say, and it is in the books and in the session.
    fn carries_call(&self, call: &mut Call) -> TestResult {
        self.settle_call(call)?;
        let (before, workers) = (self.connection()?, self.by_workers()?);
        call.speak()?;
        let after = self.connection()?;
        assert!(after.is_offloaded && after.idle_seconds <= 1, "{after:?}");
        assert_eq!((after.tcp.as_deref(), self.drops("invalid-state")?), (Some("ESTABLISHED"), 0));
        let speech = SPEECH as u64;
        for (now, then) in [(after.sent, before.sent), (after.received, before.received)] {
            assert!(now.bytes - then.bytes >= speech, "{now:?} after {then:?}");
            let frames = now.packets - then.packets;
            assert!(frames > 2 * (self.by_workers()? - workers), "the workers carried most of it");
        }
        self.daemon.check_ledger()
    }
}

fn a_masqueraded_connection_is_carried_both_ways_and_counted() -> TestResult {
    let crossing = Crossing::masqueraded()?;
    let mut call = crossing.call()?;
    assert_eq!(call.server.peer_addr()?.ip().to_string(), "192.0.2.1");
    crossing.carries_call(&mut call)
}

fn a_connection_of_ipv6_is_carried() -> TestResult {
    let crossing = Crossing::routed()?;
    let at = "[fd02::9]:8080";
    let mut call = Call::begin((&crossing.inner, at), (&crossing.world, at))?;
    crossing.carries_call(&mut call)
}

fn a_connection_to_a_published_port_is_carried() -> TestResult {
    let crossing = Crossing::masqueraded()?;
    let (on, forward) = ("outside".parse()?, "8080:10.1.0.2:80/tcp".parse()?);
    crossing.add(NatRule::Publish(Publish { on, forward, to: None, port: None }))?;
    let (there, here) = ((&crossing.world, "192.0.2.1:8080"), (&crossing.inner, "10.1.0.2:80"));
    crossing.carries_call(&mut Call::begin(there, here)?)
}

fn a_connection_to_a_service_is_carried_until_its_backend_goes() -> TestResult {
    let crossing = Crossing::new()?;
    let at = "192.0.2.9:8080";
    let mut service = Service::new("10.96.0.10:80/tcp".parse()?);
    service.backends = vec![Backend { at: at.parse()?, draining: false }];
    let add = ServiceAdd { name: "web".parse()?, service };
    crossing.daemon.change(Mutation::ServiceAdd(Box::new(add)))?;
    let mut call = Call::begin((&crossing.inner, "10.96.0.10:80"), (&crossing.world, at))?;
    crossing.carries_call(&mut call)?;
    assert!(crossing.connection()?.service.is_some());
    let (name, add, drain) = ("web".parse()?, Vec::new(), Vec::new());
    let gone = ServiceBackends { name, add, drain, del: vec![at.parse()?] };
    crossing.daemon.change(Mutation::ServiceBackends(gone))?;
    assert_eq!(crossing.carried()?, 0);
    assert!(call.exchange().is_err());
    crossing.daemon.check_ledger()
}

/// The numbers of its last segments are far from those of the last that a worker had.
fn the_end_of_a_connection_is_seen_after_what_the_kernel_carried() -> TestResult {
    let crossing = Crossing::masqueraded()?;
    let mut call = crossing.call()?;
    crossing.carries_call(&mut call)?;
    drop(call);
    eventually("both ends have closed", || {
        crossing.connection().is_ok_and(|session| session.tcp.as_deref() == Some("TIME_WAIT"))
    })?;
    assert_eq!(crossing.drops("invalid-state")?, 0);
    eventually("nothing is carried any more", || crossing.carried().is_ok_and(|some| some == 0))?;
    crossing.daemon.check_ledger()
}

fn a_half_closed_connection_goes_on_with_the_workers() -> TestResult {
    let crossing = Crossing::masqueraded()?;
    let mut call = crossing.call()?;
    crossing.carries_call(&mut call)?;
    call.client.shutdown(Shutdown::Write)?;
    assert_eq!(call.server.read(&mut [0; 8])?, 0);
    let workers = crossing.by_workers()?;
    stream(&mut call.server, &mut call.client)?;
    assert_eq!(crossing.connection()?.tcp.as_deref(), Some("CLOSE_WAIT"));
    assert!(crossing.by_workers()? > workers);
    assert_eq!(crossing.drops("invalid-state")?, 0);
    crossing.daemon.check_ledger()
}

fn a_reset_after_what_the_kernel_carried_is_believed() -> TestResult {
    let crossing = Crossing::masqueraded()?;
    let mut call = crossing.call()?;
    crossing.carries_call(&mut call)?;
    // What was not read is lost, and the other end is told.
    call.client.write_all(b"unheard")?;
    drop(call.server);
    eventually("it is reset", || call.client.write_all(b"more").is_err())?;
    assert_eq!(crossing.connection()?.tcp.as_deref(), Some("CLOSED"));
    assert_eq!(crossing.drops("invalid-state")?, 0);
    crossing.daemon.check_ledger()
}

/// An answer to a segment, with a number far from what is due.
fn forged(frame: &[u8], ahead: u32, is_reset: bool) -> Outcome<Vec<u8>> {
    let sliced = SlicedPacket::from_ethernet(frame)?;
    let (Some(link), Some(net), Some(TransportSlice::Tcp(tcp))) =
        (sliced.link, sliced.net, sliced.transport)
    else {
        return Err("no segment".into());
    };
    let ethernet = link.to_header().and_then(|link| link.ethernet2()).ok_or("no Ethernet")?;
    let ip = net.ipv4_ref().ok_or("no IPv4")?.header();
    let sequence = tcp.acknowledgment_number().wrapping_add(ahead);
    let mut header = TcpHeader::new(tcp.destination_port(), tcp.source_port(), sequence, 500);
    header.acknowledgment_number = tcp.sequence_number();
    (header.rst, header.ack) = (is_reset, !is_reset);
    let packet = PacketBuilder::ethernet2(ethernet.destination, ethernet.source)
        .ipv4(ip.destination(), ip.source(), 64)
        .tcp_header(header);
    let mut forged = Vec::new();
    packet.write(&mut forged, b"forged")?;
    Ok(forged)
}

fn segments_of_a_stranger_are_dropped_while_the_connection_is_carried() -> TestResult {
    const FAR: u32 = 1 << 30;
    let crossing = Crossing::masqueraded()?;
    let mut call = crossing.call()?;
    let wire = RawSocket::open(&crossing.inner, "eth0")?;
    call.exchange()?;
    let heard = wire.receive(SOON, |bytes| bytes.ends_with(b"hello"))?.ok_or("nothing is said")?;
    crossing.carries_call(&mut call)?;
    // Of what was said since, a stranger knows nothing: the numbers are far from those of now.
    for (number, is_reset) in [(1, false), (2, true)] {
        wire.send(&forged(&heard.bytes, FAR, is_reset)?)?;
        eventually("it is dropped", || {
            crossing.drops("invalid-state").is_ok_and(|drops| drops == number)
        })?;
    }
    assert_eq!(crossing.connection()?.tcp.as_deref(), Some("ESTABLISHED"));
    call.exchange()?;
    crossing.daemon.check_ledger()
}

/// Workers and the kernel take turns, in the middle of what is said.
fn a_connection_goes_on_whenever_what_is_carried_is_withdrawn() -> TestResult {
    const TURNS: u32 = 40;
    let crossing = Crossing::masqueraded()?;
    let mut call = crossing.call()?;
    crossing.settle_call(&mut call)?;
    let ends = (call.client.try_clone()?, call.server.try_clone()?);
    std::thread::scope(|scope| {
        let speaker = scope.spawn(move || {
            let (mut client, mut server) = ends;
            (0..4)
                .try_for_each(|_| {
                    stream(&mut client, &mut server)?;
                    stream(&mut server, &mut client)
                })
                .map_err(|error| error.to_string())
        });
        for turn in 0..TURNS {
            let mtu = (1400 + turn).try_into().map_err(|_| "no MTU")?;
            let port = "world".parse().map_err(|_| "no name")?;
            let set = PortSet { mtu: Some(Some(mtu)), ..PortSet::new(port) };
            crossing.daemon.change(Mutation::PortSet(set)).map_err(|error| error.to_string())?;
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        speaker.join().map_err(|_| "the speaker failed")?
    })?;
    assert_eq!(crossing.drops("invalid-state")?, 0);
    crossing.carries_call(&mut call)
}

fn a_connection_that_is_flushed_is_not_carried_on() -> TestResult {
    let crossing = Crossing::masqueraded()?;
    let mut call = crossing.call()?;
    crossing.carries_call(&mut call)?;
    crossing.daemon.change(Mutation::ConnFlush(ConnFilter::default()))?;
    assert_eq!(crossing.carried()?, 0);
    // It is joined in its middle, and carried again.
    crossing.carries_call(&mut call)?;
    let named = Named { name: "world".parse()?, if_exists: false };
    crossing.daemon.change(Mutation::PortDel(named))?;
    assert_eq!(crossing.carried()?, 0);
    assert!(call.exchange().is_err());
    crossing.daemon.check_ledger()
}
