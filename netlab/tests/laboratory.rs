//! The laboratory's own instruments, on a wire and on the Linux bridge.

use std::fs;
use std::net::IpAddr;
use std::process::{Command, ExitCode};
use std::time::Duration;

use netlab::conntrack::Conntrack;
use netlab::load::{IMIX, Load};
use netlab::raw::RawSocket;
use netlab::tcp::Direction;
use netlab::topology::{LinuxBridge, veth, without_bridge_netfilter};
use netlab::transfer::Datagrams;
use netlab::{
    Container, LabError, Need, Path, TestResult, load, ping, rr, tcp, test, transfer, udp,
};

const SHORT: Duration = Duration::from_millis(200);

/// Two containers, connected by a wire: 10.0.0.1 and fd00::1, 10.0.0.2 and fd00::2.
fn wired() -> Result<(Container, Container), LabError> {
    let (a, b) = (Container::new()?, Container::new()?);
    veth(&a, "eth0", &b, "eth0")?;
    addressed(&a, &b)?;
    Ok((a, b))
}

fn addressed(a: &Container, b: &Container) -> Result<(), LabError> {
    a.address("eth0", &["10.0.0.1/24", "fd00::1/64"])?;
    b.address("eth0", &["10.0.0.2/24", "fd00::2/64"])?;
    Ok(())
}

fn targets() -> [IpAddr; 2] {
    [[10, 0, 0, 2].into(), [0xfd00, 0, 0, 0, 0, 0, 0, 2].into()]
}

fn a_wire_answers_ping_at_once() -> TestResult {
    let (a, _b) = wired()?;
    for target in targets() {
        ping::ping(&a, target, &ping::Options::default())?;
    }
    Ok(())
}

fn a_ping_carries_payloads_up_to_the_limit() -> TestResult {
    let (a, _b) = wired()?;
    for target in targets() {
        for payload_bytes in [0, 1, 1400, 9000, 65_000] {
            ping::ping(&a, target, &ping::Options { payload_bytes, ..Default::default() })?;
        }
    }
    Ok(())
}

fn nobody_answers_for_an_absent_host() -> TestResult {
    let (a, _b) = wired()?;
    assert!(ping::is_silent(&a, [10, 0, 0, 9].into(), SHORT)?);
    assert!(!ping::is_silent(&a, targets()[0], Duration::from_secs(5))?);
    Ok(())
}

fn a_wire_carries_tcp_streams() -> TestResult {
    let (a, b) = wired()?;
    for target in targets() {
        for direction in [Direction::There, Direction::Back, Direction::Both] {
            let options =
                tcp::Options { streams: 2, duration: SHORT, direction, ..Default::default() };
            let report = tcp::stream(&Path::new(&a, &b, target), &options)?;
            assert!(report.bytes > 1_000_000, "{direction:?} {report:?}");
        }
    }
    Ok(())
}

fn a_linux_bridge_carries_traffic() -> TestResult {
    let bridge = LinuxBridge::new()?;
    let (a, b) = (Container::new()?, Container::new()?);
    bridge.connect(&a, "eth0")?;
    bridge.connect(&b, "eth0")?;
    addressed(&a, &b)?;
    for target in targets() {
        ping::ping(&a, target, &ping::Options::default())?;
        transfer::tcp(&Path::new(&a, &b, target), 3_000_000, 7)?;
    }
    Ok(())
}

fn a_linux_bridge_without_netfilter_is_under_no_rules_for_packets() -> TestResult {
    const RULES: &str =
        "table inet t { chain c { type filter hook forward priority 0; policy drop; }; }";
    let bridge = LinuxBridge::new()?;
    without_bridge_netfilter(bridge.host())?;
    let (a, b) = (Container::new()?, Container::new()?);
    bridge.connect(&a, "eth0")?;
    bridge.connect(&b, "eth0")?;
    addressed(&a, &b)?;
    assert!(nft(bridge.host(), RULES)?);
    for target in targets() {
        ping::ping(&a, target, &ping::Options::default())?;
    }
    Ok(())
}

fn a_large_transfer_arrives_whole() -> TestResult {
    let (a, b) = wired()?;
    for target in targets() {
        transfer::tcp(&Path::new(&a, &b, target), 100_000_001, 42)?;
    }
    Ok(())
}

fn a_transfer_without_offloads_arrives_whole() -> TestResult {
    let (a, b) = wired()?;
    a.set_offloads("eth0", false)?;
    b.set_offloads("eth0", false)?;
    for target in targets() {
        transfer::tcp(&Path::new(&a, &b, target), 5_000_000, 1)?;
    }
    Ok(())
}

fn datagrams_of_all_sizes_arrive_whole() -> TestResult {
    let (a, b) = wired()?;
    for target in targets() {
        let path = Path::new(&a, &b, target);
        for payload_bytes in [8, 100, 1400, 8000, 65_507 - 20] {
            let sent = Datagrams { count: 300, payload_bytes, segments: 1, seed: 3 };
            let delivery = transfer::udp(&path, &sent)?;
            assert_eq!(
                (delivery.arrived, delivery.lost),
                (300, 0),
                "{payload_bytes}: {delivery:?}"
            );
        }
    }
    Ok(())
}

