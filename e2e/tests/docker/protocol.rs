//! Every method of the protocol by itself, as dockerd would call it.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use ctl::response::PortInfo;
use ctl::{
    Allowance, BridgeAdd, Mutation, NatAdd, NatRule, NetdevMode, NetworkConnect, NetworkDisconnect,
    Port, PortAdd, PortKind, Publish, Query, RouteDel,
};
use e2e::{Host, Outcome, Plugin, Switch};
use netlab::{Container, LabError, Need, Test, TestResult, test};
use serde_json::{Value, json};

pub fn tests() -> Vec<Test> {
    [
        test!(the_plugin_says_what_it_is),
        test!(an_endpoint_goes_through_its_whole_life),
        test!(many_ports_are_published_all_or_none),
        test!(who_publishes_without_an_uplink_is_told_how_to_make_one),
        test!(who_publishes_on_a_network_without_a_way_out_is_told_why),
        test!(a_wire_that_was_put_on_a_network_by_hand_goes_with_it_and_a_container_keeps_both),
        test!(what_refers_to_dockers_network_goes_with_it_and_the_log_names_it),
        test!(a_port_is_published_at_any_address_that_leads_to_the_switch),
        test!(containers_that_begin_at_once_get_different_ports_of_a_range),
        test!(a_port_of_a_range_that_a_program_of_the_host_has_is_passed_by),
        test!(a_network_without_addresses_is_made_for_dockers_null_driver),
        test!(what_is_repeated_or_gone_already_is_no_error),
        test!(an_address_is_given_to_who_asks_and_is_free_again),
        test!(failures_are_told_by_each_drivers_own_name),
        test!(what_is_no_request_is_refused_and_others_are_served_on),
        test!(a_method_waits_for_a_daemon_that_is_not_there_yet),
    ]
    .into_iter()
    .map(|test| test.needs(Need::Tun))
    .collect()
}

const NETWORK: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const ENDPOINT: &str = "2222222222222222222222222222222222222222222222222222222222222222";

/// A host with the switch and its plugin.
struct Wire {
    switch: Switch,
    host: Host,
}

impl Wire {
    fn new() -> Outcome<Self> {
        let host = Host::new()?;
        let plugin = format!("--docker={}", Plugin::socket(&host).display());
        Ok(Self { switch: Switch::start(&host, &[&plugin])?, host })
    }

    fn connect(&self) -> Outcome<UnixStream> {
        let stream = UnixStream::connect(Plugin::socket(&self.host))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(stream)
    }

    /// Sends a request, and reads until the connection ends.
    fn exchange(&self, request: &[u8]) -> Outcome<(u16, String)> {
        let mut stream = self.connect()?;
        stream.write_all(request)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.get(9..12).ok_or("no status")?.parse()?;
        let (_, body) = answer.split_once("\r\n\r\n").ok_or("no body")?;
        Ok((status, body.to_owned()))
    }

    fn post(&self, path: &str, body: &str) -> Outcome<(u16, String)> {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Length: {length}"
        );
        self.exchange(format!("{head}\r\n\r\n{body}").as_bytes())
    }

    /// Calls a method that is understood.
    fn call(&self, method: &str, arguments: Value) -> Outcome<Value> {
        let (status, body) = self.post(&format!("/{method}"), &arguments.to_string())?;
        assert_eq!(status, 200, "{method}: {body}");
        Ok(serde_json::from_str(&body)?)
    }

    /// Calls a method that has nothing to say.
    fn done(&self, method: &str, arguments: Value) -> Outcome<()> {
        assert_eq!(self.call(method, arguments)?, json!({}), "{method}");
        Ok(())
    }

    fn create_network(&self, options: Value) -> Outcome<()> {
        let ipv4 = json!([{ "AddressSpace": "LocalDefault", "Pool": "10.9.0.0/24", "Gateway": "10.9.0.1/24",
                            "AuxAddresses": { "x": "10.9.0.5/24" } }]);
        let request =
            json!({ "NetworkID": NETWORK, "Options": options, "IPv4Data": ipv4, "IPv6Data": [] });
        self.done("NetworkDriver.CreateNetwork", request)
    }
}

