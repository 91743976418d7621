//! DPDK's `testpmd`: it hands every frame of one port to the other, and looks at none.

use std::error::Error;
use std::os::fd::AsFd;

use netlab::Container;

use super::process::{Program, fresh_directory};
use super::{
    Family, INTERFACE, Labour, Rig, Subject, Wish, configure, containers, first_core, worker_core,
};

const PROGRAM: &str = "dpdk-testpmd";

const TESTPMD: Subject = Subject {
    name: "",
    about: "",
    family: Family::Bridging,
    needs: &[PROGRAM],
    is_default: false,
    start: |wish| start(wish, "net_af_packet"),
};

pub(super) const SUBJECTS: &[Subject] = &[
    Subject {
        name: "testpmd-packet",
        about: "testpmd in io mode, net_af_packet ports on veths, without huge pages, polling on the last core; \
                otherwise defaults",
        ..TESTPMD
    },
    Subject {
        name: "testpmd-xdp",
        about: "testpmd in io mode, net_af_xdp ports on veths (copy mode), without huge pages, polling on the last core; \
                otherwise defaults",
        start: |wish| start(wish, "net_af_xdp"),
        ..TESTPMD
    },
];

fn start(wish: &Wish, driver: &str) -> Result<Rig, Box<dyn Error>> {
    let (ends, host) = (containers()?, Container::new()?);
    let netlink = host.netlink()?;
    for (end, device) in ends.iter().zip(["veth0", "veth1"]) {
        netlink.create_veth(device, INTERFACE, Some(end.namespace().as_fd()))?;
        let link = netlink.link(device)?;
        netlink.set_mtu(link.index, wish.mtu)?;
        netlink.set_up(link.index, true)?;
    }
    configure(&ends, wish)?;
    // Nobody finishes a checksum on the way, or cuts a super-frame.
    ends.iter().try_for_each(|end| end.set_offloads(INTERFACE, false))?;
    let directory = fresh_directory("testpmd")?;
    let devices =
        ["veth0", "veth1"].map(|device| format!("--vdev={driver}_{device},iface={device}"));
    let cores = format!("--lcores=0@{},1@{}", first_core()?, worker_core()?);
    let arguments =
        ["--no-huge", "--no-pci", "--no-shconf", "-m", "1024", &cores, &devices[0], &devices[1]];
    let forwarding = [
        "--",
        "--forward-mode=io",
        "--auto-start",
        "--nb-cores=1",
        "--no-mlockall",
        "--total-num-mbufs=16384",
    ];
    let all = [&arguments[..], &forwarding[..]].concat();
    let program = Program::start(&host, &directory, PROGRAM, &all, &[])?;
    // It needs no word when it is ready: the ping that follows waits for it.
    let labour = Labour::Processes(vec![program.pid()]);
    Rig::bridged(ends, labour, (program, host))
}
