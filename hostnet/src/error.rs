//! Why the host refused.

use std::io;
use std::path::PathBuf;

/// Why an operation on the host's networking failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// A namespace cannot be found or entered.
    #[error("cannot {operation} network namespace {namespace}: {source}{advice}")]
    Netns {
        /// What was attempted.
        operation: &'static str,
        /// Which namespace, as it was given.
        namespace: String,
        /// The kernel's error.
        source: io::Error,
        /// What to do.
        advice: String,
    },
    /// The kernel refused a netlink request.
    #[error("cannot {operation} {subject}: {source}{}{}", said(.remark), netlink_hint(.source))]
    Netlink {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        subject: String,
        /// The kernel's error.
        source: io::Error,
        /// What the kernel says about it.
        remark: Option<String>,
    },
    /// Another interface has the route, and keeps it.
    #[error(
        "cannot add route {route}: another interface of the namespace has one to there, which stays; remove that one, \
         or do without this one"
    )]
    RouteTaken {
        /// Where to, and by whom.
        route: String,
    },
    /// There is no such interface.
    #[error("there is no interface {name:?} in this network namespace")]
    NoSuchLink {
        /// Its name.
        name: String,
    },
    /// A device setting cannot be read or changed.
    #[error("cannot {operation} of interface {name:?}: {source}{}", hint(.source))]
    Device {
        /// What was attempted.
        operation: &'static str,
        /// The interface's name.
        name: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// A file of the kernel cannot be written.
    #[error("cannot write {path}: {source}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// The kernel answered with something that makes no sense.
    #[error("cannot {operation}: the kernel's answer is not understood ({detail})")]
    Answer {
        /// What was attempted.
        operation: &'static str,
        /// What is wrong with the answer.
        detail: String,
    },
    /// A private namespace for tests and demonstrations cannot be made.
    #[error(
        "cannot {operation} for a private network: {source}; run as root, or enable user namespaces"
    )]
    Sandbox {
        /// What was attempted.
        operation: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
}

/// What is attempted with a namespace that is there.
pub(crate) const ENTER: &str = "enter";

impl HostError {
    /// What cannot be done with a namespace.
    pub(crate) fn netns(operation: &'static str, namespace: &str, source: io::Error) -> Self {
        let advice = netns_hint(&source).to_owned();
        Self::Netns { operation, namespace: namespace.to_owned(), source, advice }
    }

    /// Whether it says that a file is there, and is no network namespace.
    pub fn is_no_namespace(&self) -> bool {
        matches!(self, Self::Netns { operation: ENTER, source, .. } if source.raw_os_error() == Some(libc::EINVAL))
    }

    /// The kernel's error, if it was the kernel's.
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Self::Netns { source, .. }
            | Self::Netlink { source, .. }
            | Self::Device { source, .. }
            | Self::File { source, .. }
            | Self::Sandbox { source, .. } => Some(source),
            Self::RouteTaken { .. } | Self::NoSuchLink { .. } | Self::Answer { .. } => None,
        }
    }

    /// Whether it says that the namespace or the interface is not there; a failure to find out says
    /// nothing about that.
    pub fn is_absence(&self) -> bool {
        match self {
            Self::NoSuchLink { .. } => true,
            // Nothing by that name; a process that has ended; or something that is no namespace.
            Self::Netns { source, .. } => matches!(
                source.raw_os_error(),
                Some(libc::ENOENT | libc::ENOTDIR | libc::ESRCH | libc::EINVAL | libc::ENXIO)
            ),
            _ => false,
        }
    }
}

fn said(remark: &Option<String>) -> String {
    remark.as_ref().map_or_else(String::new, |remark| format!(" ({remark})"))
}

/// Who may not do what he asks for gets `EPERM` by netlink; `EACCES` is IPv6's.
fn netlink_hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EACCES) => {
            "; set the interface's sysctl net.ipv6.conf.NAME.disable_ipv6 to 0 in that namespace"
        }
        _ => hint(source),
    }
}

fn hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "; it needs CAP_NET_ADMIN in that namespace",
        Some(libc::EEXIST) => "; remove what is there, or choose another name",
        Some(libc::ENODEV) => "; the interface is gone, look whether it was moved or deleted",
        Some(libc::EBUSY) => "; the device is in use, take it out of its bridge or bond first",
        Some(libc::EOPNOTSUPP) => "; this kernel or device does not do that",
        _ => "",
    }
}

fn netns_hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EINVAL) => {
            "; the file is no network namespace here: is its mount visible in vswitchd's mount namespace?"
        }
        Some(libc::EPERM | libc::EACCES) => "; it needs CAP_SYS_ADMIN",
        _ => "",
    }
}
