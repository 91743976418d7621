//! Names, addresses and numbers as people type them.

use std::fmt::Debug;
use std::path::Path;
use std::str::FromStr;

use ctl::{BadName, BridgeName, IfName, IpCidr, MacAddr, Mtu, NetnsRef, PortName, RawNetns};
use ctl::{VlanId, VlanIds};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::apply::config_of;
use crate::arbitrary::vlan_numbers;

pub fn accepts<T>(texts: &[&str])
where
    T: FromStr<Err = BadName> + ToString + Debug + PartialEq + Serialize + DeserializeOwned,
{
    for text in texts {
        let value: T = text.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(value.to_string(), *text);
        let json = serde_json::to_string(&value).unwrap();
        assert_eq!(serde_json::from_str::<T>(&json).unwrap(), value, "{json}");
    }
}

pub fn refuses<T: FromStr<Err = BadName> + Debug>(texts: &[&str]) {
    for text in texts {
        let error = text.parse::<T>().expect_err(text);
        assert!(error.to_string().len() < 500, "{error}");
    }
}

#[test]
fn names_are_letters_digits_and_three_signs_and_begin_with_a_letter_or_digit() {
    accepts::<BridgeName>(&["br0", "0", "a.b_c-D", &"b".repeat(32)]);
    accepts::<PortName>(&["p", "pid7-eth0", &"p".repeat(64)]);
    accepts::<IfName>(&["eth0", "fifteen-letters"]);
    let bad = ["", ".", "..", "-a", "_a", "a b", "a/b", "a\n", "\u{e9}", "a\0", "a:b", "a%d"];
    refuses::<BridgeName>(&bad);
    refuses::<PortName>(&bad);
    refuses::<IfName>(&bad);
    refuses::<BridgeName>(&[&"b".repeat(33)]);
    refuses::<PortName>(&[&"p".repeat(65)]);
    refuses::<IfName>(&["sixteen-letters0", &"x".repeat(100_000), "all", "default"]);
    accepts::<BridgeName>(&["all", "default"]);
}

#[test]
fn a_station_address_is_six_bytes_and_no_group_address() {
    accepts::<MacAddr>(&["02:00:00:00:00:01", "fe:ff:ff:ff:ff:ff"]);
    assert_eq!("0A-bc-00-00-00-01".parse::<MacAddr>().unwrap().to_string(), "0a:bc:00:00:00:01");
    refuses::<MacAddr>(&[
        "",
        "02:00:00:00:00",
        "02:00:00:00:00:01:",
        "02:00:00:00:00:01:02",
        "2:0:0:0:0:1",
        "02:00:00:00:00:+1",
        "02:00:00:00:00:0g",
        "020000000001",
        "00:00:00:00:00:00",
        "ff:ff:ff:ff:ff:ff",
        "01:00:5e:00:00:01",
    ]);
}

#[test]
fn an_interface_address_has_a_prefix_length_and_is_a_hosts() {
    accepts::<IpCidr>(&[
        "10.0.0.2/24",
        "10.0.0.0/31",
        "10.0.0.1/31",
        "10.0.0.0/32",
        "10.1.0.0/8",
        "fd00::2/64",
        "fd00::/64",
        "fe80::1/128",
    ]);
    refuses::<IpCidr>(&[
        "",
        "10.0.0.2",
        "10.0.0.2/",
        "10.0.0.2/33",
        "10.0.0.2/+8",
        "10.0.0.2/-1",
        "10.0.0.2/24/24",
        "10.0.0/24",
        "10.0.0.0/24",
        "10.0.0.255/24",
        "255.255.255.255/32",
        "0.0.0.0/0",
        "224.0.0.1/24",
        "fd00::2/129",
        "::/64",
        "ff02::1/64",
        "fe80::1%eth0/64",
    ]);
}

#[test]
fn a_subnet_contains_the_addresses_with_its_prefix() {
    let cases = [
        ("10.0.0.2/24", "10.0.0.1", true),
        ("10.0.0.2/24", "10.0.1.1", false),
        ("10.0.0.2/23", "10.0.1.1", true),
        ("10.0.0.2/32", "10.0.0.3", false),
        ("10.0.0.2/0", "192.168.0.1", true),
        ("fd00::2/64", "fd00::ffff:0:0:1", true),
        ("fd00::2/65", "fd00::ffff:0:0:1", false),
        ("fd00::2/64", "10.0.0.1", false),
        ("10.0.0.2/24", "::ffff:10.0.0.1", false),
    ];
    for (subnet, addr, contained) in cases {
        let subnet: IpCidr = subnet.parse().unwrap();
        assert_eq!(subnet.contains(addr.parse().unwrap()), contained, "{subnet} {addr}");
    }
}

#[test]
fn an_mtu_is_from_68_to_65521_bytes() {
    accepts::<Mtu>(&["68", "1500", "65521"]);
    refuses::<Mtu>(&["", "67", "65522", "+1500", "-1", "1500 ", "99999999999"]);
    assert!(serde_json::from_str::<Mtu>("67").is_err());
    assert!(serde_json::from_str::<Mtu>("\"1500\"").is_err());
}

