//! What people see, whole.

use clap::Parser;
use serde_json::{Value, json};

use super::super::args::Arguments;
use super::super::table::Style;
use super::text;

mod network;
mod service;

/// What a command shows of an answer.
fn shown(line: &str, answer: Value) -> String {
    let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
    text(&arguments.command, answer, Style { color: false }).unwrap()
}

fn bridge() -> Value {
    json!({ "name": "br0", "settings": { "ageing_seconds": 300, "mac_limit": 8192, "mtu": 1500 },
            "ports": ["up0", "web-eth0"], "stations": 2, "learned": 1234, "moved": 5, "expired": 6,
            "refused": 0 })
}

fn attached() -> Value {
    json!({ "name": "web-eth0", "state": "up", "mtu": 1500,
            "settings": { "bridge": "br0", "vlan": { "access": 10 }, "isolated": true,
                "mac_limit": 5, "kind": { "tap": { "netns": "web", "ips": ["10.0.0.2/24"],
                "gateways": ["10.0.0.1"] } } },
            "device": { "mode": "tap", "index": 2, "mac": "02:00:00:00:00:01",
                "offloads": ["checksum", "tcp4-segmentation"],
                "queues": [{ "queue": 0, "worker": 1, "core": 3 }],
                "notes": ["a note\n\u{1b}[2J"] } })
}

fn waiting() -> Value {
    json!({ "name": "up0", "state": { "waiting": "there is no interface eth1" }, "mtu": 9000,
            "settings": { "bridge": "br0", "kind": { "netdev": { "device": "eth1" } },
                "vlan": { "trunk": { "allowed": "10-20", "native": 1 } } } })
}

#[test]
fn bridges() {
    let expected = "\
BRIDGE  PORTS  STATIONS  LIMIT  AGEING S   MTU  GATEWAYS
br0         2         2   8192       300  1500  -
br0         2         2   8192       300  1500  10.0.0.1/24 fd00::1/64
";
    assert_eq!(shown("vswitchctl bridge list", json!([bridge(), routed()])), expected);
}

/// The bridge as an interface of the router.
fn routed() -> Value {
    let mut bridge = bridge();
    bridge["router_mac"] = "02:00:00:00:00:fe".into();
    let settings = json!({ "ageing_seconds": 300, "mac_limit": 8192, "mtu": 1500,
        "gateways": ["10.0.0.1/24", "fd00::1/64"], "advertise": { "managed": true },
        "proxy": ["10.0.7.0/24"],
        "neighbors": [{ "ip": "10.0.0.9", "mac": "02:00:00:00:00:09" }] });
    bridge["settings"] = settings;
    bridge
}

#[test]
fn what_the_router_is_on_a_bridge() {
    let expected = "\
gateway      10.0.0.1/24
gateway      fd00::1/64
gateway MAC  02:00:00:00:00:fe
advertises   interval=600,lifetime=1800,managed
answers for  10.0.7.0/24
neighbour    10.0.0.9 is 02:00:00:00:00:09
";
    let shown = shown("vswitchctl bridge show br0", routed());
    assert!(shown.ends_with(expected), "{shown}");
}

#[test]
fn routes() {
    let answer = |allowed: Value| {
        json!({ "allowed": allowed, "routes": [
            { "to": "10.0.0.0/24", "on": "br0", "kind": "connected" },
            { "to": "0.0.0.0/0", "on": "up", "kind": "static",
              "via": ["192.0.2.2", "192.0.2.3"] }] })
    };
    let expected = "\
TO           ON   KIND       VIA
10.0.0.0/24  br0  connected  -
default      up   static     192.0.2.2 192.0.2.3
br0 may reach up
";
    let one = json!([{ "from": "br0", "to": "up" }]);
    assert_eq!(shown("vswitchctl route list", answer(one)), expected);
    let none = shown("vswitchctl route list", answer(json!([])));
    assert!(none.ends_with("no bridge may reach another; see `route allow`\n"), "{none}");
}

