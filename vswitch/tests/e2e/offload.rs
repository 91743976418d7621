//! What the kernel carries by what the switch has decided (`vswitchd --offload ebpf`), and that it carries nothing else.

mod crossing;
mod laboratory;
mod routed;
mod segments;

use std::sync::atomic::Ordering;
use std::time::Duration;

use ctl::response::{FdbInfo, PortInfo, Stats, Status, WorkerPerf};
use ctl::{
    BridgeSet, Egress, FdbFilter, FlowKey, Ingress, Mutation, Named, PortKind, PortMove, PortSet,
    Query, Vlan,
};
use hostnet::Netlink;
use netlab::raw::RawSocket;
use netlab::{Container, Need, Path, Test, TestResult, test, topology, transfer};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};

use crate::capture::{captured, request};
use crate::daemon::{Daemon, Kind, bridge, connect, eventually, port, tap, unique};
use laboratory::{FRAMES, GSO, Laboratory, SOON, frame, number_of, station, stream};

pub fn tests() -> Vec<Test> {
    [
        test!(what_the_kernel_carries_is_in_the_books_to_the_byte),
        test!(a_stream_goes_by_the_kernel_both_ways),
        test!(a_rule_stops_a_stream_before_it_is_acknowledged),
        test!(a_mirror_copies_every_frame_from_when_it_is_acknowledged),
        test!(a_rate_holds_from_when_it_is_acknowledged),
        test!(a_stream_is_counted_to_the_frame_whatever_changes_meanwhile),
        test!(isolation_and_vlans_hold_from_when_they_are_acknowledged),
        test!(a_station_that_moves_is_found_where_it_is),
        test!(a_station_that_moves_is_found_when_the_daemon_can_open_nothing_more),
        test!(a_station_that_is_silent_ages_and_one_that_sends_does_not),
        test!(a_capture_sees_every_frame),
        test!(a_frame_that_is_too_long_is_dropped_with_that_reason),
        test!(an_interface_whose_mtu_somebody_lowers_is_left_to_the_switch),
        test!(an_interface_that_is_off_is_left_to_the_switch),
        test!(a_pair_in_another_namespace_is_carried_and_one_across_namespaces_is_not),
        test!(an_interface_that_is_off_in_another_namespace_is_left_to_the_switch),
        test!(a_port_that_goes_leaves_its_books),
        test!(a_killed_daemon_leaves_no_program_behind),
        test!(a_port_says_whether_it_is_offloaded),
        test!(a_port_says_what_has_to_see_its_frames),
        test!(a_daemon_to_which_the_kernel_lends_nothing_says_so_and_carries_on),
    ]
    .into_iter()
    .map(|test| test.needs(Need::Bpf).needs(Need::Tun))
    .chain(routed::tests())
    .chain(segments::tests())
    .collect()
}

fn what_the_kernel_carries_is_in_the_books_to_the_byte() -> TestResult {
    let lab = Laboratory::new()?;
    lab.talk()?;
    let (a, b, workers) = (lab.counters("a")?, lab.counters("b")?, lab.by_workers()?);
    lab.burst()?;
    lab.arrives_in(1)?;
    let (a2, b2) = (lab.counters("a")?, lab.counters("b")?);
    let (frames, bytes) = (u64::from(FRAMES), u64::from(FRAMES) * 60);
    assert_eq!((a2.received - a.received, a2.forwarded - a.forwarded), (frames, frames));
    assert_eq!((b2.offered - b.offered, b2.transmitted - b.transmitted), (frames, frames));
    assert_eq!(a2.received_bytes - a.received_bytes, bytes);
    assert_eq!(b2.transmitted_bytes - b.transmitted_bytes, bytes);
    assert!(lab.by_workers()? - workers < frames, "the workers carried them all");
    lab.daemon.check_ledger()
}

fn a_stream_goes_by_the_kernel_both_ways() -> TestResult {
    const BYTES: u64 = 64 << 20;
    let daemon = Daemon::start_with(&["--offload", "ebpf"])?;
    let (a, b) = (Container::new()?, Container::new()?);
    connect(&daemon, "a", Kind::Gso, &a, (1500, &["10.0.0.1/24"]))?;
    connect(&daemon, "b", Kind::Gso, &b, (1500, &["10.0.0.2/24"]))?;
    transfer::tcp(&Path::new(&a, &b, [10, 0, 0, 2]), BYTES, 1)?;
    transfer::tcp(&Path::new(&b, &a, [10, 0, 0, 1]), BYTES, 2)?;
    let stats: Stats = daemon.ask(Query::stats())?;
    for port in &stats.ports {
        assert!(port.counters.received_bytes > BYTES, "{stats:?}");
        assert!(port.counters.transmitted_bytes > BYTES, "{stats:?}");
    }
    let perf: Vec<WorkerPerf> = daemon.ask(Query::Perf)?;
    let by_workers: u64 = perf.iter().map(|worker| worker.frames).sum();
    assert!(by_workers < stats.total.received, "{by_workers} of {}", stats.total.received);
    daemon.check_ledger()
}

