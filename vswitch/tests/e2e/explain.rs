//! The switch explains itself: what `trace` and `why` say of real containers, and that it is true.

use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;

use ctl::response::{FollowInfo, TraceInfo, TraceOutcome, WhyInfo};
use ctl::wire::{Envelope, request_line};
use ctl::{
    Allowance, Attach, ClientError, Masquerade, Mutation, NatAdd, NatRule, Packet, Party, Protocol,
    Publish, Query, Request, Trace, Why,
};
use netlab::{Container, LabError, Need, Test, TestResult, ping, test};

use crate::daemon::{Daemon, Kind, connect, eventually, is_offloaded};
use crate::lifecycle::attach;
use crate::places::Name;
use crate::routing::{container, reaches, routed_bridge};

pub fn tests() -> Vec<Test> {
    [
        test!(why_says_what_is_missing_until_nothing_is),
        test!(why_says_that_an_answer_is_lost_for_want_of_a_gateway),
        test!(why_knows_a_container_by_its_own_name),
        test!(why_follows_translations_there_and_back),
        test!(a_trace_names_every_decision_and_makes_none),
        test!(why_names_what_was_really_lost_between_the_two_and_nothing_else),
        test!(real_packets_are_followed_through_translation_as_they_pass),
        test!(following_ends_when_nothing_comes_or_the_client_goes),
        test!(what_cannot_be_explained_is_refused_with_advice),
    ]
    .into_iter()
    .map(|test| test.needs(Need::Tun))
    .collect()
}

/// Bridges `a` and `b` with gateways.
pub fn two_bridges(daemon: &Daemon) -> TestResult {
    routed_bridge(daemon, "a", &["10.1.0.1/24", "fd01::1/64"])?;
    routed_bridge(daemon, "b", &["10.2.0.1/24", "fd02::1/64"])?;
    Ok(())
}

/// A container on the one, and one on the other to which the first is masqueraded.
pub fn masqueraded(daemon: &Daemon) -> TestResult<(Container, Container)> {
    two_bridges(daemon)?;
    let inner = container(daemon, "inner", "a", &["10.1.0.2/24"], &["10.1.0.1"])?;
    let world = container(daemon, "world", "b", &["10.2.0.9/24"], &[])?;
    are_known(&[(&inner, "10.1.0.1"), (&world, "10.2.0.1")])?;
    let rule = NatRule::Masquerade(Masquerade::new("a".parse()?, "b".parse()?));
    daemon.change(Mutation::NatAdd(NatAdd { name: None, rule }))?;
    Ok((inner, world))
}

fn question(text: &str) -> Result<Why, Box<dyn std::error::Error>> {
    let words: Vec<_> = text.split(' ').collect();
    let protocol = words.get(2).copied().unwrap_or("icmp").parse::<Protocol>()?;
    let port = words.get(3).map(|port| port.parse()).transpose()?;
    Ok(Why { from: words[0].parse()?, to: words[1].parse()?, protocol, port })
}

pub fn why(daemon: &Daemon, text: &str) -> Result<WhyInfo, Box<dyn std::error::Error>> {
    Ok(daemon.ask(Query::Why(question(text)?))?)
}

pub fn trace(
    daemon: &Daemon,
    port: &str,
    like: &str,
) -> Result<TraceInfo, Box<dyn std::error::Error>> {
    let packet = Packet::Like(like.parse()?);
    let trace = Trace { port: port.parse()?, packet, live: None, patience: None };
    let mut traces: Vec<TraceInfo> = daemon.ask(Query::Trace(trace))?;
    Ok(traces.pop().ok_or("no trace")?)
}

fn allow(daemon: &Daemon, from: &str, to: &str) -> TestResult {
    daemon.change(Mutation::RouteAllow(Allowance { from: from.parse()?, to: to.parse()? }))?;
    Ok(())
}

/// Each speaks with its gateway, if that is needed: of an interface that the switch did not make, it knows the addresses that it
/// has heard from, of its own all.
pub fn are_known(containers: &[(&Container, &str)]) -> TestResult {
    let mut unknown = containers.iter().filter(|_| is_offloaded());
    unknown.try_for_each(|(container, gateway)| reaches(container, gateway))
}

