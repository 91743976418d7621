//! Published ports on the host's own loopback, where the daemon relays them: a namespace is the host.

use std::io::{ErrorKind, Read, Write};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket,
};
use std::time::Duration;

use ctl::response::{BridgeInfo, NatInfo};
use ctl::{ErrorCode, Mutation, Named, NatAdd, NatRule, Publish, Query};
use netlab::{Container, LabError, Need, Test, TestResult, test};
use rustix::process::Signal;

use crate::daemon::{Daemon, eventually};
use crate::routing::{container, routed_bridge};
use crate::uplink::{HOST, INNER, Outcome, Site, connect, io, listen, pattern};

/// Longer than any connection takes to come about.
const SOON: Duration = Duration::from_secs(5);
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
/// The gateways of the container.
const GATEWAY: [&str; 2] = ["10.1.0.1", "fd01::1"];

pub fn tests() -> Vec<Test> {
    [
        test!(what_the_host_publishes_is_reached_by_its_loopback),
        test!(a_datagram_to_a_published_port_of_the_loopback_is_answered_from_there),
        test!(a_relayed_port_is_there_again_after_a_restart),
        test!(a_port_that_another_program_has_on_the_loopback_refuses_the_rule),
        test!(a_restarted_daemon_waits_for_a_port_that_another_program_has),
        test!(a_port_that_is_published_on_the_loopback_is_nowhere_else),
        test!(two_rules_for_one_port_of_the_loopback_are_refused),
    ]
    .into_iter()
    .map(|test| test.needs(Need::Tun).needs(Need::Bpf))
    .collect()
}

fn publish(daemon: &Daemon, name: &str, forward: &str, on: &str) -> Outcome<()> {
    let (on, forward) = (on.parse()?, forward.parse()?);
    let rule = NatRule::Publish(Publish { on, forward, to: None, port: None });
    daemon.change(Mutation::NatAdd(NatAdd { name: Some(name.parse()?), rule }))?;
    Ok(())
}

fn revoke(daemon: &Daemon, name: &str) -> Outcome<()> {
    let named = Named { name: name.parse()?, if_exists: false };
    daemon.change(Mutation::NatDel(named))?;
    Ok(())
}

/// Both ways at once, each to its end and no further.
fn carries_both_ways(near: &TcpStream, far: &TcpStream) -> TestResult {
    let sent = pattern(8 << 20);
    let talk = |stream: &TcpStream| -> std::io::Result<Vec<u8>> {
        stream.set_read_timeout(Some(SOON))?;
        let (mut reader, mut writer) = (stream, stream);
        std::thread::scope(|scope| {
            let sender = scope
                .spawn(|| writer.write_all(&sent).and_then(|()| stream.shutdown(Shutdown::Write)));
            let mut got = Vec::new();
            reader.read_to_end(&mut got)?;
            sender.join().map_err(|_| ErrorKind::Other)??;
            Ok(got)
        })
    };
    let (got, back) = std::thread::scope(|scope| {
        let far = scope.spawn(|| talk(far));
        (talk(near), far.join())
    });
    let back = back.map_err(|_| "the far end panicked")??;
    assert!(got? == sent && back == sent, "every byte arrives");
    Ok(())
}

fn is_relayed(site: &Site, number: usize) -> TestResult {
    let inner: IpAddr = INNER[number].parse()?;
    let listener = listen(&site.inner, SocketAddr::new(inner, 80))?;
    let near = connect(&site.host, SocketAddr::new(LOOPBACK[number], 8080))??;
    let (far, seen) = listener.accept()?;
    assert_eq!(seen.ip(), GATEWAY[number].parse::<IpAddr>()?, "it comes from the gateway");
    carries_both_ways(&near, &far)
}

