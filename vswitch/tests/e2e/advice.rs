//! What `why` advises, beside an interface that the host keeps and elsewhere, and what it does not speak of.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::process::Command;

use ctl::response::{Changed, EndpointInfo, TraceOutcome, TraceStage, WhyInfo};
use ctl::{
    Attach, Destination, Masquerade, Mutation, NatAdd, NatRule, NetworkConnect, NetworkCreate,
    Publish, RouteAdd,
};
use netlab::{Container, LabError, Need, Test, TestResult, ping, test};

use crate::daemon::{Daemon, eventually};
use crate::explain::{are_known, masqueraded, trace, two_bridges, why};
use crate::lifecycle::attach;
use crate::routing::container;
use crate::rules::{SOON, WHILE, connect, listen};
use crate::uplink::{HOST, Outcome, Site, WORLD, io};
use crate::vxlan;

pub fn tests() -> Vec<Test> {
    let beside_the_host = [
        test!(why_advises_to_publish_where_nothing_else_is_reached_from_outside),
        test!(why_advises_an_interface_of_the_host_to_who_asks_for_the_hosts_address),
        test!(who_is_beyond_a_router_of_the_hosts_comes_in_by_the_uplink),
    ];
    let beside_the_host = beside_the_host.into_iter().map(|test| test.needs(Need::Bpf));
    let others = [
        test!(what_was_lost_of_another_protocol_or_the_other_way_is_no_such_packet),
        test!(who_is_beyond_a_router_comes_in_by_the_routers_port),
        test!(who_was_not_heard_of_is_asked_for_where_he_can_be),
        test!(a_container_is_explained_by_its_alias_and_a_network_is_none),
        test!(of_several_containers_with_one_alias_each_is_explained),
        test!(what_the_resolver_takes_is_said_to_be_its),
        test!(what_rules_deny_is_allowed_by_the_command_that_why_advises),
        test!(who_is_meant_by_a_published_port_is_allowed_by_the_advised_command),
        test!(where_no_rule_can_go_before_it_the_one_that_denies_is_named),
    ];
    beside_the_host.chain(others).map(|test| test.needs(Need::Tun)).collect()
}

/// Makes a network.
pub fn network(daemon: &Daemon, name: &str, subnet: &str, internal: bool) -> Outcome<Changed> {
    let mut create = NetworkCreate::new(name.parse()?);
    create.subnets = vec![subnet.parse()?];
    create.settings.internal = internal;
    Ok(daemon.change(Mutation::NetworkCreate(Box::new(create)))?)
}

/// A container on a network, called so.
pub fn joined(daemon: &Daemon, network: &str, alias: &str) -> Outcome<(Container, EndpointInfo)> {
    let container = Container::new()?;
    let connect = NetworkConnect {
        aliases: vec![alias.parse()?],
        ..NetworkConnect::new(network.parse()?, container.reference())
    };
    let changed = daemon.change(Mutation::NetworkConnect(Box::new(connect)))?;
    container.await_ready("eth0")?;
    Ok((container, *changed.endpoint.ok_or("no endpoint in the answer")?))
}

fn why_advises_to_publish_where_nothing_else_is_reached_from_outside() -> TestResult {
    let site = Site::new()?;
    // From then on the world is known.
    ping::ping(&site.inner, WORLD[0].parse()?, &ping::Options::default())?;
    let says = |question: &str, end: &str| -> TestResult {
        let answer: WhyInfo = why(&site.daemon, question)?;
        assert!(
            !answer.reaches && answer.sentence.contains(end),
            "{question}: {}",
            answer.sentence
        );
        assert!(!answer.sentence.contains("route allow"), "{question}: {}", answer.sentence);
        Ok(())
    };
    let run = "run: vswitchctl nat publish add 81:10.1.0.2:81/tcp --on out";
    says(&format!("{} inner tcp 81", WORLD[0]), run)?;
    says("up0 10.1.0.2 tcp 81", run)?;
    // Port 8080 leads to it already.
    says("up0 10.1.0.2", "such as by: vswitchctl nat publish add 8081:10.1.0.2:80/tcp --on out")?;
    says("up0 inner tcp 80", "this one is, at tcp port 8080 of 192.0.2.2")?;
    assert!(why(&site.daemon, &format!("up0 {} tcp 8080", HOST[0]))?.reaches);
    says(&format!("up0 {} tcp 22", HOST[0]), "is the host's to answer")?;
    network(&site.daemon, "db", "10.2.0.0/24", true)?;
    let (_db, endpoint) = joined(&site.daemon, "db", "db")?;
    says(&format!("up0 {} tcp 80", endpoint.port), "network `db` is internal")?;
    // The host's own programs come by no uplink.
    let hosts = why(&site.daemon, &format!("{} inner", HOST[0])).err().ok_or("it is no station")?;
    assert!(hosts.to_string().contains("`vswitchctl network set NETWORK --host-port`"), "{hosts}");
    site.daemon.check_ledger()
}

