//! The control socket under bad and heavy use.

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ctl::response::{BridgeInfo, PortInfo, Status};
use ctl::{
    Batch, BridgeAdd, BridgeName, ClientError, ErrorCode, Mutation, Named, NetdevMode, Port,
    PortAdd, PortFilter, PortKind, PortName, Query, Tap,
};
use netlab::{Container, Need, Path, Test, TestResult, test, transfer};
use rustix::mount::{MountFlags, mount};
use rustix::process::{Gid, Pid, Resource, Rlimit, Signal, Uid, getrlimit, prlimit, setrlimit};

use crate::daemon::{Daemon, bridge, eventually, fresh_directory, port, spawn, tap};

pub fn tests() -> Vec<Test> {
    vec![
        test!(the_socket_is_for_its_owner_only),
        test!(other_users_may_not_give_orders).needs(Need::OtherUsers),
        test!(members_of_the_sockets_group_may_give_orders_and_others_may_not)
            .needs(Need::OtherUsers),
        test!(a_daemon_that_lacks_rights_says_at_once_what_it_cannot_do),
        test!(a_file_at_the_sockets_path_that_is_no_socket_stays_as_it_is),
        test!(a_client_that_could_not_be_let_in_is_let_in_as_soon_as_it_can),
        test!(unfinished_requests_of_all_clients_together_are_bounded),
        test!(a_thousand_clients_are_served_at_once),
        test!(clients_that_hang_or_vanish_hold_nobody_up),
        test!(a_client_that_asks_without_pause_does_not_starve_others),
        test!(a_client_that_asks_much_at_once_gets_all_of_its_answers),
        test!(garbage_is_answered_with_an_error_and_changes_nothing),
        test!(a_request_without_end_is_refused_and_the_connection_closed),
        test!(a_bridge_with_ports_is_not_removed).needs(Need::Tun),
        test!(ports_are_listed_by_bridge).needs(Need::Tun),
        test!(a_change_that_cannot_be_kept_is_not_made).needs(Need::Tun),
        test!(many_changes_are_made_at_once_or_not_at_all).needs(Need::Tun),
        test!(a_port_that_cannot_be_opened_leaves_nothing_behind).needs(Need::Tun),
    ]
}

fn the_socket_is_for_its_owner_only() -> TestResult {
    let daemon = Daemon::start()?;
    let mode = std::fs::metadata(daemon.socket())?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    Ok(())
}

fn a_daemon_that_lacks_rights_says_at_once_what_it_cannot_do() -> TestResult {
    let with_all: Status = Daemon::start()?.ask(Query::Status)?;
    assert_eq!(with_all.problems, []);
    let daemon = Daemon::start_by(&["setpriv", "--bounding-set", "-net_admin"], &[])?;
    let status: Status = daemon.ask(Query::Status)?;
    let [problem] = &status.problems[..] else { return Err(format!("{status:?}").into()) };
    let without =
        "CAP_NET_ADMIN (without it no interface is made or changed); start vswitchd as root";
    assert!(problem.text.contains(without), "{problem:?}");
    Ok(())
}

fn other_users_may_not_give_orders() -> TestResult {
    let daemon = Daemon::start()?;
    // Even if somebody opens the way to it.
    for (path, mode) in [(daemon.directory().to_owned(), 0o755), (daemon.socket(), 0o666)] {
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    let refused = std::thread::scope(|scope| {
        let somebody_else = || -> Result<String, std::io::Error> {
            // Of this thread only, which ends as that user.
            let nobody = Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody)?;
            let mut answer = String::new();
            UnixStream::connect(daemon.socket())?.read_to_string(&mut answer)?;
            Ok(answer)
        };
        scope.spawn(somebody_else).join()
    });
    let answer = refused.map_err(|_| "the thread panicked")??;
    assert!(answer.contains("denied") && answer.contains("65534"), "{answer}");
    Ok(())
}

