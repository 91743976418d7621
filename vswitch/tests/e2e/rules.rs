//! Rules, guards and rates, with the kernel at both ends.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ctl::flow::FlowRule;
use ctl::response::{DropInfo, FlowInfo, FlowPage};
use ctl::{Egress, FlowKey, FlowList, FlowReplace, Ingress, Mutation, Query};
use netlab::raw::RawSocket;
use netlab::{Container, LabError, Need, Path, Test, TestResult, ping, test, transfer};

use crate::daemon::{Daemon, eventually, port, tap};

/// Longer than anything takes that comes about.
pub const SOON: Duration = Duration::from_secs(5);
/// Long enough for what would come.
pub const WHILE: Duration = Duration::from_millis(300);

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

pub fn tests() -> Vec<Test> {
    [
        test!(tcp_is_allowed_dropped_and_rejected_by_port),
        test!(replies_pass_and_connections_of_the_other_end_do_not),
        test!(a_connection_stops_when_a_rule_denies_it_and_goes_on_when_the_rule_is_gone),
        test!(rules_are_exchanged_under_traffic_without_loss),
        test!(a_mirror_gets_the_beginning_of_each_packet),
        test!(packets_over_the_limit_of_a_rule_are_counted),
        test!(a_guarded_container_cannot_pose_as_another),
        test!(what_exceeds_the_rate_of_a_port_waits_or_is_dropped),
        test!(what_comes_faster_than_a_port_may_send_is_dropped_and_counted),
        test!(rules_go_away_when_their_time_is_over),
    ]
    .into_iter()
    .map(|test| test.needs(Need::Tun))
    .collect()
}

/// A daemon with containers `a`, `b` and `c`: 10.0.0.1 to 3.
fn laboratory() -> Outcome<(Daemon, [Container; 3])> {
    let daemon = Daemon::start()?;
    let containers = [Container::new()?, Container::new()?, Container::new()?];
    for ((name, ip), container) in
        [("a", "10.0.0.1/24"), ("b", "10.0.0.2/24"), ("c", "10.0.0.3/24")].iter().zip(&containers)
    {
        daemon.add(name, port("br0", tap(container, &[ip])?)?)?;
        container.await_ready("eth0")?;
    }
    Ok((daemon, containers))
}

fn add(daemon: &Daemon, rule: &str) -> TestResult {
    let changed = daemon.change(Mutation::FlowAdd(Box::new(rule.parse()?)))?;
    changed.flow.ok_or("the rule has no number")?;
    Ok(())
}

fn replace(daemon: &Daemon, rules: &[&str]) -> TestResult {
    let rules = rules.iter().map(|rule| rule.parse()).collect::<Result<Vec<FlowRule>, _>>()?;
    daemon.change(Mutation::FlowReplace(FlowReplace { rules }))?;
    Ok(())
}

fn rules(daemon: &Daemon) -> Outcome<Vec<FlowInfo>> {
    let page: FlowPage = daemon.ask(Query::FlowList(FlowList::default()))?;
    Ok(page.flows)
}

pub fn drops(daemon: &Daemon, reason: &str) -> Outcome<u64> {
    let drops: Vec<DropInfo> = daemon.ask(Query::drops())?;
    Ok(drops.iter().filter(|drop| drop.reason == reason).map(|drop| drop.count).sum())
}

pub fn listen(container: &Container, at: &str) -> Outcome<TcpListener> {
    let at: SocketAddr = at.parse()?;
    Ok(container.run(|| TcpListener::bind(at).map_err(io("listen")))?)
}

/// What comes of an attempt to connect.
pub fn connect(
    from: &Container,
    to: &str,
    patience: Duration,
) -> Outcome<Result<TcpStream, ErrorKind>> {
    let to: SocketAddr = to.parse()?;
    let attempt = from.run(|| {
        Ok::<_, LabError>(TcpStream::connect_timeout(&to, patience).map_err(|error| error.kind()))
    })?;
    Ok(attempt)
}

fn io(operation: &'static str) -> impl FnOnce(std::io::Error) -> LabError {
    move |source| LabError::Socket { operation, source }
}

