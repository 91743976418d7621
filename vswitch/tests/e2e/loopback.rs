//! Published ports at the host's own addresses, from which the daemon relays them to the host's own programs: a namespace
//! is the host.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket,
};
use std::os::fd::AsFd;
use std::time::Duration;

use ctl::response::{BridgeInfo, NatInfo, Problem, Status};
use ctl::{
    Backend, ErrorCode, Mutation, Named, NatAdd, NatRule, Publish, Query, Service, ServiceAdd,
};
use netlab::{Container, LabError, Need, Test, TestResult, test};
use pktio::bpf::Steering;
use rustix::process::Signal;

use crate::daemon::{Daemon, eventually, is_offloaded};
use crate::routing::{container, routed_bridge};
use crate::uplink::{HOST, INNER, Outcome, Site, connect, io, listen, pattern};

/// Longer than any connection takes to come about.
const SOON: Duration = Duration::from_secs(5);
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
/// The gateways of the container.
const GATEWAY: [&str; 2] = ["10.1.0.1", "fd01::1"];

pub fn tests() -> Vec<Test> {
    [
        test!(what_the_host_publishes_is_reached_by_its_own_addresses),
        test!(a_node_port_is_reached_by_the_hosts_own_addresses),
        test!(what_is_relayed_at_the_hosts_address_is_for_its_own_programs_alone),
        test!(what_is_relayed_follows_the_hosts_addresses),
        test!(a_program_at_an_address_that_the_host_gets_later_is_said_to_lose_its_own_port),
        test!(a_datagram_to_a_published_port_of_the_host_is_answered_from_there),
        test!(a_relayed_port_is_there_again_after_a_restart),
        test!(a_program_gets_a_published_port_and_its_connections_still_go_to_the_container),
        test!(a_program_gets_a_published_port_and_its_datagrams_still_go_to_the_container),
        test!(a_port_that_was_used_a_moment_ago_is_published_again),
        test!(all_relayed_ports_together_take_one_of_the_hosts),
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

fn is_relayed(site: &Site, number: usize, at: SocketAddr) -> TestResult {
    let inner: IpAddr = INNER[number].parse()?;
    let listener = listen(&site.inner, SocketAddr::new(inner, 80))?;
    let near = connect(&site.host, at)?.map_err(|error| format!("{at}: {error}"))?;
    let (far, seen) = listener.accept()?;
    assert_eq!(seen.ip(), GATEWAY[number].parse::<IpAddr>()?, "it comes from the gateway");
    carries_both_ways(&near, &far)
}

/// The host's addresses: its loopback's, and that of its interface.
fn own(number: usize) -> Outcome<[IpAddr; 2]> {
    Ok([LOOPBACK[number], HOST[number].parse()?])
}

fn what_the_host_publishes_is_reached_by_its_own_addresses() -> TestResult {
    let site = Site::new()?;
    for number in [0, 1] {
        for ip in own(number)? {
            is_relayed(&site, number, SocketAddr::new(ip, 8080))?;
        }
    }
    // At one address, and at no other.
    publish(&site.daemon, "one", &format!("{}:9090:10.1.0.2:80/tcp", HOST[0]), "out")?;
    is_relayed(&site, 0, SocketAddr::new(HOST[0].parse()?, 9090))?;
    let refused = connect(&site.host, SocketAddr::new(LOOPBACK[0], 9090))?;
    assert!(refused.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused));
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
    let near = connect(&site.host, SocketAddr::new(LOOPBACK[0], 8080))?;
    // The reset may come before the client has seen that it is connected.
    let error = near.and_then(|mut near| {
        near.set_read_timeout(Some(SOON))?;
        near.read(&mut [0; 8])
    });
    let error = error.err().ok_or("nobody listens")?;
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    site.daemon.check_ledger()
}

/// As kube-proxy's, from a program of the node itself.
fn a_node_port_is_reached_by_the_hosts_own_addresses() -> TestResult {
    let site = Site::new()?;
    for (number, vip) in ["10.96.0.10:80/tcp", "[fd96::10]:80/tcp"].into_iter().enumerate() {
        let port = 30080;
        let backend = Backend { at: SocketAddr::new(INNER[number].parse()?, 80), draining: false };
        let service = Service {
            backends: vec![backend],
            node_port: Some(port),
            ..Service::new(vip.parse()?)
        };
        let add = ServiceAdd { name: format!("web{number}").parse()?, service };
        site.daemon.change(Mutation::ServiceAdd(Box::new(add)))?;
        for ip in own(number)? {
            is_relayed(&site, number, SocketAddr::new(ip, port))?;
        }
        // From outside the client's address is kept.
        let listener = listen(&site.inner, backend.at)?;
        let near = connect(&site.world, SocketAddr::new(HOST[number].parse()?, port))??;
        assert_eq!(listener.accept()?.1, near.local_addr()?);
    }
    site.daemon.check_ledger()
}

/// What comes by another interface of the host is no program of its own.
fn what_is_relayed_at_the_hosts_address_is_for_its_own_programs_alone() -> TestResult {
    let site = Site::new()?;
    let lan = Container::new()?;
    site.host.netlink()?.create_veth("eth1", "eth0", Some(lan.namespace().as_fd()))?;
    site.host.address("eth1", &["203.0.113.1/24"])?;
    lan.address("eth0", &["203.0.113.9/24"])?;
    site.host.await_ready("eth1")?;
    lan.await_ready("eth0")?;
    lan.netlink()?.add_default_route("203.0.113.1".parse()?, lan.link("eth0")?.index)?;
    let at = SocketAddr::new(HOST[0].parse()?, 8080);
    is_relayed(&site, 0, at)?;
    let second = Duration::from_secs(1);
    let refused = lan.run(|| Ok::<_, LabError>(TcpStream::connect_timeout(&at, second)))?;
    assert_eq!(refused.err().map(|error| error.kind()), Some(ErrorKind::TimedOut));
    site.daemon.check_ledger()
}

fn what_is_relayed_follows_the_hosts_addresses() -> TestResult {
    let mut site = Site::new()?;
    let directory = site.daemon.directory().to_owned();
    site.daemon.end(Signal::TERM)?;
    let _crowd = crowd(&site.host)?;
    site.daemon = Daemon::start_again_on(&site.host, &directory, &[])?;
    let (link, netlink) = (site.host.link("eth0")?, site.host.netlink()?);
    let further = "198.51.100.2/24".parse()?;
    let forward = "198.51.100.2:9090:10.1.0.2:53/udp";
    assert!(publish(&site.daemon, "late", forward, "out").is_err(), "nobody has the address");
    netlink.add_address(link.index, further)?;
    let publish = || publish(&site.daemon, "late", forward, "out");
    eventually("the host is followed", || publish().is_ok())?;
    // It goes, and the rule waits for it; meanwhile another program takes the port.
    netlink.remove_address(link.index, further)?;
    let anywhere = "0.0.0.0:9090".parse()?;
    eventually("the port is relayed no more", || datagrams(&site.host, anywhere).is_ok())?;
    let other = datagrams(&site.host, anywhere)?;
    netlink.add_address(link.index, further)?;
    eventually("the host is followed, and said to have the port", || {
        let status = site.daemon.ask::<Status>(Query::Status);
        status.is_ok_and(|status| {
            let is_it = |problem: &Problem| problem.text.contains("198.51.100.2:9090");
            status.problems.iter().filter(|problem| is_it(problem)).count() == 1
        })
    })?;
    is_relayed(&site, 0, "198.51.100.2:8080".parse()?)?;
    drop(other);
    let at = "198.51.100.2:9090".parse()?;
    eventually("the port is relayed", || datagrams(&site.host, at).is_err())?;
    let server = datagrams(&site.inner, "10.1.0.2:53".parse()?)?;
    answers(&site, (&server, GATEWAY[0].parse()?), at)?;
    assert_eq!(site.daemon.ask::<Status>(Query::Status)?.problems, [], "it went with its cause");
    site.daemon.check_ledger()
}

/// Where the host has it on another interface already, for instance.
fn a_program_at_an_address_that_the_host_gets_later_is_said_to_lose_its_own_port() -> TestResult {
    let site = Site::new()?;
    let netlink = site.host.netlink()?;
    netlink.add_address(site.host.link("lo")?.index, "198.51.100.2/32".parse()?)?;
    let at: SocketAddr = "198.51.100.2:8080".parse()?;
    let _program: TcpListener = listen(&site.host, at)?;
    netlink.add_address(site.host.link("eth0")?.index, "198.51.100.2/24".parse()?)?;
    let texts = || -> Outcome<Vec<String>> {
        let problems = site.daemon.ask::<Status>(Query::Status)?.problems;
        Ok(problems.into_iter().map(|problem| problem.text).collect())
    };
    eventually("it is said", || texts().is_ok_and(|texts| !texts.is_empty()))?;
    is_relayed(&site, 0, at)?;
    let texts = texts()?;
    let [only] = &texts[..] else { return Err(format!("{texts:?}").into()) };
    assert!(only.starts_with("nat rule web4: a program on the host has 198.51.100.2:8080/tcp"));
    site.daemon.check_ledger()
}

/// Has the kernel steer nothing to a daemon that is started now, which then holds the ports that it relays: a namespace has room
/// for so many programs (`netns_bpf_max_progs`, kernel/bpf/net_namespace.c). They go with the answer.
fn crowd(host: &Container) -> Outcome<Vec<Steering>> {
    let programs = || std::iter::from_fn(|| Steering::new(1).ok()).collect();
    Ok(host.run(|| Ok::<_, LabError>(programs()))?)
}

fn datagrams(on: &Container, at: SocketAddr) -> Outcome<UdpSocket> {
    let socket = on.run(|| UdpSocket::bind(at).map_err(io))?;
    socket.set_read_timeout(Some(SOON))?;
    Ok(socket)
}

fn a_datagram_to_a_published_port_of_the_host_is_answered_from_there() -> TestResult {
    let site = Site::new()?;
    for number in [0, 1] {
        let inner = SocketAddr::new(INNER[number].parse()?, 53);
        publish(&site.daemon, &format!("dns{number}"), &format!("5353:{inner}/udp"), "out")?;
        let server = datagrams(&site.inner, inner)?;
        for local in own(number)? {
            answers(&site, (&server, GATEWAY[number].parse()?), SocketAddr::new(local, 5353))?;
        }
    }
    site.daemon.check_ledger()
}

/// What the host asks at an address of its own comes to a server as from its gateway, and the answer back from there.
fn answers(site: &Site, (server, gateway): (&UdpSocket, IpAddr), at: SocketAddr) -> TestResult {
    let client = datagrams(&site.host, SocketAddr::new(at.ip(), 0))?;
    let mut heard = vec![0; 65_536];
    for question in [pattern(1), pattern(1400), pattern(9000)] {
        client.send_to(&question, at)?;
        let (bytes, from) = server.recv_from(&mut heard)?;
        assert!(heard[..bytes] == question, "{bytes} of {} bytes", question.len());
        assert_eq!(from.ip(), gateway);
        server.send_to(&question, from)?;
        let (bytes, from) = client.recv_from(&mut heard)?;
        assert!(heard[..bytes] == question && from == at, "{bytes} bytes from {from}");
    }
    Ok(())
}

fn a_relayed_port_is_there_again_after_a_restart() -> TestResult {
    let mut site = Site::new()?;
    is_relayed(&site, 0, SocketAddr::new(LOOPBACK[0], 8080))?;
    let directory = site.daemon.directory().to_owned();
    site.daemon.end(Signal::KILL)?;
    let refused = connect(&site.host, SocketAddr::new(LOOPBACK[0], 8080))?;
    assert!(refused.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused));
    site.daemon = Daemon::start_again_on(&site.host, &directory, &[])?;
    is_relayed(&site, 0, SocketAddr::new(LOOPBACK[0], 8080))?;
    is_relayed(&site, 1, SocketAddr::new(LOOPBACK[1], 8080))?;
    site.daemon.check_ledger()
}

