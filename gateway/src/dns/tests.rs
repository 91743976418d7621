//! A responder and a relay, as the messages that they are given and give say.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ctl::{BridgeName, Network};
use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::{Message, MessageBuilder, Name};
use domain::rdata::AllRecordData;
use proptest::prelude::*;

use super::*;

fn network() -> Network {
    // As the state on disk has it: two replicas of one alias, and one without IPv6.
    serde_json::from_value(serde_json::json!({
        "pools": {
            "10.1.0.0/24": { "subnet": "10.1.0.0/24", "gateway": "10.1.0.1", "leases": {
                "10.1.0.2": { "owner": "a", "port": "a-eth0" },
                "10.1.0.3": { "owner": "b", "port": "b-eth0" },
            } },
            "fd01::/64": { "subnet": "fd01::/64", "gateway": "fd01::1", "leases": {
                "fd01::2": { "owner": "a", "port": "a-eth0" },
            } },
        },
        "endpoints": {
            "a-eth0": { "owner": "a", "aliases": ["db", "www.example.com"] },
            "b-eth0": { "owner": "b", "aliases": ["db", "x".repeat(64)] },
        },
    }))
    .unwrap()
}

fn directory() -> Directory {
    Directory::of(&"web".parse::<BridgeName>().unwrap(), &network(), |_| None)
}

/// A query as a resolver sends it.
fn query(name: &str, rtype: Rtype, edns: Option<u16>) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(7);
    builder.header_mut().set_rd(true);
    let mut question = builder.question();
    question.push((Name::<Vec<u8>>::vec_from_str(name).unwrap(), rtype)).unwrap();
    let mut additional = question.additional();
    if let Some(bytes) = edns {
        let set = |opt: &mut domain::base::message_builder::OptBuilder<'_, _>| {
            opt.set_udp_payload_size(bytes);
            Ok(())
        };
        additional.opt(set).unwrap();
    }
    additional.finish()
}

fn attend(message: &[u8], forwarding: Forwarding, transport: Transport) -> Verdict {
    Responder { directory: &directory(), forwarding }.attend(message, transport)
}