#[test]
fn a_vlan_is_from_1_to_4094() {
    accepts::<VlanId>(&["1", "4094"]);
    refuses::<VlanId>(&["", "0", "4095", "+1", "65536", "one"]);
    assert!(serde_json::from_str::<VlanId>("4095").is_err());
}

#[test]
fn a_set_of_vlans_is_numbers_and_ranges() {
    accepts::<VlanIds>(&["1", "1,3", "1-4094", "1-2,10-20,4094"]);
    refuses::<VlanIds>(&["", ",", "1,", "2-1", "0-5", "1-4095", "1-2-3", "-1", "a"]);
    let same = |text: &str| text.parse::<VlanIds>().unwrap().to_string();
    assert_eq!(same("20, 10 - 12,11,1"), "1,10-12,20");
    assert_eq!(same("1,2,3"), "1-3");
}

proptest! {
    #[test]
    fn a_set_of_vlans_has_what_was_written_and_nothing_else(numbers in vlan_numbers()) {
        let text: Vec<_> = numbers.iter().map(ToString::to_string).collect();
        let set: VlanIds = text.join(",").parse().unwrap();
        let mut expected = numbers;
        expected.sort_unstable();
        expected.dedup();
        prop_assert_eq!(set.iter().map(VlanId::number).collect::<Vec<_>>(), expected);
        prop_assert_eq!(set.to_string().parse::<VlanIds>().unwrap(), set);
    }

    #[test]
    fn no_text_is_too_strange(text in any::<String>()) {
        let _ = text.parse::<BridgeName>();
        let _ = text.parse::<MacAddr>();
        let _ = text.parse::<IpCidr>();
        let _ = text.parse::<VlanIds>();
        if let Ok(netns) = text.parse::<NetnsRef>() {
            prop_assert_eq!(netns.to_string().parse::<NetnsRef>().unwrap(), netns);
        }
    }
}

#[test]
fn a_namespace_is_a_name_a_path_or_a_process() {
    accepts::<NetnsRef>(&["web", "a b", "7a", "4711", "/proc/7/fd/3", "/run/netns/7", "/"]);
    refuses::<NetnsRef>(&["", ".", "..", "a/b", "./a", "0", "99999999999", "a\0", "/a\0"]);
    refuses::<NetnsRef>(&[&"n".repeat(256), &format!("/{}", "n".repeat(4095))]);
    let paths =
        [("web", "/run/netns/web"), ("7", "/proc/7/ns/net"), ("/proc/7/fd/3", "/proc/7/fd/3")];
    for (text, path) in paths {
        assert_eq!(text.parse::<NetnsRef>().unwrap().path(), Path::new(path));
    }
}

#[test]
fn one_namespace_has_one_name() {
    let same = [
        ("/run/netns/web", RawNetns::Name("web".to_owned())),
        ("/var/run/netns/web", RawNetns::Name("web".to_owned())),
        ("/proc/7/ns/net", RawNetns::Pid(7)),
        ("007", RawNetns::Pid(7)),
    ];
    for (text, raw) in same {
        assert_eq!(*text.parse::<NetnsRef>().unwrap().raw(), raw, "{text}");
    }
    for kept in ["/run/netns/7", "/run/netns/..", "/run/netns/a/b", "/proc/self/ns/net"] {
        assert_eq!(kept.parse::<NetnsRef>().unwrap().path(), Path::new(kept));
    }
}

#[test]
fn a_container_is_called_by_its_aliases_and_by_what_its_engine_calls_it() {
    let config = config_of(&[
        r#"network.create {"name":"web","subnets":["10.1.0.0/24"]}"#,
        r#"network.create {"name":"db","subnets":["10.2.0.0/24"]}"#,
        r#"network.connect {"network":"web","netns":"a","aliases":["shop","shop.example"]}"#,
        r#"network.connect {"network":"web","netns":"b","aliases":["shop"],"owner":"cni/web/0a1b2c3d4e5f6071/eth0"}"#,
        r#"network.connect {"network":"db","netns":"c","owner":"alice"}"#,
        r#"network.handover {"network":"db","port":"docker-3f4442aa0bb3","ifname":"vsw3f4442aa0bb","mac":"02:00:00:00:00:07","owner":"docker:02:00:00:00:00:07"}"#,
    ]);
    let called = |name: &str| -> Vec<_> {
        config.endpoints_called(name).map(|port| port.as_str()).collect()
    };
    assert_eq!(called("shop"), ["a-eth0", "b-eth0"]);
    assert_eq!(called("shop.web"), ["a-eth0", "b-eth0"]);
    assert_eq!(called("shop.example"), ["a-eth0"]);
    assert_eq!(called("alice"), ["c-eth0"]);
    for number in ["0a1b2c3d4e5f", "0a1b2c3d4e5f6071"] {
        assert_eq!(called(number), ["b-eth0"], "{number}");
    }
    for number in ["3f4442aa0bb3", "3f4442aa0bb3999999999999"] {
        assert_eq!(called(number), ["docker-3f4442aa0bb3"], "{number}");
    }
    for nobody in [
        "sho",
        "shopping",
        "shop.db",
        "shop.",
        "docker",
        "cni",
        "eth0",
        "0a1b2c3d4e5",
        "3f4442aa0bb4",
    ] {
        assert_eq!(called(nobody), Vec::<&str>::new(), "{nobody}");
    }
}