fn why_advises_an_interface_of_the_host_to_who_asks_for_the_hosts_address() -> TestResult {
    let site = Site::new()?;
    are_known(&[(&site.inner, WORLD[0])])?;
    let index = site.host.link("eth0")?.index;
    site.host.netlink()?.add_default_route(WORLD[0].parse()?, index)?;
    network(&site.daemon, "web", "10.3.0.0/24", false)?;
    let (_web, _) = joined(&site.daemon, "web", "web")?;
    for question in [format!("web {}", HOST[0]), format!("web {} tcp 22", HOST[0])] {
        let answer = why(&site.daemon, &question)?;
        let run = "run: vswitchctl network set web --host-port";
        assert!(!answer.reaches && answer.sentence.ends_with(run), "{}", answer.sentence);
    }
    let answer = why(&site.daemon, &format!("inner {} tcp 22", HOST[0]))?;
    assert!(answer.sentence.contains("vswitchctl port add inside-host"), "{}", answer.sentence);
    let set = serde_json::json!({ "name": "web", "host_port": {} });
    let set = Mutation::NetworkSet(Box::new(serde_json::from_value(set)?));
    site.daemon.change(set)?;
    let answer = why(&site.daemon, &format!("web {} tcp 22", HOST[0]))?;
    assert!(answer.sentence.ends_with("the host is 10.3.0.3 here"), "{}", answer.sentence);
    assert!(why(&site.daemon, "web 10.3.0.3 tcp 22")?.reaches);
    assert!(why(&site.daemon, &format!("web {} tcp 8080", HOST[0]))?.reaches, "it is published");
    site.daemon.check_ledger()
}

/// Somebody behind a router, whom nobody has heard of.
const FAR: &str = "203.0.113.7";

fn refusal(daemon: &Daemon, question: &str) -> Outcome<String> {
    Ok(why(daemon, question).err().ok_or("somebody was meant")?.to_string())
}

fn who_is_beyond_a_router_of_the_hosts_comes_in_by_the_uplink() -> TestResult {
    let site = Site::new()?;
    let question = format!("{FAR} {} tcp 8080", HOST[0]);
    let lost = refusal(&site.daemon, &question)?;
    let like = "vswitchctl trace PORT --like 'tcp 203.0.113.7:49152 > 192.0.2.2:8080'";
    assert!(lost.contains("no route leads to it by a router") && lost.contains(like), "{lost}");
    let index = site.host.link("eth0")?.index;
    site.host.netlink()?.add_default_route(WORLD[0].parse()?, index)?;
    let beyond = site.world.netlink()?;
    let lo = beyond.link("lo")?.index;
    beyond.set_up(lo, true)?;
    beyond.add_address(lo, format!("{FAR}/32").parse()?)?;
    eventually("there is a way out", || why(&site.daemon, &question).is_ok())?;
    // From then on the router is known.
    ping::ping(&site.inner, FAR.parse()?, &ping::Options::default())?;
    let answer = why(&site.daemon, &question)?;
    let way = format!(
        "{FAR} comes in by port up0, from router {}, to which the route to it leads",
        WORLD[0]
    );
    let told =
        format!("{FAR} reaches {} by tcp port 8080, and the answer comes back; {way}", HOST[0]);
    assert_eq!((answer.reaches, answer.sentence), (true, told));
    for (question, part) in [
        (format!("{FAR} {} tcp 22", HOST[0]), "is the host's to answer"),
        (format!("{FAR} inner tcp 81"), "nat publish add 81:10.1.0.2:81/tcp --on out"),
    ] {
        let answer = why(&site.daemon, &question)?;
        let told = answer.sentence.contains(part) && answer.sentence.ends_with(&way);
        assert!(!answer.reaches && told, "{question}: {}", answer.sentence);
    }
    site.daemon.check_ledger()
}