#[test]
fn neighbours() {
    let answer = json!([
        { "bridge": "br0", "ip": "10.0.0.2", "mac": "02:00:00:00:00:01", "state": "reachable",
          "age_seconds": 3, "held": 0 },
        { "bridge": "br0", "ip": "10.0.0.3", "state": "resolving", "age_seconds": 0, "held": 7 },
    ]);
    let expected = "\
BRIDGE  IP        MAC                STATE      AGE S  HELD
br0     10.0.0.2  02:00:00:00:00:01  reachable      3     0
br0     10.0.0.3  -                  resolving      0     7
";
    assert_eq!(shown("vswitchctl neighbor show", answer), expected);
}

fn tunnel() -> Value {
    let mut vtep = counters(None);
    vtep["remote"] = "192.0.2.2".into();
    vtep["learned"] = true.into();
    vtep["stations"] = 4.into();
    json!({ "name": "vx0", "state": "up", "inner_mtu": 1450, "vteps": [vtep],
            "settings": { "bridge": "br0", "vni": 7, "local": "192.0.2.1", "tos": "inherit" } })
}

#[test]
fn tunnels() {
    let expected = "\
VXLAN  BRIDGE  STATE  VNI  LOCAL            MTU  REMOTES
vx0    br0     up       7  192.0.2.1:4789  1450  192.0.2.2
";
    assert_eq!(shown("vswitchctl vxlan list", json!([tunnel()])), expected);
    let mut sixth = tunnel();
    sixth["settings"]["local"] = "fd00::1".into();
    assert!(shown("vswitchctl vxlan list", json!([sixth])).contains(" [fd00::1]:4789 "));
}

#[test]
fn one_tunnel() {
    let expected = "\
vx0 up
  bridge    br0
  VNI       7
  local     192.0.2.1 port 4789
  MTU       1450 inside, 1500 outside
  TTL       64
  TOS       inherit
  learning  yes
HOST       KNOWN    STATIONS     RX  DROPPED  TX  DROPPED
192.0.2.2  learned         4  1 000        2   7        0
";
    assert_eq!(shown("vswitchctl vxlan show vx0", tunnel()), expected);
}

#[test]
fn rules_of_address_translation() {
    let info = |name: &str, rule: Value| {
        json!({ "name": name, "rule": rule, "sessions": 1200, "mappings": 7, "begun": 9000,
                "exhausted": 1 })
    };
    let mut published = info(
        "up-8080-tcp",
        json!({ "publish": { "on": "up",
        "forward": "8080:10.0.0.2:80/tcp" } }),
    );
    published["container_bridge"] = "br0".into();
    let answer = json!([
        info("br0-to-up", json!({ "masquerade": { "from": "br0", "to": "up" } })),
        info(
            "tight",
            json!({ "masquerade": { "from": "br0", "to": "up", "ports": "1-9",
            "addresses": "192.0.2.9", "filtering": "endpoint-independent", "port_quota": 5 } })
        ),
        published,
        info(
            "six",
            json!({ "prefix": { "from": "br0", "to": "up", "inside": "fd00:1::/48",
            "outside": "2001:db8:1::/48" } })
        ),
    ]);
    let shown = shown("vswitchctl nat list", answer);
    for part in [
        "br0-to-up    masquerade br0 to up  ",
        "tight        masquerade br0 to up as 192.0.2.9 ports 1-9 open to all 5 ports each  ",
        "up-8080-tcp  publish 8080:10.0.0.2:80/tcp on up to br0  ",
        "six          prefix fd00:1::/48 as 2001:db8:1::/48, br0 to up  ",
    ] {
        assert!(shown.contains(part), "{shown}");
    }
}

