//! Ports whose interface is handed over to an engine, which takes it to the container and configures it there.

use ctl::response::PortState;
use ctl::{MacAddr, Mutation, Named, PortKind, PortSet, Tap};
use hostnet::{HostError, Interface, Link, Netlink};
use netlab::{Container, Need, Path, Test, TestResult, test, transfer};
use rustix::process::Signal;

use crate::daemon::{Daemon, Kind, connect, eventually, port, unique};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

pub fn tests() -> Vec<Test> {
    [
        test!(an_interface_that_is_handed_over_serves_where_the_engine_takes_it),
        test!(an_interface_that_is_handed_over_outlives_a_killed_daemon_as_it_is),
        test!(an_interface_that_no_engine_has_taken_is_there_again_after_a_restart),
        test!(removing_its_port_deletes_an_interface_wherever_it_was_taken),
        test!(removing_a_port_that_waits_deletes_its_interface),
        test!(a_container_that_ends_takes_its_interface_and_port_along),
        test!(what_was_not_handed_over_is_not_taken_elsewhere),
    ]
    .into_iter()
    .map(|test| test.needs(Need::Tun))
    .collect()
}

/// A port `handed` of `br0` for an engine, in the daemon's namespace under this name.
fn hand_over(daemon: &Daemon, ifname: &str) -> TestResult {
    let ips = vec!["10.0.0.1/24".parse()?];
    let tap = Tap { ips, handover: true, ..Tap::new(ifname.parse()?) };
    Ok(daemon.add("handed", port("br0", PortKind::Tap(tap))?)?)
}

/// Does what an engine does.
fn take(ifname: &str, container: &Container) -> Outcome<Link> {
    let netlink = Netlink::open()?;
    netlink.move_to(netlink.link(ifname)?.index, container.namespace(), "eth7")?;
    let ips = ["10.0.0.1/24".parse()?];
    Ok(container.configure("eth7", &Interface { ips: &ips, ..Interface::default() })?)
}

fn tell(daemon: &Daemon, container: &Container) -> TestResult {
    let netns = Some(container.reference());
    let set = PortSet { netns, ..PortSet::new("handed".parse()?) };
    daemon.change(Mutation::PortSet(set))?;
    Ok(())
}

fn removal() -> Outcome<Mutation> {
    Ok(Mutation::PortDel(Named::new("handed".parse()?)))
}

fn is_gone(link: Result<Link, HostError>) -> bool {
    matches!(link, Err(HostError::NoSuchLink { .. }))
}

/// Moves traffic between the container and one on another port, at 10.0.0.`host`. Each exchange has a host of its own: the
/// one before may answer for a while yet.
fn exchange(daemon: &Daemon, container: &Container, host: u8) -> TestResult {
    let near = Container::new()?;
    let address = format!("10.0.0.{host}/24");
    connect(daemon, &unique("n"), Kind::Gso, &near, (1500, &[&address]))?;
    transfer::tcp(&Path::new(container, &near, [10, 0, 0, host]), 1 << 20, 1)?;
    daemon.check_ledger()
}

fn an_interface_that_is_handed_over_serves_where_the_engine_takes_it() -> TestResult {
    let (daemon, container, name) = (Daemon::start()?, Container::new()?, unique("vsw"));
    hand_over(&daemon, &name)?;
    let made = Netlink::open()?.link(&name)?;
    assert_eq!((made.mtu, made.up), (9000, false));
    let taken = take(&name, &container)?;
    assert_eq!((taken.mac, taken.mtu), (made.mac, made.mtu));
    tell(&daemon, &container)?;
    exchange(&daemon, &container, 2)?;
    let [handed, _] = &daemon.ports()?[..] else { return Err("other ports".into()) };
    let device = handed.device.as_ref().ok_or("no device")?;
    assert_eq!(device.mac.map(|mac| mac.0), made.mac);
    assert!(device.notes.iter().any(|note| note.ends_with("called eth7 now")), "{device:?}");
    let mtu = Some(Some(1400.try_into()?));
    let set = PortSet { mtu, ..PortSet::new("handed".parse()?) };
    daemon.change(Mutation::PortSet(set))?;
    assert_eq!(container.link("eth7")?.mtu, 1400);
    Ok(())
}

