//! What the plugin understands and says, without a daemon: tables by the specification's wording, and properties.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::ffi::OsString;

use cni::{
    Args, Attachment, CniError, Command, ContainerId, Environment, Ipam, Label, NetConf, Outcome,
    SpecVersion, answer, decode,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const VARIABLES: [(&str, &str); 6] = [
    ("CNI_COMMAND", "ADD"),
    ("CNI_CONTAINERID", "c1"),
    ("CNI_NETNS", "/run/netns/c1"),
    ("CNI_IFNAME", "eth0"),
    ("CNI_ARGS", "IP=10.0.0.7"),
    ("CNI_PATH", "/opt/cni/bin:relative:/usr/lib/cni"),
];

fn read(variables: &BTreeMap<&str, &str>) -> Result<Environment, CniError> {
    Environment::read(|name| variables.get(name).map(OsString::from))
}

fn conf(text: &str) -> Result<NetConf, CniError> {
    NetConf::read(decode(text.as_bytes())?)
}

fn attachment(container: &str, ifname: &str) -> Attachment {
    Attachment { container: container.parse().unwrap(), ifname: ifname.parse().unwrap() }
}

#[test]
fn the_help_has_a_configuration_that_works_and_names_every_variable() {
    let plugin = |option: &str| {
        let plugin = std::process::Command::new(env!("CARGO_BIN_EXE_vswitch-cni"));
        let output = { plugin }.arg(option).output().unwrap();
        (
            output.status.success(),
            String::from_utf8([output.stdout, output.stderr].concat()).unwrap(),
        )
    };
    let (done, help) = plugin("--help");
    assert!(done && VARIABLES.iter().all(|(name, _)| help.contains(name)), "{help}");
    let list = &help[help.find("{ \"cniVersion\"").unwrap()..=help.rfind('}').unwrap()];
    let list: Value = serde_json::from_str(list).unwrap();
    let mut one = list["plugins"][0].clone();
    for key in ["cniVersion", "name"] {
        one[key] = list[key].clone();
    }
    let read = conf(&one.to_string()).unwrap();
    assert_eq!(read.keys.name, "web");
    let (done, version) = plugin("--version");
    assert!(done && version.contains("CNI 0.3.1, 0.4.0, 1.0.0, 1.1.0"), "{version}");
    let (done, said) = plugin("--hlep");
    assert!(!done && said.contains("--help"), "{said}");
}

#[test]
fn each_command_needs_the_variables_that_the_specification_says() {
    let needs: [(&str, &[&str]); 6] = [
        ("ADD", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]),
        ("CHECK", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]),
        ("DEL", &["CNI_CONTAINERID", "CNI_IFNAME"]),
        ("GC", &["CNI_PATH"]),
        ("STATUS", &[]),
        ("VERSION", &[]),
    ];
    for (command, needed) in needs {
        for (left_out, _) in &VARIABLES[1..] {
            let mut variables = BTreeMap::from(VARIABLES);
            variables.insert("CNI_COMMAND", command);
            variables.remove(left_out);
            let result = read(&variables);
            match needed.contains(left_out) {
                false => assert!(result.is_ok(), "{command} without {left_out}"),
                true => {
                    let error = result.unwrap_err();
                    assert_eq!(error.code(), 4);
                    assert!(error.to_string().contains(left_out), "{error}");
                }
            }
        }
    }
}

#[test]
fn an_environment_is_read_as_it_is_meant() {
    let environment = read(&BTreeMap::from(VARIABLES)).unwrap();
    let Command::Add(what, sandbox) = &environment.command else { panic!("{environment:?}") };
    assert_eq!(*what, attachment("c1", "eth0"));
    // The runtime sees its own path again; to the daemon it is the name of a namespace.
    assert_eq!(
        (sandbox.path.as_str(), sandbox.netns.to_string().as_str()),
        ("/run/netns/c1", "c1")
    );
    assert_eq!(environment.args.ips, ["10.0.0.7".parse::<std::net::IpAddr>().unwrap()]);
    let path: Vec<_> = environment.path.iter().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(path, ["/opt/cni/bin", "/usr/lib/cni"], "what is relative to nothing is no place");
}

