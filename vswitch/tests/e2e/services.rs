//! Services, with the kernel's TCP at both ends.

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use ctl::response::{BackendState, ConnInfo, DropInfo, ServiceInfo, TraceInfo, WhyInfo};
use ctl::{
    Backend, Balance, HealthCheck, Mutation, Named, NeighborAdd, Query, Service, ServiceAdd,
    ServiceBackends, ServiceSet, StaticNeighbor,
};
use netlab::{Container, LabError, Need, Test, TestResult, test};
use rustix::process::Signal;

use crate::daemon::{Daemon, eventually};
use crate::routing::{container, io, routed_bridge};
use crate::sessions::{sessions, tcp_only};

pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Longer than any connection takes to come about.
pub const SOON: Duration = Duration::from_secs(5);
pub const VIP: &str = "10.96.0.10:80";
pub const VIP6: &str = "[fd96::10]:80";

pub fn tests() -> Vec<Test> {
    [
        test!(connections_to_a_service_take_turns_and_keep_the_clients_address),
        test!(a_backend_drains_without_hurting_others_and_is_cut_off_when_it_is_removed),
        test!(a_backend_reaches_itself_and_its_neighbours_by_the_service),
        test!(a_service_without_backends_refuses_and_says_why),
        test!(a_backend_that_refuses_connections_is_passed_over),
        test!(a_connection_that_a_backend_does_not_answer_is_given_to_another),
        test!(a_node_port_is_reached_by_the_gateways_address),
        test!(a_client_keeps_its_backend),
        test!(services_survive_a_restart),
    ]
    .into_iter()
    .map(|test| test.needs(Need::Tun))
    .collect()
}

/// Who serves: a container that listens.
pub struct Server {
    pub container: Container,
    pub at: SocketAddr,
    pub listener: TcpListener,
}

impl Server {
    /// The next client's connection; those of checks come from privileged ports.
    fn accept(&self) -> Option<TcpStream> {
        loop {
            let (stream, from) = self.listener.accept().ok()?;
            if from.port() >= 1024 {
                return Some(stream);
            }
        }
    }
}

