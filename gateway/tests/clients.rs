//! Clients that others wrote, against our side: smoltcp's DHCP and DNS sockets on a wire in memory, under a clock that
//! only the test moves.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant as Moment;

use ctl::{BridgeName, MacAddr, Network};
use gateway::dhcp::{self, CLIENT_PORT, Lease, SERVER_PORT};
use gateway::dns::{Directory, Forwarding, Heard, PORT, Relay, Responder, Transport, Verdict};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{dhcpv4, dns};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, DnsQueryType, EthernetAddress, EthernetFrame,
    EthernetProtocol, EthernetRepr, IpAddress, IpCidr, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket,
    UdpRepr,
};

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);
const GATEWAY_MAC: EthernetAddress = EthernetAddress([2, 0, 0xff, 0, 0, 1]);
const OWN: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 7);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);

fn lease(address: Ipv4Addr) -> Lease {
    Lease {
        mac: MAC,
        address,
        prefix_len: 24,
        server: GATEWAY,
        router: Some(GATEWAY),
        resolver: Some(GATEWAY),
        domain: "web".to_owned(),
        mtu: 1500,
        routes: Vec::new(),
    }
}

/// A datagram from the client.
struct Datagram {
    from: SocketAddr,
    to: SocketAddr,
    payload: Vec<u8>,
}

/// The client's end of the wire.
#[derive(Default)]
struct Wire {
    to_client: VecDeque<Vec<u8>>,
    from_client: VecDeque<Vec<u8>>,
}

struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, look: F) -> R {
        look(&self.0)
    }
}

struct Sent<'a>(&'a mut VecDeque<Vec<u8>>);

