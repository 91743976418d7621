//! Services in the pipeline: who gets a session, whose address it comes from, and what ends it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::network::{
    Expose, INSIDE, Network, OUTSIDE, Plan, end, gateway_mac, ip, station, unused,
};
use super::packets::{Kind, Packet, arp_reply, icmp_error};
use crate::service::{Backend, Balance, Endurance, Health, Maglev, Service, Turn};
use crate::{BridgeIndex, DropReason, PortIndex, Tracer, Usage};

const VIP: &str = "10.96.0.1:80";
const A: &str = "10.0.0.2:8080";
const B: &str = "10.0.0.3:8080";
/// A client on another bridge than these.
const CLIENT: &str = "203.0.113.9";
const CLIENT_HTTP: &str = "203.0.113.9:80";

fn backend(number: u16, home: u16, endpoint: &str) -> Backend {
    Backend {
        endpoint: end(endpoint),
        bridge: BridgeIndex(home),
        number,
        is_draining: false,
        health: Arc::new(Health::default()),
    }
}

/// A service of TCP with these backends inside.
fn service(vip: &str, backends: &[&str]) -> Service {
    let backends = (0..).zip(backends).map(|(number, at)| backend(number, INSIDE, at));
    Service {
        usage: Arc::new(Usage::of(7)),
        protocol: 6,
        vip: end(vip),
        on: None,
        backends: backends.collect(),
        balance: Balance::RoundRobin(Arc::new(Turn::default())),
        affinity_seconds: None,
        endurance: Endurance { failures: 2, rest_seconds: 10 },
        is_checked: false,
    }
}

fn plan(services: Vec<Service>) -> Plan {
    Plan { services, allowed: Vec::new(), ..Plan::routed() }
}

fn serving(service: Service) -> Network {
    Network::new(&plan(vec![service]))
}

fn tcp(flags: &'static str, from: &str, to: &str, (seq, ack): (u32, u32)) -> Packet {
    Packet { payload: Vec::new(), ..Packet::new(Kind::Tcp(flags, seq, ack), from, to) }
}

fn client(port: u16) -> String {
    format!("{CLIENT}:{port}")
}

/// Lets a client begin a connection; says to whom it goes.
fn begin(network: &mut Network, from: &str, to: &str) -> Option<String> {
    let sent = network.send(&tcp("S", from, to, (100, 0)));
    let [sent] = sent.as_slice() else { panic!("{sent:?}") };
    sent.starts_with(['0', '1']).then(|| sent.rsplit(' ').next().unwrap().to_owned())
}

/// To whom the connections from these ports of the client go.
fn begun(network: &mut Network, ports: std::ops::Range<u16>) -> Vec<Option<String>> {
    ports.map(|port| begin(network, &client(port), VIP)).collect()
}

fn drained(service: &Service, at: usize) -> Service {
    let mut service = service.clone();
    service.backends[at].is_draining = true;
    service
}

#[test]
fn sessions_take_turns_and_keep_the_clients_address() {
    let mut network = serving(service(VIP, &[A, B]));
    for round in 0..3 {
        let from = client(5000 + round * 2);
        let sent = network.send(&tcp("S", &from, VIP, (100, 0)));
        assert_eq!(sent, [format!("0: tcp[S] {from} > {A}")]);
        let sent = network.send(&tcp("SA", A, &from, (700, 101)));
        assert_eq!(sent, [format!("2: tcp[SA] {VIP} > {from}")]);
        let from = client(5001 + round * 2);
        assert_eq!(begin(&mut network, &from, VIP).as_deref(), Some(B));
        assert_eq!(begin(&mut network, &from, VIP).as_deref(), Some(B), "sent again");
    }
}

#[test]
fn a_service_of_ipv6_over_udp_is_served_alike() {
    let (vip, to, from) = ("[fd00:96::1]:53", "[fd00::2]:5353", "[2001:db8::9]:4000");
    let mut network = serving(Service { protocol: 17, ..service(vip, &[to]) });
    let udp = |from, to| Packet::new(Kind::Udp, from, to);
    assert_eq!(network.send(&udp(from, vip)), [format!("0: udp {from} > {to}")]);
    assert_eq!(network.send(&udp(to, from)), [format!("2: udp {vip} > {from}")]);
}