fn endpoint() -> Value {
    json!({ "NetworkID": NETWORK, "EndpointID": ENDPOINT })
}

fn the_plugin_says_what_it_is() -> TestResult {
    let wire = Wire::new()?;
    let cases = [
        ("Plugin.Activate", json!({ "Implements": ["NetworkDriver", "IpamDriver"] })),
        (
            "NetworkDriver.GetCapabilities",
            json!({ "Scope": "local", "ConnectivityScope": "local", "GwAllocChecker": false }),
        ),
        ("NetworkDriver.GwAllocCheck", json!({ "SkipIPv4": false, "SkipIPv6": false })),
        ("NetworkDriver.AllocateNetwork", json!({ "Options": {} })),
        ("NetworkDriver.FreeNetwork", json!({})),
        ("NetworkDriver.DiscoverNew", json!({})),
        ("NetworkDriver.DiscoverDelete", json!({})),
        (
            "IpamDriver.GetCapabilities",
            json!({ "RequiresMACAddress": true, "RequiresRequestReplay": false }),
        ),
        (
            "IpamDriver.GetDefaultAddressSpaces",
            json!({ "LocalDefaultAddressSpace": "vswitch-local", "GlobalDefaultAddressSpace": "vswitch-global" }),
        ),
    ];
    for (method, answer) in cases {
        assert_eq!(wire.call(method, json!({ "NetworkID": NETWORK }))?, answer, "{method}");
    }
    // What has no arguments may have no body at all.
    assert_eq!(wire.post("/Plugin.Activate", "")?.0, 200);
    assert_eq!(wire.post("/NetworkDriver.GetCapabilities", "")?.0, 200);
    Ok(())
}

fn an_endpoint_goes_through_its_whole_life() -> TestResult {
    let wire = Wire::new()?;
    wire.create_network(json!({ "com.docker.network.generic": {} }))?;
    let mut create = endpoint();
    create["Interface"] = json!({ "Address": "10.9.0.2/24", "AddressIPv6": "", "MacAddress": "" });
    let created = wire.call("NetworkDriver.CreateEndpoint", create)?;
    let interface = created["Interface"].as_object().ok_or("no interface")?;
    let keys: Vec<_> = interface.keys().collect();
    assert_eq!(keys, ["MacAddress"], "only what was not given is answered");
    let container = Container::new()?;
    let mut join = endpoint();
    join["SandboxKey"] = json!(container.reference().path());
    let joined = wire.call("NetworkDriver.Join", join)?;
    assert_eq!(joined["Gateway"], "10.9.0.1");
    assert_eq!(
        joined["InterfaceName"],
        json!({ "SrcName": "vsw222222222222", "DstPrefix": "eth" })
    );
    let made = wire.host.namespace.link("vsw222222222222")?;
    let mac = made.mac.map(|mac| ctl::MacAddr(mac).to_string());
    assert_eq!(mac.as_deref(), interface["MacAddress"].as_str());
    let mut program = endpoint();
    program["Options"] = json!({ "com.docker.network.portmap": [
        { "Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": 8080, "HostPortEnd": 8080 } ] });
    wire.done("NetworkDriver.ProgramExternalConnectivity", program.clone())?;
    wire.done("NetworkDriver.ProgramExternalConnectivity", program)?;
    let info = wire.call("NetworkDriver.EndpointOperInfo", endpoint())?;
    assert_eq!(info["Value"]["com.docker.network.portmap"][0]["HostPort"], 8080);
    assert_eq!(info["Value"]["vswitch.port"], "docker-222222222222");
    wire.done("NetworkDriver.RevokeExternalConnectivity", endpoint())?;
    let info = wire.call("NetworkDriver.EndpointOperInfo", endpoint())?;
    assert_eq!(info["Value"]["com.docker.network.portmap"], json!([]));
    wire.done("NetworkDriver.Leave", endpoint())?;
    let refused = wire.call("NetworkDriver.DeleteNetwork", json!({ "NetworkID": NETWORK }))?;
    assert!(refused["Err"].as_str().ok_or("no error")?.contains("docker-222222222222"));
    wire.done("NetworkDriver.DeleteEndpoint", endpoint())?;
    wire.done("NetworkDriver.DeleteNetwork", json!({ "NetworkID": NETWORK }))?;
    assert_eq!((wire.switch.networks()?.len(), wire.switch.leases()?.len()), (0, 0));
    Ok(())
}

