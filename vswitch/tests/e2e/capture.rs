//! Captures of real traffic, by the control socket and by `vswitchctl`: what is in them, that they end, and that
//! nobody who is captured notices.

use std::borrow::Cow;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::Path as FilePath;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ctl::response::{CaptureInfo, CapturePiece};
use ctl::wire::{Envelope, Reply, parse_reply, request_line};
use ctl::{Capture, ClientError, ErrorCode, Query, Request};
use netlab::{Container, Need, Path, Test, TestResult, ping, test, transfer};
use pcap_file::pcapng::PcapNgReader;
use pcap_file::pcapng::blocks::Block;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::blocks::interface_statistics::InterfaceStatisticsOption;
use rustix::process::{Pid, Signal, kill_process};

use crate::daemon::{Daemon, eventually};
use crate::routing::{container, routed_bridge};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

pub fn tests() -> Vec<Test> {
    [
        test!(frames_are_captured_at_both_ports_with_name_direction_and_time),
        test!(lost_frames_are_captured_with_their_reason_and_no_others),
        test!(vswitchctl_writes_as_many_frames_as_were_asked_for),
        test!(an_interrupted_capture_leaves_a_whole_file),
        test!(super_frames_are_captured_whole_and_said_to_be_that),
        test!(a_client_that_does_not_read_loses_frames_and_nobody_else_does),
        test!(a_capture_ends_with_its_client_and_there_are_no_more_than_four),
        test!(what_cannot_be_captured_is_refused_with_advice),
    ]
    .into_iter()
    .map(|test| test.needs(Need::Tun))
    .collect()
}

/// A captured frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shot {
    port: String,
    is_inbound: bool,
    nanoseconds: u128,
    pub bytes: Vec<u8>,
    frame_bytes: u32,
    comment: String,
}

/// What a file says.
#[derive(Debug, Default)]
pub struct File {
    interfaces: Vec<String>,
    pub shots: Vec<Shot>,
    /// Captured and missed frames of each interface, in the order of the interfaces.
    counted: Vec<(u64, u64)>,
}

/// Reads a whole file, by an implementation that is not ours.
fn file(bytes: &[u8]) -> Outcome<File> {
    let mut reader = PcapNgReader::new(bytes)?;
    let mut file = File::default();
    while let Some(block) = reader.next_block() {
        match block? {
            Block::InterfaceDescription(block) => {
                let name = block.options.iter().find_map(|option| match option {
                    InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                    _ => None,
                });
                file.interfaces.push(name.ok_or("an interface without a name")?);
                assert!(block.options.contains(&InterfaceDescriptionOption::IfTsResol(9)));
            }
            Block::EnhancedPacket(block) => {
                let (mut flags, mut comment) = (None, Cow::Borrowed(""));
                for option in block.options {
                    match option {
                        EnhancedPacketOption::Flags(value) => flags = Some(value),
                        EnhancedPacketOption::Comment(text) => comment = text,
                        other => return Err(format!("{other:?}").into()),
                    }
                }
                file.shots.push(Shot {
                    port: file.interfaces[block.interface_id as usize].clone(),
                    is_inbound: match flags {
                        Some(1) => true,
                        Some(2) => false,
                        other => return Err(format!("direction {other:?}").into()),
                    },
                    nanoseconds: block.timestamp.as_nanos(),
                    bytes: block.data.into_owned(),
                    frame_bytes: block.original_len,
                    comment: comment.into_owned(),
                });
            }
            Block::InterfaceStatistics(block) => {
                let [
                    InterfaceStatisticsOption::IsbIfRecv(received),
                    InterfaceStatisticsOption::IsbIfDrop(missed),
                ] = block.options[..]
                else {
                    return Err(format!("{:?}", block.options).into());
                };
                let number = block.interface_id as usize;
                file.counted.resize(file.counted.len().max(number + 1), (0, 0));
                file.counted[number] = (received - missed, missed);
            }
            other => return Err(format!("{other:?}").into()),
        }
    }
    Ok(file)
}

fn blocks(piece: serde_json::Value) -> Outcome<Vec<u8>> {
    let CapturePiece { pcapng } = serde_json::from_value(piece)?;
    Ok(BASE64_STANDARD.decode(pcapng)?)
}

