//! Gateways and routes: who is answered, what goes a hop further, and what senders are told.

use std::time::Duration;

use pktio::wire::MacAddr;
use pktio::{Csum, Gso};

use super::network::{
    INSIDE, Network, OUTSIDE, Plan, ROUTERS, Sent, UNRELATED, gateway_mac, ip, station,
};
use super::packets::{Ip, Kind, Packet, arp_reply, arp_request, fragments, stations};
use crate::DropReason;

const A: &str = "10.0.0.2:5000";
const X: &str = "203.0.113.9:53";
/// On port 1, and known to nobody.
const QUIET: &str = "10.0.0.66:80";
/// The neighbour timers give up after three questions.
const LONG: Duration = Duration::from_secs(5);

fn udp(from: &str, to: &str) -> Packet {
    Packet::new(Kind::Udp, from, to)
}

fn quiet() -> MacAddr {
    station(1, ip("10.0.0.66"))
}

#[test]
fn a_gateway_answers_address_resolution_and_pings() {
    let mut network = Network::new(&Plan::routed());
    let host = station(0, ip("10.0.0.2"));
    let ask = arp_request(host, "10.0.0.2", "10.0.0.1");
    let mac = gateway_mac(INSIDE);
    assert_eq!(network.put(0, &ask), [format!("0: arp 10.0.0.1 is-at {mac}")]);
    let ping = |from, to| Packet::new(Kind::Ping, from, to);
    assert_eq!(network.send(&ping("10.0.0.2:7", "10.0.0.1")), ["0: pong#7 10.0.0.1 > 10.0.0.2"]);
    assert_eq!(network.send(&ping("[fd00::2]:7", "fd00::1")), ["0: pong#7 fd00::1 > fd00::2"]);
    // Of another bridge that may be reached, too.
    assert_eq!(
        network.send(&ping("10.0.0.2:7", "203.0.113.1")),
        Vec::<String>::new(),
        "an address of another gateway is not served"
    );
}

#[test]
fn a_question_for_a_neighbour_is_bridged_and_one_for_the_gateway_is_not() {
    let mut network = Network::new(&Plan::routed());
    let host = station(0, ip("10.0.0.2"));
    let ask = arp_request(host, "10.0.0.2", "10.0.0.3");
    assert_eq!(network.put(0, &ask), ["1: arp who-has 10.0.0.3 tell 10.0.0.2"]);
}

#[test]
fn a_proxied_address_is_answered_for() {
    let plan = Plan { proxied: vec!["203.0.113.77"], ..Plan::routed() };
    let mut network = Network::new(&plan);
    let ask = arp_request(station(2, ip("203.0.113.9")), "203.0.113.9", "203.0.113.77");
    let mac = gateway_mac(OUTSIDE);
    assert_eq!(network.put(2, &ask), [format!("2: arp 203.0.113.77 is-at {mac}")]);
}

#[test]
fn a_wrong_header_checksum_is_found_in_every_packet_of_a_flow() {
    for plan in [Plan::routed(), Plan::masqueraded()] {
        let mut network = Network::new(&plan);
        let (port, sound) = Network::framed(&udp(A, X));
        for bit in [0x01, 0x80] {
            assert_eq!(network.put(port, &sound).len(), 1);
            let mut wrong = sound.clone();
            wrong[14 + 10] ^= bit;
            assert_eq!(network.put(port, &wrong), Vec::<String>::new());
        }
        assert_eq!(network.drops(port, DropReason::MalformedPacket), 2);
    }
}

#[test]
fn a_next_hop_that_does_not_answer_is_stood_in_for_until_it_does() {
    // The second one is known to be nobody's, and is asked for in vain.
    let plan = Plan { routers: vec!["203.0.113.254", "203.0.113.77"], ..Plan::routed() };
    let mut network = Network::new(&plan);
    let flows = || (1..=40).map(|port| udp(&format!("10.0.0.2:{port}"), "198.51.100.7:53"));
    let silent: Vec<_> =
        flows().filter(|flow| network.send(flow).iter().all(|out| out.contains("arp"))).collect();
    assert!((5..35).contains(&silent.len()), "{} of 40 go to who does not answer", silent.len());
    network.wait(Duration::from_secs(4));
    // They go by the other one now, and not a packet is lost while it is asked for again.
    for _ in 0..6 {
        for flow in &silent {
            assert!(network.send(flow).iter().any(|out| out.starts_with("3: udp")));
        }
        network.wait(Duration::from_secs(1));
    }
    // It answers, and they come back to it when they are decided about anew.
    let mac = MacAddr([2, 0, 0, 0, 0, 77]);
    network.put(2, &arp_reply(mac, "203.0.113.77", (gateway_mac(OUTSIDE), "203.0.113.1")));
    network.adopt(&plan);
    let (port, frame) = Network::framed(&silent[0]);
    let frame = network.pool.frame_from(&frame).unwrap();
    let to = |sent: &Sent| stations(&sent.bytes).0;
    assert_eq!(network.exchange(port, [frame]).iter().map(to).collect::<Vec<_>>(), [mac]);
}