fn an_interface_that_is_handed_over_outlives_a_killed_daemon_as_it_is() -> TestResult {
    let (mut daemon, container, name) = (Daemon::start()?, Container::new()?, unique("vsw"));
    hand_over(&daemon, &name)?;
    let before = take(&name, &container)?;
    tell(&daemon, &container)?;
    for (signal, near) in [(Signal::KILL, 2), (Signal::TERM, 3)] {
        daemon.end(signal)?;
        let meanwhile = container.link("eth7")?;
        assert_eq!((meanwhile.index, meanwhile.up), (before.index, true));
        daemon = Daemon::start_in(daemon.directory(), &[])?;
        assert_eq!(daemon.ports()?[0].state, PortState::Up);
        // Its address is what the engine gave it: nobody configured it again.
        exchange(&daemon, &container, near)?;
        assert_eq!(container.link("eth7")?.index, before.index);
    }
    Ok(())
}

fn an_interface_that_no_engine_has_taken_is_there_again_after_a_restart() -> TestResult {
    let (mut daemon, container, name) = (Daemon::start()?, Container::new()?, unique("vsw"));
    hand_over(&daemon, &name)?;
    let before = Netlink::open()?.link(&name)?;
    daemon.end(Signal::KILL)?;
    let daemon = Daemon::start_in(daemon.directory(), &[])?;
    assert_eq!(Netlink::open()?.link(&name)?.mac, before.mac);
    take(&name, &container)?;
    exchange(&daemon, &container, 2)
}

fn removing_its_port_deletes_an_interface_wherever_it_was_taken() -> TestResult {
    let (daemon, container, name) = (Daemon::start()?, Container::new()?, unique("vsw"));
    hand_over(&daemon, &name)?;
    daemon.change(removal()?)?;
    eventually("it is gone", || Netlink::open().is_ok_and(|netlink| is_gone(netlink.link(&name))))?;
    hand_over(&daemon, &name)?;
    take(&name, &container)?;
    // Nobody said where it is: it is known all the same.
    daemon.change(removal()?)?;
    let netlink = container.netlink()?;
    Ok(eventually("it is gone from the container", || is_gone(netlink.link("eth7")))?)
}

fn removing_a_port_that_waits_deletes_its_interface() -> TestResult {
    let (mut daemon, name) = (Daemon::start()?, unique("vsw"));
    hand_over(&daemon, &name)?;
    daemon.end(Signal::KILL)?;
    // Another one of that name is in the way, and its own is where the daemon does not look.
    let elsewhere = Container::new()?;
    let netlink = Netlink::open()?;
    netlink.move_to(netlink.link(&name)?.index, elsewhere.namespace(), "eth7")?;
    netlink.create_veth(&name, &unique("p"), None)?;
    let daemon = Daemon::start_in(daemon.directory(), &[])?;
    assert!(matches!(daemon.ports()?[0].state, PortState::Waiting(_)), "{:?}", daemon.ports());
    tell(&daemon, &elsewhere)?;
    daemon.change(removal()?)?;
    let netlink = elsewhere.netlink()?;
    Ok(eventually("it is gone from there", || is_gone(netlink.link("eth7")))?)
}

fn a_container_that_ends_takes_its_interface_and_port_along() -> TestResult {
    let (daemon, container, name) = (Daemon::start()?, Container::new()?, unique("vsw"));
    hand_over(&daemon, &name)?;
    take(&name, &container)?;
    tell(&daemon, &container)?;
    drop(container);
    eventually("the port is gone", || daemon.ports().is_ok_and(|ports| ports.is_empty()))?;
    daemon.check_ledger()
}

fn what_was_not_handed_over_is_not_taken_elsewhere() -> TestResult {
    let (daemon, container) = (Daemon::start()?, Container::new()?);
    connect(&daemon, "handed", Kind::Tap, &container, (1500, &["10.0.0.1/24"]))?;
    assert!(tell(&daemon, &container).is_err());
    let PortKind::Tap(tap) = &daemon.ports()?[0].settings.kind else { return Err("no tap".into()) };
    assert!(!tap.handover && tap.mac != Some(MacAddr([0; 6])));
    Ok(())
}