#[test]
fn timeouts() {
    let expected = "\
udp              5 min 0 s
udp-unreplied    5 min 0 s
tcp-established  2 h 4 min
tcp-opening      4 min 0 s
tcp-closing      4 min 0 s
icmp             1 min 0 s
other            10 min 0 s
window checks    off
";
    let answer = json!({ "timeouts": {}, "window_checks": false });
    assert_eq!(shown("vswitchctl nat timeouts show", answer), expected);
}

fn session() -> Value {
    json!({ "bridge": "br0", "initiator": "tcp 10.0.0.2:4000 > 192.0.2.80:80",
            "responder_bridge": "up", "responder": "tcp 192.0.2.80:80 > 192.0.2.1:4000",
            "state": "established", "tcp": "ESTABLISHED", "rule": "br0-to-up", "age_seconds": 61,
            "idle_seconds": 1, "expires_seconds": 7439,
            "sent": { "packets": 1000, "bytes": 64000 },
            "received": { "packets": 2000, "bytes": 3_000_000 } })
}

#[test]
fn sessions() {
    let mut plain = session();
    plain["responder"] = "tcp 192.0.2.80:80 > 10.0.0.2:4000".into();
    plain.as_object_mut().unwrap().remove("tcp");
    let page = json!({ "sessions": [session(), plain], "next": 77 });
    let expected = "\
BRIDGE  SESSION                            STATE        AS                              AGE S  EXPIRES S      SENT  RECEIVED
br0     tcp 10.0.0.2:4000 > 192.0.2.80:80  ESTABLISHED  192.0.2.1:4000 > 192.0.2.80:80     61       7439  62.5 KiB   2.9 MiB
br0     tcp 10.0.0.2:4000 > 192.0.2.80:80  established  -                                  61       7439  62.5 KiB   2.9 MiB
there are more: --after 77, or a higher --limit
";
    assert_eq!(shown("vswitchctl conn list", page), expected);
}

#[test]
fn no_sessions() {
    let none = shown("vswitchctl conn list", json!({ "sessions": [] }));
    let expected = "there is no such session: what is bridged belongs to one only where rules or the router need it\n";
    assert_eq!(none, expected);
}

#[test]
fn one_session() {
    let expected = "\
session     tcp 10.0.0.2:4000 > 192.0.2.80:80 on br0
answers     tcp 192.0.2.80:80 > 192.0.2.1:4000 on up
state       ESTABLISHED
nat rule    br0-to-up
age         1 min 1 s
silent for  1 s
expires in  2 h 3 min
sent        1 000 packets, 62.5 KiB
received    2 000 packets, 2.9 MiB
";
    let line = "vswitchctl conn show tcp\u{a0}10.0.0.2:4000\u{a0}>\u{a0}192.0.2.80:80";
    assert_eq!(shown(line, session()), expected);
}

#[test]
fn who_has_the_most_sessions() {
    let answer = json!([{ "bridge": "br0", "address": "10.0.0.2", "sessions": 1200,
        "mappings": 1100, "moved": { "packets": 5000, "bytes": 1024 } }]);
    let expected = "\
BRIDGE  ADDRESS   SESSIONS  MAPPINGS  PACKETS    BYTES
br0     10.0.0.2     1 200     1 100    5 000  1.0 KiB
";
    assert_eq!(shown("vswitchctl conn top", answer), expected);
}

#[test]
fn rules() {
    let answer = json!({ "next": 18, "flows": [
        { "id": 17, "rule": { "priority": 100, "match": "tcp,dport=80", "actions": "allow" },
          "packets": 1200, "bytes": 64000, "age_seconds": 90, "idle_seconds": 61 },
        { "id": 18, "rule": { "priority": 1, "match": "any", "actions": "drop", "idle_timeout": 9 },
          "packets": 0, "bytes": 0, "age_seconds": 90 }] });
    let expected = "\
ID  RULE                       PACKETS     BYTES  USED
17  100 tcp,dport=80 allow       1 200  62.5 KiB  1 min 1 s ago
18  1 any drop idle_timeout=9        0       0 B  never
there are more: --after 18, or a higher --limit
";
    assert_eq!(shown("vswitchctl flow list", answer), expected);
}