#[test]
fn a_client_beside_its_backend_is_seen_as_the_gateway_so_that_answers_come_back() {
    let gateway = "10.0.0.1:4000";
    let from = "10.0.0.3:4000";
    for plan in [Plan::routed(), Plan::masqueraded()] {
        let mut network = Network::new(&Plan { services: vec![service(VIP, &[A])], ..plan });
        let sent = network.send(&tcp("S", from, VIP, (100, 0)));
        assert_eq!(sent, [format!("0: tcp[S] {gateway} > {A}")]);
        let sent = network.send(&tcp("SA", A, gateway, (700, 101)));
        assert_eq!(sent, [format!("1: tcp[SA] {VIP} > {from}")]);
    }
}

#[test]
fn a_backend_that_calls_its_own_service_may_get_itself() {
    let mut network = serving(service(VIP, &[A]));
    let (from, gateway) = ("10.0.0.2:4000", "10.0.0.1:4000");
    let sent = network.send(&tcp("S", from, VIP, (100, 0)));
    assert_eq!(sent, [format!("0: tcp[S] {gateway} > {A}")]);
    let sent = network.send(&tcp("SA", A, gateway, (700, 101)));
    assert_eq!(sent, [format!("0: tcp[SA] {VIP} > {from}")]);
}

#[test]
fn who_drains_keeps_its_sessions_and_gets_no_more() {
    let both = service(VIP, &[A, B]);
    let mut network = serving(both.clone());
    assert_eq!(begun(&mut network, 1..3), [A, B].map(|to| Some(to.to_owned())));
    network.send(&tcp("SA", A, &client(1), (700, 101)));
    network.adopt(&plan(vec![drained(&both, 0)]));
    network.end_what_changed();
    assert_eq!(begun(&mut network, 3..6), vec![Some(B.to_owned()); 3]);
    let sent = network.send(&tcp("A", &client(1), VIP, (101, 701)));
    assert_eq!(sent, [format!("0: tcp[A] {} > {A}", client(1))]);
}

#[test]
fn sessions_to_a_backend_that_is_removed_end_at_once_and_others_do_not() {
    let both = service(VIP, &[A, B]);
    let mut network = serving(both.clone());
    begun(&mut network, 1..3);
    let one = Service { backends: both.backends[1..].into(), ..both };
    network.adopt(&plan(vec![one]));
    assert_eq!(network.end_what_changed(), 1);
    assert_eq!(begun(&mut network, 1..3), vec![Some(B.to_owned()); 2]);
    network.adopt(&plan(Vec::new()));
    assert_eq!(network.end_what_changed(), 2);
}

#[test]
fn a_backend_that_refuses_is_passed_over_for_a_while() {
    let mut network = serving(service(VIP, &[A, B]));
    for port in [1, 3] {
        assert_eq!(begin(&mut network, &client(port), VIP).as_deref(), Some(A));
        let sent = network.send(&tcp("RA", A, &client(port), (0, 101)));
        assert_eq!(sent, [format!("2: tcp[AR] {VIP} > {}", client(port))]);
        assert_eq!(begin(&mut network, &client(port + 1), VIP).as_deref(), Some(B));
        network.send(&tcp("SA", B, &client(port + 1), (700, 101)));
    }
    assert_eq!(begun(&mut network, 5..8), vec![Some(B.to_owned()); 3]);
    network.wait(Duration::from_secs(10));
    let again = begun(&mut network, 8..10);
    assert!(again.contains(&Some(A.to_owned())), "{again:?}");
}

#[test]
fn a_reset_in_the_middle_of_a_connection_is_no_failure() {
    let one = service(VIP, &[A]);
    let health = Arc::clone(&one.backends[0].health);
    let mut network = serving(one);
    for port in 1..9 {
        begin(&mut network, &client(port), VIP);
        network.send(&tcp("SA", A, &client(port), (700, 101)));
        network.send(&tcp("RA", A, &client(port), (701, 101)));
    }
    assert_eq!((health.begun(), health.failed()), (8, 0));
}

#[test]
fn a_reset_that_does_not_fit_its_connection_is_no_backends_word() {
    let one = service(VIP, &[A]);
    let health = Arc::clone(&one.backends[0].health);
    let mut network = serving(one);
    begin(&mut network, &client(1), VIP);
    for (flags, ack) in [("RA", 102), ("RA", 0x7000_0000), ("R", 0), ("RFA", 101)] {
        network.send(&tcp(flags, A, &client(1), (0, ack)));
        assert_eq!(health.failed(), 0, "{flags} {ack}");
    }
    let sent = network.send(&tcp("SA", A, &client(1), (700, 101)));
    assert_eq!(sent, [format!("2: tcp[SA] {VIP} > {}", client(1))], "the connection goes on");
    begin(&mut network, &client(2), VIP);
    network.send(&tcp("RA", A, &client(2), (0, 101)));
    assert_eq!(health.failed(), 1);
}