/// Listens in a container, and waits for nobody.
pub fn listen(container: &Container) -> Outcome<TcpListener> {
    let any: SocketAddr = "[::]:8080".parse()?;
    let listener = container.run(|| TcpListener::bind(any).map_err(io))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Three containers that serve on a bridge, and a client on another.
pub struct Scene {
    pub daemon: Daemon,
    pub servers: Vec<Server>,
    pub client: Container,
}

impl Scene {
    pub fn new() -> Outcome<Self> {
        let daemon = Daemon::start()?;
        routed_bridge(&daemon, "inside", &["10.1.0.1/24", "fd01::1/64"])?;
        routed_bridge(&daemon, "outside", &["192.0.2.1/24", "2001:db8:9::1/64"])?;
        let mut servers = Vec::new();
        for last in 2..5 {
            let addresses = [format!("10.1.0.{last}/24"), format!("fd01::{last}/64")];
            let addresses = addresses.each_ref().map(String::as_str);
            let (name, gateways) = (format!("server{last}"), ["10.1.0.1", "fd01::1"]);
            let container = container(&daemon, &name, "inside", &addresses, &gateways)?;
            let at = SocketAddr::new(format!("10.1.0.{last}").parse()?, 8080);
            let listener = listen(&container)?;
            servers.push(Server { container, at, listener });
        }
        let addresses = ["192.0.2.9/24", "2001:db8:9::9/64"];
        let gateways = ["192.0.2.1", "2001:db8:9::1"];
        let client = container(&daemon, "client", "outside", &addresses, &gateways)?;
        Ok(Self { daemon, servers, client })
    }

    /// Gives the servers one address.
    pub fn serve(&self, change: impl FnOnce(&mut Service)) -> Outcome<()> {
        let mut service = Service::new(format!("{VIP}/tcp").parse()?);
        let backend = |server: &Server| Backend { at: server.at, draining: false };
        service.backends = self.servers.iter().map(backend).collect();
        change(&mut service);
        let add = ServiceAdd { name: "web".parse()?, service };
        self.daemon.change(Mutation::ServiceAdd(Box::new(add)))?;
        Ok(())
    }

    fn backends(&self, change: impl FnOnce(&mut ServiceBackends)) -> TestResult {
        let (add, drain, del) = (Vec::new(), Vec::new(), Vec::new());
        let mut backends = ServiceBackends { name: "web".parse()?, add, drain, del };
        change(&mut backends);
        self.daemon.change(Mutation::ServiceBackends(backends))?;
        Ok(())
    }

    pub fn info(&self) -> Outcome<ServiceInfo> {
        self.info_of("web")
    }

    pub fn info_of(&self, name: &str) -> Outcome<ServiceInfo> {
        Ok(self.daemon.ask(Query::ServiceShow(Named::new(name.parse()?)))?)
    }

    /// Changes how the servers are checked.
    pub fn check_by(&self, health: Option<HealthCheck>) -> Outcome<()> {
        let set = ServiceSet { health: Some(health), ..ServiceSet::new("web".parse()?) };
        self.daemon.change(Mutation::ServiceSet(set))?;
        Ok(())
    }

    /// Connects, and says who took the connection and whom that saw.
    pub fn connect(&self, to: &str) -> Outcome<(TcpStream, TcpStream, usize)> {
        let near = connect(&self.client, to)?;
        let (at, far) = self.taken()?;
        Ok((near, far, at))
    }

    /// The connection that a server was given.
    fn taken(&self) -> Outcome<(usize, TcpStream)> {
        let taken = RefCell::new(None);
        eventually("a server takes the connection", || {
            let mut all = self.servers.iter().enumerate();
            let found = all.find_map(|(at, server)| Some((at, server.accept()?)));
            *taken.borrow_mut() = found;
            taken.borrow().is_some()
        })?;
        let (at, far) = taken.into_inner().ok_or("nobody took the connection")?;
        far.set_nonblocking(false)?;
        Ok((at, far))
    }
}

fn connect(from: &Container, to: &str) -> Outcome<TcpStream> {
    let to = to.parse()?;
    Ok(from.run(|| TcpStream::connect_timeout(&to, SOON).map_err(io))?)
}

pub fn is_refused(from: &Container, to: &str) -> Outcome<bool> {
    let to = to.parse()?;
    let error = from.run(|| Ok::<_, LabError>(TcpStream::connect_timeout(&to, SOON).err()))?;
    Ok(error.is_some_and(|error| error.kind() == ErrorKind::ConnectionRefused))
}

pub fn talk(from: &mut TcpStream, to: &mut TcpStream) -> TestResult {
    let mut heard = [0; 5];
    from.write_all(b"hello")?;
    to.set_read_timeout(Some(SOON))?;
    to.read_exact(&mut heard)?;
    assert_eq!(&heard, b"hello");
    Ok(())
}

fn connections_to_a_service_take_turns_and_keep_the_clients_address() -> TestResult {
    let scene = Scene::new()?;
    scene.serve(|_| {})?;
    let mut taken = [0; 3];
    let mut open = Vec::new();
    for _ in 0..30 {
        let (mut near, mut far, at) = scene.connect(VIP)?;
        taken[at] += 1;
        assert_eq!(far.peer_addr()?.ip().to_canonical(), near.local_addr()?.ip());
        assert_eq!(near.peer_addr()?, VIP.parse()?);
        talk(&mut near, &mut far)?;
        talk(&mut far, &mut near)?;
        open.push((near, far));
    }
    assert_eq!(taken, [10, 10, 10]);
    let info = scene.info()?;
    assert_eq!((info.sessions, info.begun), (30, 30), "{info:?}");
    assert!(info.backends.iter().all(|backend| backend.sessions == 10), "{info:?}");
    let sessions: Vec<ConnInfo> = sessions(&scene.daemon, tcp_only())?;
    let is_shown =
        |session: &ConnInfo| session.service.as_ref().is_some_and(|it| it.as_str() == "web");
    assert!(sessions.len() == 30 && sessions.iter().all(is_shown), "{sessions:?}");
    scene.daemon.check_ledger()
}

fn a_backend_drains_without_hurting_others_and_is_cut_off_when_it_is_removed() -> TestResult {
    let scene = Scene::new()?;
    scene.serve(|_| {})?;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(scene.connect(VIP)?);
    }
    let first = vec![scene.servers[0].at.to_string().parse()?];
    scene.backends(|change| change.drain.clone_from(&first))?;
    for (near, far, _) in &mut open {
        talk(near, far)?;
        talk(far, near)?;
    }
    for _ in 0..4 {
        assert_ne!(scene.connect(VIP)?.2, 0, "it drains");
    }
    assert_eq!(scene.info()?.backends[0].state, BackendState::Draining);
    scene.backends(|change| change.del = first)?;
    for (near, far, at) in &mut open {
        if *at > 0 {
            talk(near, far)?;
        } else {
            // The rest of the connection is for nobody who knows it.
            far.set_read_timeout(Some(Duration::from_millis(700)))?;
            let _ = near.write_all(b"hello");
            assert!(far.read_exact(&mut [0; 5]).is_err(), "its sessions end at once");
        }
    }
    scene.daemon.check_ledger()
}

