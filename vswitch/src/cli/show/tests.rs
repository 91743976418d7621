//! What people see, whole.

use clap::Parser;
use serde_json::{Value, json};

use super::super::args::Arguments;
use super::super::table::Style;
use super::text;

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
BRIDGE  PORTS  STATIONS  LIMIT  AGEING S   MTU
br0         2         2   8192       300  1500
";
    assert_eq!(shown("vswitchctl bridge list", json!([bridge()])), expected);
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
PORT      BRIDGE  STATE    MODE  INTERFACE  MAC                 MTU  VLAN
up0       br0     waiting  -     eth1       -                  9000  trunk 10-20 native 1
web-eth0  br0     up       tap   web:eth0   02:00:00:00:00:01  1500  access 10
";
    assert_eq!(shown("vswitchctl port list", json!([waiting(), attached()])), expected);
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
    ]);
    let expected = "\
BRIDGE  VLAN  MAC                PORT   AGE S
br0     -     02:00:00:00:00:01  p0        12
br0     10    02:00:00:00:00:02  up0   static
";
    assert_eq!(shown("vswitchctl fdb show", answer), expected);
}

fn counters(port: Option<&str>) -> Value {
    let mut counters = json!({ "received": 1000, "received_bytes": 64000, "forwarded": 998,
        "copies": 0, "dropped_in": 2, "offered": 7, "transmitted": 7, "transmitted_bytes": 700,
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
PORT      RX     BYTES  FORWARDED  DROPPED  TX  BYTES  DROPPED  MISSED
p0     1 000  62.5 KiB        998        2   7  700 B        0       1
(all)  1 000  62.5 KiB        998        2   7  700 B        0       1
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
        "problems": ["port up0: gone\r\n"] });
    let expected = "\
vswitchd  0.1.0, process 42
up for    1 h 1 min
workers   2 on cores 1 2, adaptive
bridges   1
ports     2 up, 1 waiting
state     /var/lib/vswitch
every frame is accounted for
problem: port up0: gone\\r\\n
";
    assert_eq!(shown("vswitchctl status", answer), expected);
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
