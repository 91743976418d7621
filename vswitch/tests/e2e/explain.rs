//! The switch explains itself: what `trace` and `why` say of real containers, and that it is true.

use ctl::response::{TraceInfo, TraceOutcome, WhyInfo};
use ctl::{
    Allowance, Attach, ClientError, Masquerade, Mutation, NatAdd, NatRule, Packet, Party, Protocol,
    Publish, Query, Trace, Why,
};
use netlab::{Container, Need, Test, TestResult, ping, test};

use crate::daemon::Daemon;
use crate::lifecycle::attach;
use crate::routing::{container, routed_bridge};

pub fn tests() -> Vec<Test> {
    [
        test!(why_says_what_is_missing_until_nothing_is),
        test!(why_knows_a_container_by_its_own_name),
        test!(why_follows_translations_there_and_back),
        test!(a_trace_names_every_decision_and_makes_none),
        test!(what_cannot_be_explained_is_refused_with_advice),
    ]
    .into_iter()
    .map(|test| test.needs(Need::Tun))
    .collect()
}

/// Bridges `a` and `b` with gateways.
fn two_bridges(daemon: &Daemon) -> TestResult {
    routed_bridge(daemon, "a", &["10.1.0.1/24", "fd01::1/64"])?;
    routed_bridge(daemon, "b", &["10.2.0.1/24", "fd02::1/64"])?;
    Ok(())
}

fn question(text: &str) -> Result<Why, Box<dyn std::error::Error>> {
    let words: Vec<_> = text.split(' ').collect();
    let protocol = words.get(2).copied().unwrap_or("icmp").parse::<Protocol>()?;
    let port = words.get(3).map(|port| port.parse()).transpose()?;
    Ok(Why { from: words[0].parse()?, to: words[1].parse()?, protocol, port })
}

fn why(daemon: &Daemon, text: &str) -> Result<WhyInfo, Box<dyn std::error::Error>> {
    Ok(daemon.ask(Query::Why(question(text)?))?)
}

fn trace(daemon: &Daemon, port: &str, like: &str) -> Result<TraceInfo, Box<dyn std::error::Error>> {
    let packet = Packet::Like(like.parse()?);
    let trace = Trace { port: port.parse()?, packet, live: None };
    let mut traces: Vec<TraceInfo> = daemon.ask(Query::Trace(trace))?;
    Ok(traces.pop().ok_or("no trace")?)
}

fn allow(daemon: &Daemon, from: &str, to: &str) -> TestResult {
    daemon.change(Mutation::RouteAllow(Allowance { from: from.parse()?, to: to.parse()? }))?;
    Ok(())
}

fn why_says_what_is_missing_until_nothing_is() -> TestResult {
    let daemon = Daemon::start()?;
    two_bridges(&daemon)?;
    let gateways = ["10.1.0.1", "fd01::1"];
    let one = container(&daemon, "one", "a", &["10.1.0.2/24", "fd01::2/64"], &gateways)?;
    let gateways = ["10.2.0.1", "fd02::1"];
    let _two = container(&daemon, "two", "b", &["10.2.0.2/24", "fd02::2/64"], &gateways)?;
    let _lost = container(&daemon, "lost", "b", &["10.2.0.3/24"], &[])?;

    let closed = why(&daemon, "one two")?;
    assert!(!closed.reaches);
    let advice =
        "one cannot reach two: bridge `a` may not reach `b`; run: vswitchctl route allow a b";
    assert_eq!(closed.sentence, advice);
    let TraceOutcome::Dropped { reason, .. } = &closed.forward.outcome else {
        return Err(format!("{:?}", closed.forward).into());
    };
    assert_eq!(reason, "no-route");

    allow(&daemon, "a", "b")?;
    for question in ["one two", "one two tcp 80", "10.1.0.2 10.2.0.2 udp 53", "one fd02::2"] {
        let open = why(&daemon, question)?;
        assert!(open.reaches, "{question}: {open:?}");
    }
    let open = why(&daemon, "one two tcp 80")?;
    assert_eq!(open.sentence, "one reaches two by tcp port 80, and the answer comes back");
    ping::ping(&one, "10.2.0.2".parse()?, &ping::Options::default())?;
    let back = why(&daemon, "two one")?;
    assert!(back.sentence.ends_with("run: vswitchctl route allow b a"), "{}", back.sentence);
    assert!(why(&daemon, "two lost")?.reaches, "they are neighbours");
    let lost = why(&daemon, "one lost")?;
    assert!(!lost.reaches);
    assert!(lost.sentence.contains("but the answer is lost"), "{}", lost.sentence);
    assert!(lost.sentence.contains("attach it with --gateway"), "{}", lost.sentence);
    let gateway = why(&daemon, "one 10.1.0.1")?;
    assert!(gateway.reaches, "{gateway:?}");
    daemon.check_ledger()
}

fn why_knows_a_container_by_its_own_name() -> TestResult {
    let daemon = Daemon::start()?;
    let (web, db) = (Container::new()?, Container::new()?);
    std::fs::create_dir_all("/run/netns")?;
    for (container, name, ip) in [(&web, "why-web", "10.0.0.2/24"), (&db, "why-db", "10.0.0.3/24")]
    {
        std::os::unix::fs::symlink(container.reference().path(), format!("/run/netns/{name}"))?;
        let request = Attach { netns: name.parse()?, ..attach(container, ip)? };
        daemon.change(Mutation::Attach(request))?;
    }
    let open = why(&daemon, "why-db why-web tcp 80")?;
    assert!(open.reaches, "{open:?}");
    let question = Query::Why(Why { to: "why-nobody".parse()?, ..question("why-db why-web")? });
    match daemon.ask::<WhyInfo>(question) {
        Err(ClientError::Refused(error)) => {
            assert!(error.message.contains("no attached container is named why-nobody"));
            Ok(())
        }
        other => Err(format!("{other:?}").into()),
    }
}