/// As podman does, to reserve it: before a restart of the daemon and through it.
fn a_program_gets_a_published_port_and_its_connections_still_go_to_the_container() -> TestResult {
    let mut site = Site::new()?;
    let at = |number: usize| SocketAddr::new(LOOPBACK[number], 8080);
    let other: TcpListener = listen(&site.host, "[::]:8080".parse()?)?;
    let every_address = |site: &Site| -> TestResult {
        for number in [0, 1] {
            for ip in own(number)? {
                is_relayed(site, number, SocketAddr::new(ip, 8080))?;
            }
        }
        Ok(())
    };
    every_address(&site)?;
    let directory = site.daemon.directory().to_owned();
    site.daemon.end(Signal::KILL)?;
    // Nothing of the daemon's is left in its way.
    for number in [0, 1] {
        let near = connect(&site.host, at(number))??;
        assert_eq!(other.accept()?.1.port(), near.local_addr()?.port());
    }
    site.daemon = Daemon::start_again_on(&site.host, &directory, &[])?;
    every_address(&site)?;
    other.set_nonblocking(true)?;
    assert!(other.accept().is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
    let status: Status = site.daemon.ask(Query::Status)?;
    assert!(status.problems.is_empty(), "{:?}", status.problems);
    // With the rule, it has the port for itself.
    revoke(&site.daemon, "web4")?;
    connect(&site.host, at(0))??;
    other.set_nonblocking(false)?;
    other.accept()?;
    site.daemon.check_ledger()
}

/// As Docker does when it starts a container again.
fn a_port_that_was_used_a_moment_ago_is_published_again() -> TestResult {
    let site = Site::new()?;
    let target = SocketAddr::new(INNER[0].parse()?, 80);
    let server = listen(&site.inner, target)?;
    let near = connect(&site.host, SocketAddr::new(LOOPBACK[0], 8080))??;
    // Who closes first remembers the connection for a minute: the daemon, for the container.
    drop(server.accept()?);
    near.set_read_timeout(Some(SOON))?;
    assert_eq!((&near).read(&mut [0; 1])?, 0);
    drop(near);
    revoke(&site.daemon, "web4")?;
    publish(&site.daemon, "web4", &format!("8080:{target}/tcp"), "out")?;
    connect(&site.host, SocketAddr::new(LOOPBACK[0], 8080))??;
    server.accept()?;
    site.daemon.check_ledger()
}

/// As podman does with `-p 5353:53/udp`.
fn a_program_gets_a_published_port_and_its_datagrams_still_go_to_the_container() -> TestResult {
    let mut site = Site::new()?;
    let inner = |number: usize| -> Outcome<_> { Ok(SocketAddr::new(INNER[number].parse()?, 53)) };
    for number in [0, 1] {
        let forward = format!("5353:{}/udp", inner(number)?);
        publish(&site.daemon, &format!("dns{number}"), &forward, "out")?;
    }
    let other = datagrams(&site.host, "[::]:5353".parse()?)?;
    let every_address = |site: &Site| -> TestResult {
        for number in [0, 1] {
            let server = datagrams(&site.inner, inner(number)?)?;
            for ip in own(number)? {
                let gateway = GATEWAY[number].parse()?;
                answers(site, (&server, gateway), SocketAddr::new(ip, 5353))?;
            }
        }
        Ok(())
    };
    every_address(&site)?;
    let directory = site.daemon.directory().to_owned();
    site.daemon.end(Signal::KILL)?;
    let client = datagrams(&site.host, SocketAddr::new(LOOPBACK[0], 0))?;
    let mut heard = [0; 8];
    client.send_to(b"between", SocketAddr::new(LOOPBACK[0], 5353))?;
    assert_eq!(other.recv_from(&mut heard)?.0, 7);
    site.daemon = Daemon::start_again_on(&site.host, &directory, &[])?;
    every_address(&site)?;
    other.set_nonblocking(true)?;
    assert!(other.recv(&mut heard).is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
    let status: Status = site.daemon.ask(Query::Status)?;
    assert!(status.problems.is_empty(), "{:?}", status.problems);
    // With the rule, it has the port for itself.
    revoke(&site.daemon, "dns0")?;
    other.set_nonblocking(false)?;
    client.send_to(b"after", SocketAddr::new(LOOPBACK[0], 5353))?;
    assert_eq!(other.recv_from(&mut heard)?.0, 5);
    site.daemon.check_ledger()
}

/// The ports of the host at which somebody listens, of TCP and IPv4.
fn listened(host: &Container) -> Outcome<BTreeSet<u16>> {
    let text = host.run(|| std::fs::read_to_string("/proc/thread-self/net/tcp").map_err(io))?;
    let of_line = |line: &str| {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        let port = words.get(1)?.split_once(':')?.1;
        (*words.get(3)? == "0A").then(|| u16::from_str_radix(port, 16).ok())?
    };
    Ok(text.lines().filter_map(of_line).collect())
}

fn all_relayed_ports_together_take_one_of_the_hosts() -> TestResult {
    let site = Site::new()?;
    publish(&site.daemon, "many", "20000-20199:10.1.0.2:20000/tcp", "out")?;
    let listened = listened(&site.host)?;
    let [shared] = listened.into_iter().collect::<Vec<_>>()[..] else {
        return Err("more than one port".into());
    };
    let listener = listen(&site.inner, "10.1.0.2:20123".parse()?)?;
    let near = connect(&site.host, SocketAddr::new(LOOPBACK[0], 20123))??;
    carries_both_ways(&near, &listener.accept()?.0)?;
    // To that one itself leads nothing, until it is published; then it is like any other.
    let at = SocketAddr::new(LOOPBACK[0], shared);
    let reset = connect(&site.host, at)?.and_then(|mut near| {
        near.set_read_timeout(Some(SOON))?;
        near.read(&mut [0; 8])
    });
    assert!(reset.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
    publish(&site.daemon, "same", &format!("{shared}:10.1.0.2:80/tcp"), "out")?;
    is_relayed(&site, 0, at)?;
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
    assert!(error.contains(&format!("process {})", std::process::id())), "{error}");
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
    let server = datagrams(&site.inner, SocketAddr::new(INNER[0].parse()?, 53))?;
    publish(&site.daemon, "dns", "5353:10.1.0.2:53/udp", "out")?;
    let (server, [loopback, nic]) = ((&server, GATEWAY[0].parse()?), own(0)?);
    let directory = site.daemon.directory().to_owned();
    site.daemon.end(Signal::TERM)?;
    let _crowd = crowd(&site.host)?;
    let other = datagrams(&site.host, SocketAddr::new(loopback, 5353))?;
    site.daemon = Daemon::start_again_on(&site.host, &directory, &[])?;
    answers(&site, server, SocketAddr::new(nic, 5353))?;
    drop(other);
    let at = SocketAddr::new(loopback, 5353);
    eventually("the port is relayed", || datagrams(&site.host, at).is_err())?;
    answers(&site, server, at)?;
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
    let veths = usize::from(is_offloaded());
    assert_eq!(links.len(), 1 + veths, "the host has its loopback, and nothing else: {links:?}");
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
