//! The client, against a daemon that this test plays.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;

use ctl::response::{Changed, Version};
use ctl::{Client, ClientError, ErrorCode, Query, Request};

/// A directory of this test's own, removed with everything in it.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ctl-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn version() -> Request {
    Request::Query(Query::Version)
}

/// What the client makes of a daemon that does this with the first connection.
fn against(
    test: &str,
    daemon: impl FnOnce(UnixStream) + Send + 'static,
    client: impl FnOnce(&mut Client),
) {
    let directory = Directory::new(test);
    let listener = UnixListener::bind(directory.socket()).unwrap();
    let played = thread::spawn(move || daemon(listener.accept().unwrap().0));
    client(&mut Client::connect(&directory.socket()).unwrap());
    played.join().unwrap();
}

fn read_line(stream: &UnixStream) -> String {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}

#[test]
fn requests_are_numbered_and_answers_understood() {
    let daemon = |mut stream: UnixStream| {
        for id in 1..=2 {
            assert_eq!(read_line(&stream), format!("{{\"v\":1,\"id\":{id},\"op\":\"version\"}}\n"));
            let answer = format!(r#"{{"v":1,"id":{id},"ok":{{"version":"9.9","protocol":1}}}}"#);
            let (first, rest) = answer.split_at(10);
            stream.write_all(first.as_bytes()).unwrap();
            stream.write_all(rest.as_bytes()).unwrap();
            stream.write_all(b"\n").unwrap();
        }
    };
    against("numbered", daemon, |client| {
        for _ in 0..2 {
            let version: Version = client.ask(version()).unwrap();
            assert_eq!((version.version.as_str(), version.protocol), ("9.9", 1));
        }
    });
}

#[test]
fn a_refusal_keeps_its_code() {
    let daemon = |mut stream: UnixStream| {
        read_line(&stream);
        let error = br#"{"v":1,"id":1,"error":{"code":"in_use","message":"bridge br0 has ports"}}"#;
        stream.write_all(error).unwrap();
        stream.write_all(b"\n").unwrap();
    };
    against("refusal", daemon, |client| match client.call(version()) {
        Err(ClientError::Refused(error)) => assert_eq!(error.code, ErrorCode::InUse),
        other => panic!("{other:?}"),
    });
}

#[test]
fn an_answer_of_another_form_or_to_another_request_is_not_believed() {
    for answer in [
        "no answer\n",
        "{\"v\":1,\"id\":9,\"ok\":{}}\n",
        "{\"v\":2,\"id\":1,\"ok\":{}}\n",
        "{\"v\":1,\"id\":1,\"ok\":{\"changed\":7}}\n",
    ] {
        let daemon = |mut stream: UnixStream| {
            read_line(&stream);
            stream.write_all(answer.as_bytes()).unwrap();
        };
        against("believed", daemon, |client| {
            let error = client.ask::<Changed>(version()).unwrap_err();
            assert!(matches!(error, ClientError::Answer(_)), "{answer}: {error}");
            assert_eq!(error.exit_code(), 1);
        });
    }
}

#[test]
fn why_a_connection_is_refused_is_heard_though_the_daemon_reads_nothing() {
    let daemon = |mut stream: UnixStream| {
        let error = br#"{"v":1,"id":0,"error":{"code":"denied","message":"user 7 may not"}}"#;
        stream.write_all(error).unwrap();
        stream.write_all(b"\n").unwrap();
    };
    against("denied", daemon, |client| {
        let error = client.call(version()).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.exit_code()), ("user 7 may not", 7));
    });
}

#[test]
fn a_daemon_that_goes_away_is_missed() {
    let daemon = |stream: UnixStream| _ = read_line(&stream);
    against("missed", daemon, |client| {
        let error = client.call(version()).unwrap_err();
        assert!(matches!(error, ClientError::Lost(_)), "{error}");
        assert_eq!(error.exit_code(), 6);
    });
}

#[test]
fn without_a_daemon_the_error_names_the_socket_and_how_to_start_one() {
    let directory = Directory::new("nobody");
    let left_over = directory.0.join("left-over");
    drop(UnixListener::bind(&left_over).unwrap());
    let too_long = PathBuf::from(format!("/{}", "x".repeat(200)));
    for path in [directory.socket(), left_over, too_long, directory.0.clone()] {
        let error = Client::connect(&path).unwrap_err();
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(path.to_str().unwrap()) && text.contains("`vswitchd`"), "{text}");
        assert_eq!(error.exit_code(), 6);
    }
}

#[test]
fn who_may_not_is_told_who_may() {
    let denied = ClientError::Denied {
        path: Path::new("/run/vswitch/vswitch.sock").to_owned(),
        source: std::io::ErrorKind::PermissionDenied.into(),
    };
    assert!(denied.to_string().contains("run as root"), "{denied}");
    assert_eq!(denied.exit_code(), 7);
}
