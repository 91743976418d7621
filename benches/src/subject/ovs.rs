//! Open vSwitch with its userspace datapath, and the same on DPDK.
//!
//! Each run has a database of its own, made from the schema that the package brings, and no more than one bridge of
//! `datapath_type=netdev` with the action `NORMAL`: it learns addresses, as a bridge does.

use std::error::Error;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use hostnet::Interface;
use netlab::Container;

use super::process::{Program, fresh_directory, run_in};
use super::{
    Family, INTERFACE, Labour, Rig, Subject, Wish, configure, containers, guests, worker_core,
};

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
const PLAIN: &str = "ovs-vswitchd";
pub(super) const WITH_DPDK: &str = "ovs-vswitchd-dpdk";
/// Without huge pages, which a container host need not have, and with nothing but the devices that are named. Without
/// `--legacy-mem` OVS adds `--in-memory`, which cannot do without huge pages.
const DPDK: &[&str] = &["dpdk-init=true", "dpdk-extra=--no-huge --no-pci -m 1024 --legacy-mem"];
/// Checksums and segmentation are left to devices. Without it, what a container leaves to a device is dropped.
const SEGMENTATION: &str = "userspace-tso-enable=true";

/// The socket by which `ovs-appctl` asks the switch, in its directory.
const CONTROL: &str = "vswitchd.ctl";

/// What it takes.
pub(super) const NEEDS: &[&str] = &[PLAIN, "ovsdb-server", "ovsdb-tool", "ovs-vsctl"];

const OVS: Subject = Subject {
    name: "",
    about: "",
    family: Family::Bridging,
    needs: NEEDS,
    is_default: false,
    start: |wish| start(wish, &PACKET),
};

pub(super) const SUBJECTS: &[Subject] = &[
    Subject { name: "ovs-packet", about: "OVS userspace, AF_PACKET ports on veths", ..OVS },
    Subject {
        name: "ovs-tso",
        about: "OVS userspace, AF_PACKET ports on veths, userspace-tso-enable=true",
        start: |wish| start(wish, &TSO),
        ..OVS
    },
    Subject {
        name: "ovs-tap",
        about: "OVS userspace, TAP ports moved into the containers",
        start: |wish| start(wish, &TAP),
        ..OVS
    },
    Subject {
        name: "ovs-tap-tso",
        about: "OVS userspace, TAP ports moved into the containers, userspace-tso-enable=true",
        start: |wish| start(wish, &TAP_TSO),
        ..OVS
    },
    Subject {
        name: "ovs-xdp",
        about: "OVS userspace, AF_XDP ports on veths (generic mode, one queue), a polling thread on the last core",
        start: |wish| start(wish, &XDP),
        ..OVS
    },
    Subject {
        name: "ovs-xdp-native",
        about: "OVS userspace, AF_XDP ports on veths (native mode, one queue), a polling thread on the last core",
        start: |wish| start(wish, &XDP_NATIVE),
        ..OVS
    },
    Subject {
        name: "ovs-dpdk-packet",
        about: "OVS-DPDK without huge pages, net_af_packet ports on veths, a polling thread on the last core; defaults",
        needs: &[WITH_DPDK, "ovsdb-server", "ovsdb-tool", "ovs-vsctl"],
        start: |wish| start(wish, &DPDK_PACKET),
        ..OVS
    },
    Subject {
        name: "ovs-dpdk-xdp",
        about: "OVS-DPDK without huge pages, net_af_xdp ports on veths (copy mode), a polling thread on the last core; \
                defaults",
        needs: &[WITH_DPDK, "ovsdb-server", "ovsdb-tool", "ovs-vsctl"],
        start: |wish| start(wish, &DPDK_XDP),
        ..OVS
    },
];

/// How it is set up.
pub(super) struct Mode {
    daemon: &'static str,
    /// `other_config` of the whole switch.
    config: &'static [&'static str],
    /// It has a thread that never sleeps.
    is_polling: bool,
    /// What makes a port of `veth0` or `veth1`.
    port: fn(&str) -> Vec<String>,
    /// It makes the containers' interfaces itself.
    is_tap: bool,
}

/// AF_PACKET ports on devices that exist.
pub(super) const PACKET: Mode =
    Mode { daemon: PLAIN, config: &[], is_polling: false, port: |_| Vec::new(), is_tap: false };
