//! Containers come and go, and so does the daemon.

use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ctl::response::{FdbInfo, PortState, Status};
use ctl::{Attach, ClientError, Detach, ErrorCode, FdbFilter, Mutation, Query, Request, Vlan};
use hostnet::Netlink;
use netlab::raw::RawSocket;
use netlab::{Container, Need, Path, Test, TestResult, test, transfer};
use rustix::process::{Pid, Signal, kill_process};

use crate::daemon::{
    Daemon, Kind, connect, eventually, fresh_directory, in_a_second, port, spawn, tap,
};

pub fn tests() -> Vec<Test> {
    let tap = [
        test!(a_dead_containers_port_and_stations_are_gone_within_a_second),
        test!(a_deleted_veth_takes_its_port_along),
        test!(attaching_twice_changes_nothing_and_other_settings_are_refused),
        test!(an_attached_container_is_announced_to_the_others),
        test!(a_killed_daemon_comes_back_with_the_same_networks),
        test!(a_daemon_killed_in_the_middle_of_changes_keeps_those_it_acknowledged),
        test!(a_container_that_died_while_the_daemon_was_down_is_reported),
        test!(a_terminated_daemon_removes_what_it_made),
        test!(a_second_daemon_on_the_same_state_or_socket_is_refused),
        test!(the_service_manager_is_told_when_the_daemon_serves),
        test!(a_log_that_is_kept_has_no_colours),
        test!(the_mtu_of_a_running_port_changes_in_the_container),
        test!(an_idle_switch_uses_less_than_a_hundredth_of_a_core),
        test!(a_container_moves_to_another_port_and_traffic_follows),
    ];
    tap.into_iter().map(|test| test.needs(Need::Tun)).collect()
}

pub fn attach(container: &Container, ip: &str) -> Result<Attach, Box<dyn std::error::Error>> {
    Ok(Attach {
        netns: container.reference(),
        bridge: "br0".parse()?,
        ifname: "eth0".parse()?,
        mac: None,
        ips: vec![ip.parse()?],
        gateways: Vec::new(),
        mtu: None,
        vlan: Vlan::Unaware,
    })
}

fn stations(daemon: &Daemon) -> Result<Vec<FdbInfo>, ClientError> {
    daemon.ask(Query::FdbShow(FdbFilter::default()))
}

fn a_dead_containers_port_and_stations_are_gone_within_a_second() -> TestResult {
    let daemon = Daemon::start()?;
    let b = Container::new()?;
    daemon.change(Mutation::Attach(attach(&b, "10.0.0.2/24")?))?;
    in_a_second(|took| {
        let a = Container::new()?;
        daemon.change(Mutation::Attach(attach(&a, "10.0.0.1/24")?))?;
        transfer::tcp(&Path::new(&a, &b, [10, 0, 0, 2]), 1 << 16, 1)?;
        let dead = a.link("eth0")?.mac.ok_or("no address")?;
        drop(a);
        let died = Instant::now();
        eventually("the port is gone", || daemon.ports().is_ok_and(|ports| ports.len() == 1))?;
        *took = died.elapsed();
        assert!(stations(&daemon)?.iter().all(|station| station.mac.0 != dead));
        Ok(())
    })?;
    daemon.check_ledger()
}

fn a_deleted_veth_takes_its_port_along() -> TestResult {
    let daemon = Daemon::start()?;
    let a = Container::new()?;
    connect(&daemon, "v", Kind::Gso, &a, (1500, &["10.0.0.1/24"]))?;
    drop(a);
    eventually("the port is gone", || daemon.ports().is_ok_and(|ports| ports.is_empty()))?;
    let status: Status = daemon.ask(Query::Status)?;
    assert_eq!(status.problems, [], "that is how containers end");
    Ok(())
}

