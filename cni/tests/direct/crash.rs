//! The plugin and the daemon end in the middle of something.

use std::time::Duration;

use netlab::{Container, Need, Test, TestResult, test};
use serde_json::json;

use crate::plugin::{Host, Run, subnet, with};

pub fn tests() -> Vec<Test> {
    let tap = [
        test!(a_plugin_that_is_killed_leaves_nothing_that_gc_does_not_find),
        test!(a_plugin_that_is_killed_leaves_nothing_that_del_does_not_find),
        test!(a_daemon_that_ended_takes_no_orders_and_one_that_came_back_knows_all),
    ];
    tap.into_iter().map(|test| test.needs(Need::Tun)).collect()
}

/// Starts ADD for many containers, and kills each after a little longer than the one before.
fn killed(
    host: &Host,
    conf: &serde_json::Value,
) -> Result<Vec<Container>, Box<dyn std::error::Error>> {
    let mut containers = Vec::new();
    for step in 0..40u32 {
        let container = Container::new()?;
        let mut child = Run::command("ADD", &format!("c{step}"), &container, conf).start()?;
        std::thread::sleep(Duration::from_micros(200) * step);
        child.kill()?;
        child.wait()?;
        containers.push(container);
    }
    // What a killed plugin had asked for is done by the time that the daemon answers to somebody else.
    host.ports()?;
    Ok(containers)
}

fn a_plugin_that_is_killed_leaves_nothing_that_gc_does_not_find() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("web", subnet("10.1.0.0/24"));
    let containers = killed(&host, &conf)?;
    let gc = with(&conf, "cni.dev/valid-attachments", json!([]));
    Run::of(json!({ "CNI_COMMAND": "GC", "CNI_PATH": "/usr/lib/cni" }), &gc).result()?;
    assert!(containers.iter().all(|container| container.link("eth0").is_err()));
    host.has_nothing().map_err(Into::into)
}

fn a_plugin_that_is_killed_leaves_nothing_that_del_does_not_find() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("web", subnet("10.1.0.0/24"));
    for (number, container) in killed(&host, &conf)?.iter().enumerate() {
        Run::command("DEL", &format!("c{number}"), container, &conf).result()?;
        assert!(container.link("eth0").is_err());
    }
    host.has_nothing().map_err(Into::into)
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