fn way() -> Value {
    json!({ "packet": "tcp 10.0.0.2:4000 > 10.1.0.3:80", "stages": [
            { "stage": "guard", "decision": "passes" },
            { "stage": "route", "decision": "to br1", "because": "10.1.0.0/24 on br1" }],
            "outcome": { "sent": { "ports": ["db-eth0"], "packet": "the same" } } })
}

#[test]
fn the_way_of_a_packet() {
    let mut lost = way();
    lost["outcome"] = json!({ "dropped": { "reason": "no-route", "explanation": "nobody knows" } });
    let expected = "\
tcp 10.0.0.2:4000 > 10.1.0.3:80
  guard  passes
  route  to br1, by 10.1.0.0/24 on br1
leaves by db-eth0: the same

tcp 10.0.0.2:4000 > 10.1.0.3:80
  guard  passes
  route  to br1, by 10.1.0.0/24 on br1
dropped, no-route: nobody knows
";
    let line = "vswitchctl trace p0 ffffffffffff0200000000010806";
    assert_eq!(shown(line, json!([way(), lost])), expected);
}

#[test]
fn why_one_reaches_another() {
    let answer = json!({ "reaches": true, "sentence": "web reaches db.", "forward": way(),
                         "back": way() });
    let text = shown("vswitchctl why a b", answer);
    let (there, back) = ("web reaches db.\n\nthere: tcp 10.0.0.2", "\nback: tcp 10.0.0.2");
    assert!(text.starts_with(there) && text.contains(back), "{text}");
}

#[test]
fn one_bridge() {
    let expected = "\
bridge       br0
ports        up0 web-eth0
MTU          1500
ageing       5 min 0 s
stations     2 of at most 8192
learned      1 234
moved        5
aged out     6
not learned  0
static       0
";
    assert_eq!(shown("vswitchctl bridge show br0", bridge()), expected);
}

#[test]
fn ports() {
    let expected = "\
PORT      BRIDGE  STATE    MODE  INTERFACE  ALIASES  MAC                 MTU  VLAN
up0       br0     waiting  -     eth1       -        -                  9000  trunk 10-20 native 1
web-eth0  br0     up       tap   web:eth0   -        02:00:00:00:00:01  1500  access 10
";
    assert_eq!(shown("vswitchctl port list", json!([waiting(), attached()])), expected);
}

#[test]
fn a_container_is_known_among_ports_by_its_aliases_and_a_mode_by_its_first_word() {
    let mut podman = attached();
    podman["aliases"] = json!(["shop", "db"]);
    podman["device"]["mode"] = "gso, shared with the host".into();
    let list = shown("vswitchctl port list", json!([podman]));
    assert!(list.contains("  gso   web:eth0   shop db  02:"), "{list}");
    let one = shown("vswitchctl port show web-eth0", podman);
    assert!(one.contains("alias      shop\n") && one.contains("alias      db\n"), "{one}");
}

#[test]
fn what_may_be_otherwise_than_meant_is_told_beside_the_answer() {
    let one = json!({ "changed": true, "port": "web-eth0", "notes": ["10.0.0.9\u{7}"] });
    assert_eq!(super::notes(&one), ["10.0.0.9\\u{7}"]);
    assert_eq!(shown("vswitchctl attach web --bridge br0", one.clone()), "web-eth0\n");
    assert_eq!(super::notes(&json!({ "changed": true, "each": [one, {}] })).len(), 1);
}

