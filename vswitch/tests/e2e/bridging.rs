//! What a bridge does and does not do, seen from the wire.

use std::time::{Duration, SystemTime};

use ctl::response::{DropInfo, Stats};
use ctl::{BadName, Mutation, Named, Query, TrafficFilter, Vlan};
use netlab::raw::RawSocket;
use netlab::{Container, Need, Test, TestResult, ping, test};

use crate::daemon::{Daemon, Kind, bridge, connect, eventually, port, tap};

/// Long enough for a frame that comes.
const SOON: Duration = Duration::from_secs(5);

pub fn tests() -> Vec<Test> {
    [
        test!(bridges_of_one_daemon_are_separate),
        test!(isolated_ports_reach_others_but_not_each_other),
        test!(vlans_separate_containers_and_a_trunk_carries_them_tagged),
        test!(frames_that_are_too_long_for_a_port_are_dropped_with_that_reason),
        test!(malformed_frames_are_counted_and_survived),
        test!(frames_with_half_a_tag_are_counted_and_survived),
        test!(a_drop_is_shown_with_its_time_and_outlives_its_port),
        test!(traffic_is_told_of_the_ports_that_are_named),
        test!(a_known_station_is_not_flooded),
        test!(however_many_veths_there_are_all_of_them_are_served),
    ]
    .into_iter()
    .chain([
        test!(an_sctp_checksum_that_was_left_to_a_device_is_finished).needs(Need::Bpf),
        test!(however_many_veths_there_are_all_of_them_are_served_by_xdp).needs(Need::Bpf),
    ])
    .map(|test| test.needs(Need::Tun))
    .collect()
}

/// Waits for a frame, which must come.
fn comes(wire: &RawSocket, is_it: impl FnMut(&[u8]) -> bool) -> TestResult {
    wire.receive(SOON, is_it)?.ok_or("the frame did not come")?;
    Ok(())
}

fn reaches(from: &Container, ip: &str) -> TestResult {
    ping::ping(from, ip.parse()?, &ping::Options::default())?;
    Ok(())
}

fn is_cut_off(from: &Container, ip: &str) -> TestResult {
    if ping::is_silent(from, ip.parse()?, Duration::from_millis(500))? {
        Ok(())
    } else {
        Err(format!("{ip} answers, and should not").into())
    }
}

fn drops(daemon: &Daemon, reason: &str) -> Result<u64, ctl::ClientError> {
    let drops: Vec<DropInfo> = daemon.ask(Query::drops())?;
    Ok(drops.iter().filter(|drop| drop.reason == reason).map(|drop| drop.count).sum())
}

/// A port that has seen short frames asks for buffers by the dozen, and all of them together for more than there are.
fn however_many_veths_there_are_all_of_them_are_served() -> TestResult {
    all_are_served(Kind::Gso, 12)
}

/// A ring of slots for each port to receive into would be more than there are.
fn however_many_veths_there_are_all_of_them_are_served_by_xdp() -> TestResult {
    all_are_served(Kind::Xdp, 24)
}

fn all_are_served(kind: Kind, count: usize) -> TestResult {
    let daemon = Daemon::start()?;
    let containers = (0..count).map(|_| Container::new()).collect::<Result<Vec<_>, _>>()?;
    let address = |number: usize| format!("10.0.0.{}", number + 1);
    for (number, container) in containers.iter().enumerate() {
        let cidr = address(number) + "/24";
        connect(&daemon, &format!("c{number}"), kind, container, (1500, &[&cidr]))?;
    }
    for step in [1, count / 2] {
        for (number, container) in containers.iter().enumerate() {
            reaches(container, &address((number + step) % count))?;
        }
    }
    daemon.check_ledger()
}

