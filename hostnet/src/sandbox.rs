//! A private network for this whole process: for tests, benchmarks and demonstrations.
//!
//! [`enter`] moves the process into a fresh network and mount namespace (and, without root, a user
//! namespace in which it is root). Whatever it does to interfaces from then on touches nothing outside
//! and is gone when it ends, however it ends. It must come first in `main`, while there is one thread.

use std::fs;
use std::io;

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{getegid, geteuid};
use rustix::thread::UnshareFlags;

use crate::{HostError, Netlink, sys};

/// Moves this process into a private network. Call it first in `main`.
///
/// # Errors
/// [`HostError::Sandbox`], when the system permits neither, or this process has several threads; nothing has
/// changed then.
pub fn enter() -> Result<(), HostError> {
    refuse_threads()?;
    let spaces = UnshareFlags::NEWNET | UnshareFlags::NEWNS;
    if sys::unshare(spaces).is_err() {
        enter_as_user(spaces)?;
    }
    private_files()?;
    let netlink = Netlink::open()?;
    netlink.set_up(netlink.link("lo")?.index, true)
}

/// Other threads would stay outside, and what they do would not be private.
fn refuse_threads() -> Result<(), HostError> {
    let failed = |source| HostError::Sandbox { operation: "move the only thread", source };
    match fs::read_dir("/proc/self/task").map_err(failed)?.count() {
        1 => Ok(()),
        _ => Err(failed(io::ErrorKind::ResourceBusy.into())),
    }
}

/// Without the right to make namespaces one becomes root of a user namespace first.
fn enter_as_user(spaces: UnshareFlags) -> Result<(), HostError> {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    let failed = |operation| move |source| HostError::Sandbox { operation, source };
    sys::unshare(spaces | UnshareFlags::NEWUSER).map_err(failed("make namespaces"))?;
    let write = |file: &str, text: String| {
        fs::write(format!("/proc/self/{file}"), text).map_err(failed("map this user"))
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("0 {user} 1"))?;
    write("gid_map", format!("0 {group} 1"))
}

/// Mounts stay private, and `/run` is ours: names of namespaces and sockets made there are nobody
/// else's.
fn private_files() -> Result<(), HostError> {
    let failed = |operation| {
        move |errno: rustix::io::Errno| HostError::Sandbox {
            operation,
            source: io::Error::from(errno),
        }
    };
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(failed("make mounts private"))?;
    mount("tmpfs", "/run", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, None)
        .map_err(failed("mount a private /run"))
}
