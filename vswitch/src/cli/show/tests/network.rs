//! What people see of networks and addresses.

use serde_json::{Value, json};

use super::shown;

fn network() -> Value {
    json!({ "name": "web", "mtu": 1450, "uplinks": ["up"],
            "settings": { "masquerade": true, "mtu": 1500, "isolated": true,
                "vxlan": { "vni": 7, "local": "192.0.2.1", "remotes": ["192.0.2.2"] },
                "labels": { "owner": "alice" } },
            "subnets": [{ "subnet": "10.1.0.0/24", "gateway": "10.1.0.1", "addresses": 100, "leases": 1,
                "ranges": ["10.1.0.100-10.1.0.199"], "reserved": ["10.1.0.150"] }],
            "endpoints": [endpoint()] })
}

fn endpoint() -> Value {
    json!({ "network": "web", "port": "shop-eth0", "netns": "shop", "ifname": "eth0", "mtu": 1450,
            "mac": "02:00:00:00:00:01", "owner": "0a1b/eth0", "aliases": ["db"],
            "addresses": [{ "address": "10.1.0.100/24", "gateway": "10.1.0.1" }],
            "default_gateways": ["10.1.0.1"] })
}

#[test]
fn networks() {
    let mut internal = network();
    internal["settings"]["internal"] = true.into();
    internal["endpoints"] = json!([]);
    let mut by_hand = internal.clone();
    by_hand["settings"] = json!({ "masquerade": false, "mtu": 1500 });
    let expected = "\
NETWORK  SUBNETS      GATEWAYS  WAY OUT    MTU  CONTAINERS
web      10.1.0.0/24  10.1.0.1  up        1450           1
web      10.1.0.0/24  10.1.0.1  internal  1450           0
web      10.1.0.0/24  10.1.0.1  by hand   1450           0
web      10.1.0.0/24  10.1.0.1  routed    1450           0
";
    let mut routed = internal.clone();
    routed["uplinks"] = json!([]);
    routed["settings"] = json!({ "shape": "routed", "masquerade": true, "mtu": 1500 });
    let all = json!([network(), internal, by_hand, routed]);
    assert_eq!(shown("vswitchctl network list", all), expected);
}

#[test]
fn a_network_without_a_way_out_says_what_it_lacks() {
    let mut alone = network();
    alone["uplinks"] = json!([]);
    let mut unnumbered = alone.clone();
    unnumbered["subnets"] = json!([]);
    for (network, lacks) in [(alone, "no uplink"), (unnumbered, "no gateway")] {
        let list = shown("vswitchctl network list", json!([network]));
        assert!(list.contains(&format!("  {lacks}  ")), "{list}");
        let one = shown("vswitchctl network inspect web", network);
        assert!(one.contains(&format!("  way out   {lacks}\n")), "{one}");
    }
}

#[test]
fn one_network() {
    let expected = "\
web
  subnet    10.1.0.0/24, gateway 10.1.0.1, gives 10.1.0.100-10.1.0.199, but for 10.1.0.150, 1 given out
  way out   up
  MTU       1450
  isolated  from each other
  VXLAN     VNI 7 at 192.0.2.1, remotes 192.0.2.2
  names     others by the host's resolvers
  label     owner=alice
PORT       ADDRESSES      MAC                INTERFACE  OWNER      ALIASES
shop-eth0  10.1.0.100/24  02:00:00:00:00:01  shop:eth0  0a1b/eth0  db
";
    assert_eq!(shown("vswitchctl network inspect web", network()), expected);
}

#[test]
fn what_was_made_of_networks_and_addresses() {
    let leases = json!([
        { "address": "10.1.0.2/24", "network": "web", "owner": "alice", "held": true },
        { "address": "10.9.0.2/24", "owner": "bob", "port": "shop-eth0", "held": false },
    ]);
    let table = "\
ADDRESS      NETWORK  OWNER  PORT       KEPT
10.1.0.2/24  web      alice  -          until released
10.9.0.2/24  -        bob    shop-eth0  with its port
";
    assert_eq!(shown("vswitchctl ipam list", leases.clone()), table);
    let pool =
        json!({ "subnet": "10.9.0.0/24", "gateway": "10.9.0.1", "addresses": 254, "leases": 0 });
    let unused = |pools: Value| json!({ "leases": leases, "pools": pools });
    assert_eq!(shown("vswitchctl ipam audit", unused(json!([]))), table);
    let kept = "KEPT SUBNET  GATEWAY   GIVEN OUT\n10.9.0.0/24  10.9.0.1          0\n";
    assert_eq!(shown("vswitchctl ipam audit", unused(json!([pool]))), format!("{table}{kept}"));
    let requested = json!({ "changed": true, "leases": leases });
    assert_eq!(shown("vswitchctl ipam request web --owner alice", requested), table);
    let connected = json!({ "changed": false, "port": "shop-eth0", "endpoint": endpoint() });
    let line = shown("vswitchctl attach shop --network web", connected);
    assert_eq!(line, "shop-eth0 10.1.0.100/24 (unchanged)\n");
    let created = json!({ "changed": true, "network": network() });
    assert_eq!(shown("vswitchctl network create web", created), "web 10.1.0.0/24\n");
    let freed = json!({ "changed": true, "removed": 2 });
    assert_eq!(shown("vswitchctl ipam audit --free", freed), "2 removed\n");
    let pool =
        json!({ "subnet": "10.9.0.0/24", "gateway": "10.9.0.1", "addresses": 254, "leases": 0 });
    let kept = json!({ "changed": true, "pool": pool });
    let line = "10.9.0.0/24, gateway 10.9.0.1, 0 given out\n";
    assert_eq!(shown("vswitchctl ipam keep", kept), line);
}
