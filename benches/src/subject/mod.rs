//! What is measured: switches, routers and tunnels, each with how it is started.
//!
//! A [`Subject`] is a line in the catalogue; starting it makes a [`Rig`]: two containers with the subject between
//! them. A rig lives for one turn of a campaign and is then taken down, so that of all subjects only the one that is
//! measured is there: what another's busy loop or memory costs is never part of a figure. Everything happens in
//! namespaces; programs of others run with directories of their own and are ended by their process number.

mod bridging;
mod dpdk;
mod nat;
mod overlay;
mod ovs;
mod process;
mod replay;
mod switch;
mod vde;
mod wire;

use std::any::Any;
use std::error::Error;
use std::net::Ipv4Addr;
use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use ctl::IpCidr;
use hostnet::{Interface, MacBytes};
use netlab::{Container, LabError, Path, cpu, ping};
use vswitch::fleet::{default_cores, usable_cores};

pub(crate) use nat::translator;
pub(crate) use replay::Replay;
pub(crate) use switch::{Switch, veth_to};

/// The name that every container's interface has.
pub(crate) const INTERFACE: &str = "eth0";
/// MTU of a rig, unless something else is measured.
pub(crate) const MTU: u32 = 1500;
/// Where the containers of a rig are, unless there is a router between them.
///
/// The addresses behind the near end's are free: a load of many flows comes from them too.
pub(crate) const ADDRESSES: [Ipv4Addr; 2] =
    [Ipv4Addr::new(10, 98, 0, 2), Ipv4Addr::new(10, 98, 0, 1)];

/// What a subject is for. Only subjects of one family are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    /// Both containers are on one network.
    Bridging,
    /// One container is hidden behind an address that the other sees.
    Nat,
    /// The containers are on one network, on two hosts.
    Overlay,
}

impl Family {
    /// Its heading.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Bridging => "One network",
            Self::Nat => "Address translation",
            Self::Overlay => "Two hosts",
        }
    }

    /// Bytes by which the containers' packets are shorter than the wire's.
    pub(crate) fn overhead_bytes(self) -> u32 {
        match self {
            Self::Bridging | Self::Nat => 0,
            Self::Overlay => overlay::OVERHEAD_BYTES,
        }
    }

    /// What the others are compared with, unless something else is asked for.
    pub(crate) fn baseline(self) -> &'static str {
        match self {
            Self::Bridging => "bridge",
            Self::Nat => "nft-nat",
            Self::Overlay => "linux-vxlan",
        }
    }
}

/// What is wanted of a rig.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    /// The containers' MTU, where there is no tunnel.
    pub(crate) mtu: u32,
    /// A third port, for those who want to see what is flooded. Not every subject has one.
    pub(crate) monitor: bool,
    /// So many more ports, each of a container that says nothing. Of the switches that learn addresses this project's and OVS
    /// have them.
    pub(crate) guests: u16,
    /// It can be started again and then is as it was. Not every subject can.
    pub(crate) is_durable: bool,
}

impl Wish {
    /// What is usual.
    pub(crate) const USUAL: Self = Self { mtu: MTU, monitor: false, guests: 0, is_durable: false };
}

/// Ends a switch and starts it again.
type Reset = Box<dyn Fn() -> Result<(), Box<dyn Error>>>;

type Start = fn(&Wish) -> Result<Rig, Box<dyn Error>>;

/// Something that can be measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject {
    /// By which it is chosen.
    pub(crate) name: &'static str,
    /// What it is, and with which settings it runs.
    pub(crate) about: &'static str,
    pub(crate) family: Family,
    /// The programs without which it cannot be measured.
    pub(crate) needs: &'static [&'static str],
    /// It is measured if nothing is asked for by name.
    pub(crate) is_default: bool,
    start: Start,
}

impl Subject {
    /// The program that it needs and that is not installed.
    pub(crate) fn missing(&self) -> Option<&'static str> {
        self.needs.iter().copied().find(|program| process::find(program).is_none())
    }

    /// What its program says of its version.
    pub(crate) fn version(&self) -> Option<String> {
        self.needs.first().and_then(|program| process::version(program))
    }

    /// Starts it between two fresh containers, and returns when one reaches the other.
    pub(crate) fn start(&self, wish: &Wish) -> Result<Rig, Box<dyn Error>> {
        let rig = (self.start)(wish)?;
        let patience = Duration::from_secs(10);
        ping::ping(
            &rig.near,
            rig.addresses[1].into(),
            &ping::Options { patience, ..Default::default() },
        )?;
        Ok(rig)
    }
}

/// All that can be measured, family by family, in the order of the tables.
pub(crate) fn catalogue() -> Vec<Subject> {
    let mut all = Vec::new();
    for subjects in [
        bridging::SUBJECTS,
        wire::SUBJECTS,
        switch::SUBJECTS,
        ovs::SUBJECTS,
        dpdk::SUBJECTS,
        vde::SUBJECTS,
        nat::SUBJECTS,
        overlay::SUBJECTS,
    ] {
        all.extend_from_slice(subjects);
    }
    all.sort_by_key(|subject| subject.family);
    all
}