fn members_of_the_sockets_group_may_give_orders_and_others_may_not() -> TestResult {
    const GROUP: u32 = 4711;
    let daemon = Daemon::start_with(&["--socket-group", &GROUP.to_string()])?;
    std::fs::set_permissions(daemon.directory(), Permissions::from_mode(0o755))?;
    let asked_as = |group: u32| {
        let ask = || -> Result<(), ClientError> {
            let (user, group) = (Uid::from_raw(65534), Gid::from_raw(group));
            // Of this thread only, which ends as that user.
            let changed = rustix::thread::set_thread_groups(&[])
                .and_then(|()| rustix::thread::set_thread_res_gid(group, group, group))
                .and_then(|()| rustix::thread::set_thread_res_uid(user, user, user));
            changed.map_err(|errno| ClientError::Lost(errno.into()))?;
            daemon.ask::<ctl::response::Version>(Query::Version).map(drop)
        };
        std::thread::scope(|scope| scope.spawn(ask).join())
    };
    asked_as(GROUP).map_err(|_| "the thread panicked")??;
    match asked_as(65534).map_err(|_| "the thread panicked")? {
        Err(ClientError::Denied { .. }) => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

fn a_file_at_the_sockets_path_that_is_no_socket_stays_as_it_is() -> TestResult {
    let directory = fresh_directory();
    std::fs::create_dir(&directory)?;
    let socket = directory.join("socket");
    std::fs::write(&socket, "precious")?;
    let output = spawn(&directory, &[])?.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("no socket"), "{said}");
    assert_eq!(std::fs::read_to_string(&socket)?, "precious");
    // A socket at which somebody listens who is no vswitchd.
    std::fs::remove_file(&socket)?;
    let somebody = std::os::unix::net::UnixListener::bind(&socket)?;
    let output = spawn(&directory, &[])?.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("another program listens"), "{said}");
    drop(somebody);
    // One that was left behind; and what has taken its place at the end.
    let mut daemon = Daemon::start_in(&directory, &[])?;
    std::fs::remove_file(&socket)?;
    std::fs::write(&socket, "precious")?;
    daemon.end(Signal::TERM)?;
    assert_eq!(std::fs::read_to_string(&socket)?, "precious");
    Ok(())
}

fn a_client_that_could_not_be_let_in_is_let_in_as_soon_as_it_can() -> TestResult {
    let daemon = Daemon::start()?;
    let known = UnixStream::connect(daemon.socket())?;
    let mut answers = BufReader::new(known.try_clone()?);
    let mut ask = || -> std::io::Result<usize> {
        (&known).write_all(b"{\"v\":1,\"id\":1,\"op\":\"version\"}\n")?;
        answers.read_line(&mut String::new())
    };
    ask()?;
    let pid = Pid::from_raw(i32::try_from(daemon.pid())?);
    let before = getrlimit(Resource::Nofile);
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(0), ..before })?;
    let mut late = UnixStream::connect(daemon.socket())?;
    late.set_read_timeout(Some(Duration::from_secs(10)))?;
    late.write_all(b"{\"v\":1,\"id\":2,\"op\":\"version\"}\n")?;
    // It is announced before this is asked, so that it was tried when this is answered.
    ask()?;
    prlimit(pid, Resource::Nofile, before)?;
    let mut answer = String::new();
    BufReader::new(late).read_line(&mut answer)?;
    assert!(answer.contains("ok"), "{answer}");
    Ok(())
}

fn unfinished_requests_of_all_clients_together_are_bounded() -> TestResult {
    let daemon = Daemon::start()?;
    let unfinished = vec![b'a'; 24 << 20];
    let mut clients = Vec::new();
    let refused = (0..8).find_map(|_| {
        let mut stream = UnixStream::connect(daemon.socket()).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        if stream.write_all(&unfinished).is_ok() {
            clients.push(stream);
            return None;
        }
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        Some(answer)
    });
    let refused = refused.ok_or("all of them were taken")?;
    assert!(refused.contains("too_large") && refused.contains("all clients together"), "{refused}");
    assert_eq!(clients.len(), 2, "64 MiB are taken");
    // Whoever asks for little is served, and whoever ends makes room.
    let _: ctl::response::Version = daemon.ask(Query::Version)?;
    drop(clients);
    let mut stream = UnixStream::connect(daemon.socket())?;
    stream.write_all(&unfinished)?;
    Ok(())
}

