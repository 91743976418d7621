//! Tunnels over a bridge: two hosts, each a pipeline, and the wire between them.
//!
//! ```text
//!   host 1: 192.0.2.1, 2001:db8::1      port 0, the wire    port 1, a guarded container
//!   host 2: 192.0.2.2, 2001:db8::2      the same
//! ```

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use pktio::offload::fit;
use pktio::underlay::Outer;
use pktio::wire::{Layers, MacAddr, Network};
use pktio::{Accepts, Burst, Csum, Gso, Offload, PktBuf, Pool, PoolConfig};
use proptest::prelude::*;

use super::network::ip;
use super::packets::{Kind, Packet, fragments};
use crate::pipeline::{Tunnelled, Untunnelled};
use crate::router::{Gateway, GatewayAddress, Prefix, Routes, Target};
use crate::vxlan::{Native, Tunnel, Vni, Vtep};
use crate::{
    BridgeDomain, BridgeIndex, DropReason, Fdb, Generation, Guard, Ledger, Nanos, Outboxes,
    Pipeline, PortConfig, PortIndex, RouterPort, Snapshot, TableSizes, Tables, Vid,
};

const BRIDGE: BridgeIndex = BridgeIndex(0);
const WIRE: u16 = 0;
const GUARDED: u16 = 1;
const ENDPOINTS: [PortIndex; 2] = [PortIndex(8), PortIndex(9)];
const TUNNEL: Tunnel = Tunnel::new(Vni::new(42).unwrap());
const POOL: PoolConfig = PoolConfig { small: 128, slabs: 8 };

fn address(host: u8, is_v4: bool) -> IpAddr {
    ip(&if is_v4 { format!("192.0.2.{host}") } else { format!("2001:db8::{host}") })
}

fn mac(host: u8) -> MacAddr {
    MacAddr([2, 0, 0xff, 0, 0, host])
}

fn router(host: u8) -> RouterPort {
    let addresses = [(true, 24), (false, 64)]
        .map(|(is_v4, bits)| GatewayAddress::new(address(host, is_v4), bits).unwrap());
    let connected =
        addresses.iter().map(|own| (own.subnet(), Target::Connected { bridge: BRIDGE }));
    let own = addresses.iter().map(|own| (Prefix::host(own.ip()), Target::Local));
    let routes: Routes = connected.chain(own).collect();
    let gateway = Gateway { mac: mac(host), addresses: addresses.to_vec(), ..Gateway::default() };
    RouterPort { gateway, routes }
}

/// The configuration of a host with these endpoints.
fn snapshot(
    number: u8,
    generation: Generation,
    fdb: &Arc<Fdb>,
    endpoints: Vec<(SocketAddr, PortIndex)>,
) -> Snapshot {
    let other = 3 - number;
    let domain = BridgeDomain {
        gateway_mac: mac(number),
        router: Some(Arc::new(router(number))),
        endpoints,
        ..BridgeDomain::new(Arc::clone(fdb), 100)
    };
    let port = PortConfig { mac_limit: 100, ..PortConfig::new(BRIDGE) };
    let guard = Guard { mac: mac(other), addresses: vec![address(other, true)] };
    let guard = Some(Arc::new(guard));
    let ports = vec![Some(port.clone()), Some(PortConfig { guard, ..port })];
    Snapshot::new(generation, ports, vec![Some(domain)]).unwrap()
}

/// A host.
struct Host {
    number: u8,
    fdb: Arc<Fdb>,
    pipeline: Pipeline,
    pool: Pool,
    outboxes: Outboxes,
    ledger: Ledger,
    now: Nanos,
}

