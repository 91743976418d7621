//! Names of namespaces that mean another one than they did: attached anew, taken up after a restart, after a reboot.

use std::path::{Path, PathBuf};

use ctl::response::{PortState, Status};
use ctl::{
    Attach, BridgeName, ClientError, Detach, ErrorCode, Mutation, NetdevMode, NetnsRef,
    NetworkConnect, NetworkCreate, Port, PortAdd, PortKind, Query,
};
use hostnet::{Netlink, Netns};
use netlab::{Container, Need, Test, TestResult, test, transfer};
use rustix::process::Signal;

use crate::daemon::{Daemon, fresh_directory, unique};
use crate::lifecycle::attach;

pub fn tests() -> Vec<Test> {
    let tap = [
        test!(a_container_made_anew_under_its_name_is_attached_anew),
        test!(a_container_made_anew_gets_its_port_while_somebody_keeps_the_one_before),
        test!(a_container_made_anew_is_connected_to_its_network_anew),
        test!(nothing_of_a_container_is_in_the_way_of_the_one_made_anew),
        test!(a_new_container_that_cannot_be_attached_leaves_the_one_before_as_it_was),
        test!(an_interface_that_was_moved_away_is_missed_when_its_container_is_attached_again),
        test!(a_reference_that_means_another_namespace_is_not_taken_up),
        test!(the_daemons_own_namespace_is_not_taken_for_a_containers),
        test!(after_a_reboot_a_named_namespace_is_attached_again_and_a_path_is_not),
    ];
    tap.into_iter().map(|test| test.needs(Need::Tun)).collect()
}

/// A name in `/run/netns`, for as long as this lives.
pub struct Name(String);

impl Name {
    pub fn of(container: &Container) -> Result<Self, Box<dyn std::error::Error>> {
        let name = unique("place");
        container.namespace().give_name(&name)?;
        Ok(Self(name))
    }

    /// Gives the name to another, as `ip netns del` and `ip netns add` do.
    fn give_to(&self, container: &Container) -> TestResult {
        Netns::forget_name(&self.0)?;
        Ok(container.namespace().give_name(&self.0)?)
    }

    pub fn reference(&self) -> Result<NetnsRef, ctl::BadName> {
        self.0.parse()
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = Netns::forget_name(&self.0);
    }
}

fn named(name: &Name, ip: &str) -> Result<Mutation, Box<dyn std::error::Error>> {
    // The container of the request is the one that is named.
    let request = attach(&Container::new()?, ip)?;
    Ok(Mutation::Attach(Attach { netns: name.reference()?, ..request }))
}

fn a_container_made_anew_under_its_name_is_attached_anew() -> TestResult {
    let daemon = Daemon::start()?;
    let (mut web, peer) = (Container::new()?, Container::new()?);
    let name = Name::of(&web)?;
    daemon.change(Mutation::Attach(attach(&peer, "10.0.0.9/24")?))?;
    daemon.change(named(&name, "10.0.0.2/24")?)?;
    for round in 0..10 {
        let next = Container::new()?;
        name.give_to(&next)?;
        // With the one before ends its interface, of which the daemon hears sooner or later.
        web = next;
        let changed = daemon.change(named(&name, "10.0.0.2/24")?)?;
        assert!(changed.changed, "round {round}");
        web.link("eth0").map_err(|error| format!("round {round}: {error}"))?;
        transfer::tcp(&netlab::Path::new(&peer, &web, [10, 0, 0, 2]), 1 << 16, 1)?;
        assert!(!daemon.change(named(&name, "10.0.0.2/24")?)?.changed, "round {round}");
    }
    let ports = daemon.ports()?;
    assert_eq!(ports.len(), 2, "{ports:?}");
    assert!(ports.iter().all(|port| port.state == PortState::Up), "{ports:?}");
    daemon.check_ledger()
}

fn a_container_made_anew_gets_its_port_while_somebody_keeps_the_one_before() -> TestResult {
    let daemon = Daemon::start()?;
    let (before, after) = (Container::new()?, Container::new()?);
    let name = Name::of(&before)?;
    daemon.change(named(&name, "10.0.0.2/24")?)?;
    let mac = before.link("eth0")?.mac;
    name.give_to(&after)?;
    // It is another container: with other addresses it is not one that is attached otherwise.
    assert!(daemon.change(named(&name, "10.0.0.3/24")?)?.changed);
    assert!(before.link("eth0").is_err());
    assert_ne!(after.link("eth0")?.mac, mac);
    assert_eq!(daemon.ports()?.len(), 1);
    daemon.check_ledger()
}