fn who_is_beyond_a_router_comes_in_by_the_routers_port() -> TestResult {
    let daemon = Daemon::start()?;
    two_bridges(&daemon)?;
    let inner = container(&daemon, "inner", "a", &["10.1.0.2/24"], &["10.1.0.1"])?;
    let router = container(&daemon, "router", "b", &["10.2.0.9/24"], &[])?;
    let _other = container(&daemon, "other", "b", &["10.2.0.8/24"], &[])?;
    are_known(&[(&inner, "10.1.0.1"), (&router, "10.2.0.1")])?;
    let (on, forward) = ("b".parse()?, "8080:10.1.0.2:80/tcp".parse()?);
    let rule = NatRule::Publish(Publish { on, forward, to: None, port: None });
    daemon.change(Mutation::NatAdd(NatAdd { name: None, rule }))?;
    let (on, via) = ("b".parse()?, vec!["10.2.0.9".parse()?]);
    daemon.change(Mutation::RouteAdd(RouteAdd { to: Destination::Default, on, via }))?;
    let open = why(&daemon, &format!("{FAR} 10.2.0.1 tcp 8080"))?;
    let way =
        "203.0.113.7 comes in by port router, from router 10.2.0.9, to which the route to it leads";
    assert!(open.reaches && open.sentence.ends_with(way), "{open:?}");
    assert!(
        open.forward.packet.contains("tcp 203.0.113.7 port 49152 > 10.2.0.1 port 8080"),
        "{open:?}"
    );
    let stages = open.back.ok_or("no account of the answer")?.stages;
    let leads =
        |stage: &TraceStage| stage.stage == "route" && stage.decision.contains("to 10.2.0.9");
    assert!(stages.iter().any(leads), "{stages:?}");
    // Nobody in a subnet of a bridge is beyond a router of another one.
    let near = refusal(&daemon, "10.1.0.77 10.2.0.1 tcp 8080")?;
    assert!(near.contains("nothing is known of any address of 10.1.0.77"), "{near}");
    daemon.check_ledger()
}

fn who_was_not_heard_of_is_asked_for_where_he_can_be() -> TestResult {
    let hosts = vxlan::hosts()?;
    let (one, two) = (vxlan::switch(&hosts.0)?, vxlan::switch(&hosts.1)?);
    vxlan::join(&one, vxlan::Outside::V4, 1, &[2])?;
    vxlan::join(&two, vxlan::Outside::V4, 2, &[1])?;
    let attached = |daemon: &Daemon, ip: &str| -> Outcome<(Container, String)> {
        let container = Container::new()?;
        let changed = daemon.change(Mutation::Attach(attach(&container, ip)?))?;
        container.await_ready("eth0")?;
        Ok((container, changed.port.ok_or("no port in the answer")?.to_string()))
    };
    let (near, port) = attached(&one, "10.0.0.1/24")?;
    let (_known, _) = attached(&one, "10.0.0.3/24")?;
    let (_far, _) = attached(&two, "10.0.0.2/24")?;
    ping::ping(&near, "10.0.0.2".parse()?, &ping::Options::default())?;
    let answer = why(&one, &format!("{port} 10.0.0.2"))?;
    let told = format!(
        "it is not known yet whether {port} reaches 10.0.0.2: it waits until 10.0.0.2 answers on bridge br0, which has no gateway, so that \
         the switch does not hear who has which address; the question goes to port vx0 (1 station), of which it is not known what addresses \
         are there"
    );
    assert_eq!((answer.reaches, answer.sentence), (false, told));
    Ok(())
}