fn attaching_twice_changes_nothing_and_other_settings_are_refused() -> TestResult {
    let daemon = Daemon::start()?;
    let a = Container::new()?;
    let request = attach(&a, "10.0.0.1/24")?;
    assert!(daemon.change(Mutation::Attach(request.clone()))?.changed);
    let before = a.link("eth0")?;
    assert!(!daemon.change(Mutation::Attach(request.clone()))?.changed);
    let after = a.link("eth0")?;
    assert_eq!((after.index, after.mac, after.mtu), (before.index, before.mac, before.mtu));
    let other = Attach { ips: vec!["10.0.0.9/24".parse()?], ..request };
    match daemon.change(Mutation::Attach(other)) {
        Err(ClientError::Refused(error)) => assert_eq!(error.code, ErrorCode::Exists),
        other => return Err(format!("{other:?}").into()),
    }
    let detach = Detach { netns: a.reference(), ifname: "eth0".parse()? };
    assert!(daemon.change(Mutation::Detach(detach.clone()))?.changed);
    assert!(!daemon.change(Mutation::Detach(detach))?.changed);
    assert!(a.link("eth0").is_err());
    Ok(())
}

/// Whether a frame is the gratuitous ARP of 10.0.0.x.
fn announces(frame: &[u8], host: u8) -> bool {
    let address = Some(&[10, 0, 0, host][..]);
    frame.get(12..14) == Some(&[8, 6])
        && (frame.get(28..32), frame.get(38..42)) == (address, address)
}

fn an_attached_container_is_announced_to_the_others() -> TestResult {
    let daemon = Daemon::start()?;
    let (a, b) = (Container::new()?, Container::new()?);
    daemon.change(Mutation::Attach(attach(&a, "10.0.0.1/24")?))?;
    let capture = RawSocket::open(&a, "eth0")?;
    let mut request = attach(&b, "10.0.0.2/24")?;
    request.ips.push("fd00::2/64".parse()?);
    daemon.change(Mutation::Attach(request))?;
    let within = Duration::from_secs(5);
    let arp = capture.receive(within, |frame| announces(frame, 2));
    arp?.ok_or("no gratuitous ARP")?;
    let advertisement = capture.receive(within, |frame| frame.get(54) == Some(&136));
    advertisement?.ok_or("no neighbour advertisement")?;
    Ok(())
}

fn a_killed_daemon_comes_back_with_the_same_networks() -> TestResult {
    let mut daemon = Daemon::start()?;
    let (a, b) = (Container::new()?, Container::new()?);
    daemon.change(Mutation::Attach(attach(&a, "10.0.0.1/24")?))?;
    connect(&daemon, "v", Kind::Gso, &b, (1500, &["10.0.0.2/24"]))?;
    let mac = a.link("eth0")?.mac;
    let before = daemon.ports()?;
    let capture = RawSocket::open(&b, "eth0")?;
    daemon.end(Signal::KILL)?;
    capture.drain(|_| true)?;
    assert!(a.link("eth0").is_err(), "a TAP device goes with the daemon");
    let daemon = Daemon::start_in(daemon.directory(), &[])?;
    let settings = |ports: Vec<ctl::response::PortInfo>| -> Vec<_> {
        ports.into_iter().map(|port| (port.name, port.settings, port.state)).collect()
    };
    assert_eq!(settings(daemon.ports()?), settings(before));
    assert_eq!(a.link("eth0")?.mac, mac);
    let announcement = capture.receive(Duration::from_secs(5), |frame| announces(frame, 1))?;
    announcement.ok_or("it was announced before all others could hear it")?;
    transfer::tcp(&Path::new(&a, &b, [10, 0, 0, 2]), 1 << 20, 1)?;
    daemon.check_ledger()
}

fn a_daemon_killed_in_the_middle_of_changes_keeps_those_it_acknowledged() -> TestResult {
    let mut daemon = Daemon::start()?;
    let a = Container::new()?;
    let mut acknowledged = 0;
    for round in 0..8 {
        let wanted = acknowledged + round;
        acknowledged = attach_until_killed(&mut daemon, &a, acknowledged, wanted)?;
        daemon = Daemon::start_in(daemon.directory(), &[])?;
        let ports = daemon.ports()?;
        assert!(ports.iter().all(|port| port.state == PortState::Up), "{ports:?}");
        // The change during which the daemon was killed was made, or it was not.
        let made = u32::try_from(ports.len())?;
        assert!([acknowledged, acknowledged + 1].contains(&made), "{made} of {acknowledged}");
        assert_eq!(a.netlink()?.links()?.len(), 1 + ports.len());
        acknowledged = made;
    }
    daemon.check_ledger()
}