impl Host {
    fn new(number: u8) -> Self {
        let fdb = Arc::new(Fdb::new(100, 300, 1));
        let sizes = TableSizes { neighbors: 64, sessions: 64, cached_flows: 64, seed: 1 };
        let tables = Arc::new(Tables::new(sizes));
        let other = 3 - number;
        assert!(fdb.add_static(mac(other), Vid::NONE, PortIndex(WIRE)));
        for is_v4 in [true, false] {
            assert!(tables.neighbors.add_static(BRIDGE, address(other, is_v4), mac(other)));
        }
        let at = |(is_v4, port)| (SocketAddr::new(address(number, is_v4), 4789), port);
        let endpoints = [(true, ENDPOINTS[0]), (false, ENDPOINTS[1])].map(at).to_vec();
        let snapshot = snapshot(number, Generation(1), &fdb, endpoints);
        Self {
            number,
            fdb,
            pipeline: Pipeline::new(Arc::new(snapshot), tables),
            pool: Pool::new(POOL).unwrap(),
            outboxes: Outboxes::new(),
            ledger: Ledger::new(),
            now: Nanos::from_secs(1000),
        }
    }

    /// Puts a frame into the tunnel to a remote; returns what comes onto the wire.
    fn send(&mut self, frame: PktBuf, remote: IpAddr) -> Result<Vec<PktBuf>, Option<DropReason>> {
        let local = SocketAddr::new(address(self.number, remote.is_ipv4()), 4789);
        let native = Native { bridge: BRIDGE, local };
        let vtep = Vtep { endpoint: ENDPOINTS[0], remote, tunnel: TUNNEL, native: Some(native) };
        let (pool, outboxes) = (&mut self.pool, &mut self.outboxes);
        let sent = self.pipeline.tunnel(
            self.now,
            (&vtep, native, frame),
            pool,
            outboxes,
            &mut self.ledger,
        );
        let out = self.collect();
        match sent {
            Ok(()) => Ok(out),
            Err(Untunnelled { frame, reason }) => {
                self.pool.recycle(frame);
                assert!(out.is_empty());
                Err(reason)
            }
        }
    }

    /// Takes a frame in by a port; returns what is for the endpoints.
    fn receive(&mut self, port: u16, frame: PktBuf) -> Vec<Tunnelled> {
        let mut burst = Burst::new();
        burst.push(frame);
        let (pool, ledger) = (&mut self.pool, &mut self.ledger);
        self.pipeline.run(self.now, PortIndex(port), &mut burst, pool, &mut self.outboxes, ledger);
        let tunnelled = self.pipeline.tunnelled().collect();
        drop(self.collect());
        tunnelled
    }

    fn collect(&mut self) -> Vec<PktBuf> {
        let mut out = Vec::new();
        while let Some(port) = self.outboxes.next_dirty() {
            let frames = self.outboxes.of(port);
            self.ledger.port_mut(port).transmitted += frames.len() as u64;
            out.extend(frames.drain(..));
        }
        self.ledger.reconcile().unwrap();
        out
    }

    fn copied(&mut self, frame: &PktBuf) -> PktBuf {
        let mut copy = self.pool.frame_from(frame.data()).unwrap();
        copy.offload = frame.offload;
        copy
    }

    fn drops(&self, endpoint: PortIndex, reason: DropReason) -> u64 {
        self.ledger.port(endpoint).ingress_drops[reason as usize]
    }
}

/// What the kernel of a container leaves undone in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    Checksum,
    Cutting,
}

fn inner(kind: Kind, is_v4: bool, bytes: usize) -> Vec<u8> {
    let [from, to] =
        if is_v4 { ["10.0.0.1:7", "10.0.0.2:9"] } else { ["[fd00::1]:7", "[fd00::2]:9"] };
    let packet = Packet::new(kind, from, to).of_length(bytes);
    packet.frame(MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]))
}

fn offload(frame: &[u8], left: Left, size: u16) -> Offload {
    let layers = Layers::parse(frame).unwrap().unwrap();
    let offset = layers.checksum_offset().unwrap();
    let csum = Csum::Partial { start: layers.l4, offset };
    let gso = match (layers.network, offset) {
        (Network::V4, 16) => Gso::Tcp4 { mss: size },
        (Network::V6, 16) => Gso::Tcp6 { mss: size },
        _ => Gso::Udp { size },
    };
    match left {
        Left::Nothing => Offload::NONE,
        Left::Checksum => Offload { csum, gso: Gso::None },
        Left::Cutting => Offload { csum, gso },
    }
}

