//! What comes to a port of the loopback goes on, and back, with its ends as they were.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by it, also in the functions that tests share"
)]

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use relay::{Aside, Bound, Limits, Listen, Relay, Transport};
use rustix::net::sockopt::set_socket_linger;

const SOON: Duration = Duration::from_secs(10);

fn limits() -> Limits {
    Limits { connections: 64, clients: 2, silence: Duration::from_secs(90) }
}

/// A relay from a port of its own choice to `to`.
fn relayed(limits: Limits, transport: Transport, to: SocketAddr) -> (Relay, Listen) {
    let relay = Relay::start(limits, || Ok(())).unwrap();
    let at = free(transport, to);
    let listen = Listen { at, transport };
    relay.serve(vec![Bound::bind(listen, to).unwrap()]);
    (relay, listen)
}

/// A port that was free a moment ago.
fn free(transport: Transport, like: SocketAddr) -> SocketAddr {
    let any = SocketAddr::new(like.ip(), 0);
    match transport {
        Transport::Tcp => TcpListener::bind(any).unwrap().local_addr().unwrap(),
        Transport::Udp => UdpSocket::bind(any).unwrap().local_addr().unwrap(),
    }
}

fn pair(limits: Limits) -> (Relay, Listen, TcpStream, TcpStream) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let (relay, listen) = relayed(limits, Transport::Tcp, server.local_addr().unwrap());
    let near = connect(listen);
    let far = server.accept().unwrap().0;
    far.set_read_timeout(Some(SOON)).unwrap();
    (relay, listen, near, far)
}

fn connect(listen: Listen) -> TcpStream {
    let near = TcpStream::connect_timeout(&listen.at, SOON).unwrap();
    near.set_read_timeout(Some(SOON)).unwrap();
    near
}

fn pattern(seed: u32, bytes: usize) -> Vec<u8> {
    let words = (0u32..).map(|word| (word ^ seed).wrapping_mul(2_654_435_761));
    words.flat_map(u32::to_le_bytes).take(bytes).collect()
}

fn rest_of(mut stream: &TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    all
}

#[test]
fn both_ways_carry_every_byte_at_the_same_time() {
    let (_relay, _, near, far) = pair(limits());
    let (there, back) = (pattern(1, 24 << 20), pattern(2, 17 << 20));
    thread::scope(|scope| {
        scope.spawn(|| {
            (&near).write_all(&there).unwrap();
            near.shutdown(Shutdown::Write).unwrap();
        });
        scope.spawn(|| {
            (&far).write_all(&back).unwrap();
            far.shutdown(Shutdown::Write).unwrap();
        });
        let got = scope.spawn(|| rest_of(&far));
        assert!(rest_of(&near) == back);
        assert!(got.join().unwrap() == there);
    });
}

#[test]
fn the_end_of_one_way_leaves_the_other_open() {
    let (_relay, _, mut near, mut far) = pair(limits());
    near.write_all(b"question").unwrap();
    near.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest_of(&far), b"question");
    far.write_all(b"answer").unwrap();
    drop(far);
    assert_eq!(rest_of(&near), b"answer");
}

