//! The program `vswitchctl`, against a daemon that this test plays.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use ctl::wire::{event_line, parse_request, response_line};
use ctl::{CtlError, ErrorCode};
use serde_json::{Value, json};

/// A directory of this test's own, removed with everything in it.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vswitchctl-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn vswitchctl(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vswitchctl"));
    command.env_clear().env("VSWITCH_SOCKET", socket).args(arguments);
    command
}

/// What the program says when the daemon's one answer is this.
fn answered(test: &str, arguments: &[&str], answer: Result<Value, CtlError>) -> Output {
    let directory = Directory::new(test);
    let listener = UnixListener::bind(directory.socket()).unwrap();
    let daemon = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        let id = parse_request(line.trim_end().as_bytes()).unwrap().id;
        stream.write_all(&response_line(id, answer)).unwrap();
    });
    let output = vswitchctl(&directory.socket(), arguments).output().unwrap();
    daemon.join().unwrap();
    output
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn an_answer_is_shown_without_colours_to_what_is_no_terminal() {
    let answer = json!({ "version": "9.9", "protocol": 1 });
    let output = answered("plain", &["version"], Ok(answer));
    assert_eq!(text(&output.stdout), "vswitchd 9.9, protocol 1\n");
    assert_eq!((text(&output.stderr), output.status.code()), ("", Some(0)));
}

#[test]
fn json_is_the_answer_itself() {
    let answer = json!({ "version": "9.9", "protocol": 1, "new": [1, 2] });
    let output = answered("json", &["version", "--json"], Ok(answer.clone()));
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), answer);
}

#[test]
fn of_the_rules_of_translation_those_are_listed_that_were_asked_for() {
    let rule = |name: &str, rule: Value| json!({ "name": name, "rule": rule, "sessions": 0, "mappings": 0, "begun": 0, "exhausted": 0 });
    let masquerade = rule("out", json!({ "masquerade": { "from": "br0", "to": "up" } }));
    let publish =
        rule("web", json!({ "publish": { "on": "up", "forward": "8080:10.0.0.2:80/tcp" } }));
    for (kind, expected) in [("masquerade", &masquerade), ("publish", &publish)] {
        let answer = || Ok(json!([masquerade, publish]));
        let output = answered(kind, &["--json", "nat", kind, "list"], answer());
        assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), json!([expected]));
        let output = answered(kind, &["nat", kind, "ls"], answer());
        assert_eq!(text(&output.stdout).lines().count(), 2, "{}", text(&output.stdout));
    }
}

#[test]
fn a_refusal_is_told_on_standard_error_and_by_the_exit_code() {
    let error = CtlError::new(ErrorCode::InUse, "bridge br0 has ports: p0\u{1b}[2J");
    let output = answered("refusal", &["bridge", "del", "br0"], Err(error));
    let expected = "vswitchctl: bridge br0 has ports: p0\\u{1b}[2J\n";
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("", expected));
    assert_eq!(output.status.code(), Some(4));
}

#[test]
fn a_refused_file_of_commands_is_told_by_its_line() {
    let directory = Directory::new("commands");
    let path = directory.0.join("network");
    let path = path.to_str().unwrap();
    let refused = |text: &str, message: &str| {
        std::fs::write(path, text).unwrap();
        let error = CtlError::not_found(message);
        let output = answered("refused", &["batch", path], Err(error));
        assert_eq!((text_of(&output.stdout), output.status.code()), (String::new(), Some(3)));
        text_of(&output.stderr)
    };
    let head = format!("vswitchctl: the commands of {path} are refused, and none is carried out: ");
    let text = "# two\nbridge add br9\n\nport add zz --bridge br9 --netdev nope\n";
    let wrong = "port zz: there is no interface \"nope\"";
    assert_eq!(refused(text, &format!("change 2: {wrong}")), format!("{head}line 4: {wrong}\n"));
    assert_eq!(refused(text, wrong), format!("{head}{wrong}\n"), "of none alone");
    assert_eq!(refused("\nbridge del br9\n", "no br9"), format!("{head}line 2: no br9\n"));
}

fn text_of(bytes: &[u8]) -> String {
    text(bytes).to_owned()
}

#[test]
fn without_a_daemon_the_exit_code_says_so() {
    let directory = Directory::new("nobody");
    let output = vswitchctl(&directory.socket(), &["status"]).output().unwrap();
    assert_eq!(output.status.code(), Some(6));
    assert!(text(&output.stderr).starts_with("vswitchctl: cannot reach vswitchd at "));
}