/// The field of a checksum that is left undone has the sum of the pseudo-header.
fn undone(frame: &mut PktBuf) {
    let Csum::Partial { start, offset } = frame.offload.csum else { return };
    let layers = Layers::parse(frame.data()).unwrap().unwrap();
    if layers.checksum_offset().is_none() {
        return;
    }
    let bytes = frame.len() - usize::from(start);
    let sum = pktio::wire::checksum::pseudo_header(frame.data(), &layers, bytes).unwrap();
    let at = usize::from(start + offset);
    let sum = pktio::wire::checksum::fold(sum).to_be_bytes();
    frame.data_mut()[at..at + 2].copy_from_slice(&sum);
}

/// Frames as a wire has them.
fn plain(frames: Vec<PktBuf>, pool: &mut Pool) -> Vec<Vec<u8>> {
    let mut out = Burst::new();
    for frame in frames {
        fit(frame, &Accepts::PLAIN, pool, &mut out).map_err(|(_, why)| why).unwrap();
    }
    let bytes = out.iter().map(|frame| frame.data().to_vec()).collect();
    pool.recycle_all(&mut out);
    bytes
}

/// That the outer headers of a frame say what they should, by an independent reader.
fn check_outer(bytes: &[u8], is_v4: bool) {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};
    let packet = SlicedPacket::from_ethernet(bytes).unwrap();
    let Some(TransportSlice::Udp(udp)) = packet.transport else { panic!("no UDP") };
    assert_eq!((udp.destination_port(), usize::from(udp.length())), (4789, udp.slice().len()));
    assert!((49152..61000).contains(&udp.source_port()));
    match packet.net {
        Some(NetSlice::Ipv4(ip)) if is_v4 => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            assert!(header.dont_fragment && header.time_to_live == 64);
            assert_eq!(udp.checksum(), 0);
        }
        Some(NetSlice::Ipv6(ip)) if !is_v4 => {
            let expected =
                udp.to_header().calc_checksum_ipv6(&ip.header().to_header(), udp.payload());
            assert_eq!(udp.checksum(), expected.unwrap());
        }
        _ => panic!("not of its version"),
    }
}

#[test]
fn a_known_flow_is_an_endpoints_as_soon_as_it_is_one() {
    let mut host = Host::new(1);
    let packet = Packet::new(Kind::Udp, "192.0.2.2:50000", "192.0.2.2:4790");
    let frame = packet.frame(mac(2), mac(1));
    for _ in 0..3 {
        let frame = host.pool.frame_from(&frame).unwrap();
        assert!(host.receive(WIRE, frame).is_empty());
    }
    assert_eq!(host.ledger.port(PortIndex(WIRE)).forwarded, 3, "the router sends it back");
    let endpoint = (SocketAddr::new(address(2, true), 4790), ENDPOINTS[0]);
    let snapshot = snapshot(1, Generation(2), &host.fdb, vec![endpoint]);
    host.pipeline.adopt(Arc::new(snapshot));
    let frame = host.pool.frame_from(&frame).unwrap();
    assert_eq!(host.receive(WIRE, frame).len(), 1);
}