fn what_the_host_publishes_is_reached_by_its_loopback() -> TestResult {
    let site = Site::new()?;
    is_relayed(&site, 0)?;
    is_relayed(&site, 1)?;
    // An end of one way is no end of the other, and a reset is none at all.
    let listener = listen(&site.inner, SocketAddr::new(INNER[0].parse()?, 80))?;
    let near = connect(&site.host, SocketAddr::new(LOOPBACK[0], 8080))??;
    let (mut far, _) = listener.accept()?;
    near.set_read_timeout(Some(SOON))?;
    near.shutdown(Shutdown::Write)?;
    assert_eq!(far.read(&mut [0; 8])?, 0, "the end of the question");
    far.write_all(b"answer")?;
    let mut heard = [0; 6];
    (&near).read_exact(&mut heard)?;
    assert_eq!(&heard, b"answer");
    let mut near = connect(&site.host, SocketAddr::new(LOOPBACK[0], 8080))??;
    near.set_read_timeout(Some(SOON))?;
    let (far, _) = listener.accept()?;
    rustix::net::sockopt::set_socket_linger(&far, Some(Duration::ZERO))
        .map_err(std::io::Error::from)?;
    drop(far);
    let error = near.read(&mut [0; 8]).err().ok_or("it was reset")?;
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    // Where nobody listens in the container, nobody does here.
    drop(listener);
    let mut near = connect(&site.host, SocketAddr::new(LOOPBACK[0], 8080))??;
    near.set_read_timeout(Some(SOON))?;
    let error = near.read(&mut [0; 8]).err().ok_or("nobody listens")?;
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    site.daemon.check_ledger()
}

fn datagrams(on: &Container, at: SocketAddr) -> Outcome<UdpSocket> {
    let socket = on.run(|| UdpSocket::bind(at).map_err(io))?;
    socket.set_read_timeout(Some(SOON))?;
    Ok(socket)
}

fn a_datagram_to_a_published_port_of_the_loopback_is_answered_from_there() -> TestResult {
    let site = Site::new()?;
    for (number, local) in LOOPBACK.into_iter().enumerate() {
        let inner = SocketAddr::new(INNER[number].parse()?, 53);
        publish(&site.daemon, &format!("dns{number}"), &format!("5353:{inner}/udp"), "out")?;
        let server = datagrams(&site.inner, inner)?;
        let client = datagrams(&site.host, SocketAddr::new(local, 0))?;
        let at = SocketAddr::new(local, 5353);
        let mut heard = vec![0; 65_536];
        for question in [pattern(1), pattern(1400), pattern(9000)] {
            client.send_to(&question, at)?;
            let (bytes, from) = server.recv_from(&mut heard)?;
            assert!(heard[..bytes] == question, "{bytes} of {} bytes", question.len());
            assert_eq!(from.ip(), GATEWAY[number].parse::<IpAddr>()?);
            server.send_to(&question, from)?;
            let (bytes, from) = client.recv_from(&mut heard)?;
            assert!(heard[..bytes] == question && from == at, "{bytes} bytes from {from}");
        }
    }
    site.daemon.check_ledger()
}

fn a_relayed_port_is_there_again_after_a_restart() -> TestResult {
    let mut site = Site::new()?;
    is_relayed(&site, 0)?;
    let directory = site.daemon.directory().to_owned();
    site.daemon.end(Signal::KILL)?;
    let refused = connect(&site.host, SocketAddr::new(LOOPBACK[0], 8080))?;
    assert!(refused.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused));
    site.daemon = Daemon::start_again_on(&site.host, &directory, &[])?;
    is_relayed(&site, 0)?;
    is_relayed(&site, 1)?;
    site.daemon.check_ledger()
}

/// The names of the rules, and of the bridges.
fn names(daemon: &Daemon) -> Outcome<(Vec<String>, Vec<String>)> {
    let rules: Vec<NatInfo> = daemon.ask(Query::NatList)?;
    let bridges: Vec<BridgeInfo> = daemon.ask(Query::BridgeList)?;
    let rules = rules.iter().map(|rule| rule.name.to_string());
    Ok((rules.collect(), bridges.iter().map(|bridge| bridge.name.to_string()).collect()))
}