#[test]
fn a_reset_of_either_side_resets_the_other() {
    for is_near in [true, false] {
        let (_relay, _, near, far) = pair(limits());
        let (ours, mut others) = if is_near { (near, far) } else { (far, near) };
        set_socket_linger(&ours, Some(Duration::ZERO)).unwrap();
        drop(ours);
        let error = others.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
fn where_nobody_listens_the_client_is_reset() {
    let nowhere = free(Transport::Tcp, "127.0.0.1:0".parse().unwrap());
    let (_relay, listen) = relayed(limits(), Transport::Tcp, nowhere);
    // The reset may be there before the client has seen that it is connected.
    let client = TcpStream::connect_timeout(&listen.at, SOON);
    let error = client.and_then(|mut client| client.read(&mut [0; 8])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn who_finds_no_room_waits_until_there_is() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let limits = Limits { connections: 1, ..limits() };
    let (_relay, listen) = relayed(limits, Transport::Tcp, server.local_addr().unwrap());
    let (first, mut second) = (connect(listen), connect(listen));
    let far = server.accept().unwrap().0;
    second.write_all(b"me too").unwrap();
    server.set_nonblocking(true).unwrap();
    assert_eq!(server.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    server.set_nonblocking(false).unwrap();
    drop((first, far));
    let mut far = server.accept().unwrap().0;
    let mut heard = [0; 6];
    far.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"me too");
}

#[test]
fn a_port_that_is_withdrawn_is_free_and_who_came_by_it_is_reset() {
    let (relay, listen, mut near, _far) = pair(limits());
    relay.withdraw(vec![listen]);
    assert_eq!(near.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    Bound::bind(listen, listen.at).unwrap();
}

#[test]
fn a_port_that_leads_elsewhere_is_served_on_without_who_came_before() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let (relay, listen) = relayed(limits(), Transport::Tcp, server.local_addr().unwrap());
    let mut near = connect(listen);
    let _far = server.accept().unwrap();
    relay.reset(vec![listen]);
    assert_eq!(near.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let _again = connect(listen);
    server.accept().unwrap();
}

#[test]
fn a_port_that_another_program_has_cannot_be_bound() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = other.local_addr().unwrap();
    let error = Bound::bind(Listen { at, transport: Transport::Tcp }, at).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
}

/// Where its ports are bound, and to whose ends it leads.
fn aside(transport: Transport, to: SocketAddr) -> (Relay, SocketAddr) {
    let relay = Relay::start(limits(), || Ok(())).unwrap();
    let mut aside = Aside::default();
    let mut bind = |port| {
        let at = SocketAddr::new(to.ip(), port);
        aside.bind(Listen { at, transport }, to).unwrap()
    };
    let ports = vec![bind(1), bind(2), bind(3)];
    let own: BTreeSet<SocketAddr> = ports.iter().map(own).collect();
    relay.serve(ports);
    let [own] = own.into_iter().collect::<Vec<_>>().try_into().unwrap();
    (relay, own)
}

fn own(port: &Bound) -> SocketAddr {
    let own = rustix::net::getsockname(port.socket()).unwrap();
    own.try_into().unwrap()
}

#[test]
fn what_is_sent_to_the_port_that_others_share_is_for_none_of_them() {
    for ip in ["127.0.0.1", "::1"] {
        let any = SocketAddr::new(ip.parse().unwrap(), 0);
        let server = TcpListener::bind(any).unwrap();
        let (_relay, shared) = aside(Transport::Tcp, server.local_addr().unwrap());
        // The reset may be there before the client has seen that it is connected.
        let client = TcpStream::connect_timeout(&shared, SOON);
        let error = client.and_then(|mut client| client.read(&mut [0; 8])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        server.set_nonblocking(true).unwrap();
        assert_eq!(server.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}

#[test]
fn a_port_that_others_share_is_chosen_anew_when_another_program_has_it() {
    let (mut aside, to) = (Aside::default(), "127.0.0.1:1".parse().unwrap());
    // Of TCP: one of UDP answers by a raw socket, which needs a privilege.
    let listen = |at| Listen { at, transport: Transport::Tcp };
    let first = aside.bind(listen(to), to).unwrap();
    let at = own(&first);
    assert!(aside.is_at(listen(at)));
    assert!(!aside.is_at(listen(SocketAddr::new([127, 0, 0, 2].into(), at.port()))));
    drop(first);
    let _other = Bound::bind(listen(at), to).unwrap();
    assert_ne!(own(&aside.bind(listen(to), to).unwrap()), at);
}

#[test]
fn answers_to_datagrams_reach_their_client_and_the_most_silent_one_makes_room() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(SOON)).unwrap();
    let (_relay, listen) = relayed(limits(), Transport::Udp, server.local_addr().unwrap());
    let mut heard = [0; 16];
    let mut seen = Vec::new();
    let clients: Vec<_> = (0..3u8)
        .map(|number| {
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.set_read_timeout(Some(SOON)).unwrap();
            client.send_to(&[number], listen.at).unwrap();
            let (bytes, from) = server.recv_from(&mut heard).unwrap();
            assert_eq!(heard[..bytes], [number]);
            seen.push(from);
            client
        })
        .collect();
    for (client, from) in clients.iter().zip(&seen).skip(1) {
        server.send_to(b"answer", from).unwrap();
        assert_eq!(client.recv_from(&mut heard).unwrap(), (6, listen.at));
    }
    // There is room for two: the first one has another socket now.
    clients[0].send_to(b"again", listen.at).unwrap();
    let (_, from) = server.recv_from(&mut heard).unwrap();
    assert_ne!(from, seen[0]);
}

#[test]
fn a_silent_client_of_a_datagram_port_is_forgotten() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(SOON)).unwrap();
    let limits = Limits { silence: Duration::ZERO, ..limits() };
    let (_relay, listen) = relayed(limits, Transport::Udp, server.local_addr().unwrap());
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut heard = [0; 16];
    client.send_to(b"hello", listen.at).unwrap();
    let (_, first) = server.recv_from(&mut heard).unwrap();
    // Whoever takes that port has it once the relay has forgotten the client.
    while UdpSocket::bind(first).is_err() {
        thread::yield_now();
    }
}
