//! What goes on when the switch, its plugin, Docker or a container ends and comes back.

use e2e::{Docker, Host, Outcome, Plugin, Switch};
use netlab::{Test, TestResult, test};
use rustix::process::Signal;

use crate::networks::is_clean;
use crate::scene::{Scene, with_docker};

pub fn tests() -> Vec<Test> {
    with_docker([
        test!(containers_carry_on_when_the_switch_comes_back),
        test!(the_plugin_knows_its_networks_again),
        test!(dockerd_knows_its_networks_again),
        test!(a_restarted_container_is_where_it_was),
        test!(what_is_killed_in_the_middle_leaves_nothing_that_removal_does_not_find),
    ])
}

fn containers_carry_on_when_the_switch_comes_back() -> TestResult {
    let mut scene = Scene::new()?;
    scene.network("web", "")?;
    scene.docker.container("alpha", "--network web")?;
    scene.docker.container("beta", "--network web")?;
    let before = scene.docker.shell("alpha", "ip addr show eth0; ip route")?;
    let plugin = format!("--docker={}", Plugin::socket(&scene.host).display());
    for signal in [Signal::KILL, Signal::TERM] {
        scene.switch.end(signal)?;
        scene.switch = Switch::start_again(&scene.host, &[&plugin])?;
        assert_eq!(scene.docker.shell("alpha", "ip addr show eth0; ip route")?, before);
        assert!(scene.pings("alpha", "beta") && scene.pings("beta", Host::WORLD));
    }
    scene.docker.run("rm --force alpha beta")?;
    scene.docker.run("network rm web")?;
    is_clean(&scene)
}

/// A plugin in a process of its own.
fn with_plugin() -> Outcome<(Scene, Plugin)> {
    let host = Host::new()?;
    let switch = Switch::start(&host, &[])?;
    let plugin = Plugin::start(&host)?;
    let docker = Docker::start(&host)?;
    Ok((Scene { docker, switch, host }, plugin))
}

fn the_plugin_knows_its_networks_again() -> TestResult {
    let (scene, mut plugin) = with_plugin()?;
    scene.network("web", "")?;
    scene.docker.container("alpha", "--network web")?;
    for signal in [Signal::KILL, Signal::TERM] {
        plugin.end(signal)?;
        assert!(scene.pings("alpha", Host::WORLD), "it is not on the way of packets");
        plugin = Plugin::start(&scene.host)?;
        scene.docker.container("beta", "--network web")?;
        assert!(scene.pings("beta", "alpha"));
        scene.docker.run("rm --force beta")?;
    }
    scene.docker.run("rm --force alpha")?;
    scene.docker.run("network rm web")?;
    is_clean(&scene)
}

fn dockerd_knows_its_networks_again() -> TestResult {
    let mut scene = Scene::new()?;
    scene.network("web", "")?;
    scene.docker.container("alpha", "--network web -p 8080:80")?;
    for signal in [Signal::TERM, Signal::KILL] {
        scene.docker.restart(&scene.host, signal)?;
        // Without --live-restore containers end with dockerd, and what they had is free.
        assert_eq!(scene.switch.containers()?, []);
        scene.docker.run("start alpha")?;
        assert!(scene.pings("alpha", Host::WORLD));
        let published = |name: &str| name.starts_with("docker-") && name.ends_with("-0");
        let rules = scene.switch.translations()?;
        assert_eq!(rules.iter().filter(|rule| published(rule.name.as_str())).count(), 1);
    }
    scene.docker.run("rm --force alpha")?;
    scene.docker.run("network rm web")?;
    is_clean(&scene)
}

fn a_restarted_container_is_where_it_was() -> TestResult {
    let scene = Scene::new()?;
    scene.network("web", "--subnet 10.91.0.0/24")?;
    scene.docker.container("alpha", "--network web --ip 10.91.0.7")?;
    scene.docker.container("beta", "--network web")?;
    for command in ["restart --time 0 alpha", "kill alpha", "start alpha"] {
        scene.docker.run(command)?;
    }
    assert!(scene.pings("beta", "alpha") && scene.pings("beta", "10.91.0.7"));
    assert_eq!(scene.switch.containers()?.len(), 2);
    Ok(scene.switch.check_ledger()?)
}

/// Both are killed while containers come and go; then all that Docker still knows is removed.
fn what_is_killed_in_the_middle_leaves_nothing_that_removal_does_not_find() -> TestResult {
    let mut scene = Scene::new()?;
    scene.network("web", "")?;
    let plugin = format!("--docker={}", Plugin::socket(&scene.host).display());
    for round in 0..4 {
        let add = || -> Outcome<String> {
            scene.docker.container(&format!("c{round}"), "--network web -p 80")?;
            scene.docker.run(&format!("rm --force c{round}"))
        };
        let begun = scene.switch.containers()?.len();
        std::thread::scope(|scope| -> Outcome<()> {
            let adding = scope.spawn(add);
            let under_way = || scene.switch.containers().is_ok_and(|ports| ports.len() != begun);
            e2e::eventually("a container is being added", || under_way() || adding.is_finished())?;
            Ok(())
        })?;
        scene.switch.end(Signal::KILL)?;
        scene.docker.restart(&scene.host, Signal::KILL)?;
        scene.switch = Switch::start_again(&scene.host, &[&plugin])?;
    }
    for name in scene.docker.run("ps --all --quiet")?.lines() {
        scene.docker.run(&format!("rm --force {name}"))?;
    }
    scene.docker.run("network rm web")?;
    is_clean(&scene)
}
