//! The command line: what it understands, what it asks for, what it says about itself.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use ctl::wire::{Envelope, request_line};
use ctl::{ClientError, ErrorCode};
use serde_json::{Value, json};

use super::aliases::{ALIASES, translate};
use super::args::{Arguments, Color};
use super::requests;

mod network;
mod service;

fn parse(line: &str) -> Result<Arguments, clap::Error> {
    Arguments::try_parse_from(translate(words(line)))
}

/// The words of a shell's command line, up to where its input and output are redirected: what is in single
/// quotes is one word.
fn words(line: &str) -> Vec<OsString> {
    let mut words = Vec::new();
    for (number, part) in line.split('\'').enumerate() {
        let is_quoted = number % 2 == 1;
        if is_quoted {
            words.push(OsString::from(part));
            continue;
        }
        let command = part.split(['|', '<', '>']).next().unwrap();
        words.extend(command.split_whitespace().map(OsString::from));
        if command.len() < part.len() {
            break;
        }
    }
    words
}

/// What a command line asks of the daemon: operation and arguments.
fn asks(line: &str) -> (String, Value) {
    let arguments = parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    let request = requests::of(&arguments.command).unwrap();
    let line = request_line(&Envelope { id: 1, request }).unwrap();
    let mut request: Value = serde_json::from_slice(&line).unwrap();
    (request["op"].as_str().unwrap().to_owned(), request["args"].take())
}

/// A command and everything below it, with its names.
fn commands(name: &str, command: &clap::Command) -> Vec<(String, clap::Command)> {
    let below = command
        .get_subcommands()
        .flat_map(|sub| commands(&format!("{name} {}", sub.get_name()), sub));
    std::iter::once((name.to_owned(), command.clone())).chain(below).collect()
}

#[test]
fn the_definition_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn every_command_shows_examples_and_they_are_valid() {
    for (name, command) in commands("vswitchctl", &super::examples::illustrated()) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples: Vec<_> =
            help.lines().map(str::trim).filter(|line| line.starts_with("vswitchctl ")).collect();
        assert!(!examples.is_empty(), "`{name}` shows no example");
        for example in examples {
            parse(example).unwrap_or_else(|error| panic!("{example}: {error}"));
        }
    }
}

#[test]
fn every_command_and_option_is_explained() {
    for (name, command) in commands("vswitchctl", &Arguments::command()) {
        assert!(command.get_about().is_some(), "`{name}` is not explained");
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{} of `{name}`", argument.get_id());
        }
    }
}

#[test]
fn the_help_lists_the_exit_code_of_every_error() {
    let help = Arguments::command().render_help().to_string();
    let listed = [
        (ErrorCode::Internal, "1 internal error"),
        (ErrorCode::Invalid, "2 bad request"),
        (ErrorCode::TooLarge, "2 bad request"),
        (ErrorCode::Version, "2 bad request"),
        (ErrorCode::NotFound, "3 does not exist"),
        (ErrorCode::Exists, "4 exists already or is in use"),
        (ErrorCode::InUse, "4 exists already or is in use"),
        (ErrorCode::Host, "5 the kernel refused"),
        (ErrorCode::Denied, "7 not permitted"),
        (ErrorCode::Unavailable, "8 nothing is free, or vswitchd cannot serve it now"),
    ];
    for (code, text) in listed {
        assert!(text.starts_with(&code.exit_code().to_string()), "{code:?}");
        assert!(help.contains(text), "{text}");
    }
    let silent = ClientError::Silent { patience: Duration::ZERO };
    assert_eq!(silent.exit_code(), 6);
    assert!(help.contains("6 vswitchd is not reachable"));
}

/// That each command line asks for this operation, with these arguments.
fn each_asks(cases: &[(&str, &str, Value)]) {
    for (line, op, args) in cases {
        assert_eq!(asks(&format!("vswitchctl {line}")), ((*op).to_owned(), args.clone()), "{line}");
    }
}