fn many_ports_are_published_all_or_none() -> TestResult {
    let wire = Wire::new()?;
    wire.create_network(json!({}))?;
    let other = json!({ "NetworkID": NETWORK, "EndpointID": ENDPOINT.replace('2', "3") });
    for (mut create, address) in [(endpoint(), "10.9.0.2/24"), (other.clone(), "10.9.0.3/24")] {
        create["Interface"] = json!({ "Address": address });
        wire.call("NetworkDriver.CreateEndpoint", create)?;
    }
    let program = |mut arguments: Value, ports: std::ops::Range<u16>, last: u16| {
        let bindings = ports.map(|port| json!({ "Proto": 6, "Port": port, "HostPort": port, "HostPortEnd": port.max(last) }));
        arguments["Options"] =
            json!({ "com.docker.network.portmap": bindings.collect::<Vec<_>>() });
        wire.call("NetworkDriver.ProgramExternalConnectivity", arguments)
    };
    let published = |arguments: Value| -> Outcome<Vec<u64>> {
        let info = wire.call("NetworkDriver.EndpointOperInfo", arguments)?;
        let map = info["Value"]["com.docker.network.portmap"].as_array().ok_or("no list")?.clone();
        let mut ports: Vec<_> = map.iter().filter_map(|port| port["HostPort"].as_u64()).collect();
        ports.sort_unstable();
        Ok(ports)
    };
    assert_eq!(program(endpoint(), 20_000..21_000, 0)?, json!({}));
    assert_eq!(published(endpoint())?, (20_000..21_000).collect::<Vec<_>>());
    // The last is the other's: none is published, and those before still are.
    assert_eq!(program(other.clone(), 30_000..30_002, 0)?, json!({}));
    let refused = program(other.clone(), 19_000..20_001, 0)?;
    let said = refused["Err"].as_str().ok_or("it was published")?;
    assert!(said.contains("docker-222222222222-0"), "{said}");
    assert_eq!(published(other.clone())?, [30_000, 30_001]);
    // One with a choice has the first that is free, of those of the same request too.
    assert_eq!(program(other.clone(), 20_998..21_000, 21_100)?, json!({}));
    assert_eq!(published(other)?, [21_000, 21_001]);
    Ok(())
}

/// What is said when the endpoint publishes a port and cannot.
fn refused_port(wire: &Wire) -> Outcome<String> {
    let mut create = endpoint();
    create["Interface"] = json!({ "Address": "10.9.0.2/24" });
    wire.call("NetworkDriver.CreateEndpoint", create)?;
    let mut program = endpoint();
    program["Options"] = json!({ "com.docker.network.portmap": [{ "Proto": 6, "Port": 80, "HostPort": 8080, "HostPortEnd": 8080 }] });
    let refused = wire.call("NetworkDriver.ProgramExternalConnectivity", program)?;
    Ok(refused["Err"].as_str().ok_or("it was published")?.to_owned())
}