const TSO: Mode = Mode { config: &[SEGMENTATION], ..PACKET };
const TAP: Mode = Mode { port: |_| vec!["type=tap".to_owned()], is_tap: true, ..PACKET };
const TAP_TSO: Mode = Mode { config: &[SEGMENTATION], ..TAP };
const XDP: Mode = Mode { is_polling: true, port: |_| xdp_port("generic"), ..PACKET };
const XDP_NATIVE: Mode = Mode { port: |_| xdp_port("native"), ..XDP };
/// DPDK, with a polling thread.
pub(super) const DPDK_PACKET: Mode = Mode {
    daemon: WITH_DPDK,
    config: DPDK,
    is_polling: true,
    port: |device| dpdk_port("net_af_packet", device),
    is_tap: false,
};
const DPDK_XDP: Mode = Mode { port: |device| dpdk_port("net_af_xdp", device), ..DPDK_PACKET };

fn xdp_port(mode: &str) -> Vec<String> {
    let kind = ["type=afxdp", "options:n_rxq=1"].map(str::to_owned);
    kind.into_iter().chain([format!("options:xdp-mode={mode}")]).collect()
}

fn dpdk_port(driver: &str, device: &str) -> Vec<String> {
    vec!["type=dpdk".to_owned(), format!("options:dpdk-devargs={driver}_{device},iface={device}")]
}

fn start(wish: &Wish, mode: &Mode) -> Result<Rig, Box<dyn Error>> {
    let (ends, guests, host) = (containers()?, guests(wish)?, Container::new()?);
    let switch = OpenVswitch::start(&host, mode)?;
    for (number, end) in ends.iter().chain(&guests).enumerate() {
        join(&switch, &host, mode, (end, &format!("veth{number}")), wish)?;
    }
    configure(&ends, wish)?;
    let silent = Interface { mtu: Some(wish.mtu), ..Interface::default() };
    for guest in &guests {
        guest.configure(INTERFACE, &silent)?;
    }
    if !mode.config.contains(&SEGMENTATION) {
        let mut all = ends.iter().chain(&guests);
        all.try_for_each(|end| end.set_offloads(INTERFACE, false))?;
    }
    let labour = Labour::Processes(vec![switch.pid()]);
    Rig::bridged(ends, labour, (switch, host, guests))
}

/// An empty container's way onto the bridge, by a device of that name.
fn join(
    switch: &OpenVswitch,
    host: &Container,
    mode: &Mode,
    (end, device): (&Container, &str),
    wish: &Wish,
) -> Result<(), Box<dyn Error>> {
    let netlink = host.netlink()?;
    if !mode.is_tap {
        netlink.create_veth(device, INTERFACE, Some(end.namespace().as_fd()))?;
        let link = netlink.link(device)?;
        netlink.set_mtu(link.index, wish.mtu)?;
        netlink.set_up(link.index, true)?;
    }
    let (kind, mtu) = ((mode.port)(device), format!("mtu_request={}", wish.mtu));
    let settings: Vec<_> = kind.iter().chain([&mtu]).map(String::as_str).collect();
    switch.port(host, "br0", device, &settings)?;
    if mode.is_tap {
        netlink.move_to(netlink.link(device)?.index, end.namespace(), INTERFACE)?;
    }
    Ok(())
}

/// A core as one bit of a hexadecimal number, however many cores the machine has.
fn mask_of(core: usize) -> String {
    format!("{:#x}{}", 1 << (core % 4), "0".repeat(core / 4))
}

/// A database and a switch, with a bridge `br0`.
pub(super) struct OpenVswitch {
    daemon: Program,
    _database: Program,
    directory: PathBuf,
    /// The database's.
    socket: String,
}

impl OpenVswitch {
    pub(super) fn start(host: &Container, mode: &Mode) -> Result<Self, Box<dyn Error>> {
        let directory = fresh_directory("ovs")?;
        let (database, socket) = database(host, &directory)?;
        let database_at = format!("--db={socket}");
        let vsctl = |arguments: &[&str]| {
            // The socket is there a moment before somebody listens.
            let all =
                [&["--no-wait", "--retry", "--timeout=20", &*database_at], arguments].concat();
            run_in(host, "ovs-vsctl", &all, "")
        };
        vsctl(&["init"])?;
        for setting in mode.config {
            vsctl(&["set", "Open_vSwitch", ".", &quoted(setting)])?;
        }
        if mode.is_polling {
            let mask = format!("pmd-cpu-mask={}", mask_of(worker_core()?));
            vsctl(&["set", "Open_vSwitch", ".", &quoted(&mask)])?;
        }
        let place = directory.to_string_lossy().into_owned();
        let control = format!("--unixctl={place}/{CONTROL}");
        let environment =
            [("OVS_RUNDIR", &*place), ("OVS_LOGDIR", &place), ("OVS_SYSCONFDIR", &place)];
        let arguments = [&*socket, &control, "--no-chdir"];
        let mut daemon = Program::start(host, &directory, mode.daemon, &arguments, &environment)?;
        daemon.await_that(|| directory.join(CONTROL).exists())?;
        let switch = Self { daemon, _database: database, directory, socket };
        switch.bridge(host, "br0")?;
        Ok(switch)
    }