fn a_backend_reaches_itself_and_its_neighbours_by_the_service() -> TestResult {
    let scene = Scene::new()?;
    for (vip, own, gateway) in [(VIP, "10.1.0.2", "10.1.0.1"), (VIP6, "fd01::2", "fd01::1")] {
        let service = Service {
            backends: vec![Backend { at: SocketAddr::new(own.parse()?, 8080), draining: false }],
            ..Service::new(format!("{vip}/tcp").parse()?)
        };
        let name = if own.contains(':') { "six" } else { "four" };
        let add = ServiceAdd { name: name.parse()?, service };
        scene.daemon.change(Mutation::ServiceAdd(Box::new(add)))?;
        for server in &scene.servers[..2] {
            let mut near = connect(&server.container, vip)?;
            let (at, mut far) = scene.taken()?;
            assert_eq!(at, 0);
            let seen: IpAddr = far.peer_addr()?.ip().to_canonical();
            assert_eq!(seen, gateway.parse::<IpAddr>()?, "answers have to come by the switch");
            talk(&mut near, &mut far)?;
            talk(&mut far, &mut near)?;
        }
        let (mut near, mut far, _) = scene.connect(vip)?;
        talk(&mut far, &mut near)?;
    }
    scene.daemon.check_ledger()
}

fn a_service_without_backends_refuses_and_says_why() -> TestResult {
    let scene = Scene::new()?;
    scene
        .serve(|service| service.backends.iter_mut().for_each(|backend| backend.draining = true))?;
    assert!(is_refused(&scene.client, VIP)?);
    assert!(is_refused(&scene.client, "10.96.0.10:81")?, "it does not listen there");
    let drops: Vec<DropInfo> = scene.daemon.ask(Query::drops())?;
    assert!(drops.iter().any(|drop| drop.reason == "no-backend" && drop.count == 1), "{drops:?}");
    let trace = r#"{"op":"trace","args":{"port":"client","packet":{"like":"tcp 192.0.2.9:4000 > 10.96.0.10:80"}}}"#;
    let traces: Vec<TraceInfo> = scene.daemon.ask(serde_json::from_str(trace)?)?;
    let told = format!("{traces:?}");
    assert!(told.contains("service web at 10.96.0.10:80, 0 of whose 3 backends"), "{told}");
    assert!(told.contains("no-backend"), "{told}");
    let why =
        r#"{"op":"why","args":{"from":"client","to":"10.96.0.10","protocol":"tcp","port":80}}"#;
    let why: WhyInfo = scene.daemon.ask(serde_json::from_str(why)?)?;
    assert!(format!("{why:?}").contains("no-backend"), "{why:?}");
    scene.daemon.check_ledger()
}