fn a_rule_stops_a_stream_before_it_is_acknowledged() -> TestResult {
    let lab = Laboratory::new()?;
    lab.talk()?;
    let (sent, end) = stream(&lab)?;
    eventually("the stream has begun", || sent.load(Ordering::Relaxed) > 100)?;
    lab.daemon.change(Mutation::FlowAdd(Box::new("10 in_port=a drop".parse()?)))?;
    // This one was perhaps on its way when the change was acknowledged.
    let last = sent.load(Ordering::Relaxed) + 1;
    lab.wires[1].drain(|_| true)?;
    eventually("it goes on", || sent.load(Ordering::Relaxed) > last + 100)?;
    end()?;
    let is_late = |bytes: &[u8]| number_of(bytes, 0).is_some_and(|number| number > last);
    assert_eq!(lab.wires[1].drain(is_late)?.len(), 0);
    assert!(lab.offloaded()?.is_empty());
    lab.daemon.check_ledger()
}

fn a_mirror_copies_every_frame_from_when_it_is_acknowledged() -> TestResult {
    let lab = Laboratory::new()?;
    lab.talk()?;
    lab.daemon.change(Mutation::FlowAdd(Box::new("10 in_port=a mirror:c,allow".parse()?)))?;
    lab.burst()?;
    lab.arrives_in(1)?;
    lab.arrives_in(2)?;
    lab.daemon.check_ledger()
}

fn a_rate_holds_from_when_it_is_acknowledged() -> TestResult {
    const BYTES: u16 = 1514;
    let lab = Laboratory::new()?;
    lab.talk()?;
    // So many may come at once, and a second brings one more.
    let most = Egress::MIN_QUEUE_BYTES / u32::from(BYTES) + 1;
    let slow = Ingress { rate: "8kbit".parse()?, burst_bytes: Some(Egress::MIN_QUEUE_BYTES) };
    lab.set(PortSet { ingress: Some(Some(slow)), ..PortSet::new("a".parse()?) })?;
    (0..2 * most).try_for_each(|number| lab.wires[0].send(&frame(0, 1, number, BYTES.into())))?;
    eventually("what is too much is dropped", || {
        lab.drops("policed").is_ok_and(|drops| drops > u64::from(most / 2))
    })?;
    lab.daemon.check_ledger()
}

/// What container 0 has sent is in its port's books, and what is in container 1's port's books has arrived there.
fn a_stream_is_counted_to_the_frame_whatever_changes_meanwhile() -> TestResult {
    let lab = Laboratory::new()?;
    lab.talk()?;
    let arrived = || Ok::<_, netlab::LabError>(lab.places[1].link("eth0")?.traffic.rx_frames);
    let (a, b, before) = (lab.counters("a")?, lab.counters("b")?, arrived()?);
    let (sent, end) = stream(&lab)?;
    let port_b = PortSet::new("b".parse()?);
    let isolated = |is_so| PortSet { isolated: Some(is_so), ..port_b.clone() };
    for round in 0..5 {
        eventually("the kernel carries the stream", || {
            lab.offloaded().is_ok_and(|to| to.contains(&station(1)))
        })?;
        match round {
            0 => drop(captured(&lab.daemon, request(&["b"], None)?, || Ok(()))?),
            1 => lab.set(isolated(true))?,
            2 => lab.set(isolated(false))?,
            3 => {
                let to = PortMove { name: "a".parse()?, worker: 0 };
                lab.daemon.change(Mutation::PortMove(to))?;
            }
            _ => {
                let mtu = Some(Some(1000.try_into()?));
                lab.set(PortSet { mtu, ..PortSet::new("b".parse()?) })?;
            }
        }
    }
    end()?;
    let sent = u64::from(sent.load(Ordering::Relaxed));
    eventually("all frames are in the books", || {
        lab.counters("a").is_ok_and(|now| now.received + now.missed - a.received == sent)
    })?;
    lab.daemon.check_ledger()?;
    assert_eq!(lab.counters("b")?.transmitted - b.transmitted, arrived()? - before);
    Ok(())
}

