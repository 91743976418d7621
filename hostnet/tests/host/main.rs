//! Namespaces, links, addresses and offloads, on the real kernel.

mod addresses;

use std::fs;
use std::net::TcpListener;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ctl::NetnsRef;
use hostnet::ethtool::{self, Feature};
use hostnet::{HostError, Link, LinkEvent, LinkMonitor, Netlink, Netns};
use netlab::raw::RawSocket;
use netlab::topology::{LinuxBridge, veth};
use netlab::{Container, LabError, Need, PATIENCE, Path, TestResult, tcp, test};
use pktio::tap;
use pktio::{Burst, Pool, PoolConfig, Port, PortFault};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode};

/// Waits until something can be read, or one's patience ends.
fn await_readable(fd: &impl std::os::fd::AsFd) -> Result<(), LabError> {
    let timeout = Timespec::try_from(PATIENCE).unwrap_or_default();
    let mut waiting = [PollFd::new(fd, PollFlags::IN)];
    match poll(&mut waiting, Some(&timeout)) {
        Ok(1) => Ok(()),
        _ => Err(LabError::Parameters { operation: "wait", why: "nothing happened" }),
    }
}

fn wire() -> Result<(Container, Container), LabError> {
    let (a, b) = (Container::new()?, Container::new()?);
    veth(&a, "eth0", &b, "eth0")?;
    Ok((a, b))
}

// Namespaces

fn a_namespace_is_found_by_name_path_and_task() -> TestResult {
    let container = Container::new()?;
    let id = container.namespace().id()?;
    let inhabitant = container.inhabit()?;
    container.namespace().give_name("blue")?;
    for text in ["blue", "/run/netns/blue", &inhabitant.reference().to_string()] {
        assert_eq!(Netns::open(&text.parse()?)?.id()?, id, "{text}");
    }
    assert_eq!(Netns::open(&container.reference())?.id()?, id);
    assert_ne!(Netns::current()?.id()?, id);
    Ok(Netns::forget_name("blue")?)
}

fn a_namespace_that_takes_anothers_name_has_another_identity() -> TestResult {
    let mut seen = vec![Netns::current()?.identity()?];
    // The numbers of their files are given again as soon as one has ended; their identities are not.
    for _ in 0..8 {
        let container = Container::new()?;
        container.namespace().give_name("again")?;
        let identity = Netns::open(&"again".parse()?)?.identity()?;
        assert_eq!(identity, container.namespace().identity()?);
        assert!(!seen.contains(&identity), "{identity:?} among {seen:?}");
        assert_eq!(identity.boot, seen[0].boot);
        seen.push(identity);
        Netns::forget_name("again")?;
    }
    Ok(())
}

fn a_taken_name_is_refused_and_stays_what_it_is() -> TestResult {
    let (a, b) = (Container::new()?, Container::new()?);
    a.namespace().give_name("taken")?;
    assert!(b.namespace().give_name("taken").is_err());
    assert_eq!(Netns::open(&"taken".parse()?)?.id()?, a.namespace().id()?);
    Netns::forget_name("taken")?;
    assert!(Netns::forget_name("taken").is_err());
    assert!(b.namespace().give_name("../escape").is_err());
    Ok(())
}

fn a_namespace_that_is_not_there_is_named_in_the_error() -> TestResult {
    for text in ["no-such-namespace", "/no/such/file", "4194304"] {
        let reference: NetnsRef = text.parse()?;
        let error = Netns::open(&reference).map(|_| ()).expect_err("there is none").to_string();
        assert!(error.contains(text) && error.contains("/run/netns"), "{error}");
    }
    Ok(())
}

fn a_file_that_is_no_namespace_cannot_be_entered() -> TestResult {
    let namespace = Netns::open(&"/proc/self/status".parse()?)?;
    let entered = namespace.run(|| Ok::<_, HostError>(()));
    let error = entered.err().ok_or("it was entered")?;
    assert!(error.is_no_namespace(), "{error:?}");
    assert!(error.to_string().contains("no network namespace here"), "{error}");
    Ok(())
}

fn a_pipe_that_is_no_namespace_is_not_waited_for() -> TestResult {
    let path = format!("/run/pipe-{}", std::process::id());
    rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RUSR, 0)?;
    let error = Netns::open(&path.parse()?)?.enter().err().ok_or("it was entered")?;
    assert!(error.is_absence(), "{error}");
    Ok(())
}