fn bridges_of_one_daemon_are_separate() -> TestResult {
    let daemon = Daemon::start()?;
    bridge(&daemon, "br1")?;
    let (a, b, c) = (Container::new()?, Container::new()?, Container::new()?);
    daemon.add("a", port("br0", tap(&a, &["10.0.0.1/24"])?)?)?;
    daemon.add("b", port("br1", tap(&b, &["10.0.0.2/24"])?)?)?;
    daemon.add("c", port("br1", tap(&c, &["10.0.0.1/24"])?)?)?;
    is_cut_off(&a, "10.0.0.2")?;
    reaches(&c, "10.0.0.2")?;
    daemon.check_ledger()
}

/// CRC32c bit by bit (RFC 9260 appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0x82f6_3b78 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), bit))
}

/// As a container's kernel sends it by a veth device: without a checksum, and AF_XDP does not say so.
fn an_sctp_checksum_that_was_left_to_a_device_is_finished() -> TestResult {
    const SCTP: usize = 34;
    let daemon = Daemon::start()?;
    let (a, b, c) = (Container::new()?, Container::new()?, Container::new()?);
    connect(&daemon, "a", Kind::Xdp, &a, (1500, &["10.0.0.1/24"]))?;
    connect(&daemon, "b", Kind::Gso, &b, (1500, &["10.0.0.2/24"]))?;
    connect(&daemon, "c", Kind::Tap, &c, (1500, &["10.0.0.3/24"]))?;
    [&a, &b, &c].iter().try_for_each(|end| end.await_ready("eth0").map(drop))?;
    let body = [&[0x13, 0x88, 0, 80, 1, 2, 3, 4, 0, 0, 0, 0][..], &[7; 52]].concat();
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2([2; 6], [0xff; 6])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 255], 64)
        .write(&mut frame, etherparse::IpNumber::SCTP, &body)?;
    let (inside, ends) = (RawSocket::open(&a, "eth0")?, [&b, &c]);
    let ends = ends.map(|end| RawSocket::open(end, "eth0"));
    inside.send(&frame)?;
    for end in ends {
        let arrived = end?.receive(SOON, |frame| frame[12..14] == [8, 0] && frame[23] == 132)?;
        let arrived = arrived.ok_or("the frame did not come")?;
        assert!(!arrived.checksum_is_partial);
        let crc = crc32c(&body).to_le_bytes();
        assert_eq!(arrived.bytes[SCTP..], [&body[..8], &crc, &body[12..]].concat());
    }
    daemon.check_ledger()
}

fn isolated_ports_reach_others_but_not_each_other() -> TestResult {
    let daemon = Daemon::start()?;
    let (a, b, c) = (Container::new()?, Container::new()?, Container::new()?);
    for (name, container, ip, isolated) in [
        ("a", &a, "10.0.0.1/24", true),
        ("b", &b, "10.0.0.2/24", true),
        ("c", &c, "10.0.0.3/24", false),
    ] {
        let mut port = port("br0", tap(container, &[ip])?)?;
        port.isolated = isolated;
        daemon.add(name, port)?;
    }
    is_cut_off(&a, "10.0.0.2")?;
    reaches(&a, "10.0.0.3")?;
    reaches(&b, "10.0.0.3")?;
    daemon.check_ledger()
}

fn vlans_separate_containers_and_a_trunk_carries_them_tagged() -> TestResult {
    let daemon = Daemon::start()?;
    let (a, b, trunk) = (Container::new()?, Container::new()?, Container::new()?);
    let vlans = [
        ("a", &a, "10.0.0.1/24", Vlan::Access(10.try_into()?)),
        ("b", &b, "10.0.0.2/24", Vlan::Access(20.try_into()?)),
        ("t", &trunk, "10.0.0.3/24", Vlan::Trunk { allowed: "10,20".parse()?, native: None }),
    ];
    for (name, container, ip, vlan) in vlans {
        let mut port = port("br0", tap(container, &[ip])?)?;
        port.vlan = vlan;
        daemon.add(name, port)?;
    }
    let capture = RawSocket::open(&trunk, "eth0")?;
    is_cut_off(&a, "10.0.0.2")?;
    // The request for the other's address left the trunk with the tag of VLAN 10.
    comes(&capture, |frame| frame.get(12..18) == Some(&[0x81, 0, 0, 10, 8, 6]))?;
    // And what comes in tagged leaves untagged.
    let listener = RawSocket::open(&b, "eth0")?;
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 9, 0x81, 0, 0, 20, 0x88, 0xb5]);
    frame.resize(64, 0x5a);
    capture.send(&frame)?;
    comes(&listener, |frame| frame.get(12..14) == Some(&[0x88, 0xb5]))?;
    daemon.check_ledger()
}

