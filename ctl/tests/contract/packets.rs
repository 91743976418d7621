//! Networks, ranges, rates, five-tuples and sketches of packets, as people type them.

use std::fmt::Debug;
use std::str::FromStr;

use ctl::{
    AddressRange, AddressRanges, Advertise, Destination, Egress, FiveTuple, FlowKey, Forward,
    Frame, Limit, Party, PortRange, Prefix, Protocol, Rate, Sketch, TcpFlags, TimeoutsSet, Tos,
    Vni,
};
use proptest::prelude::*;

use crate::arbitrary::sketch;
use crate::names::{accepts, refuses};

/// That each text means what the other one does.
fn same<T: FromStr<Err: Debug> + ToString>(pairs: &[(&str, &str)]) {
    for (text, canonical) in pairs {
        assert_eq!(text.parse::<T>().unwrap().to_string(), *canonical, "{text}");
    }
}

#[test]
fn a_network_has_zeros_after_its_prefix() {
    accepts::<Prefix>(&[
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.0.0.7/32",
        "::/0",
        "fd00::/64",
        "fd00::1/128",
    ]);
    same::<Prefix>(&[("10.0.0.7", "10.0.0.7/32"), ("fd00::7", "fd00::7/128")]);
    refuses::<Prefix>(&[
        "",
        "10.0.0.1/24",
        "10.0.0.0/33",
        "fd00::1/64",
        "::/129",
        "10.0.0.0/+8",
        "x",
    ]);
    accepts::<Destination>(&["default", "10.0.0.0/8"]);
    refuses::<Destination>(&["", "Default", "10.0.0.1/8"]);
}

#[test]
fn networks_overlap_when_one_is_a_part_of_the_other() {
    let prefix = |text: &str| text.parse::<Prefix>().unwrap();
    let cases = [
        ("10.0.0.0/8", "10.7.0.0/16", true),
        ("10.0.0.0/8", "11.0.0.0/8", false),
        ("0.0.0.0/0", "10.0.0.0/8", true),
        ("0.0.0.0/0", "::/0", false),
        ("fd00::/64", "fd00::7/128", true),
        ("fd00::/64", "fd00:0:0:1::/64", false),
    ];
    for (one, other, overlap) in cases {
        assert_eq!(prefix(one).overlaps(&prefix(other)), overlap, "{one} {other}");
        assert_eq!(prefix(other).overlaps(&prefix(one)), overlap, "{other} {one}");
    }
}

#[test]
fn ranges_have_the_lower_end_first() {
    accepts::<AddressRange>(&["192.0.2.1", "192.0.2.10-192.0.2.20", "fd00::1-fd00::ffff"]);
    same::<AddressRange>(&[("192.0.2.1-192.0.2.1", "192.0.2.1")]);
    accepts::<AddressRanges>(&["192.0.2.1", "192.0.2.1,192.0.2.3-192.0.2.9", "fd00::1,fd00::3"]);
    same::<AddressRanges>(&[("192.0.2.9,192.0.2.1", "192.0.2.1,192.0.2.9")]);
    refuses::<AddressRanges>(&[
        "",
        "192.0.2.1,",
        "192.0.2.1,fd00::1",
        "192.0.2.1-192.0.2.9,192.0.2.9",
    ]);
    refuses::<AddressRange>(&[
        "",
        "192.0.2.2-192.0.2.1",
        "192.0.2.1-fd00::1",
        "10.0.0.0-10.1.0.0",
        "fd00::-fd00::1:0",
        "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "224.0.0.1",
        "0.0.0.0-0.0.0.9",
        "1-2",
    ]);
    accepts::<PortRange>(&["1", "80", "8080-8090", "1-65535"]);
    refuses::<PortRange>(&["", "0", "0-1", "2-1", "65536", "1-2-3", "+1", "-"]);
    assert!("10.0.0.0-10.0.255.255".parse::<AddressRange>().is_ok());
}

#[test]
fn a_rate_is_in_units_of_a_thousand() {
    accepts::<Rate>(&["8kbit", "8001bit", "100mbit", "1gbit", "1000gbit"]);
    same::<Rate>(&[("8000bit", "8kbit"), ("100000kbit", "100mbit"), ("1Gbit", "1gbit")]);
    refuses::<Rate>(&[
        "",
        "bit",
        "100",
        "7kbit",
        "1001gbit",
        "1.5gbit",
        "-1mbit",
        "1mbyte",
        "99999999999gbit",
    ]);
    assert_eq!("100mbit".parse::<Rate>().unwrap().bits_per_second(), 100_000_000);
}