fn a_backend_that_refuses_connections_is_passed_over() -> TestResult {
    let mut scene = Scene::new()?;
    scene.serve(|service| service.max_fails = 2)?;
    let silent = scene.servers.remove(0);
    drop(silent.listener);
    let mut refused = 0;
    for _ in 0..12 {
        if is_refused(&scene.client, VIP)? {
            refused += 1;
        } else {
            scene.taken()?;
        }
    }
    assert_eq!(refused, 2, "after two failures it gets no more");
    let info = scene.info()?;
    let silent = &info.backends[0];
    assert!(matches!(silent.state, BackendState::Down { .. }), "{info:?}");
    assert_eq!(silent.failed, 2);
    scene.daemon.check_ledger()
}

/// A backend that is there, and says nothing: a neighbour's MAC address, who is not meant.
fn a_connection_that_a_backend_does_not_answer_is_given_to_another() -> TestResult {
    let scene = Scene::new()?;
    let silent: SocketAddr = "10.1.0.77:8080".parse()?;
    scene.serve(|service| {
        service.backends.truncate(1);
        service.backends.insert(0, Backend { at: silent, draining: false });
    })?;
    let mac = scene.servers[1].container.link("eth0")?.mac.ok_or("no address")?;
    let neighbor = StaticNeighbor { ip: silent.ip(), mac: ctl::MacAddr(mac) };
    let add = NeighborAdd { bridge: "inside".parse()?, neighbor };
    scene.daemon.change(Mutation::NeighborAdd(add))?;
    let to = VIP.parse()?;
    let patience = Duration::from_secs(20);
    let mut near = scene.client.run(|| TcpStream::connect_timeout(&to, patience).map_err(io))?;
    let (at, mut far) = scene.taken()?;
    assert_eq!(at, 0);
    talk(&mut near, &mut far)?;
    assert_eq!(scene.info()?.backends[0].failed, 1);
    scene.daemon.check_ledger()
}

fn a_node_port_is_reached_by_the_gateways_address() -> TestResult {
    let scene = Scene::new()?;
    scene.serve(|service| service.node_port = Some(30080))?;
    let (near, far, _) = scene.connect("192.0.2.1:30080")?;
    assert_eq!(far.peer_addr()?.ip().to_canonical(), near.local_addr()?.ip());
    let inside = connect(&scene.servers[0].container, "10.1.0.1:30080")?;
    scene.taken()?;
    drop(inside);
    let set = ServiceSet { node_port: Some(None), ..ServiceSet::new("web".parse()?) };
    scene.daemon.change(Mutation::ServiceSet(set))?;
    assert!(is_refused(&scene.client, "192.0.2.1:30080")?);
    scene.daemon.check_ledger()
}

fn a_client_keeps_its_backend() -> TestResult {
    let scene = Scene::new()?;
    let affinity = Some("client-ip:60".parse()?);
    scene.serve(|service| service.affinity = affinity)?;
    let first = scene.connect(VIP)?.2;
    for _ in 0..5 {
        assert_eq!(scene.connect(VIP)?.2, first);
    }
    let gone = vec![scene.servers[first].at.to_string().parse()?];
    scene.backends(|change| change.del = gone)?;
    assert_ne!(scene.connect(VIP)?.2, first);
    scene.daemon.check_ledger()
}

fn services_survive_a_restart() -> TestResult {
    let mut scene = Scene::new()?;
    scene.serve(|service| service.balance = Balance::Maglev)?;
    let drained = vec![scene.servers[2].at.to_string().parse()?];
    scene.backends(|change| change.drain = drained)?;
    let before = scene.info()?;
    scene.daemon.end(Signal::KILL)?;
    let directory = scene.daemon.directory().to_owned();
    scene.daemon = Daemon::start_in(&directory, &[])?;
    let after = scene.info()?;
    assert_eq!((after.service, after.backends), (before.service, before.backends));
    scene.client.await_ready("eth0")?;
    for server in &scene.servers {
        server.container.await_ready("eth0")?;
    }
    assert_ne!(scene.connect(VIP)?.2, 2);
    scene.daemon.check_ledger()
}