#[test]
fn errors_are_the_networks_own_control() {
    let mut network = Network::new(&Plan::routed());
    let (port, frame) = Network::framed(&Packet { ttl: 1, ..udp(A, X) });
    let frame = network.pool.frame_from(&frame).unwrap();
    let told = network.exchange(port, [frame]);
    assert_eq!(Ip::of(&told[0].bytes).traffic_class >> 2, 48, "CS6 (RFC 1812 section 4.3.2.5)");
}

#[test]
fn what_goes_back_to_its_link_does_so_and_nobody_is_redirected() {
    let mut network = Network::new(&Plan::routed());
    let (neighbor, far) = ("203.0.113.9:1", "198.51.100.7:53");
    assert_eq!(network.send(&udp(neighbor, far)), [format!("3: udp {neighbor} > {far}")]);
    let (neighbor, far) = ("[2001:db8::9]:1", "[2001:db8:f::7]:53");
    assert_eq!(network.send(&udp(neighbor, far)), [format!("3: udp {neighbor} > {far}")]);
}

#[test]
fn a_packet_goes_a_hop_further() {
    let mut network = Network::new(&Plan::routed());
    let (port, frame) = Network::framed(&udp(A, X));
    let frame = network.pool.frame_from(&frame).unwrap();
    let sent = network.exchange(port, [frame]);
    let (to, from) = stations(&sent[0].bytes);
    assert_eq!((to, from), (station(2, ip("203.0.113.9")), gateway_mac(OUTSIDE)));
    assert_eq!((sent[0].port, Ip::of(&sent[0].bytes).ttl), (2, 63));
    assert_eq!(network.send(&udp(X, A)), [format!("0: udp {X} > {A}")]);
    assert_eq!(
        network.send(&udp("[fd00::2]:1", "[2001:db8::9]:2")),
        ["2: udp [fd00::2]:1 > [2001:db8::9]:2"]
    );
}

#[test]
fn what_is_for_elsewhere_goes_to_the_router() {
    let mut network = Network::new(&Plan::routed());
    assert_eq!(network.send(&udp(A, "198.51.100.7:53")), [format!("3: udp {A} > 198.51.100.7:53")]);
}

#[test]
fn packets_wait_for_a_neighbour_and_follow_in_order() {
    let mut network = Network::new(&Plan::routed());
    let ask = "1: arp who-has 10.0.0.66 tell 10.0.0.1";
    let first = network.send(&udp(X, QUIET));
    assert!(first.contains(&ask.to_owned()), "{first:?}");
    assert_eq!(network.send(&udp("203.0.113.9:54", QUIET)), Vec::<String>::new());
    assert_eq!(network.send(&udp("203.0.113.9:55", QUIET)), Vec::<String>::new());
    assert_eq!(network.ledger.total().held, 3);
    let answer = arp_reply(quiet(), "10.0.0.66", (gateway_mac(INSIDE), "10.0.0.1"));
    let expected = [53, 54, 55].map(|port| format!("1: udp 203.0.113.9:{port} > {QUIET}"));
    assert_eq!(network.put(1, &answer), expected);
    assert_eq!(network.ledger.total().held, 0);
}

#[test]
fn the_sender_is_told_when_a_neighbour_does_not_answer() {
    let mut network = Network::new(&Plan::routed());
    network.send(&udp(X, QUIET));
    let out = network.wait(LONG);
    let told = format!("2: icmp 3/1 203.0.113.1 > 203.0.113.9 (udp {X} > {QUIET})");
    assert_eq!(out.last(), Some(&told), "{out:?}");
    assert_eq!(out.iter().filter(|line| line.contains("who-has")).count(), 4, "{out:?}");
    assert_eq!(network.drops(2, DropReason::Unresolved), 1);
    assert!(network.pipeline.is_idle());
}