fn answer(message: &[u8]) -> Message<Vec<u8>> {
    match attend(message, Forwarding::On, Transport::Udp) {
        Verdict::Answer(answer) => Message::from_octets(answer).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// The data of the answer's records, as text.
fn records(answer: &Message<Vec<u8>>) -> Vec<String> {
    let records = answer.answer().unwrap().limit_to::<AllRecordData<_, _>>();
    records.map(|record| record.unwrap().data().to_string()).collect()
}

fn forwarded(name: &str) -> Query {
    match attend(&query(name, Rtype::A, None), Forwarding::On, Transport::Udp) {
        Verdict::Forward(query) => query,
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn names_of_containers_are_answered_and_what_they_have_not_is_no_error() {
    let table: [(&str, Rtype, Rcode, &[&str]); 26] = [
        ("db", Rtype::A, Rcode::NOERROR, &["10.1.0.3", "10.1.0.2"]),
        ("DB.Web", Rtype::A, Rcode::NOERROR, &["10.1.0.3", "10.1.0.2"]),
        ("db", Rtype::AAAA, Rcode::NOERROR, &["fd01::2"]),
        ("a-eth0", Rtype::A, Rcode::NOERROR, &["10.1.0.2"]),
        ("www.example.com", Rtype::A, Rcode::NOERROR, &["10.1.0.2"]),
        ("b-eth0", Rtype::AAAA, Rcode::NOERROR, &[]),
        ("db", Rtype::MX, Rcode::NOERROR, &[]),
        ("db", Rtype::DS, Rcode::NOERROR, &[]),
        ("DB", Rtype::DNSKEY, Rcode::NOERROR, &[]),
        ("db.web", Rtype::DS, Rcode::NOERROR, &[]),
        ("db", Rtype::from_int(65280), Rcode::NOERROR, &[]),
        ("db", Rtype::ANY, Rcode::NOERROR, &["\"RFC8482\" \"\""]),
        ("nobody", Rtype::A, Rcode::NXDOMAIN, &[]),
        ("nobody", Rtype::ANY, Rcode::NXDOMAIN, &[]),
        ("nobody", Rtype::NS, Rcode::NXDOMAIN, &[]),
        ("nobody", Rtype::HTTPS, Rcode::NXDOMAIN, &[]),
        ("nobody.web", Rtype::A, Rcode::NXDOMAIN, &[]),
        ("nobody.WEB", Rtype::TXT, Rcode::NXDOMAIN, &[]),
        ("nobody.web", Rtype::DS, Rcode::NXDOMAIN, &[]),
        ("web", Rtype::A, Rcode::NOERROR, &[]),
        ("Web", Rtype::DS, Rcode::NOERROR, &[]),
        ("3.0.1.10.in-addr.arpa", Rtype::PTR, Rcode::NOERROR, &["db.web."]),
        ("3.0.1.10.IN-ADDR.arpa", Rtype::A, Rcode::NOERROR, &[]),
        ("9.0.1.10.in-addr.arpa", Rtype::PTR, Rcode::NXDOMAIN, &[]),
        (
            "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.d.f.ip6.arpa",
            Rtype::PTR,
            Rcode::NOERROR,
            &["db.web."],
        ),
        ("db", Rtype::AXFR, Rcode::REFUSED, &[]),
    ];
    for (name, rtype, rcode, expected) in table {
        let answer = answer(&query(name, rtype, None));
        let header = answer.header();
        assert_eq!((header.rcode(), header.id()), (rcode, 7), "{name} {rtype}");
        assert!(header.qr() && header.rd() && header.ra() && !header.tc(), "{name} {rtype}");
        assert_eq!(header.aa(), rcode != Rcode::REFUSED, "{name} {rtype}");
        assert_eq!(records(&answer), expected, "{name} {rtype}");
    }
}

#[test]
fn a_container_is_found_by_the_name_by_which_it_was_attached_unless_that_is_given_to_others() {
    let attached_as = |name: &'static str| {
        let name =
            move |port: &ctl::PortName| (port.as_str() == "b-eth0").then(|| name.parse().unwrap());
        Directory::of(&"web".parse().unwrap(), &network(), name)
    };
    let asked = |directory: &Directory, name: &str, rtype: Rtype| {
        let responder = Responder { directory, forwarding: Forwarding::On };
        match responder.attend(&query(name, rtype, None), Transport::Udp) {
            Verdict::Answer(answer) => records(&Message::from_octets(answer).unwrap()),
            other => panic!("{name}: {other:?}"),
        }
    };
    let shop = attached_as("Shop");
    for name in ["shop", "shop.web", "b-eth0"] {
        assert_eq!(asked(&shop, name, Rtype::A), ["10.1.0.3"], "{name}");
    }
    assert_eq!(asked(&shop, "3.0.1.10.in-addr.arpa", Rtype::PTR), ["db.web."], "its alias first");
    // Names that were given on purpose are nobody else's.
    assert_eq!(asked(&attached_as("A-eth0"), "a-eth0", Rtype::A), ["10.1.0.2"]);
    assert_eq!(asked(&attached_as("db"), "db", Rtype::AAAA), ["fd01::2"]);
}

#[test]
fn what_is_not_of_the_network_is_forwarded_or_refused() {
    for (name, rtype) in [
        ("example.com", Rtype::A),
        ("db.other", Rtype::A),
        ("www.db", Rtype::A),
        ("com", Rtype::DS),
        ("com", Rtype::DNSKEY),
        (".", Rtype::NS),
        ("pkg.go.web", Rtype::A),
        ("2.0.0.10.in-addr.arpa", Rtype::PTR),
        ("0.1.10.in-addr.arpa", Rtype::SOA),
        ("002.0.1.10.in-addr.arpa", Rtype::PTR),
        ("example.com", Rtype::HTTPS),
        ("example.com", Rtype::from_int(65280)),
    ] {
        let message = query(name, rtype, Some(4096));
        let verdict = attend(&message, Forwarding::On, Transport::Udp);
        assert!(matches!(verdict, Verdict::Forward(_)), "{name} {rtype}: {verdict:?}");
        let Verdict::Answer(refusal) = attend(&message, Forwarding::Off, Transport::Udp) else {
            panic!("{name} {rtype}")
        };
        let refusal = Message::from_octets(refusal).unwrap();
        let header = refusal.header();
        assert_eq!((header.rcode(), header.ra(), header.aa()), (Rcode::REFUSED, false, false));
    }
}

#[test]
fn a_network_that_is_called_as_a_domain_shares_that_with_the_world() {
    let directory = Directory::of(&"example.com".parse().unwrap(), &network(), |_| None);
    let responder = Responder { directory: &directory, forwarding: Forwarding::On };
    let attend = |name| responder.attend(&query(name, Rtype::A, None), Transport::Udp);
    for name in ["mail.example.com", "example.com", "a.b.example.com", "com.com"] {
        assert!(matches!(attend(name), Verdict::Forward(_)), "{name}");
    }
    for (name, expected) in [
        ("db.example.com", Rcode::NOERROR),
        ("b-eth0.example.com", Rcode::NOERROR),
        ("com", Rcode::NXDOMAIN),
    ] {
        let Verdict::Answer(answer) = attend(name) else { panic!("{name}") };
        assert_eq!(Message::from_octets(answer).unwrap().header().rcode(), expected, "{name}");
    }
}

#[test]
fn what_cannot_be_understood_is_said_to_be_so_and_answers_are_not_answered() {
    let good = query("db", Rtype::A, None);
    let changed = |at: usize, value: u8| {
        let mut message = good.clone();
        message[at] = value;
        message
    };
    let twice = [&query("db", Rtype::A, Some(512))[..], &query("db", Rtype::A, Some(512))[20..]];
    let mut twice = twice.concat();
    twice[11] = 2;
    for (message, expected) in [
        (changed(2, 0x28), Rcode::NOTIMP),     // a dynamic update
        (changed(5, 0), Rcode::FORMERR),       // no question
        (changed(5, 2), Rcode::FORMERR),       // two, of which one is there
        (changed(7, 1), Rcode::FORMERR),       // an answer
        (changed(12, 0xc0), Rcode::FORMERR),   // a name that is a pointer
        (good[..15].to_vec(), Rcode::FORMERR), // cut off
        (changed(19, 3), Rcode::REFUSED),      // CHAOS
        (twice, Rcode::FORMERR),               // EDNS twice
    ] {
        assert_eq!(answer(&message).header().rcode(), expected, "{message:x?}");
    }
    for silent in [changed(2, 0x81), good[..11].to_vec(), Vec::new()] {
        assert_eq!(attend(&silent, Forwarding::On, Transport::Udp), Verdict::Silence);
    }
}

#[test]
fn who_speaks_edns_is_answered_in_kind() {
    let plain = answer(&query("db", Rtype::A, None));
    assert!(plain.opt().is_none());
    let answered = answer(&query("db", Rtype::A, Some(4096)));
    assert_eq!(answered.opt().unwrap().udp_payload_size(), 1232);
    assert!(!answered.opt().unwrap().dnssec_ok());
    let mut validating = query("db", Rtype::A, Some(4096));
    let flags = validating.len() - 4;
    validating[flags] = 0x80;
    assert!(answer(&validating).opt().unwrap().dnssec_ok(), "repeated (RFC 3225)");
    let mut newer = query("db", Rtype::A, Some(4096));
    // The version is the second byte of what is the time to live elsewhere.
    let at = newer.len() - 5;
    newer[at] = 1;
    let refused = answer(&newer);
    assert_eq!(refused.opt_rcode(), domain::base::iana::OptRcode::BADVERS);
    assert_eq!(refused.opt().unwrap().version(), 0);
}

/// A name with as many addresses as there are up to this one.
fn crowd(last: u8) -> Directory {
    let leases: serde_json::Map<_, _> = (2..=last)
        .map(|host| (format!("10.1.0.{host}"), serde_json::json!({ "owner": "a", "port": "a" })))
        .collect();
    let network: Network = serde_json::from_value(serde_json::json!({
        "pools": { "10.1.0.0/24": { "subnet": "10.1.0.0/24", "leases": leases } },
        "endpoints": { "a": { "owner": "a" } },
    }))
    .unwrap();
    Directory::of(&"web".parse().unwrap(), &network, |_| None)
}

#[test]
fn an_answer_that_is_too_long_is_sent_without_records_and_marked() {
    let directory = crowd(200);
    let responder = Responder { directory: &directory, forwarding: Forwarding::On };
    for (edns, transport, limit, is_whole) in [
        (None, Transport::Udp, 512, false),
        (Some(100), Transport::Udp, 512, false),
        (Some(65535), Transport::Udp, 1232, false),
        (None, Transport::Tcp, 65535, true),
    ] {
        let verdict = responder.attend(&query("a", Rtype::A, edns), transport);
        let Verdict::Answer(answer) = verdict else { panic!("{verdict:?}") };
        assert!(answer.len() <= limit);
        let answer = Message::from_octets(answer).unwrap();
        assert_eq!(answer.header().tc(), !is_whole);
        assert_eq!(answer.header_counts().ancount(), if is_whole { 199 } else { 0 });
        assert_eq!(answer.opt().is_some(), edns.is_some());
    }
}

#[test]
fn who_takes_less_than_everybody_takes_is_taken_to_take_as_much() {
    // RFC 6891 section 6.2.3.
    let directory = crowd(12);
    let responder = Responder { directory: &directory, forwarding: Forwarding::On };
    let verdict = responder.attend(&query("a", Rtype::A, Some(100)), Transport::Udp);
    let Verdict::Answer(answer) = verdict else { panic!("{verdict:?}") };
    assert!((101..=512).contains(&answer.len()));
    let answer = Message::from_octets(answer).unwrap();
    assert_eq!((answer.header().tc(), answer.header_counts().ancount()), (false, 11));
}

#[test]
fn a_name_that_dns_cannot_carry_is_found_by_nobody_and_spoils_no_other() {
    assert_eq!(directory().len(), 8); // db, www.example.com, a-eth0, b-eth0; each alone and of the network
    assert!(!directory().is_empty());
}

fn servers(count: u8) -> Vec<SocketAddr> {
    (1..=count).map(|host| SocketAddr::from(([192, 0, 2, host], PORT))).collect()
}

/// What a resolver would answer to what was sent to it.
fn resolved(sending: &Sending, rcode: Rcode) -> Vec<u8> {
    let asked = Message::from_octets(&sending.message[..]).unwrap();
    let mut answer = MessageBuilder::new_vec().start_answer(&asked, rcode).unwrap();
    let name = asked.sole_question().unwrap().into_qname();
    answer.push((name, Class::IN, 60, domain::rdata::A::from_octets(192, 0, 2, 80))).unwrap();
    answer.header_mut().set_aa(true);
    answer.finish()
}

#[test]
fn an_answer_reaches_who_asked_with_his_identifier() {
    let (mut relay, now) = (Relay::default(), Instant::now());
    let sent = relay.ask(("me", 1), forwarded("Example.com"), &servers(2), 99, now).unwrap();
    assert_eq!(sent.server, servers(1)[0]);
    assert_eq!(Message::from_octets(&sent.message[..]).unwrap().header().id(), 99);
    let mut answer = resolved(&sent, Rcode::NOERROR);
    answer[13] = b'e'; // in other letters
    let Heard::Answer("me", answer) = relay.hear(sent.ticket, answer, now) else { panic!() };
    let answer = Message::from_octets(answer).unwrap();
    let header = answer.header();
    assert_eq!((header.id(), header.aa(), header.ra(), header.tc()), (7, false, true, false));
    assert_eq!(records(&answer), ["192.0.2.80"]);
    assert_eq!(answer.as_slice()[13], b'E');
    assert!(relay.is_empty());
    assert_eq!(relay.hear(sent.ticket, answer.into_octets(), now), Heard::Nothing);
}

#[test]
fn what_is_not_the_answer_is_not_heard() {
    let (mut relay, now) = (Relay::default(), Instant::now());
    let sent = relay.ask(("me", 1), forwarded("example.com"), &servers(1), 99, now).unwrap();
    let good = resolved(&sent, Rcode::NOERROR);
    for (at, value) in [(0, 1), (2, 0x01), (2, 0xa8), (5, 0), (5, 2), (13, b'f'), (26, 28), (28, 3)]
    {
        let mut forged = good.clone();
        forged[at] = value;
        assert_eq!(relay.hear(sent.ticket, forged, now), Heard::Nothing, "byte {at}");
    }
    for length in 0..29 {
        let cut = good[..length].to_vec();
        assert_eq!(relay.hear(sent.ticket, cut, now), Heard::Nothing, "{length} bytes");
    }
    assert!(matches!(relay.hear(sent.ticket, good, now), Heard::Answer(..)));
}

#[test]
fn the_next_resolver_is_asked_when_one_is_silent_or_unhelpful_and_in_the_end_it_failed() {
    let (mut relay, begun) = (Relay::default(), Instant::now());
    let first = relay.ask(("me", 1), forwarded("example.com"), &servers(3), 99, begun).unwrap();
    assert!(relay.overdue(begun + Duration::from_millis(1499)).is_empty());
    let later = begun + Duration::from_millis(1500);
    assert_eq!(relay.overdue(later), [first.ticket]);
    let Heard::Next(second) = relay.fail(first.ticket, later) else { panic!() };
    assert_eq!(second.server, servers(3)[1]);
    assert!(relay.overdue(later).is_empty(), "it has as much time as the first");
    let refusal = resolved(&second, Rcode::REFUSED);
    let Heard::Next(third) = relay.hear(second.ticket, refusal, later) else { panic!() };
    assert_eq!(third.server, servers(3)[2]);
    let end = relay.deadline().unwrap();
    assert!(end - begun < Duration::from_secs(5));
    let Heard::Answer("me", answer) = relay.fail(third.ticket, end) else { panic!() };
    let answer = Message::from_octets(answer).unwrap();
    assert_eq!((answer.header().rcode(), answer.header().id()), (Rcode::SERVFAIL, 7));
    assert!(relay.is_empty());
}

#[test]
fn a_single_resolver_is_asked_twice_and_its_failure_is_an_answer() {
    let (mut relay, now) = (Relay::default(), Instant::now());
    let first = relay.ask(("me", 1), forwarded("example.com"), &servers(1), 99, now).unwrap();
    let Heard::Next(second) = relay.fail(first.ticket, now) else { panic!() };
    assert_eq!(second, first);
    let failure = resolved(&second, Rcode::SERVFAIL);
    assert!(matches!(relay.hear(second.ticket, failure, now), Heard::Answer(..)));
}

#[test]
fn what_is_on_its_way_is_bounded_for_each_and_for_all() {
    let (mut relay, now) = (Relay::default(), Instant::now());
    assert!(relay.ask(("me", 0), forwarded("example.com"), &[], 1, now).is_err());
    let mut taken = 0;
    for whose in 0..=(MAX_OUTSTANDING / MAX_OUTSTANDING_EACH) {
        let ask = |_| relay.ask(("me", whose), forwarded("example.com"), &servers(1), 1, now);
        let own = (0..=MAX_OUTSTANDING_EACH).map(ask).filter(Result::is_ok).count();
        assert!(own <= MAX_OUTSTANDING_EACH);
        taken += own;
    }
    assert_eq!((taken, relay.len()), (MAX_OUTSTANDING, MAX_OUTSTANDING));
}

#[test]
fn an_answer_of_others_that_is_too_long_is_cut_and_marked() {
    let (mut relay, now) = (Relay::default(), Instant::now());
    let sent = relay.ask(("me", 1), forwarded("example.com"), &servers(1), 99, now).unwrap();
    let mut long = resolved(&sent, Rcode::NOERROR);
    long.resize(513, 0);
    let Heard::Answer("me", answer) = relay.hear(sent.ticket, long, now) else { panic!() };
    let answer = Message::from_octets(answer).unwrap();
    assert!(answer.header().tc());
    assert_eq!(answer.header_counts().ancount(), 0);
    assert_eq!(answer.as_slice().len(), 29);
}

#[test]
fn the_resolvers_of_a_host_are_read_as_the_c_library_reads_them() {
    let text = "# none\nsearch a b\nnameserver 192.0.2.1\n  nameserver\t2001:db8::1 # the second\n\
                nameserver fe80::1%up0\nnameserver 192.0.2.4\nnameservers 192.0.2.5\n";
    let scope = |interface: &str| (interface == "up0").then_some(9);
    let found: Vec<_> = nameservers(text, scope).iter().map(ToString::to_string).collect();
    assert_eq!(found, ["192.0.2.1:53", "[2001:db8::1]:53", "[fe80::1%9]:53"]);
    let odd = "nameserver fe80::1%gone\nnameserver\nnameserver x\nnameserver fe80::2%3";
    let found: Vec<_> = nameservers(odd, scope).iter().map(ToString::to_string).collect();
    assert_eq!(found, ["[fe80::2%3]:53"]);
}

proptest! {
    #[test]
    fn no_message_does_harm_and_no_answer_is_longer_than_it_may_be(
        mut bytes in prop::collection::vec(any::<u8>(), 0..300),
        is_shaped in any::<bool>(),
    ) {
        if is_shaped && bytes.len() > 12 {
            bytes[2..12].copy_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
        }
        match attend(&bytes, Forwarding::On, Transport::Udp) {
            Verdict::Answer(answer) => {
                prop_assert!(answer.len() <= 1232);
                prop_assert_eq!(&answer[..2], &bytes[..2]);
            }
            Verdict::Forward(query) => {
                let (mut relay, now) = (Relay::default(), Instant::now());
                let sent = relay.ask(((), ()), query, &servers(1), 9, now).unwrap();
                let mut echo = sent.message.clone();
                echo[2] |= 0x80;
                let heard = relay.hear(sent.ticket, echo, now);
                prop_assert!(matches!(heard, Heard::Answer(..)), "{:?}", heard);
            }
            Verdict::Silence => {}
        }
    }
}

#[test]
fn an_answer_of_others_that_is_too_long_is_cut_to_what_the_asker_understands() {
    let now = Instant::now();
    for edns in [None, Some(512)] {
        let message = query("www.example.org", Rtype::A, edns);
        let Verdict::Forward(asked) = attend(&message, Forwarding::On, Transport::Udp) else {
            panic!()
        };
        let mut relay = Relay::default();
        let sent = relay.ask(("me", 1), asked, &servers(1), 99, now).unwrap();
        let mut long = resolved(&sent, Rcode::NXDOMAIN);
        long.resize(600, 0);
        let Heard::Answer("me", cut) = relay.hear(sent.ticket, long, now) else { panic!() };
        assert!(cut.len() <= 512);
        let cut = Message::from_octets(cut).unwrap();
        let header = cut.header();
        assert_eq!((header.id(), header.tc(), header.aa(), header.ra()), (7, true, false, true));
        assert_eq!(header.rcode(), Rcode::NXDOMAIN);
        assert_eq!(cut.header_counts().ancount(), 0);
        assert_eq!(cut.opt().is_some(), edns.is_some(), "who speaks EDNS is answered in kind");
    }
}
