//! Services.

use serde_json::{Value, json};

use super::shown;

fn web() -> Value {
    json!({ "name": "web", "sessions": 9, "begun": 1806,
        "service": { "listen": "10.96.0.10:80/tcp", "affinity": "client-ip:600", "node_port": 30080,
            "backends": [{ "at": "10.0.0.2:8080" }, { "at": "10.0.0.3:8080" }], "on": ["br0", "up"] },
        "backends": [
            { "at": "10.0.0.2:8080", "bridge": "br0", "state": "draining", "sessions": 2,
              "begun": 400, "failed": 0 },
            { "at": "10.0.0.3:8080", "bridge": "br0", "state": "up", "sessions": 7,
              "begun": 1401, "failed": 1 },
            { "at": "10.0.0.4:8080", "state": { "down": { "seconds": 4 } }, "sessions": 0,
              "begun": 5, "failed": 3 }] })
}

#[test]
fn services() {
    let plain = json!({ "name": "dns", "sessions": 0, "begun": 0, "backends": [],
        "service": { "listen": "[fd00:96::10]:53/udp", "balance": "maglev" } });
    let expected = "\
SERVICE  ADDRESS               NODE PORT  UP      BALANCE      AFFINITY       SESSIONS  BEGUN
dns      [fd00:96::10]:53/udp          -  0 of 0  maglev       -                     0      0
web      10.96.0.10:80/tcp         30080  1 of 3  round-robin  client-ip:600         9  1 806
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
BACKEND        BRIDGE  STATE         SESSIONS  BEGUN  FAILED
10.0.0.2:8080  br0     draining             2    400       0
10.0.0.3:8080  br0     up                   7  1 401       1
10.0.0.4:8080  -       down for 4 s         0      5       3
";
    assert_eq!(shown("vswitchctl service show web", web()), expected);
}