fn isolation_and_vlans_hold_from_when_they_are_acknowledged() -> TestResult {
    let lab = Laboratory::new()?;
    let (a, b) = (PortSet::new("a".parse()?), PortSet::new("b".parse()?));
    let vlan = |number: u16| Ok::<_, Box<dyn std::error::Error>>(Vlan::Access(number.try_into()?));
    for port in [&a, &b] {
        lab.set(PortSet { isolated: Some(false), vlan: Some(vlan(10)?), ..port.clone() })?;
    }
    lab.talk()?;
    lab.burst()?;
    lab.arrives_in(1)?;
    lab.set(PortSet { isolated: Some(true), ..a.clone() })?;
    lab.talk()?;
    lab.set(PortSet { isolated: Some(true), ..b.clone() })?;
    lab.is_dropped("isolated")?;
    lab.set(PortSet { isolated: Some(false), ..b.clone() })?;
    lab.talk()?;
    lab.set(PortSet { vlan: Some(vlan(20)?), ..b })?;
    lab.is_dropped("vlan-egress")?;
    lab.daemon.check_ledger()
}

fn a_station_that_moves_is_found_where_it_is() -> TestResult {
    let lab = Laboratory::new()?;
    lab.talk()?;
    moves(&lab)?;
    lab.daemon.check_ledger()
}

/// What is carried can be withdrawn come what may.
fn a_station_that_moves_is_found_when_the_daemon_can_open_nothing_more() -> TestResult {
    let lab = Laboratory::new()?;
    lab.talk()?;
    let pid = Pid::from_raw(i32::try_from(lab.daemon.pid())?).ok_or("no process")?;
    let limits = getrlimit(Resource::Nofile);
    prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(0), maximum: limits.maximum })?;
    let moved = moves(&lab);
    prlimit(Some(pid), Resource::Nofile, limits)?;
    moved?;
    lab.daemon.check_ledger()
}

/// Container 1's station moves to container 2 while container 0's sends to it.
fn moves(lab: &Laboratory) -> TestResult {
    lab.wires[2].send(&frame(1, 0, 7, 60))?;
    lab.wires[0].receive(SOON, |bytes| number_of(bytes, 1) == Some(7))?.ok_or("it is lost")?;
    eventually("it is found", || {
        let sent = lab.wires[0].send(&frame(0, 1, 0, 60));
        let arrived = lab.wires[2].drain(|bytes| number_of(bytes, 0).is_some());
        sent.is_ok() && arrived.is_ok_and(|frames| !frames.is_empty())
    })?;
    lab.wires[1].drain(|_| true)?;
    lab.burst()?;
    lab.arrives_in(2)?;
    assert_eq!(lab.wires[1].drain(|bytes| number_of(bytes, 0).is_some())?.len(), 0);
    Ok(())
}

fn a_station_that_is_silent_ages_and_one_that_sends_does_not() -> TestResult {
    let lab = Laboratory::new()?;
    let bridge = BridgeSet { ageing_seconds: Some(10), ..BridgeSet::new("br0".parse()?) };
    lab.daemon.change(Mutation::BridgeSet(bridge))?;
    lab.talk()?;
    // Nobody hears it any more, once nobody knows where station 1 is.
    let is_flooded = |lab: &Laboratory| {
        let sent = lab.wires[0].send(&frame(0, 1, 1, 60));
        let seen = lab.wires[2].drain(|bytes| number_of(bytes, 0).is_some());
        sent.is_ok() && seen.is_ok_and(|frames| !frames.is_empty())
    };
    assert!(!is_flooded(&lab));
    crate::daemon::within(Duration::from_secs(30), "it ages", || is_flooded(&lab))?;
    let stations: Vec<FdbInfo> = lab.daemon.ask(Query::FdbShow(FdbFilter::default()))?;
    let known: Vec<_> = stations.iter().map(|known| (known.mac.0, known.age_seconds)).collect();
    assert!(matches!(known[..], [(mac, age)] if mac == station(0) && age <= 1), "{known:?}");
    lab.daemon.check_ledger()
}

fn a_capture_sees_every_frame() -> TestResult {
    let lab = Laboratory::new()?;
    lab.talk()?;
    let (file, _) = captured(&lab.daemon, request(&["a"], None)?, || {
        lab.burst()?;
        lab.arrives_in(1)
    })?;
    let seen = file.shots.iter().filter_map(|shot| number_of(&shot.bytes, 0));
    assert_eq!(seen.collect::<Vec<_>>(), (1..=FRAMES).collect::<Vec<_>>());
    lab.talk()
}

