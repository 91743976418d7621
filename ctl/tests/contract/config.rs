//! The configuration as JSON.

use ctl::{Bridge, BridgeName, Config, ConfigError, ErrorCode};
use proptest::prelude::*;

use crate::arbitrary;

proptest! {
    #[test]
    fn a_configuration_survives_being_written_and_read(config in arbitrary::config()) {
        prop_assert_eq!(Config::from_json(config.to_json().as_bytes()).unwrap(), config);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>()) {
        let _ = Config::from_json(&bytes);
    }
}

#[test]
fn a_state_is_pleasant_to_read() {
    let text = r#"{
  "version": 1,
  "bridges": {
    "br0": {
      "ageing_seconds": 300,
      "mac_limit": 8192,
      "mtu": 1500
    }
  },
  "ports": {
    "up0": {
      "bridge": "br0",
      "kind": {
        "netdev": {
          "device": "eth1",
          "mode": "auto"
        }
      },
      "vlan": {
        "trunk": {
          "allowed": "10-20",
          "native": 1
        }
      }
    },
    "web-eth0": {
      "bridge": "br0",
      "kind": {
        "tap": {
          "netns": "web",
          "ifname": "eth0",
          "mac": "02:00:00:00:00:01",
          "ips": [
            "10.0.0.2/24"
          ],
          "gateways": [
            "10.0.0.1"
          ],
          "queues": 1
        }
      },
      "vlan": {
        "access": 10
      }
    }
  }
}
"#;
    assert_eq!(Config::from_json(text.as_bytes()).unwrap().to_json(), text);
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = Config::from_json(br#"{"version":1,"bridges":{"br0":{}}}"#).unwrap();
    let name: BridgeName = "br0".parse().unwrap();
    assert_eq!(config.bridges[&name], Bridge::default());
    assert!(config.ports.is_empty());
}

/// What this version added may be left out, and is left out where it is not used: see
/// `a_state_is_pleasant_to_read`, whose state the first version wrote.
#[test]
fn routing_and_translation_are_pleasant_to_read_as_well() {
    let text = r#"{
  "version": 1,
  "bridges": {
    "br0": {
      "ageing_seconds": 300,
      "mac_limit": 8192,
      "mtu": 1500,
      "gateways": [
        "10.0.0.1/24"
      ]
    },
    "up": {
      "ageing_seconds": 300,
      "mac_limit": 8192,
      "mtu": 1500,
      "gateways": [
        "192.0.2.1/24"
      ]
    }
  },
  "ports": {},
  "vxlans": {
    "vx0": {
      "bridge": "br0",
      "vni": 7,
      "local": "192.0.2.1",
      "remotes": [
        "192.0.2.2"
      ],
      "dstport": 4789,
      "ttl": 64,
      "tos": "0",
      "learning": true,
      "underlay_mtu": 1500
    }
  },
  "routes": {
    "up": {
      "0.0.0.0/0": {
        "via": [
          "192.0.2.254"
        ]
      }
    }
  },
  "allowed": {
    "br0": [
      "up"
    ]
  },
  "nat": {
    "br0-to-up": {
      "masquerade": {
        "from": "br0",
        "to": "up",
        "ports": "1024-65535"
      }
    },
    "up-8080-tcp": {
      "publish": {
        "on": "up",
        "forward": "8080:10.0.0.2:80/tcp"
      }
    }
  },
  "flows": {
    "17": {
      "priority": 100,
      "match": "bridge=br0,tcp,dport=80",
      "actions": "allow"
    }
  },
  "tracking": {
    "timeouts": {
      "udp": 300,
      "udp-unreplied": 120,
      "tcp-established": 7440,
      "tcp-opening": 240,
      "tcp-closing": 240,
      "icmp": 60,
      "other": 600
    },
    "window_checks": false
  }
}
"#;
    assert_eq!(Config::from_json(text.as_bytes()).unwrap().to_json(), text);
}

#[test]
fn a_state_of_another_version_is_refused_by_its_version() {
    let text = br#"{"version":2,"bridges":{"br0":{"from":"the future"}}}"#;
    let error = Config::from_json(text).unwrap_err();
    assert!(matches!(error, ConfigError::Version { found: 2 }), "{error}");
}

#[test]
fn a_state_that_is_none_is_refused() {
    for text in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"version":"1"}"#,
        r#"{"version":1,"bridge":{}}"#,
        r#"{"version":1,"bridges":{"a b":{}}}"#,
        r#"{"version":1,"bridges":{"br0":{"ageing":300}}}"#,
        r#"{"version":1} x"#,
    ] {
        let error = Config::from_json(text.as_bytes()).unwrap_err();
        assert!(matches!(error, ConfigError::Syntax(_)), "{text}: {error}");
    }
}

#[test]
fn a_state_that_someone_edited_meets_the_same_rules_as_a_request() {
    let port = |body: &str| {
        format!(r#"{{"version":1,"bridges":{{"br0":{{}}}},"ports":{{"p0":{{{body}}}}}}}"#)
    };
    let of_bridge = |body: &str| format!(r#"{{"version":1,"bridges":{{"br0":{{{body}}}}}}}"#);
    let cases = [
        (of_bridge(r#""ageing_seconds":9"#), ErrorCode::Invalid),
        (of_bridge(r#""mac_limit":0"#), ErrorCode::Invalid),
        (of_bridge(r#""statics":[{"mac":"02:00:00:00:00:01","port":"p9"}]"#), ErrorCode::NotFound),
        (of_bridge(r#""gateways":["10.0.0.1/24","10.0.0.2/24"]"#), ErrorCode::Invalid),
        (of_bridge(r#""proxy":["10.0.0.0/24"]"#), ErrorCode::Invalid),
        (port(r#""bridge":"br9","kind":{"tap":{}}"#), ErrorCode::NotFound),
        (port(r#""bridge":"br0","kind":{"tap":{"queues":0}}"#), ErrorCode::Invalid),
        (port(r#""bridge":"br0","kind":{"tap":{}},"mac_limit":0"#), ErrorCode::Invalid),
    ];
    for (text, code) in cases {
        match Config::from_json(text.as_bytes()) {
            Err(ConfigError::Inconsistent(error)) => assert_eq!(error.code, code, "{error}"),
            other => panic!("{text}: {other:?}"),
        }
    }
}