/// Captures while something is done.
pub fn captured(
    daemon: &Daemon,
    request: Capture,
    during: impl FnOnce() -> Outcome<()>,
) -> Outcome<(File, CaptureInfo)> {
    let mut client = daemon.client()?;
    let hang_up = client.hang_up()?;
    let (tell, told) = mpsc::channel();
    let capture = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let ended = client.stream(Request::Query(Query::Capture(request)), |piece| {
            bytes.extend(blocks(piece).map_err(|error| ClientError::Answer(error.to_string()))?);
            let _ = tell.send(());
            Ok::<_, ClientError>(())
        });
        ended.map(|answer| (bytes, answer))
    });
    // The first piece says that all of the switch is watched.
    let begun = told.recv();
    let done = begun.is_ok().then(during);
    hang_up.hang_up();
    let (bytes, answer) = capture.join().map_err(|_| "the capture panicked")??;
    done.unwrap_or(Ok(()))?;
    Ok((file(&bytes)?, serde_json::from_value(answer)?))
}

pub fn request(ports: &[&str], filter: Option<&str>) -> Outcome<Capture> {
    let ports = ports.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
    let filter = filter.map(str::parse).transpose()?;
    Ok(Capture { ports, filter, ..Capture::default() })
}

/// Bridge `a` with containers `one` and `two`, 10.1.0.2 and 10.1.0.3.
fn scene() -> Outcome<(Daemon, Container, Container)> {
    let daemon = Daemon::start()?;
    routed_bridge(&daemon, "a", &["10.1.0.1/24"])?;
    let one = container(&daemon, "one", "a", &["10.1.0.2/24"], &["10.1.0.1"])?;
    let two = container(&daemon, "two", "a", &["10.1.0.3/24"], &["10.1.0.1"])?;
    Ok((daemon, one, two))
}

fn ping_once(from: &Container, to: &str) -> Outcome<()> {
    ping::ping(from, to.parse()?, &ping::Options::default())?;
    Ok(())
}

/// ICMP type, source and destination of a frame.
fn icmp(frame: &[u8]) -> Outcome<(u8, IpAddr, IpAddr)> {
    let packet = etherparse::SlicedPacket::from_ethernet(frame)?;
    let (Some(etherparse::NetSlice::Ipv4(ip)), Some(etherparse::TransportSlice::Icmpv4(icmp))) =
        (packet.net, packet.transport)
    else {
        return Err("no ICMP over IPv4".into());
    };
    let header = ip.header();
    Ok((icmp.type_u8(), header.source_addr().into(), header.destination_addr().into()))
}

fn frames_are_captured_at_both_ports_with_name_direction_and_time() -> TestResult {
    let (daemon, one, _two) = scene()?;
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let before = now()?.as_nanos();
    let wanted = request(&["one", "two"], Some("icmp"))?;
    let (file, info) = captured(&daemon, wanted, || ping_once(&one, "10.1.0.3"))?;
    let after = now()?.as_nanos();
    assert_eq!(file.interfaces, ["one", "two"]);
    let (a, b): (IpAddr, IpAddr) = ("10.1.0.2".parse()?, "10.1.0.3".parse()?);
    let mut seen = Vec::new();
    for shot in &file.shots {
        seen.push((shot.port.as_str(), shot.is_inbound, icmp(&shot.bytes)?));
        assert_eq!(shot.frame_bytes as usize, shot.bytes.len());
        // The daemon's clock and the time of day are read one after the other.
        let slack = 1_000_000_000;
        assert!(shot.nanoseconds + slack >= before && shot.nanoseconds <= after + slack);
    }
    let (request, reply) = ((8, a, b), (0, b, a));
    for sight in [
        ("one", true, request),
        ("two", false, request),
        ("two", true, reply),
        ("one", false, reply),
    ] {
        assert!(seen.contains(&sight), "{sight:?} is not in {seen:?}");
    }
    assert_eq!(info, CaptureInfo { frames: file.shots.len() as u64, missed: 0 });
    let frames = |name| file.shots.iter().filter(|shot| shot.port == name).count() as u64;
    assert_eq!(file.counted, [(frames("one"), 0), (frames("two"), 0)]);

    // The words of rules: by which port it came in, and a part of each frame.
    let wanted = Capture { snaplen: 40.try_into().ok(), ..request_of("in_port=two,icmp")? };
    let (file, _) = captured(&daemon, wanted, || ping_once(&one, "10.1.0.3"))?;
    assert!(!file.shots.is_empty());
    for shot in &file.shots {
        assert_eq!((shot.port.as_str(), shot.is_inbound), ("two", true));
        assert_eq!((shot.bytes.len(), shot.frame_bytes), (40, 98));
    }
    daemon.check_ledger()
}