fn tcp_is_allowed_dropped_and_rejected_by_port() -> TestResult {
    let (daemon, [a, b, _c]) = laboratory()?;
    let _listeners =
        [listen(&b, "10.0.0.2:80")?, listen(&b, "10.0.0.2:81")?, listen(&b, "10.0.0.2:82")?];
    add(&daemon, "30 in_port=a,tcp,dport=80 allow")?;
    add(&daemon, "20 tcp,dport=81 reject")?;
    add(&daemon, "10 tcp,src=10.0.0.0/24,dport=82 drop")?;
    connect(&a, "10.0.0.2:80", SOON)?.map_err(|kind| kind.to_string())?;
    let rejected = connect(&a, "10.0.0.2:81", SOON)?;
    assert_eq!(rejected.err(), Some(ErrorKind::ConnectionRefused));
    assert_eq!(connect(&a, "10.0.0.2:82", WHILE)?.err(), Some(ErrorKind::TimedOut));
    let rules = rules(&daemon)?;
    assert!(rules.iter().all(|flow| flow.packets > 0 && flow.idle_seconds.is_some()), "{rules:?}");
    assert!(drops(&daemon, "rule-denied")? >= 2);
    daemon.check_ledger()
}

fn replies_pass_and_connections_of_the_other_end_do_not() -> TestResult {
    let (daemon, [a, b, _c]) = laboratory()?;
    replace(&daemon, &["20 in_port=a,tcp,state=new allow", "20 arp allow", "0 any drop"])?;
    let (mut near, mut far) = Path::new(&a, &b, [10, 0, 0, 2]).tcp()?;
    near.write_all(b"question")?;
    let mut heard = [0; 8];
    far.read_exact(&mut heard)?;
    far.write_all(b"answered")?;
    near.read_exact(&mut heard)?;
    let _listener = listen(&a, "10.0.0.1:80")?;
    assert_eq!(connect(&b, "10.0.0.1:80", WHILE)?.err(), Some(ErrorKind::TimedOut));
    assert!(ping::is_silent(&a, "10.0.0.2".parse()?, WHILE)?);
    daemon.check_ledger()
}

fn a_connection_stops_when_a_rule_denies_it_and_goes_on_when_the_rule_is_gone() -> TestResult {
    let (daemon, [a, b, _c]) = laboratory()?;
    // Looked into from the beginning.
    add(&daemon, "1 udp,dport=9 drop")?;
    let (mut near, mut far) = Path::new(&a, &b, [10, 0, 0, 2]).tcp()?;
    let mut heard = [0; 5];
    near.write_all(b"hello")?;
    far.read_exact(&mut heard)?;
    let denial = format!("100 tcp,dport={} drop", far.local_addr()?.port());
    add(&daemon, &denial)?;
    near.write_all(b"still")?;
    far.set_read_timeout(Some(WHILE))?;
    let unheard = far.read(&mut heard).map_err(|error| error.kind());
    assert_eq!(unheard, Err(ErrorKind::WouldBlock));
    let which = denial.parse::<FlowRule>()?.matches;
    daemon.change(Mutation::FlowDel(FlowKey::Match(which)))?;
    far.set_read_timeout(Some(SOON))?;
    far.read_exact(&mut heard)?;
    assert_eq!(&heard, b"still");
    daemon.check_ledger()
}

fn rules_are_exchanged_under_traffic_without_loss() -> TestResult {
    let (daemon, [a, b, _c]) = laboratory()?;
    let sets: [&[&str]; 3] = [
        &["20 tcp allow", "0 ip drop"],
        &["30 tcp,state=new allow", "20 tcp,dport=1-1000 drop", "0 ip drop"],
        &["40 bridge=br0,tcp,src=10.0.0.0/8 count,allow", "0 ip drop"],
    ];
    replace(&daemon, sets[0])?;
    let done = AtomicBool::new(false);
    let exchanged = std::thread::scope(|scope| -> Outcome<usize> {
        let exchanger = scope.spawn(|| {
            let mut exchanged = 0;
            for set in sets.iter().cycle() {
                if done.load(Ordering::Relaxed) || replace(&daemon, set).is_err() {
                    break;
                }
                exchanged += 1;
            }
            exchanged
        });
        let carried = transfer::tcp(&Path::new(&a, &b, [10, 0, 0, 2]), 64 << 20, 7);
        done.store(true, Ordering::Relaxed);
        carried?;
        Ok(exchanger.join().map_err(|_| "the exchange of rules failed")?)
    })?;
    assert!(exchanged >= sets.len(), "{exchanged} exchanges while the bytes went");
    assert_eq!(drops(&daemon, "rule-denied")?, 0);
    assert_eq!(drops(&daemon, "invalid-state")?, 0);
    daemon.check_ledger()
}

