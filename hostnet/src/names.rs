//! Names of namespaces: files in `/run/netns`, as iproute2 keeps them (`ip-netns(8)`).

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, mount_bind, unmount};

use ctl::{NetnsRef, RawNetns, shown};

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
        let failed = |source| HostError::netns("forget the name of", name, source);
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

/// The names that there are, in order.
pub(crate) fn present() -> Vec<String> {
    let entries = fs::read_dir(NAMES).into_iter().flatten().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

/// What to do where a namespace cannot be opened, with the names that there are.
pub(crate) fn advice(
    namespace: &NetnsRef,
    why: io::ErrorKind,
    names: impl FnOnce() -> Vec<String>,
) -> String {
    let usual = "; give the name of one in /run/netns, an absolute path, or a process id";
    match (namespace.raw(), why) {
        (RawNetns::Pid(pid), io::ErrorKind::NotFound) => format!(
            "; there is no process {pid}, and a name of digits only is written as a path, {NAMES}/{pid}"
        ),
        (RawNetns::Pid(_), io::ErrorKind::PermissionDenied) => format!(
            "; it needs ptrace access to the process, whose capabilities or user namespace refuse it; give a name in {NAMES} or a path instead"
        ),
        (RawNetns::Name(_), io::ErrorKind::NotFound) => match names().as_slice() {
            [] => usual.to_owned(),
            names => format!("; in {NAMES} there are: {}", shown(names)),
        },
        (RawNetns::Path(_), io::ErrorKind::NotFound) => usual.to_owned(),
        (_, io::ErrorKind::PermissionDenied) => "; vswitchd may not read that file".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_names_no_namespace_is_told_what_to_name() {
        use io::ErrorKind::{NotFound, PermissionDenied};
        let cases = [
            ("999999", NotFound, "there is no process 999999, and a name of digits only"),
            ("1", PermissionDenied, "it needs ptrace access to the process"),
            ("nu-wbe", NotFound, "in /run/netns there are: nu-db, nu-web"),
            ("/srv/none", NotFound, "give the name of one in /run/netns"),
            ("/srv/none", PermissionDenied, "may not read that file"),
        ];
        for (named, why, told) in cases {
            let names = || vec!["nu-db".to_owned(), "nu-web".to_owned()];
            let advice = advice(&named.parse().unwrap(), why, names);
            assert!(advice.contains(told), "{named}: {advice}");
        }
        let nobody = advice(&"web".parse().unwrap(), NotFound, Vec::new);
        assert!(nobody.contains("give the name of one"), "{nobody}");
    }
}