fn who_publishes_without_an_uplink_is_told_how_to_make_one() -> TestResult {
    let wire = Wire::new()?;
    wire.create_network(json!({}))?;
    let route = RouteDel { to: "0.0.0.0/0".parse()?, on: "outside".parse()?, if_exists: false };
    wire.switch.change(Mutation::RouteDel(route))?;
    let said = refused_port(&wire)?;
    assert!(said.contains("`vswitchctl port add world --netdev eth0 --shared`"), "{said}");
    Ok(())
}

fn who_publishes_on_a_network_without_a_way_out_is_told_why() -> TestResult {
    let cases = [
        (json!({ "com.docker.network.internal": true }), "is internal"),
        (generic("vswitch.shape", "routed"), "at their own addresses"),
        (generic("vswitch.masquerade", "false"), "`vswitchctl nat publish add"),
    ];
    for (options, fits) in cases {
        let wire = Wire::new()?;
        wire.create_network(options)?;
        let said = refused_port(&wire)?;
        assert!(said.contains(fits) && !said.contains("--shared"), "{said}");
    }
    Ok(())
}

fn generic(option: &str, value: &str) -> Value {
    json!({ "com.docker.network.generic": { option: value } })
}

fn a_wire_that_was_put_on_a_network_by_hand_goes_with_it_and_a_container_keeps_both() -> TestResult
{
    let wire = Wire::new()?;
    wire.create_network(json!({ "com.docker.network.generic": { "vswitch.network": "lan" } }))?;
    let far = Container::new()?;
    netlab::topology::veth(&wire.host.namespace, "lan0", &far, "eth0")?;
    let kind =
        PortKind::Netdev { device: "lan0".parse()?, netns: None, mode: NetdevMode::default() };
    let add = PortAdd { name: "lan0".parse()?, port: Port::new("lan".parse()?, kind) };
    wire.switch.change(Mutation::PortAdd(Box::new(add)))?;
    let names = || -> Outcome<Vec<String>> {
        let ports: Vec<PortInfo> = wire.switch.ask(Query::ports())?;
        let on_it = ports.iter().filter(|port| port.settings.bridge.as_str() == "lan");
        Ok(on_it.map(|port| port.name.to_string()).collect())
    };
    let bare = Container::new()?;
    let connect = NetworkConnect::new("lan".parse()?, bare.reference());
    wire.switch.change(Mutation::NetworkConnect(Box::new(connect)))?;
    let delete = json!({ "NetworkID": NETWORK });
    let refused = wire.call("NetworkDriver.DeleteNetwork", delete.clone())?;
    assert!(
        refused["Err"].as_str().ok_or("it was removed")?.contains("has endpoints"),
        "{refused}"
    );
    assert_eq!(names()?.len(), 2, "a container of somebody else keeps the network, and its wire");
    let disconnect =
        NetworkDisconnect { network: "lan".parse()?, netns: bare.reference(), ifname: None };
    wire.switch.change(Mutation::NetworkDisconnect(disconnect))?;
    assert_eq!(names()?, ["lan0"]);
    wire.done("NetworkDriver.DeleteNetwork", delete)?;
    assert_eq!((wire.switch.networks()?.len(), names()?.len()), (0, 0));
    wire.host.namespace.link("lan0")?;
    Ok(())
}

fn what_refers_to_dockers_network_goes_with_it_and_the_log_names_it() -> TestResult {
    let wire = Wire::new()?;
    wire.create_network(json!({ "com.docker.network.generic": { "vswitch.network": "lan" } }))?;
    let allow = Allowance { from: "outside".parse()?, to: "lan".parse()? };
    wire.switch.change(Mutation::RouteAllow(allow))?;
    let forward = "8080:10.9.0.9:80/tcp".parse()?;
    let publish = Publish { on: "outside".parse()?, forward, to: None, port: None };
    let rule = NatAdd { name: Some("by-hand".parse()?), rule: NatRule::Publish(publish) };
    wire.switch.change(Mutation::NatAdd(rule))?;
    wire.done("NetworkDriver.DeleteNetwork", json!({ "NetworkID": NETWORK }))?;
    assert_eq!((wire.switch.networks()?.len(), wire.switch.translations()?.len()), (0, 0));
    let log = std::fs::read_to_string(wire.host.directory().join("vswitchd.log"))?;
    for what in ["route allow outside lan", "nat rule by-hand"] {
        assert!(log.contains(&format!("{what} went with network lan")), "{log}");
    }
    Ok(())
}

