//! What a change makes can be read again, by a check that looks at everything: with interfaces that the host shares, hosts that move, and
//! networks of every shape, out of few names and addresses, so that they meet.

use ctl::{Config, HostUplink, Mutation, apply};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::apply::{change, config_of};

const SHARED: &str = r#"port.add {"name":"up0","port":{"bridge":"world","shared":true,"kind":{"netdev":{"device":"eth0"}}}}"#;
const INSIDE: &str = r#"bridge.add {"name":"b","gateways":["10.9.0.1/24"]}"#;

/// Whether it is read as what it is.
fn is_read(config: &Config) -> bool {
    Config::from_json(config.to_json().as_bytes()).is_ok_and(|read| read == *config)
}

fn host(addresses: &[&str]) -> HostUplink {
    HostUplink {
        mac: "02:00:00:00:00:01".parse().unwrap(),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        routes: [("0.0.0.0/0".parse().unwrap(), vec!["192.0.2.1".parse().unwrap()])].into(),
    }
}

fn following(config: &Config, addresses: &[&str]) -> Result<Config, ctl::CtlError> {
    config.following(&"world".parse().unwrap(), &host(addresses))
}

#[test]
fn a_change_is_refused_by_what_did_not_change_itself() {
    let up = r#"bridge.add {"name":"up","gateways":["192.0.2.2/24"]}"#;
    let gone = r#"port.del {"name":"up0"}"#;
    let service = |listen: &str, more: &str| {
        format!(
            r#"service.add {{"name":"s","service":{{"listen":"{listen}:53/udp","backends":[{{"at":"10.9.0.2:53"}}]{more}}}}}"#
        )
    };
    let network = |settings: &str| {
        format!(
            r#"network.create {{"name":"n","subnets":["10.1.0.0/24"],"settings":{{{settings}}}}}"#
        )
    };
    for (before, last, said) in [
        (
            vec![INSIDE, &network(r#""dns":false"#), &service("10.96.0.10", r#","node_port":53"#)],
            r#"network.set {"name":"n","dns":true}"#,
            "the gateway of network n answers names",
        ),
        (
            vec![INSIDE, &network(r#""internal":true"#), &service("10.1.0.77", "")],
            r#"network.set {"name":"n","internal":false}"#,
            "10.1.0.77 is in subnet 10.1.0.0/24 of bridge n",
        ),
        (
            vec![SHARED, INSIDE, r#"route.allow {"from":"b","to":"world"}"#],
            gone,
            "bridge world has no gateway address",
        ),
        (
            vec![
                SHARED,
                INSIDE,
                r#"nat.add {"name":"m","rule":{"masquerade":{"from":"world","to":"b"}}}"#,
            ],
            gone,
            "bridge world has no gateway address",
        ),
        (
            vec![SHARED, INSIDE, &service("10.96.0.10", r#","on":["world"]"#)],
            gone,
            "bridge world has no gateway address",
        ),
        (
            vec![
                INSIDE,
                up,
                r#"nat.add {"name":"m","rule":{"masquerade":{"from":"b","to":"up","except":["10.0.0.0/8"]}}}"#,
            ],
            r#"port.add {"name":"u","port":{"bridge":"up","shared":true,"kind":{"netdev":{"device":"eth0"}}}}"#,
            "--except is of no use there",
        ),
    ] {
        let error = apply(&config_of(&before), &change(last)).unwrap_err().to_string();
        assert!(error.contains(said), "{last}: {error}");
    }
}

#[test]
fn the_host_may_be_the_resolver_of_a_network() {
    let resolved = r#"network.create {"name":"n","subnets":["10.1.0.0/24"],"settings":{"resolvers":["192.0.2.2"]}}"#;
    let config = following(&config_of(&[SHARED, resolved]), &["192.0.2.2/24"]).unwrap();
    assert!(is_read(&config));
}

/// Every change that can be made of few words.
fn vocabulary() -> Vec<Mutation> {
    let mut all = Vec::new();
    let mut say = |text: String| all.push(change(&text));
    for one in ["a", "b", "up"] {
        for gateways in
            [r#""10.1.0.1/24""#, r#""10.2.0.1/24""#, r#""192.0.2.2/24","2001:db8:5::1/64""#, ""]
        {
            say(format!(r#"bridge.add {{"name":"{one}","gateways":[{gateways}]}}"#));
            say(format!(r#"bridge.set {{"name":"{one}","gateways":[{gateways}]}}"#));
        }
        say(format!(r#"bridge.del {{"name":"{one}"}}"#));
        say(format!(r#"route.add {{"to":"default","on":"{one}","via":["192.0.2.1"]}}"#));
        say(format!(r#"route.del {{"to":"default","on":"{one}"}}"#));
        for other in ["a", "up", "n", "m", "world"] {
            say(format!(r#"route.allow {{"from":"{one}","to":"{other}"}}"#));
            say(format!(r#"route.deny {{"from":"{one}","to":"{other}"}}"#));
            say(format!(
                r#"nat.add {{"name":"m-{one}-{other}","rule":{{"masquerade":{{"from":"{one}","to":"{other}"}}}}}}"#
            ));
            say(format!(
                r#"nat.add {{"name":"r-{one}-{other}","rule":{{"masquerade":{{"from":"{other}","to":"{one}"}}}}}}"#
            ));
            say(format!(
                r#"nat.add {{"name":"p-{one}-{other}","rule":{{"publish":{{"on":"{other}","forward":"80:10.1.0.9:80/tcp"}}}}}}"#
            ));
            say(format!(
                r#"nat.add {{"name":"q-{one}-{other}","rule":{{"publish":{{"on":"{other}","to":"{one}","forward":"81:10.2.0.9:80/tcp"}}}}}}"#
            ));
            for kind in ["m", "p", "q", "r"] {
                say(format!(r#"nat.del {{"name":"{kind}-{one}-{other}"}}"#));
            }
        }
    }
    for name in ["n", "m"] {
        for subnet in [
            r#""10.1.0.0/24""#,
            r#""10.1.0.0/25""#,
            r#""10.3.0.0/24","2001:db8:7::/64""#,
            r#""192.0.2.128/26""#,
        ] {
            for settings in [
                r#""internal":true"#,
                r#""shape":"routed""#,
                r#""shape":"p2p""#,
                r#""resolvers":["10.2.0.1"]"#,
                r#""dns":false"#,
            ] {
                say(format!(
                    r#"network.create {{"name":"{name}","subnets":[{subnet}],"settings":{{{settings}}}}}"#
                ));
            }
        }
        for set in [
            r#""internal":true"#,
            r#""internal":false"#,
            r#""masquerade":false"#,
            r#""masquerade":true"#,
            r#""dns":true"#,
            r#""resolvers":["192.0.2.2"]"#,
        ] {
            say(format!(r#"network.set {{"name":"{name}",{set}}}"#));
        }
        say(format!(r#"network.rm {{"name":"{name}"}}"#));
    }
    for more in ["", r#","on":["a"]"#, r#","on":["n"],"to":"b""#, r#","on":["world"]"#] {
        say(format!(
            r#"service.add {{"name":"s","service":{{"listen":"10.1.0.77:80/tcp","backends":[{{"at":"10.1.0.9:80"}}]{more}}}}}"#
        ));
        say(format!(
            r#"service.add {{"name":"t","service":{{"listen":"10.97.0.1:53/udp","node_port":53,"backends":[{{"at":"10.2.0.9:80"}}]{more}}}}}"#
        ));
    }
    say(r#"service.del {"name":"s"}"#.to_owned());
    say(r#"service.del {"name":"t"}"#.to_owned());
    say(SHARED.to_owned());
    say(r#"port.del {"name":"up0"}"#.to_owned());
    all
}

proptest! {
    #[test]
    fn what_few_names_and_addresses_make_of_each_other_can_be_read(
        steps in vec((any::<Index>(), 0usize..32), 0..60)
    ) {
        const HOSTS: [&[&str]; 5] = [
            &["192.0.2.2/24"],
            &["10.1.0.77/24"],
            &["192.0.2.2/24", "fd00::2/64"],
            &["192.0.2.2/24", "2001:db8:9::2/64"],
            &[],
        ];
        let vocabulary = vocabulary();
        let mut config = Config::default();
        for (which, moves) in steps {
            let next = match HOSTS.get(moves) {
                Some(addresses) => following(&config, addresses),
                None => apply(&config, which.get(&vocabulary)),
            };
            let Ok(next) = next else { continue };
            prop_assert!(is_read(&next), "{:?}: {}", which.get(&vocabulary), next.to_json());
            config = next;
        }
    }
}