fn a_frame_that_is_too_long_is_dropped_with_that_reason() -> TestResult {
    let lab = Laboratory::new()?;
    let mtu = Some(Some(1000.try_into()?));
    lab.set(PortSet { mtu, ..PortSet::new("b".parse()?) })?;
    lab.talk()?;
    lab.wires[0].send(&frame(0, 1, 1, 1014))?;
    lab.wires[0].send(&frame(0, 1, 2, 1015))?;
    lab.wires[0].send(&frame(0, 1, 3, 60))?;
    eventually("it is dropped", || lab.drops("oversized").is_ok_and(|drops| drops == 1))?;
    let arrived = lab.wires[1].drain(|bytes| number_of(bytes, 0).is_some())?;
    let arrived: Vec<_> = arrived.iter().map(|frame| number_of(&frame.bytes, 0)).collect();
    assert_eq!(arrived, [Some(1), Some(3)]);
    lab.daemon.check_ledger()
}

fn an_interface_whose_mtu_somebody_lowers_is_left_to_the_switch() -> TestResult {
    let host = Container::new()?;
    let lab = Laboratory::with_host_ends([Some(&host); 3])?;
    lab.talk()?;
    let netlink = host.netlink()?;
    let index = netlink.link("b")?.index;
    netlink.set_mtu(index, 1000)?;
    eventually("what is too long is lost, and counted", || {
        let sent = lab.wires[0].send(&frame(0, 1, 1, 1100));
        sent.is_ok() && lab.counters("b").is_ok_and(|b| b.dropped_out > 10)
    })?;
    lab.wires[1].drain(|_| true)?;
    lab.wires[0].send(&frame(0, 1, 2, 1100))?;
    lab.wires[0].send(&frame(0, 1, 3, 60))?;
    let next = lab.wires[1].receive(SOON, |bytes| number_of(bytes, 0).is_some())?;
    assert_eq!(next.and_then(|frame| number_of(&frame.bytes, 0)), Some(3));
    netlink.set_mtu(index, 1500)?;
    lab.talk()?;
    lab.daemon.check_ledger()
}

fn an_interface_that_is_off_is_left_to_the_switch() -> TestResult {
    is_left_to_the_switch_when_off(Laboratory::new()?)
}

fn an_interface_that_is_off_in_another_namespace_is_left_to_the_switch() -> TestResult {
    let host = Container::new()?;
    is_left_to_the_switch_when_off(Laboratory::with_host_ends([Some(&host); 3])?)
}

/// The switch knows what the kernel does not say: that it lost a frame.
fn is_left_to_the_switch_when_off(mut lab: Laboratory) -> TestResult {
    lab.talk()?;
    let netlink = lab.places[1].netlink()?;
    let index = netlink.link("eth0")?.index;
    netlink.set_up(index, false)?;
    eventually("the switch counts what is lost", || {
        let sent = lab.wires[0].send(&frame(0, 1, 1, 60));
        sent.is_ok() && lab.counters("b").is_ok_and(|b| b.dropped_out > 10)
    })?;
    assert!(lab.offloaded()?.is_empty());
    netlink.set_up(index, true)?;
    lab.places[1].await_ready("eth0")?;
    lab.wires[1] = RawSocket::open(&lab.places[1], "eth0")?;
    lab.talk()?;
    lab.daemon.check_ledger()
}

/// The interfaces of two namespaces have the same numbers.
fn a_pair_in_another_namespace_is_carried_and_one_across_namespaces_is_not() -> TestResult {
    let (host, other, nobody) = (Container::new()?, Container::new()?, Container::new()?);
    topology::veth(&other, "x", &nobody, "eth0")?;
    let lab = Laboratory::with_host_ends([Some(&host), Some(&host), Some(&other)])?;
    assert_eq!(host.link("b")?.index, other.link("c")?.index);
    lab.talk()?;
    let workers = lab.by_workers()?;
    lab.burst()?;
    lab.arrives_in(1)?;
    assert!(lab.by_workers()? - workers < u64::from(FRAMES), "the workers carried them all");
    for number in 1..=FRAMES {
        lab.wires[2].send(&frame(2, 0, number, 60))?;
        lab.wires[0].send(&frame(0, 2, number, 60))?;
        let next = lab.wires[2].receive(SOON, |bytes| number_of(bytes, 0) == Some(number))?;
        assert!(next.is_some(), "frame {number} is lost");
        assert!(!lab.offloaded()?.contains(&station(2)));
    }
    lab.daemon.check_ledger()
}

