//! The program by itself, without dockerd and without a daemon.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

fn plugin(arguments: &[&str]) -> (bool, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_vswitch-docker")).args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn it_says_how_it_is_used() {
    let (done, said) = plugin(&["--help"]);
    assert!(done && said.contains("docker network create -d vswitch"), "{said}");
}

#[test]
fn a_log_that_is_kept_has_no_colours() {
    let directory = std::env::temp_dir().join(format!("vswitch-docker-log-{}", std::process::id()));
    let mut child = Command::new(env!("CARGO_BIN_EXE_vswitch-docker"))
        .args(["--plugin".as_ref(), directory.join("plugin.sock").as_os_str()])
        .env_remove("NO_COLOR")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut log).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(log.contains("INFO ready"), "{log:?}");
    assert!(!log.contains('\x1b'), "{log:?}");
}

#[test]
fn a_socket_that_cannot_be_is_told() {
    let (done, said) = plugin(&["--plugin", "/proc/none/vswitch.sock"]);
    assert!(!done && said.contains("plugin socket /proc/none/vswitch.sock"), "{said}");
}

#[test]
fn what_is_no_socket_stays_where_it_is() {
    let path = std::env::temp_dir().join(format!("vswitch-docker-{}", std::process::id()));
    std::fs::write(&path, "precious").unwrap();
    let (done, said) = plugin(&["--plugin", path.to_str().unwrap()]);
    let left = std::fs::read_to_string(&path);
    std::fs::remove_file(&path).unwrap();
    assert!(!done && said.contains("no socket"), "{said}");
    assert_eq!(left.unwrap(), "precious");
}