#[test]
fn a_tagged_packet_waits_as_well_as_any() {
    let mut network = Network::new(&Plan::routed());
    let (port, mut frame) = Network::framed(&udp(X, QUIET));
    // A priority tag.
    frame.splice(12..12, [0x81, 0x00, 0xa0, 0x00]);
    network.put(port, &frame);
    let answer = arp_reply(quiet(), "10.0.0.66", (gateway_mac(INSIDE), "10.0.0.1"));
    assert_eq!(network.put(1, &answer), [format!("1: udp {X} > {QUIET}")]);
}

#[test]
fn a_packet_on_its_last_hop_is_answered() {
    let mut network = Network::new(&Plan::routed());
    let last = |from, to| Packet { ttl: 1, ..udp(from, to) };
    let told = format!("0: icmp 11/0 10.0.0.1 > 10.0.0.2 (udp {A} > {X})");
    assert_eq!(network.send(&last(A, X)), [told]);
    assert_eq!(network.drops(0, DropReason::TtlExpired), 1);
    // Whether the flow is known or not.
    network.send(&udp(A, X));
    assert_eq!(network.send(&last(A, X)).len(), 1);
    // And no error about an error, and none for the gateway's own.
    let pinged = Packet { ttl: 1, ..Packet::new(Kind::Ping, "10.0.0.2:7", "10.0.0.1") };
    assert_eq!(network.send(&pinged), ["0: pong#7 10.0.0.1 > 10.0.0.2"]);
}

#[test]
fn a_query_of_the_other_end_is_no_answer_even_if_its_identifier_is_its_type() {
    let plan = Plan { allowed: vec![(INSIDE, OUTSIDE)], ..Plan::routed() };
    let mut network = Network::new(&plan);
    let (a, x) = ("10.0.0.2", "203.0.113.9");
    for id in [8, 9] {
        let asked = Packet::new(Kind::Ping, &format!("{a}:{id}"), x);
        assert_eq!(network.send(&asked), [format!("2: ping#{id} {a} > {x}")]);
        let answered = Packet::new(Kind::Pong, x, &format!("{a}:{id}"));
        assert_eq!(network.send(&answered), [format!("0: pong#{id} {x} > {a}")]);
        let other = Packet::new(Kind::Ping, &format!("{x}:{id}"), a);
        let out = network.send(&other);
        assert!(out.iter().all(|line| !line.starts_with("0: ")), "{out:?}");
    }
    assert_eq!(network.drops(2, DropReason::InvalidState), 1);
}

#[test]
fn nothing_is_routed_unless_it_is_allowed() {
    let plan = Plan { allowed: Vec::new(), ..Plan::routed() };
    let mut network = Network::new(&plan);
    let told = format!("0: icmp 3/0 10.0.0.1 > 10.0.0.2 (udp {A} > {X})");
    assert_eq!(network.send(&udp(A, X)), [told]);
    assert_eq!(network.drops(0, DropReason::NoRoute), 1);
}

#[test]
fn what_is_allowed_one_way_is_answered_and_not_begun_the_other_way() {
    let plan = Plan { allowed: vec![(INSIDE, OUTSIDE)], ..Plan::routed() };
    let mut network = Network::new(&plan);
    // The way back into 10.0.0.0/24 leads to the router outside, which is where it came from.
    assert_eq!(network.send(&udp(X, A)), [format!("3: udp {X} > {A}")]);
    assert_eq!(network.send(&udp(A, "203.0.113.9:54")), [format!("2: udp {A} > 203.0.113.9:54")]);
    assert_eq!(network.send(&udp("203.0.113.9:54", A)), [format!("0: udp 203.0.113.9:54 > {A}")]);
}

#[test]
fn equal_addresses_on_unrelated_bridges_are_strangers() {
    let mut network = Network::new(&Plan::routed());
    let (from, to) = ("10.0.0.2", "10.0.0.3");
    let frame = |bridge: u16, port: u16, packet: &Packet| {
        (port, packet.frame(station(port, ip(from)), gateway_mac(bridge)))
    };
    let packet = udp("10.0.0.2:5000", "10.0.0.3:53");
    for (bridge, port, expected) in [(INSIDE, 0, 1), (UNRELATED, 4, 5)] {
        let (port, frame) = frame(bridge, port, &packet);
        assert_eq!(network.put(port, &frame), [format!("{expected}: udp {from}:5000 > {to}:53")]);
    }
    let (port, frame) = frame(UNRELATED, 4, &udp("10.0.0.2:5000", X));
    assert_eq!(network.put(port, &frame).len(), 1);
    assert_eq!(network.drops(4, DropReason::NoRoute), 1);
}

