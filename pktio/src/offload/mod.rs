//! Offload state: what the kernel knew about a frame, kept beside its bytes.
//!
//! A container's kernel hands out TCP as super-frames of up to 64 KiB with the checksum half done. Two
//! ports that both understand this pass such a frame untouched; losing the state is the classic
//! "ping works, TCP is dead". So a frame always carries [`Offload`], a port says what it
//! [`Accepts`], and the difference is worked off in software, at the egress port only.

mod bundle;
pub mod checksum;
mod coalesce;
mod fit;
mod segment;

#[cfg(test)]
mod tests;

pub use coalesce::coalesce;
pub(crate) use coalesce::coalesce_in_place;
pub use fit::fit;
pub(crate) use segment::{Cut, Finish};
pub use segment::{Refusal, segment};

use crate::PktBuf;
use crate::wire::field::{tcp, udp};
use crate::wire::tcp_bytes;

/// What is known about a frame's transport checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Csum {
    /// Nothing: the field should hold a full checksum, which nobody has verified.
    #[default]
    None,
    /// The field holds the pseudo-header sum only. To complete it: sum the bytes from `start` to the
    /// frame's end and store the complement at `start + offset` (virtio 1.2, section 5.1.6.2). SCTP has no
    /// pseudo-header, and its field, at offset 8, waits for a CRC32c.
    Partial {
        /// First summed byte, counted from the frame's first byte: the transport header.
        start: u16,
        /// Position of the checksum field, counted from `start`.
        offset: u16,
    },
    /// The field holds a full checksum that the kernel has verified.
    Valid,
}

/// How a super-frame is to be cut into segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gso {
    /// Not a super-frame.
    #[default]
    None,
    /// TCP over IPv4.
    Tcp4 {
        /// Payload bytes of each segment but the last.
        mss: u16,
    },
    /// TCP over IPv6.
    Tcp6 {
        /// Payload bytes of each segment but the last.
        mss: u16,
    },
    /// UDP, over either: each segment is a datagram of its own (`UDP_SEGMENT`).
    Udp {
        /// Payload bytes of each datagram but the last.
        size: u16,
    },
    /// TCP or UDP in a tunnel of the container's own: VXLAN, Geneve, GRE, IP in IP. The headers in front of the
    /// transport header, [`Csum::Partial`] says where it is, are on every segment. No port takes it as it is.
    Tunnel {
        /// Payload bytes of each segment but the last.
        size: u16,
    },
}

impl Gso {
    /// Payload bytes of each segment but the last; `None` when this is no super-frame.
    #[inline]
    pub fn segment_bytes(self) -> Option<u16> {
        match self {
            Self::None => None,
            Self::Tcp4 { mss } | Self::Tcp6 { mss } => Some(mss),
            Self::Udp { size } | Self::Tunnel { size } => Some(size),
        }
    }
}

/// Checksum and segmentation state of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offload {
    /// The transport checksum. Always [`Csum::Partial`] on a super-frame.
    pub csum: Csum,
    /// Segmentation.
    pub gso: Gso,
}

impl Offload {
    /// A plain frame, of which nothing is known.
    pub const NONE: Self = Self { csum: Csum::None, gso: Gso::None };

    /// Moves the checksum position back after `bytes` were put in front of the frame.
    pub(crate) fn shift_right(&mut self, bytes: u16) {
        if let Csum::Partial { start, .. } = &mut self.csum {
            *start = start.saturating_add(bytes);
        }
    }

    /// Moves the checksum position forward after `bytes` were cut off the frame's front.
    pub(crate) fn shift_left(&mut self, bytes: u16) {
        if let Csum::Partial { start, .. } = &mut self.csum {
            *start = start.saturating_sub(bytes);
        }
    }
}

/// What a port can transmit as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepts {
    /// Frames whose checksum is [`Csum::Partial`], but SCTP's.
    pub partial_csum: bool,
    /// [`Gso::Tcp4`] super-frames.
    pub tcp4: bool,
    /// [`Gso::Tcp6`] super-frames.
    pub tcp6: bool,
    /// [`Gso::Udp`] super-frames.
    pub udp: bool,
    /// The port gains from coalescing: it takes super-frames, each frame costs its receiver, and it never
    /// has to leave frames unsent.
    pub coalesced: bool,
}

impl Accepts {
    /// Only finished, MTU-sized frames.
    pub const PLAIN: Self =
        Self { partial_csum: false, tcp4: false, tcp6: false, udp: false, coalesced: false };

    /// Every kind of frame, as a virtio-net header carries it.
    pub const ALL: Self =
        Self { partial_csum: true, tcp4: true, tcp6: true, udp: true, coalesced: true };

    /// Whether a frame in this state can be transmitted as it is.
    #[inline]
    pub fn covers(&self, offload: Offload) -> bool {
        let gso = match offload.gso {
            Gso::None => true,
            Gso::Tcp4 { .. } => self.tcp4,
            Gso::Tcp6 { .. } => self.tcp6,
            Gso::Udp { .. } => self.udp,
            Gso::Tunnel { .. } => false,
        };
        let csum = match offload.csum {
            Csum::Partial { offset, .. } => self.partial_csum && offset != checksum::SCTP_OFFSET,
            Csum::None | Csum::Valid => true,
        };
        gso && csum
    }
}

/// Length of a super-frame's transport header in bytes; `None` when its state contradicts its headers or
/// it is no super-frame.
pub fn transport_bytes(frame: &PktBuf) -> Option<usize> {
    let Csum::Partial { start, offset } = frame.offload.csum else { return None };
    let start = usize::from(start);
    match frame.offload.gso {
        Gso::None => None,
        Gso::Tunnel { .. } if usize::from(offset) == tcp::CHECKSUM => {
            tcp_bytes(frame.data(), start)
        }
        Gso::Tcp4 { .. } | Gso::Tcp6 { .. } => tcp_bytes(frame.data(), start),
        Gso::Udp { .. } | Gso::Tunnel { .. } => {
            (start + udp::BYTES <= frame.len()).then_some(udp::BYTES)
        }
    }
}
