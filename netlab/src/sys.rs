//! Raw system calls that have no safe wrapper. The only file of this crate with `unsafe`; everything it
//! offers is safe to call.

use std::io;
use std::mem::{size_of, zeroed};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr::null_mut;

use libc::{c_int, c_void};

// linux/if_packet.h. The libc crate has only some of these.
const PACKET_ADD_MEMBERSHIP: c_int = 1;
const PACKET_AUXDATA: c_int = 8;
const PACKET_QDISC_BYPASS: c_int = 20;
const PACKET_IGNORE_OUTGOING: c_int = 23;
const PACKET_MR_PROMISC: u16 = 1;
const TP_STATUS_CSUMNOTREADY: u32 = 1 << 3;
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;
const TP_STATUS_VLAN_TPID_VALID: u32 = 1 << 6;
// sys/socket.h and linux/if_ether.h, as sockaddr_ll has them.
const AF_PACKET: libc::sa_family_t = 17;
const ETH_P_ALL: u16 = 3;
const ETHERTYPE_8021Q: u16 = 0x8100;

/// Room for one control message with an [`AuxData`], aligned as the kernel wants it.
const CONTROL_WORDS: usize = 8;

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

/// A VLAN tag that the kernel took out of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TakenTag {
    /// Its ethertype.
    pub tpid: u16,
    /// Priority and VLAN.
    pub tci: u16,
}

/// What the kernel says about a frame that it handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Received {
    /// Bytes of the frame, as many as had room.
    pub bytes: usize,
    /// The tag that was in it.
    pub tag: Option<TakenTag>,
    /// Its transport checksum is still to be completed.
    pub checksum_is_partial: bool,
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The length of `T` as socket calls want it.
fn socklen<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).expect("the structures of this file are small")
}

fn set_option<T: Copy>(fd: &impl AsFd, level: c_int, name: c_int, value: T) -> io::Result<()> {
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the value lives through the call, and its length is given; T is plain data here.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), socklen::<T>()) })
}

/// Opens a packet socket on an interface of the calling thread's namespace: promiscuous, without
/// its own frames. With `receive` off it hears nothing and only sends.
pub(crate) fn packet_socket(interface: u32, receive: bool) -> io::Result<OwnedFd> {
    let index = c_int::try_from(interface).map_err(io::Error::other)?;
    let protocol = if receive { ETH_P_ALL.to_be() } else { 0 };
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: socket(2) takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    check(fd)?;
    // SAFETY: a descriptor that was just opened and belongs to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    if receive {
        let promiscuous = libc::packet_mreq {
            mr_ifindex: index,
            mr_type: PACKET_MR_PROMISC,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        set_option(&socket, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)?;
        set_option(&socket, libc::SOL_PACKET, PACKET_AUXDATA, 1)?;
        set_option(&socket, libc::SOL_PACKET, PACKET_ADD_MEMBERSHIP, promiscuous)?;
    }
    // SAFETY: an all-zero sockaddr_ll is a valid value of this plain C struct.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = AF_PACKET;
    address.sll_protocol = protocol;
    address.sll_ifindex = index;
    let (fd, length) = (socket.as_raw_fd(), socklen::<libc::sockaddr_ll>());
    // SAFETY: the address lives through the call, and its length is given.
    check(unsafe { libc::bind(fd, (&raw const address).cast(), length) })?;
    Ok(socket)
}

/// Frames of a packet socket go to the device without a queue in between.
pub(crate) fn bypass_qdisc(socket: &impl AsFd) -> io::Result<()> {
    set_option(socket, libc::SOL_PACKET, PACKET_QDISC_BYPASS, 1)
}

/// Every datagram of a UDP socket is cut into datagrams of this many bytes by the stack or the device.
pub(crate) fn segment_udp(socket: &impl AsFd, bytes: u16) -> io::Result<()> {
    set_option(socket, libc::SOL_UDP, libc::UDP_SEGMENT, c_int::from(bytes))
}

