//! Network namespaces: naming, entering, making them.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use ctl::{NetnsIdentity, NetnsRef};

use crate::error::ENTER;
use crate::{HostError, names, sys};

/// Changes with every boot (`random(4)`).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The identity of a namespace, for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetnsId {
    /// Device of the namespace file system.
    pub device: u64,
    /// Inode.
    pub inode: u64,
}

/// A network namespace. The handle keeps it alive: do not hold one longer than a call takes.
#[derive(Debug)]
pub struct Netns {
    file: OwnedFd,
    label: String,
}

impl Netns {
    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// [`HostError::Netns`].
    pub fn current() -> Result<Self, HostError> {
        let label = "of this thread";
        let file = open_file("/proc/thread-self/ns/net".as_ref());
        let file = file.map_err(|source| HostError::netns("open", label, source))?;
        Ok(Self { file, label: label.to_owned() })
    }

    /// The namespace that a person named.
    ///
    /// # Errors
    /// [`HostError::Netns`], when there is none by that name.
    pub fn open(namespace: &NetnsRef) -> Result<Self, HostError> {
        let label = namespace.to_string();
        match open_file(&namespace.path()) {
            Ok(file) => Ok(Self { file, label }),
            Err(source) => {
                let advice = names::advice(namespace, source.kind(), names::present);
                Err(HostError::Netns { operation: "open", namespace: label, source, advice })
            }
        }
    }

    /// A fresh namespace with nothing but a loopback device that is down. It lives as long as the
    /// handle, and what is in it.
    ///
    /// # Errors
    /// [`HostError::Netns`].
    pub fn create() -> Result<Self, HostError> {
        let failed = |source| HostError::netns("create", "(new)", source);
        let file = on_a_scratch_thread(|| {
            sys::unshare(UnshareFlags::NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        });
        let file = file.map_err(failed)?.map_err(failed)?;
        Ok(Self { file: file.into(), label: "(anonymous)".to_owned() })
    }

    /// The namespace that a descriptor refers to.
    pub fn from_fd(file: OwnedFd) -> Self {
        Self { file, label: "of a device".to_owned() }
    }

    /// Another handle of the same namespace.
    ///
    /// # Errors
    /// [`HostError::Netns`], when descriptors run out.
    pub fn try_clone(&self) -> Result<Self, HostError> {
        let file = self.file.try_clone().map_err(|source| self.failed("refer to", source))?;
        Ok(Self { file, label: self.label.clone() })
    }

    /// Its identity for all times, also among those that will be called like it.
    ///
    /// # Errors
    /// [`HostError::Netns`].
    pub fn identity(&self) -> Result<NetnsIdentity, HostError> {
        let failed = |source| self.failed("tell the identity of", source);
        let boot = std::fs::read_to_string(BOOT_ID).map_err(failed)?.trim().to_owned();
        // Any socket is of the namespace of the thread that opens it.
        let cookie = || UnixDatagram::unbound().and_then(sys::netns_cookie).map_err(failed);
        Ok(NetnsIdentity { boot, cookie: self.run(cookie)? })
    }

    /// Its identity among those that live.
    ///
    /// # Errors
    /// [`HostError::Netns`].
    pub fn id(&self) -> Result<NetnsId, HostError> {
        let stat =
            rustix::fs::fstat(&self.file).map_err(|errno| self.failed("look at", errno.into()))?;
        Ok(NetnsId { device: stat.st_dev, inode: stat.st_ino })
    }

    /// Runs `work` inside the namespace, on a thread made for it; the caller's namespace stays what it is.
    ///
    /// # Errors
    /// [`HostError::Netns`] when it cannot be entered; otherwise what `work` returns.
    pub fn run<T: Send, E: From<HostError> + Send>(
        &self,
        work: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<T, E> {
        let done = on_a_scratch_thread(|| {
            self.enter()?;
            work()
        });
        done.map_err(|source| self.failed("start a thread in", source))?
    }

    /// Moves the calling thread into the namespace, for good.
    ///
    /// # Errors
    /// [`HostError::Netns`].
    pub fn enter(&self) -> Result<(), HostError> {
        move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|errno| self.failed(ENTER, errno.into()))
    }

    pub(crate) fn failed(&self, operation: &'static str, source: io::Error) -> HostError {
        HostError::netns(operation, &self.label, source)
    }
}

/// Whatever was named, such as a pipe without a writer, is not waited for.
fn open_file(path: &Path) -> io::Result<OwnedFd> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    Ok(file.into())
}

/// Runs `work` on a thread of its own, which may then be in any namespace. A panic goes on in the caller.
fn on_a_scratch_thread<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, work)?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