#[test]
fn flows_are_spread_over_several_routers_and_each_keeps_to_its_own() {
    let plan = Plan { routers: vec![ROUTERS[0], "203.0.113.253"], ..Plan::masqueraded() };
    let mut network = Network::new(&plan);
    let mut ways = Vec::new();
    for port in 5000..5040 {
        let packet = udp(&format!("10.0.0.2:{port}"), "198.51.100.7:53");
        let way = |network: &mut Network| {
            let (ingress, frame) = Network::framed(&packet);
            let frame = network.pool.frame_from(&frame).unwrap();
            stations(&network.exchange(ingress, [frame])[0].bytes).0
        };
        let before = way(&mut network);
        // The decision is made anew for another configuration, and stays the same.
        network.adopt(&plan);
        assert_eq!(way(&mut network), before);
        ways.push(before);
    }
    ways.sort();
    ways.dedup();
    assert_eq!(ways.len(), 2);
}

#[test]
fn senders_of_what_is_too_long_are_told_how_long_it_may_be() {
    let plan = Plan { mtus: vec![(2, 1300)], ..Plan::routed() };
    let mut network = Network::new(&plan);
    let long = |from, to| udp(from, to).of_length(1280);
    let told = format!("0: icmp 3/4 10.0.0.1 > 10.0.0.2 (udp {A} > {X})");
    assert_eq!(network.send(&long(A, X)), [told]);
    assert_eq!(network.drops(0, DropReason::TooBig), 1);
    let v6 = ("[fd00::2]:1", "[2001:db8::9]:2");
    let told = format!("0: icmp 2/0 fd00::1 > fd00::2 (udp {} > {})", v6.0, v6.1);
    assert_eq!(network.send(&long(v6.0, v6.1)), [told]);
}

#[test]
fn what_may_be_fragmented_is() {
    let plan = Plan { mtus: vec![(2, 1300)], ..Plan::routed() };
    let mut network = Network::new(&plan);
    let packet = Packet { may_fragment: true, ..udp(A, X).of_length(1400) };
    let first = format!("2: first part of udp {A} > {X}");
    let later = "2: part@1280 10.0.0.2 > 203.0.113.9".to_owned();
    assert_eq!(network.send(&packet), [first, later]);
    let books = network.ledger.total();
    assert_eq!((books.forwarded, books.copies), (1, 1));
}

#[test]
fn a_super_frame_is_fragmented_segment_by_segment() {
    let plan = Plan { mtus: vec![(2, 1000)], ..Plan::routed() };
    let mut network = Network::new(&plan);
    let (from, to) = ("10.0.0.2:5000", "203.0.113.9:80");
    for (may_fragment, expected) in [(true, 6), (false, 1)] {
        let data = Packet::new(Kind::Tcp("A", 100, 0), from, to).of_length(3 * 1400);
        let (port, bytes) = Network::framed(&Packet { may_fragment, ..data });
        let mut frame = network.pool.frame_from(&bytes).unwrap();
        frame.offload.csum = Csum::Partial { start: 34, offset: 16 };
        frame.offload.gso = Gso::Tcp4 { mss: 1400 };
        let sent = network.exchange(port, [frame]);
        assert_eq!(sent.len(), expected);
        assert!(sent.iter().all(|sent| !sent.is_super));
    }
    assert_eq!(network.drops(0, DropReason::TooBig), 1);
}

#[test]
fn a_packet_that_cannot_be_fragmented_for_want_of_buffers_is_accounted_for() {
    let plan = Plan { mtus: vec![(2, 600)], ..Plan::routed() };
    let mut network = Network::new(&plan);
    let (port, bytes) =
        Network::framed(&Packet { may_fragment: true, ..udp(A, X).of_length(1400) });
    let frame = network.pool.frame_from(&bytes).unwrap();
    let mut kept: Vec<_> = std::iter::from_fn(|| network.pool.take_small()).collect();
    kept.extend(std::iter::from_fn(|| network.pool.take_slab()));
    let mut burst = pktio::Burst::new();
    burst.push(frame);
    let mut outboxes = crate::Outboxes::new();
    let (pool, ledger) = (&mut network.pool, &mut network.ledger);
    network.pipeline.run(
        network.now,
        crate::PortIndex(port),
        &mut burst,
        pool,
        &mut outboxes,
        ledger,
    );
    assert!(outboxes.next_dirty().is_none());
    network.ledger.reconcile().unwrap();
    assert_eq!(network.drops(0, DropReason::NoBuffer), 1);
    drop(kept);
}