fn frames_that_are_too_long_for_a_port_are_dropped_with_that_reason() -> TestResult {
    let daemon = Daemon::start()?;
    let (a, b) = (Container::new()?, Container::new()?);
    daemon.add("a", port("br0", tap(&a, &["10.0.0.1/24"])?)?)?;
    let mut small = port("br0", tap(&b, &["10.0.0.2/24"])?)?;
    small.mtu = Some(1500.try_into()?);
    daemon.add("b", small)?;
    reaches(&a, "10.0.0.2")?;
    let before = drops(&daemon, "oversized")?;
    let long = ping::Options { payload_bytes: 4000, patience: Duration::from_millis(300) };
    assert!(ping::ping(&a, "10.0.0.2".parse()?, &long).is_err());
    assert!(drops(&daemon, "oversized")? > before);
    daemon.check_ledger()
}

/// What a frame that somebody sends begins with.
fn header(src: [u8; 6], rest: &[u8]) -> Vec<u8> {
    [&[0xff; 6][..], &src, rest].concat()
}

/// A port of a VLAN sends these frames ten times, of which so many are dropped with each reason, and still reaches another.
fn survives(frames: &[Vec<u8>], dropped: &[(&str, u64)]) -> TestResult {
    let daemon = Daemon::start()?;
    let (a, b) = (Container::new()?, Container::new()?);
    let mut aware = port("br0", tap(&a, &["10.0.0.1/24"])?)?;
    aware.vlan = Vlan::Access(5.try_into()?);
    daemon.add("a", aware.clone())?;
    daemon.add("b", ctl::Port { kind: tap(&b, &["10.0.0.2/24"])?, ..aware })?;
    let wire = RawSocket::open(&a, "eth0")?;
    for _ in 0..10 {
        frames.iter().try_for_each(|frame| wire.send(frame))?;
    }
    reaches(&a, "10.0.0.2")?;
    for (reason, count) in dropped {
        assert_eq!(drops(&daemon, reason)?, *count, "{reason}");
    }
    daemon.check_ledger()
}

fn malformed_frames_are_counted_and_survived() -> TestResult {
    let own = [2, 0, 0, 0, 0, 9];
    let frames = [
        header([1, 0, 0, 0, 0, 9], &[8, 0, 0, 0]),
        header([0; 6], &[8, 0, 0, 0]),
        header(own, &[0x81, 0, 0, 5, 0x81, 0, 0, 6, 0x81, 0, 0, 7]),
        header(own, &[8, 0, 0x45, 0, 0xff, 0xff]),
        header(own, &[0x86, 0xdd, 0x60, 0, 0, 0, 0xff, 0xff, 44, 0]),
        header(own, &[8, 0, 0x4f, 0, 0, 20]),
    ];
    survives(&frames, &[("invalid-source", 20), ("malformed-vlan", 0)])
}

fn frames_with_half_a_tag_are_counted_and_survived() -> TestResult {
    survives(&[header([2, 0, 0, 0, 0, 9], &[0x81, 0, 0])], &[("malformed-vlan", 10)])
}

