//! Names of namespaces: files in `/run/netns`, as iproute2 keeps them (`ip-netns(8)`).

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, mount_bind, unmount};

use crate::{HostError, Netns};

/// Where the names are.
const NAMES: &str = "/run/netns";

impl Netns {
    /// Gives the namespace a name, by which everybody finds it who sees the same `/run`. The name keeps it
    /// alive until [`forget_name`](Self::forget_name).
    ///
    /// # Errors
    /// [`HostError::Netns`], when the name is taken; nothing has changed then.
    pub fn give_name(&self, name: &str) -> Result<(), HostError> {
        let failed = |source| self.failed("give a name to", source);
        let path = path_of(name).map_err(failed)?;
        fs::create_dir_all(NAMES).map_err(failed)?;
        OpenOptions::new().write(true).create_new(true).open(&path).map_err(failed)?;
        let source = format!("/proc/thread-self/fd/{}", self.as_fd().as_raw_fd());
        mount_bind(source, &path).map_err(|errno| {
            // The file is ours, and of no use without the mount.
            let _ = fs::remove_file(&path);
            failed(errno.into())
        })
    }

    /// Takes a name away. The namespace ends if nothing else keeps it alive.
    ///
    /// # Errors
    /// [`HostError::Netns`], when there is none by that name.
    pub fn forget_name(name: &str) -> Result<(), HostError> {
        let failed = |source| HostError::Netns {
            operation: "forget the name of",
            namespace: name.to_owned(),
            source,
        };
        let path = path_of(name).map_err(failed)?;
        unmount(&path, UnmountFlags::DETACH).map_err(|errno| failed(errno.into()))?;
        fs::remove_file(&path).map_err(failed)
    }
}

fn path_of(name: &str) -> io::Result<PathBuf> {
    if name.is_empty() || name.contains('/') || name == "." || name == ".." {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(Path::new(NAMES).join(name))
}