#[test]
fn each_command_asks_for_what_it_says() {
    let tap = json!({ "netns": "web", "ifname": "eth0", "ips": ["10.0.0.2/24", "fd00::2/64"],
                      "gateways": ["10.0.0.1"], "mac": "02:00:00:00:00:01", "queues": 2 });
    let netdev = json!({ "device": "eth1", "netns": "web", "mode": "xdp" });
    let trunk = json!({ "trunk": { "allowed": "1-2,10", "native": 1 } });
    let cases = [
        ("bridge list", "bridge.list", Value::Null),
        ("bridge show br0", "bridge.show", json!({ "name": "br0" })),
        ("bridge add br0", "bridge.add", json!({ "name": "br0" })),
        (
            "bridge add br0 --ageing 60 --mac-limit 5 --mtu 9000 --may-exist",
            "bridge.add",
            json!({ "name": "br0", "ageing_seconds": 60, "mac_limit": 5, "mtu": 9000,
                    "may_exist": true }),
        ),
        ("bridge set br0 --mtu 1400", "bridge.set", json!({ "name": "br0", "mtu": 1400 })),
        ("bridge del br0 --if-exists", "bridge.del", json!({ "name": "br0", "if_exists": true })),
        ("port list", "port.list", json!({})),
        ("list-ports br0", "port.list", json!({ "bridge": "br0" })),
        ("dump-flows", "flow.list", json!({ "limit": 1000 })),
        ("port show p0", "port.show", json!({ "name": "p0" })),
        ("port del p0", "port.del", json!({ "name": "p0" })),
        (
            "port add p0 --bridge br0 --tap --netns web --ip 10.0.0.2/24 --ip fd00::2/64 \
             --gateway 10.0.0.1 --mac 02:00:00:00:00:01 --queues 2 --isolated --hairpin \
             --mac-limit 5 --mtu 1400 --access 10",
            "port.add",
            json!({ "name": "p0", "port": { "bridge": "br0", "kind": { "tap": tap },
                    "vlan": { "access": 10 }, "isolated": true, "hairpin": true, "mac_limit": 5,
                    "mtu": 1400 } }),
        ),
        (
            "port add p0 --bridge br0 --netdev eth1 --netns web --mode xdp --trunk 1,2,10 --native 1",
            "port.add",
            json!({ "name": "p0",
                    "port": { "bridge": "br0", "kind": { "netdev": netdev }, "vlan": trunk } }),
        ),
        (
            "port add up0 --netdev eth0 --shared",
            "port.add",
            json!({ "name": "up0", "port": { "bridge": "up0", "shared": true,
                    "kind": { "netdev": { "device": "eth0", "mode": "auto" } } } }),
        ),
        (
            "port set p0 --isolated false --mtu 1400",
            "port.set",
            json!({ "name": "p0", "isolated": false, "mtu": 1400 }),
        ),
        (
            "port set p0 --mtu bridge --mac-limit bridge",
            "port.set",
            json!({ "name": "p0", "mtu": null, "mac_limit": null }),
        ),
        ("port move p0 --worker 1", "port.move", json!({ "name": "p0", "worker": 1 })),
        ("port set p0 --no-vlans", "port.set", json!({ "name": "p0", "vlan": "unaware" })),
        (
            "attach web --network shop --ip 10.1.0.7 --alias db",
            "network.connect",
            json!({ "network": "shop", "netns": "web", "ifname": "eth0", "ips": ["10.1.0.7"],
                    "aliases": ["db"] }),
        ),
        (
            "attach web --bridge br0 --ip 10.0.0.2/24 --trunk 5",
            "attach",
            json!({ "netns": "web", "bridge": "br0", "ifname": "eth0", "ips": ["10.0.0.2/24"],
                    "vlan": { "trunk": { "allowed": "5" } } }),
        ),
        ("detach 4711 --ifname net1", "detach", json!({ "netns": "4711", "ifname": "net1" })),
        ("fdb show", "fdb.show", json!({})),
        (
            "fdb flush br0 --port p0 --vlan 10",
            "fdb.flush",
            json!({ "bridge": "br0", "port": "p0", "vlan": 10 }),
        ),
        (
            "fdb add br0 02:00:00:00:00:01 --port p0",
            "fdb.add",
            json!({ "bridge": "br0", "station": { "mac": "02:00:00:00:00:01", "port": "p0" } }),
        ),
        (
            "fdb del br0 02:00:00:00:00:01 --vlan 10",
            "fdb.del",
            json!({ "bridge": "br0", "mac": "02:00:00:00:00:01", "vlan": 10 }),
        ),
        (
            "add-port br0 veth0",
            "port.add",
            json!({ "name": "veth0", "port": { "bridge": "br0",
                    "kind": { "netdev": { "device": "veth0", "mode": "auto" } } } }),
        ),
        (
            "port set p0 --ingress-rate 50mbit --ingress-burst 1000000",
            "port.set",
            json!({ "name": "p0", "ingress": { "rate": "50mbit", "burst_bytes": 1_000_000 } }),
        ),
        (
            "port set p0 --guard true --egress-rate 100mbit --egress-queue 262144",
            "port.set",
            json!({ "name": "p0", "guard": true,
                    "egress": { "rate": "100mbit", "queue_bytes": 262_144 } }),
        ),
        ("port set p0 --egress-rate none", "port.set", json!({ "name": "p0", "egress": null })),
        (
            "fdb add br0 02:00:00:00:00:01 --port vx0 --vtep 192.0.2.2",
            "fdb.add",
            json!({ "bridge": "br0", "station": { "mac": "02:00:00:00:00:01", "port": "vx0",
                    "vtep": "192.0.2.2" } }),
        ),
        ("stats", "stats", json!({})),
        ("stats web0 vx0", "stats", json!({ "ports": ["web0", "vx0"] })),
        ("drops web0", "drops", json!({ "ports": ["web0"] })),
        ("drops", "drops", json!({})),
        ("perf", "perf", Value::Null),
        ("status", "status", Value::Null),
        ("version", "version", Value::Null),
    ];
    each_asks(&cases);
}

