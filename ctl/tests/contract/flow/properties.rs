//! Reading and printing are the reverse of each other, whichever words were used.

use ctl::flow::{Actions, FlowRule, Match};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// A part of a match as it is printed, and other ways to write it.
type Part = (&'static str, &'static [&'static str]);

/// EtherType and protocol, and which other parts make sense with them: addresses of IPv4, of IPv6, ports, TCP
/// flags, ICMP types.
type Kind = (Part, [bool; 5]);

const KINDS: [Kind; 12] = [
    (("", &[]), [true, false, false, false, false]),
    (("arp", &["dl_type=0x0806", "ethertype=2054"]), [false; 5]),
    (("ethertype=0x88cc", &["dl_type=35020"]), [false; 5]),
    (("ip", &["eth_type=0x800"]), [true, false, false, false, false]),
    (("ipv6", &["dl_type=0x86dd"]), [false, true, false, false, false]),
    (("tcp", &["ip,nw_proto=6", "proto=tcp,ip,tcp"]), [true, false, true, true, false]),
    (
        ("udp6", &["ipv6,nw_proto=17", "dl_type=0x86dd,proto=udp"]),
        [false, true, true, false, false],
    ),
    (("icmp", &["ip,nw_proto=1"]), [true, false, false, false, true]),
    (("icmp6", &["ipv6,ip_proto=0x3a"]), [false, true, false, false, true]),
    (("proto=tcp", &["nw_proto=6"]), [true, false, true, true, false]),
    (("proto=icmp6", &["nw_proto=58"]), [false, true, false, false, true]),
    (("ip,proto=47", &["nw_proto=47,ip"]), [true, false, false, false, false]),
];

const LINK: [&[Part]; 4] = [
    &[("in_port=web0", &[]), ("in_port=1", &[])],
    &[("vni=100", &["tun_id=0x64", "tunnel_id=100"])],
    &[
        ("src_mac=02:00:00:00:0a:01", &["dl_src=02:00:00:00:0A:01", "eth_src=02:00:00:00:0a:01"]),
        ("src_mac=02:00:00:00:00:00/ff:00:00:00:00:00", &[]),
    ],
    &[("vlan=10", &["dl_vlan=10", "dl_vlan=0xa"]), ("vlan=none", &[])],
];

const V4: [&[Part]; 2] = [
    &[
        ("src=10.0.0.0/8", &["nw_src=10.0.0.0/8", "src=10.0.0.0/255.0.0.0"]),
        ("src={10.1.0.1,10.2.0.0/16}", &["src={10.2.0.0/16, 10.1.0.1/32}"]),
    ],
    &[("dst=10.1.0.1", &["ip_dst=10.1.0.1", "dst={10.1.0.1,10.1.0.1}"])],
];
const V6: [&[Part]; 2] =
    [&[("src=fd00::/64", &["ipv6_src=fd00:0::/64"])], &[("dst={fd00::1,fd00::2}", &[])]];
const PORTS: [&[Part]; 2] = [
    &[("sport=1024-65535", &["tp_src={1024-2000,1999-65535}"])],
    &[("dport=80", &["tp_dst=80", "tp_dst=0x50"]), ("dport={22,80-90}", &["dport={80-90,22}"])],
];
const FLAGS: [&[Part]; 1] = [&[("tcp_flags=+syn-ack", &["tcp_flags=-ack+syn"])]];
const ICMP: [&[Part]; 1] = [&[("icmp_type=3,icmp_code=1", &["icmp_code=0x1,icmp_type=3"])]];
const IP: [&[Part]; 2] = [
    &[("dscp=46", &["nw_tos=184", "ip_dscp=46"])],
    &[
        ("state=new", &["ct_state=+new-est", "ct_state=+trk+new"]),
        ("state={established,related}", &[]),
    ],
];

/// Some of the parts of each group.
fn some(groups: &'static [&'static [Part]]) -> impl Strategy<Value = Vec<Part>> {
    groups
        .iter()
        .map(|group| option::of(select(*group)))
        .collect::<Vec<_>>()
        .prop_map(|parts| parts.into_iter().flatten().collect())
}

/// The parts of a match in the order in which they are printed.
fn parts() -> impl Strategy<Value = Vec<Part>> {
    select(KINDS.to_vec()).prop_flat_map(|(kind, [v4, v6, ports, flags, icmp])| {
        let groups: [(bool, &'static [&'static [Part]]); 6] = [
            (v4, &V4),
            (v6, &V6),
            (ports, &PORTS),
            (flags, &FLAGS),
            (icmp, &ICMP),
            (v4 || v6, &IP),
        ];
        let wanted = groups.into_iter().filter(|(wanted, _)| *wanted);
        let rest: Vec<_> = wanted.map(|(_, group)| some(group)).collect();
        (some(&LINK), rest).prop_map(move |(link, rest)| {
            let kind = Some(kind).filter(|(text, _)| !text.is_empty());
            link.into_iter().chain(kind).chain(rest.into_iter().flatten()).collect()
        })
    })
}

