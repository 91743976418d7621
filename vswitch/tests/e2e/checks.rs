//! Checks of services' backends, with the kernel's TCP behind the backends.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use ctl::response::{BackendInfo, BackendState, Checks, Fault};
use ctl::{Backend, HealthCheck, Mutation, Protocol, Service, ServiceAdd};
use netlab::{Need, Test, TestResult, test};
use rustix::process::Signal;

use crate::daemon::{Daemon, eventually, within};
use crate::routing::io;
use crate::services::{Outcome, SOON, Scene, Server, VIP, VIP6, is_refused, listen, talk};

pub fn tests() -> Vec<Test> {
    [
        test!(a_backend_that_stops_listening_is_passed_over_until_it_listens_again),
        test!(a_backend_is_what_it_answers_by_http),
        test!(where_all_fail_their_checks_clients_are_refused),
        test!(a_backend_that_is_gone_from_its_link_is_found_out),
        test!(datagrams_leave_a_backend_that_is_found_dead),
        test!(rules_do_not_stand_in_the_way_of_checks),
        test!(what_was_found_ends_with_the_checks),
        test!(checks_go_on_after_a_restart),
    ]
    .into_iter()
    .map(|test| test.needs(Need::Tun))
    .collect()
}

/// Checks that decide at once, each second.
fn checks(probe: &str) -> Outcome<Option<HealthCheck>> {
    let check = HealthCheck::new(probe.parse()?);
    Ok(Some(HealthCheck { interval: 1, timeout: 1, fall: 1, rise: 1, ..check }))
}

/// Three servers that are checked, and judged by nothing else.
fn checked(probe: &str) -> Outcome<Scene> {
    let scene = Scene::new()?;
    let health = checks(probe)?;
    scene.serve(|service| (service.health, service.max_fails) = (health, 0))?;
    Ok(scene)
}

/// Waits until a backend is found to be so.
fn await_backend(scene: &Scene, at: usize, is_so: impl Fn(&BackendInfo) -> bool) -> TestResult {
    let mut last = None;
    let found = eventually("a backend is found to be so", || {
        last = scene.info().ok().map(|info| info.backends[at].clone());
        last.as_ref().is_some_and(&is_so)
    });
    found.map_err(|error| format!("{error}: {last:?}").into())
}

fn await_checks(scene: &Scene, at: usize, checks: Checks) -> TestResult {
    await_backend(scene, at, |backend| backend.checks == Some(checks))
}

fn fails_with(backend: &BackendInfo, fault: Fault) -> bool {
    backend.checks == Some(Checks::Failing)
        && backend.state == BackendState::Down { seconds: None }
        && backend.fault == Some(fault)
}

fn a_backend_that_stops_listening_is_passed_over_until_it_listens_again() -> TestResult {
    let mut scene = checked("tcp")?;
    for at in 0..3 {
        await_checks(&scene, at, Checks::Passing)?;
    }
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(scene.connect(VIP)?);
    }
    let stopped = scene.servers.remove(0);
    drop(stopped.listener);
    await_backend(&scene, 0, |backend| fails_with(backend, Fault::Refused))?;
    for _ in 0..6 {
        scene.connect(VIP)?;
    }
    for (near, far, _) in &mut open {
        talk(near, far)?;
        talk(far, near)?;
    }
    assert_eq!(scene.info()?.backends[0].failed, 0, "no session was lost to it");
    let again = listen(&stopped.container)?;
    scene.servers.insert(0, Server { listener: again, ..stopped });
    await_backend(&scene, 0, |backend| backend.state == BackendState::Up)?;
    let mut taken = [0; 3];
    for _ in 0..6 {
        taken[scene.connect(VIP)?.2] += 1;
    }
    assert_eq!(taken, [2; 3]);
    scene.daemon.check_ledger()
}

/// A server that answers with this status, or with nothing, if it is 0.
fn answer(listener: &TcpListener, status: &Arc<AtomicU16>) -> Outcome<()> {
    let (listener, status) = (listener.try_clone()?, Arc::clone(status));
    listener.set_nonblocking(false)?;
    thread::spawn(move || {
        let mut unanswered = Vec::new();
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            match status.load(Ordering::Relaxed) {
                0 => unanswered.push(stream),
                status => _ = respond(&mut stream, status),
            }
        }
    });
    Ok(())
}

fn respond(stream: &mut TcpStream, status: u16) -> std::io::Result<()> {
    let mut request = [0; 1024];
    if stream.read(&mut request)? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    write!(stream, "HTTP/1.1 {status} Such\r\nContent-Length: 2\r\n\r\nno")
}

fn a_backend_is_what_it_answers_by_http() -> TestResult {
    let scene = Scene::new()?;
    let status = Arc::new(AtomicU16::new(200));
    answer(&scene.servers[0].listener, &status)?;
    for (vip, at, name) in [(VIP, "10.1.0.2", "web"), (VIP6, "fd01::2", "six")] {
        let service = Service {
            backends: vec![Backend { at: SocketAddr::new(at.parse()?, 8080), draining: false }],
            health: checks("http:/healthz")?,
            max_fails: 0,
            ..Service::new(format!("{vip}/tcp").parse()?)
        };
        let add = ServiceAdd { name: name.parse()?, service };
        scene.daemon.change(Mutation::ServiceAdd(Box::new(add)))?;
    }
    for name in ["web", "six"] {
        let is = |is_so: &dyn Fn(&BackendInfo) -> bool| {
            eventually("a backend is found to be so", || {
                scene.info_of(name).is_ok_and(|info| is_so(&info.backends[0]))
            })
        };
        is(&|backend| backend.checks == Some(Checks::Passing))?;
        status.store(500, Ordering::Relaxed);
        is(&|backend| fails_with(backend, Fault::Status(500)))?;
        status.store(302, Ordering::Relaxed);
        is(&|backend| backend.state == BackendState::Up)?;
        status.store(0, Ordering::Relaxed);
        is(&|backend| fails_with(backend, Fault::Hanging))?;
        status.store(204, Ordering::Relaxed);
        is(&|backend| backend.state == BackendState::Up)?;
    }
    scene.daemon.check_ledger()
}

