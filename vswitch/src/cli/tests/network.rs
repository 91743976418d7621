//! Networks and addresses, as typed.

use serde_json::{Value, json};

use super::{each_asks, parse, requests};

#[test]
fn commands_about_networks_ask_for_what_they_say() {
    let plain = json!({ "masquerade": true, "mtu": 1500, "dns": true });
    let vxlan = json!({ "vni": 7, "local": "192.0.2.1", "remotes": ["192.0.2.2"] });
    let settings = json!({ "internal": true, "isolated": true, "masquerade": false, "mtu": 1400,
                           "vxlan": vxlan, "dns": false, "dhcp": true, "resolvers": ["192.0.2.53"],
                           "labels": { "a": "b=c" } });
    each_asks(&[
        ("network list", "network.list", Value::Null),
        ("network inspect web", "network.inspect", json!({ "name": "web" })),
        ("network create web", "network.create", json!({ "name": "web", "settings": plain })),
        (
            "network create web --subnet 10.1.0.0/24 --ipv6 --gateway 10.1.0.9 --ip-range 10.1.0.128/25 \
             --reserve 10.1.0.200 --internal --isolated --no-masquerade --mtu 1400 --vni 7 \
             --local 192.0.2.1 --remote 192.0.2.2 --no-dns --dhcp --resolver 192.0.2.53 --label a=b=c --avoid 10.0.0.0/8",
            "network.create",
            json!({ "name": "web", "settings": settings, "subnets": ["10.1.0.0/24"], "ipv6": true,
                    "gateways": ["10.1.0.9"], "ranges": ["10.1.0.128-10.1.0.255"],
                    "reserved": ["10.1.0.200"], "avoid": ["10.0.0.0/8"] }),
        ),
        (
            "network create web --vni 7",
            "network.create",
            json!({ "name": "web", "settings": { "vxlan": { "vni": 7 }, "masquerade": true, "mtu": 1500, "dns": true } }),
        ),
        ("network rm web --if-exists", "network.rm", json!({ "name": "web", "if_exists": true })),
        (
            "network set web --internal true --no-remotes --dns true --no-resolvers --dhcp false --label a=",
            "network.set",
            json!({ "name": "web", "internal": true, "remotes": [], "dns": true, "resolvers": [], "dhcp": false,
                    "labels": { "a": "" } }),
        ),
        (
            "network connect web 4711 --ifname eth1 --ip 10.1.0.7 --owner x/eth1 --no-default-route --dhcp",
            "network.connect",
            json!({ "network": "web", "netns": "4711", "ifname": "eth1", "ips": ["10.1.0.7"],
                    "owner": "x/eth1", "no_default_route": true, "dhcp": true }),
        ),
        (
            "network disconnect web shop",
            "network.disconnect",
            json!({ "network": "web", "netns": "shop" }),
        ),
        ("ipam list web", "ipam.list", json!({ "network": "web" })),
        ("ipam audit", "ipam.audit", json!({})),
        ("ipam audit --subnet 10.1.0.0/24 --free", "ipam.free", json!({ "subnet": "10.1.0.0/24" })),
        (
            "ipam request web --owner alice --ip 10.1.0.9",
            "ipam.request",
            json!({ "owner": "alice", "network": "web", "ip": "10.1.0.9" }),
        ),
        ("ipam release --owner alice", "ipam.release", json!({ "owner": "alice" })),
        (
            "ipam keep 10.9.0.0/24 --gateway 10.9.0.9",
            "pool.add",
            json!({ "subnet": "10.9.0.0/24", "gateway": "10.9.0.9" }),
        ),
        ("ipam drop 10.9.0.0/24", "pool.del", json!({ "name": "10.9.0.0/24" })),
    ]);
}

#[test]
fn an_address_is_written_as_its_place_asks_for() {
    let refused = |line: &str| requests::of(&parse(line).unwrap().command).unwrap_err().to_string();
    let said = refused("vswitchctl attach web --bridge br0 --ip 10.0.0.2");
    assert!(said.contains("10.0.0.2/24, or use --network"), "{said}");
    let said = refused("vswitchctl attach web --network shop --ip 10.0.0.2/24");
    assert!(said.starts_with("write 10.0.0.2, not 10.0.0.2/24"), "{said}");
}

#[test]
fn a_label_has_one_text() {
    for line in ["create web", "set web"] {
        let line = format!("vswitchctl network {line} --label a=b --label a=c");
        let said = requests::of(&parse(&line).unwrap().command).unwrap_err().to_string();
        assert!(said.starts_with("label a is given twice"), "{said}");
    }
}
