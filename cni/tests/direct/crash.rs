//! The plugin and the daemon end in the middle of something; many containers come and go.

use std::time::Instant;

use ctl::Query;
use ctl::response::NatInfo;
use netlab::{Container, Need, Test, TestResult, test};
use serde_json::{Value, json};

use crate::capabilities::{mappings, outside};
use crate::plugin::{Fallible, Host, Run, eventually, gone, subnet, unique, with};

pub fn tests() -> Vec<Test> {
    let tap = [
        test!(a_plugin_that_is_killed_leaves_nothing_that_gc_does_not_find),
        test!(a_plugin_that_is_killed_leaves_nothing_that_del_does_not_find),
        test!(two_hundred_containers_that_come_and_go_leave_nothing),
        test!(a_daemon_that_ended_takes_no_orders_and_one_that_came_back_knows_all),
    ];
    tap.into_iter().map(|test| test.needs(Need::Tun)).collect()
}

/// A host with an outside, and a configuration that publishes ports there.
fn publishing() -> Fallible<(Host, Container, Value)> {
    let host = Host::new()?;
    let world = outside(&host)?;
    let conf = with(&host.conf("web", subnet("10.1.0.0/24")), "isDefaultGateway", true);
    Ok((host, world, conf))
}

/// The configuration of a container, with two ports of its own.
fn published(conf: &Value, number: u32) -> Value {
    let mapping = |port: u32, protocol: &str| json!({ "hostPort": port, "containerPort": 80, "protocol": protocol });
    let list = json!([mapping(8000 + number, "tcp"), mapping(8000 + number, "udp")]);
    with(conf, "runtimeConfig", mappings(list))
}

/// Starts ADD for many containers, and kills each a little later than the one before, until after one would be done. How many
/// published ports there are of them is told, too.
fn killed(host: &Host, conf: &Value) -> Fallible<(Vec<Container>, usize)> {
    const KILLED: u32 = 60;
    let whole = Container::new()?;
    let begun = Instant::now();
    Run::command("ADD", "whole", &whole, &published(conf, KILLED)).result()?;
    let step = begun.elapsed() * 3 / 2 / KILLED;
    Run::command("DEL", "whole", &whole, conf).result()?;
    let mut containers = Vec::new();
    for number in 0..KILLED {
        let (container, conf) = (Container::new()?, published(conf, number));
        let mut child = Run::command("ADD", &format!("c{number}"), &container, &conf).start()?;
        std::thread::sleep(step * number);
        child.kill()?;
        child.wait()?;
        containers.push(container);
    }
    // What a killed plugin had asked for is done by the time that the daemon answers to somebody else.
    let rules: Vec<NatInfo> = host.ask(Query::NatList)?;
    let rules = rules.iter().filter(|rule| rule.rule.port().is_some()).count();
    Ok((containers, rules))
}

fn a_plugin_that_is_killed_leaves_nothing_that_gc_does_not_find() -> TestResult {
    let (host, _world, conf) = publishing()?;
    let (containers, rules) = killed(&host, &conf)?;
    assert!((1..120).contains(&rules), "some were killed before and some after: {rules}");
    let gc = with(&conf, "cni.dev/valid-attachments", json!([]));
    Run::of(json!({ "CNI_COMMAND": "GC", "CNI_PATH": "/usr/lib/cni" }), &gc).result()?;
    containers.iter().try_for_each(|container| gone(container, "eth0"))?;
    host.has_nothing().map_err(Into::into)
}

fn a_plugin_that_is_killed_leaves_nothing_that_del_does_not_find() -> TestResult {
    let (host, _world, conf) = publishing()?;
    let (containers, _) = killed(&host, &conf)?;
    for (number, container) in (0..).zip(&containers) {
        let conf = published(&conf, number);
        Run::command("DEL", &format!("c{number}"), container, &conf).result()?;
        gone(container, "eth0")?;
    }
    host.has_nothing().map_err(Into::into)
}

/// Each has ports, says something to the outside, and goes: every other by DEL, the rest with their namespaces.
fn two_hundred_containers_that_come_and_go_leave_nothing() -> TestResult {
    const LANES: u32 = 4;
    const EACH: u32 = 50;
    let (host, _world, conf) = publishing()?;
    let lane = |first: u32| -> Result<(), String> {
        for number in first..first + EACH {
            one(&conf, number).map_err(|error| format!("container {number}: {error}"))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let lanes: Vec<_> =
            (0..LANES).map(|number| scope.spawn(move || lane(number * EACH))).collect();
        lanes.into_iter().try_for_each(|lane| lane.join().map_err(|_| "it panicked")?)
    })?;
    // A namespace that has ended is noticed within half a second.
    let nothing = || host.leftovers().is_ok_and(|left| left.is_empty());
    eventually("nothing is left", nothing)
        .or_else(|late| Err(format!("{late}: {:?}", host.leftovers()?).into()))
}

fn one(conf: &Value, number: u32) -> Fallible<()> {
    let (container, conf) = (Container::new()?, published(conf, number));
    // As runtimes have it: no two containers have one name, even one after the other.
    let (id, name) = (format!("c{number}"), unique("cni-"));
    container.namespace().give_name(&name)?;
    let run = |command| {
        let run = Run::command(command, &id, &container, &conf);
        run.with("CNI_NETNS", Some(&format!("/run/netns/{name}")))
    };
    run("ADD").result()?;
    let world = "192.0.2.9".parse()?;
    netlab::ping::ping(&container, world, &netlab::ping::Options::default())?;
    if number.is_multiple_of(2) {
        run("DEL").result()?;
    }
    Ok(hostnet::Netns::forget_name(&name)?)
}

fn a_daemon_that_ended_takes_no_orders_and_one_that_came_back_knows_all() -> TestResult {
    let mut host = Host::new()?;
    let conf = host.conf("web", subnet("10.1.0.0/24"));
    let a = Container::new()?;
    let result = Run::command("ADD", "a", &a, &conf).result()?;
    host.stop();
    let conf = with(&conf, "prevResult", result);
    let (code, message) = Run::command("DEL", "a", &a, &conf).error()?;
    assert_eq!(code, 51, "{message}");
    let (code, message) = Run::command("CHECK", "a", &a, &conf).error()?;
    assert_eq!(code, 51, "{message}");
    host.start()?;
    Run::command("CHECK", "a", &a, &conf).result()?;
    Run::command("DEL", "a", &a, &conf).result()?;
    host.has_nothing().map_err(Into::into)
}