fn why_says_what_is_missing_until_nothing_is() -> TestResult {
    let daemon = Daemon::start()?;
    two_bridges(&daemon)?;
    let gateways = ["10.1.0.1", "fd01::1"];
    let one = container(&daemon, "one", "a", &["10.1.0.2/24", "fd01::2/64"], &gateways)?;
    let gateways = ["10.2.0.1", "fd02::1"];
    let two = container(&daemon, "two", "b", &["10.2.0.2/24", "fd02::2/64"], &gateways)?;
    are_known(&[(&one, "10.1.0.1"), (&one, "fd01::1"), (&two, "10.2.0.1"), (&two, "fd02::1")])?;

    let closed = why(&daemon, "one two")?;
    assert!(!closed.reaches);
    let advice =
        "one cannot reach two: bridge `a` may not reach `b`; run: vswitchctl route allow a b";
    assert_eq!(closed.sentence, advice);
    let TraceOutcome::Dropped { reason, .. } = &closed.forward.outcome else {
        return Err(format!("{:?}", closed.forward).into());
    };
    assert_eq!(reason, "not-allowed");

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
    let gateway = why(&daemon, "one 10.1.0.1")?;
    assert!(gateway.reaches, "{gateway:?}");
    daemon.check_ledger()
}

fn why_says_that_an_answer_is_lost_for_want_of_a_gateway() -> TestResult {
    let daemon = Daemon::start()?;
    two_bridges(&daemon)?;
    let _one = container(&daemon, "one", "a", &["10.1.0.2/24"], &["10.1.0.1"])?;
    let _two = container(&daemon, "two", "b", &["10.2.0.2/24"], &["10.2.0.1"])?;
    let _lost = container(&daemon, "lost", "b", &["10.2.0.3/24"], &[])?;
    allow(&daemon, "a", "b")?;
    assert!(why(&daemon, "two lost")?.reaches, "they are neighbours");
    let lost = why(&daemon, "one lost")?;
    assert!(!lost.reaches);
    assert!(lost.sentence.contains("but the answer is lost"), "{}", lost.sentence);
    assert!(lost.sentence.contains("attach it with --gateway"), "{}", lost.sentence);
    let answer = lost.back.ok_or("there is no account of the answer")?.packet;
    assert_eq!(answer, "icmp echo reply 10.2.0.3 > 10.1.0.2");
    daemon.check_ledger()
}

