//! Checks against a host of smoltcp's under fake time, and what answers mean.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use super::*;

const OWN: &str = "10.0.0.1:600";
const AT: &str = "10.0.0.2:8080";
const MOMENT: Duration = Duration::from_millis(50);

/// What a backend does with a connection.
type Serve<'a> = &'a mut dyn FnMut(&mut tcp::Socket);

/// A check of a backend, if there is one.
struct Rig {
    probe: Probe,
    backend: Option<Stack>,
    now: Instant,
}

impl Rig {
    fn new(question: &str, own: &str, at: &str, is_there: bool) -> Self {
        let now = Instant::now();
        let (own, at) = (own.parse().unwrap(), at.parse().unwrap());
        let probe = Probe::new(&question.parse().unwrap(), own, at, now);
        let backend = is_there.then(|| Stack::listening(at, ROOM, now));
        Self { probe, backend, now }
    }

    /// What is found in so many moments.
    fn watch(&mut self, moments: usize, serve: Serve) -> Option<Result<(), Fault>> {
        (0..moments).find_map(|_| {
            let found = self.probe.turn(self.now);
            if let Some(backend) = &mut self.backend {
                self.probe.said().for_each(|packet| backend.hear(packet));
                backend.turn(self.now, &mut *serve);
                backend.said().for_each(|packet| self.probe.hear(packet));
            }
            self.now += MOMENT;
            found
        })
    }
}

fn found(question: &str, serve: Serve) -> Option<Result<(), Fault>> {
    Rig::new(question, OWN, AT, true).watch(20, serve)
}

/// What is found when this is the answer, which comes in pieces.
fn answered(answer: &'static str) -> Option<Result<(), Fault>> {
    let mut left = answer.bytes();
    found("http:/", &mut |socket| {
        while socket.can_recv() {
            socket.recv(|bytes| (bytes.len(), ())).unwrap();
        }
        if socket.may_send() {
            let some: Vec<_> = left.by_ref().take(7).collect();
            socket.send_slice(&some).unwrap();
        }
    })
}

#[test]
fn a_connection_that_comes_about_is_all_that_tcp_asks_for() {
    assert_eq!(found("tcp", &mut |_| {}), Some(Ok(())));
    let mut six = Rig::new("tcp", "[fd00::1]:600", "[fd00::2]:8080", true);
    assert_eq!(six.watch(9, &mut |_| {}), Some(Ok(())));
}

#[test]
fn what_is_asked_is_a_whole_request() {
    let mut heard = Vec::new();
    let mut serve = |socket: &mut tcp::Socket| {
        while socket.can_recv() {
            heard.extend(socket.recv(|bytes| (bytes.len(), bytes.to_vec())).unwrap());
        }
    };
    Rig::new("http:/ready?x=1", OWN, AT, true).watch(9, &mut serve);
    let mut headers = [httparse::EMPTY_HEADER; 8];
    let mut request = httparse::Request::new(&mut headers);
    assert_eq!(request.parse(&heard).unwrap(), httparse::Status::Complete(heard.len()));
    assert_eq!((request.method, request.path), (Some("GET"), Some("/ready?x=1")));
    let host = request.headers.iter().find(|header| header.name == "Host");
    assert_eq!(host.unwrap().value, AT.as_bytes());
}

#[test]
fn an_answer_means_what_its_status_says() {
    let cases = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Ok(())),
        ("HTTP/1.0 204 \r\n\r\n", Ok(())),
        ("HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n", Ok(())),
        ("HTTP/1.1 399 \r\nno header\r\n", Ok(())),
        ("HTTP/1.1 400 Bad\r\n\r\n", Err(Fault::Status(400))),
        ("HTTP/1.1 500 Internal Server Error\r\n\r\n", Err(Fault::Status(500))),
        ("HTTP/1.1 199 \r\n\r\n", Err(Fault::Status(199))),
        ("SSH-2.0-OpenSSH_9.9\r\n", Err(Fault::NotHttp)),
        ("HTTP/1.1 2x0 OK\r\n\r\n", Err(Fault::NotHttp)),
    ];
    for (answer, means) in cases {
        assert_eq!(answered(answer), Some(means), "{answer}");
    }
    assert_eq!(answered("HTTP/1.1 20"), None, "it has not come yet");
    assert_eq!(answered(""), None);
}

#[test]
fn who_refuses_closes_or_says_nothing_is_told_apart() {
    let mut refusing = Rig::new("tcp", OWN, AT, true);
    refusing.backend.as_mut().unwrap().turn(refusing.now, |socket| socket.abort());
    assert_eq!(refusing.watch(9, &mut |_| {}), Some(Err(Fault::Refused)));
    let mut close = |socket: &mut tcp::Socket| {
        if socket.may_recv() {
            socket.close();
        }
    };
    assert_eq!(found("http:/", &mut close), Some(Err(Fault::Closed)));
    let mut reset = |socket: &mut tcp::Socket| {
        if socket.may_recv() {
            socket.abort();
        }
    };
    assert_eq!(found("http:/", &mut reset), Some(Err(Fault::Closed)));
    let mut absent = Rig::new("tcp", OWN, AT, false);
    assert_eq!(absent.watch(30, &mut |_| {}), None);
    assert_eq!(absent.probe.give_up(absent.now), Fault::Silent);
    let mut hanging = Rig::new("http:/", OWN, AT, true);
    assert_eq!(hanging.watch(30, &mut |_| {}), None);
    assert_eq!(hanging.probe.give_up(hanging.now), Fault::Hanging);
}

#[test]
fn a_probe_that_ends_leaves_no_connection_behind() {
    for (question, moments) in [("tcp", 20), ("http:/", 20)] {
        let mut rig = Rig::new(question, OWN, AT, true);
        let mut ended = false;
        rig.watch(moments, &mut |socket| ended |= socket.state() == tcp::State::Closed);
        rig.probe.give_up(rig.now);
        rig.watch(2, &mut |socket| ended |= socket.state() == tcp::State::Closed);
        assert!(ended, "{question}");
    }
}