#[test]
fn a_backend_answers_for_itself_and_not_for_clients_who_are_not_there() {
    let mut network = serving(service(VIP, &[A]));
    let nobody = "203.0.113.77:5000";
    assert_eq!(begin(&mut network, nobody, VIP).as_deref(), Some(A));
    let asked = network.send(&tcp("SA", A, nobody, (700, 101)));
    assert!(asked.iter().all(|sent| sent.contains("who-has 203.0.113.77")), "{asked:?}");
    let is_replied = |network: &Network| {
        let now = network.now.seconds();
        network.tables.sessions.iter(now).all(|session| session.is_replied)
    };
    assert!(is_replied(&network), "its backend need not be given up");
    network.wait(Duration::from_secs(5));
    network.send(&tcp("SA", A, nobody, (700, 101)));
    assert!(is_replied(&network));
}

#[test]
fn what_answers_a_check_is_heard_by_whoever_checks_and_nothing_else_is() {
    let checked = Service { is_checked: true, ..service(VIP, &[A]) };
    let answer = |flags, from, to| tcp(flags, from, to, (700, 101));
    let own = "10.0.0.1:600";
    let cases = [
        (answer("SA", A, own), true),
        (answer("A", A, own), true),
        (answer("RA", A, own), true),
        (answer("S", A, own), false),
        (answer("SA", A, "10.0.0.1:511"), false),
        (answer("SA", A, "10.0.0.1:1024"), false),
        (answer("SA", A, "10.0.0.9:600"), false),
        (answer("SA", CLIENT_HTTP, "203.0.113.1:600"), false),
        (Packet::new(Kind::Udp, A, own), false),
    ];
    for (packet, is_heard) in cases {
        let mut network = serving(checked.clone());
        let sent = network.send(&packet);
        assert_eq!(network.visitors, u32::from(is_heard), "{packet:?}");
        assert!(!is_heard || sent.is_empty(), "{sent:?}");
    }
    let mut network = serving(service(VIP, &[A]));
    network.send(&answer("SA", A, own));
    assert_eq!(network.visitors, 0, "nobody is checked");
}

#[test]
fn a_published_port_is_no_end_of_a_check() {
    let expose = Expose {
        protocol: 6,
        address: None,
        ports: 600..=600,
        home: INSIDE,
        internal: "10.0.0.3:80",
    };
    let checked = Service { is_checked: true, ..service(VIP, &[CLIENT_HTTP]) };
    let outside = Service { backends: [backend(0, OUTSIDE, CLIENT_HTTP)].into(), ..checked };
    let plan = Plan { published: vec![expose], services: vec![outside], ..Plan::masqueraded() };
    let mut network = Network::new(&plan);
    network.send(&tcp("A", CLIENT_HTTP, "203.0.113.1:600", (700, 101)));
    assert_eq!(network.visitors, 0);
    network.send(&tcp("A", CLIENT_HTTP, "203.0.113.1:601", (700, 101)));
    assert_eq!(network.visitors, 1);
}

#[test]
fn where_nobody_serves_the_sender_is_told_as_if_nobody_listened() {
    let one = service(VIP, &[A]);
    let udp = Service { protocol: 17, ..drained(&one, 0) };
    let mut network = Network::new(&plan(vec![drained(&one, 0), udp]));
    let from = client(1);
    let sent = network.send(&tcp("S", &from, VIP, (100, 0)));
    assert_eq!(sent, [format!("2: tcp[AR] {VIP} > {from}")]);
    let sent = network.send(&Packet::new(Kind::Udp, &from, VIP));
    assert_eq!(sent, [format!("2: icmp 3/3 203.0.113.1 > {CLIENT} (udp {from} > {VIP})")]);
    assert_eq!(network.drops(2, DropReason::NoBackend), 2);
    let elsewhere = "10.96.0.1:81";
    let sent = network.send(&tcp("S", &from, elsewhere, (100, 0)));
    assert_eq!(sent, [format!("2: tcp[AR] {elsewhere} > {from}")]);
    assert_eq!(network.drops(2, DropReason::Unserved), 1);
}

#[test]
fn a_bridge_that_is_not_meant_does_not_find_the_service() {
    let on = Some(vec![BridgeIndex(INSIDE)].into());
    let mut network = serving(Service { on, ..service(VIP, &[A]) });
    assert_eq!(begin(&mut network, "10.0.0.3:1", VIP).as_deref(), Some(A));
    assert_eq!(begin(&mut network, &client(1), VIP), None);
    assert_eq!(network.drops(2, DropReason::NoBackend), 0);
}