#[test]
fn fragments_go_the_way_of_their_first_one() {
    let mut network = Network::new(&Plan::routed());
    let packet = Packet { may_fragment: true, ..udp(A, X).of_length(3000) };
    let (port, frame) = Network::framed(&packet);
    let pieces = fragments(&frame, 1000);
    let mut out = Vec::new();
    for piece in [&pieces[1], &pieces[3], &pieces[0], &pieces[2]] {
        out.extend(network.put(port, piece));
    }
    let part = |at| format!("2: part@{at} 10.0.0.2 > 203.0.113.9");
    let first = format!("2: first part of udp {A} > {X}");
    assert_eq!(out, [first, part(1000), part(3000), part(2000)]);
}

#[test]
fn a_fragment_whose_first_one_never_comes_is_given_up() {
    let mut network = Network::new(&Plan::routed());
    let packet = Packet { may_fragment: true, ..udp(A, X).of_length(2000) };
    let (port, frame) = Network::framed(&packet);
    assert!(network.put(port, &fragments(&frame, 1000)[1]).is_empty());
    assert_eq!(network.ledger.total().held, 1);
    network.wait(Duration::from_secs(31));
    assert_eq!(network.drops(0, DropReason::FragmentTimeout), 1);
    assert!(network.pipeline.is_idle());
}

#[test]
fn what_nobody_may_send_is_not_routed() {
    let mut network = Network::new(&Plan::routed());
    for (from, to) in [
        ("127.0.0.1:1", X),
        ("10.0.0.2:1", "127.0.0.1:1"),
        ("10.0.0.2:1", "203.0.113.255:1"),
        ("10.0.0.2:1", "224.0.0.1:1"),
        ("169.254.1.1:1", X),
    ] {
        let frame = udp(from, to).frame(station(0, ip("10.0.0.2")), gateway_mac(INSIDE));
        assert_eq!(network.put(0, &frame), Vec::<String>::new(), "{from} > {to}");
    }
    assert_eq!(network.drops(0, DropReason::Martian), 5);
}

#[test]
fn what_is_for_the_gateway_itself_is_refused_as_by_any_host() {
    let mut network = Network::new(&Plan::routed());
    let told = format!("0: icmp 3/3 10.0.0.1 > 10.0.0.2 (udp {A} > 10.0.0.1:99)");
    assert_eq!(network.send(&udp(A, "10.0.0.1:99")), [told]);
    let syn = Packet::new(Kind::Tcp("S", 1, 0), A, "10.0.0.1:99");
    assert_eq!(network.send(&syn), [format!("0: tcp[AR] 10.0.0.1:99 > {A}")]);
    assert_eq!(network.drops(0, DropReason::Unserved), 2);
}

#[test]
fn a_flow_follows_a_neighbour_that_moves() {
    let mut network = Network::new(&Plan::routed());
    network.send(&udp(X, QUIET));
    let answer = |mac| arp_reply(mac, "10.0.0.66", (gateway_mac(INSIDE), "10.0.0.1"));
    assert_eq!(network.put(1, &answer(quiet())).len(), 1);
    let newcomer = MacAddr([2, 0, 0, 0, 0, 0x77]);
    network.put(0, &arp_request(newcomer, "10.0.0.66", "10.0.0.1"));
    let (port, frame) = Network::framed(&udp(X, QUIET));
    let frame = network.pool.frame_from(&frame).unwrap();
    let sent = network.exchange(port, [frame]);
    assert_eq!((sent[0].port, stations(&sent[0].bytes).0), (0, newcomer));
}

#[test]
fn errors_are_limited_for_each_sender() {
    let mut network = Network::new(&Plan::routed());
    let last = Packet { ttl: 1, ..udp(A, X) };
    let told = (0..1000).map(|_| network.send(&last).len()).sum::<usize>();
    assert!((1..200).contains(&told), "{told}");
    assert_eq!(network.drops(0, DropReason::TtlExpired), 1000);
}