#[test]
fn arguments_are_pairs_and_unknown_ones_are_refused_unless_told_otherwise() {
    let ok = |text: &str| text.parse::<Args>().unwrap();
    assert_eq!(ok(""), Args::default());
    assert_eq!(ok("IP=10.0.0.7,fd00::7;MAC=02:00:00:00:00:07;").ips.len(), 2);
    assert_eq!(ok("FOO=1;IgnoreUnknown=true;BAR="), Args::default());
    assert_eq!(ok("K8S_POD_NAME=a b;IgnoreUnknown=1").pod, None, "what is no name is none");
    for (text, part) in [
        ("FOO", "is no pair"),
        ("FOO=1;BAR=2", "FOO, BAR not known"),
        ("FOO=1;IgnoreUnknown=0", "FOO not known"),
        ("IgnoreUnknown=perhaps", "IgnoreUnknown"),
        ("IP=10.0.0", "10.0.0"),
        ("MAC=01:00:00:00:00:00", "01:00:00:00:00:00"),
    ] {
        let error = text.parse::<Args>().unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn a_configuration_has_the_values_that_it_says_and_defaults_for_the_rest() {
    let short = conf(r#"{"cniVersion":"1.0.0","name":"web","type":"vswitch-cni"}"#).unwrap();
    assert_eq!(short.network().unwrap().as_str(), "web");
    assert_eq!(short.keys.socket.to_str(), Some("/run/vswitch/vswitch.sock"));
    assert_eq!((short.ipam, short.previous, short.valid), (Ipam::Nobody, None, None));
    let named = r#"{"cniVersion":"1.0.0","name":"a-name-that-is-longer-than-a-bridge-may-have","bridge":"br0"}"#;
    assert_eq!(conf(named).unwrap().network().unwrap().as_str(), "br0");
    let long = named.replace(r#","bridge":"br0""#, "");
    assert_eq!(conf(&long).unwrap().network().unwrap_err().code(), 7);
    let empty = r#"{"cniVersion":"1.1.0","name":"web","ipam":{},"dns":null,"runtimeConfig":null,
        "cni.dev/valid-attachments":null,"example.org/theirs":1}"#;
    let empty = conf(empty).unwrap();
    assert_eq!((empty.ipam, empty.valid), (Ipam::Nobody, Some(Vec::new())));
}

#[test]
fn every_example_of_the_documentation_is_understood() {
    let document = include_str!("../../../docs/CONTAINERS.md");
    let blocks = document.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut found = 0;
    for block in blocks.filter(|block| block.contains("vswitch-cni")) {
        let list: Value =
            serde_json::from_str(block).unwrap_or_else(|error| panic!("{error}: {block}"));
        for plugin in list["plugins"].as_array().unwrap() {
            let mut plugin = plugin.as_object().unwrap().clone();
            plugin.insert("name".to_owned(), list["name"].clone());
            plugin.insert("cniVersion".to_owned(), list["cniVersion"].clone());
            NetConf::read(plugin).unwrap_or_else(|error| panic!("{error}: {block}"));
            found += 1;
        }
    }
    assert!(found >= 3, "{found} examples");
}

#[test]
fn an_error_speaks_the_version_of_the_configuration() {
    let said = |input: &str| {
        let answer = answer(|_| None, Ok(input.as_bytes().to_vec()));
        assert!(answer.is_error);
        answer.said.unwrap()["cniVersion"].as_str().unwrap().to_owned()
    };
    assert_eq!(said(r#"{"cniVersion":"0.4.0"}"#), "0.4.0");
    assert_eq!(said(r#"{"cniVersion":"7.0.0"}"#), "1.1.0");
    assert_eq!(said("nonsense"), "1.1.0");
}

#[test]
fn input_that_cannot_be_read_is_a_failure_of_input_and_output() {
    let variable = |name: &str| (name == "CNI_COMMAND").then(|| OsString::from("STATUS"));
    let answer = answer(variable, Err(std::io::ErrorKind::BrokenPipe.into()));
    assert_eq!(answer.said.unwrap()["code"], 5);
}

fn is_identity(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

fn version() -> impl Strategy<Value = SpecVersion> {
    proptest::sample::select(SpecVersion::ALL.to_vec())
}

/// JSON of the shapes that configurations have, right and wrong.
fn value() -> impl Strategy<Value = Value> {
    let words =
        ["vswitch", "10.1.0.0/24", "10.1.0.9", "02:00:00:00:00:01", "tcp", "1.1.0", "a/b", ""];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        proptest::sample::select(words.to_vec()).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let keys = [
            "type",
            "subnet",
            "ranges",
            "routes",
            "dst",
            "gw",
            "ips",
            "mac",
            "portMappings",
            "hostPort",
            "containerPort",
            "address",
            "interface",
            "name",
            "sandbox",
            "cni",
        ];
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(proptest::sample::select(keys.to_vec()).prop_map(str::to_owned), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = Map<String, Value>> {
    let keys = [
        "name",
        "socket",
        "network",
        "bridge",
        "ipam",
        "runtimeConfig",
        "prevResult",
        "args",
        "dns",
        "mtu",
        "mac",
        "publishOn",
        "vxlan",
        "ipMasq",
        "cni.dev/valid-attachments",
        "other",
    ];
    let key = proptest::sample::select(keys.to_vec()).prop_map(str::to_owned);
    (btree_map(key, value(), 0..6), version()).prop_map(|(map, version)| {
        let mut object: Map<_, _> = map.into_iter().collect();
        object.insert("cniVersion".to_owned(), version.to_string().into());
        object
    })
}

proptest! {
    #[test]
    fn container_identities_are_those_of_the_specification(text in "\\PC{0,4}|[a-z0-9._-]{0,8}") {
        prop_assert_eq!(text.parse::<ContainerId>().is_ok(), is_identity(&text));
    }

    #[test]
    fn a_label_is_read_as_it_was_written(
        network in "[a-z][a-z0-9._-]{0,20}", container in "[a-f0-9]{1,64}", ifname in "[a-z][a-z0-9]{0,14}",
    ) {
        let attachment = attachment(&container, &ifname);
        let label = Label::new(&network, &attachment);
        let owner = label.owner().unwrap();
        prop_assert_eq!(Label::read(&owner), Some(label));
    }

    #[test]
    fn whatever_a_configuration_is_it_is_read_or_refused_by_a_code(object in object()) {
        if let Err(error) = NetConf::read(object) {
            prop_assert!([2, 6, 7].contains(&error.code()), "{}", error);
        }
    }

    #[test]
    fn whatever_was_before_is_there_after_and_ours_refer_to_ours(
        before in object(), names in vec("[a-z]{1,8}", 1..3), version in version(),
    ) {
        let interfaces = names.iter().map(|name| json!({ "name": name, "sandbox": "/n", "mtu": 1500 }));
        let ours = json!({
            "interfaces": interfaces.collect::<Vec<_>>(),
            "ips": [{ "address": "10.1.0.9/24", "interface": 0 }],
            "routes": [{ "dst": "0.0.0.0/0" }],
        });
        let Value::Object(ours) = ours else { unreachable!() };
        let ours = Outcome::read(ours).unwrap();
        let after = ours.after(Some(&before), version);
        for (key, value) in &before {
            if !["interfaces", "ips", "routes", "dns", "cniVersion"].contains(&key.as_str()) {
                prop_assert_eq!(&after[key], value);
            }
        }
        let ip = after["ips"].as_array().unwrap().last().unwrap();
        let index = usize::try_from(ip["interface"].as_u64().unwrap()).unwrap();
        prop_assert_eq!(after["interfaces"][index]["name"].as_str(), Some(names[0].as_str()));
        prop_assert_eq!(ip.get("version").is_some(), version < SpecVersion::V1_0_0);
        let mtu = after["interfaces"][index].get("mtu").is_some();
        prop_assert_eq!(mtu, version == SpecVersion::V1_1_0);
        prop_assert_eq!(&after["cniVersion"], &json!(version.to_string()));
    }
}