fn work_inside_a_namespace_leaves_the_caller_where_it_is() -> TestResult {
    let container = Container::new()?;
    let before = Netns::current()?.id()?;
    let inside = container.run(|| Netns::current()?.id())?;
    assert_eq!(inside, container.namespace().id()?);
    assert_eq!(Netns::current()?.id()?, before);
    let own = Netns::current()?.run(|| Netns::current()?.id())?;
    assert_eq!(own, before, "one's own namespace can be entered too");
    Ok(())
}

fn a_panic_inside_a_namespace_reaches_the_caller() -> TestResult {
    let container = Container::new()?;
    let caught = std::panic::catch_unwind(|| {
        container.run(|| -> Result<(), HostError> { std::panic::resume_unwind(Box::new("inside")) })
    });
    assert_eq!(caught.expect_err("it panics").downcast_ref(), Some(&"inside"));
    Ok(())
}

fn the_sandbox_has_a_network_and_a_run_directory_of_its_own() -> TestResult {
    let netlink = Netlink::open()?;
    assert!(netlink.link("lo")?.up);
    let foreign =
        netlink.links()?.into_iter().find(|link| link.kind.is_none() && link.name != "lo");
    assert_eq!(foreign, None, "no interface of the machine is in here");
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    assert!(mounts.lines().any(|line| line.starts_with("tmpfs /run tmpfs")), "{mounts}");
    TcpListener::bind("127.0.0.1:0")?;
    Ok(())
}

fn a_process_with_several_threads_is_not_moved() -> TestResult {
    let before = Netns::current()?.id()?;
    let entered = std::thread::spawn(hostnet::sandbox::enter).join();
    assert!(matches!(entered, Ok(Err(HostError::Sandbox { .. }))), "{entered:?}");
    assert_eq!(Netns::current()?.id()?, before);
    Ok(())
}

// Links

fn a_veth_pair_spans_two_namespaces() -> TestResult {
    let (a, b) = wire()?;
    for end in [&a, &b] {
        let link = end.link("eth0")?;
        assert_eq!(link.kind.as_deref(), Some("veth"));
        assert!(link.up && link.ready && link.mac.is_some() && link.mtu == 1500, "{link:?}");
    }
    Ok(())
}

fn a_wire_with_one_end_off_is_not_ready() -> TestResult {
    let (a, b) = wire()?;
    let netlink = b.netlink()?;
    netlink.set_up(netlink.link("eth0")?.index, false)?;
    let waited = a.run(|| {
        let monitor = LinkMonitor::open()?;
        while Netlink::open()?.link("eth0")?.ready {
            await_readable(&monitor)?;
            monitor.events();
        }
        Ok::<_, LabError>(hostnet::await_ready("eth0", Duration::from_millis(1)))
    })?;
    assert!(matches!(waited, Err(HostError::Device { .. })), "{waited:?}");
    Ok(())
}

fn a_taken_interface_name_is_refused_with_advice() -> TestResult {
    let (a, _b) = wire()?;
    let netlink = a.netlink()?;
    let before = netlink.links()?.len();
    let error = netlink.create_veth("eth0", "peer", None).expect_err("the name is taken");
    assert!(error.to_string().contains("choose another name"), "{error}");
    assert_eq!(netlink.links()?.len(), before);
    Ok(())
}

fn an_interface_moves_under_a_new_name() -> TestResult {
    let (a, b) = (Container::new()?, Container::new()?);
    let netlink = a.netlink()?;
    netlink.create_veth("left", "right", None)?;
    netlink.move_to(netlink.link("right")?.index, b.namespace(), "eth7")?;
    assert!(matches!(netlink.link("right"), Err(HostError::NoSuchLink { .. })));
    assert_eq!(b.link("eth7")?.kind.as_deref(), Some("veth"));
    Ok(())
}

fn an_interface_stays_where_it_is_if_its_new_name_is_taken() -> TestResult {
    let (a, b) = wire()?;
    let netlink = a.netlink()?;
    netlink.create_veth("left", "right", None)?;
    let moved = netlink.move_to(netlink.link("right")?.index, b.namespace(), "eth0");
    assert!(moved.is_err());
    assert!(netlink.link("right").is_ok());
    Ok(())
}

fn an_mtu_that_the_device_does_not_do_is_refused_in_words() -> TestResult {
    let (a, _b) = wire()?;
    let netlink = a.netlink()?;
    let index = netlink.link("eth0")?.index;
    let error = netlink.set_mtu(index, 70_000).expect_err("it is too large");
    assert!(error.to_string().contains("mtu greater than device maximum"), "{error}");
    assert_eq!(netlink.link("eth0")?.mtu, 1500);
    netlink.set_mtu(index, 9000)?;
    assert_eq!(netlink.link("eth0")?.mtu, 9000, "the socket still answers to the point");
    Ok(())
}