fn a_port_that_another_program_has_on_the_loopback_refuses_the_rule() -> TestResult {
    let site = Site::new()?;
    let at = SocketAddr::new(LOOPBACK[0], 9090);
    let other = listen(&site.host, at)?;
    let before = names(&site.daemon)?;
    let refused = publish(&site.daemon, "late", "9090:10.1.0.2:80/tcp", "out");
    let error = refused.err().ok_or("it is taken")?.to_string();
    assert!(error.contains("another program on the host has 127.0.0.1:9090/tcp"), "{error}");
    assert_eq!(names(&site.daemon)?, before, "nothing has changed");
    drop(other);
    publish(&site.daemon, "late", "9090:10.1.0.2:80/tcp", "out")?;
    let listener = listen(&site.inner, SocketAddr::new(INNER[0].parse()?, 80))?;
    let mut near = connect(&site.host, at)??;
    near.set_read_timeout(Some(SOON))?;
    let (_far, _) = listener.accept()?;
    // With the rule go the port, at once, and who came by it.
    revoke(&site.daemon, "late")?;
    listen(&site.host, at)?;
    let error = near.read(&mut [0; 8]).err().ok_or("it was reset")?;
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    for name in ["web4", "web6"] {
        assert!(names(&site.daemon)?.1.contains(&"host-loopback".to_owned()));
        revoke(&site.daemon, name)?;
    }
    assert!(!names(&site.daemon)?.1.contains(&"host-loopback".to_owned()), "it went with the last");
    site.daemon.check_ledger()
}

fn a_restarted_daemon_waits_for_a_port_that_another_program_has() -> TestResult {
    let mut site = Site::new()?;
    let directory = site.daemon.directory().to_owned();
    site.daemon.end(Signal::TERM)?;
    let other: TcpListener = listen(&site.host, SocketAddr::new(LOOPBACK[0], 8080))?;
    site.daemon = Daemon::start_again_on(&site.host, &directory, &[])?;
    is_relayed(&site, 1)?;
    // What is reached from outside does not wait.
    let listener = listen(&site.inner, SocketAddr::new(INNER[0].parse()?, 80))?;
    connect(&site.world, SocketAddr::new(HOST[0].parse()?, 8080))??;
    listener.accept()?;
    drop((listener, other));
    eventually("the port is relayed", || {
        listen(&site.host, SocketAddr::new(LOOPBACK[0], 8080)).is_err()
    })?;
    is_relayed(&site, 0)?;
    site.daemon.check_ledger()
}

/// No uplink, no default route, and the name of a program that only speaks with its own host.
fn a_port_that_is_published_on_the_loopback_is_nowhere_else() -> TestResult {
    let host = Container::new()?;
    let daemon = Daemon::start_on(&host, &[])?;
    routed_bridge(&daemon, "inside", &["10.1.0.1/24"])?;
    let inner = container(&daemon, "inner", "inside", &["10.1.0.2/24"], &[])?;
    publish(&daemon, "admin", "127.0.0.1:8080:10.1.0.2:80/tcp", "inside")?;
    let listener = listen(&inner, "10.1.0.2:80".parse()?)?;
    let near = connect(&host, "127.0.0.1:8080".parse()?)??;
    let (far, seen) = listener.accept()?;
    assert_eq!(seen.ip(), "10.1.0.1".parse::<IpAddr>()?, "a neighbour, whom it needs no route to");
    carries_both_ways(&near, &far)?;
    let refused = connect(&inner, "10.1.0.1:8080".parse()?)?;
    assert!(refused.is_err(), "the gateway's address is not the loopback's");
    let links = host.netlink()?.links().map_err(LabError::from)?;
    assert_eq!(links.len(), 1, "the host has its loopback, and nothing else: {links:?}");
    daemon.check_ledger()
}

fn two_rules_for_one_port_of_the_loopback_are_refused() -> TestResult {
    let site = Site::new()?;
    let refused = publish(&site.daemon, "twice", "127.0.0.1:8080:10.1.0.2:81/tcp", "inside");
    let error = refused.err().ok_or("it leads elsewhere")?;
    let error = error.downcast::<ctl::ClientError>().map_err(|_| "another error")?;
    assert!(error.to_string().contains("both lead from tcp port 8080"), "{error}");
    assert!(format!("{error:?}").contains(&format!("{:?}", ErrorCode::Exists)), "{error:?}");
    let name = "host-loopback".parse()?;
    let refused = site.daemon.change(Mutation::BridgeDel(Named { name, if_exists: false }));
    assert!(refused.is_err(), "it is the daemon's");
    site.daemon.check_ledger()
}