#[test]
fn one_port() {
    let expected = "\
web-eth0 up
  bridge     br0
  interface  web:eth0
  MTU        1500
  VLANs      access 10
  isolated   yes
  hairpin    no
  MAC limit  5
  address    10.0.0.2/24
  gateway    10.0.0.1
  mode       tap
  MAC        02:00:00:00:00:01
  offloads   checksum tcp4-segmentation
  queue      0 by worker 1 on core 3
  note       a note\\n\\u{1b}[2J
";
    assert_eq!(shown("vswitchctl port show web-eth0", attached()), expected);
    let waiting = shown("vswitchctl port show up0", waiting());
    assert!(waiting.starts_with("up0 waiting: there is no interface eth1\n"), "{waiting}");
}

#[test]
fn stations() {
    let answer = json!([
        { "bridge": "br0", "mac": "02:00:00:00:00:01", "port": "p0", "age_seconds": 12,
          "is_static": false },
        { "bridge": "br0", "vlan": 10, "mac": "02:00:00:00:00:02", "port": "up0",
          "age_seconds": 0, "is_static": true },
        { "bridge": "br0", "mac": "02:00:00:00:00:03", "port": "vx0", "vtep": "192.0.2.2",
          "age_seconds": 1, "is_static": false },
    ]);
    let expected = "\
BRIDGE  VLAN  MAC                PORT  VTEP        AGE S
br0     -     02:00:00:00:00:01  p0    -              12
br0     10    02:00:00:00:00:02  up0   -          static
br0     -     02:00:00:00:00:03  vx0   192.0.2.2       1
";
    assert_eq!(shown("vswitchctl fdb show", answer), expected);
}

fn counters(port: Option<&str>) -> Value {
    let mut counters = json!({ "received": 1000, "received_bytes": 64000, "forwarded": 900,
        "answered": 95, "held": 3, "copies": 0, "dropped_in": 2, "offered": 7, "transmitted": 7, "transmitted_bytes": 700,
        "dropped_out": 0, "missed": 1 });
    if let Some(port) = port {
        counters["port"] = port.into();
    }
    counters
}

#[test]
fn frames_and_bytes() {
    let answer = |discrepancy: Value| {
        json!({ "ports": [counters(Some("p0"))], "total": counters(None),
                "discrepancy": discrepancy })
    };
    let expected = "\
PORT      RX  RX BYTES  FORWARDED  ANSWERED  HELD  DROPPED  TX  TX BYTES  TX DROPPED  MISSED
p0     1 000  62.5 KiB        900        95     3        2   7     700 B           0       1
(all)  1 000  62.5 KiB        900        95     3        2   7     700 B           0       1
every frame is accounted for
";
    assert_eq!(shown("vswitchctl stats", answer(Value::Null)), expected);
    let bug = shown("vswitchctl stats", answer("p0 lost 3".into()));
    assert!(bug.ends_with("BUG: frames are missing: p0 lost 3\n"), "{bug}");
}

#[test]
fn lost_frames() {
    let answer = json!([{ "port": "p0", "side": "in", "reason": "too-long",
        "explanation": "the frame is longer than the MTU", "count": 1200,
        "last": { "milliseconds_ago": 61_000, "at": "2026-01-31T12:00:00.250Z", "frame_bytes": 1600, "summary": "a > b\u{7}",
                  "bytes": "00" } }]);
    let expected = "\
p0 in too-long: 1 200
    the frame is longer than the MTU
    last 1 min 1 s ago, at 2026-01-31T12:00:00.250Z, 1600 bytes: a > b\\u{7}
";
    assert_eq!(shown("vswitchctl drops", answer), expected);
    assert_eq!(shown("vswitchctl drops", json!([])), "no frame was dropped\n");
}

#[test]
fn what_workers_do() {
    let answer = json!([{ "worker": 0, "core": 1, "frames": 2373, "turns": 90_311,
        "empty_turns": 88_012, "cycles_per_frame": [{ "stage": "rx", "cycles": 812.5 },
        { "stage": "pipeline", "cycles": 61.0 }], "busy": 0.25, "asleep": 0.875,
        "batches": [2011, 0, 40, 0, 0, 0, 0], "sleeps": 311, "wakeups": 309, "handed_out": 3,
        "handed_in": 4 }]);
    let expected = "\
worker 0 on core 1
  frames            2 373
  cycles per frame  rx 812, pipeline 61
  bursts by size    1+: 2 011, 4+: 40
  busy while awake  25.0 %
  asleep            87.5 %
  turns             90 311, 88 012 of them empty
  sleeps            311, 309 of them ended by a frame or a message
  handed over       3, 4 taken over
";
    assert_eq!(shown("vswitchctl perf", answer), expected);
}

#[test]
fn whether_all_is_well() {
    let answer = json!({ "version": "0.1.0", "pid": 42, "uptime_seconds": 3700, "poll": "adaptive",
        "cores": [1, 2], "bridges": 1, "ports_up": 2, "ports_waiting": 1,
        "state_directory": "/var/lib/vswitch", "discrepancy": null,
        "problems": [{ "since": "2026-01-02T03:04:05Z", "text": "port up0: gone\r\n" }] });
    let expected = "\
vswitchd  0.1.0, process 42
up for    1 h 1 min
workers   2 on cores 1 2, adaptive
bridges   1
ports     2 up, 1 waiting
state     /var/lib/vswitch
every frame is accounted for
problem: port up0: gone\\r\\n (since 2026-01-02T03:04:05Z)
";
    assert_eq!(shown("vswitchctl status", answer.clone()), expected);
    let mut answer = answer;
    answer["ports_down"] = json!(3);
    assert!(shown("vswitchctl status", answer).contains("2 up, 3 down, 1 waiting"));
}

#[test]
fn versions() {
    let answer = json!({ "version": "0.1.0", "protocol": 1 });
    assert_eq!(shown("vswitchctl version", answer), "vswitchd 0.1.0, protocol 1\n");
}

#[test]
fn a_change_is_told_where_there_is_something_to_tell() {
    let cases = [
        (json!({ "changed": true, "port": "web-eth0" }), "web-eth0\n"),
        (json!({ "changed": false, "port": "web-eth0" }), "web-eth0 (unchanged)\n"),
        (json!({ "changed": true, "rule": "br0-to-up" }), "br0-to-up\n"),
        (json!({ "changed": true, "flow": 17 }), "rule 17\n"),
        (json!({ "changed": false, "flow": 17 }), "rule 17 (unchanged)\n"),
        (
            json!({ "changed": true,
                    "flows": { "added": 1, "removed": 2, "changed": 3, "kept": 4 } }),
            "1 added, 2 removed, 3 changed, 4 as they were\n",
        ),
        (json!({ "changed": true, "removed": 3 }), "3 removed\n"),
        (json!({ "changed": true }), ""),
    ];
    for (answer, expected) in cases {
        assert_eq!(shown("vswitchctl attach web --bridge br0", answer), expected);
    }
}

#[test]
fn an_answer_of_another_form_is_an_error() {
    let arguments = Arguments::try_parse_from(["vswitchctl", "status"]).unwrap();
    let style = Style { color: false };
    assert!(text(&arguments.command, json!({ "pid": "x" }), style).is_err());
}

#[test]
fn whether_one_reaches_another_in_one_sentence_first() {
    let back = json!({ "packet": "back", "stages": [],
                       "outcome": { "sent": { "ports": ["web", "db"], "packet": "it" } } });
    let answer = |back: Value| {
        let sentence = "web cannot reach db: its next hop does not answer";
        json!({ "reaches": false, "sentence": sentence, "forward": way(), "back": back })
    };
    let there = shown("vswitchctl why web db", answer(Value::Null));
    let begins = "web cannot reach db: its next hop does not answer\n\nthere: tcp 10.0.0.2:4000";
    assert!(there.starts_with(begins), "{there}");
    let both = shown("vswitchctl why web db tcp 80", answer(back));
    assert!(both.ends_with("\nback: back\nleaves by web db: it\n"), "{both}");
}