fn an_interface_that_is_gone_is_said_to_be_gone() -> TestResult {
    let (a, _b) = wire()?;
    let netlink = a.netlink()?;
    let index = netlink.link("eth0")?.index;
    netlink.delete_link(index)?;
    assert!(matches!(netlink.link("eth0"), Err(HostError::NoSuchLink { .. })));
    let error = netlink.set_up(index, true).expect_err("it is gone");
    assert!(error.to_string().contains("is gone"), "{error}");
    Ok(())
}

fn members_of_a_bridge_say_whose_they_are() -> TestResult {
    let bridge = LinuxBridge::new()?;
    let container = Container::new()?;
    bridge.connect(&container, "eth0")?;
    let links = bridge.host().netlink()?.links()?;
    let index = |kind| links.iter().find(|link| link.kind.as_deref() == Some(kind));
    let (member, bridge) = (index("veth"), index("bridge"));
    assert_eq!(member.and_then(|link| link.controller), bridge.map(|link| link.index));
    Ok(())
}

fn the_traffic_of_a_link_is_counted() -> TestResult {
    let (a, b) = wire()?;
    let before = b.link("eth0")?.traffic;
    let socket = RawSocket::open(&a, "eth0")?;
    (0..5).try_for_each(|_| socket.send(&[0x02; 60]))?;
    let after = b.link("eth0")?.traffic;
    assert!(after.rx_frames >= before.rx_frames + 5, "{before:?} {after:?}");
    assert!(after.rx_bytes >= before.rx_bytes + 5 * 60);
    Ok(())
}

// Events

fn links_that_come_change_and_go_are_reported() -> TestResult {
    let container = Container::new()?;
    let monitor = container.run(LinkMonitor::open)?;
    let netlink = container.netlink()?;
    let next = |wanted: &dyn Fn(&LinkEvent) -> bool| -> Result<(), LabError> {
        loop {
            if monitor.events().iter().any(wanted) {
                return Ok(());
            }
            await_readable(&monitor)?;
        }
    };
    netlink.create_veth("left", "right", None)?;
    next(&|event| matches!(event, LinkEvent::Changed(link) if link.name == "left"))?;
    let index = netlink.link("left")?.index;
    netlink.set_mtu(index, 4000)?;
    next(&|event| matches!(event, LinkEvent::Changed(Link { mtu: 4000, .. })))?;
    netlink.delete_link(index)?;
    next(&|event| matches!(event, LinkEvent::Gone(link) if link.index == index))?;
    Ok(())
}

fn a_monitor_hears_its_own_namespace_only() -> TestResult {
    let (here, there) = (Container::new()?, Container::new()?);
    let monitor = here.run(LinkMonitor::open)?;
    there.netlink()?.create_bridge("br0")?;
    here.netlink()?.create_bridge("br1")?;
    await_readable(&monitor)?;
    for event in monitor.events() {
        assert!(matches!(&event, LinkEvent::Changed(link) if link.name == "br1"), "{event:?}");
    }
    Ok(())
}

// Offloads

fn offloads_are_switched_one_by_one() -> TestResult {
    let (a, _b) = wire()?;
    a.run(|| {
        for on in [false, true] {
            ethtool::set_all("eth0", on)?;
            for feature in Feature::ALL {
                assert_eq!(ethtool::is_on("eth0", feature)?, on, "{feature:?}");
            }
        }
        ethtool::set("eth0", Feature::Tso, false)?;
        assert!(!ethtool::is_on("eth0", Feature::Tso)?);
        assert!(ethtool::is_on("eth0", Feature::TxChecksum)?);
        Ok::<_, HostError>(())
    })?;
    Ok(())
}

fn no_interface_is_mistaken_for_one_with_a_longer_name() -> TestResult {
    let container = Container::new()?;
    container.netlink()?.create_bridge("fifteen-letters")?;
    let set = container.run(|| ethtool::set("fifteen-letters-and-more", Feature::Gro, false));
    assert!(matches!(set, Err(HostError::Device { .. })), "{set:?}");
    Ok(())
}

