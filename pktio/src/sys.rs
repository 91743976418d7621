//! Raw system calls of the TAP and AF_PACKET ports. The only file of theirs with `unsafe`; everything it
//! offers is safe to call.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::{c_int, c_void};

use crate::PktBuf;
use crate::vnet::VNET_BYTES;

// linux/if_tun.h. The libc crate has only some of these.
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const TUNSETOFFLOAD: libc::c_ulong = 0x4004_54d0;
const TUNSETVNETHDRSZ: libc::c_ulong = 0x4004_54d8;
const TUNSETPERSIST: libc::c_ulong = 0x4004_54cb;
const TUNGETIFF: libc::c_ulong = 0x8004_54d2;
const TUNGETDEVNETNS: libc::c_ulong = 0x54e3;

// linux/if_packet.h
const PACKET_ADD_MEMBERSHIP: c_int = 1;
const PACKET_STATISTICS: c_int = 6;
const PACKET_AUXDATA: c_int = 8;
const PACKET_VNET_HDR: c_int = 15;
const PACKET_QDISC_BYPASS: c_int = 20;
const PACKET_IGNORE_OUTGOING: c_int = 23;
const PACKET_MR_PROMISC: u16 = 1;
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;
const TP_STATUS_VLAN_TPID_VALID: u32 = 1 << 6;

/// `struct tpacket_auxdata`.
#[repr(C)]
#[derive(Clone, Copy)]
struct AuxData {
    status: u32,
    len: u32,
    snaplen: u32,
    mac: u16,
    net: u16,
    vlan_tci: u16,
    vlan_tpid: u16,
}

/// `struct tpacket_stats`.
#[repr(C)]
#[derive(Default)]
struct PacketStats {
    packets: u32,
    drops: u32,
}