#[test]
fn services_of_one_address_are_found_by_their_own_bridges_only() {
    let on = |bridge| Some([BridgeIndex(bridge)].into());
    let inside = Service { on: on(INSIDE), ..service("10.96.0.1:81", &[A]) };
    // Where none of them is found, the address is as any other, and goes the way of the default route.
    let mut network = serving(inside.clone());
    let sent = network.send(&tcp("S", &client(1), "10.96.0.1:81", (100, 0)));
    assert_eq!(sent, [format!("3: tcp[S] {} > 10.96.0.1:81", client(1))]);
    let outside = Service { on: on(OUTSIDE), ..service(VIP, &[A]) };
    let mut network = Network::new(&plan(vec![inside, outside]));
    assert_eq!(begin(&mut network, &client(1), VIP).as_deref(), Some(A));
    assert_eq!(begin(&mut network, &client(2), "10.96.0.1:81"), None);
    assert_eq!(
        network.drops(2, DropReason::Unserved),
        1,
        "at another bridge's port nobody listens"
    );
}

#[test]
fn a_client_keeps_its_backend_while_it_comes_again_in_time() {
    let kept = Service { affinity_seconds: Some(30), ..service(VIP, &[A, B]) };
    let mut network = serving(kept.clone());
    assert_eq!(begun(&mut network, 1..5), vec![Some(A.to_owned()); 4]);
    assert_eq!(begin(&mut network, "198.51.100.7:9", VIP).as_deref(), Some(B));
    network.wait(Duration::from_secs(29));
    assert_eq!(begun(&mut network, 5..7), vec![Some(A.to_owned()); 2]);
    network.adopt(&plan(vec![drained(&kept, 0)]));
    assert_eq!(begun(&mut network, 7..9), vec![Some(B.to_owned()); 2], "it drains");
    network.adopt(&plan(vec![kept]));
    assert_eq!(begun(&mut network, 9..10), vec![Some(B.to_owned()); 1]);
    network.wait(Duration::from_secs(31));
    assert_eq!(
        begun(&mut network, 10..12),
        vec![Some(B.to_owned()); 2],
        "it is the second one's turn"
    );
}

#[test]
fn by_maglev_every_switch_chooses_the_same_and_who_is_passed_over_hurts_no_other() {
    let of = |backends: &[&str]| {
        let service = service(VIP, backends);
        let at: Vec<_> = service.backends.iter().map(|backend| backend.endpoint).collect();
        Service { balance: Balance::Maglev(Arc::new(Maglev::new(&at))), ..service }
    };
    let (one, other) = (of(&[A, B]), of(&[B, A]));
    let before = begun(&mut serving(one.clone()), 1..60);
    assert_eq!(before, begun(&mut serving(other), 1..60));
    let to_a = before.iter().flatten().filter(|to| *to == A).count();
    assert!((15..45).contains(&to_a), "{to_a} of 59");
    let after = begun(&mut serving(drained(&one, 0)), 1..60);
    assert!(after.iter().all(|to| to.as_deref() == Some(B)));
}

#[test]
fn an_icmp_error_about_a_session_is_about_what_its_reader_sent() {
    let one = service(VIP, &[A]);
    let health = Arc::clone(&one.backends[0].health);
    let udp = Service { protocol: 17, ..one };
    let mut network = serving(udp);
    let from = client(1);
    network.send(&Packet::new(Kind::Udp, &from, VIP));
    let about = Packet::new(Kind::Udp, &from, A);
    let error = icmp_error((3, 3, 0), ("10.0.0.2", CLIENT), &about, 28);
    let told = [format!("2: icmp 3/3 10.96.0.1 > {CLIENT} (udp {from} > {VIP})")];
    assert_eq!(network.send(&error), told);
    assert_eq!(health.failed(), 1, "it is a backend's refusal");
    let about = Packet::new(Kind::Udp, VIP, &from);
    let error = icmp_error((3, 4, 0), (CLIENT, "10.96.0.1"), &about, 28);
    let told = [format!("0: icmp 3/4 {CLIENT} > 10.0.0.2 (udp {A} > {from})")];
    assert_eq!(network.send(&error), told);
}

#[test]
fn an_icmp_error_that_quotes_what_was_never_sent_is_no_backends_word() {
    let one = service(VIP, &[A]);
    let health = Arc::clone(&one.backends[0].health);
    let mut network = serving(one);
    begin(&mut network, &client(1), VIP);
    let error = |sequence| {
        let about = tcp("S", &client(1), A, (sequence, 0));
        icmp_error((3, 3, 0), ("10.0.0.2", CLIENT), &about, 28)
    };
    for made_up in [101, 0x7000_0000, 0xffff_0000] {
        network.send(&error(made_up));
        assert_eq!(health.failed(), 0, "{made_up}");
    }
    network.send(&error(100));
    assert_eq!(health.failed(), 1);
}