/// What the far end of a wire sees of a short TCP stream: the longest frame, and whether a checksum was
/// left to be completed.
fn seen_on_the_wire(offloads: bool) -> Result<(usize, bool), LabError> {
    let (a, b) = wire()?;
    a.address("eth0", &["10.0.0.1/24"])?;
    b.address("eth0", &["10.0.0.2/24"])?;
    a.set_offloads("eth0", offloads)?;
    let socket = RawSocket::open(&b, "eth0")?;
    let options = tcp::Options { duration: Duration::from_millis(20), ..Default::default() };
    tcp::stream(&Path::new(&a, &b, [10, 0, 0, 2]), &options)?;
    let is_tcp = |frame: &[u8]| frame[12..14] == [8, 0] && frame[23] == 6;
    let frames = socket.drain(is_tcp)?;
    let longest = frames.iter().map(|frame| frame.bytes.len()).max().unwrap_or(0);
    Ok((longest, frames.iter().any(|frame| frame.checksum_is_partial)))
}

fn frames_are_whole_and_short_once_offloads_are_off() -> TestResult {
    let (longest, partial) = seen_on_the_wire(true)?;
    assert!(longest > 1514 && partial, "{longest} {partial}");
    assert_eq!(seen_on_the_wire(false)?, (1514, false));
    Ok(())
}

// TAP devices in containers

/// A TAP device of ours inside a container as its eth0, with the end that is ours.
fn tap_in(container: &Container) -> Result<Box<dyn Port>, Box<dyn std::error::Error>> {
    let (device, mut queues) = tap::create("lab%d", 1)?;
    Netlink::open()?.move_to(device.index, container.namespace(), "eth0")?;
    container.address("eth0", &["10.0.0.1/24", "fd00::1/64"])?;
    Ok(Box::new(queues.remove(0)))
}

fn a_tap_device_is_ready_as_soon_as_it_is_configured() -> TestResult {
    let container = Container::new()?;
    let _port = tap_in(&container).map_err(|error| error.to_string())?;
    let link = container.link("eth0")?;
    assert!(link.up && link.ready && link.kind.as_deref() == Some("tun"), "{link:?}");
    for on in [false, true] {
        container.set_offloads("eth0", on)?;
        assert_eq!(container.run(|| ethtool::is_on("eth0", Feature::Tso))?, on);
    }
    Ok(())
}

fn a_tap_device_ends_with_its_container_and_says_so() -> TestResult {
    let container = Container::new()?;
    let mut port = tap_in(&container).map_err(|error| error.to_string())?;
    let mut pool = Pool::new(PoolConfig { small: 64, slabs: 4 })?;
    let mut burst = Burst::new();
    drop(container);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match port.rx_burst(&mut pool, &mut burst) {
            Err(PortFault::Gone { .. }) => return Ok(()),
            Err(fault) => return Err(fault.into()),
            Ok(_) => pool.recycle_all(&mut burst),
        }
        assert!(Instant::now() < deadline, "the descriptor keeps the namespace alive");
        if let Some(fd) = port.wake_fd() {
            await_readable(&fd)?;
        }
    }
}

fn main() -> ExitCode {
    let others = [
        test!(a_namespace_is_found_by_name_path_and_task),
        test!(a_namespace_that_takes_anothers_name_has_another_identity),
        test!(a_taken_name_is_refused_and_stays_what_it_is),
        test!(a_namespace_that_is_not_there_is_named_in_the_error),
        test!(a_file_that_is_no_namespace_cannot_be_entered),
        test!(a_pipe_that_is_no_namespace_is_not_waited_for),
        test!(work_inside_a_namespace_leaves_the_caller_where_it_is),
        test!(a_panic_inside_a_namespace_reaches_the_caller),
        test!(the_sandbox_has_a_network_and_a_run_directory_of_its_own),
        test!(a_process_with_several_threads_is_not_moved),
        test!(a_veth_pair_spans_two_namespaces),
        test!(a_wire_with_one_end_off_is_not_ready),
        test!(a_taken_interface_name_is_refused_with_advice),
        test!(an_interface_moves_under_a_new_name),
        test!(an_interface_stays_where_it_is_if_its_new_name_is_taken),
        test!(an_mtu_that_the_device_does_not_do_is_refused_in_words),
        test!(an_interface_that_is_gone_is_said_to_be_gone),
        test!(members_of_a_bridge_say_whose_they_are),
        test!(the_traffic_of_a_link_is_counted),
        test!(links_that_come_change_and_go_are_reported),
        test!(a_monitor_hears_its_own_namespace_only),
        test!(offloads_are_switched_one_by_one),
        test!(no_interface_is_mistaken_for_one_with_a_longer_name),
        test!(frames_are_whole_and_short_once_offloads_are_off),
        test!(a_tap_device_is_ready_as_soon_as_it_is_configured).needs(Need::Tun),
        test!(a_tap_device_ends_with_its_container_and_says_so).needs(Need::Tun),
    ];
    netlab::test_main(others.into_iter().chain(addresses::tests()))
}