/// Takes one frame from a packet socket.
pub(crate) fn receive_frame(socket: &impl AsFd, frame: &mut [u8]) -> io::Result<Received> {
    let mut control = [0u64; CONTROL_WORDS];
    let mut piece = libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
    // SAFETY: an all-zero msghdr is a valid value of this plain C struct.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the message refers to the frame and the control buffer with their lengths, and both live
    // and are ours through the call.
    let count = unsafe { libc::recvmsg(fd, &raw mut message, libc::MSG_DONTWAIT) };
    let bytes = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the control buffer is still here, and the kernel's auxiliary data are of this form.
    let aux = unsafe { control_data::<AuxData>(&message, (libc::SOL_PACKET, PACKET_AUXDATA)) };
    let status = aux.map_or(0, |aux| aux.status);
    let tag = aux.filter(|_| status & TP_STATUS_VLAN_VALID != 0).map(|aux| TakenTag {
        tpid: if status & TP_STATUS_VLAN_TPID_VALID == 0 { ETHERTYPE_8021Q } else { aux.vlan_tpid },
        tci: aux.vlan_tci,
    });
    Ok(Received { bytes, tag, checksum_is_partial: status & TP_STATUS_CSUMNOTREADY != 0 })
}

/// The payload of the control message of this level and type, of a message that recvmsg(2) or recvmmsg(2) has
/// filled in.
///
/// # Safety
/// The control buffer of the message still lives, and such a payload is a `T`.
unsafe fn control_data<T: Copy>(message: &libc::msghdr, kind: (c_int, c_int)) -> Option<T> {
    // SAFETY: the kernel has set the control length to what it wrote into the buffer, which still
    // lives; the macros of cmsg(3) stay within it, and the data are read without assuming alignment.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(control) = header.as_ref() {
            if (control.cmsg_level, control.cmsg_type) == kind {
                return Some(libc::CMSG_DATA(header).cast::<T>().read_unaligned());
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    None
}

/// Frames or datagrams that are sent together, again and again, by sendmmsg(2).
pub(crate) struct SendBatch {
    messages: Box<[libc::mmsghdr]>,
    /// What the messages point to.
    pieces: Box<[libc::iovec]>,
    /// What the pieces point to while something is sent.
    frames: Vec<Vec<u8>>,
}

// SAFETY: the pointers are to what the batch owns, and are used by nobody else.
unsafe impl Send for SendBatch {}

impl SendBatch {
    /// A batch of these frames.
    pub(crate) fn new(frames: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let frames: Vec<_> = frames.into_iter().collect();
        let empty = |_: &Vec<u8>| libc::iovec { iov_base: null_mut(), iov_len: 0 };
        let mut pieces: Box<[_]> = frames.iter().map(empty).collect();
        let messages = messages_of(&mut pieces);
        Self { messages, pieces, frames }
    }

    /// A frame, to be changed.
    pub(crate) fn frame(&mut self, number: usize) -> &mut [u8] {
        &mut self.frames[number]
    }

    /// Sends some of the frames, and returns how many were taken.
    pub(crate) fn send(&mut self, socket: &impl AsFd, which: Range<usize>) -> io::Result<usize> {
        let frames = &mut self.frames[which.clone()];
        for (piece, frame) in self.pieces[which.clone()].iter_mut().zip(frames) {
            *piece = libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
        }
        let messages = &mut self.messages[which];
        let count = u32::try_from(messages.len()).unwrap_or(u32::MAX);
        let fd = socket.as_fd().as_raw_fd();
        // SAFETY: the messages point to the pieces and those to the frames, all of which this batch owns;
        // sending only reads them.
        let sent = unsafe { libc::sendmmsg(fd, messages.as_mut_ptr(), count, 0) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// Errors that pass: full queues, a timeout, and ICMP's word that something was not deliverable.
pub(crate) fn is_passing(error: &io::Error) -> bool {
    let passing =
        [libc::ENOBUFS, libc::EAGAIN, libc::EINTR, libc::ECONNREFUSED, libc::EHOSTUNREACH];
    error.raw_os_error().is_some_and(|code| passing.contains(&code))
}

/// Every datagram of a socket comes with the time at which the kernel's stack got it (socket(7)).
pub(crate) fn stamp_arrivals(socket: &impl AsFd) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)
}

/// Bytes of a datagram that are read.
const HEAD_BYTES: usize = 64;
/// Without waiting, and of each datagram its whole length, however much of it is read (recv(2)).
const RECEIVE: c_int = libc::MSG_DONTWAIT | libc::MSG_TRUNC;

/// Room for datagrams that are received together by recvmmsg(2), of which only the beginning is read.
pub(crate) struct ReceiveBatch {
    messages: Box<[libc::mmsghdr]>,
    /// What the messages point to.
    _pieces: Box<[libc::iovec]>,
    control: Box<[[u64; CONTROL_WORDS]]>,
    /// What the pieces point to.
    room: Box<[[u8; HEAD_BYTES]]>,
}

// SAFETY: the pointers are to what the batch owns, and are used by nobody else.
unsafe impl Send for ReceiveBatch {}

impl ReceiveBatch {
    /// Room for this many datagrams, of which the first 64 bytes are read.
    pub(crate) fn new(datagrams: usize) -> Self {
        let mut room = vec![[0; HEAD_BYTES]; datagrams].into_boxed_slice();
        let piece = |bytes: &mut [u8; HEAD_BYTES]| libc::iovec {
            iov_base: bytes.as_mut_ptr().cast::<c_void>(),
            iov_len: bytes.len(),
        };
        let mut pieces: Box<[_]> = room.iter_mut().map(piece).collect();
        let messages = messages_of(&mut pieces);
        let control = vec![[0; CONTROL_WORDS]; datagrams].into_boxed_slice();
        Self { messages, _pieces: pieces, control, room }
    }

    /// Takes the datagrams that are there, without waiting, and returns how many.
    pub(crate) fn receive(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        for (message, control) in self.messages.iter_mut().zip(&mut self.control) {
            message.msg_hdr.msg_control = control.as_mut_ptr().cast();
            message.msg_hdr.msg_controllen = size_of_val(control) as _;
        }
        let count = u32::try_from(self.messages.len()).unwrap_or(u32::MAX);
        let fd = socket.as_fd().as_raw_fd();
        let messages = self.messages.as_mut_ptr();
        // SAFETY: the messages point to the pieces and those to the room, and to the control buffers, all of which
        // this batch owns; nobody else looks at them.
        let got = unsafe { libc::recvmmsg(fd, messages, count, RECEIVE, null_mut()) };
        usize::try_from(got).map_err(|_| io::Error::last_os_error())
    }

    /// The beginning of a datagram that was just received.
    pub(crate) fn datagram(&self, number: usize) -> &[u8] {
        &self.room[number]
    }

    /// How long a datagram was that was just received.
    pub(crate) fn length_bytes(&self, number: usize) -> u64 {
        u64::from(self.messages[number].msg_len)
    }

    /// When the kernel's stack got a datagram that was just received, in nanoseconds since 1970, if it was asked to
    /// say so.
    pub(crate) fn arrival_ns(&self, number: usize) -> Option<u64> {
        let message = &self.messages[number].msg_hdr;
        // SAFETY: the kernel wrote a timespec as the payload of this kind of control message.
        let time = unsafe {
            control_data::<libc::timespec>(message, (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS))
        }?;
        let seconds = u64::try_from(time.tv_sec).ok()?;
        Some(seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).ok()?)
    }
}

/// One message for each piece.
fn messages_of(pieces: &mut [libc::iovec]) -> Box<[libc::mmsghdr]> {
    let message = |piece: &mut libc::iovec| {
        // SAFETY: an all-zero mmsghdr is a valid value of this plain C struct.
        let mut message: libc::mmsghdr = unsafe { zeroed() };
        message.msg_hdr.msg_iov = piece;
        message.msg_hdr.msg_iovlen = 1;
        message
    };
    pieces.iter_mut().map(message).collect()
}