    /// Makes a bridge, and an interface of the same name on its host.
    pub(super) fn bridge(&self, host: &Container, name: &str) -> Result<(), Box<dyn Error>> {
        self.vsctl(host, &["add-br", name, "--", "set", "bridge", name, "datapath_type=netdev"])
    }

    /// Makes a port, with these columns of its interface.
    pub(super) fn port(
        &self,
        host: &Container,
        bridge: &str,
        name: &str,
        settings: &[&str],
    ) -> Result<(), Box<dyn Error>> {
        let add = ["add-port", bridge, name];
        let set = ["--", "set", "interface", name];
        match settings {
            [] => self.vsctl(host, &add),
            settings => self.vsctl(host, &[&add, &set[..], settings].concat()),
        }
    }

    /// Takes a port away.
    pub(super) fn remove(&self, host: &Container, name: &str) -> Result<(), Box<dyn Error>> {
        self.vsctl(host, &["del-port", name])
    }

    /// Changes `other_config` of the whole switch while it runs.
    pub(super) fn set(&self, host: &Container, settings: &[&str]) -> Result<(), Box<dyn Error>> {
        let settings: Vec<_> = settings.iter().map(|setting| quoted(setting)).collect();
        let set = ["set", "Open_vSwitch", "."];
        let all: Vec<_> = set.into_iter().chain(settings.iter().map(String::as_str)).collect();
        self.vsctl(host, &all)
    }

    /// Asks the switch itself.
    pub(super) fn ask(
        &self,
        host: &Container,
        question: &[&str],
    ) -> Result<String, Box<dyn Error>> {
        let control = format!("--target={}", self.directory.join(CONTROL).display());
        run_in(host, "ovs-appctl", &[&[&*control], question].concat(), "")
    }

    /// Has these flows, one a line, instead of those that a bridge had.
    pub(super) fn flows(
        &self,
        host: &Container,
        bridge: &str,
        flows: &str,
    ) -> Result<(), Box<dyn Error>> {
        let place = format!("unix:{}/{bridge}.mgmt", self.directory.display());
        run_in(host, "ovs-ofctl", &["replace-flows", &place, "-"], flows).map(drop)
    }

    /// The switch's process.
    pub(super) fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    fn vsctl(&self, host: &Container, arguments: &[&str]) -> Result<(), Box<dyn Error>> {
        let database = format!("--db={}", self.socket);
        let all = [&["--timeout=20", &*database], arguments].concat();
        run_in(host, "ovs-vsctl", &all, "").map(drop)
    }
}

/// `other_config:KEY="VALUE"`, as `ovs-vsctl` takes values with anything in them.
fn quoted(setting: &str) -> String {
    let (key, value) = setting.split_once('=').unwrap_or((setting, "true"));
    format!("other_config:{key}=\"{value}\"")
}

fn database(host: &Container, directory: &Path) -> Result<(Program, String), Box<dyn Error>> {
    let file: PathBuf = directory.join("conf.db");
    let (file, place) = (file.to_string_lossy(), directory.to_string_lossy());
    run_in(host, "ovsdb-tool", &["create", &file, SCHEMA], "")?;
    let socket = directory.join("db.sock");
    let remote = format!("--remote=punix:{}", socket.display());
    let control = format!("--unixctl={place}/ovsdb.ctl");
    let environment = [("OVS_RUNDIR", &*place), ("OVS_LOGDIR", &place)];
    let arguments = [&*file, &remote, &control, "--no-chdir"];
    let mut program = Program::start(host, directory, "ovsdb-server", &arguments, &environment)?;
    program.await_that(|| socket.exists())?;
    Ok((program, format!("unix:{}", socket.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_one_bit_of_a_mask() {
        assert_eq!([0, 1, 3, 4].map(mask_of), ["0x1", "0x2", "0x8", "0x10"]);
        assert_eq!(mask_of(130), format!("0x4{}", "0".repeat(32)));
    }
}