/// Gives a container one interface after the other, and kills the daemon as soon as so many are acknowledged, in the
/// middle of the next. Returns how many were.
fn attach_until_killed(
    daemon: &mut Daemon,
    container: &Container,
    from: u32,
    wanted: u32,
) -> Result<u32, Box<dyn std::error::Error>> {
    let mut client = daemon.client()?;
    let first = attach(container, "10.0.0.1/24")?;
    let acknowledged = AtomicU32::new(from);
    std::thread::scope(|scope| -> TestResult {
        scope.spawn(|| {
            for number in from.. {
                let name = format!("eth{number}").parse();
                let Ok(ifname) = name else { return };
                let request = Attach { ifname, ips: Vec::new(), ..first.clone() };
                if client.call(Request::Mutation(Mutation::Attach(request))).is_err() {
                    return;
                }
                acknowledged.store(number + 1, Ordering::Relaxed);
            }
        });
        while acknowledged.load(Ordering::Relaxed) < wanted {
            std::thread::yield_now();
        }
        daemon.end(Signal::KILL)
    })
    .map_err(|error| error.message().unwrap_or("it could not be killed").to_owned())?;
    Ok(acknowledged.into_inner())
}

fn a_container_that_died_while_the_daemon_was_down_is_reported() -> TestResult {
    let mut daemon = Daemon::start()?;
    let (a, b) = (Container::new()?, Container::new()?);
    // By its process: a number that is not given to another container at once.
    let process = a.inhabit()?;
    let request = Attach { netns: process.reference(), ..attach(&a, "10.0.0.1/24")? };
    daemon.change(Mutation::Attach(request))?;
    daemon.change(Mutation::Attach(attach(&b, "10.0.0.2/24")?))?;
    daemon.end(Signal::KILL)?;
    drop(process);
    drop(a);
    let daemon = Daemon::start_in(daemon.directory(), &[])?;
    let ports = daemon.ports()?;
    assert_eq!(ports.len(), 1);
    assert_eq!(ports[0].state, PortState::Up);
    let status: Status = daemon.ask(Query::Status)?;
    assert!(status.problems[0].text.contains("the port is removed"), "{:?}", status.problems);
    Ok(())
}

fn a_terminated_daemon_removes_what_it_made() -> TestResult {
    let mut daemon = Daemon::start()?;
    let a = Container::new()?;
    daemon.change(Mutation::Attach(attach(&a, "10.0.0.1/24")?))?;
    daemon.end(Signal::TERM)?;
    assert!(a.link("eth0").is_err());
    assert!(!daemon.socket().exists());
    assert!(daemon.directory().join("state.json").exists());
    Ok(())
}