#[test]
fn what_waits_for_a_port_is_bounded_by_time_unless_said_otherwise() {
    let queue =
        |rate: &str| Egress { rate: rate.parse().unwrap(), queue_bytes: None }.queue_bytes();
    assert_eq!(queue("100mbit"), 625_000);
    assert_eq!((queue("8kbit"), queue("1000gbit")), (128 * 1024, 64 * 1024 * 1024));
    let own = Egress { rate: "8kbit".parse().unwrap(), queue_bytes: Some(200_000) };
    assert_eq!(own.queue_bytes(), 200_000);
}

#[test]
fn numbers_of_tunnels_have_24_bits_and_tos_leaves_ecn_alone() {
    accepts::<Vni>(&["0", "7", "16777215"]);
    refuses::<Vni>(&["", "16777216", "-1", "+1", "0x7"]);
    accepts::<Tos>(&["inherit", "0", "184", "252"]);
    refuses::<Tos>(&["", "1", "3", "255", "256", "Inherit"]);
    accepts::<Limit>(&["1", "10000"]);
    refuses::<Limit>(&["", "0", "10001", "-1"]);
}

#[test]
fn a_published_port_is_written_as_elsewhere() {
    accepts::<Forward>(&[
        "8080:10.0.0.2:80/tcp",
        "192.0.2.1:8080:10.0.0.2:80/udp",
        "8080-8090:10.0.0.2:9000/sctp",
        "[2001:db8::1]:443:[fd00::2]:8443/tcp",
        "443:[fd00::2]:443/tcp",
    ]);
    same::<Forward>(&[
        ("80:10.0.0.2", "80:10.0.0.2:80/tcp"),
        ("8000-8010:10.0.0.2/udp", "8000-8010:10.0.0.2:8000/udp"),
        ("80:[fd00::2]/tcp", "80:[fd00::2]:80/tcp"),
        ("80:fd00::2/tcp", "80:[fd00::2]:80/tcp"),
    ]);
    refuses::<Forward>(&[
        "",
        "80",
        "80/tcp",
        "80:10.0.0.2/icmp",
        "80:10.0.0.2/proto-6x",
        "0:10.0.0.2/tcp",
        "80:10.0.0.2:0/tcp",
        "80:10.0.0.2:80-90/tcp",
        "65000-65535:10.0.0.2:65001/tcp",
        "192.0.2.1:80:[fd00::2]:80/tcp",
        "0.0.0.0:80:10.0.0.2:80/tcp",
        "80:224.0.0.1/tcp",
        "[2001:db8::1:80:[fd00::2]:80/tcp",
        "80:web:80/tcp",
    ]);
}

#[test]
fn a_protocol_has_a_name_or_a_number() {
    accepts::<Protocol>(&["tcp", "udp", "sctp", "icmp", "proto-47"]);
    same::<Protocol>(&[
        ("TCP", "tcp"),
        ("proto-6", "tcp"),
        ("icmp6", "icmp"),
        ("proto-58", "icmp"),
    ]);
    refuses::<Protocol>(&["", "6", "proto-", "proto-256", "proto-+6", "http"]);
    assert_eq!((Protocol::Icmp.number(true), Protocol::Icmp.number(false)), (1, 58));
}

#[test]
fn who_talks_to_whom_is_written_in_one_way() {
    accepts::<FiveTuple>(&[
        "tcp 10.0.0.2:4000 > 10.1.0.3:80",
        "udp [fd00::2]:4000 > [fd00::3]:53",
        "icmp 10.0.0.2:7 > 10.1.0.3:7",
    ]);
    same::<FiveTuple>(&[
        ("  icmp 10.0.0.2  >  10.1.0.3 ", "icmp 10.0.0.2:0 > 10.1.0.3:0"),
        ("proto-47 fd00::2 > [fd00::3]", "proto-47 [fd00::2]:0 > [fd00::3]:0"),
    ]);
    refuses::<FiveTuple>(&[
        "",
        "tcp",
        "tcp 10.0.0.2 > 10.1.0.3",
        "tcp 10.0.0.2:1 10.1.0.3:2",
        "tcp 10.0.0.2:1 < 10.1.0.3:2",
        "tcp 10.0.0.2:1 > [fd00::3]:2",
        "tcp 10.0.0.2:1 > 10.1.0.3:65536",
        "tcp 10.0.0.2:1 > 10.1.0.3:2 len=7",
        "10.0.0.2:1 > 10.1.0.3:2",
    ]);
}

