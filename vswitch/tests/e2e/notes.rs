//! What is said of a change at once, since it will not do what was meant.

use std::os::fd::AsFd;
use std::time::Duration;

use ctl::response::{Changed, Status};
use ctl::{
    Allowance, BridgeAdd, BridgeSet, Mutation, NatAdd, NatRule, NetdevMode, NetworkRm, NetworkSet,
    PortAdd, Publish, Query,
};
use netlab::{Container, Need, Test, TestResult, ping, test};

use crate::advice::{joined, network};
use crate::daemon::Daemon;
use crate::routing::{container, routed_bridge};
use crate::uplink::{HOST, Outcome, WORLD, shared};

pub fn tests() -> Vec<Test> {
    let shared = test!(a_network_in_the_way_of_an_uplink_is_named_at_once).needs(Need::Bpf);
    let others = [
        test!(what_an_internal_network_does_not_answer_is_noted),
        test!(a_subnet_of_two_networks_is_noted),
        test!(a_subnet_of_two_bridges_is_noted),
        test!(a_network_that_becomes_internal_takes_its_containers_way_out),
    ];
    others.into_iter().chain([shared]).map(|test| test.needs(Need::Tun)).collect()
}

fn published(daemon: &Daemon, on: &str, forward: &str) -> Outcome<Changed> {
    let (on, forward) = (on.parse()?, forward.parse()?);
    let rule = NatRule::Publish(Publish { on, forward, to: None, port: None });
    Ok(daemon.change(Mutation::NatAdd(NatAdd { name: None, rule }))?)
}

fn a_network_in_the_way_of_an_uplink_is_named_at_once() -> TestResult {
    let (host, world) = (Container::new()?, Container::new()?);
    host.netlink()?.create_veth("eth0", "eth0", Some(world.namespace().as_fd()))?;
    world.address("eth0", &[&format!("{}/24", WORLD[0])])?;
    let index = host.address("eth0", &[&format!("{}/24", HOST[0])])?.index;
    host.await_ready("eth0")?;
    host.netlink()?.add_default_route(WORLD[0].parse()?, index)?;
    let daemon = Daemon::start_on(&host, &[])?;
    network(&daemon, "web", "192.0.2.0/24", false)?;
    network(&daemon, "shop", "10.1.0.0/24", false)?;
    let port = shared("out", NetdevMode::Auto)?;
    let add = Mutation::PortAdd(Box::new(PortAdd { name: "up0".parse()?, port }));
    let notes = daemon.change(add)?.notes;
    let [note] = &notes[..] else { return Err(format!("{notes:?}").into()) };
    assert!(note.starts_with("port up0: its bridge cannot follow the host"), "{note}");
    assert!(note.contains("make network web with another --subnet"), "{note}");
    let refused = published(&daemon, "out", "80:10.1.0.2/tcp").err().ok_or("it has no address")?;
    let said = refused.to_string();
    assert!(said.contains("`vswitchctl status`") && !said.contains("bridge set"), "{said}");
    // What is to be done helps.
    daemon.change(Mutation::NetworkRm(NetworkRm::new("web".parse()?)))?;
    assert_eq!(daemon.ask::<Status>(Query::Status)?.problems, []);
    let notes = published(&daemon, "out", "80:10.1.0.2/tcp")?.notes;
    assert!(matches!(&notes[..], [note] if note.contains("to nobody on shop yet")), "{notes:?}");
    daemon.check_ledger()
}

fn what_an_internal_network_does_not_answer_is_noted() -> TestResult {
    let daemon = Daemon::start()?;
    routed_bridge(&daemon, "a", &["10.1.0.1/24"])?;
    network(&daemon, "db", "10.3.0.0/24", true)?;
    let (_db, endpoint) = joined(&daemon, "db", "db")?;
    let one = container(&daemon, "one", "a", &["10.1.0.2/24"], &["10.1.0.1"])?;
    let allow = Allowance { from: "a".parse()?, to: "db".parse()? };
    let allowed = daemon.change(Mutation::RouteAllow(allow))?;
    let db = endpoint.addresses[0].address.addr;
    let public = published(&daemon, "a", &format!("80:{db}/tcp"))?;
    for notes in [&allowed.notes, &public.notes] {
        assert!(
            matches!(&notes[..], [note] if note.contains("network db is internal")),
            "{notes:?}"
        );
    }
    assert!(ping::is_silent(&one, db, Duration::from_millis(500))?, "so it is");
    daemon.check_ledger()
}

fn a_subnet_of_two_networks_is_noted() -> TestResult {
    let daemon = Daemon::start()?;
    assert_eq!(network(&daemon, "one", "10.1.0.0/24", false)?.notes, Vec::<String>::new());
    let notes = network(&daemon, "two", "10.1.0.0/24", false)?.notes;
    assert!(matches!(&notes[..], [note] if note.contains("of network one")), "{notes:?}");
    Ok(())
}

fn a_subnet_of_two_bridges_is_noted() -> TestResult {
    let daemon = Daemon::start()?;
    let add = |name: &str, gateway: &str| -> Result<_, Box<dyn std::error::Error>> {
        let gateways = vec![gateway.parse()?];
        let add = BridgeAdd { gateways, ..BridgeAdd::new(name.parse()?) };
        Ok(daemon.change(Mutation::BridgeAdd(add))?.notes)
    };
    assert_eq!(add("one", "10.1.0.1/24")?, Vec::<String>::new());
    assert_eq!(add("two", "10.2.0.1/24")?, Vec::<String>::new());
    let set = |gateways| -> Result<_, Box<dyn std::error::Error>> {
        let set = BridgeSet { gateways, ..BridgeSet::new("two".parse()?) };
        Ok(daemon.change(Mutation::BridgeSet(set))?.notes)
    };
    for notes in [add("three", "10.1.0.1/16")?, set(Some(vec!["10.1.0.1/24".parse()?]))?] {
        assert!(matches!(&notes[..], [note] if note.contains("of bridge one")), "{notes:?}");
    }
    assert_eq!(set(None)?, Vec::<String>::new(), "it was said when they were given");
    Ok(())
}

fn a_network_that_becomes_internal_takes_its_containers_way_out() -> TestResult {
    let daemon = Daemon::start()?;
    network(&daemon, "web", "10.3.0.0/24", false)?;
    let (container, _) = joined(&daemon, "web", "shop")?;
    let leads_out = || -> Outcome<bool> {
        let routes = container.netlink()?.routes_by(container.link("eth0")?.index)?;
        Ok(routes.iter().any(|route| route.to.prefix_len() == 0))
    };
    assert!(leads_out()?);
    let set = |internal: bool| -> Outcome<Vec<String>> {
        let set = NetworkSet { internal: Some(internal), ..NetworkSet::new("web".parse()?) };
        Ok(daemon.change(Mutation::NetworkSet(Box::new(set)))?.notes)
    };
    assert_eq!(set(true)?, Vec::<String>::new());
    assert!(!leads_out()?, "it has no default route any more");
    let notes = set(false)?;
    assert!(
        matches!(&notes[..], [note] if note.contains("disconnect and connect them anew")),
        "{notes:?}"
    );
    daemon.check_ledger()
}
