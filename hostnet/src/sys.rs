//! Raw system calls that have no safe wrapper. The only file of this crate with `unsafe`; everything it
//! offers is safe to call.

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::thread::UnshareFlags;

/// SIOCETHTOOL (linux/sockios.h).
const SIOCETHTOOL: libc::c_ulong = 0x8946;

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Moves the calling thread into new namespaces.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: only called with NEWUSER, NEWNET and NEWNS (which implies that the thread no longer shares
    // its file-system attributes); descriptors and memory stay shared as Rust expects.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}

/// Issues an ethtool command that has one value.
pub(crate) fn ethtool_value(interface: &str, command: u32, data: u32) -> io::Result<u32> {
    // SAFETY: socket(2) takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that was just opened and belongs to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut value = EthtoolValue { command, data };
    // SAFETY: an all-zero ifreq is a valid value of this plain C struct.
    let mut request: libc::ifreq = unsafe { zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: SIOCETHTOOL reads the request and reads and writes the value, which both live through
    // the call; the commands used have exactly this structure.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value.data) }
}

/// The kernel's number for the network namespace of a socket (linux/net_namespace.h).
pub(crate) fn netns_cookie(socket: impl AsFd) -> io::Result<u64> {
    let mut cookie = 0u64;
    let mut bytes = libc::socklen_t::try_from(size_of::<u64>()).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most `bytes` bytes into a living value that has as many, and says in `bytes`, which
    // lives too, how many it wrote.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut bytes,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(cookie) }
}

/// A descriptor by its number, for as long as its owner is borrowed.
pub(crate) fn borrow<T>(fd: RawFd, _owner: &T) -> BorrowedFd<'_> {
    // SAFETY: the callers pass the number of a descriptor that the owner keeps open.
    unsafe { BorrowedFd::borrow_raw(fd) }
}