fn where_all_fail_their_checks_clients_are_refused() -> TestResult {
    let scene = checked("http:/")?;
    // Nobody there answers by HTTP, or at all.
    for at in 0..3 {
        await_backend(&scene, at, |backend| fails_with(backend, Fault::Hanging))?;
    }
    assert!(is_refused(&scene.client, VIP)?);
    let health = checks("tcp")?;
    scene.check_by(health)?;
    for at in 0..3 {
        await_checks(&scene, at, Checks::Passing)?;
    }
    scene.connect(VIP)?;
    scene.daemon.check_ledger()
}

fn a_backend_that_is_gone_from_its_link_is_found_out() -> TestResult {
    let mut scene = checked("tcp")?;
    await_checks(&scene, 1, Checks::Passing)?;
    let gone = scene.servers.remove(1);
    let link = gone.container.link("eth0")?;
    gone.container.netlink()?.set_up(link.index, false)?;
    await_backend(&scene, 1, |backend| {
        fails_with(backend, Fault::Absent) || fails_with(backend, Fault::Silent)
    })?;
    for _ in 0..4 {
        scene.connect(VIP)?;
    }
    scene.daemon.check_ledger()
}

fn datagrams_leave_a_backend_that_is_found_dead() -> TestResult {
    let mut scene = Scene::new()?;
    let mut sockets = Vec::new();
    for server in &scene.servers {
        let any: SocketAddr = "0.0.0.0:5353".parse()?;
        let socket = server.container.run(|| UdpSocket::bind(any).map_err(io))?;
        socket.set_nonblocking(true)?;
        sockets.push(socket);
    }
    let health = checks("tcp")?.map(|check| HealthCheck { port: Some(8080), ..check });
    scene.serve(|service| {
        service.health = health;
        (service.listen.protocol, service.affinity) = (Protocol::Udp, None);
        service.backends.iter_mut().for_each(|backend| backend.at.set_port(5353));
    })?;
    for at in 0..3 {
        await_checks(&scene, at, Checks::Passing)?;
    }
    let any: SocketAddr = "0.0.0.0:0".parse()?;
    let client = scene.client.run(|| UdpSocket::bind(any).map_err(io))?;
    client.connect(VIP)?;
    // Whoever hears it answers, but the answer of one that is given up on at that moment goes nowhere.
    client.set_read_timeout(Some(Duration::from_millis(200)))?;
    let heard_by = |what: &str| {
        let mut by = None;
        eventually(what, || {
            let _ = client.send(b"hello");
            let mut all = sockets.iter().enumerate();
            by = all.find_map(|(at, socket)| {
                let (_, from) = socket.recv_from(&mut [0; 8]).ok()?;
                socket.send_to(b"hello", from).ok()?;
                Some(at)
            });
            by.is_some()
        })?;
        client.recv(&mut [0; 8])?;
        Ok::<_, Box<dyn std::error::Error>>(by)
    };
    let first = heard_by("somebody hears a datagram")?.ok_or("nobody")?;
    let stopped = scene.servers.remove(first);
    drop(stopped.listener);
    await_backend(&scene, first, |backend| fails_with(backend, Fault::Refused))?;
    // What came while it lived is not what is asked about.
    while sockets[first].recv(&mut [0; 8]).is_ok() {}
    within(2 * SOON, "another hears the datagrams", || {
        heard_by("somebody hears a datagram").is_ok_and(|by| by.is_some_and(|by| by != first))
    })?;
    scene.daemon.check_ledger()
}

fn rules_do_not_stand_in_the_way_of_checks() -> TestResult {
    let scene = Scene::new()?;
    let deny = "10 bridge=inside,tcp drop";
    scene.daemon.change(Mutation::FlowAdd(Box::new(deny.parse()?)))?;
    let health = checks("tcp")?;
    scene.serve(|service| service.health = health)?;
    for at in 0..3 {
        await_checks(&scene, at, Checks::Passing)?;
    }
    scene.daemon.check_ledger()
}

fn what_was_found_ends_with_the_checks() -> TestResult {
    let scene = checked("http:/")?;
    for at in 0..3 {
        await_checks(&scene, at, Checks::Failing)?;
    }
    scene.check_by(None)?;
    let info = scene.info()?;
    let is_unchecked =
        |backend: &BackendInfo| (backend.state, backend.checks) == (BackendState::Up, None);
    assert!(info.backends.iter().all(is_unchecked), "{info:?}");
    scene.connect(VIP)?;
    scene.daemon.check_ledger()
}

fn checks_go_on_after_a_restart() -> TestResult {
    let mut scene = checked("tcp")?;
    let stopped = scene.servers.remove(0);
    drop(stopped.listener);
    await_checks(&scene, 0, Checks::Failing)?;
    scene.daemon.end(Signal::KILL)?;
    let directory = scene.daemon.directory().to_owned();
    scene.daemon = Daemon::start_in(&directory, &[])?;
    await_backend(&scene, 0, |backend| backend.checks == Some(Checks::Failing))?;
    await_checks(&scene, 1, Checks::Passing)?;
    scene.client.await_ready("eth0")?;
    for _ in 0..4 {
        scene.connect(VIP)?;
    }
    scene.daemon.check_ledger()
}