proptest! {
    #[test]
    fn what_goes_into_a_tunnel_comes_out_of_it(
        is_tcp in any::<bool>(),
        is_v4 in any::<bool>(),
        is_outside_v4 in any::<bool>(),
        left in prop::sample::select(vec![Left::Nothing, Left::Checksum, Left::Cutting]),
        is_cut_up in any::<bool>(),
        bytes in 1..1300_usize,
        pieces in 1..40_usize,
    ) {
        let kind = if is_tcp { Kind::Tcp("A", 1, 1) } else { Kind::Udp };
        let length = if left == Left::Cutting { (bytes * pieces).min(65_000) } else { bytes };
        let sent = inner(kind, is_v4, length);
        let (mut one, mut two) = (Host::new(1), Host::new(2));
        let mut frame = one.pool.frame_from(&sent).unwrap();
        frame.offload = offload(&sent, left, u16::try_from(bytes).unwrap());
        undone(&mut frame);
        let original = one.copied(&frame);
        let (state, whole) = (original.offload, original.data().to_vec());
        let expected = plain(vec![original], &mut one.pool);
        let wire = one.send(frame, address(2, is_outside_v4)).unwrap();
        prop_assert_eq!(wire.len(), 1, "a super-frame travels as one");
        let arriving: Vec<_> = if is_cut_up {
            let cut = plain(wire, &mut one.pool);
            cut.iter().for_each(|bytes| check_outer(bytes, is_outside_v4));
            cut.iter().map(|bytes| two.pool.frame_from(bytes).unwrap()).collect()
        } else {
            wire.iter().map(|frame| two.copied(frame)).collect()
        };
        let mut out = Vec::new();
        for frame in arriving {
            for Tunnelled { endpoint, outer, mut frame } in two.receive(WIRE, frame) {
                prop_assert_eq!(endpoint, ENDPOINTS[usize::from(!is_outside_v4)]);
                prop_assert_eq!(outer, Outer { remote: address(1, is_outside_v4), tos: 0 });
                prop_assert_eq!(crate::vxlan::decap(&mut frame), Ok(Vni::new(42).unwrap()));
                out.push(frame);
            }
        }
        if !is_cut_up && state.gso != Gso::None {
            prop_assert_eq!((out.len(), out[0].offload, out[0].data()), (1, state, &whole[..]));
        }
        prop_assert_eq!(plain(out, &mut two.pool), expected);
    }
}

/// The frame on the wire that carries an IPv4 datagram from host 1 to host 2.
fn on_the_wire(two: &mut Host) -> PktBuf {
    let mut one = Host::new(1);
    let frame = one.pool.frame_from(&inner(Kind::Udp, true, 100)).unwrap();
    let wire = one.send(frame, address(2, true)).unwrap();
    two.copied(&wire[0])
}

#[test]
fn a_datagram_that_the_kernel_left_to_be_cut_is_several_packets() {
    let (mut one, mut two) = (Host::new(1), Host::new(2));
    let packet = |one: &mut Host| {
        let frame = one.pool.frame_from(&inner(Kind::Udp, true, 100)).unwrap();
        one.send(frame, address(2, true)).unwrap().remove(0)
    };
    let (mut joined, second) = (packet(&mut one).data().to_vec(), packet(&mut one));
    let size = joined.len() - 42;
    joined.extend(&second.data()[42..]);
    let total = u16::try_from(joined.len() - 14).unwrap();
    joined[16..18].copy_from_slice(&total.to_be_bytes());
    joined[38..40].copy_from_slice(&(total - 20).to_be_bytes());
    let mut frame = two.pool.frame_from(&joined).unwrap();
    frame.offload.csum = Csum::Partial { start: 34, offset: 6 };
    frame.offload.gso = Gso::Udp { size: u16::try_from(size).unwrap() };
    let out = two.receive(WIRE, frame);
    assert_eq!(out.len(), 2);
    assert!(out.iter().all(|packet| packet.frame.data()[8..] == inner(Kind::Udp, true, 100)));
}

#[test]
fn a_station_that_sends_by_tunnels_only_is_learned_like_any_other() {
    let mut two = Host::new(2);
    let (mut frame, router) = (on_the_wire(&mut two), mac(99));
    frame.data_mut()[6..12].copy_from_slice(&router.0);
    two.receive(WIRE, frame);
    let snapshot = Arc::clone(&two.pipeline.snapshot);
    let fdb = &snapshot.bridge(BRIDGE).unwrap().fdb;
    assert_eq!(fdb.lookup(router, Vid::NONE, two.now.seconds()), Some(PortIndex(WIRE)));
}

#[test]
fn a_guarded_container_sends_nothing_into_a_tunnel() {
    let mut two = Host::new(2);
    let frame = on_the_wire(&mut two);
    assert!(two.receive(GUARDED, frame).is_empty());
    let frame = on_the_wire(&mut two);
    assert_eq!(two.receive(WIRE, frame).len(), 1);
}

#[test]
fn what_is_for_another_port_or_protocol_is_no_tunnel_packet() {
    let mut two = Host::new(2);
    for (at, value) in [(36, 0x13), (23, 6), (33, 3)] {
        let mut frame = on_the_wire(&mut two);
        frame.data_mut()[at] = value;
        // The header checksum is that of another header, and nobody has to notice.
        // A TCP header of 20 bytes, if it is one.
        frame.data_mut()[46] = 0x50;
        assert!(two.receive(WIRE, frame).is_empty(), "byte {at}");
    }
    assert_eq!(ENDPOINTS.map(|endpoint| two.ledger.port(endpoint).received), [0, 0]);
}