fn a_drop_is_shown_with_its_time_and_outlives_its_port() -> TestResult {
    let daemon = Daemon::start()?;
    let a = Container::new()?;
    daemon.add("a", port("br0", tap(&a, &["10.0.0.1/24"])?)?)?;
    let begun = SystemTime::now();
    let wire = RawSocket::open(&a, "eth0")?;
    let mut frame = vec![0xff; 60];
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    wire.send(&frame)?;
    eventually("the frame is dropped", || {
        drops(&daemon, "invalid-source").is_ok_and(|count| count == 1)
    })?;
    let all: Vec<DropInfo> = daemon.ask(Query::drops())?;
    let drop = all.into_iter().find(|drop| drop.reason == "invalid-source").ok_or("no drop")?;
    let last = drop.last.ok_or("it is not remembered")?;
    let at = humantime::parse_rfc3339(&last.at)?;
    // To the millisecond.
    assert!(at + Duration::from_millis(2) > begun && at <= SystemTime::now(), "{}", last.at);
    assert!(last.bytes.starts_with("ffffffffffff"), "{}", last.bytes);
    daemon.change(Mutation::PortDel(Named::new("a".parse()?)))?;
    let all: Vec<DropInfo> = daemon.ask(Query::drops())?;
    let removed = all.iter().find(|drop| drop.reason == "invalid-source").ok_or("no drop")?;
    assert_eq!((removed.port.as_str(), removed.count), ("(removed)", 1));
    let still = removed.last.as_ref().ok_or("it is forgotten with its port")?;
    assert_eq!((&still.bytes, &still.summary), (&last.bytes, &last.summary));
    assert!(still.milliseconds_ago >= last.milliseconds_ago);
    Ok(())
}

fn traffic_is_told_of_the_ports_that_are_named() -> TestResult {
    let daemon = Daemon::start()?;
    let (a, b) = (Container::new()?, Container::new()?);
    daemon.add("a", port("br0", tap(&a, &["10.0.0.1/24"])?)?)?;
    daemon.add("b", port("br0", tap(&b, &["10.0.0.2/24"])?)?)?;
    RawSocket::open(&a, "eth0")?.send(&[0xff; 60])?;
    eventually("the frame is dropped", || {
        drops(&daemon, "invalid-source").is_ok_and(|count| count == 1)
    })?;
    let of = |port: &str| Ok::<_, BadName>(TrafficFilter { ports: vec![port.parse()?] });
    let lost: Vec<DropInfo> = daemon.ask(Query::Drops(of("a")?))?;
    assert!(lost.iter().any(|drop| drop.reason == "invalid-source"), "{lost:?}");
    let lost: Vec<DropInfo> = daemon.ask(Query::Drops(of("b")?))?;
    assert!(lost.iter().all(|drop| drop.port == "b"), "{lost:?}");
    let stats: Stats = daemon.ask(Query::Stats(of("b")?))?;
    let [b] = stats.ports.as_slice() else { return Err(format!("{:?}", stats.ports).into()) };
    assert_eq!(b.port, "b");
    assert!(stats.total.dropped_in >= 1, "it is of all ports");
    let unknown = daemon.ask::<Stats>(Query::Stats(of("c")?)).err().ok_or("there is no c")?;
    assert!(unknown.to_string().contains("port c does not exist"), "{unknown}");
    Ok(())
}

fn a_known_station_is_not_flooded() -> TestResult {
    let daemon = Daemon::start()?;
    let (a, b, c) = (Container::new()?, Container::new()?, Container::new()?);
    for (name, container, ip) in
        [("a", &a, "10.0.0.1/24"), ("b", &b, "10.0.0.2/24"), ("c", &c, "10.0.0.3/24")]
    {
        daemon.add(name, port("br0", tap(container, &[ip])?)?)?;
    }
    let overhears = RawSocket::open(&c, "eth0")?;
    reaches(&a, "10.0.0.2")?;
    reaches(&b, "10.0.0.1")?;
    // The marker comes after all the rest; no echo was overheard before it.
    reaches(&a, "10.0.0.3")?;
    let mut echoes = 0;
    comes(&overhears, |frame| {
        let is_echo = frame.get(12..14) == Some(&[8, 0]) && frame.get(23) == Some(&1);
        let to_c = frame.get(30..34) == Some(&[10, 0, 0, 3]);
        echoes += u32::from(is_echo && !to_c);
        is_echo && to_c
    })?;
    assert_eq!(echoes, 0);
    daemon.check_ledger()
}