fn why_follows_translations_there_and_back() -> TestResult {
    let daemon = Daemon::start()?;
    two_bridges(&daemon)?;
    let inner = container(&daemon, "inner", "a", &["10.1.0.2/24"], &["10.1.0.1"])?;
    let _world = container(&daemon, "world", "b", &["10.2.0.9/24"], &[])?;
    let rule = NatRule::Masquerade(Masquerade::new("a".parse()?, "b".parse()?));
    daemon.change(Mutation::NatAdd(NatAdd { name: None, rule }))?;

    let out = why(&daemon, "inner world tcp 80")?;
    let told = "inner reaches world by tcp port 80 as 10.2.0.1, and the answer comes back";
    assert_eq!(out.sentence, told, "{out:?}");
    ping::ping(&inner, "10.2.0.9".parse()?, &ping::Options::default())?;
    assert!(!why(&daemon, "world 10.2.0.1 tcp 8080")?.reaches, "nothing is published");
    let (on, forward) = ("b".parse()?, "8080:10.1.0.2:80/tcp".parse()?);
    let rule = NatRule::Publish(Publish { on, forward, to: None, port: None });
    daemon.change(Mutation::NatAdd(NatAdd { name: None, rule }))?;
    let inward = why(&daemon, "world 10.2.0.1 tcp 8080")?;
    assert!(inward.reaches, "{inward:?}");
    let published = inward.forward.stages.iter().find(|stage| stage.stage == "published");
    let published = published.ok_or("no stage says that it is published")?;
    assert_eq!(published.decision, "for 10.1.0.2:80 on bridge a");
    daemon.check_ledger()
}

fn a_trace_names_every_decision_and_makes_none() -> TestResult {
    let daemon = Daemon::start()?;
    two_bridges(&daemon)?;
    let one = container(&daemon, "one", "a", &["10.1.0.2/24"], &["10.1.0.1"])?;
    let _two = container(&daemon, "two", "b", &["10.2.0.2/24"], &["10.2.0.1"])?;
    allow(&daemon, "a", "b")?;
    ping::ping(&one, "10.2.0.2".parse()?, &ping::Options::default())?;
    let found = trace(&daemon, "one", "tcp 10.1.0.2:4000 > 10.2.0.2:80")?;
    let stages: Vec<_> = found.stages.iter().map(|stage| stage.stage.as_str()).collect();
    assert_eq!(stages, ["route", "neighbour", "session", "mtu", "link"], "{found:?}");
    let TraceOutcome::Sent { ports, packet } = &found.outcome else {
        return Err(format!("{found:?}").into());
    };
    assert_eq!(ports.iter().map(|port| port.as_str()).collect::<Vec<_>>(), ["two"]);
    assert!(packet.ends_with("tcp 10.1.0.2 port 4000 > 10.2.0.2 port 80"), "{packet}");
    // Had it begun a session, this answer would pass.
    let answer = "tcp 10.2.0.2:80 > 10.1.0.2:4000 flags=syn+ack";
    let TraceOutcome::Dropped { .. } = trace(&daemon, "two", answer)?.outcome else {
        return Err("a traced packet has begun a session".into());
    };
    let TraceOutcome::Dropped { reason, .. } =
        trace(&daemon, "one", "udp 10.1.0.2:4000 > 10.2.0.2:80 ttl=1")?.outcome
    else {
        return Err("it outlived its time".into());
    };
    assert_eq!(reason, "ttl-expired");
    daemon.check_ledger()
}

fn what_cannot_be_explained_is_refused_with_advice() -> TestResult {
    let daemon = Daemon::start()?;
    two_bridges(&daemon)?;
    let _one = container(&daemon, "one", "a", &["10.1.0.2/24"], &["10.1.0.1"])?;
    let refusal = |query: Query| match daemon.ask::<serde_json::Value>(query) {
        Err(ClientError::Refused(error)) => Ok(error.message),
        other => Err(format!("{other:?}")),
    };
    let like = Packet::Like("tcp 10.1.0.2:4000 > 10.2.0.2:80".parse()?);
    let live = Trace { port: "one".parse()?, packet: like.clone(), live: Some("3".parse()?) };
    assert!(refusal(Query::Trace(live))?.contains("`trace --live`"));
    let nowhere = Trace { port: "none".parse()?, packet: like, live: None };
    assert!(refusal(Query::Trace(nowhere))?.contains("`port list`"));
    let to: Party = "10.9.9.9".parse()?;
    let stranger =
        Why { from: "10.8.8.8".parse()?, to: to.clone(), protocol: Protocol::Icmp, port: None };
    assert!(refusal(Query::Why(stranger))?.contains("10.8.8.8"));
    let portless = Why { from: "one".parse()?, to, protocol: Protocol::Tcp, port: None };
    assert!(refusal(Query::Why(portless))?.contains("give the tcp port"));
    Ok(())
}
