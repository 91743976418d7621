//! The demonstration, as somebody runs it who has just built the switch.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

use hostnet::Netns;
use netlab::{Need, Test, TestResult, test};
use rustix::process::{Pid, Signal, kill_process, test_kill_process_group};
use serde_json::Value;

use crate::daemon::eventually;

pub fn tests() -> Vec<Test> {
    vec![
        test!(the_demonstration_measures_both_switches_and_leaves_nothing_behind).needs(Need::Tun),
        test!(a_demonstration_that_is_ended_leaves_nothing_behind).needs(Need::Tun),
    ]
}

/// The demonstration, in a process group of its own.
fn demo(seconds: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vswitchctl"));
    command.args(["--json", "demo", "--seconds", seconds]).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Its private network is held by its processes and nothing else.
fn has_ended(group: Pid) -> TestResult {
    Ok(eventually("no process is left", || test_kill_process_group(group).is_err())?)
}

fn the_demonstration_measures_both_switches_and_leaves_nothing_behind() -> TestResult {
    let child = demo("0.1").spawn()?;
    let group = Pid::from_child(&child);
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout)?;
    for switch in ["vswitch", "linux_bridge"] {
        for figure in ["ping4_us", "ping6_us", "tcp_gbit_s", "udp_mpps", "rr_k_s"] {
            let value = report[switch][figure].as_f64();
            assert!(value.is_some_and(|value| value > 0.0), "{switch} {figure}: {report}");
        }
    }
    assert_eq!(report["stats"]["discrepancy"], Value::Null);
    has_ended(group)
}

fn a_demonstration_that_is_ended_leaves_nothing_behind() -> TestResult {
    let child = demo("60").spawn()?;
    let (group, ours) = (Pid::from_child(&child), Netns::current()?.id()?);
    let place = format!("/proc/{}/ns/net", child.id()).parse()?;
    let theirs = || Netns::open(&place).and_then(|netns| netns.id());
    eventually("it has a network of its own", || theirs().is_ok_and(|id| id != ours))?;
    kill_process(group, Signal::TERM)?;
    let status = child.wait_with_output()?.status;
    assert_eq!(status.signal(), Some(Signal::TERM.as_raw()));
    has_ended(group)
}