pub(crate) fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Attaches a fresh `/dev/net/tun` descriptor to the TAP device `name` (a `%d` in it is numbered by the
/// kernel), making the device if need be, and returns the device's name.
pub(crate) fn tun_set_iff(fd: BorrowedFd<'_>, name: &str, flags: u16) -> io::Result<String> {
    // SAFETY: an all-zero ifreq is a valid value of this plain C struct.
    let mut request: libc::ifreq = unsafe { zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = flags.cast_signed();
    // SAFETY: TUNSETIFF reads and writes one ifreq, which lives through the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETIFF, &mut request) })?;
    Ok(name_in(&request))
}

/// The present name of the TAP device behind a descriptor.
pub(crate) fn tun_name(fd: BorrowedFd<'_>) -> io::Result<String> {
    // SAFETY: an all-zero ifreq is a valid value of this plain C struct.
    let mut request: libc::ifreq = unsafe { zeroed() };
    // SAFETY: TUNGETIFF writes one ifreq, which lives through the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), TUNGETIFF, &mut request) })?;
    Ok(name_in(&request))
}

fn name_in(request: &libc::ifreq) -> String {
    let bytes = request.ifr_name.map(i8::cast_unsigned);
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// The network namespace in which the TAP device behind a descriptor is.
pub(crate) fn tun_namespace(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: TUNGETDEVNETNS takes no argument.
    let namespace = unsafe { libc::ioctl(fd.as_raw_fd(), TUNGETDEVNETNS) };
    check(namespace)?;
    // SAFETY: a descriptor that was just opened and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(namespace) })
}

/// Says whether the TAP device behind a descriptor outlives its descriptors.
pub(crate) fn tun_set_persistent(fd: BorrowedFd<'_>, persistent: bool) -> io::Result<()> {
    // SAFETY: TUNSETPERSIST takes its argument by value.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETPERSIST, libc::c_ulong::from(persistent)) })
}

/// Sets the length of the virtio-net header in front of each frame.
pub(crate) fn tun_set_vnet_header(fd: BorrowedFd<'_>, bytes: c_int) -> io::Result<()> {
    // SAFETY: TUNSETVNETHDRSZ reads one int, which lives through the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETVNETHDRSZ, &bytes) })
}

/// Says which offloads the reader of a TAP device takes (`TUN_F_*`).
pub(crate) fn tun_set_offload(fd: BorrowedFd<'_>, flags: u32) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETOFFLOAD, libc::c_ulong::from(flags)) })
}

/// Number of the interface `name` in the calling thread's network namespace.
pub(crate) fn interface_index(name: &str) -> io::Result<u32> {
    let name = std::ffi::CString::new(name)?;
    // SAFETY: a NUL-terminated string that lives through the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// Whether an interface of a socket's namespace is up, and its far end too (`IFF_RUNNING` of netdevice(7)).
pub(crate) fn interface_runs(fd: BorrowedFd<'_>, interface: u32) -> io::Result<bool> {
    // SAFETY: an all-zero ifreq is a valid value of this plain C struct.
    let mut request: libc::ifreq = unsafe { zeroed() };
    request.ifr_ifru.ifru_ifindex = index(interface)?;
    for operation in [libc::SIOCGIFNAME, libc::SIOCGIFFLAGS] {
        // SAFETY: both read and write one ifreq, which lives through the call.
        check(unsafe { libc::ioctl(fd.as_raw_fd(), operation, &raw mut request) })?;
    }
    // SAFETY: SIOCGIFFLAGS has filled in the flags.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok(i32::from(flags) & libc::IFF_RUNNING != 0)
}

/// A packet socket for all protocols of one interface, non-blocking and not yet bound.
pub(crate) fn packet_socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // Protocol 0 receives nothing until bind names one, so no frame of another interface slips in.
    // SAFETY: socket(2) takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    check(fd)?;
    // SAFETY: a descriptor that was just opened and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Binds a packet socket to all frames of an interface.
pub(crate) fn packet_bind(fd: BorrowedFd<'_>, interface: u32) -> io::Result<()> {
    // SAFETY: an all-zero sockaddr_ll is a valid value of this plain C struct.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = 17; // AF_PACKET
    address.sll_protocol = 0x0003u16.to_be(); // ETH_P_ALL
    address.sll_ifindex = index(interface)?;
    let bytes = socklen::<libc::sockaddr_ll>();
    // SAFETY: the address lives through the call, and `bytes` is its size.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), bytes) })
}

/// The interface that a packet socket is bound to; `None` when that interface was deleted.
pub(crate) fn packet_bound_to(fd: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    // SAFETY: an all-zero sockaddr_ll is a valid value of this plain C struct.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    let mut bytes = socklen::<libc::sockaddr_ll>();
    let pointer = (&raw mut address).cast();
    // SAFETY: the kernel writes at most `bytes` bytes to the address, which lives through the call.
    check(unsafe { libc::getsockname(fd.as_raw_fd(), pointer, &mut bytes) })?;
    Ok(u32::try_from(address.sll_ifindex).ok().filter(|index| *index > 0))
}

/// The options of a packet socket that make it a port: virtio-net headers, no own frames, VLAN tags,
/// no queueing discipline.
pub(crate) fn packet_options(fd: BorrowedFd<'_>) -> io::Result<()> {
    for option in [PACKET_VNET_HDR, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING, PACKET_QDISC_BYPASS] {
        set_option::<c_int>(fd, libc::SOL_PACKET, option, &1)?;
    }
    Ok(())
}

/// Receives the interface's frames whatever their destination, for as long as the socket lives.
pub(crate) fn packet_promiscuous(fd: BorrowedFd<'_>, interface: u32) -> io::Result<()> {
    let request = libc::packet_mreq {
        mr_ifindex: index(interface)?,
        mr_type: PACKET_MR_PROMISC,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set_option(fd, libc::SOL_PACKET, PACKET_ADD_MEMBERSHIP, &request)
}

/// Gives a socket only what a program, a socket filter, takes.
pub(crate) fn attach_filter(fd: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    set_option::<c_int>(fd, libc::SOL_SOCKET, libc::SO_ATTACH_BPF, &program.as_raw_fd())
}

/// Sets the receive buffer, beyond the system's limit where that is permitted, and returns what it is.
pub(crate) fn receive_buffer(fd: BorrowedFd<'_>, bytes: c_int) -> io::Result<c_int> {
    let forced = set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &bytes);
    forced.or_else(|_| set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &bytes))?;
    get_option::<c_int>(fd, libc::SOL_SOCKET, libc::SO_RCVBUF)
}

/// Frames that a packet socket lost since the last call because its buffer was full.
pub(crate) fn packet_drops(fd: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(get_option::<PacketStats>(fd, libc::SOL_PACKET, PACKET_STATISTICS)?.drops)
}

/// Takes the pending error off a socket.
pub(crate) fn take_error(fd: BorrowedFd<'_>) -> io::Result<c_int> {
    get_option::<c_int>(fd, libc::SOL_SOCKET, libc::SO_ERROR)
}

fn index(interface: u32) -> io::Result<c_int> {
    c_int::try_from(interface).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn socklen<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0)
}

/// Sets a socket option that is a plain C value.
pub(crate) fn set_option<T>(
    fd: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: &T,
) -> io::Result<()> {
    let pointer: *const c_void = (&raw const *value).cast();
    // SAFETY: the value lives through the call, and its size is given; the kernel only reads it.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, pointer, socklen::<T>()) })
}

/// Reads an option that is a plain C value: ints, or structs and arrays of ints.
pub(crate) fn get_option<T>(fd: BorrowedFd<'_>, level: c_int, name: c_int) -> io::Result<T> {
    // SAFETY: only instantiated with ints and structs of ints, for which all-zero is valid.
    let mut value: T = unsafe { zeroed() };
    let mut bytes = socklen::<T>();
    let pointer: *mut c_void = (&raw mut value).cast();
    // SAFETY: the kernel writes at most `bytes` bytes to the value, which lives through the call.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, pointer, &mut bytes) })?;
    Ok(value)
}

/// What one received message was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Received {
    /// Bytes received, virtio-net header included.
    pub(crate) bytes: usize,
    /// The frame was longer than the buffer.
    pub(crate) truncated: bool,
    /// The VLAN tag (protocol, control information) that the kernel took off the frame.
    pub(crate) vlan: Option<(u16, u16)>,
}

/// Room for the one control message that a packet socket sends along, aligned as the kernel wants it.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; 64]);

/// The arrays that `recvmmsg` and `sendmmsg` work on, allocated once per port.
pub(crate) struct Messages {
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
    controls: Vec<Control>,
}

// SAFETY: the pointers inside are written afresh before each system call. After it only those to control areas are used, which
// belong to this value and move with it.
unsafe impl Send for Messages {}

impl Messages {
    /// Arrays for up to `count` messages.
    pub(crate) fn new(count: usize) -> Self {
        // SAFETY: all-zero mmsghdr and iovec are valid values of these plain C structs.
        let (header, vector) = unsafe { (zeroed::<libc::mmsghdr>(), zeroed::<libc::iovec>()) };
        Self {
            headers: vec![header; count],
            vectors: vec![vector; count],
            controls: vec![Control([0; 64]); count],
        }
    }

    fn point(&mut self, at: usize, area: *mut u8, bytes: usize, with_control: bool) {
        self.vectors[at] = libc::iovec { iov_base: area.cast(), iov_len: bytes };
        let header = &mut self.headers[at].msg_hdr;
        header.msg_iov = &raw mut self.vectors[at];
        header.msg_iovlen = 1;
        header.msg_flags = 0;
        if with_control {
            header.msg_control = (&raw mut self.controls[at]).cast();
            header.msg_controllen = size_of::<Control>();
        } else {
            header.msg_control = std::ptr::null_mut();
            header.msg_controllen = 0;
        }
    }

    /// Receives up to one message into each of `frames` (behind `VNET_BYTES` of room in front), and
    /// returns how many came.
    pub(crate) fn receive(
        &mut self,
        fd: BorrowedFd<'_>,
        frames: &mut [PktBuf],
    ) -> io::Result<usize> {
        let count = frames.len().min(self.headers.len());
        for (at, frame) in frames.iter_mut().take(count).enumerate() {
            let area = frame.receive_area(VNET_BYTES);
            self.point(at, area.as_mut_ptr(), area.len(), true);
        }
        let flags = libc::MSG_DONTWAIT;
        let count = libc::c_uint::try_from(count).unwrap_or(0);
        let headers = self.headers.as_mut_ptr();
        // SAFETY: each of the `count` headers points at one vector over a buffer that `frames` borrows
        // exclusively, and at one control area of ours; all live through the call.
        let got =
            unsafe { libc::recvmmsg(fd.as_raw_fd(), headers, count, flags, std::ptr::null_mut()) };
        check(got)?;
        Ok(usize::try_from(got).unwrap_or(0))
    }

    /// What message `at` of the last [`Messages::receive`] was.
    pub(crate) fn received(&self, at: usize) -> Received {
        let header = &self.headers[at];
        Received {
            bytes: usize::try_from(header.msg_len).unwrap_or(0),
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            vlan: self.aux_data(at).and_then(vlan_of),
        }
    }

    fn aux_data(&self, at: usize) -> Option<AuxData> {
        let header = &self.headers[at].msg_hdr;
        if header.msg_controllen == 0 {
            return None;
        }
        // SAFETY: the kernel filled the control area, which `point` set and which is ours; the CMSG
        // macros only read within `msg_controllen`.
        unsafe {
            let message = libc::CMSG_FIRSTHDR(header);
            let is_aux = !message.is_null()
                && (*message).cmsg_level == libc::SOL_PACKET
                && (*message).cmsg_type == PACKET_AUXDATA
                && (*message).cmsg_len >= libc::CMSG_LEN(20) as usize;
            is_aux.then(|| libc::CMSG_DATA(message).cast::<AuxData>().read_unaligned())
        }
    }

    /// Sends up to one message for each of `buffers`, and returns how many the kernel took.
    pub(crate) fn send<'a>(
        &mut self,
        fd: BorrowedFd<'_>,
        buffers: impl Iterator<Item = &'a [u8]>,
    ) -> io::Result<usize> {
        let mut count = 0;
        for (at, buffer) in buffers.take(self.headers.len()).enumerate() {
            // The kernel only reads from it: sendmmsg takes `*mut` because iovec serves both ways.
            self.point(at, buffer.as_ptr().cast_mut(), buffer.len(), false);
            count += 1;
        }
        let headers = self.headers.as_mut_ptr();
        // SAFETY: each of the `count` headers points at one vector over a buffer that the iterator
        // borrowed for 'a, which outlives the call.
        let sent = unsafe { libc::sendmmsg(fd.as_raw_fd(), headers, count, libc::MSG_DONTWAIT) };
        check(sent)?;
        Ok(usize::try_from(sent).unwrap_or(0))
    }
}

fn vlan_of(aux: AuxData) -> Option<(u16, u16)> {
    if aux.status & TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let has_protocol = aux.status & TP_STATUS_VLAN_TPID_VALID != 0;
    let protocol = if has_protocol { aux.vlan_tpid } else { 0x8100 };
    Some((protocol, aux.vlan_tci))
}