fn a_port_that_goes_leaves_its_books() -> TestResult {
    let lab = Laboratory::new()?;
    lab.talk()?;
    lab.burst()?;
    let before: Stats = lab.daemon.ask(Query::stats())?;
    let named = Named { name: "b".parse()?, if_exists: false };
    lab.daemon.change(Mutation::PortDel(named))?;
    assert!(lab.offloaded()?.is_empty());
    let after: Stats = lab.daemon.ask(Query::stats())?;
    assert_eq!(after.total.transmitted, before.total.transmitted);
    lab.wires[1].drain(|_| true)?;
    lab.burst()?;
    assert_eq!(lab.wires[1].drain(|bytes| number_of(bytes, 0).is_some())?.len(), 0);
    lab.daemon.check_ledger()
}

fn a_killed_daemon_leaves_no_program_behind() -> TestResult {
    let mut lab = Laboratory::new()?;
    lab.talk()?;
    lab.daemon.end(Signal::KILL)?;
    lab.burst()?;
    assert_eq!(lab.wires[1].drain(|bytes| number_of(bytes, 0).is_some())?.len(), 0);
    Ok(())
}

fn a_port_says_whether_it_is_offloaded() -> TestResult {
    let lab = Laboratory::new()?;
    let other = Container::new()?;
    lab.daemon.add("t", port("br0", tap(&other, &[])?)?)?;
    let (near, far) = (unique("n"), unique("n"));
    Netlink::open()?.create_veth(&near, &far, None)?;
    let device = near.parse()?;
    lab.daemon.add("n", port("br0", PortKind::Netdev { device, netns: None, mode: GSO })?)?;
    let ports: Vec<PortInfo> = lab.daemon.ask(Query::ports())?;
    for (name, is_offloaded) in [("a", true), ("t", false), ("n", false)] {
        let port = ports.iter().find(|port| port.name.as_str() == name).ok_or("no such port")?;
        let notes = &port.device.as_ref().ok_or("no device")?.notes;
        let says = |word: &str| notes.iter().any(|note| note.starts_with(word));
        assert_eq!([says("offloaded: "), says("not offloaded: ")], [is_offloaded, !is_offloaded]);
    }
    Ok(())
}

fn a_port_says_what_has_to_see_its_frames() -> TestResult {
    let lab = Laboratory::new()?;
    let says = |part: &str| -> TestResult {
        let port: PortInfo = lab.daemon.ask(Query::PortShow(Named::new("a".parse()?)))?;
        let notes = port.device.ok_or("no device")?.notes;
        let is_said = notes.iter().any(|note| note.contains("offloaded: ") && note.contains(part));
        if is_said { Ok(()) } else { Err(format!("{part}: {notes:?}").into()) }
    };
    says("the kernel carries")?;
    lab.daemon.change(Mutation::FlowAdd(Box::new("10 dst=192.0.2.1 drop".parse()?)))?;
    says("rules that may match")?;
    lab.daemon.change(Mutation::FlowDel(FlowKey::Match("dst=192.0.2.1".parse()?)))?;
    says("the kernel carries")?;
    bridge(&lab.daemon, "br7")?;
    lab.daemon.change(Mutation::FlowAdd(Box::new("10 bridge=br7,dst=192.0.2.1 drop".parse()?)))?;
    says("the kernel carries")?;
    let slow = Ingress { rate: "1mbit".parse()?, burst_bytes: None };
    lab.set(PortSet { ingress: Some(Some(slow)), ..PortSet::new("a".parse()?) })?;
    says("its rate is limited")
}

fn a_daemon_to_which_the_kernel_lends_nothing_says_so_and_carries_on() -> TestResult {
    let without = ["setpriv", "--bounding-set", "-bpf,-sys_admin"];
    let daemon = Daemon::start_by(&without, &["--offload", "ebpf"])?;
    let status: Status = daemon.ask(Query::Status)?;
    let is_said = |parts: [&str; 2]| {
        status.problems.iter().any(|problem| parts.iter().all(|part| problem.text.contains(part)))
    };
    assert!(is_said(["--offload ebpf", "CAP_BPF"]), "{status:?}");
    assert!(is_said(["rights are missing", "CAP_SYS_ADMIN"]), "{status:?}");
    Ok(())
}