fn a_port_is_published_at_any_address_that_leads_to_the_switch() -> TestResult {
    let wire = Wire::new()?;
    let endpoints = endpoints(&wire, 1)?;
    let mut side = BridgeAdd::new("side".parse()?);
    side.gateways = vec!["192.0.2.1/24".parse()?];
    side.proxy = vec!["192.0.2.64/28".parse()?];
    wire.switch.change(Mutation::BridgeAdd(side))?;
    // Neither is an uplink's own address.
    for address in ["192.0.2.1", "192.0.2.70"] {
        assert_eq!(publish_one(&wire, endpoints[0].clone(), address, 8000)?, 8000, "{address}");
        let rules = wire.switch.translations()?;
        let on = rules.iter().find_map(|info| match &info.rule {
            NatRule::Publish(rule) => Some(rule.on.as_str()),
            _ => None,
        });
        assert_eq!(on, Some("side"), "{address}");
    }
    let refused = publish_one(&wire, endpoints[0].clone(), "203.0.113.9", 8000)?;
    let told = refused["Err"].as_str().ok_or("it was published")?;
    assert!(told.contains("203.0.113.9 is no address of the switch outside"), "{told}");
    assert!(told.contains("port add NAME --netdev INTERFACE --shared"), "{told}");
    Ok(())
}

/// Endpoints of a new network, as many as asked for.
fn endpoints(wire: &Wire, count: u8) -> Outcome<Vec<Value>> {
    wire.create_network(json!({}))?;
    let each = (0..count).map(|number| {
        let id = format!("{number:02x}{}", &ENDPOINT[2..]);
        let arguments = json!({ "NetworkID": NETWORK, "EndpointID": id });
        let mut create = arguments.clone();
        create["Interface"] = json!({ "Address": format!("10.9.0.{}/24", number + 20) });
        let created = wire.call("NetworkDriver.CreateEndpoint", create)?;
        assert!(created.get("Err").is_none(), "{created}");
        Ok(arguments)
    });
    each.collect()
}

/// Publishes port 80 of an endpoint as one of the host's from 8000 on; which, or why not.
fn publish_one(wire: &Wire, mut arguments: Value, ip: &str, last: u16) -> Outcome<Value> {
    let asked = arguments.clone();
    let binding =
        json!({ "Proto": 6, "HostIP": ip, "Port": 80, "HostPort": 8000, "HostPortEnd": last });
    arguments["Options"] = json!({ "com.docker.network.portmap": [binding] });
    let done = wire.call("NetworkDriver.ProgramExternalConnectivity", arguments)?;
    if done != json!({}) {
        return Ok(done);
    }
    let info = wire.call("NetworkDriver.EndpointOperInfo", asked)?;
    Ok(info["Value"]["com.docker.network.portmap"][0]["HostPort"].clone())
}

fn containers_that_begin_at_once_get_different_ports_of_a_range() -> TestResult {
    const COUNT: u8 = 20;
    let wire = Wire::new()?;
    let endpoints = endpoints(&wire, COUNT)?;
    let last = 8000 + u16::from(COUNT) - 1;
    let start = Barrier::new(usize::from(COUNT));
    let got: Vec<Result<Value, String>> = thread::scope(|scope| {
        let begin = |arguments: &Value| {
            start.wait();
            publish_one(&wire, arguments.clone(), "", last).map_err(|error| error.to_string())
        };
        let threads: Vec<_> =
            endpoints.iter().map(|arguments| scope.spawn(move || begin(arguments))).collect();
        let panicked = |_| Err("it panicked".to_owned());
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    });
    let got = got.into_iter().collect::<Result<Vec<_>, _>>()?;
    let ports: BTreeSet<_> = got.iter().filter_map(Value::as_u64).collect();
    assert!(ports.into_iter().eq(8000..=u64::from(last)), "{got:?}");
    Ok(())
}

