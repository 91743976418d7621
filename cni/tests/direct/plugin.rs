//! A host with a daemon, and runs of the plugin on it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use ctl::response::{ConnPage, FdbInfo, LeaseInfo, NatInfo, NeighborInfo, NetworkInfo, PortInfo};
use ctl::{Client, ConnList, FdbFilter, IpamFilter, Mutation, NeighborFilter, Query, Request};

use netlab::Container;
pub use netlab::eventually;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use vswitch::control::Background;
use vswitch::worker::PollMode;

pub type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A name that no other test uses.
pub fn unique(stem: &str) -> String {
    format!("{stem}{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A host with a daemon.
pub struct Host {
    daemon: Option<Background>,
    socket: PathBuf,
}

impl Host {
    /// A host with a daemon that has nothing yet.
    pub fn new() -> Fallible<Self> {
        let mut host = Self::without_daemon();
        host.start()?;
        Ok(host)
    }

    /// The daemon starts, with what it knew before.
    pub fn start(&mut self) -> Fallible<()> {
        let state = Some(self.socket.with_extension("state"));
        self.daemon = Some(Background::start(self.socket.clone(), PollMode::Adaptive, state)?);
        Ok(())
    }

    /// A host on which no daemon runs.
    pub fn without_daemon() -> Self {
        Self { daemon: None, socket: PathBuf::from(unique("/run/vswitch-")) }
    }

    /// The daemon ends.
    pub fn stop(&mut self) {
        self.daemon = None;
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// A network configuration of version 1.1.0 with these keys beside the necessary ones.
    pub fn conf(&self, name: &str, keys: Value) -> Value {
        let mut conf = json!({
            "cniVersion": "1.1.0", "name": name, "type": "vswitch-cni", "socket": self.socket,
        });
        let (Value::Object(conf), Value::Object(keys)) = (&mut conf, keys) else {
            panic!("keys are an object")
        };
        conf.extend(keys);
        Value::Object(std::mem::take(conf))
    }

    pub fn ask<T: DeserializeOwned>(&self, query: Query) -> Fallible<T> {
        Ok(Client::connect(&self.socket)?.ask(Request::Query(query))?)
    }

    pub fn change(&self, mutation: Mutation) -> Fallible<()> {
        Ok(Client::connect(&self.socket)?.call(Request::Mutation(mutation)).map(drop)?)
    }

    pub fn networks(&self) -> Fallible<Vec<NetworkInfo>> {
        self.ask(Query::NetworkList)
    }

    pub fn ports(&self) -> Fallible<Vec<PortInfo>> {
        self.ask(Query::ports())
    }

    /// That nothing of any container is left in the daemon; somebody outside is none.
    pub fn has_nothing(&self) -> Fallible<()> {
        assert_eq!(self.leftovers()?, Vec::<String>::new());
        Ok(())
    }

    /// What there is of any container: its port, addresses, published ports, stations, neighbours and sessions.
    pub fn leftovers(&self) -> Fallible<Vec<String>> {
        let mut all = Vec::new();
        let ports = self.ports()?.into_iter().filter(|port| port.name.as_str() != "world");
        all.extend(ports.map(|port| format!("port {}", port.name)));
        let leases: Vec<LeaseInfo> = self.ask(Query::IpamList(IpamFilter::default()))?;
        all.extend(leases.iter().map(|lease| format!("address {}", lease.address)));
        let rules: Vec<NatInfo> = self.ask(Query::NatList)?;
        let rules = rules.iter().filter(|rule| rule.rule.port().is_some());
        all.extend(rules.map(|rule| format!("rule {}", rule.name)));
        let stations: Vec<FdbInfo> = self.ask(Query::FdbShow(FdbFilter::default()))?;
        let stations = stations.iter().filter(|station| station.bridge.as_str() != "up");
        all.extend(stations.map(|station| format!("station {}", station.mac)));
        let known: Vec<NeighborInfo> = self.ask(Query::NeighborShow(NeighborFilter::default()))?;
        let known = known.iter().filter(|neighbor| neighbor.bridge.as_str() != "up");
        all.extend(known.map(|neighbor| format!("neighbour {}", neighbor.ip)));
        let sessions: ConnPage = self.ask(Query::ConnList(ConnList::default()))?;
        all.extend(
            sessions.sessions.iter().map(|session| format!("session {}", session.initiator)),
        );
        Ok(all)
    }
}

/// One run of the plugin.
#[derive(Debug, Clone)]
pub struct Run {
    variables: Map<String, Value>,
    input: Vec<u8>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    pub success: bool,
    pub output: String,
}

impl Run {
    /// A run with these variables and a configuration.
    pub fn of(variables: Value, conf: &Value) -> Self {
        let Value::Object(variables) = variables else { panic!("variables are an object") };
        Self { variables, input: conf.to_string().into_bytes() }
    }

    /// A run for the interface `eth0` of a container.
    pub fn command(command: &str, id: &str, container: &Container, conf: &Value) -> Self {
        let netns = container.reference().path();
        let variables = json!({
            "CNI_COMMAND": command, "CNI_CONTAINERID": id, "CNI_NETNS": netns,
            "CNI_IFNAME": "eth0", "CNI_PATH": "/usr/lib/cni",
        });
        Self::of(variables, conf)
    }

    /// The same with another value of a variable; without it if there is no value.
    #[must_use]
    pub fn with(mut self, variable: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => _ = self.variables.insert(variable.to_owned(), value.into()),
            None => _ = self.variables.remove(variable),
        }
        self
    }

    /// The same with other bytes on standard input.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    pub fn start(&self) -> Fallible<Child> {
        let variables = self.variables.iter();
        let variables = variables.filter_map(|(name, value)| Some((name, value.as_str()?)));
        let mut child = Command::new(env!("CARGO_BIN_EXE_vswitch-cni"))
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        // A plugin that ends without reading closes it.
        let _ = child.stdin.take().ok_or("no input")?.write_all(&self.input);
        Ok(child)
    }

    pub fn run(&self) -> Fallible<Said> {
        let output = self.start()?.wait_with_output()?;
        let success = output.status.success();
        Ok(Said { success, output: String::from_utf8(output.stdout)? })
    }

    /// The result of a run that succeeds.
    pub fn result(&self) -> Fallible<Value> {
        let said = self.run()?;
        if !said.success {
            return Err(format!("it failed: {}", said.output).into());
        }
        Ok(if said.output.is_empty() { Value::Null } else { serde_json::from_str(&said.output)? })
    }

    /// The error of a run that fails: its code and message.
    pub fn error(&self) -> Fallible<(u64, String)> {
        let said = self.run()?;
        assert!(!said.success, "it succeeded: {}", said.output);
        let error: Value = serde_json::from_str(&said.output)?;
        assert!(error["cniVersion"].is_string(), "{error}");
        let code = error["code"].as_u64().ok_or("no code")?;
        Ok((code, error["msg"].as_str().ok_or("no message")?.to_owned()))
    }
}

/// The same configuration with another value of a key.
pub fn with(conf: &Value, key: &str, value: impl Into<Value>) -> Value {
    let mut conf = conf.clone();
    conf[key] = value.into();
    conf
}

/// A subnet that the daemon gives addresses of.
pub fn subnet(cidr: &str) -> Value {
    json!({ "ipam": { "type": "vswitch", "subnet": cidr } })
}

/// Waits until a container's interface is gone. That the daemon closed it is not enough here: it runs in this process, and whenever
/// another test starts a plugin, the child has a copy of its descriptors until it becomes the plugin.
pub fn gone(container: &Container, ifname: &str) -> Fallible<()> {
    Ok(eventually("the interface is gone", || container.link(ifname).is_err())?)
}
