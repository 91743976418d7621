//! The command line: what it understands, what it asks for, what it says about itself.

use std::ffi::{OsStr, OsString};

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use ctl::ErrorCode;
use ctl::wire::{Envelope, request_line};
use serde_json::{Value, json};

use super::aliases::{ALIASES, translate};
use super::args::{Arguments, Color};
use super::requests;

fn parse(line: &str) -> Result<Arguments, clap::Error> {
    let words = line.split_whitespace().map(|word| OsString::from(word.trim_matches('\'')));
    Arguments::try_parse_from(translate(words.collect()))
}

/// What a command line asks of the daemon: operation and arguments.
fn asks(line: &str) -> (String, Value) {
    let arguments = parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    let request = requests::of(&arguments.command).unwrap();
    let line = request_line(&Envelope { id: 1, request }).unwrap();
    let mut request: Value = serde_json::from_slice(&line).unwrap();
    (request["op"].as_str().unwrap().to_owned(), request["args"].take())
}

/// A command and everything below it, with its names.
fn commands(name: &str, command: &clap::Command) -> Vec<(String, clap::Command)> {
    let below = command
        .get_subcommands()
        .flat_map(|sub| commands(&format!("{name} {}", sub.get_name()), sub));
    std::iter::once((name.to_owned(), command.clone())).chain(below).collect()
}

#[test]
fn the_definition_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn every_command_shows_examples_and_they_are_valid() {
    for (name, command) in commands("vswitchctl", &Arguments::command()) {
        if name != "vswitchctl" && command.has_subcommands() {
            continue;
        }
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples: Vec<_> =
            help.lines().map(str::trim).filter(|line| line.starts_with("vswitchctl ")).collect();
        assert!(!examples.is_empty(), "`{name}` shows no example");
        for example in examples {
            let command = example.split(['|', '>']).next().unwrap();
            parse(command).unwrap_or_else(|error| panic!("{example}: {error}"));
        }
    }
}

#[test]
fn every_command_and_option_is_explained() {
    for (name, command) in commands("vswitchctl", &Arguments::command()) {
        assert!(command.get_about().is_some(), "`{name}` is not explained");
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{} of `{name}`", argument.get_id());
        }
    }
}

#[test]
fn the_help_lists_the_exit_code_of_every_error() {
    let help = Arguments::command().render_help().to_string();
    let listed = [
        (ErrorCode::Internal, "1 internal error"),
        (ErrorCode::Invalid, "2 bad request"),
        (ErrorCode::TooLarge, "2 bad request"),
        (ErrorCode::Version, "2 bad request"),
        (ErrorCode::NotFound, "3 does not exist"),
        (ErrorCode::Exists, "4 exists already or is in use"),
        (ErrorCode::InUse, "4 exists already or is in use"),
        (ErrorCode::Host, "5 the kernel refused"),
        (ErrorCode::Unavailable, "6 vswitchd is not reachable"),
        (ErrorCode::Denied, "7 not permitted"),
    ];
    for (code, text) in listed {
        assert!(text.starts_with(&code.exit_code().to_string()), "{code:?}");
        assert!(help.contains(text), "{text}");
    }
}