#[test]
fn a_packet_is_sketched_with_what_matters() {
    let text = "tcp 10.0.0.2:4000 > 10.1.0.3:80 flags=fin+ack len=1400 ttl=3 tos=184 vlan=10 df";
    accepts::<Sketch>(&[text, "tcp 10.0.0.2:4000 > 10.1.0.3:80"]);
    let sketch: Sketch = text.parse().unwrap();
    assert_eq!((sketch.flags.bits(), sketch.payload_bytes, sketch.ttl), (0x11, 1400, 3));
    let plain: Sketch = "tcp 10.0.0.2:4000 > 10.1.0.3:80 flags=syn".parse().unwrap();
    assert_eq!((plain.flags, plain.ttl, plain.dont_fragment), (TcpFlags::SYN, 64, false));
    for wrong in ["flags=", "flags=syn,ack", "len=65536", "ttl=256", "vlan=0", "DF", "len"] {
        refuses::<Sketch>(&[&format!("tcp 10.0.0.2:1 > 10.1.0.3:2 {wrong}")]);
    }
}

#[test]
fn a_frame_is_hexadecimal_digits() {
    let frame: Frame = "ff:ff:ff:ff:ff:ff 02:00:00:00:00:01 08 06".parse().unwrap();
    assert_eq!(frame.to_string(), "ffffffffffff0200000000010806");
    assert_eq!(frame.bytes().len(), 14);
    refuses::<Frame>(&["", "ff", &"f".repeat(29), &"g".repeat(28), &"00".repeat(16 * 1024 + 1)]);
}

#[test]
fn an_end_of_a_conversation_is_an_address_or_a_port() {
    accepts::<Party>(&["web-eth0", "10.0.0.2", "fd00::2"]);
    refuses::<Party>(&["", "a b", "10.0.0.2:80"]);
    assert!(matches!("10.0.0.2".parse(), Ok(Party::Address(_))));
    assert!(matches!("10.0.0.2.web".parse(), Ok(Party::Name(_))));
}

#[test]
fn settings_of_advertisements_and_timeouts_are_words() {
    same::<Advertise>(&[
        ("", "interval=600,lifetime=1800"),
        (
            "managed,interval=4,dns=fd00::9,no-autonomous,lifetime=0,other",
            "interval=4,lifetime=0,managed,other,no-autonomous,dns=fd00::9",
        ),
    ]);
    refuses::<Advertise>(&["interval", "interval=-1", "lifetime=65536", "dns=10.0.0.1", "x"]);
    let udp: TimeoutsSet = "udp-unreplied=30".parse().unwrap();
    assert_eq!((udp.udp_unreplied, udp.udp), (Some(30), None));
    refuses::<TimeoutsSet>(&["", "udp", "udp=", "udp=x", "tcp=5"]);
}

#[test]
fn rules_are_meant_by_number_or_match() {
    assert!(matches!("17".parse(), Ok(FlowKey::Id(_))));
    assert!(matches!("tcp,dport=80".parse(), Ok(FlowKey::Match(_))));
    for wrong in ["", "99999999", "dport=80x", "17,tcp"] {
        assert!(wrong.parse::<FlowKey>().is_err(), "{wrong}");
    }
}

proptest! {
    #[test]
    fn a_sketch_reads_as_it_is_written(sketch in sketch()) {
        prop_assert_eq!(sketch.to_string().parse::<Sketch>().unwrap(), sketch);
    }

    #[test]
    fn no_text_is_too_strange(text in any::<String>()) {
        let _ = text.parse::<Prefix>();
        let _ = text.parse::<AddressRanges>();
        let _ = text.parse::<PortRange>();
        let _ = text.parse::<Rate>();
        let _ = text.parse::<Forward>();
        let _ = text.parse::<Sketch>();
        let _ = text.parse::<Frame>();
        let _ = text.parse::<Advertise>();
        let _ = text.parse::<TimeoutsSet>();
    }

    #[test]
    fn a_network_has_just_the_addresses_with_its_prefix(addr in any::<u32>(), other in any::<u32>(), len in 0u8..=32) {
        let (addr, other) = (std::net::Ipv4Addr::from(addr), std::net::Ipv4Addr::from(other));
        let network = Prefix::of(addr.into(), len).unwrap();
        let shared = (addr.to_bits() ^ other.to_bits()).leading_zeros() >= u32::from(len);
        prop_assert_eq!(network.contains(other.into()), shared);
        prop_assert_eq!(network.to_string().parse::<Prefix>().unwrap(), network);
    }
}