#[test]
fn a_router_is_asked_for_as_it_is_typed() {
    let cases = [
        (
            "bridge add br0 --gateway 10.0.0.1/24 --gateway fd00::1/64 --advertise --proxy 10.0.7.0/24",
            "bridge.add",
            json!({ "name": "br0", "gateways": ["10.0.0.1/24", "fd00::1/64"],
                    "advertise": { "interval_seconds": 600, "lifetime_seconds": 1800,
                                   "autonomous": true },
                    "proxy": ["10.0.7.0/24"] }),
        ),
        (
            "bridge set br0 --advertise=interval=60,lifetime=0,managed,dns=fd00::53",
            "bridge.set",
            json!({ "name": "br0", "advertise": { "interval_seconds": 60, "lifetime_seconds": 0,
                    "autonomous": true, "managed": true, "dns": ["fd00::53"] } }),
        ),
        (
            "bridge set br0 --no-gateway --gateway-mac auto --no-advertise --no-proxy",
            "bridge.set",
            json!({ "name": "br0", "gateways": [], "gateway_mac": null, "advertise": null,
                    "proxy": [] }),
        ),
        (
            "route add default --on up --via 192.0.2.254,192.0.2.253",
            "route.add",
            json!({ "to": "default", "on": "up", "via": ["192.0.2.254", "192.0.2.253"] }),
        ),
        (
            "route del 10.9.0.0/16 --on up --if-exists",
            "route.del",
            json!({ "to": "10.9.0.0/16", "on": "up", "if_exists": true }),
        ),
        ("route list", "route.list", Value::Null),
        ("route allow br0 br1", "route.allow", json!({ "from": "br0", "to": "br1" })),
        ("route deny br0 br1", "route.deny", json!({ "from": "br0", "to": "br1" })),
        ("neighbor show br0", "neighbor.show", json!({ "bridge": "br0" })),
        ("neighbour flush --ip 10.0.0.2", "neighbor.flush", json!({ "ip": "10.0.0.2" })),
        (
            "neighbor add br0 10.0.0.2 02:00:00:00:00:01",
            "neighbor.add",
            json!({ "bridge": "br0",
                    "neighbor": { "ip": "10.0.0.2", "mac": "02:00:00:00:00:01" } }),
        ),
        ("neighbor del br0 10.0.0.2", "neighbor.del", json!({ "bridge": "br0", "ip": "10.0.0.2" })),
        (
            "vxlan add vx0 --bridge br0 --vni 7 --local 192.0.2.1 --via up",
            "vxlan.add",
            json!({ "name": "vx0", "vxlan": { "bridge": "br0", "vni": 7, "local": "192.0.2.1", "via": "up",
                    "dstport": 4789, "ttl": 64, "tos": "0", "learning": true, "underlay_mtu": 1500 } }),
        ),
        (
            "vxlan add vx0 --bridge br0 --vni 7 --local 192.0.2.1 --remote 192.0.2.2 --tos inherit \
             --no-learning",
            "vxlan.add",
            json!({ "name": "vx0", "vxlan": { "bridge": "br0", "vni": 7, "local": "192.0.2.1",
                    "remotes": ["192.0.2.2"], "dstport": 4789, "ttl": 64, "tos": "inherit",
                    "learning": false, "underlay_mtu": 1500 } }),
        ),
        (
            "vxlan set vx0 --no-remotes --ttl 3",
            "vxlan.set",
            json!({ "name": "vx0", "remotes": [], "ttl": 3 }),
        ),
        ("vxlan del vx0", "vxlan.del", json!({ "name": "vx0" })),
        ("vxlan list", "vxlan.list", Value::Null),
        ("vxlan show vx0", "vxlan.show", json!({ "name": "vx0" })),
    ];
    each_asks(&cases);
}