fn a_port_of_a_range_that_a_program_of_the_host_has_is_passed_by() -> TestResult {
    let wire = Wire::new()?;
    let endpoints = endpoints(&wire, 2)?;
    let failed = |source| LabError::Socket { operation: "listen", source };
    let bind = |port: u16| TcpListener::bind(("127.0.0.1", port)).map_err(failed);
    let taken = 8000..8020;
    let programs = taken.clone().map(|port| wire.host.namespace.run(|| bind(port)));
    let _programs = programs.collect::<Result<Vec<_>, _>>()?;
    let publish =
        |number: usize, last| publish_one(&wire, endpoints[number].clone(), "127.0.0.1", last);
    assert_eq!(publish(0, taken.end)?, taken.end, "a range is tried to its end");
    // There is none left, and the answer says who has them.
    let refused = publish(1, taken.end)?;
    assert!(refused["Err"].as_str().is_some_and(|said| said.contains("8019")), "{refused}");
    Ok(())
}

fn a_network_without_addresses_is_made_for_dockers_null_driver() -> TestResult {
    let wire = Wire::new()?;
    let ipv4 = json!([{ "AddressSpace": "null", "Pool": "0.0.0.0/0", "Gateway": "", "AuxAddresses": null }]);
    let options = json!({ "com.docker.network.generic": { "vswitch.network": "lan", "vswitch.shape": "direct" } });
    let create =
        json!({ "NetworkID": NETWORK, "Options": options, "IPv4Data": ipv4, "IPv6Data": null });
    wire.done("NetworkDriver.CreateNetwork", create)?;
    assert_eq!(wire.switch.networks()?[0].subnets, []);
    let mut create = endpoint();
    create["Interface"] = json!({ "Address": "", "MacAddress": "02:00:5e:00:53:07" });
    let created = wire.call("NetworkDriver.CreateEndpoint", create)?;
    assert_eq!(created["Interface"], json!({}));
    let mut join = endpoint();
    join["SandboxKey"] = json!(Container::new()?.reference().path());
    let joined = wire.call("NetworkDriver.Join", join)?;
    assert_eq!((&joined["Gateway"], &joined["DisableGatewayService"]), (&json!(""), &json!(true)));
    wire.done("NetworkDriver.DeleteEndpoint", endpoint())?;
    wire.done("NetworkDriver.DeleteNetwork", json!({ "NetworkID": NETWORK }))?;
    Ok(())
}

fn what_is_repeated_or_gone_already_is_no_error() -> TestResult {
    let wire = Wire::new()?;
    for _ in 0..2 {
        wire.create_network(json!({}))?;
    }
    let mut create = endpoint();
    create["Interface"] = json!({ "Address": "10.9.0.2/24" });
    let first = wire.call("NetworkDriver.CreateEndpoint", create.clone())?;
    assert_eq!(wire.call("NetworkDriver.CreateEndpoint", create)?, first);
    for _ in 0..2 {
        wire.done("NetworkDriver.RevokeExternalConnectivity", endpoint())?;
        wire.done("NetworkDriver.Leave", endpoint())?;
        wire.done("NetworkDriver.DeleteEndpoint", endpoint())?;
    }
    for _ in 0..2 {
        wire.done("NetworkDriver.DeleteNetwork", json!({ "NetworkID": NETWORK }))?;
    }
    for _ in 0..2 {
        wire.done(
            "IpamDriver.ReleaseAddress",
            json!({ "PoolID": "10.9.0.0/24", "Address": "10.9.0.2" }),
        )?;
        wire.done("IpamDriver.ReleasePool", json!({ "PoolID": "10.9.0.0/24" }))?;
    }
    Ok(())
}