fn request_of(filter: &str) -> Outcome<Capture> {
    request(&[], Some(filter))
}

fn lost_frames_are_captured_with_their_reason_and_no_others() -> TestResult {
    let (daemon, one, _two) = scene()?;
    let wanted = Capture { drops: true, ..request_of("icmp")? };
    let (file, _) = captured(&daemon, wanted, || {
        ping_once(&one, "10.1.0.3")?;
        // The gateway says that there is no route, which is no answer.
        let patience = std::time::Duration::from_millis(300);
        assert!(ping::is_silent(&one, "10.77.0.1".parse()?, patience)?);
        Ok(())
    })?;
    assert!(!file.shots.is_empty());
    for shot in &file.shots {
        assert_eq!((shot.port.as_str(), shot.is_inbound), ("one", true));
        assert_eq!(icmp(&shot.bytes)?.2, "10.77.0.1".parse::<IpAddr>()?);
        let told = "dropped on its way in, no-route: no route leads to its destination";
        assert!(shot.comment.starts_with(told), "{}", shot.comment);
    }
    daemon.check_ledger()
}

/// Starts `vswitchctl capture`.
fn vswitchctl(daemon: &Daemon, arguments: &[&str]) -> Outcome<Child> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vswitchctl"));
    command.arg("--socket").arg(daemon.socket()).arg("capture").args(arguments);
    Ok(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

fn vswitchctl_writes_as_many_frames_as_were_asked_for() -> TestResult {
    let (daemon, one, _two) = scene()?;
    let arguments = ["one", "two", "--filter", "icmp", "-c", "3", "-w", "-"];
    let mut child = vswitchctl(&daemon, &arguments)?;
    let ended = std::thread::scope(|scope| -> Outcome<_> {
        let output = scope.spawn(|| -> Result<_, std::io::Error> {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(
                child.stdout.as_mut().ok_or(std::io::ErrorKind::Other)?,
                &mut bytes,
            )?;
            Ok(bytes)
        });
        while !output.is_finished() {
            ping_once(&one, "10.1.0.3")?;
        }
        Ok(output.join().map_err(|_| "it panicked")??)
    })?;
    let output = child.wait_with_output()?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "3 frames captured\n");
    let file = file(&ended)?;
    assert_eq!((file.shots.len(), file.interfaces.len()), (3, 2));
    let captured: u64 = file.counted.iter().map(|(captured, _)| captured).sum();
    assert_eq!(captured, 3);
    Ok(())
}

fn an_interrupted_capture_leaves_a_whole_file() -> TestResult {
    let (daemon, one, _two) = scene()?;
    let path = daemon.directory().join("capture.pcapng");
    let text = path.to_str().ok_or("no text")?;
    let child = vswitchctl(&daemon, &["one", "-w", text])?;
    let written = |path: &FilePath| fs::metadata(path).map_or(0, |meta| meta.len());
    eventually("the capture begins", || written(&path) > 0)?;
    let begun = written(&path);
    ping_once(&one, "10.1.0.3")?;
    eventually("frames are written as they come", || written(&path) > begun)?;
    let pid = Pid::from_raw(i32::try_from(child.id())?).ok_or("no process")?;
    kill_process(pid, Signal::INT)?;
    let output = child.wait_with_output()?;
    assert!(output.status.success(), "{output:?}");
    let file = file(&fs::read(&path)?)?;
    let said = format!("{} frames captured\n", file.shots.len());
    assert_eq!(String::from_utf8_lossy(&output.stderr), said);
    assert_eq!(file.counted, [(file.shots.len() as u64, 0)]);
    Ok(())
}

fn super_frames_are_captured_whole_and_said_to_be_that() -> TestResult {
    let (daemon, one, two) = scene()?;
    let wanted = request(&["one"], Some("tcp"))?;
    let (file, _) = captured(&daemon, wanted, || {
        let path = Path::new(&one, &two, "10.1.0.3".parse::<IpAddr>()?);
        transfer::tcp(&path, 4 << 20, 1)?;
        Ok(())
    })?;
    let large: Vec<_> = file.shots.iter().filter(|shot| shot.frame_bytes > 1514).collect();
    assert!(!large.is_empty(), "the container's kernel sends super-frames");
    for shot in large {
        assert_eq!(shot.bytes.len(), shot.frame_bytes as usize);
        assert!(shot.comment.starts_with("super-frame, of segments with 14"), "{}", shot.comment);
        assert!(shot.comment.contains("its checksum is partial"), "{}", shot.comment);
    }
    daemon.check_ledger()
}

