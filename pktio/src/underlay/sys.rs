//! `recvmmsg` and `sendmmsg` on UDP sockets: datagrams received into frames, and sent from pieces that lie
//! apart. The only file of the underlay with `unsafe`; everything it offers is safe to call.

use std::io;
use std::marker::PhantomData;
use std::mem::zeroed;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::control::{Control, Facts};
use crate::PktBuf;
use crate::sys::check;

/// `AF_INET` and `AF_INET6`, as socket addresses begin.
const FAMILY_V4: u16 = 2;
const FAMILY_V6: u16 = 10;
/// `struct sockaddr_in` and `struct sockaddr_in6`.
const NAME_V4_BYTES: u32 = 16;
const NAME_V6_BYTES: u32 = 28;

/// A socket address as the kernel has it.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy)]
pub(super) struct Name {
    bytes: [u8; 28],
    length: u32,
}

impl Name {
    const EMPTY: Self = Self { bytes: [0; 28], length: NAME_V6_BYTES };

    /// The kernel's form of an address.
    pub(super) fn of(address: SocketAddr) -> Self {
        let mut name = Self::EMPTY;
        name.bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address.ip() {
            IpAddr::V4(ip) => {
                name.bytes[..2].copy_from_slice(&FAMILY_V4.to_ne_bytes());
                name.bytes[4..8].copy_from_slice(&ip.octets());
                name.length = NAME_V4_BYTES;
            }
            IpAddr::V6(ip) => {
                name.bytes[..2].copy_from_slice(&FAMILY_V6.to_ne_bytes());
                name.bytes[8..24].copy_from_slice(&ip.octets());
            }
        }
        name
    }

    fn ip(&self) -> Option<IpAddr> {
        match u16::from_ne_bytes(*self.bytes.first_chunk()?) {
            FAMILY_V4 => Some(Ipv4Addr::from(*self.bytes[4..].first_chunk::<4>()?).into()),
            FAMILY_V6 => Some(Ipv6Addr::from(*self.bytes[8..].first_chunk::<16>()?).into()),
            _ => None,
        }
    }
}

/// What one received message was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Received {
    /// Its length.
    pub(super) bytes: usize,
    /// It was longer than the buffer.
    pub(super) truncated: bool,
    /// Who sent it.
    pub(super) remote: Option<IpAddr>,
    /// What came beside it.
    pub(super) facts: Facts,
}

/// The arrays that `recvmmsg` works on, allocated once.
pub(super) struct Inbound {
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
    controls: Vec<Control>,
    names: Vec<Name>,
}

// SAFETY: the pointers inside are written afresh before each system call and never read otherwise.
unsafe impl Send for Inbound {}

impl Inbound {
    /// Arrays for up to `count` messages.
    pub(super) fn new(count: usize) -> Self {
        Self {
            headers: vec![empty_header(); count],
            vectors: vec![EMPTY_VECTOR; count],
            controls: vec![Control::EMPTY; count],
            names: vec![Name::EMPTY; count],
        }
    }

    /// Receives up to one message into each of `frames`, and returns how many came.
    pub(super) fn receive(
        &mut self,
        fd: BorrowedFd<'_>,
        frames: &mut [PktBuf],
    ) -> io::Result<usize> {
        let count = frames.len().min(self.headers.len());
        for (at, frame) in frames.iter_mut().take(count).enumerate() {
            let area = frame.receive_area(0);
            self.vectors[at] =
                libc::iovec { iov_base: area.as_mut_ptr().cast(), iov_len: area.len() };
            let header = &mut self.headers[at].msg_hdr;
            header.msg_iov = &raw mut self.vectors[at];
            header.msg_iovlen = 1;
            header.msg_flags = 0;
            header.msg_name = self.names[at].bytes.as_mut_ptr().cast();
            header.msg_namelen = NAME_V6_BYTES;
            let room = self.controls[at].room();
            header.msg_control = room.as_mut_ptr().cast();
            header.msg_controllen = room.len();
        }
        let count = libc::c_uint::try_from(count).unwrap_or(0);
        let headers = self.headers.as_mut_ptr();
        let no_timeout = std::ptr::null_mut();
        // SAFETY: each of the `count` headers points at one vector over a buffer that `frames` borrows
        // exclusively, and at a name and control area of ours with their sizes; all live through the call.
        let got = unsafe {
            libc::recvmmsg(fd.as_raw_fd(), headers, count, libc::MSG_DONTWAIT, no_timeout)
        };
        check(got)?;
        Ok(usize::try_from(got).unwrap_or(0))
    }