impl TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, bytes: usize, write: F) -> R {
        let mut frame = vec![0; bytes];
        let result = write(&mut frame);
        self.0.push_back(frame);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sent<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sent<'_>)> {
        let frame = self.to_client.pop_front()?;
        Some((Received(frame), Sent(&mut self.from_client)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sent<'_>> {
        Some(Sent(&mut self.from_client))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

/// A container that brings its own stack.
struct Client {
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    now: Instant,
}

impl Client {
    fn new(mac: MacAddr) -> Self {
        let mut wire = Wire::default();
        let mut config = Config::new(EthernetAddress(mac.0).into());
        config.random_seed = 7;
        let now = Instant::from_secs(1);
        let interface = Interface::new(config, &mut wire, now);
        Self { wire, interface, sockets: SocketSet::new(Vec::new()), now }
    }

    /// Lets the stack and the gateway talk until both have said all.
    fn talk(&mut self, mut server: impl FnMut(&Datagram) -> Option<(Vec<u8>, SocketAddr)>) {
        loop {
            self.interface.poll(self.now, &mut self.wire, &mut self.sockets);
            let Some(frame) = self.wire.from_client.pop_front() else { return };
            if let Some(answer) = answer(&frame, &mut server) {
                self.wire.to_client.push_back(answer);
            }
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

/// What the gateway's end of the wire answers a frame with.
fn answer(
    frame: &[u8],
    server: &mut impl FnMut(&Datagram) -> Option<(Vec<u8>, SocketAddr)>,
) -> Option<Vec<u8>> {
    let frame = EthernetFrame::new_checked(frame).unwrap();
    if frame.ethertype() == EthernetProtocol::Arp {
        return resolved(frame.payload());
    }
    let packet = Ipv4Packet::new_checked(frame.payload()).unwrap();
    let checksums = ChecksumCapabilities::default();
    let ip = Ipv4Repr::parse(&packet, &checksums).unwrap();
    let datagram = UdpPacket::new_checked(packet.payload()).unwrap();
    let (source, destination) = (ip.src_addr.into(), ip.dst_addr.into());
    let udp = UdpRepr::parse(&datagram, &source, &destination, &checksums).unwrap();
    let asked = Datagram {
        from: SocketAddr::new(ip.src_addr.into(), udp.src_port),
        to: SocketAddr::new(ip.dst_addr.into(), udp.dst_port),
        payload: datagram.payload().to_vec(),
    };
    let (payload, to) = server(&asked)?;
    Some(framed(&payload, udp.dst_port, to, frame.src_addr()))
}

/// The gateway's answer to who asks for its address.
fn resolved(arp: &[u8]) -> Option<Vec<u8>> {
    let asked = ArpRepr::parse(&ArpPacket::new_checked(arp).unwrap()).unwrap();
    let ArpRepr::EthernetIpv4 { operation, source_hardware_addr, source_protocol_addr, .. } = asked
    else {
        return None;
    };
    let is_for_us = matches!(asked, ArpRepr::EthernetIpv4 { target_protocol_addr, .. }
        if operation == ArpOperation::Request && target_protocol_addr == GATEWAY);
    let reply = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: GATEWAY_MAC,
        source_protocol_addr: GATEWAY,
        target_hardware_addr: source_hardware_addr,
        target_protocol_addr: source_protocol_addr,
    };
    let emit = |bytes: &mut [u8]| reply.emit(&mut ArpPacket::new_unchecked(bytes));
    is_for_us
        .then(|| envelope(source_hardware_addr, EthernetProtocol::Arp, reply.buffer_len(), emit))
}

fn framed(payload: &[u8], from_port: u16, to: SocketAddr, mac: EthernetAddress) -> Vec<u8> {
    let IpAddr::V4(dst_addr) = to.ip() else { panic!("{to} is not of IPv4") };
    let udp = UdpRepr { src_port: from_port, dst_port: to.port() };
    let payload_len = udp.header_len() + payload.len();
    let next_header = IpProtocol::Udp;
    let ip = Ipv4Repr { src_addr: GATEWAY, dst_addr, next_header, payload_len, hop_limit: 64 };
    let mac = if dst_addr.is_broadcast() { EthernetAddress::BROADCAST } else { mac };
    let bytes = ip.buffer_len() + payload_len;
    envelope(mac, EthernetProtocol::Ipv4, bytes, |bytes| {
        let checksums = ChecksumCapabilities::default();
        let mut packet = Ipv4Packet::new_unchecked(bytes);
        ip.emit(&mut packet, &checksums);
        let (source, destination) = (GATEWAY.into(), dst_addr.into());
        let put = |place: &mut [u8]| place.copy_from_slice(payload);
        let mut datagram = UdpPacket::new_unchecked(packet.payload_mut());
        udp.emit(&mut datagram, &source, &destination, payload.len(), put, &checksums);
    })
}

fn envelope(
    dst_addr: EthernetAddress,
    ethertype: EthernetProtocol,
    bytes: usize,
    emit: impl FnOnce(&mut [u8]),
) -> Vec<u8> {
    let header = EthernetRepr { src_addr: GATEWAY_MAC, dst_addr, ethertype };
    let mut frame = vec![0; header.buffer_len() + bytes];
    header.emit(&mut EthernetFrame::new_unchecked(&mut frame[..]));
    emit(&mut frame[header.buffer_len()..]);
    frame
}

/// A DHCP client, and what it has said and been told so far.
struct Asker {
    client: Client,
    socket: SocketHandle,
    /// The kinds of its messages, and to whom they went.
    said: Vec<(u8, IpAddr)>,
}

impl Asker {
    fn new(mac: MacAddr) -> Self {
        let mut client = Client::new(mac);
        let socket = client.sockets.add(dhcpv4::Socket::new());
        Self { client, socket, said: Vec::new() }
    }

    /// Lets it talk to a server, if one is there; returns whether it has other settings than before, and the address
    /// among them, if it has one.
    fn talk(&mut self, lease: Option<&Lease>) -> Option<Option<Ipv4Addr>> {
        let said = &mut self.said;
        self.client.talk(|asked| {
            assert_eq!((asked.from.port(), asked.to.port()), (CLIENT_PORT, SERVER_PORT));
            said.push((kind(&asked.payload), asked.to.ip()));
            match dhcp::attend(&asked.payload, lease?) {
                dhcp::Verdict::Answer { message, to } => {
                    Some((message, SocketAddr::new(to.into(), CLIENT_PORT)))
                }
                _ => None,
            }
        });
        self.settings()
    }

    /// Sets the interface up as the client is told.
    fn settings(&mut self) -> Option<Option<Ipv4Addr>> {
        let event = self.client.sockets.get_mut::<dhcpv4::Socket>(self.socket).poll()?;
        let dhcpv4::Event::Configured(config) = event else {
            self.client.interface.update_ip_addrs(|all| all.clear());
            return Some(None);
        };
        assert_eq!(config.server.address, GATEWAY);
        assert_eq!(config.router, Some(GATEWAY));
        assert_eq!(config.dns_servers[..], [GATEWAY]);
        assert_eq!(config.address.prefix_len(), 24);
        let address = config.address;
        self.client.interface.update_ip_addrs(|all| {
            all.clear();
            all.push(IpCidr::Ipv4(address)).unwrap();
        });
        Some(Some(address.address()))
    }

    fn said(&mut self) -> Vec<(u8, IpAddr)> {
        std::mem::take(&mut self.said)
    }
}

/// The kind of a message: its first option.
fn kind(message: &[u8]) -> u8 {
    assert_eq!(message[240..242], [53, 1]);
    message[242]
}

const DISCOVER: u8 = 1;
const REQUEST: u8 = 3;
const ALL: IpAddr = IpAddr::V4(Ipv4Addr::BROADCAST);
const US: IpAddr = IpAddr::V4(GATEWAY);

/// A client that has its address.
fn bound() -> Asker {
    let mut asker = Asker::new(MAC);
    // A new socket says that nothing is set up.
    assert_eq!(asker.settings(), Some(None));
    assert_eq!(asker.talk(Some(&lease(OWN))), Some(Some(OWN)));
    assert_eq!(asker.said(), [(DISCOVER, ALL), (REQUEST, ALL)]);
    asker
}

#[test]
fn a_client_gets_its_ports_address_and_keeps_it_by_asking_again() {
    let mut asker = bound();
    for _ in 0..5 {
        asker.client.pass(1790);
        assert_eq!(asker.talk(Some(&lease(OWN))), None);
        assert_eq!(asker.said(), [], "before half of the lease is over");
        asker.client.pass(20);
        assert_eq!(asker.talk(Some(&lease(OWN))), None, "nothing has changed");
        assert_eq!(asker.said(), [(REQUEST, US)]);
    }
}

#[test]
fn a_client_that_was_not_answered_asks_everybody_and_gives_up_at_the_end() {
    let mut asker = bound();
    asker.client.pass(1810);
    assert_eq!(asker.talk(None), None);
    asker.client.pass(1400);
    assert_eq!(asker.talk(Some(&lease(OWN))), None);
    assert_eq!(asker.said(), [(REQUEST, US), (REQUEST, ALL)], "renewing, then rebinding");
    asker.client.pass(3700);
    assert_eq!(asker.talk(None), Some(None));
    assert_eq!(asker.talk(Some(&lease(OWN))), Some(Some(OWN)));
    assert_eq!(asker.said(), [(DISCOVER, ALL), (REQUEST, ALL)]);
}

#[test]
fn a_client_whose_port_has_another_address_now_is_refused_and_gets_that() {
    let mut asker = bound();
    let other = Ipv4Addr::new(10, 1, 0, 8);
    asker.client.pass(1810);
    assert_eq!(asker.talk(Some(&lease(other))), Some(Some(other)));
    // It asks for what it had, is refused, and begins anew.
    assert_eq!(asker.said(), [(REQUEST, US), (DISCOVER, ALL), (REQUEST, ALL)]);
}

#[test]
fn somebody_else_behind_the_port_gets_nothing() {
    let mut asker = Asker::new(MacAddr([2, 0, 0, 0, 0, 8]));
    assert_eq!(asker.settings(), Some(None));
    assert_eq!(asker.talk(Some(&lease(OWN))), None);
    assert_eq!(asker.said(), [(DISCOVER, ALL)]);
}

fn network() -> Network {
    serde_json::from_value(serde_json::json!({
        "pools": { "10.1.0.0/24": { "subnet": "10.1.0.0/24", "gateway": "10.1.0.1", "leases": {
            "10.1.0.2": { "owner": "a", "port": "a-eth0" },
        } } },
        "endpoints": { "a-eth0": { "owner": "a", "aliases": ["db"] } },
    }))
    .unwrap()
}

/// What a DNS client makes of the answer to a question: an address, or that there is none. Of others' names the
/// address is 192.0.2.9, by the second resolver, the first of which fails.
fn look_up(name: &str, kind: DnsQueryType) -> Result<IpAddress, dns::GetQueryResultError> {
    let mut client = Client::new(MAC);
    client.interface.update_ip_addrs(|all| {
        all.push(IpCidr::new(OWN.into(), 24)).unwrap();
    });
    let socket = client.sockets.add(dns::Socket::new(&[GATEWAY.into()], Vec::new()));
    let resolver = client.sockets.get_mut::<dns::Socket>(socket);
    let query = resolver.start_query(client.interface.context(), name, kind).unwrap();
    let directory = Directory::of(&"web".parse::<BridgeName>().unwrap(), &network(), |_| None);
    let responder = Responder { directory: &directory, forwarding: Forwarding::On };
    client.talk(|asked| {
        assert_eq!(asked.to, SocketAddr::new(GATEWAY.into(), PORT));
        let answer = match responder.attend(&asked.payload, Transport::Udp) {
            Verdict::Answer(answer) => answer,
            Verdict::Forward(query) => relayed(query),
            Verdict::Silence => return None,
        };
        Some((answer, asked.from))
    });
    let resolver = client.sockets.get_mut::<dns::Socket>(socket);
    resolver.get_query_result(query).map(|found| found[0])
}

/// What comes of a query that others answer.
fn relayed(query: gateway::dns::Query) -> Vec<u8> {
    let servers: Vec<SocketAddr> =
        ["192.0.2.1:53", "192.0.2.2:53"].iter().map(|text| text.parse().unwrap()).collect();
    let now = Moment::now();
    let mut relay = Relay::default();
    let first = relay.ask(((), ()), query, &servers, 4711, now).unwrap();
    let mut failed = first.message.clone();
    failed[2] |= 0x80;
    failed[3] |= 2;
    let Heard::Next(second) = relay.hear(first.ticket, failed, now) else { panic!("no other") };
    assert_eq!(second.server, servers[1]);
    let mut answer = second.message;
    answer[2] |= 0x80;
    answer[7] = 1;
    // The name in the question, an A record of a minute.
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 9]);
    match relay.hear(second.ticket, answer, now) {
        Heard::Answer((), answer) => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_finds_containers_by_name_and_is_told_at_once_who_is_not_there() {
    let found = |name| look_up(name, DnsQueryType::A);
    let db = Ok(IpAddress::v4(10, 1, 0, 2));
    for name in ["db", "DB", "db.web", "a-eth0", "a-eth0.web"] {
        assert_eq!(found(name), db, "{name}");
    }
    for (name, kind) in [("nobody", DnsQueryType::A), ("db", DnsQueryType::Aaaa)] {
        assert_eq!(look_up(name, kind), Err(dns::GetQueryResultError::Failed), "{name}");
    }
}

#[test]
fn a_client_is_told_what_others_answer() {
    let found = look_up("www.example.com", DnsQueryType::A);
    assert_eq!(found, Ok(IpAddress::v4(192, 0, 2, 9)));
}