fn a_container_made_anew_is_connected_to_its_network_anew() -> TestResult {
    let daemon = Daemon::start()?;
    let network: BridgeName = "shop".parse()?;
    let subnets = vec!["10.9.0.0/30".parse()?];
    let mut create = NetworkCreate { subnets, ..NetworkCreate::new(network.clone()) };
    create.settings.internal = true;
    daemon.change(Mutation::NetworkCreate(Box::new(create)))?;
    let (before, after) = (Container::new()?, Container::new()?);
    let name = Name::of(&before)?;
    let connect = || -> Result<_, Box<dyn std::error::Error>> {
        let connect = NetworkConnect::new(network.clone(), name.reference()?);
        Ok(daemon.change(Mutation::NetworkConnect(Box::new(connect)))?)
    };
    let first = connect()?.endpoint.ok_or("no endpoint")?;
    name.give_to(&after)?;
    // The network has room for one container: the address of the one before is free for this one.
    let second = connect()?.endpoint.ok_or("no endpoint")?;
    assert_eq!(second.addresses, first.addresses);
    assert!(before.link("eth0").is_err() && after.link("eth0").is_ok());
    assert!(!connect()?.changed);
    Ok(())
}

fn nothing_of_a_container_is_in_the_way_of_the_one_made_anew() -> TestResult {
    let daemon = Daemon::start()?;
    let (before, after) = (Container::new()?, Container::new()?);
    let name = Name::of(&before)?;
    for container in [&before, &after] {
        Netlink::open_in(container.namespace())?.create_veth("veth0", "far", None)?;
    }
    let add = |port: &str| -> Result<_, Box<dyn std::error::Error>> {
        let (device, netns) = ("veth0".parse()?, Some(name.reference()?));
        let kind = PortKind::Netdev { device, netns, mode: NetdevMode::Gso };
        let port = PortAdd { name: port.parse()?, port: Port::new("br0".parse()?, kind) };
        Ok(daemon.change(Mutation::PortAdd(Box::new(port)))?)
    };
    daemon.change(named(&name, "10.0.0.2/24")?)?;
    add("veth")?;
    name.give_to(&after)?;
    // The same name of a port, and the same interface by another: both are of the one that nobody can mean any more.
    add("veth")?;
    assert_eq!(daemon.ports()?.len(), 1);
    daemon.change(named(&name, "10.0.0.2/24")?)?;
    name.give_to(&before)?;
    add("other")?;
    let ports = daemon.ports()?;
    assert_eq!(ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>(), ["other"]);
    daemon.check_ledger()
}

fn a_new_container_that_cannot_be_attached_leaves_the_one_before_as_it_was() -> TestResult {
    let daemon = Daemon::start()?;
    let (before, after) = (Container::new()?, Container::new()?);
    let name = Name::of(&before)?;
    daemon.change(named(&name, "10.0.0.2/24")?)?;
    let ports = daemon.ports()?;
    name.give_to(&after)?;
    Netlink::open_in(after.namespace())?.create_veth("eth0", "other", None)?;
    match daemon.change(named(&name, "10.0.0.2/24")?) {
        Err(ClientError::Refused(error)) => assert_eq!(error.code, ErrorCode::Exists, "{error}"),
        other => return Err(format!("{other:?}").into()),
    }
    assert_eq!(daemon.ports()?, ports);
    assert!(before.link("eth0").is_ok());
    Ok(())
}

/// A path that can be made to mean another namespace, as the number of a process that has ended does by chance.
struct Reference(PathBuf);

impl Reference {
    fn to(target: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let path = fresh_directory().with_extension("ns");
        std::os::unix::fs::symlink(target, &path)?;
        Ok(Self(path))
    }

    fn lead_to(&self, target: &Path) -> TestResult {
        std::fs::remove_file(&self.0)?;
        Ok(std::os::unix::fs::symlink(target, &self.0)?)
    }

    fn attach(&self, ip: &str) -> Result<Mutation, Box<dyn std::error::Error>> {
        let netns = self.0.to_str().ok_or("no text")?.parse()?;
        Ok(Mutation::Attach(Attach { netns, ..attach(&Container::new()?, ip)? }))
    }
}

/// Whether the daemon came back without the only port that it had, and says so.
fn has_given_up(daemon: &Daemon) -> TestResult {
    assert_eq!(daemon.ports()?, []);
    let status: Status = daemon.ask(Query::Status)?;
    let [problem] = &status.problems[..] else { return Err(format!("{status:?}").into()) };
    assert!(problem.text.contains("is another one now"), "{problem:?}");
    assert!(problem.text.contains("the port is removed"), "{problem:?}");
    Ok(())
}

