//! Services.

use serde_json::{Value, json};

use super::shown;

fn web() -> Value {
    json!({ "name": "web", "sessions": 9, "begun": 1806,
        "service": { "listen": "10.96.0.10:80/tcp", "affinity": "client-ip:600", "node_port": 30080,
            "backends": [{ "at": "10.0.0.2:8080" }, { "at": "10.0.0.3:8080" }], "on": ["br0", "up"],
            "health": { "probe": "http:/healthz", "port": 9000 } },
        "backends": [
            { "at": "10.0.0.2:8080", "bridge": "br0", "state": "draining", "sessions": 2,
              "begun": 400, "failed": 0 },
            { "at": "10.0.0.3:8080", "bridge": "br0", "state": "up", "for_seconds": 3720,
              "fault": { "status": 503 }, "checks": "passing", "sessions": 7, "begun": 1401, "failed": 1 },
            { "at": "10.0.0.4:8080", "state": { "down": { "seconds": 4 } }, "for_seconds": 6,
              "fault": "refused", "checks": "impossible", "sessions": 0, "begun": 5, "failed": 3 },
            { "at": "10.0.0.5:8080", "bridge": "br0", "state": { "down": {} }, "for_seconds": 61,
              "fault": "not-http", "checks": "failing", "sessions": 0, "begun": 0, "failed": 0 }] })
}

#[test]
fn services() {
    let plain = json!({ "name": "dns", "sessions": 0, "begun": 0, "backends": [],
        "service": { "listen": "[fd00:96::10]:53/udp", "balance": "maglev" } });
    let expected = "\
SERVICE  ADDRESS               NODE PORT  UP      BALANCE      AFFINITY       SESSIONS  BEGUN
dns      [fd00:96::10]:53/udp          -  0 of 0  maglev       -                     0      0
web      10.96.0.10:80/tcp         30080  1 of 4  round-robin  client-ip:600         9  1 806
";
    assert_eq!(shown("vswitchctl service list", json!([plain, web()])), expected);
}

#[test]
fn one_service() {
    let expected = "\
web
  address      10.96.0.10:80/tcp
  node port    30080
  found on     br0 up
  balance      round-robin
  affinity     client-ip:600
  passes over  for 10 s after 3 failures in a row
  checks       http:/healthz at port 9000 every 5 s, within 2 s; down after 3, up after 2
BACKEND        BRIDGE  STATE           FOR        CHECKS      SESSIONS  BEGUN  FAILED  LAST FAULT
10.0.0.2:8080  br0     draining        -          -                  2    400       0  -
10.0.0.3:8080  br0     up              1 h 2 min  passing            7  1 401       1  it answers 503
10.0.0.4:8080  -       down, 4 s more  6 s        impossible         0      5       3  it refuses
10.0.0.5:8080  br0     down            1 min 1 s  failing            0      0       0  it speaks no HTTP
";
    assert_eq!(shown("vswitchctl service show web", web()), expected);
}
