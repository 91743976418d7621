//! Addresses that another plugin gives: a script that says what it was told, and the reference's own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use netlab::{Container, Need, Path, Test, TestResult, test, transfer};
use serde_json::{Value, json};

use crate::plugin::{Fallible, Host, Run, gone, unique, with};

pub fn tests() -> Vec<Test> {
    let mut tests: Vec<_> = [
        test!(a_delegate_is_run_as_the_runtime_would_run_it),
        test!(a_delegate_that_fails_is_told_to_release_and_its_code_is_ours),
        test!(a_failure_after_the_delegates_success_releases_its_addresses),
    ]
    .into_iter()
    .map(|test| test.needs(Need::Tun))
    .collect();
    tests.push(test!(a_delegate_that_is_not_there_is_named));
    let reference = [test!(host_local_gives_addresses), test!(static_gives_addresses)];
    let plugins = Need::Installed {
        program: "/usr/lib/cni/host-local",
        package: "containernetworking-plugins",
    };
    tests.extend(reference.map(|test| test.needs(Need::Tun).needs(plugins)));
    tests
}

/// A plugin that notes each command, and answers as the shell text `says` for ADD.
fn delegate(says: &str) -> Fallible<PathBuf> {
    plugin("fake", r#"echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME $input""#, says)
}

/// A plugin of this name that notes of each command what the shell text `notes` prints.
pub fn plugin(name: &str, notes: &str, says: &str) -> Fallible<PathBuf> {
    let directory = PathBuf::from(unique("/run/plugins-"));
    fs::create_dir(&directory)?;
    let log = directory.join("log");
    let script = format!(
        "#!/bin/sh\ninput=$(cat)\n{notes} >> {}\n[ $CNI_COMMAND = ADD ] || exit 0\n{says}\n",
        log.display()
    );
    let program = directory.join(name);
    fs::write(&program, script)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(directory)
}

pub fn log(directory: &std::path::Path) -> Fallible<String> {
    Ok(fs::read_to_string(directory.join("log"))?)
}

fn commands(directory: &std::path::Path) -> Fallible<Vec<String>> {
    let log = fs::read_to_string(directory.join("log")).unwrap_or_default();
    Ok(log.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}

const GIVES: &str = r#"echo '{"cniVersion":"1.1.0","ips":[{"address":"10.7.0.5/24","gateway":"10.7.0.1"}],
"routes":[{"dst":"0.0.0.0/0"}],"dns":{"nameservers":["10.7.0.1"]}}'"#;

pub fn run(command: &str, container: &Container, conf: &Value, directory: &std::path::Path) -> Run {
    let path = format!("/nowhere:{}", directory.display());
    Run::command(command, "a", container, conf).with("CNI_PATH", Some(&path))
}

fn a_delegate_is_run_as_the_runtime_would_run_it() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("web", json!({ "ipam": { "type": "fake", "theirs": [1, 2] } }));
    let directory = delegate(GIVES)?;
    let a = Container::new()?;
    let result = run("ADD", &a, &conf, &directory).result()?;
    let ip = json!({ "address": "10.7.0.5/24", "gateway": "10.7.0.1", "interface": 0 });
    assert_eq!(result["ips"], json!([ip]));
    assert_eq!(result["routes"], json!([{ "dst": "0.0.0.0/0", "gw": "10.7.0.1" }]));
    assert_eq!(result["dns"], json!({ "nameservers": ["10.7.0.1"] }));
    assert_eq!(log(&directory)?, format!("ADD a eth0 {conf}\n"), "same environment, same input");
    run("CHECK", &a, &with(&conf, "prevResult", result), &directory).result()?;
    run("STATUS", &a, &conf, &directory).result()?;
    run("DEL", &a, &conf, &directory).result()?;
    let gc = with(&conf, "cni.dev/valid-attachments", json!([]));
    run("GC", &a, &gc, &directory).result()?;
    assert_eq!(commands(&directory)?, ["ADD", "CHECK", "STATUS", "DEL", "GC"]);
    host.has_nothing().map_err(Into::into)
}