fn a_mirror_gets_the_beginning_of_each_packet() -> TestResult {
    let (daemon, [a, _b, c]) = laboratory()?;
    let wire = RawSocket::open(&c, "eth0")?;
    add(&daemon, "10 icmp,icmp_type=8 mirror:c/50,allow")?;
    ping::ping(&a, "10.0.0.2".parse()?, &ping::Options::default())?;
    let is_question = |frame: &[u8]| frame.len() == 50 && frame[23] == 1 && frame[34] == 8;
    wire.receive(SOON, is_question)?.ok_or("no copy came")?;
    daemon.check_ledger()
}

fn packets_over_the_limit_of_a_rule_are_counted() -> TestResult {
    const SENT: u64 = 30;
    let (daemon, [a, b, _c]) = laboratory()?;
    add(&daemon, "10 udp limit:1pps:burst=3,allow")?;
    let (near, far) = Path::new(&a, &b, [10, 0, 0, 2]).udp()?;
    for _ in 0..SENT {
        near.send(b"hello")?;
    }
    let hits = || rules(&daemon).is_ok_and(|rules| rules[0].packets == SENT);
    eventually("all are counted", hits)?;
    let limited = drops(&daemon, "rate-limited")?;
    assert!(limited > 0 && limited <= SENT - 3, "{limited} of {SENT} dropped");
    let mut heard = 0;
    far.set_read_timeout(Some(WHILE))?;
    while heard < SENT - limited {
        far.recv(&mut [0; 16])?;
        heard += 1;
    }
    assert!(far.recv(&mut [0; 16]).is_err(), "more came than were let through");
    daemon.check_ledger()
}

fn a_guarded_container_cannot_pose_as_another() -> TestResult {
    let daemon = Daemon::start()?;
    let (a, b) = (Container::new()?, Container::new()?);
    let mut guarded = port("br0", tap(&a, &["10.0.0.1/24", "fd00::1/64"])?)?;
    guarded.guard = true;
    daemon.add("a", guarded)?;
    daemon.add("b", port("br0", tap(&b, &["10.0.0.2/24", "fd00::2/64"])?)?)?;
    b.await_ready("eth0")?;
    let own = a.await_ready("eth0")?.mac.ok_or("no MAC address")?;
    ping::ping(&a, "10.0.0.2".parse()?, &ping::Options::default())?;
    ping::ping(&a, "fd00::2".parse()?, &ping::Options::default())?;
    let before = drops(&daemon, "spoof-guard")?;
    let wire = RawSocket::open(&a, "eth0")?;
    // As another station, and with another's address in ARP.
    let arp = |mac: [u8; 6], ip: [u8; 4]| {
        let head = [&[0xff; 6][..], &mac, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &mac, &ip].concat();
        [&head[..], &[0; 6], &[10, 0, 0, 2], &[0; 18]].concat()
    };
    wire.send(&arp([2, 9, 9, 9, 9, 9], [10, 0, 0, 1]))?;
    wire.send(&arp(own, [10, 0, 0, 77]))?;
    let caught = || drops(&daemon, "spoof-guard").is_ok_and(|count| count >= before + 2);
    eventually("both are caught", caught)?;
    daemon.check_ledger()
}