#[test]
fn translation_and_sessions_are_asked_for_as_they_are_typed() {
    let cases = [
        (
            "nat masquerade add --from br0 --to up",
            "nat.add",
            json!({ "rule": { "masquerade": { "from": "br0", "to": "up",
                    "ports": "1024-65535" } } }),
        ),
        (
            "nat masquerade add web --from br0 --to up --addresses 192.0.2.7-192.0.2.9 --ipv6 \
             --ports 20000-60000 --filtering endpoint-independent --port-quota 5 --session-quota 6",
            "nat.add",
            json!({ "name": "web", "rule": { "masquerade": { "from": "br0", "to": "up",
                    "addresses": "192.0.2.7-192.0.2.9", "ports": "20000-60000", "ipv6": true,
                    "filtering": "endpoint-independent", "port_quota": 5, "session_quota": 6 } } }),
        ),
        (
            "nat publish add 8080:10.0.0.2:80/tcp --on up",
            "nat.add",
            json!({ "rule": { "publish": { "on": "up", "forward": "8080:10.0.0.2:80/tcp" } } }),
        ),
        (
            "nat prefix add fd00:1::/48 2001:db8:1::/48 --from br0 --to up --name six",
            "nat.add",
            json!({ "name": "six", "rule": { "prefix": { "from": "br0", "to": "up",
                    "inside": "fd00:1::/48", "outside": "2001:db8:1::/48" } } }),
        ),
        ("nat list", "nat.list", Value::Null),
        ("nat del web --if-exists", "nat.del", json!({ "name": "web", "if_exists": true })),
        ("nat timeouts show", "nat.settings", Value::Null),
        (
            "nat timeouts set udp=300 tcp-established=7440 udp=200",
            "nat.set",
            json!({ "timeouts": { "udp": 200, "tcp-established": 7440 } }),
        ),
        ("nat set --window-checks false", "nat.set", json!({ "window_checks": false })),
        ("conn list", "conn.list", json!({ "filter": {}, "limit": 1000 })),
        (
            "conn list --from 10.0.0.2 --to 10.1.0.0/24 --port 80 --proto tcp --bridge br0 \
             --state established --limit 7 --after 99",
            "conn.list",
            json!({ "filter": { "from": "10.0.0.2/32", "to": "10.1.0.0/24", "port": 80,
                    "protocol": "tcp", "bridge": "br0", "state": "established" },
                    "limit": 7, "after": 99 }),
        ),
        (
            "conn show 'udp [fd00::2]:4000 > [fd00::3]:53' --bridge br0",
            "conn.show",
            json!({ "tuple": "udp [fd00::2]:4000 > [fd00::3]:53", "bridge": "br0" }),
        ),
        ("conn flush --all", "conn.flush", json!({})),
        ("conn flush --proto icmp", "conn.flush", json!({ "protocol": "icmp" })),
        (
            "conn top --by bytes --limit 3",
            "conn.top",
            json!({ "filter": {}, "by": "bytes", "limit": 3 }),
        ),
        (
            "flow add 100 in_port=web0,tcp,dport={22,80-90} limit:1000pps,allow idle_timeout=60",
            "flow.add",
            json!({ "priority": 100, "match": "in_port=web0,tcp,dport={22,80-90}",
                    "actions": "limit:1000pps,allow", "idle_timeout": 60 }),
        ),
        (
            "flow add priority=7,tcp,tp_dst=80,actions=drop",
            "flow.add",
            json!({ "priority": 7, "match": "tcp,dport=80", "actions": "drop" }),
        ),
        ("flow del 17", "flow.del", json!({ "id": 17 })),
        ("flow del tcp,dport=80", "flow.del", json!({ "match": "tcp,dport=80" })),
        ("flow list --limit 5 --after 17", "flow.list", json!({ "limit": 5, "after": 17 })),
        ("flow replace /dev/null", "flow.replace", json!({ "rules": [] })),
        (
            "trace p0 --like 'tcp 10.0.0.2:4000 > 10.1.0.3:80 len=9' --live 3",
            "trace",
            json!({ "port": "p0", "live": 3,
                    "packet": { "like": "tcp 10.0.0.2:4000 > 10.1.0.3:80 len=9" } }),
        ),
        (
            "trace p0 FFffffffffff0200000000010806",
            "trace",
            json!({ "port": "p0", "packet": { "bytes": "ffffffffffff0200000000010806" } }),
        ),
        (
            "why web-eth0 10.1.0.3 tcp 80",
            "why",
            json!({ "from": "web-eth0", "to": "10.1.0.3", "protocol": "tcp", "port": 80 }),
        ),
        ("why a b", "why", json!({ "from": "a", "to": "b", "protocol": "icmp" })),
        (
            "trace p0 --like 'icmp 10.0.0.2 > 10.1.0.3' --live --patience 5",
            "trace",
            json!({ "port": "p0", "live": 1, "patience": 5,
                    "packet": { "like": "icmp 10.0.0.2:0 > 10.1.0.3:0" } }),
        ),
        ("capture -w x", "capture", json!({})),
        (
            "capture p0 vx0 --filter in_port=p0,tcp,dport=80 --drops -c 9 -s 96 -w -",
            "capture",
            json!({ "ports": ["p0", "vx0"], "filter": "in_port=p0,tcp,dport=80", "drops": true,
                    "count": 9, "snaplen": 96 }),
        ),
    ];
    each_asks(&cases);
}