fn segmented_datagrams_arrive_whole() -> TestResult {
    let (a, b) = wired()?;
    for target in targets() {
        let path = Path::new(&a, &b, target);
        for (payload_bytes, segments) in [(1400, 40), (1000, 64), (8, 3), (1452, 1)] {
            let sent = Datagrams { count: 1001, payload_bytes, segments, seed: 3 };
            let delivery = transfer::udp(&path, &sent)?;
            assert_eq!((delivery.arrived, delivery.lost), (1001, 0), "{segments}: {delivery:?}");
        }
    }
    Ok(())
}

fn datagrams_that_make_no_sense_are_refused() -> TestResult {
    let (a, b) = wired()?;
    let path = Path::new(&a, &b, targets()[0]);
    for (payload_bytes, segments) in [(7, 1), (1400, 0), (8, 65), (40_000, 2)] {
        let sent = Datagrams { count: 1, payload_bytes, segments, seed: 0 };
        assert!(matches!(transfer::udp(&path, &sent), Err(LabError::Parameters { .. })));
    }
    Ok(())
}

fn loss_is_reported_and_ends() -> TestResult {
    let (a, b) = wired()?;
    // The datagrams are longer than the far end of the wire takes.
    let far = b.netlink()?;
    far.set_mtu(b.link("eth0")?.index, 1280)?;
    let path = Path::new(&a, &b, targets()[0]);
    let sent = Datagrams { count: 10, payload_bytes: 1400, segments: 1, seed: 0 };
    let delivery = transfer::udp(&path, &sent)?;
    assert_eq!((delivery.arrived, delivery.lost), (0, 10));
    Ok(())
}

fn requests_are_answered() -> TestResult {
    let (a, b) = wired()?;
    let options = rr::Options { duration: SHORT, ..Default::default() };
    for target in targets() {
        let path = Path::new(&a, &b, target);
        for report in [rr::tcp(&path, &options)?, rr::udp(&path, &options)?] {
            assert!(report.transactions() > 10 && report.lost == 0, "{report:?}");
            // One at a time: what each took adds up to the whole, but for what the asking takes.
            let sum =
                report.latency_ns.mean() * 1e-9 * f64::from(u32::try_from(report.transactions())?);
            let elapsed = report.elapsed.as_secs_f64();
            assert!((elapsed * 0.5..elapsed * 1.01).contains(&sum), "{sum} of {elapsed}");
        }
    }
    Ok(())
}

fn connections_are_made_used_and_ended() -> TestResult {
    let (a, b) = wired()?;
    let options = rr::Options { duration: SHORT, ..Default::default() };
    for target in targets() {
        // A first segment that is lost takes longer than all the time there is.
        let report = rr::connect(&Path::new(&a, &b, target), &options)?;
        assert!(report.transactions() > 0 && report.elapsed >= SHORT);
    }
    Ok(())
}

fn a_flood_is_counted() -> TestResult {
    let (a, b) = wired()?;
    let path = Path::new(&a, &b, targets()[0]);
    for segments in [1, 40] {
        let options = udp::Options { duration: SHORT, segments, ..Default::default() };
        let report = udp::flood(&path, &options)?;
        assert!(report.sent >= report.received && report.received > 1000, "{segments} {report:?}");
    }
    Ok(())
}

/// A load from `a` to `b`, without limits.
fn load_to(b: &Container) -> Result<Load<'static>, Box<dyn std::error::Error>> {
    let next_hop = b.link("eth0")?.mac.ok_or("no address")?;
    Ok(Load { duration: SHORT, ..Load::new("eth0", next_hop, [10, 0, 0, 3].into()) })
}

fn a_load_of_many_flows_and_lengths_is_counted() -> TestResult {
    let (a, b) = wired()?;
    let path = Path::new(&a, &b, targets()[0]);
    let report = load::send(&path, &Load { flows: 70_000, frame_bytes: &IMIX, ..load_to(&b)? })?;
    assert!(report.sent >= report.received && report.received > 1000, "{report:?}");
    assert_eq!(report.latency_ns.len(), 0);
    Ok(())
}

fn a_load_with_few_under_way_loses_nothing() -> TestResult {
    let (a, b) = wired()?;
    let path = Path::new(&a, &b, targets()[0]);
    let limits = Load { frames: Some(5000), under_way: Some(100), ..load_to(&b)? };
    let report = load::send(&path, &Load { duration: Duration::from_secs(30), ..limits })?;
    assert_eq!((report.sent, report.received), (5000, 5000));
    Ok(())
}