#[test]
fn pieces_and_damaged_packets_are_dropped_into_the_books_of_the_endpoint() {
    let mut two = Host::new(2);
    let lost = |two: &Host| two.drops(ENDPOINTS[0], DropReason::MalformedTunnel);
    // A checksum, and a length.
    for (at, value) in [(41, 1), (38, 0x7f)] {
        let (mut frame, before) = (on_the_wire(&mut two), lost(&two));
        frame.data_mut()[at] = value;
        assert!(two.receive(WIRE, frame).is_empty());
        assert_eq!(lost(&two), before + 1, "byte {at}");
    }
    let whole = on_the_wire(&mut two);
    let mut whole = whole.data().to_vec();
    whole[20] = 0;
    let before = lost(&two);
    let first = two.pool.frame_from(&fragments(&whole, 64)[0]).unwrap();
    assert!(two.receive(WIRE, first).is_empty());
    assert_eq!(lost(&two), before + 1);
}

#[test]
fn what_finds_no_way_says_why() {
    let mut one = Host::new(1);
    for (remote, expected) in [
        ("198.51.100.1", Some(DropReason::TunnelUnreachable)),
        ("192.0.2.1", Some(DropReason::TunnelUnreachable)),
        // It is being asked for.
        ("192.0.2.77", None),
    ] {
        let frame = one.pool.frame_from(&inner(Kind::Udp, true, 100)).unwrap();
        assert_eq!(one.send(frame, ip(remote)).err(), Some(expected), "{remote}");
    }
}

#[test]
fn an_outer_checksum_that_is_half_done_goes_with_its_header() {
    let mut two = Host::new(2);
    let mut frame = on_the_wire(&mut two);
    frame.offload.csum = Csum::Partial { start: 34, offset: 6 };
    let out = two.receive(WIRE, frame);
    assert_eq!(out[0].frame.offload, Offload::NONE);
}

/// That a frame becomes so many packets of a tunnel as it is frames, which come out as these.
fn is_cut_before(sent: &[u8], offload: Offload) {
    let (mut one, mut two) = (Host::new(1), Host::new(2));
    let mut frame = one.pool.frame_from(sent).unwrap();
    frame.offload = offload;
    undone(&mut frame);
    let original = one.copied(&frame);
    let expected = plain(vec![original], &mut one.pool);
    let wire = one.send(frame, address(2, true)).unwrap();
    assert_eq!(wire.len(), expected.len());
    let mut out = Vec::new();
    for packet in wire {
        let packet = two.copied(&packet);
        out.extend(two.receive(WIRE, packet).into_iter().map(|it| it.frame.data()[8..].to_vec()));
    }
    assert_eq!(out, expected);
}

#[test]
fn what_cannot_travel_as_one_is_cut_before() {
    // As long as a packet can be: with more headers it would be longer.
    let long = inner(Kind::Tcp("A", 1, 1), true, 65_495);
    is_cut_before(&long, offload(&long, Left::Cutting, 1400));
    // Options, which whoever cuts packets in tunnels does not expect.
    let packet = Packet::new(Kind::Tcp("A", 1, 1), "10.0.0.1:7", "10.0.0.2:9").of_length(5000);
    let packet = Packet { options: vec![1; 4], ..packet };
    let with_options = packet.frame(mac(7), mac(8));
    is_cut_before(&with_options, offload(&with_options, Left::Cutting, 1400));
}

#[test]
fn a_checksum_that_no_port_finishes_in_a_tunnel_is_finished_before() {
    const SCTP: u8 = 132;
    let packet = Packet::new(Kind::Other(SCTP), "10.0.0.1", "10.0.0.2").of_length(64);
    let mut sent = packet.frame(mac(7), mac(8));
    sent[42..46].fill(0);
    is_cut_before(&sent, Offload { csum: Csum::Partial { start: 34, offset: 8 }, gso: Gso::None });
}