fn an_address_is_given_to_who_asks_and_is_free_again() -> TestResult {
    let wire = Wire::new()?;
    let any = json!({ "AddressSpace": "vswitch-local", "Pool": "", "SubPool": "", "Options": null, "V6": false });
    let chosen = wire.call("IpamDriver.RequestPool", any)?;
    assert!(chosen["Pool"].as_str().ok_or("no subnet")?.ends_with("/24"));
    let wanted = json!({ "Pool": "10.9.0.0/24", "SubPool": "10.9.0.64/28", "V6": false });
    let pool = wire.call("IpamDriver.RequestPool", wanted.clone())?;
    assert_eq!(pool["PoolID"], wire.call("IpamDriver.RequestPool", wanted)?["PoolID"]);
    let request = |address: &str, options: Value| {
        let arguments = json!({ "PoolID": pool["PoolID"], "Address": address, "Options": options });
        wire.call("IpamDriver.RequestAddress", arguments)
    };
    let gateway = json!({ "RequestAddressType": "com.docker.network.gateway" });
    assert_eq!(request("10.9.0.9", gateway.clone())?["Address"], "10.9.0.9/24");
    assert_eq!(request("", gateway)?["Address"], "10.9.0.9/24");
    let mac = |last: u8| json!({ "com.docker.network.endpoint.macaddress": format!("02:42:00:00:00:0{last}") });
    let first = request("", mac(1))?["Address"].clone();
    assert_eq!(first, "10.9.0.65/24", "the first of its part");
    assert_eq!(request("", mac(1))?["Address"], first, "the same for the same");
    assert_ne!(request("", mac(2))?["Address"], first);
    // What `--aux-address` names is nobody's lease, and goes with the subnet.
    assert_eq!(request("10.9.0.7", json!({}))?["Address"], "10.9.0.7/24");
    assert_eq!(wire.switch.leases()?.len(), 2);
    let refused = request("10.9.0.7", mac(4))?;
    assert!(refused["Error"].as_str().ok_or("no error")?.contains("reserved"), "{refused}");
    let taken = request("10.9.0.65", mac(3))?;
    assert!(taken["Error"].as_str().ok_or("no error")?.contains("10.9.0.65"));
    for address in ["10.9.0.65", "10.9.0.66", "10.9.0.7", "10.9.0.9"] {
        let release = json!({ "PoolID": pool["PoolID"], "Address": address });
        wire.done("IpamDriver.ReleaseAddress", release)?;
    }
    assert_eq!(wire.switch.leases()?.len(), 0);
    wire.done("IpamDriver.ReleasePool", json!({ "PoolID": pool["PoolID"] }))?;
    wire.done("IpamDriver.ReleasePool", json!({ "PoolID": chosen["PoolID"] }))?;
    let six = wire.call("IpamDriver.RequestPool", json!({ "V6": true }))?;
    assert!(six["Pool"].as_str().ok_or("no subnet")?.starts_with("fd"));
    Ok(())
}

