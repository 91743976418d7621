//! VDE: a switch process that has the TAP devices itself. A `vde_plug2tap` for each, in its container, would be one more process
//! and one more socket on the way.

use std::error::Error;

use netlab::Container;

use super::process::{Program, fresh_directory};
use super::{Family, INTERFACE, Labour, Rig, Subject, Wish, configure, containers};

pub(super) const SUBJECTS: &[Subject] = &[Subject {
    name: "vde",
    about: "vde_switch with two TAP ports of its own (--tap), moved into the containers",
    family: Family::Bridging,
    needs: &["vde_switch"],
    is_default: false,
    start,
}];

/// What the switch's devices are called until they are the containers'.
const DEVICES: [&str; 2] = ["vde0", "vde1"];

fn start(wish: &Wish) -> Result<Rig, Box<dyn Error>> {
    let (ends, host) = (containers()?, Container::new()?);
    let directory = fresh_directory("vde")?;
    let socket = directory.join("switch");
    let place = socket.to_string_lossy();
    let arguments = ["--sock", &*place, "--tap", DEVICES[0], "--tap", DEVICES[1]];
    let mut switch = Program::start(&host, &directory, "vde_switch", &arguments, &[])?;
    let netlink = host.netlink()?;
    for (end, device) in ends.iter().zip(DEVICES) {
        switch.await_that(|| host.link(device).is_ok())?;
        netlink.move_to(netlink.link(device)?.index, end.namespace(), INTERFACE)?;
    }
    configure(&ends, wish)?;
    let labour = Labour::Processes(vec![switch.pid()]);
    Rig::bridged(ends, labour, (switch, host))
}
