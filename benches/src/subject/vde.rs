//! VDE: a switch process, and a process for each TAP device that is plugged into it.

use std::error::Error;

use netlab::Container;

use super::process::{Program, fresh_directory};
use super::{Family, INTERFACE, Labour, Rig, Subject, Wish, configure, containers};

pub(super) const SUBJECTS: &[Subject] = &[Subject {
    name: "vde",
    about: "vde_switch, and a vde_plug2tap in each container",
    family: Family::Bridging,
    needs: &["vde_switch", "vde_plug2tap"],
    is_default: false,
    start,
}];

fn start(wish: &Wish) -> Result<Rig, Box<dyn Error>> {
    let (ends, host) = (containers()?, Container::new()?);
    let directory = fresh_directory("vde")?;
    let socket = directory.join("switch");
    let place = socket.to_string_lossy();
    let mut switch = Program::start(&host, &directory, "vde_switch", &["-sock", &place], &[])?;
    switch.await_that(|| socket.join("ctl").exists())?;
    let mut plugs = Vec::new();
    for end in &ends {
        let arguments = ["-s", &*place, INTERFACE];
        let mut plug = Program::start(end, &directory, "vde_plug2tap", &arguments, &[])?;
        plug.await_that(|| end.link(INTERFACE).is_ok())?;
        plugs.push(plug);
    }
    configure(&ends, wish)?;
    let pids = plugs.iter().chain([&switch]).map(Program::pid).collect();
    Rig::bridged(ends, Labour::Processes(pids), (plugs, switch, host))
}