fn frames_at_a_rate_have_a_latency() -> TestResult {
    let (a, b) = wired()?;
    let path = Path::new(&a, &b, targets()[0]);
    let limits = Load { rate: Some(10_000.0), frames: Some(1000), ..load_to(&b)? };
    let report = load::send(&path, &Load { duration: Duration::from_secs(30), ..limits })?;
    assert_eq!((report.received, report.latency_ns.len()), (1000, 1000));
    assert!(report.sending >= Duration::from_millis(99), "{report:?}");
    assert!(report.latency_ns.max() < 10_000_000_000, "{report:?}");
    Ok(())
}

fn a_frame_arrives_as_it_was_sent() -> TestResult {
    let (a, b) = wired()?;
    let (near, far) = (RawSocket::open(&a, "eth0")?, RawSocket::open(&b, "eth0")?);
    let untagged = [&[0x02; 12][..], &[0x88, 0xb5], &[7; 46]].concat();
    let tagged = [&[0x02; 12][..], &[0x81, 0x00, 0x60, 0x64, 0x88, 0xb5], &[7; 46]].concat();
    let stacked =
        [&[0x02; 12][..], &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 0x88, 0xb5], &[7; 46]].concat();
    for frame in [untagged, tagged, stacked] {
        near.send(&frame)?;
        let got = far.receive(Duration::from_secs(5), |bytes| bytes[..6] == [2; 6])?;
        assert_eq!(got.map(|got| got.bytes), Some(frame));
    }
    assert_eq!(near.drain(|bytes| bytes[..6] == [2; 6])?, vec![], "own frames are not heard");
    Ok(())
}

fn a_container_dies_with_its_last_inhabitant() -> TestResult {
    let (a, b) = (Container::new()?, Container::new()?);
    veth(&a, "eth0", &b, "eth0")?;
    let inhabitant = b.inhabit()?;
    assert_eq!(hostnet::Netns::open(&inhabitant.reference())?.id()?, b.namespace().id()?);
    let path = inhabitant.path();
    drop(b);
    assert!(a.link("eth0").is_ok(), "the inhabitant keeps the namespace alive");
    drop(inhabitant);
    assert!(!path.exists());
    let monitor = a.run(hostnet::LinkMonitor::open)?;
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    while a.link("eth0").is_ok() {
        assert!(std::time::Instant::now() < deadline, "the namespace is still there");
        let mut waiting = [rustix::event::PollFd::new(&monitor, rustix::event::PollFlags::IN)];
        let tenth = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        rustix::event::poll(&mut waiting, Some(&tenth))?;
        monitor.events();
    }
    Ok(())
}

/// Whether a container's kernel takes these rules.
fn nft(container: &Container, rules: &str) -> Result<bool, LabError> {
    let is_taken = || Command::new("nft").arg(rules).status().is_ok_and(|status| status.success());
    container.run(|| Ok(is_taken()))
}

/// Connections that the kernel of a container tracks.
fn tracked(container: &Container) -> Result<u32, Box<dyn std::error::Error>> {
    let read = || -> Result<String, LabError> {
        Ok(fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count").unwrap_or_default())
    };
    Ok(container.run(read)?.trim().parse()?)
}

fn time_passes_for_the_kernels_connections() -> TestResult {
    const RULES: &str =
        "table ip t { chain c { type filter hook input priority 0; ct state new accept; }; }";
    let (a, b) = wired()?;
    assert!(nft(&b, RULES)?);
    let connections = Conntrack::open(&b)?;
    // The kernel remembers an answered ping for thirty seconds.
    ping::ping(&a, targets()[0], &ping::Options::default())?;
    connections.pass(Duration::from_secs(20))?;
    assert!(tracked(&b)? > 0);
    connections.pass(Duration::from_secs(20))?;
    assert_eq!(tracked(&b)?, 0);
    ping::ping(&a, targets()[0], &ping::Options::default())?;
    connections.flush()?;
    assert_eq!(tracked(&b)?, 0);
    Ok(())
}

fn main() -> ExitCode {
    netlab::test_main([
        test!(a_wire_answers_ping_at_once),
        test!(a_ping_carries_payloads_up_to_the_limit),
        test!(nobody_answers_for_an_absent_host),
        test!(a_wire_carries_tcp_streams),
        test!(a_linux_bridge_carries_traffic),
        test!(a_linux_bridge_without_netfilter_is_under_no_rules_for_packets).needs(Need::Nft),
        test!(a_large_transfer_arrives_whole),
        test!(a_transfer_without_offloads_arrives_whole),
        test!(datagrams_of_all_sizes_arrive_whole),
        test!(segmented_datagrams_arrive_whole),
        test!(datagrams_that_make_no_sense_are_refused),
        test!(loss_is_reported_and_ends),
        test!(requests_are_answered),
        test!(connections_are_made_used_and_ended),
        test!(a_flood_is_counted),
        test!(a_load_of_many_flows_and_lengths_is_counted),
        test!(a_load_with_few_under_way_loses_nothing),
        test!(frames_at_a_rate_have_a_latency),
        test!(a_frame_arrives_as_it_was_sent),
        test!(a_container_dies_with_its_last_inhabitant),
        test!(time_passes_for_the_kernels_connections).needs(Need::Nft),
    ])
}