/// Whose processor time is the switch's.
#[derive(Debug)]
pub(crate) enum Labour {
    /// The kernel's, in the context of whoever sends: it cannot be told from the ends' own.
    Kernel,
    /// That of this process' threads with names that begin so.
    Threads(&'static str),
    /// That of these processes.
    Processes(Vec<u32>),
}

impl Labour {
    /// Processor time so far.
    ///
    /// # Errors
    /// [`LabError::Socket`], when one of the processes is gone.
    pub(crate) fn time(&self) -> Result<Duration, LabError> {
        match self {
            Self::Kernel => Ok(Duration::ZERO),
            Self::Threads(prefix) => cpu::threads_time(std::process::id(), prefix),
            Self::Processes(pids) => pids.iter().map(|pid| cpu::threads_time(*pid, "")).sum(),
        }
    }

    /// The processes in which the switch is: all of it, not only the threads that move frames.
    pub(crate) fn processes(&self) -> Vec<u32> {
        match self {
            Self::Kernel => Vec::new(),
            Self::Threads(_) => vec![std::process::id()],
            Self::Processes(pids) => pids.clone(),
        }
    }
}

/// Two containers, and what connects them.
pub(crate) struct Rig {
    /// What is kept while the rig is: the switch. It goes first.
    _between: Box<dyn Any>,
    /// The container that asks and sends.
    pub(crate) near: Container,
    /// The container that answers.
    pub(crate) far: Container,
    /// One that only looks on, on the same network.
    pub(crate) monitor: Option<Container>,
    /// The addresses of both.
    pub(crate) addresses: [Ipv4Addr; 2],
    /// Who the near end addresses its frames to: the far end, or its own gateway.
    pub(crate) next_hop: MacBytes,
    pub(crate) labour: Labour,
    /// The sockets by which this project's switches are driven.
    pub(crate) controls: Vec<PathBuf>,
    /// Starts it again, where that was wished for and the containers' interfaces outlive it.
    pub(crate) reset: Option<Reset>,
}

impl Rig {
    /// A rig of two containers on one network, whose `eth0` are connected already.
    fn bridged(
        [near, far]: [Container; 2],
        labour: Labour,
        between: impl Any,
    ) -> Result<Self, Box<dyn Error>> {
        let next_hop = mac(&far)?;
        let (addresses, controls) = (ADDRESSES, Vec::new());
        let (_between, monitor) = (Box::new(between), None);
        let reset = None;
        Ok(Self { _between, near, far, monitor, addresses, next_hop, labour, controls, reset })
    }

    /// The way from the near to the far end.
    pub(crate) fn path(&self) -> Path<'_> {
        Path::new(&self.near, &self.far, self.addresses[1])
    }

    /// The longest packet of the near end, in bytes.
    pub(crate) fn mtu(&self) -> Result<u32, Box<dyn Error>> {
        Ok(self.near.link(INTERFACE)?.mtu)
    }

    /// The control socket of the first switch of this project in the rig.
    pub(crate) fn control(&self) -> Option<&FilePath> {
        self.controls.first().map(PathBuf::as_path)
    }
}

/// The MAC address of a container's interface.
pub(crate) fn mac(container: &Container) -> Result<MacBytes, Box<dyn Error>> {
    Ok(container.link(INTERFACE)?.mac.ok_or("eth0 has no MAC address")?)
}

/// A container for a third port, if one is wanted.
fn monitor(wish: &Wish) -> Result<Option<Container>, Box<dyn Error>> {
    Ok(if wish.monitor { Some(Container::new()?) } else { None })
}

/// A container for each of the ports that are wanted beside.
fn guests(wish: &Wish) -> Result<Vec<Container>, LabError> {
    (0..wish.guests).map(|_| Container::new()).collect()
}

/// The core of the thread that moves frames: of others' switches the same as of this one.
pub(crate) fn worker_core() -> Result<usize, Box<dyn Error>> {
    default_cores().first().copied().ok_or_else(|| "no core may be used".into())
}

/// The core for what else a switch has to do.
fn first_core() -> Result<usize, Box<dyn Error>> {
    usable_cores().first().copied().ok_or_else(|| "no core may be used".into())
}

fn containers() -> Result<[Container; 2], Box<dyn Error>> {
    Ok([Container::new()?, Container::new()?])
}

/// The address of a container of a rig, with its network.
fn cidr(number: usize) -> IpCidr {
    IpCidr { addr: ADDRESSES[number].into(), prefix_len: 24 }
}

/// Gives the containers' interfaces their addresses, and the MTU that is wanted.
fn configure(containers: &[Container; 2], wish: &Wish) -> Result<(), Box<dyn Error>> {
    for (number, container) in containers.iter().enumerate() {
        let ips = [cidr(number)];
        let wanted = Interface { ips: &ips, mtu: Some(wish.mtu), ..Interface::default() };
        container.configure(INTERFACE, &wanted)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subject_has_a_name_of_its_own_and_every_family_its_baseline() {
        let all = catalogue();
        let names: std::collections::BTreeSet<_> = all.iter().map(|subject| subject.name).collect();
        assert_eq!(names.len(), all.len());
        for family in [Family::Bridging, Family::Nat, Family::Overlay] {
            let baseline = all.iter().find(|subject| subject.name == family.baseline());
            assert_eq!(baseline.map(|subject| subject.family), Some(family));
        }
    }
}