fn a_second_daemon_on_the_same_state_or_socket_is_refused() -> TestResult {
    let daemon = Daemon::start()?;
    let refused = |child: std::process::Child| -> Result<(ExitStatus, String), std::io::Error> {
        let output = child.wait_with_output()?;
        Ok((output.status, String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    let (status, said) = refused(spawn(daemon.directory(), &[])?)?;
    assert!(!status.success());
    assert!(said.contains(&format!("pid {}", daemon.pid())), "{said}");
    // clap takes the last of a repeated option only where it is told to: another socket by environment.
    let other = daemon.directory().join("other");
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_vswitchd"))
        .args(["--socket".as_ref(), other.as_os_str()])
        .args(["--state".as_ref(), daemon.directory().as_os_str()])
        .stderr(std::process::Stdio::piped())
        .spawn()?;
    let (status, said) = refused(child)?;
    assert!(!status.success());
    assert!(said.contains("state directory"), "{said}");
    assert!(daemon.ports().is_ok());
    Ok(())
}

fn the_service_manager_is_told_when_the_daemon_serves() -> TestResult {
    let directory = fresh_directory();
    std::fs::create_dir(&directory)?;
    let manager = std::os::unix::net::UnixDatagram::bind(directory.join("notify"))?;
    manager.set_read_timeout(Some(Duration::from_secs(10)))?;
    let socket = directory.join("socket");
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_vswitchd"))
        .args(["--socket".as_ref(), socket.as_os_str()])
        .args(["--state".as_ref(), directory.as_os_str()])
        .env("NOTIFY_SOCKET", directory.join("notify"))
        .stderr(std::process::Stdio::null())
        .spawn()?;
    let told = || -> Result<String, Box<dyn std::error::Error>> {
        let mut bytes = [0; 64];
        let count = manager.recv(&mut bytes)?;
        Ok(String::from_utf8(bytes[..count].to_vec())?)
    };
    assert_eq!(told()?, "READY=1");
    // It serves: nobody has to wait for that any more.
    let _: ctl::response::Version =
        ctl::Client::connect(&socket)?.ask(Request::Query(Query::Version))?;
    kill_process(Pid::from_child(&child), Signal::TERM)?;
    assert_eq!(told()?, "STOPPING=1");
    assert!(child.wait()?.success());
    Ok(())
}

fn a_log_that_is_kept_has_no_colours() -> TestResult {
    let directory = fresh_directory();
    let socket = directory.join("socket");
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_vswitchd"))
        .args(["--socket".as_ref(), socket.as_os_str()])
        .args(["--state".as_ref(), directory.as_os_str()])
        .env_remove("NO_COLOR")
        .stderr(std::process::Stdio::piped())
        .spawn()?;
    eventually("the daemon serves", || ctl::Client::connect(&socket).is_ok())?;
    kill_process(Pid::from_child(&child), Signal::TERM)?;
    let log = String::from_utf8(child.wait_with_output()?.stderr)?;
    assert!(log.contains("INFO ended"), "{log}");
    assert!(!log.contains('\x1b'), "{log:?}");
    Ok(())
}

fn the_mtu_of_a_running_port_changes_in_the_container() -> TestResult {
    let daemon = Daemon::start()?;
    let a = Container::new()?;
    daemon.add("a", port("br0", tap(&a, &["10.0.0.1/24"])?)?)?;
    assert_eq!(a.link("eth0")?.mtu, 9000);
    daemon.change(Mutation::PortSet(ctl::PortSet {
        mtu: Some(Some(1400.try_into()?)),
        ..ctl::PortSet::new("a".parse()?)
    }))?;
    assert_eq!(a.link("eth0")?.mtu, 1400);
    assert_eq!(daemon.ports()?[0].mtu, 1400);
    Ok(())
}

fn an_idle_switch_uses_less_than_a_hundredth_of_a_core() -> TestResult {
    let daemon = Daemon::start()?;
    let containers: Result<Vec<_>, _> = (0..4).map(|_| Container::new()).collect();
    let containers = containers?;
    for (number, container) in containers.iter().enumerate() {
        daemon
            .change(Mutation::Attach(attach(container, &format!("10.0.0.{}/24", number + 1))?))?;
    }
    let ticks = || -> Result<u64, Box<dyn std::error::Error>> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.pid()))?;
        let fields: Vec<_> =
            stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
    };
    // The containers' own start-up chatter (MLD, router solicitations) comes first.
    eventually("the switch comes to rest", || {
        let before = ticks().unwrap_or(0);
        std::thread::sleep(Duration::from_secs(1));
        ticks().is_ok_and(|now| now <= before + 1)
    })
    .map_err(Into::into)
}

fn a_container_moves_to_another_port_and_traffic_follows() -> TestResult {
    let daemon = Daemon::start()?;
    let (a, b, c) = (Container::new()?, Container::new()?, Container::new()?);
    daemon.change(Mutation::Attach(attach(&a, "10.0.0.1/24")?))?;
    daemon.change(Mutation::Attach(attach(&b, "10.0.0.2/24")?))?;
    transfer::tcp(&Path::new(&a, &b, [10, 0, 0, 2]), 1 << 16, 1)?;
    let mac = b.link("eth0")?.mac.map(ctl::MacAddr);
    let detach = Detach { netns: b.reference(), ifname: "eth0".parse()? };
    daemon.change(Mutation::Detach(detach))?;
    let moved = Attach { mac, ..attach(&c, "10.0.0.2/24")? };
    daemon.change(Mutation::Attach(moved))?;
    transfer::tcp(&Path::new(&a, &c, [10, 0, 0, 2]), 1 << 16, 1)?;
    assert!(Netlink::open_in(b.namespace())?.link("eth0").is_err());
    daemon.check_ledger()
}