fn failures_are_told_by_each_drivers_own_name() -> TestResult {
    let wire = Wire::new()?;
    let mut join = endpoint();
    join["SandboxKey"] = json!("/run/netns/none");
    let mut program = endpoint();
    program["Options"] = json!({ "com.docker.network.portmap": "all" });
    let cases = [
        ("NetworkDriver.CreateEndpoint", endpoint(), "Err"),
        ("NetworkDriver.EndpointOperInfo", endpoint(), "Err"),
        ("NetworkDriver.Join", join, "Err"),
        ("NetworkDriver.ProgramExternalConnectivity", program, "Err"),
        ("NetworkDriver.CreateNetwork", json!({ "NetworkID": "short" }), "Err"),
        (
            "NetworkDriver.DeleteEndpoint",
            json!({ "NetworkID": NETWORK, "EndpointID": "../../x" }),
            "Err",
        ),
        ("IpamDriver.RequestPool", json!({ "Pool": "10.0.0.1/24" }), "Error"),
        ("IpamDriver.RequestPool", json!({ "SubPool": "10.0.0.0/28" }), "Error"),
        ("IpamDriver.RequestPool", json!({ "Options": { "vswitch.network": "none" } }), "Error"),
        ("IpamDriver.RequestPool", json!({ "Options": { "vswitch.netwrk": "web" } }), "Error"),
        (
            "IpamDriver.RequestAddress",
            json!({ "PoolID": "10.0.0.0/24", "Address": "10.0.0.7" }),
            "Error",
        ),
        ("IpamDriver.RequestAddress", json!({ "PoolID": "nonsense" }), "Error"),
        ("IpamDriver.ReleasePool", json!({ "PoolID": "" }), "Error"),
    ];
    for (method, arguments, name) in cases {
        let answer = wire.call(method, arguments.clone())?;
        let said = answer[name].as_str().unwrap_or_default();
        assert!(!said.is_empty(), "{method} {arguments}: {answer}");
    }
    assert_eq!((wire.switch.networks()?.len(), wire.switch.leases()?.len()), (0, 0));
    Ok(())
}

fn what_is_no_request_is_refused_and_others_are_served_on() -> TestResult {
    let wire = Wire::new()?;
    for path in [
        "/",
        "/NetworkDriver",
        "/NetworkDriver.",
        "/NetworkDriver.Nothing",
        "/IpamDriver.Join",
        "/VolumeDriver.List",
    ] {
        let (status, body) = wire.post(path, "{}")?;
        assert_eq!(status, 404, "{path}");
        assert!(body.contains("Err"), "{body}");
    }
    for body in ["", "{", "[]", "{\"NetworkID\":7}", "\u{0}"] {
        assert_eq!(wire.post("/NetworkDriver.DeleteNetwork", body)?.0, 400, "{body:?}");
        assert_eq!(wire.post("/IpamDriver.ReleasePool", body)?.0, 400, "{body:?}");
    }
    let raw: [(&[u8], u16); 4] = [
        (b"GET /Plugin.Activate HTTP/1.1\r\n\r\n", 405),
        (b"POST /Plugin.Activate HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST /Plugin.Activate HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n", 413),
        (b"nonsense\r\n\r\n", 400),
    ];
    for (request, status) in raw {
        assert_eq!(wire.exchange(request)?.0, status);
    }
    // A request may come in pieces. Its connection is not kept, whatever was asked for.
    let mut stream = wire.connect()?;
    for piece in ["POST /Plugin.Activate HT", "TP/1.1\r\nContent-Length: 2\r\n\r\n{", "}"] {
        stream.write_all(piece.as_bytes())?;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    assert!(answer.contains("200 OK") && answer.contains("\r\nConnection: close\r\n"), "{answer}");
    // Who says nothing is in nobody's way.
    let silent: Vec<_> = (0..20).map(|_| wire.connect()).collect::<Result<_, _>>()?;
    assert_eq!(wire.post("/Plugin.Activate", "")?.0, 200);
    drop(silent);
    Ok(())
}

fn a_method_waits_for_a_daemon_that_is_not_there_yet() -> TestResult {
    let host = Host::new()?;
    let plugin = Plugin::start(&host)?;
    let request = format!(
        "POST /NetworkDriver.DeleteNetwork HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{{\"NetworkID\":{NETWORK:?}}}",
        NETWORK.len() + 16
    );
    let mut stream = UnixStream::connect(Plugin::socket(&host))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(request.as_bytes())?;
    let _switch = Switch::start(&host, &[])?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    assert!(answer.ends_with("\r\n\r\n{}"), "{answer}");
    drop(plugin);
    Ok(())
}