fn of_several_containers_with_one_alias_each_is_explained() -> TestResult {
    let daemon = Daemon::start()?;
    network(&daemon, "web", "10.1.0.0/24", false)?;
    network(&daemon, "other", "10.2.0.0/24", false)?;
    let (_shop, shop) = joined(&daemon, "web", "shop")?;
    let (_one, one) = joined(&daemon, "web", "db")?;
    let (_two, two) = joined(&daemon, "web", "db")?;
    // Who is asked for the name here does not answer with this one.
    let (_elsewhere, _) = joined(&daemon, "other", "db")?;
    let mut both = [one, two];
    both.sort_by(|one, two| one.port.cmp(&two.port));
    let reached =
        |to: &EndpointInfo| format!("shop reaches {}, and the answer comes back", to.port);
    let first = format!("db is several containers: {}; ", reached(&both[0]));
    let open = why(&daemon, "shop db")?;
    assert_eq!((open.reaches, open.sentence), (true, first.clone() + &reached(&both[1])));
    let lost = both[1].addresses[0].address.addr;
    deny(&daemon, &format!("100 icmp,dst={lost} drop"))?;
    let closed = why(&daemon, "shop db")?;
    let shop = shop.addresses[0].address.addr;
    let denied = format!(
        "shop cannot reach {}: rule 0 denies it; to allow just this before it, run: vswitchctl flow add 101 'icmp,src={shop},dst={lost}' allow",
        both[1].port
    );
    assert_eq!((closed.reaches, &closed.sentence), (false, &(first + &denied)));
    assert!(closed.forward.packet.contains(&lost.to_string()), "{closed:?}");
    let back = why(&daemon, "db shop tcp 80")?;
    assert!(back.reaches && back.sentence.starts_with("db is several containers: "), "{back:?}");
    daemon.check_ledger()
}