    /// What message `at` of the last [`Inbound::receive`] was.
    pub(super) fn received(&self, at: usize) -> Received {
        let header = &self.headers[at];
        Received {
            bytes: usize::try_from(header.msg_len).unwrap_or(0),
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            remote: self.names[at].ip(),
            facts: self.controls[at].facts(header.msg_hdr.msg_controllen),
        }
    }
}

/// The arrays that `sendmmsg` works on, allocated once.
pub(super) struct Outbound {
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
    controls: Vec<Control>,
    /// Of each message, where its vectors end, and whose it is.
    ends: Vec<usize>,
    owners: Vec<Owner>,
}

/// Which frames a message is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    /// The first one's position in its burst. Messages of the same frame have the same.
    pub(super) frame: usize,
    /// How many frames are lost if the message is.
    pub(super) frames: usize,
}

// SAFETY: as for `Inbound`.
unsafe impl Send for Outbound {}

impl Outbound {
    /// Arrays for up to `messages` messages made of up to `pieces` pieces together.
    pub(super) fn new(messages: usize, pieces: usize) -> Self {
        Self {
            headers: vec![empty_header(); messages],
            vectors: Vec::with_capacity(pieces),
            controls: Vec::with_capacity(messages),
            ends: Vec::with_capacity(messages),
            owners: Vec::with_capacity(messages),
        }
    }

    /// Begins a batch of messages to one address, of pieces that live for `'d`.
    pub(super) fn batch<'d>(&mut self, to: Name) -> Batch<'_, 'd> {
        self.vectors.clear();
        self.controls.clear();
        self.ends.clear();
        self.owners.clear();
        Batch { arrays: self, to, pieces: PhantomData }
    }
}

/// Messages that are being put together. It keeps the borrow of their pieces until they are sent.
pub(super) struct Batch<'o, 'd> {
    arrays: &'o mut Outbound,
    to: Name,
    pieces: PhantomData<&'d [u8]>,
}

impl<'d> Batch<'_, 'd> {
    /// Number of messages.
    pub(super) fn len(&self) -> usize {
        self.arrays.ends.len()
    }

    /// Whether there is room for another message of so many pieces.
    pub(super) fn has_room(&self, pieces: usize) -> bool {
        let arrays = &*self.arrays;
        self.len() < arrays.headers.len()
            && arrays.vectors.len() + pieces <= arrays.vectors.capacity()
    }

    /// Appends a piece to the message that is being made.
    pub(super) fn push(&mut self, piece: &'d [u8]) {
        // The kernel only reads from it: iovec has `*mut` because it serves both ways.
        let base = piece.as_ptr().cast_mut().cast();
        self.arrays.vectors.push(libc::iovec { iov_base: base, iov_len: piece.len() });
    }

    /// Makes a message of the pieces since the last one; [`Batch::has_room`] was asked.
    pub(super) fn message(&mut self, control: Control, owner: Owner) {
        self.arrays.ends.push(self.arrays.vectors.len());
        self.arrays.controls.push(control);
        self.arrays.owners.push(owner);
    }

    /// The frames that a message is of.
    pub(super) fn owner(&self, at: usize) -> Owner {
        self.arrays.owners[at]
    }

    /// Sends the messages from number `from` on, and returns how many of them the kernel took. The error is
    /// the first one's.
    pub(super) fn send(&mut self, fd: BorrowedFd<'_>, from: usize) -> io::Result<usize> {
        let count = self.len();
        for at in from..count {
            let arrays = &mut *self.arrays;
            let begin = if at == 0 { 0 } else { arrays.ends[at - 1] };
            let vectors = &mut arrays.vectors[begin..arrays.ends[at]];
            let header = &mut arrays.headers[at].msg_hdr;
            header.msg_iov = vectors.as_mut_ptr();
            header.msg_iovlen = vectors.len();
            header.msg_name = self.to.bytes.as_mut_ptr().cast();
            header.msg_namelen = self.to.length;
            let control = arrays.controls[at].bytes();
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = control.len();
        }
        let headers = &mut self.arrays.headers[from..count];
        let count = libc::c_uint::try_from(headers.len()).unwrap_or(0);
        // SAFETY: each of the `count` headers points at vectors over pieces that are borrowed for 'd, and at
        // a name and control area of ours with their sizes; all outlive the call, which only reads them.
        let sent = unsafe {
            libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT)
        };
        check(sent)?;
        Ok(usize::try_from(sent).unwrap_or(0))
    }
}

const EMPTY_VECTOR: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };

fn empty_header() -> libc::mmsghdr {
    // SAFETY: all-zero is a valid value of this plain C struct.
    unsafe { zeroed() }
}
