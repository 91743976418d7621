//! Containers on networks: the addresses, gateways and routes that each gets, and that it gives back.

use std::collections::BTreeMap;

use ctl::ErrorCode::{Exists, Invalid, NotFound, Unavailable};
use ctl::response::{EndpointInfo, LeaseInfo};
use ctl::{Config, IpamFilter, apply};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::apply::{config_of, refuses};
use crate::arbitrary;
use crate::networks::{SHOP, SMALL, WEB, addresses, after, endpoint, info};

#[test]
fn a_container_gets_addresses_gateways_and_a_port() {
    let config = config_of(&[WEB, SHOP]);
    let shop = endpoint(&config, "shop-eth0");
    assert_eq!(addresses(&config, "shop-eth0"), ["10.1.0.2/24", "fd01::2/64"]);
    let gateways: Vec<_> = shop.default_gateways.iter().map(ToString::to_string).collect();
    assert_eq!(gateways, ["10.1.0.1", "fd01::1"]);
    assert_eq!((shop.owner.as_str(), shop.mtu), ("shop-eth0", 1500));
    assert_eq!(after(&config, SHOP), config, "safe to repeat");
}

#[test]
fn connecting_otherwise_is_refused_with_what_differs() {
    let config = config_of(&[WEB, SMALL, SHOP]);
    let connect = |rest: &str| SHOP.replace('}', &format!(",{rest}}}"));
    let cases = [
        (connect(r#""ips":["10.1.0.9"]"#), Exists, "addresses 10.1.0.2 fd01::2, not 10.1.0.9"),
        (connect(r#""aliases":["db"]"#), Exists, "aliases none, not db"),
        (connect(r#""owner":"x""#), Exists, "owner shop-eth0, not x"),
        (SHOP.replace("web", "small"), Exists, "is on bridge web already"),
        (SHOP.replace("web", "nowhere"), NotFound, "there are: small, web"),
    ];
    refuses(&config, &cases.each_ref().map(|(text, code, part)| (text.as_str(), *code, *part)));
}

#[test]
fn an_address_that_cannot_be_had_leaves_nothing_behind() {
    let config =
        config_of(&[WEB, SMALL, SHOP, r#"network.connect {"network":"small","netns":"a"}"#]);
    let connect = |network: &str, ip: &str| {
        let ips = if ip.is_empty() { String::new() } else { format!(r#""{ip}""#) };
        format!(r#"network.connect {{"network":"{network}","netns":"b","ips":[{ips}]}}"#)
    };
    let cases = [
        (connect("web", "10.1.0.2"), Exists, "is shop-eth0's already"),
        (connect("web", "10.1.0.1"), Invalid, "the gateway's"),
        (
            connect("web", "10.9.0.1"),
            Invalid,
            "network web: address 10.9.0.1 is in no subnet of it",
        ),
        (connect("small", ""), Unavailable, "no address of 10.2.0.0/30 is free"),
    ];
    refuses(&config, &cases.each_ref().map(|(text, code, part)| (text.as_str(), *code, *part)));
}

#[test]
fn the_first_network_that_leads_out_gives_the_default_route() {
    let config = config_of(&[
        r#"network.create {"name":"inner","subnets":["10.4.0.0/24"],"settings":{"internal":true}}"#,
        r#"network.create {"name":"four","subnets":["10.5.0.0/24"]}"#,
        WEB,
        r#"network.connect {"network":"inner","netns":"shop","ifname":"eth0"}"#,
        r#"network.connect {"network":"four","netns":"shop","ifname":"eth1"}"#,
        r#"network.connect {"network":"web","netns":"shop","ifname":"eth2"}"#,
        r#"network.connect {"network":"web","netns":"db","no_default_route":true}"#,
    ]);
    let gateways = |port: &str| -> Vec<_> {
        endpoint(&config, port).default_gateways.iter().map(ToString::to_string).collect()
    };
    assert!(gateways("shop-eth0").is_empty() && gateways("db-eth0").is_empty());
    assert_eq!(gateways("shop-eth1"), ["10.5.0.1"]);
    assert_eq!(gateways("shop-eth2"), ["fd01::1"], "of the other IP version it is the first");
}

#[test]
fn where_other_interfaces_lead_a_network_gives_no_route() {
    let config = config_of(&[
        WEB,
        r#"network.connect {"network":"web","netns":"shop","elsewhere":["0.0.0.0/0","10.8.0.0/16"],
            "routes":[{"to":"10.8.0.0/16","via":"10.1.0.9"},{"to":"10.9.0.0/16","via":"10.1.0.9"}]}"#,
    ]);
    let endpoint = endpoint(&config, "shop-eth0");
    assert_eq!(
        endpoint.default_gateways.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["fd01::1"]
    );
    let routes: Vec<_> = endpoint.routes.iter().map(|route| route.to.to_string()).collect();
    assert_eq!(routes, ["10.9.0.0/16"]);
}

#[test]
fn what_an_owner_holds_is_what_his_container_gets() {
    let config = config_of(&[
        WEB,
        r#"ipam.request {"owner":"alice","network":"web","ip":"10.1.0.77"}"#,
        r#"network.connect {"network":"web","netns":"shop","owner":"alice"}"#,
    ]);
    assert_eq!(addresses(&config, "shop-eth0"), ["10.1.0.77/24", "fd01::2/64"]);
    let second = r#"network.connect {"network":"web","netns":"db","owner":"alice"}"#;
    refuses(&config, &[(second, Exists, "in use by port shop-eth0")]);
    let gone = after(&config, r#"detach {"netns":"shop"}"#);
    let left = LeaseInfo::all(&gone, &IpamFilter::default());
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!((left[0].address.to_string().as_str(), &left[0].port), ("10.1.0.77/24", &None));
    assert!(LeaseInfo::all(&after(&gone, "ipam.free {}"), &IpamFilter::default()).is_empty());
}

#[test]
fn a_removed_port_gives_its_addresses_back() {
    let config = config_of(&[WEB, SHOP]);
    let ways = [
        r#"port.del {"name":"shop-eth0"}"#,
        r#"detach {"netns":"shop"}"#,
        r#"network.disconnect {"network":"web","netns":"shop"}"#,
    ];
    for way in ways {
        let gone = after(&config, way);
        assert!(LeaseInfo::all(&gone, &IpamFilter::default()).is_empty(), "{way}");
        assert_eq!(addresses(&after(&gone, SHOP), "shop-eth0")[0], "10.1.0.3/24", "it rests");
    }
}

#[test]
fn a_network_without_subnets_gives_no_addresses() {
    const BARE: &str = r#"network.create {"name":"bare","unnumbered":true}"#;
    let config = config_of(&[BARE, r#"network.connect {"network":"bare","netns":"shop"}"#]);
    assert!(info(&config, "bare").subnets.is_empty());
    assert!(addresses(&config, "shop-eth0").is_empty());
    assert_eq!(after(&config, BARE), config);
    refuses(
        &config,
        &[
            (
                r#"network.create {"name":"bare"}"#,
                Exists,
                "otherwise: it has no gateway; it has no subnet",
            ),
            (
                r#"network.create {"name":"b","unnumbered":true,"subnets":["10.1.0.0/24"]}"#,
                Invalid,
                "has no subnets",
            ),
        ],
    );
}

#[test]
fn a_container_has_the_routes_that_it_was_connected_with() {
    let routes = r#""routes":[{"to":"10.9.0.0/16","via":"10.1.0.9"}]"#;
    let connect = format!(r#"network.connect {{"network":"web","netns":"shop",{routes}}}"#);
    let config = config_of(&[WEB, &connect]);
    let routes = endpoint(&config, "shop-eth0").routes;
    assert_eq!(routes, ["10.9.0.0/16 via 10.1.0.9".parse().unwrap()]);
    let ipv6_only = r#"network.create {"name":"six","subnets":["fd06::/64"]}"#;
    let config = after(&config, ipv6_only);
    let to = |network: &str, to: &str, via: &str| {
        let routes = format!(r#"[{{"to":"{to}","via":"{via}"}}]"#);
        format!(r#"network.connect {{"network":"{network}","netns":"b","routes":{routes}}}"#)
    };
    refuses(
        &config,
        &[
            (&to("web", "10.9.0.0/16", "fd01::9"), Invalid, "its ends are of two"),
            (&to("six", "10.9.0.0/16", "10.1.0.9"), Invalid, "no address of that IP version"),
        ],
    );
}

#[test]
fn a_container_is_disconnected_whatever_its_interface_is_called() {
    let config =
        config_of(&[WEB, r#"network.connect {"network":"web","netns":"shop","ifname":"net1"}"#]);
    let disconnect =
        |rest: &str| format!(r#"network.disconnect {{"network":"web","netns":{rest}}}"#);
    assert_eq!(info(&after(&config, &disconnect(r#""shop""#)), "web").endpoints, []);
    let by_name = disconnect(r#""shop","ifname":"net1""#);
    let gone = after(&config, &by_name);
    assert_eq!(after(&gone, &by_name), gone, "what names the interface is safe to repeat");
    let both = after(&config, SHOP);
    assert_eq!(after(&both, &disconnect(r#""shap""#)), both, "who is not there is disconnected");
    let which = "by several interfaces: eth0, net1; say which with --ifname";
    refuses(&both, &[(&disconnect(r#""shop""#), Invalid, which)]);
}

#[test]
fn a_lease_is_shown_as_its_interface_has_it() {
    let p2p =
        r#"network.create {"name":"web","subnets":["10.1.0.0/24"],"settings":{"shape":"p2p"}}"#;
    let config = config_of(&[p2p, SHOP]);
    let leases = LeaseInfo::all(&config, &IpamFilter::default());
    let shown: Vec<_> = leases.iter().map(|lease| lease.address.to_string()).collect();
    assert_eq!(
        (addresses(&config, "shop-eth0"), shown),
        (vec!["10.1.0.2/32".to_owned()], vec!["10.1.0.2/32".to_owned()])
    );
}

/// That no address is two ports', and none is the gateway's.
fn check(config: &Config) {
    for (name, network) in &config.networks {
        let mut owners = BTreeMap::new();
        for port in network.endpoints.keys() {
            for one in EndpointInfo::of(config, port).unwrap().addresses {
                assert_eq!(owners.insert(one.address.addr, port), None, "{name}: {one:?}");
                assert_ne!(one.gateway, Some(one.address.addr));
            }
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_asked_no_address_is_given_twice_and_it_survives_a_restart(
        mutations in vec(arbitrary::network::mutation(), 0..60),
    ) {
        let mut config = Config::default();
        for mutation in mutations {
            let Ok(next) = apply(&config, &mutation) else { continue };
            let again = apply(&next, &mutation);
            let may_differ = matches!(mutation, ctl::Mutation::PoolAdd(_));
            prop_assert!(may_differ || again.is_err() || again.is_ok_and(|again| again == next),
                         "{mutation:?} is not safe to repeat");
            check(&next);
            prop_assert_eq!(&Config::from_json(next.to_json().as_bytes()).unwrap(), &next);
            config = next;
        }
    }
}