fn a_delegate_that_fails_is_told_to_release_and_its_code_is_ours() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("web", json!({ "ipam": { "type": "fake" } }));
    let a = Container::new()?;
    let cases = [
        (r#"echo '{"code": 11, "msg": "full", "details": "all"}'; exit 1"#, 11, "fake: full (all)"),
        ("exit 3", 105, "cannot run fake: it failed (exit status: 3)"),
        ("echo nonsense", 105, "cannot be decoded"),
        (r#"echo '{"ips": [{"address": "10.0.0.300/24"}]}'"#, 6, "10.0.0.300/24"),
    ];
    for (says, code, text) in cases {
        let directory = delegate(says)?;
        let (found, message) = run("ADD", &a, &conf, &directory).error()?;
        assert_eq!(found, code, "{message}");
        assert!(message.contains(text), "{message}");
        assert_eq!(commands(&directory)?, ["ADD", "DEL"]);
        gone(&a, "eth0")?;
    }
    host.has_nothing().map_err(Into::into)
}

fn a_failure_after_the_delegates_success_releases_its_addresses() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("web", json!({ "ipam": { "type": "fake" } }));
    let mapping = json!({ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" });
    let conf = with(&conf, "runtimeConfig", json!({ "portMappings": [mapping] }));
    let directory = delegate(GIVES)?;
    let a = Container::new()?;
    assert_eq!(run("ADD", &a, &conf, &directory).error()?.0, 7);
    assert_eq!(commands(&directory)?, ["ADD", "DEL"]);
    gone(&a, "eth0")?;
    host.has_nothing().map_err(Into::into)
}

fn a_delegate_that_is_not_there_is_named() -> TestResult {
    let host = Host::new()?;
    let conf = host.conf("web", json!({ "ipam": { "type": "nothing" } }));
    let a = Container::new()?;
    for command in ["ADD", "DEL", "STATUS"] {
        let (code, message) = Run::command(command, "a", &a, &conf).error()?;
        assert_eq!(code, 105);
        assert!(message.contains("cannot run nothing"), "{message}");
        assert!(message.contains("/usr/lib/cni"), "{message}");
    }
    Ok(())
}

fn host_local_gives_addresses() -> TestResult {
    let host = Host::new()?;
    let store = unique("/run/host-local-");
    let ipam = json!({
        "type": "host-local", "dataDir": store, "ranges": [[{ "subnet": "10.6.0.0/24" }]],
        "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "10.9.0.0/16" }],
    });
    // What Debian's release of it speaks.
    let conf = with(&host.conf("web", json!({ "ipam": ipam })), "cniVersion", "1.0.0");
    let (a, b) = (Container::new()?, Container::new()?);
    Run::command("ADD", "a", &a, &conf).result()?;
    let result = Run::command("ADD", "b", &b, &conf).result()?;
    assert_eq!(result["ips"][0]["address"], "10.6.0.3/24");
    transfer::tcp(&Path::new(&a, &b, [10, 6, 0, 3]), 1 << 18, 1)?;
    netlab::ping::ping(&a, "10.6.0.1".parse()?, &netlab::ping::Options::default())?;
    Run::command("CHECK", "b", &b, &with(&conf, "prevResult", result)).result()?;
    let leases = PathBuf::from(store).join("web");
    assert!(leases.join("10.6.0.3").exists());
    for (id, container) in [("a", &a), ("b", &b)] {
        Run::command("DEL", id, container, &conf).result()?;
        Run::command("DEL", id, container, &conf).result()?;
    }
    assert!(!leases.join("10.6.0.2").exists() && !leases.join("10.6.0.3").exists());
    host.has_nothing().map_err(Into::into)
}

fn static_gives_addresses() -> TestResult {
    let host = Host::new()?;
    let address = json!({ "address": "10.6.0.77/24", "gateway": "10.6.0.1" });
    let ipam = json!({ "type": "static", "addresses": [address] });
    let conf = with(&host.conf("web", json!({ "ipam": ipam })), "cniVersion", "1.0.0");
    let a = Container::new()?;
    let result = Run::command("ADD", "a", &a, &conf).result()?;
    assert_eq!(result["ips"][0]["address"], "10.6.0.77/24");
    Run::command("DEL", "a", &a, &conf).result()?;
    host.has_nothing().map_err(Into::into)
}