#[test]
fn what_makes_no_sense_is_refused_before_anybody_is_asked() {
    use ErrorKind::{ArgumentConflict, MissingRequiredArgument, ValueValidation};
    let cases = [
        ("bridge add b/r", ValueValidation),
        ("bridge add br0 --mtu 67", ValueValidation),
        ("bridge set br0", MissingRequiredArgument),
        ("port set p0", MissingRequiredArgument),
        ("port set p0 --access 10 --no-vlans", ArgumentConflict),
        ("port add p0 --tap", MissingRequiredArgument),
        ("port add p0 --bridge br0", MissingRequiredArgument),
        ("port add p0 --bridge br0 --tap --netdev eth1", ArgumentConflict),
        ("port add p0 --bridge br0 --tap --mode xdp", ArgumentConflict),
        ("port add p0 --bridge br0 --netdev eth1 --ip 10.0.0.2/24", ArgumentConflict),
        ("port add p0 --bridge br0 --netdev eth1 --queues 2", ArgumentConflict),
        ("port add p0 --bridge br0 --tap --native 1", MissingRequiredArgument),
        ("port add p0 --bridge br0 --tap --access 1 --trunk 2", ArgumentConflict),
        ("port add p0 --bridge br0 --tap --access 4095", ValueValidation),
        ("attach web", MissingRequiredArgument),
        ("attach a/b --bridge br0", ValueValidation),
        ("attach web --bridge br0 --ip 10.0.0", ValueValidation),
        ("attach web --bridge br0 --network shop", ArgumentConflict),
        ("attach web --network shop --access 5", ArgumentConflict),
        ("attach web --bridge br0 --alias db", ArgumentConflict),
        ("network create web --local 192.0.2.1", MissingRequiredArgument),
        ("network create web --remote 192.0.2.2", MissingRequiredArgument),
        ("network create web --gateway 10.0.0.1 --no-gateway", ArgumentConflict),
        ("network create web --label note", ValueValidation),
        ("network set web", MissingRequiredArgument),
        ("ipam release web", MissingRequiredArgument),
        ("bridge set br0 --gateway 10.0.0.0/24", ValueValidation),
        ("bridge set br0 --gateway 10.0.0.1/24 --no-gateway", ArgumentConflict),
        ("bridge set br0 --advertise --no-advertise", ArgumentConflict),
        ("port set p0 --egress-queue 262144", MissingRequiredArgument),
        ("port set p0 --egress-rate fast", ValueValidation),
        ("port add p0 --bridge br0 --netdev eth1 --guard", ArgumentConflict),
        ("route add default --on up", MissingRequiredArgument),
        ("route add 10.0.0.1/24 --on up --via 192.0.2.1", ValueValidation),
        ("vxlan add vx0 --bridge br0 --vni 16777216 --local 192.0.2.1", ValueValidation),
        ("vxlan add vx0 --bridge br0 --vni 1 --local 192.0.2.1 --tos 3", ValueValidation),
        ("vxlan set vx0", MissingRequiredArgument),
        ("nat publish add 80:10.0.0.2/icmp --on up", ValueValidation),
        ("nat publish add 80:10.0.0.2/tcp", MissingRequiredArgument),
        ("nat timeouts set tcp=5", ValueValidation),
        ("nat timeouts set", MissingRequiredArgument),
        ("conn flush", MissingRequiredArgument),
        ("conn flush --all --port 80", ArgumentConflict),
        ("conn list --limit 0", ValueValidation),
        ("conn show 'tcp 10.0.0.2 > 10.1.0.3'", ValueValidation),
        ("trace p0", MissingRequiredArgument),
        ("trace p0 ffff", ValueValidation),
        ("why a", MissingRequiredArgument),
        ("trace p0 ffffffffffff0200000000010806 --live 3", ArgumentConflict),
        ("capture p0", MissingRequiredArgument),
        ("capture -c 0 -w x", ValueValidation),
        ("capture --filter dport=80 -w x", ValueValidation),
    ];
    for (line, kind) in cases {
        let error = parse(&format!("vswitchctl {line}")).expect_err(line);
        assert_eq!((error.kind(), error.exit_code()), (kind, 2), "{line}: {error}");
    }
}