/// Asks for a capture, and waits until it has begun.
fn begin(daemon: &Daemon, request: Capture) -> Outcome<BufReader<UnixStream>> {
    let mut stream = UnixStream::connect(daemon.socket())?;
    let request = Request::Query(Query::Capture(request));
    stream.write_all(&request_line(&Envelope { id: 7, request })?)?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    match parse_reply(line.as_bytes())? {
        (7, Reply::Event(_)) => Ok(reader),
        (_, Reply::Response(Err(refusal))) => Err(refusal.into()),
        other => Err(format!("{other:?}").into()),
    }
}

fn a_client_that_does_not_read_loses_frames_and_nobody_else_does() -> TestResult {
    let (daemon, one, two) = scene()?;
    let mut sleeper = begin(&daemon, Capture::default())?;
    let path = Path::new(&one, &two, "10.1.0.3".parse::<IpAddr>()?);
    // More than all that is between the two holds.
    transfer::tcp(&path, 256 << 20, 1)?;
    daemon.check_ledger()?;
    sleeper.get_ref().shutdown(std::net::Shutdown::Write)?;
    let (mut frames, mut captured) = (0, None);
    let mut line = String::new();
    while sleeper.read_line(&mut line)? > 0 {
        match parse_reply(line.as_bytes())?.1 {
            Reply::Event(piece) => frames += packets(&blocks(piece)?)?,
            Reply::Response(answer) => {
                captured = Some(serde_json::from_value::<CaptureInfo>(answer?)?);
            }
        }
        line.clear();
    }
    let CaptureInfo { frames: said, missed } = captured.ok_or("it did not end")?;
    assert_eq!(frames, said);
    assert!(missed > 0, "{said} frames were captured");
    Ok(())
}

/// Frames among whole blocks of a file.
fn packets(mut blocks: &[u8]) -> Outcome<u64> {
    let mut packets = 0;
    while let Some((kind, rest)) = blocks.split_first_chunk::<4>() {
        let (length, _) = rest.split_first_chunk::<4>().ok_or("half a block")?;
        packets += u64::from(u32::from_le_bytes(*kind) == 6);
        blocks = blocks.get(u32::from_le_bytes(*length) as usize..).ok_or("half a block")?;
    }
    Ok(packets)
}

fn a_capture_ends_with_its_client_and_there_are_no_more_than_four() -> TestResult {
    let (daemon, one, _two) = scene()?;
    let four = (0..4).map(|_| begin(&daemon, Capture::default())).collect::<Result<Vec<_>, _>>()?;
    let refusal = begin(&daemon, Capture::default()).err().ok_or("a fifth capture")?;
    assert!(refusal.to_string().contains("end one first"), "{refusal}");
    ping_once(&one, "10.1.0.3")?;
    drop(four);
    eventually("the captures end with their clients", || {
        let begun: Result<Vec<_>, _> = (0..4).map(|_| begin(&daemon, Capture::default())).collect();
        begun.is_ok()
    })?;
    daemon.check_ledger()
}

fn what_cannot_be_captured_is_refused_with_advice() -> TestResult {
    let (daemon, _one, _two) = scene()?;
    let refusal = |request: Capture| match begin(&daemon, request) {
        Err(error) => Ok(error.to_string()),
        Ok(_) => Err("it is captured"),
    };
    assert!(refusal(request(&["none"], None)?)?.contains("`port list`"));
    assert!(refusal(request_of("in_port=none,tcp")?)?.contains("`port list`"));
    assert!(refusal(request_of("tcp,state=new")?)?.contains("state="));
    let output = vswitchctl(&daemon, &["none", "-w", "/nowhere/x"])?.wait_with_output()?;
    assert_eq!(output.status.code(), Some(i32::from(ErrorCode::NotFound.exit_code())));
    let output = vswitchctl(&daemon, &["one", "-w", "/nowhere/x"])?.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("cannot write /nowhere/x"), "{said}");
    Ok(())
}