#[test]
fn each_command_asks_for_what_it_says() {
    let tap = json!({ "netns": "web", "ifname": "eth0", "ips": ["10.0.0.2/24", "fd00::2/64"],
                      "gateways": ["10.0.0.1"], "mac": "02:00:00:00:00:01", "queues": 2 });
    let netdev = json!({ "device": "eth1", "netns": "web", "mode": "xdp" });
    let trunk = json!({ "trunk": { "allowed": "1-2,10", "native": 1 } });
    let cases = [
        ("bridge list", "bridge.list", Value::Null),
        ("bridge show br0", "bridge.show", json!({ "name": "br0" })),
        ("bridge add br0", "bridge.add", json!({ "name": "br0" })),
        (
            "bridge add br0 --ageing 60 --mac-limit 5 --mtu 9000 --may-exist",
            "bridge.add",
            json!({ "name": "br0", "ageing_seconds": 60, "mac_limit": 5, "mtu": 9000,
                    "may_exist": true }),
        ),
        ("bridge set br0 --mtu 1400", "bridge.set", json!({ "name": "br0", "mtu": 1400 })),
        ("bridge del br0 --if-exists", "bridge.del", json!({ "name": "br0", "if_exists": true })),
        ("port list", "port.list", Value::Null),
        ("port show p0", "port.show", json!({ "name": "p0" })),
        ("port del p0", "port.del", json!({ "name": "p0" })),
        (
            "port add p0 --bridge br0 --tap --netns web --ip 10.0.0.2/24 --ip fd00::2/64 \
             --gateway 10.0.0.1 --mac 02:00:00:00:00:01 --queues 2 --isolated --hairpin \
             --mac-limit 5 --mtu 1400 --access 10",
            "port.add",
            json!({ "name": "p0", "port": { "bridge": "br0", "kind": { "tap": tap },
                    "vlan": { "access": 10 }, "isolated": true, "hairpin": true, "mac_limit": 5,
                    "mtu": 1400 } }),
        ),
        (
            "port add p0 --bridge br0 --netdev eth1 --netns web --mode xdp --trunk 1,2,10 --native 1",
            "port.add",
            json!({ "name": "p0",
                    "port": { "bridge": "br0", "kind": { "netdev": netdev }, "vlan": trunk } }),
        ),
        (
            "port set p0 --isolated false --mtu 1400",
            "port.set",
            json!({ "name": "p0", "isolated": false, "mtu": 1400 }),
        ),
        (
            "port set p0 --mtu bridge --mac-limit bridge",
            "port.set",
            json!({ "name": "p0", "mtu": null, "mac_limit": null }),
        ),
        ("port move p0 --worker 1", "port.move", json!({ "name": "p0", "worker": 1 })),
        ("port set p0 --no-vlans", "port.set", json!({ "name": "p0", "vlan": "unaware" })),
        (
            "attach web --bridge br0 --ip 10.0.0.2/24 --trunk 5",
            "attach",
            json!({ "netns": "web", "bridge": "br0", "ifname": "eth0", "ips": ["10.0.0.2/24"],
                    "vlan": { "trunk": { "allowed": "5" } } }),
        ),
        ("detach 4711 --ifname net1", "detach", json!({ "netns": "4711", "ifname": "net1" })),
        ("fdb show", "fdb.show", json!({})),
        (
            "fdb flush br0 --port p0 --vlan 10",
            "fdb.flush",
            json!({ "bridge": "br0", "port": "p0", "vlan": 10 }),
        ),
        (
            "fdb add br0 02:00:00:00:00:01 --port p0",
            "fdb.add",
            json!({ "bridge": "br0", "station": { "mac": "02:00:00:00:00:01", "port": "p0" } }),
        ),
        (
            "fdb del br0 02:00:00:00:00:01 --vlan 10",
            "fdb.del",
            json!({ "bridge": "br0", "mac": "02:00:00:00:00:01", "vlan": 10 }),
        ),
        (
            "add-port br0 veth0",
            "port.add",
            json!({ "name": "veth0", "port": { "bridge": "br0",
                    "kind": { "netdev": { "device": "veth0", "mode": "auto" } } } }),
        ),
        ("stats", "stats", Value::Null),
        ("drops", "drops", Value::Null),
        ("perf", "perf", Value::Null),
        ("status", "status", Value::Null),
        ("version", "version", Value::Null),
    ];
    for (line, op, args) in cases {
        assert_eq!(asks(&format!("vswitchctl {line}")), (op.to_owned(), args), "{line}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_before_anybody_is_asked() {
    use ErrorKind::{ArgumentConflict, MissingRequiredArgument, ValueValidation};
    let cases = [
        ("bridge add b/r", ValueValidation),
        ("bridge add br0 --mtu 67", ValueValidation),
        ("bridge set br0", MissingRequiredArgument),
        ("port set p0", MissingRequiredArgument),
        ("port set p0 --access 10 --no-vlans", ArgumentConflict),
        ("port add p0 --tap", MissingRequiredArgument),
        ("port add p0 --bridge br0", MissingRequiredArgument),
        ("port add p0 --bridge br0 --tap --netdev eth1", ArgumentConflict),
        ("port add p0 --bridge br0 --tap --mode xdp", ArgumentConflict),
        ("port add p0 --bridge br0 --netdev eth1 --ip 10.0.0.2/24", ArgumentConflict),
        ("port add p0 --bridge br0 --netdev eth1 --queues 2", ArgumentConflict),
        ("port add p0 --bridge br0 --tap --native 1", MissingRequiredArgument),
        ("port add p0 --bridge br0 --tap --access 1 --trunk 2", ArgumentConflict),
        ("port add p0 --bridge br0 --tap --access 4095", ValueValidation),
        ("attach web", MissingRequiredArgument),
        ("attach a/b --bridge br0", ValueValidation),
        ("attach web --bridge br0 --ip 10.0.0.2", ValueValidation),
    ];
    for (line, kind) in cases {
        let error = parse(&format!("vswitchctl {line}")).expect_err(line);
        assert_eq!((error.kind(), error.exit_code()), (kind, 2), "{line}: {error}");
    }
}

#[test]
fn every_alias_is_a_command() {
    let places = commands("", &Arguments::command());
    for (alias, names) in ALIASES {
        let name = format!(" {}", names.join(" "));
        assert!(places.iter().any(|(place, _)| *place == name), "{alias} means {name}");
        let words = ["vswitchctl", "--socket", alias, "--json", alias, "x"].map(OsString::from);
        let translated = translate(words.to_vec());
        assert_eq!(translated[..4], words[..4], "{alias}");
        assert_eq!(translated[4..], [names, &["x"]].concat(), "{alias}");
    }
}

#[test]
fn an_alias_is_one_in_the_place_of_the_command_only() {
    let kept = ["vswitchctl", "port", "show", "list-br"].map(OsString::from).to_vec();
    assert_eq!(translate(kept.clone()), kept);
    for words in [vec![], vec![OsString::from("vswitchctl")]] {
        assert_eq!(translate(words.clone()), words);
    }
    for alias in ["pmd-perf-show", "show", "addif br0 veth0", "fdb/show br0 --port p0"] {
        parse(&format!("vswitchctl {alias}")).unwrap();
    }
}

#[test]
fn colours_are_for_terminals_unless_one_insists() {
    let set = Some(OsStr::new("1"));
    assert!(Color::Auto.applies(true, None));
    assert!(Color::Auto.applies(true, Some(OsStr::new(""))));
    assert!(!Color::Auto.applies(true, set));
    assert!(!Color::Auto.applies(false, None));
    assert!(Color::Always.applies(false, set));
    assert!(!Color::Never.applies(true, None));
}