#[test]
fn who_attaches_to_nothing_hears_of_bridges_and_networks() {
    let error = parse("vswitchctl attach web").unwrap_err().to_string();
    assert!(error.contains("--bridge <BRIDGE>|--network <NETWORK>"), "{error}");
}

#[test]
fn a_rule_that_is_not_understood_is_refused_before_anybody_is_asked() {
    let refused = |line: &str| {
        let arguments = parse(line).unwrap();
        requests::of(&arguments.command).expect_err(line).to_string()
    };
    let rule = refused("vswitchctl flow add 100 tcp,dpotr=80 allow");
    assert!(rule.contains("\"dpotr=80\" at character 9"), "{rule}");
    let file = refused("vswitchctl flow replace /no/such/file");
    assert!(file.contains("cannot read /no/such/file"), "{file}");
}

/// The commands that have one of these names, with all names of each.
fn called(wanted: &[&str]) -> Vec<(String, Vec<String>)> {
    let all = commands("", &Arguments::command()).into_iter().map(|(place, command)| {
        let names = std::iter::once(command.get_name()).chain(command.get_all_aliases());
        (place, names.map(str::to_owned).collect::<Vec<_>>())
    });
    all.filter(|(_, names)| names.iter().any(|name| wanted.contains(&name.as_str()))).collect()
}