#[test]
fn what_is_only_rehearsed_is_no_backends_word() {
    let one = service(VIP, &[A]);
    let health = Arc::clone(&one.backends[0].health);
    let mut network = serving(one);
    begin(&mut network, &client(1), VIP);
    let about = tcp("S", &client(1), A, (100, 0));
    let error = icmp_error((3, 3, 0), ("10.0.0.2", CLIENT), &about, 28);
    let reset = tcp("RA", A, &client(1), (0, 101));
    let (snapshot, tables) = (Arc::clone(&network.snapshot), Arc::clone(&network.tables));
    let mut tracer = Tracer::new(snapshot, tables, HashMap::new()).unwrap();
    for packet in [&error, &reset] {
        let (port, frame) = Network::framed(packet);
        tracer.trace(network.now, PortIndex(port), &frame).unwrap();
    }
    assert_eq!(health.failed(), 0);
    network.send(&error);
    assert_eq!(health.failed(), 1);
}

#[test]
fn a_node_port_leads_to_the_service_from_outside_and_is_nobodys_mapping() {
    let expose =
        Expose { protocol: 6, address: None, ports: 30080..=30080, home: INSIDE, internal: VIP };
    let services = vec![service(VIP, &[A, B])];
    let plan = Plan { published: vec![expose], services, ..Plan::masqueraded() };
    let mut network = Network::new(&plan);
    let node = "203.0.113.1:30080";
    let far = "198.51.100.7:9";
    let sent = network.send(&tcp("S", far, node, (100, 0)));
    assert_eq!(sent, [format!("0: tcp[S] {far} > {A}")]);
    let sent = network.send(&tcp("SA", A, far, (700, 101)));
    assert_eq!(sent, [format!("3: tcp[SA] {node} > {far}")]);
    assert_eq!(begin(&mut network, "198.51.100.7:10", node).as_deref(), Some(B));
    assert_eq!(begin(&mut network, "10.0.0.3:10", VIP).as_deref(), Some(A), "one turn for all");
    let sent = network.send(&tcp("S", "10.0.0.3:30080", "198.51.100.9:1", (1, 0)));
    assert!(!sent[0].contains(":30080"), "{sent:?}");
}

#[test]
fn a_packet_that_waits_for_its_backends_address_takes_one_turn() {
    let unknown = "10.0.0.66:80";
    let mut network = serving(service(VIP, &[unknown, B]));
    let asked = network.send(&tcp("S", &client(1), VIP, (100, 0)));
    assert!(asked.iter().all(|sent| sent.contains("who-has 10.0.0.66")), "{asked:?}");
    let (to, mac) = ((gateway_mac(INSIDE), "10.0.0.1"), station(1, ip("10.0.0.66")));
    let sent = network.put(1, &arp_reply(mac, "10.0.0.66", to));
    assert_eq!(sent, [format!("1: tcp[S] {} > {unknown}", client(1))]);
    assert_eq!(begun(&mut network, 2..4), vec![Some(B.to_owned()), Some(unknown.to_owned())]);
}

#[test]
fn a_backend_that_nobody_hears_of_is_passed_over() {
    let one = service(VIP, &["10.0.0.66:80", B]);
    let health = Arc::clone(&one.backends[0].health);
    let mut network = serving(one);
    for (port, failed) in [(1, 1), (2, 1), (3, 2)] {
        network.send(&tcp("S", &client(port), VIP, (100, 0)));
        network.wait(Duration::from_secs(5));
        assert_eq!(health.failed(), failed);
    }
    assert_eq!(begun(&mut network, 4..7), vec![Some(B.to_owned()); 3]);
}

#[test]
fn ten_thousand_services_are_told_apart_by_their_ports() {
    let many = (0..10_000u16).map(|number| {
        let vip = format!("10.96.{}.1:{}", number % 250, 1000 + number / 250);
        Service { usage: unused(), ..service(&vip, &[if number % 2 == 0 { A } else { B }]) }
    });
    let mut network = Network::new(&plan(many.collect()));
    for (number, to) in [(0, A), (1, B), (4999, B), (9998, A), (9999, B)] {
        let vip = format!("10.96.{}.1:{}", number % 250, 1000 + number / 250);
        assert_eq!(begin(&mut network, &client(number), &vip).as_deref(), Some(to));
    }
    assert_eq!(network.tables.sessions.gauges().used, 5);
}