/// Has a shell do what `why` says is to be run.
fn obey(daemon: &Daemon, question: &str) -> Outcome<String> {
    let denied = why(daemon, question)?;
    assert!(!denied.reaches, "{question}: {}", denied.sentence);
    let run = denied.sentence.split_once(", run: ").ok_or("nothing is to be run")?.1;
    // What was lost lately is told of behind it.
    let run = run.split(" (").next().unwrap_or_default().to_owned();
    let program = env!("CARGO_BIN_EXE_vswitchctl");
    let script = format!("vswitchctl() {{ '{program}' \"$@\"; }}\n{run}");
    let mut shell = Command::new("sh");
    let output = shell.args(["-c", &script]).env("VSWITCH_SOCKET", daemon.socket()).output()?;
    assert!(output.status.success(), "{run}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(run)
}

fn deny(daemon: &Daemon, rule: &str) -> TestResult {
    daemon.change(Mutation::FlowAdd(Box::new(rule.parse()?)))?;
    Ok(())
}

fn what_rules_deny_is_allowed_by_the_command_that_why_advises() -> TestResult {
    let daemon = Daemon::start()?;
    let attached = |ips: [&str; 2]| -> Outcome<(Container, String)> {
        let container = Container::new()?;
        let ips = ips.iter().map(|ip| ip.parse()).collect::<Result<Vec<_>, _>>()?;
        let attach = Attach { ips, ..attach(&container, "10.0.0.9/24")? };
        let port = daemon.change(Mutation::Attach(attach))?.port.ok_or("no port")?;
        container.await_ready("eth0")?;
        Ok((container, port.to_string()))
    };
    let (app, from) = attached(["10.0.0.2/24", "fd00::2/64"])?;
    let (db, to) = attached(["10.0.0.3/24", "fd00::3/64"])?;
    let at = ["10.0.0.3:81", "10.0.0.3:82", "[fd00::3]:81"];
    let _listeners = at.iter().map(|at| listen(&db, at)).collect::<Outcome<Vec<_>>>()?;
    deny(&daemon, "100 any drop")?;
    assert_eq!(connect(&app, at[0], WHILE)?.err(), Some(ErrorKind::TimedOut));
    let run = obey(&daemon, &format!("{from} {to} tcp 81"))?;
    // Nobody would find anybody either.
    let asked = "vswitchctl flow add 101 'tcp,src=10.0.0.2,dst=10.0.0.3,dport=81' allow";
    assert_eq!(run, format!("{asked} && vswitchctl flow add 101 arp allow"));
    connect(&app, at[0], SOON)?.map_err(|kind| kind.to_string())?;
    assert_eq!(connect(&app, at[1], WHILE)?.err(), Some(ErrorKind::TimedOut), "that is denied");
    obey(&daemon, &format!("{from} fd00::3 tcp 81"))?;
    connect(&app, at[2], SOON)?.map_err(|kind| kind.to_string())?;
    assert!(why(&daemon, &format!("{from} {to} tcp 81"))?.reaches);
    daemon.check_ledger()
}

fn who_is_meant_by_a_published_port_is_allowed_by_the_advised_command() -> TestResult {
    let daemon = Daemon::start()?;
    let (inner, world) = masqueraded(&daemon)?;
    let (on, forward) = ("b".parse()?, "8080:10.1.0.2:80/tcp".parse()?);
    let rule = NatRule::Publish(Publish { on, forward, to: None, port: None });
    daemon.change(Mutation::NatAdd(NatAdd { name: None, rule }))?;
    let _listeners = [listen(&inner, "10.1.0.2:80")?, listen(&world, "10.2.0.9:81")?];
    // Answers are denied as well.
    deny(&daemon, "7 ip,state={new,established} reject")?;
    let run = obey(&daemon, "world 10.2.0.1 tcp 8080")?;
    let there = "vswitchctl flow add 8 'tcp,src=10.2.0.9,dst=10.1.0.2,dport=80' allow";
    let back = "vswitchctl flow add 8 'tcp,src=10.1.0.2,dst=10.2.0.9,sport=80' allow";
    assert_eq!(run, format!("{there} && {back}"));
    connect(&world, "10.2.0.1:8080", SOON)?.map_err(|kind| kind.to_string())?;
    // Rules see who it is, and not as whom he is masqueraded.
    let run = obey(&daemon, "inner world tcp 81")?;
    assert!(run.contains("'tcp,src=10.1.0.2,dst=10.2.0.9,dport=81'"), "{run}");
    connect(&inner, "10.2.0.9:81", SOON)?.map_err(|kind| kind.to_string())?;
    daemon.check_ledger()
}

fn where_no_rule_can_go_before_it_the_one_that_denies_is_named() -> TestResult {
    let daemon = Daemon::start()?;
    network(&daemon, "web", "10.1.0.0/24", false)?;
    let (_shop, _) = joined(&daemon, "web", "shop")?;
    let (_db, _) = joined(&daemon, "web", "db")?;
    deny(&daemon, &format!("{} tcp,dport=81 drop", u32::MAX))?;
    let denied = why(&daemon, "shop db tcp 81")?;
    let told = "shop cannot reach db by tcp port 81: rule 0 denies it, and no rule for this alone can go before it; `vswitchctl flow \
                list` shows the rules";
    assert_eq!((denied.reaches, &*denied.sentence), (false, told));
    Ok(())
}

fn what_the_resolver_takes_is_said_to_be_its() -> TestResult {
    let daemon = Daemon::start()?;
    network(&daemon, "web", "10.1.0.0/24", false)?;
    let (_shop, _) = joined(&daemon, "web", "shop")?;
    let asked = why(&daemon, "shop 10.1.0.1 udp 53")?;
    let told = "shop reaches the switch itself, which answers for 10.1.0.1";
    assert_eq!((asked.reaches, &*asked.sentence), (true, told));
    let TraceOutcome::Answered { packet } = &asked.forward.outcome else {
        return Err(format!("{asked:?}").into());
    };
    assert_eq!(packet, "its resolver (DNS) takes it, and answers what is asked in it");
    daemon.check_ledger()
}

fn sends(from: &Container, to: &str) -> TestResult {
    let sent = from.run(|| -> Result<usize, LabError> {
        let socket = UdpSocket::bind("0.0.0.0:0").map_err(io)?;
        socket.send_to(b"hello", to).map_err(io)
    });
    assert_eq!(sent?, 5);
    Ok(())
}

fn what_was_lost_of_another_protocol_or_the_other_way_is_no_such_packet() -> TestResult {
    let daemon = Daemon::start()?;
    two_bridges(&daemon)?;
    let inner = container(&daemon, "inner", "a", &["10.1.0.2/24"], &["10.1.0.1"])?;
    let world = container(&daemon, "world", "b", &["10.2.0.9/24"], &["10.2.0.1"])?;
    let rule = NatRule::Masquerade(Masquerade::new("a".parse()?, "b".parse()?));
    daemon.change(Mutation::NatAdd(NatAdd { name: None, rule }))?;
    ping::ping(&inner, "10.2.0.9".parse()?, &ping::Options::default())?;
    let lost = |question: &str| -> Outcome<Vec<_>> { Ok(why(&daemon, question)?.lost) };
    let silence = std::time::Duration::from_millis(100);
    // To whom it seems to be, and to itself: each replaces what was lost before for that reason.
    sends(&world, "10.2.0.1:9")?;
    sends(&world, "10.1.0.2:53")?;
    eventually("the datagram is lost", || {
        lost("world inner udp 53").is_ok_and(|all| all.len() == 1)
    })?;
    let [datagram] = &lost("world inner udp 53")?[..] else { return Err("it was lost".into()) };
    assert!(datagram.summary.contains("10.1.0.2 port 53") && !datagram.is_answer, "{datagram:?}");
    for question in ["inner world", "inner world udp 53", "world inner", "world inner udp 54"] {
        assert_eq!(lost(question)?, [], "{question}");
    }
    assert!(ping::is_silent(&world, "10.1.0.2".parse()?, silence)?);
    let [ping] = &lost("world inner")?[..] else { return Err("the ping was lost".into()) };
    assert!(ping.summary.ends_with("icmp echo request 10.2.0.9 > 10.1.0.2"), "{ping:?}");
    for question in ["inner world", "inner world tcp 80", "world inner tcp 80"] {
        assert_eq!(lost(question)?, [], "{question}");
    }
    deny(&daemon, "100 icmp,src=10.2.0.9,state=established drop")?;
    assert!(ping::is_silent(&inner, "10.2.0.9".parse()?, silence)?);
    let closed = why(&daemon, "inner world")?;
    assert!(matches!(&closed.lost[..], [lost] if lost.is_answer), "{closed:?}");
    assert!(closed.sentence.contains("(the last answer to such a packet that"), "{closed:?}");
    daemon.check_ledger()
}

fn a_container_is_explained_by_its_alias_and_a_network_is_none() -> TestResult {
    let daemon = Daemon::start()?;
    network(&daemon, "web", "10.1.0.0/24", false)?;
    let (_shop, shop) = joined(&daemon, "web", "shop")?;
    let (_db, _) = joined(&daemon, "web", "db.internal")?;
    for question in ["shop db.internal", "shop.web db.internal.web tcp 80"] {
        assert!(why(&daemon, question)?.reaches, "{question}");
    }
    let like = format!("tcp {}:4000 > 10.1.0.1:80", shop.addresses[0].address.addr);
    let traces = [trace(&daemon, "shop", &like)?, trace(&daemon, shop.port.as_str(), &like)?];
    assert_eq!(traces[0], traces[1]);
    for (question, part) in [
        ("shop web", "web is a network; name a container on it"),
        ("shop nobody", "no port and no attached container is named nobody"),
    ] {
        let refused = why(&daemon, question).err().ok_or("somebody is called so")?.to_string();
        assert!(refused.contains(part), "{refused}");
    }
    daemon.check_ledger()
}
