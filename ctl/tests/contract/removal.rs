//! Removing networks: what keeps one is told at once, each thing with what takes it off.

use ctl::ErrorCode::InUse;
use ctl::{Config, apply};

use crate::apply::{change, config_of, refuses};

const WEB: &str = r#"network.create {"name":"web","subnets":["10.1.0.0/24"]}"#;
const LAN: &str = r#"bridge.add {"name":"lan","gateways":["192.0.2.1/24"]}"#;
const RM: &str = r#"network.rm {"name":"web"}"#;
const FORCE: &str = r#"network.rm {"name":"web","force":true}"#;

fn after(config: &Config, text: &str) -> Config {
    apply(config, &change(text)).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn connect(netns: &str, rest: &str) -> String {
    format!(r#"network.connect {{"network":"web","netns":"{netns}"{rest}}}"#)
}

#[test]
fn all_that_keeps_a_network_is_told_in_one_answer_with_what_takes_it_off() {
    let (shop, second) = (connect("shop", ""), connect("shop", r#","ifname":"eth1""#));
    let (process, odd) = (connect("4711", ""), connect("/run/my netns", ""));
    let its = r#"nat.add {"rule":{"publish":{"on":"lan","forward":"8080:10.1.0.2:80","port":"shop-eth0"}}}"#;
    let nat = r#"nat.add {"rule":{"publish":{"on":"lan","forward":"8081:10.1.0.2:81"}}}"#;
    let config = config_of(&[
        WEB,
        LAN,
        &shop,
        &second,
        &process,
        &odd,
        its,
        nat,
        r#"route.allow {"from":"lan","to":"web"}"#,
        r#"service.add {"name":"s","service":{"listen":"10.96.0.9:80/tcp","backends":[{"at":"10.1.0.2:80"}],"to":"web"}}"#,
        r#"service.add {"name":"t","service":{"listen":"10.96.0.10:80/tcp","backends":[{"at":"10.1.0.2:80"}]}}"#,
        r#"flow.add {"priority":1,"match":"bridge=web","actions":"drop"}"#,
    ]);
    let told = "network web has endpoints, to be taken off first: \
        `vswitchctl network disconnect web 4711`, `vswitchctl network disconnect web '/run/my netns'`, \
        `vswitchctl network disconnect web shop --ifname eth0`, \
        `vswitchctl network disconnect web shop --ifname eth1`; it is also in use by \
        route allow lan web, nat rule lan-8081-tcp, service s, backend 10.1.0.2:80 of service t, rule 0, to be removed too";
    refuses(&config, &[(RM, InUse, told)]);
}

#[test]
fn containers_of_engines_are_taken_off_by_their_engines() {
    let docker = r#"network.create {"name":"web","subnets":["10.1.0.0/24"],
        "settings":{"labels":{"docker.network/0123456789abcdef":"own"}}}"#;
    let handover = r#"network.handover {"network":"web","port":"docker-3f4442aa0bb3","ifname":"vsw3f4442aa0bb3","mac":"02:00:00:00:00:01"}"#;
    let cni = connect("/run/netns/x", r#","owner":"cni/pods/fedcba9876543210/eth0""#);
    let config = config_of(&[docker, handover, &cni]);
    let told = "to be taken off first: Docker's (docker-3f4442aa0bb3), which `docker ps --filter network=0123456789ab` shows, \
        with `docker network disconnect 0123456789ab CONTAINER` or `docker rm`; \
        containers of CNI by their engine, with podman: `podman network disconnect pods fedcba987654`";
    refuses(&config, &[(RM, InUse, told)]);
    let other = config_of(&[WEB, handover]);
    refuses(&other, &[(RM, InUse, "docker-3f4442aa0bb3 by the engine that has the interface")]);
}

#[test]
fn what_refers_to_a_network_goes_with_it_by_force() {
    let service = r#"service.add {"name":"t","service":{"listen":"10.96.0.10:80/tcp","backends":[{"at":"192.0.2.9:80"}]}}"#;
    let bare = config_of(&[WEB, LAN, service]);
    let config = [
        r#"port.add {"name":"wire","port":{"bridge":"web","kind":{"netdev":{"device":"eth1"}}}}"#,
        r#"bridge.add {"name":"staff","gateways":["10.7.0.1/24"],"vlan_of":{"bridge":"web","vlan":7}}"#,
        r#"vxlan.add {"name":"vx0","vxlan":{"bridge":"web","vni":7,"local":"192.0.2.1"}}"#,
        r#"route.allow {"from":"lan","to":"web"}"#,
        r#"route.allow {"from":"staff","to":"web"}"#,
        r#"route.add {"to":"10.9.0.0/16","on":"web","via":["10.1.0.9"]}"#,
        r#"nat.add {"rule":{"publish":{"on":"lan","forward":"8080:10.1.0.2:80"}}}"#,
        r#"service.add {"name":"s","service":{"listen":"10.96.0.9:80/tcp","backends":[{"at":"10.1.0.2:80"}],"to":"web"}}"#,
        r#"service.backends {"name":"t","add":["10.1.0.3:80"]}"#,
        r#"flow.add {"priority":1,"match":"bridge=web","actions":"drop"}"#,
    ]
    .iter()
    .fold(bare.clone(), |config, text| after(&config, text));
    let web = "web".parse().unwrap();
    assert_eq!(config.strangers_on(&web).len(), 10, "{:?}", config.strangers_on(&web));
    assert_eq!(after(&config, FORCE), after(&bare, RM));
    refuses(&config, &[(RM, InUse, "network web is in use by port wire, vxlan vx0, bridge staff")]);
    // Whoever is on it keeps all of it: nothing has changed then.
    let kept = after(&config, &connect("shop", ""));
    refuses(
        &kept,
        &[(FORCE, InUse, "`vswitchctl network disconnect web shop`; it is also in use")],
    );
    let by_hand = r#"port.add {"name":"x","port":{"bridge":"web","kind":{"tap":{"netns":"y","ips":["10.8.0.9/24"]}}}}"#;
    refuses(&after(&config, by_hand), &[(FORCE, InUse, "network web is in use by port x; remove")]);
    let none = r#"network.rm {"name":"none","force":true,"if_exists":true}"#;
    assert_eq!(after(&bare, none), bare);
}

#[test]
fn what_others_have_with_a_network_is_left_to_them_by_force() {
    let service = r#"service.add {"name":"s","service":{"listen":"10.96.0.9:80/tcp","backends":[{"at":"192.0.2.9:80"}],"on":["lan","web"]}}"#;
    let config = config_of(&[WEB, LAN, service]);
    let left = r#"service.set {"name":"s","on":["lan"]}"#;
    assert_eq!(after(&config, FORCE), after(&after(&config, left), RM));
    let over = r#"network.create {"name":"over","subnets":["10.3.0.0/24"],
        "settings":{"vxlan":{"vni":7,"local":"10.1.0.1","via":"web"}}}"#;
    refuses(&config_of(&[WEB, over]), &[(FORCE, InUse, "network web is in use by vxlan over")]);
    // A bridge that is no network's, and what is on it, stays as it is.
    let none = r#"network.rm {"name":"lan","force":true,"if_exists":true}"#;
    assert_eq!(after(&config, none), config);
    assert!(config.strangers_on(&"lan".parse().unwrap()).is_empty());
}