#[test]
fn a_word_that_works_somewhere_works_everywhere() {
    let families: [&[&str]; 2] = [&["del", "rm", "delete", "remove"], &["list", "ls"]];
    for family in families {
        let places = called(family);
        assert!(places.len() >= 10, "{places:?}");
        for (place, names) in places {
            let has_all = family.iter().all(|name| names.iter().any(|own| own == name));
            assert!(has_all, "{place}: {names:?}");
        }
    }
}

#[test]
fn the_obvious_word_leads_to_what_is_meant() {
    let nat = json!({ "name": "up-8080-tcp" });
    each_asks(&[
        ("nat publish del up-8080-tcp", "nat.del", nat.clone()),
        ("nat masquerade rm up-8080-tcp", "nat.del", nat.clone()),
        (
            "nat prefix delete up-8080-tcp --if-exists",
            "nat.del",
            json!({ "name": "up-8080-tcp", "if_exists": true }),
        ),
        ("nat remove up-8080-tcp", "nat.del", nat),
        ("nat publish list", "nat.list", Value::Null),
        ("nat masquerade ls", "nat.list", Value::Null),
        ("nat prefix list", "nat.list", Value::Null),
        ("route disallow br0 br1", "route.deny", json!({ "from": "br0", "to": "br1" })),
        ("network delete web", "network.rm", json!({ "name": "web" })),
        ("network rm web --force", "network.rm", json!({ "name": "web", "force": true })),
        ("conn ls", "conn.list", json!({ "filter": {}, "limit": 1000 })),
    ]);
}

#[test]
fn every_alias_is_a_command() {
    let places = commands("", &Arguments::command());
    for (alias, names) in ALIASES {
        let name = format!(" {}", names.join(" "));
        assert!(places.iter().any(|(place, _)| *place == name), "{alias} means {name}");
        let words = ["vswitchctl", "--socket", alias, "--json", alias, "x"].map(OsString::from);
        let translated = translate(words.to_vec());
        assert_eq!(translated[..4], words[..4], "{alias}");
        assert_eq!(translated[4..], [names, &["x"]].concat(), "{alias}");
    }
}

#[test]
fn an_alias_is_one_in_the_place_of_the_command_only() {
    let kept = ["vswitchctl", "port", "show", "list-br"].map(OsString::from).to_vec();
    assert_eq!(translate(kept.clone()), kept);
    for words in [vec![], vec![OsString::from("vswitchctl")]] {
        assert_eq!(translate(words.clone()), words);
    }
    for alias in ["pmd-perf-show", "show", "addif br0 veth0", "fdb/show br0 --port p0"] {
        parse(&format!("vswitchctl {alias}")).unwrap();
    }
}

#[test]
fn colours_are_for_terminals_unless_one_insists() {
    let set = Some(OsStr::new("1"));
    assert!(Color::Auto.applies(true, None));
    assert!(Color::Auto.applies(true, Some(OsStr::new(""))));
    assert!(!Color::Auto.applies(true, set));
    assert!(!Color::Auto.applies(false, None));
    assert!(Color::Always.applies(false, set));
    assert!(!Color::Never.applies(true, None));
}
