//! Containers: network namespaces with interfaces, and somebody in them.

use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;

use ctl::{IpCidr, NetnsRef};
use hostnet::{Interface, Link, Netlink, Netns, ethtool};

use crate::error::socket;
use crate::{LabError, PATIENCE, eventually};

/// A network namespace of its own, with a loopback interface that is on. It goes away with this value,
/// and so do the interfaces in it.
#[derive(Debug)]
pub struct Container {
    namespace: Netns,
}

impl Container {
    /// A fresh container without an interface to the outside.
    ///
    /// # Errors
    /// [`LabError::Host`], when this process may not make namespaces.
    pub fn new() -> Result<Self, LabError> {
        let namespace = Netns::create()?;
        let netlink = Netlink::open_in(&namespace)?;
        netlink.set_up(netlink.link("lo")?.index, true)?;
        Ok(Self { namespace })
    }

    /// Its namespace.
    pub fn namespace(&self) -> &Netns {
        &self.namespace
    }

    /// How to name it to a switch: a path that refers to it while this value lives, without keeping it
    /// alive itself.
    pub fn reference(&self) -> NetnsRef {
        let fd = self.namespace.as_fd().as_raw_fd();
        let path = format!("/proc/{}/fd/{fd}", std::process::id());
        path.parse().expect("an absolute path refers to a namespace")
    }

    /// Runs `work` in the container.
    ///
    /// # Errors
    /// What `work` returns, or [`hostnet::HostError`] when the container cannot be entered.
    pub fn run<T: Send, E: From<hostnet::HostError> + Send>(
        &self,
        work: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<T, E> {
        self.namespace.run(work)
    }

    /// A netlink socket in the container. While it is open it keeps the namespace alive.
    ///
    /// # Errors
    /// [`LabError::Host`].
    pub fn netlink(&self) -> Result<Netlink, LabError> {
        Ok(Netlink::open_in(&self.namespace)?)
    }

    /// Configures an interface and switches it on; its addresses are usable at once.
    ///
    /// # Errors
    /// [`LabError::Host`].
    pub fn configure(&self, interface: &str, wanted: &Interface) -> Result<Link, LabError> {
        Ok(self.namespace.run(|| hostnet::configure(interface, wanted))?)
    }

    /// Gives an interface addresses, such as `10.0.0.1/24`, and switches it on.
    ///
    /// # Errors
    /// [`LabError::Parameters`] for what is no address; [`LabError::Host`].
    pub fn address(&self, interface: &str, addresses: &[&str]) -> Result<Link, LabError> {
        let parsed: Result<Vec<IpCidr>, _> = addresses.iter().map(|text| text.parse()).collect();
        let ips = parsed.map_err(|_| LabError::Parameters {
            operation: "give an interface its addresses",
            why: "one is not written like 10.0.0.1/24 or fd00::1/64",
        })?;
        self.configure(interface, &Interface { ips: &ips, ..Interface::default() })
    }

    /// An interface of the container.
    ///
    /// # Errors
    /// [`LabError::Host`], when it is not there.
    pub fn link(&self, interface: &str) -> Result<Link, LabError> {
        Ok(self.netlink()?.link(interface)?)
    }

    /// Waits until an interface that is on is ready to send.
    ///
    /// # Errors
    /// [`LabError::Host`], when it has no carrier within [`PATIENCE`].
    pub fn await_ready(&self, interface: &str) -> Result<Link, LabError> {
        Ok(self.namespace.run(|| hostnet::await_ready(interface, PATIENCE))?)
    }

    /// Switches every offload of an interface, as `ethtool -K` does.
    ///
    /// # Errors
    /// [`LabError::Host`], when the device cannot do without.
    pub fn set_offloads(&self, interface: &str, on: bool) -> Result<(), LabError> {
        Ok(self.namespace.run(|| ethtool::set_all(interface, on))?)
    }

    /// Whether the kernel has such a setting of the container's network, as `net/bridge/bridge-nf-call-iptables`.
    ///
    /// # Errors
    /// [`LabError::Host`], when the container cannot be entered.
    pub(crate) fn has_sysctl(&self, name: &str) -> Result<bool, LabError> {
        self.run(|| Ok(PathBuf::from("/proc/sys").join(name).exists()))
    }

    /// Writes a setting of the container's network, as `net/ipv4/ip_forward` (sysctl(8)).
    ///
    /// # Errors
    /// [`LabError::Socket`], when the kernel has no such setting, or not such a value.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<(), LabError> {
        let write = || std::fs::write(PathBuf::from("/proc/sys").join(name), value);
        self.run(|| write().map_err(socket("write a network setting")))
    }

    /// Puts somebody into the container: a task that does nothing but be there, and that keeps the
    /// namespace alive as a container's process does.
    ///
    /// # Errors
    /// [`LabError::Host`], when the container cannot be entered.
    pub fn inhabit(&self) -> Result<Inhabitant, LabError> {
        let namespace = self.namespace.try_clone()?;
        let (leave, wait) = mpsc::channel::<()>();
        let (report, reported) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let entered = namespace.enter().map(|()| rustix::thread::gettid());
            drop(namespace);
            let _ = report.send(entered);
            let _ = wait.recv();
        });
        let task = reported.recv().map_err(|_| LabError::Parameters {
            operation: "inhabit a container",
            why: "the task ended before it said that it is there",
        })??;
        Ok(Inhabitant {
            task: task.as_raw_nonzero().get(),
            leave: Some(leave),
            thread: Some(thread),
        })
    }
}

/// A task inside a container. Dropping it ends the task, and its container unless something else is
/// in there; [`Self::path`] is gone with it.
#[derive(Debug)]
pub struct Inhabitant {
    task: i32,
    leave: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Inhabitant {
    /// How to name the container to a switch: by the number of this task.
    pub fn reference(&self) -> NetnsRef {
        self.task.to_string().parse().expect("a task's number refers to a namespace")
    }

    /// The file that refers to its namespace.
    pub fn path(&self) -> PathBuf {
        self.reference().path()
    }
}

impl Drop for Inhabitant {
    fn drop(&mut self) {
        drop(self.leave.take());
        if let Some(thread) = self.thread.take() {
            // It only waits; there is nothing in it that could fail.
            let _ = thread.join();
        }
        // Whoever joins a thread is woken before the kernel takes the task out of /proc. One that
        // stays for longer has had its number taken by somebody else.
        let path = self.path();
        let _ = eventually("the task is gone", || !path.exists());
    }
}