fn an_interface_that_was_moved_away_is_missed_when_its_container_is_attached_again() -> TestResult {
    let daemon = Daemon::start()?;
    let (web, other) = (Container::new()?, Container::new()?);
    let attach =
        || Ok::<_, Box<dyn std::error::Error>>(Mutation::Attach(attach(&web, "10.0.0.2/24")?));
    daemon.change(attach()?)?;
    let netlink = Netlink::open_in(web.namespace())?;
    netlink.move_to(web.link("eth0")?.index, other.namespace(), "eth0")?;
    match daemon.change(attach()?) {
        Err(ClientError::Refused(error)) if error.code == ErrorCode::Exists => {
            assert!(error.message.contains("renamed, or moved away"), "{error}");
        }
        answer => return Err(format!("{answer:?}").into()),
    }
    let detach = Detach { netns: web.reference(), ifname: "eth0".parse()? };
    daemon.change(Mutation::Detach(detach))?;
    assert!(other.link("eth0").is_err(), "a TAP device goes with its port");
    Ok(())
}

fn a_reference_that_means_another_namespace_is_not_taken_up() -> TestResult {
    let mut daemon = Daemon::start()?;
    let (mine, foreign) = (Container::new()?, Container::new()?);
    let path = Reference::to(&mine.reference().path())?;
    let name = Name::of(&mine)?;
    let requests = [path.attach("10.0.0.2/24")?, named(&name, "10.0.0.2/24")?];
    for request in requests {
        path.lead_to(&mine.reference().path())?;
        name.give_to(&mine)?;
        daemon.change(request)?;
        daemon.end(Signal::KILL)?;
        path.lead_to(&foreign.reference().path())?;
        name.give_to(&foreign)?;
        daemon = Daemon::start_in(daemon.directory(), &[])?;
        has_given_up(&daemon)?;
        assert!(foreign.link("eth0").is_err());
    }
    Ok(())
}

fn the_daemons_own_namespace_is_not_taken_for_a_containers() -> TestResult {
    let mut daemon = Daemon::start()?;
    let container = Container::new()?;
    let path = Reference::to(&container.reference().path())?;
    // A name that no other test gives an interface: they all share the daemons' namespace.
    let ifname = unique("own");
    match path.attach("10.0.0.2/24")? {
        Mutation::Attach(request) => {
            daemon.change(Mutation::Attach(Attach { ifname: ifname.parse()?, ..request }))?;
        }
        other => return Err(format!("{other:?}").into()),
    }
    assert!(container.link(&ifname).is_ok());
    daemon.end(Signal::KILL)?;
    path.lead_to(Path::new("/proc/self/ns/net"))?;
    drop(container);
    let daemon = Daemon::start_in(daemon.directory(), &[])?;
    has_given_up(&daemon)?;
    let links = Netlink::open()?.links()?;
    assert!(links.iter().all(|link| link.name != ifname), "{links:?}");
    Ok(())
}

fn after_a_reboot_a_named_namespace_is_attached_again_and_a_path_is_not() -> TestResult {
    let mut daemon = Daemon::start()?;
    let (before, after) = (Container::new()?, Container::new()?);
    let name = Name::of(&before)?;
    let path = Reference::to(&before.reference().path())?;
    daemon.change(named(&name, "10.0.0.2/24")?)?;
    let other = |request| match request {
        Mutation::Attach(attach) => {
            Ok(Mutation::Attach(Attach { ifname: "eth1".parse()?, ..attach }))
        }
        other => Err(Box::<dyn std::error::Error>::from(format!("{other:?}"))),
    };
    daemon.change(other(path.attach("10.0.0.3/24")?)?)?;
    daemon.end(Signal::TERM)?;
    // What a reboot changes: the identity of the boot, and all namespaces.
    let state = daemon.directory().join("state.json");
    let boot = Netns::current()?.identity()?.boot;
    let kept = std::fs::read_to_string(&state)?;
    assert_eq!(kept.matches(&boot).count(), 2, "{kept}");
    std::fs::write(&state, kept.replace(&boot, "another"))?;
    name.give_to(&after)?;
    path.lead_to(&after.reference().path())?;
    let mut daemon = Daemon::start_in(daemon.directory(), &[])?;
    let ports = daemon.ports()?;
    let [port] = &ports[..] else { return Err(format!("{ports:?}").into()) };
    assert_eq!((port.name.as_str(), &port.state), (&*format!("{}-eth0", name.0), &PortState::Up));
    assert!(after.link("eth0").is_ok() && after.link("eth1").is_err());
    // And from then on it is that one, and no other.
    assert!(!daemon.change(named(&name, "10.0.0.2/24")?)?.changed);
    daemon.end(Signal::KILL)?;
    name.give_to(&before)?;
    has_given_up(&Daemon::start_in(daemon.directory(), &[])?)
}