#[test]
fn the_option_says_where_the_socket_is() {
    let directory = Directory::new("option");
    let elsewhere = directory.0.join("elsewhere");
    let arguments = ["--socket", elsewhere.to_str().unwrap(), "status"];
    let output = vswitchctl(&directory.socket(), &arguments).output().unwrap();
    assert!(text(&output.stderr).contains("/elsewhere: "), "{}", text(&output.stderr));
}

#[test]
fn usage_names_what_was_typed_and_not_what_the_environment_says() {
    let output = vswitchctl(Path::new("/nowhere"), &["bridge", "add"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("\nUsage: vswitchctl bridge add <NAME>\n"), "{said}");
}

#[test]
fn words_that_are_no_text_are_a_usage_error() {
    let mut command = vswitchctl(Path::new("/nowhere"), &["bridge", "add"]);
    let output = command.arg(std::ffi::OsStr::from_bytes(b"\xff")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn completions_are_written_for_every_shell_without_a_daemon() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = vswitchctl(Path::new("/nowhere"), &["completions", shell]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(text(&output.stdout).contains("attach"), "{shell}");
    }
}

#[test]
fn what_is_interrupted_before_there_is_anything_to_tell_ends_in_order() {
    let cases: [(&[&str], Value); 2] = [
        (&["capture", "-w", "-"], json!({ "frames": 0, "missed": 0 })),
        (
            &["trace", "p0", "--like", "tcp 10.0.0.1:1 > 10.0.0.2:2", "--live", "3"],
            json!({ "followed": 0, "missed": 0 }),
        ),
    ];
    for (arguments, answer) in cases {
        let directory = Directory::new(&format!("interrupted-{}", arguments[0]));
        let listener = UnixListener::bind(directory.socket()).unwrap();
        let mut command = vswitchctl(&directory.socket(), arguments);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = BufReader::new(stream.try_clone().unwrap());
        asked.read_line(&mut String::new()).unwrap();
        // It waits for the answer.
        let stat = format!("/proc/{}/stat", child.id());
        while !std::fs::read_to_string(&stat).unwrap().contains(") S ") {
            thread::yield_now();
        }
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        assert_eq!(asked.read_line(&mut String::new()).unwrap(), 0, "it hangs up");
        stream.write_all(&response_line(1, Ok(answer))).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
}

#[test]
fn detaching_what_is_not_attached_is_done_and_said() {
    let nobody = json!({ "changed": false, "notes": ["namespace typo was not attached by eth0"] });
    let output = answered("detach-nothing", &["detach", "typo"], Ok(nobody));
    let note = "vswitchctl: note: namespace typo was not attached by eth0\n";
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("", note));
    assert_eq!(output.status.code(), Some(0));
    let output = answered("detach", &["detach", "web"], Ok(json!({ "changed": true })));
    assert_eq!((text(&output.stdout), output.status.code()), ("", Some(0)));
}

#[test]
fn a_capture_that_breaks_off_is_an_error_and_a_reader_that_has_had_enough_is_none() {
    let piece = event_line(1, json!({ "pcapng": "Cg0NCg==" }));
    // A reader that is gone, and a daemon that is.
    for (is_read, code) in [(true, 6), (false, 0)] {
        let directory = Directory::new(&format!("broken-{is_read}"));
        let listener = UnixListener::bind(directory.socket()).unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let kept = is_read.then_some(reader);
        let mut command = vswitchctl(&directory.socket(), &["capture", "-w", "-"]);
        let child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        drop(command);
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        stream.write_all(&piece).unwrap();
        drop(stream);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        if let Some(mut reader) = kept {
            let mut written = Vec::new();
            std::io::Read::read_to_end(&mut reader, &mut written).unwrap();
            assert_eq!(written, [0x0a, 0x0d, 0x0d, 0x0a]);
        }
    }
}

#[test]
fn a_reader_that_has_had_enough_is_no_error() {
    let mut command = vswitchctl(Path::new("/nowhere"), &["completions", "bash"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    drop(command);
    let output = child.wait_with_output().unwrap();
    assert_eq!((text(&output.stderr), output.status.code()), ("", Some(0)));
}

#[test]
fn an_answer_that_cannot_be_written_is_an_error() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = vswitchctl(Path::new("/nowhere"), &["completions", "bash"]);
    let output = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot write the answer"));
}

#[test]
fn the_protocol_lists_every_reason_for_a_drop() {
    let document = include_str!("../../docs/PROTOCOL.md");
    for reason in flows::DropReason::ALL {
        let row = format!("| `{}` | {} |", reason.name(), reason.explain());
        assert!(document.contains(&row), "no row {row}");
    }
}
