//! Services, as typed.

use serde_json::{Value, json};

use super::{each_asks, parse};

#[test]
fn commands_about_services_ask_for_what_they_say() {
    let service = json!({ "listen": "10.96.0.10:80/tcp", "balance": "maglev", "to": "br0",
        "backends": [{ "at": "10.0.0.2:8080" }, { "at": "10.0.0.3:80" }],
        "affinity": "client-ip:10800", "node_port": 30080, "on": ["br0", "up"],
        "max_fails": 3, "fail_timeout": 10 });
    each_asks(&[
        ("service list", "service.list", Value::Null),
        ("svc show web", "service.show", json!({ "name": "web" })),
        (
            "service add web 10.96.0.10:80/tcp --backends 10.0.0.2:8080,10.0.0.3 --affinity client-ip \
             --balance maglev --node-port 30080 --on br0,up --to br0",
            "service.add",
            json!({ "name": "web", "service": service }),
        ),
        (
            "service set web --health http:/healthz --health-port 9000 --health-rise 1",
            "service.set",
            json!({ "name": "web", "health": { "probe": "http:/healthz", "port": 9000,
                "interval": 5, "timeout": 2, "fall": 3, "rise": 1 } }),
        ),
        ("service set web --no-health", "service.set", json!({ "name": "web", "health": null })),
        ("service del web --if-exists", "service.del", json!({ "name": "web", "if_exists": true })),
        (
            "service set web --no-affinity --no-node-port --on-all",
            "service.set",
            json!({ "name": "web", "affinity": null, "node_port": null, "on": [] }),
        ),
        (
            "service set web --max-fails 0 --on up",
            "service.set",
            json!({ "name": "web", "max_fails": 0, "on": ["up"] }),
        ),
        (
            "service backend add web 10.0.0.2,[fd00::2]:81",
            "service.backends",
            json!({ "name": "web", "add": ["10.0.0.2", "[fd00::2]:81"] }),
        ),
        (
            "service backend drain web 10.0.0.2",
            "service.backends",
            json!({ "name": "web", "drain": ["10.0.0.2"] }),
        ),
        (
            "service backend del web 10.0.0.2",
            "service.backends",
            json!({ "name": "web", "del": ["10.0.0.2"] }),
        ),
    ]);
}

#[test]
fn a_service_that_makes_no_sense_is_refused_before_anybody_is_asked() {
    for line in [
        "service add web 10.96.0.10/tcp",
        "service add web 10.96.0.10:80/icmp",
        "service set web",
        "service set web --affinity client-ip --no-affinity",
        "service add web 10.96.0.10:80/tcp --health udp",
        "service add web 10.96.0.10:80/tcp --health-fall 2",
        "service set web --health-fall 2",
        "service set web --health tcp --no-health",
        "service backend add web",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}