fn why_knows_a_container_by_its_own_name() -> TestResult {
    let daemon = Daemon::start()?;
    let (web, db) = (Container::new()?, Container::new()?);
    let names = [Name::of(&web)?, Name::of(&db)?];
    for (container, name, ip) in [(&web, &names[0], "10.0.0.2/24"), (&db, &names[1], "10.0.0.3/24")]
    {
        let request = Attach { netns: name.reference()?, ..attach(container, ip)? };
        daemon.change(Mutation::Attach(request))?;
    }
    let [web, db] = [names[0].reference()?, names[1].reference()?];
    let open = why(&daemon, &format!("{db} {web} tcp 80"))?;
    assert!(open.reaches, "{open:?}");
    let nobody = "why-nobody".parse()?;
    let question = Query::Why(Why { to: nobody, ..question(&format!("{db} {web}"))? });
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
    let (inner, _world) = masqueraded(&daemon)?;

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

fn why_names_what_was_really_lost_between_the_two_and_nothing_else() -> TestResult {
    let daemon = Daemon::start()?;
    two_bridges(&daemon)?;
    let one = container(&daemon, "one", "a", &["10.1.0.2/24"], &["10.1.0.1"])?;
    let two = container(&daemon, "two", "b", &["10.2.0.2/24"], &["10.2.0.1"])?;
    let three = container(&daemon, "three", "b", &["10.2.0.3/24"], &["10.2.0.1"])?;
    are_known(&[(&one, "10.1.0.1"), (&two, "10.2.0.1"), (&three, "10.2.0.1")])?;
    assert_eq!(why(&daemon, "one two")?.lost, []);
    let silence = std::time::Duration::from_millis(100);
    assert!(ping::is_silent(&one, "10.2.0.2".parse()?, silence)?);
    let closed = why(&daemon, "one two")?;
    let [lost] = &closed.lost[..] else { return Err(format!("{closed:?}").into()) };
    assert_eq!((&*lost.port, &*lost.side, &*lost.reason), ("one", "in", "not-allowed"));
    assert!(lost.summary.contains("icmp echo request 10.1.0.2"), "{}", lost.summary);
    let remark = "coming in by one, not-allowed)";
    assert!(closed.sentence.ends_with(remark), "{}", closed.sentence);
    assert_eq!(why(&daemon, "one three")?.lost, []);
    assert_eq!(why(&daemon, "one two tcp 80")?.lost, [], "it was no TCP");
    allow(&daemon, "a", "b")?;
    let open = why(&daemon, "one two")?;
    assert!(open.reaches);
    assert_eq!(open.lost.len(), 1, "{open:?}");
    daemon.check_ledger()
}

/// Follows packets while something is done. Returns those, and how that ended.
fn followed(
    daemon: &Daemon,
    trace: Trace,
    mut during: impl FnMut() -> Result<(), Box<dyn std::error::Error>>,
) -> Result<(Vec<TraceInfo>, FollowInfo), Box<dyn std::error::Error>> {
    let mut client = daemon.client()?;
    let follower = std::thread::spawn(move || {
        let mut ways = Vec::new();
        let ended = client.stream(Request::Query(Query::Trace(trace)), |event| {
            ways.push(event);
            Ok::<_, ClientError>(())
        });
        ended.map(|answer| (ways, answer))
    });
    while !follower.is_finished() {
        during()?;
    }
    let (ways, answer) = follower.join().map_err(|_| "it panicked")??;
    let ways = ways.into_iter().map(serde_json::from_value).collect::<Result<_, _>>()?;
    Ok((ways, serde_json::from_value(answer)?))
}

fn live(port: &str, like: &str, count: &str, patience: &str) -> Result<Trace, ctl::BadName> {
    let packet = Packet::Like(like.parse()?);
    let (live, patience) = (Some(count.parse()?), Some(patience.parse()?));
    Ok(Trace { port: port.parse()?, packet, live, patience })
}

/// A UDP socket of a container.
fn bound(container: &Container, address: &str) -> Result<UdpSocket, LabError> {
    let failed = |source| LabError::Socket { operation: "bind a socket", source };
    let socket = container.run(|| UdpSocket::bind(address).map_err(failed))?;
    socket.set_read_timeout(Some(std::time::Duration::from_secs(5))).map_err(failed)?;
    Ok(socket)
}

fn real_packets_are_followed_through_translation_as_they_pass() -> TestResult {
    let daemon = Daemon::start()?;
    two_bridges(&daemon)?;
    let inner = container(&daemon, "inner", "a", &["10.1.0.2/24"], &["10.1.0.1"])?;
    let world = container(&daemon, "world", "b", &["10.2.0.9/24"], &[])?;
    let rule = NatRule::Masquerade(Masquerade::new("a".parse()?, "b".parse()?));
    daemon.change(Mutation::NatAdd(NatAdd { name: None, rule }))?;
    ping::ping(&inner, "10.2.0.9".parse()?, &ping::Options::default())?;
    let (out, back) = (bound(&inner, "10.1.0.2:0")?, bound(&world, "10.2.0.9:0")?);
    let to = back.local_addr()?;
    out.connect(to)?;
    let like = format!("udp 10.1.0.2:{} > {to}", out.local_addr()?.port());
    let (ways, ended) = followed(&daemon, live("inner", &like, "3", "60")?, || {
        out.send(b"hello")?;
        back.recv(&mut [0; 9])?;
        Ok(())
    })?;
    assert_eq!(ended, FollowInfo { followed: 3, missed: 0 });
    assert_eq!(ways.len(), 3);
    for way in &ways {
        let stages: Vec<_> = way.stages.iter().map(|stage| stage.stage.as_str()).collect();
        // The first one may have begun the session, and the others go on in it.
        let begins = ["route", "neighbour", "masquerade", "session", "mtu", "link"];
        let goes_on = ["session", "route", "neighbour", "mtu", "link"];
        assert!(stages == begins || stages == goes_on, "{way:?}");
        let TraceOutcome::Sent { ports, packet } = &way.outcome else {
            return Err(format!("{way:?}").into());
        };
        assert_eq!(ports.iter().map(|port| port.as_str()).collect::<Vec<_>>(), ["world"]);
        assert!(packet.contains("udp 10.2.0.1 port"), "{packet}");
    }
    // What comes back is followed at the other port, whoever sends it.
    let like = format!("udp {}:{} > 10.2.0.1:0", to.ip(), to.port());
    let (ways, _) = followed(&daemon, live("world", &like, "1", "60")?, || {
        out.send(b"hello")?;
        let (_, from) = back.recv_from(&mut [0; 9])?;
        back.send_to(b"world", from)?;
        out.recv(&mut [0; 9])?;
        Ok(())
    })?;
    let TraceOutcome::Sent { packet, .. } = &ways[0].outcome else {
        return Err(format!("{ways:?}").into());
    };
    assert!(packet.contains("> 10.1.0.2 port"), "{packet}");
    daemon.check_ledger()
}

fn following_ends_when_nothing_comes_or_the_client_goes() -> TestResult {
    let daemon = Daemon::start()?;
    two_bridges(&daemon)?;
    let _one = container(&daemon, "one", "a", &["10.1.0.2/24"], &["10.1.0.1"])?;
    let nothing = live("one", "tcp 10.1.0.2:4000 > 10.2.0.2:80", "1", "1")?;
    let (ways, ended) = followed(&daemon, nothing, || {
        std::thread::yield_now();
        Ok(())
    })?;
    assert_eq!((ways.len(), ended), (0, FollowInfo { followed: 0, missed: 0 }));

    let patient = live("one", "tcp 10.1.0.2:4000 > 10.2.0.2:80", "1", "10000")?;
    let begin = || -> Result<UnixStream, Box<dyn std::error::Error>> {
        let mut stream = UnixStream::connect(daemon.socket())?;
        let request = Request::Query(Query::Trace(patient.clone()));
        stream.write_all(&request_line(&Envelope { id: 1, request })?)?;
        Ok(stream)
    };
    let gone = begin()?;
    eventually("another one is refused while it goes on", || {
        let refused = daemon.ask::<serde_json::Value>(Query::Trace(patient.clone()));
        matches!(refused, Err(ClientError::Refused(error)) if error.message.contains("already"))
    })?;
    drop(gone);
    let quick = live("one", "tcp 10.1.0.2:4000 > 10.2.0.2:80", "1", "1")?;
    eventually("the next one may follow", || {
        daemon.ask::<FollowInfo>(Query::Trace(quick.clone())).is_ok()
    })?;
    Ok(())
}

fn what_cannot_be_explained_is_refused_with_advice() -> TestResult {
    let daemon = Daemon::start()?;
    two_bridges(&daemon)?;
    let one = container(&daemon, "one", "a", &["10.1.0.2/24"], &["10.1.0.1"])?;
    are_known(&[(&one, "10.1.0.1")])?;
    let refusal = |query: Query| match daemon.ask::<serde_json::Value>(query) {
        Err(ClientError::Refused(error)) => Ok(error.message),
        other => Err(format!("{other:?}")),
    };
    let like = Packet::Like("tcp 10.1.0.2:4000 > 10.2.0.2:80".parse()?);
    let nowhere = Trace { port: "none".parse()?, packet: like, live: None, patience: None };
    assert!(refusal(Query::Trace(nowhere))?.contains("`port list`"));
    let to: Party = "10.9.9.9".parse()?;
    let stranger =
        Why { from: "10.8.8.8".parse()?, to: to.clone(), protocol: Protocol::Icmp, port: None };
    assert!(refusal(Query::Why(stranger))?.contains("10.8.8.8"));
    let portless = Why { from: "one".parse()?, to, protocol: Protocol::Tcp, port: None };
    assert!(refusal(Query::Why(portless))?.contains("give the tcp port"));
    let other = Container::new()?;
    connect(&daemon, "other", Kind::Gso, &other, (1500, &["10.3.0.2/24"]))?;
    let packet = Packet::Like("tcp 10.3.0.2:4000 > 10.3.0.3:80".parse()?);
    let unknown = Trace { port: "other".parse()?, packet, live: None, patience: None };
    let said = refusal(Query::Trace(unknown))?;
    assert!(said.contains("addresses are not known") && said.contains("--live"), "{said}");
    Ok(())
}
