//! What somebody meets who tries the switch by hand: commands that are given twice, names as they were typed, and what is still
//! missing.

use std::net::Ipv4Addr;

use ctl::response::WhyInfo;
use ctl::{
    BridgeAdd, Mutation, NetdevMode, NetworkConnect, NetworkCreate, Port, PortAdd, PortKind,
    Protocol, Query, Tap, Why,
};
use netlab::{Container, Need, Test, TestResult, test, topology};

use crate::daemon::Daemon;
use crate::names::{A, ask};
use crate::places::Name;

pub fn tests() -> Vec<Test> {
    [
        test!(a_port_is_added_again_with_the_same_words),
        test!(a_container_is_found_by_the_name_by_which_it_was_attached),
        test!(why_names_the_command_that_makes_an_uplink),
    ]
    .into_iter()
    .map(|test| test.needs(Need::Tun))
    .collect()
}

fn create(daemon: &Daemon, name: &str) -> TestResult {
    let mut create = NetworkCreate::new(name.parse()?);
    create.subnets = vec!["10.1.0.0/24".parse()?];
    daemon.change(Mutation::NetworkCreate(Box::new(create)))?;
    Ok(())
}

fn a_port_is_added_again_with_the_same_words() -> TestResult {
    let (host, far, web) = (Container::new()?, Container::new()?, Container::new()?);
    topology::veth(&host, "eth0", &far, "eth0")?;
    host.address("eth0", &["192.0.2.2/24"])?;
    let daemon = Daemon::start_on(&host, &[])?;
    daemon.change(Mutation::BridgeAdd(BridgeAdd::new("br0".parse()?)))?;
    let netdev = |device: &str| -> Result<_, ctl::BadName> {
        Ok(PortKind::Netdev { device: device.parse()?, netns: None, mode: NetdevMode::Auto })
    };
    let shared = Port { shared: true, ..Port::new("world".parse()?, netdev("eth0")?) };
    // Its MAC address is chosen by the daemon.
    let tap = Tap { netns: Some(web.reference()), ..Tap::new("eth0".parse()?) };
    let tap = Port::new("br0".parse()?, PortKind::Tap(tap));
    let add = |name: &str, port: &Port| -> Result<_, Box<dyn std::error::Error>> {
        let add = PortAdd { name: name.parse()?, port: port.clone() };
        Ok(daemon.change(Mutation::PortAdd(Box::new(add)))?)
    };
    for (name, port) in [("world", shared), ("web", tap)] {
        let (first, again) = (add(name, &port)?, add(name, &port)?);
        assert_eq!((first.changed, again.changed), (true, false), "{name}");
        let other = Port { mtu: Some(ctl::Mtu::try_from(1400)?), ..port };
        let refused = add(name, &other).err().ok_or("it was changed")?.to_string();
        assert!(refused.contains("MTU the bridge's, not 1400"), "{refused}");
    }
    daemon.check_ledger()
}

fn a_container_is_found_by_the_name_by_which_it_was_attached() -> TestResult {
    let daemon = Daemon::start()?;
    create(&daemon, "shop")?;
    let (one, two) = (Container::new()?, Container::new()?);
    let name = Name::of(&two)?;
    for netns in [one.reference(), name.reference()?] {
        let connect = NetworkConnect::new("shop".parse()?, netns);
        daemon.change(Mutation::NetworkConnect(Box::new(connect)))?;
    }
    one.await_ready("eth0")?;
    let typed = name.reference()?.to_string();
    for asked in [typed.clone(), format!("{typed}.shop")] {
        let said = ask(&one, "10.1.0.1".parse()?, &asked, A)?;
        assert_eq!(said.address(), Some(Ipv4Addr::new(10, 1, 0, 3)), "{asked}");
    }
    daemon.check_ledger()
}

fn why_names_the_command_that_makes_an_uplink() -> TestResult {
    let daemon = Daemon::start()?;
    create(&daemon, "shop")?;
    let one = Container::new()?;
    let connect = NetworkConnect::new("shop".parse()?, one.reference());
    let port = daemon.change(Mutation::NetworkConnect(Box::new(connect)))?.port;
    let why = Why {
        from: port.ok_or("no port")?.as_str().parse()?,
        to: "198.51.100.7".parse()?,
        protocol: Protocol::Icmp,
        port: None,
    };
    let told: WhyInfo = daemon.ask(Query::Why(why))?;
    assert!(!told.reaches, "{told:?}");
    let remedy = "`vswitchctl port add world --netdev eth0 --shared`";
    assert!(told.sentence.contains("no uplink") && told.sentence.contains(remedy), "{told:?}");
    daemon.check_ledger()
}