fn rule_text() -> impl Strategy<Value = String> {
    let step = select(vec![
        "count",
        "mirror:ids",
        "mirror:ids/128",
        "set_vlan:10",
        "set_src:02:00:00:00:00:01",
        "set_dst:02:00:00:00:00:01",
        "set_dscp:0",
        "limit:1000pps",
        "limit:8kbit:burst=65536:per-source",
    ]);
    let verdict = select(vec!["allow", "drop", "reject", "reject:icmp", "forward:web0"]);
    let timeout = || option::of(1u32..);
    (any::<u32>(), parts(), vec(step, 0..4), verdict, timeout(), timeout()).prop_map(
        |(priority, parts, mut actions, verdict, idle, hard)| {
            let matches: Vec<_> = parts.iter().map(|(text, _)| *text).collect();
            let matches = if matches.is_empty() { "any".to_owned() } else { matches.join(",") };
            actions.push(verdict);
            let idle = idle.map_or(String::new(), |seconds| format!(" idle_timeout={seconds}"));
            let hard = hard.map_or(String::new(), |seconds| format!(" hard_timeout={seconds}"));
            format!("{priority} {matches} {}{idle}{hard}", actions.join(","))
        },
    )
}

proptest! {
    #[test]
    fn a_match_means_the_same_in_any_words_and_any_order(
        parts in parts(),
        picks in vec(any::<Index>(), 20),
        order in vec(any::<u32>(), 20),
    ) {
        let printed: Vec<_> = parts.iter().map(|(text, _)| *text).collect();
        let printed = if printed.is_empty() { "any".to_owned() } else { printed.join(",") };
        let mut spelled: Vec<_> = parts
            .iter()
            .zip(&picks)
            .map(|((text, others), pick)| {
                let all: Vec<_> = std::iter::once(text).chain(*others).collect();
                **pick.get(&all)
            })
            .zip(order)
            .collect();
        spelled.sort_by_key(|(_, order)| *order);
        let spelled: Vec<_> = spelled.into_iter().map(|(text, _)| text).collect();
        let spelled = if spelled.is_empty() { "any".to_owned() } else { spelled.join(", ") };
        let read: Match = spelled.parse().map_err(|error| TestCaseError::fail(format!("{spelled}: {error}")))?;
        prop_assert_eq!(read.to_string(), printed.clone());
        prop_assert_eq!(printed.parse::<Match>().unwrap(), read);
    }

    #[test]
    fn a_rule_reads_as_what_it_prints(text in rule_text()) {
        let rule: FlowRule = text.parse().map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        prop_assert_eq!(rule.to_string(), text);
        let json = serde_json::to_string(&rule).unwrap();
        prop_assert_eq!(serde_json::from_str::<FlowRule>(&json).unwrap(), rule);
    }

    #[test]
    fn no_text_is_too_strange(text in any::<String>(), words in vec(select(WORDS.to_vec()), 0..12)) {
        for text in [text, words.concat()] {
            if let Ok(read) = text.parse::<Match>() {
                prop_assert_eq!(read.to_string().parse::<Match>().unwrap(), read);
            }
            if let Ok(read) = text.parse::<Actions>() {
                prop_assert_eq!(read.to_string().parse::<Actions>().unwrap(), read);
            }
            match text.parse::<FlowRule>() {
                Ok(read) => prop_assert_eq!(read.to_string().parse::<FlowRule>().unwrap(), read),
                Err(error) => prop_assert!(error.to_string().chars().count() < 1000, "{error}"),
            }
        }
    }
}

/// Pieces of rules, and of what looks like one.
const WORDS: [&str; 32] = [
    ",",
    "=",
    "{",
    "}",
    "-",
    "/",
    ":",
    " ",
    "+",
    "0x",
    "1",
    "80",
    "65535",
    "tcp",
    "ip",
    "src",
    "dst",
    "dport",
    "dport=",
    "src=",
    "10.0.0.0",
    "/8",
    "fd00::1",
    "ü",
    "actions=",
    "drop",
    "allow",
    "limit:",
    "10mbit",
    "tcp_flags=",
    "state=",
    "any",
];