fn what_exceeds_the_rate_of_a_port_waits_or_is_dropped() -> TestResult {
    const SENT: u64 = 400;
    let daemon = Daemon::start()?;
    let (a, b) = (Container::new()?, Container::new()?);
    daemon.add("a", port("br0", tap(&a, &["10.0.0.1/24"])?)?)?;
    let mut shaped = port("br0", tap(&b, &["10.0.0.2/24"])?)?;
    // What is sent would take two minutes; and 13 seconds of it may wait.
    let queue_bytes = Some(Egress::MIN_QUEUE_BYTES);
    shaped.egress = Some(Egress { rate: "80kbit".parse()?, queue_bytes });
    daemon.add("b", shaped)?;
    b.await_ready("eth0")?;
    ping::ping(&a, "10.0.0.2".parse()?, &ping::Options::default())?;
    let (near, far) = Path::new(&a, &b, [10, 0, 0, 2]).udp()?;
    let sent = (0..SENT).filter(|_| near.send(&[7; 1400]).is_ok()).count();
    assert_eq!(sent as u64, SENT);
    eventually("some are dropped", || drops(&daemon, "rate-limited").is_ok_and(|some| some > 0))?;
    hear(&far, 5)?;
    daemon.check_ledger()?;
    // Without a rate all that wait go on at once.
    let set = ctl::PortSet { egress: Some(None), ..ctl::PortSet::new("b".parse()?) };
    daemon.change(Mutation::PortSet(set))?;
    let limited = drops(&daemon, "rate-limited")?;
    hear(&far, SENT - limited - 5)?;
    daemon.check_ledger()
}

fn what_comes_faster_than_a_port_may_send_is_dropped_and_counted() -> TestResult {
    const SENT: u64 = 400;
    let daemon = Daemon::start()?;
    let (a, b) = (Container::new()?, Container::new()?);
    let mut policed = port("br0", tap(&a, &["10.0.0.1/24"])?)?;
    // A fourth of what is sent may come at once, and the rest would take minutes.
    let burst_bytes = Some(Egress::MIN_QUEUE_BYTES);
    policed.ingress = Some(Ingress { rate: "8kbit".parse()?, burst_bytes });
    daemon.add("a", policed)?;
    daemon.add("b", port("br0", tap(&b, &["10.0.0.2/24"])?)?)?;
    b.await_ready("eth0")?;
    ping::ping(&a, "10.0.0.2".parse()?, &ping::Options::default())?;
    let (near, far) = Path::new(&a, &b, [10, 0, 0, 2]).udp()?;
    // Another setting of the port leaves the bucket as it is.
    let set = ctl::PortSet { hairpin: Some(true), ..ctl::PortSet::new("a".parse()?) };
    for number in 0..SENT {
        assert_eq!(near.send(&[7; 1400])?, 1400);
        if number == SENT / 2 {
            daemon.change(Mutation::PortSet(set.clone()))?;
        }
    }
    let most = u64::from(Egress::MIN_QUEUE_BYTES) / 1400 + 1;
    eventually("most are dropped", || {
        drops(&daemon, "policed").is_ok_and(|some| some >= SENT - most)
    })?;
    hear(&far, SENT - drops(&daemon, "policed")?)?;
    let set = ctl::PortSet { ingress: Some(None), ..ctl::PortSet::new("a".parse()?) };
    daemon.change(Mutation::PortSet(set))?;
    let policed = drops(&daemon, "policed")?;
    transfer::tcp(&Path::new(&a, &b, [10, 0, 0, 2]), 1 << 20, 1)?;
    assert_eq!(drops(&daemon, "policed")?, policed, "there is no limit any more");
    daemon.check_ledger()
}

fn hear(socket: &UdpSocket, datagrams: u64) -> TestResult {
    for _ in 0..datagrams {
        socket.recv(&mut [0; 1500])?;
    }
    Ok(())
}

fn rules_go_away_when_their_time_is_over() -> TestResult {
    let (daemon, [a, _b, _c]) = laboratory()?;
    add(&daemon, "10 icmp drop hard_timeout=1")?;
    add(&daemon, "10 udp,dport=9 drop idle_timeout=1")?;
    add(&daemon, "5 udp,dport=9 drop")?;
    eventually("two are gone", || rules(&daemon).is_ok_and(|rules| rules.len() == 1))?;
    ping::ping(&a, "10.0.0.2".parse()?, &ping::Options::default())?;
    daemon.check_ledger()
}