fn a_thousand_clients_are_served_at_once() -> TestResult {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    let daemon = Daemon::start_short_of_descriptors(256)?;
    let mut clients = Vec::new();
    for id in 0..1000 {
        let mut stream = UnixStream::connect(daemon.socket())?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        write!(stream, r#"{{"v":1,"id":{id},"op":"ver"#)?;
        clients.push(stream);
    }
    // All of them are in the middle of a request, and none keeps another out.
    let _: ctl::response::Version = daemon.ask(Query::Version)?;
    for (id, mut stream) in clients.into_iter().enumerate() {
        stream.write_all(b"sion\"}\n")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        assert!(line.contains(&format!(r#""id":{id},"#)) && line.contains("ok"), "{line}");
    }
    Ok(())
}

fn clients_that_hang_or_vanish_hold_nobody_up() -> TestResult {
    let daemon = Daemon::start()?;
    let mut hanging = UnixStream::connect(daemon.socket())?;
    hanging.write_all(br#"{"v":1,"id":1,"#)?;
    for _ in 0..100 {
        let mut vanishing = UnixStream::connect(daemon.socket())?;
        vanishing.write_all(br#"{"v":1,"id":2,"op":"status""#)?;
    }
    let _: ctl::response::Status = daemon.ask(Query::Status)?;
    hanging.write_all(b"\"op\":\"version\"}\n")?;
    let mut line = String::new();
    BufReader::new(hanging).read_line(&mut line)?;
    assert!(line.contains("ok"), "{line}");
    Ok(())
}

fn a_client_that_asks_without_pause_does_not_starve_others() -> TestResult {
    let daemon = Daemon::start()?;
    let greedy = UnixStream::connect(daemon.socket())?;
    let (mut asks, answers) = (greedy.try_clone()?, BufReader::new(greedy.try_clone()?));
    let answered = &AtomicUsize::new(0);
    let requests = "{\"v\":1,\"id\":1,\"op\":\"status\"}\n".repeat(1000);
    std::thread::scope(|scope| {
        scope.spawn(move || while asks.write_all(requests.as_bytes()).is_ok() {});
        scope.spawn(move || {
            let answers = answers.lines().map_while(Result::ok);
            answers.for_each(|_| _ = answered.fetch_add(1, Ordering::Relaxed));
        });
        let is_greedy = || answered.load(Ordering::Relaxed) > 20;
        let served = eventually("the greedy client is being served", is_greedy);
        let others = (0..20).try_for_each(|_| -> TestResult {
            let mut stream = UnixStream::connect(daemon.socket())?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(b"{\"v\":1,\"id\":2,\"op\":\"version\"}\n")?;
            BufReader::new(stream).read_line(&mut String::new())?;
            Ok(())
        });
        greedy.shutdown(std::net::Shutdown::Both)?;
        served?;
        others
    })
}

fn a_client_that_asks_much_at_once_gets_all_of_its_answers() -> TestResult {
    let daemon = Daemon::start()?;
    for number in 0..200 {
        let name = format!("bridge-{number}").parse()?;
        daemon.change(Mutation::BridgeAdd(BridgeAdd::new(name)))?;
    }
    let stream = UnixStream::connect(daemon.socket())?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    // More than the daemon keeps unsent, asked for before the first answer is read.
    let request = "{\"v\":1,\"id\":1,\"op\":\"bridge.list\"}\n".repeat(150);
    (&stream).write_all(request.as_bytes())?;
    let answers = BufReader::new(&stream).lines().take(150);
    assert_eq!(answers.filter(|line| line.as_ref().is_ok_and(|l| l.contains("ok"))).count(), 150);
    Ok(())
}

fn garbage_is_answered_with_an_error_and_changes_nothing() -> TestResult {
    let daemon = Daemon::start()?;
    let before = std::fs::read(daemon.directory().join("state.json"))?;
    let mut stream = UnixStream::connect(daemon.socket())?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let garbage: [&[u8]; 9] = [
        b"{}",
        b"[1,2",
        b"\xff\xfe\x00garbage",
        br#"{"v":1,"id":1,"op":"no.such"}"#,
        br#"{"v":2,"id":1,"op":"version"}"#,
        br#"{"v":1,"id":1,"op":"bridge.add","args":{"name":"../etc"}}"#,
        br#"{"v":1,"id":1,"op":"bridge.add","args":{"name":"x","mtu":10}}"#,
        br#"{"v":1,"id":1,"op":"bridge.add","args":{"name":"x","typo":1}}"#,
        br#"{"v":1,"id":1,"op":"bridge.add","args":{"name":"x","ageing_seconds":1}}"#,
    ];
    for line in garbage {
        stream.write_all(line)?;
        stream.write_all(b"\n")?;
        let mut answer = String::new();
        answers.read_line(&mut answer)?;
        assert!(answer.contains("\"error\""), "{} -> {answer}", String::from_utf8_lossy(line));
    }
    assert_eq!(std::fs::read(daemon.directory().join("state.json"))?, before);
    Ok(())
}

fn a_request_without_end_is_refused_and_the_connection_closed() -> TestResult {
    let daemon = Daemon::start()?;
    let mut stream = UnixStream::connect(daemon.socket())?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let endless = vec![b'a'; ctl::wire::MAX_REQUEST_BYTES + 1];
    // The daemon may close before it has read all of it.
    let _ = stream.write_all(&endless);
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.contains("too_large"), "{answer}");
    let _: ctl::response::Version = daemon.ask(Query::Version)?;
    Ok(())
}

fn a_bridge_with_ports_is_not_removed() -> TestResult {
    let daemon = Daemon::start()?;
    let a = Container::new()?;
    daemon.add("a", port("br0", tap(&a, &["10.0.0.1/24"])?)?)?;
    let name: BridgeName = "br0".parse()?;
    match daemon.change(Mutation::BridgeDel(Named::new(name))) {
        Err(ClientError::Refused(error)) => {
            assert_eq!(error.code, ErrorCode::InUse);
            assert!(error.message.contains('a'), "{error}");
            Ok(())
        }
        other => Err(format!("{other:?}").into()),
    }
}

fn ports_are_listed_by_bridge() -> TestResult {
    let daemon = Daemon::start()?;
    let a = Container::new()?;
    daemon.change(Mutation::BridgeAdd(BridgeAdd::new("br1".parse()?)))?;
    daemon.add("a", port("br0", tap(&a, &[])?)?)?;
    let of = |bridge: Option<&str>| -> Result<Vec<PortInfo>, ClientError> {
        let bridge = bridge.map(|name| name.parse().expect("a name"));
        daemon.ask(Query::PortList(PortFilter { bridge }))
    };
    for (bridge, count) in [(None, 1), (Some("br0"), 1), (Some("br1"), 0)] {
        assert_eq!(of(bridge)?.len(), count, "{bridge:?}");
    }
    match of(Some("br2")) {
        Err(ClientError::Refused(error)) => assert_eq!(error.code, ErrorCode::NotFound),
        other => return Err(format!("{other:?}").into()),
    }
    Ok(())
}

fn a_port_that_cannot_be_opened_leaves_nothing_behind() -> TestResult {
    let daemon = Daemon::start()?;
    let a = Container::new()?;
    daemon.add("a", port("br0", tap(&a, &["10.0.0.1/24"])?)?)?;
    let PortKind::Tap(first) = tap(&a, &["10.0.0.2/24"])? else { return Err("no tap".into()) };
    // The gateway's address is refused by the kernel only after the device was made.
    let clash = Tap { ifname: "lo".parse()?, ..first };
    assert!(daemon.add("b", port("br0", PortKind::Tap(clash))?).is_err());
    let nowhere = Tap { netns: Some("/proc/1/no/such".parse()?), ..tap_of(&a)? };
    assert!(daemon.add("c", port("br0", PortKind::Tap(nowhere))?).is_err());
    assert_eq!(daemon.ports()?.len(), 1);
    assert_eq!(a.netlink()?.links()?.len(), 2);
    Ok(())
}

fn a_change_that_cannot_be_kept_is_not_made() -> TestResult {
    // A disk of its own that is full.
    let directory = PathBuf::from(format!("/run/full-{}", std::process::id()));
    std::fs::create_dir(&directory)?;
    mount("tmpfs", &directory, "tmpfs", MountFlags::empty(), Some(c"size=64k"))?;
    let mut daemon = Daemon::start_in(&directory, &[])?;
    bridge(&daemon, "br0")?;
    let filler = directory.join("filler");
    let full = std::fs::write(&filler, vec![0; 1 << 20]);
    assert!(full.is_err(), "the disk is not full");
    // What is there of the journal has room for some more.
    let refused = (0..10_000).find_map(|n| Some((n, bridge(&daemon, &format!("b{n}")).err()?)));
    let (kept, error) = refused.ok_or("everything was kept")?;
    assert!(error.to_string().contains("state.journal"), "{error}");
    let a = Container::new()?;
    let error = daemon.add("a", port("br0", tap(&a, &["10.0.0.1/24"])?)?);
    assert!(error.is_err_and(|error| error.to_string().contains("state.journal")));
    assert!(daemon.ports()?.is_empty());
    assert_eq!(a.netlink()?.links()?.len(), 1, "the interface is gone again");
    let bridges = |daemon: &Daemon| daemon.ask::<Vec<BridgeInfo>>(Query::BridgeList);
    assert_eq!(bridges(&daemon)?.len(), 1 + kept);
    std::fs::remove_file(filler)?;
    daemon.add("a", port("br0", tap(&a, &["10.0.0.1/24"])?)?)?;
    daemon.end(Signal::KILL)?;
    let daemon = Daemon::start_in(&directory, &[])?;
    assert_eq!((bridges(&daemon)?.len(), daemon.ports()?.len()), (1 + kept, 1));
    Ok(())
}

fn many_changes_are_made_at_once_or_not_at_all() -> TestResult {
    let mut daemon = Daemon::start()?;
    let (a, b) = (Container::new()?, Container::new()?);
    let (far, absent) = ("far", "no-such-device");
    let add = |name: &str, port: Port| -> Result<Mutation, ctl::BadName> {
        Ok(Mutation::PortAdd(Box::new(PortAdd { name: name.parse()?, port })))
    };
    let mut changes = vec![
        Mutation::BridgeAdd(BridgeAdd::new(far.parse()?)),
        add("a", port("br0", tap(&a, &["10.0.0.1/24"])?)?)?,
        add("b", port("br0", tap(&b, &["10.0.0.2/24"])?)?)?,
        Mutation::BridgeDel(Named { name: far.parse()?, if_exists: false }),
    ];
    let netdev =
        PortKind::Netdev { device: absent.parse()?, netns: None, mode: NetdevMode::default() };
    changes.push(add("c", port("br0", netdev)?)?);
    let refused = daemon.change(Mutation::Batch(Batch { changes: changes.clone() }));
    let refused = refused.err().ok_or("it was made")?.to_string();
    let which = format!("change {}: port c: ", changes.len());
    assert!(refused.starts_with(&which) && refused.contains(absent), "{refused}");
    assert!(daemon.ports()?.is_empty());
    assert_eq!(a.netlink()?.links()?.len(), 1, "its interface is gone again");
    changes.pop();
    let made = daemon.change(Mutation::Batch(Batch { changes }))?;
    let each: Vec<_> =
        made.each.iter().map(|one| one.port.as_ref().map(PortName::as_str)).collect();
    assert_eq!(each, [None, Some("a"), Some("b"), None]);
    transfer::tcp(&Path::new(&a, &b, [10, 0, 0, 2]), 1 << 16, 1)?;
    daemon.check_ledger()?;
    daemon.end(Signal::KILL)?;
    let daemon = Daemon::start_in(daemon.directory(), &[])?;
    assert_eq!(daemon.ports()?.len(), 2);
    Ok(())
}

fn tap_of(container: &Container) -> Result<Tap, Box<dyn std::error::Error>> {
    match tap(container, &[])? {
        PortKind::Tap(tap) => Ok(Tap { ifname: "eth7".parse()?, ..tap }),
        PortKind::Netdev { .. } => Err("no tap".into()),
    }
}
