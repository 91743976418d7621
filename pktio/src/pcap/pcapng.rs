//! [`Pcapng`]: writes the next-generation capture format (`draft-ietf-opsawg-pcapng`), to wherever its bytes
//! go: a file, a pipe, a socket.
//!
//! Little-endian blocks, one section, time stamps in nanoseconds. Every call appends whole blocks to a
//! buffer of the caller's, so what was written is a valid file after each of them.

use std::time::Duration;

/// An interface of the section, see [`Pcapng::interface`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceId(u32);

/// Which way a frame went (`epb_flags`, bits 0 and 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It was received.
    Inbound,
    /// It was transmitted, or should have been.
    Outbound,
}

/// One captured frame.
#[derive(Debug, Clone, Copy)]
pub struct Captured<'a> {
    /// Where.
    pub interface: InterfaceId,
    /// When, since 1970.
    pub at: Duration,
    /// Which way.
    pub way: Way,
    /// Its length, of which `bytes` may be the beginning.
    pub frame_bytes: u32,
    /// What was kept of it.
    pub bytes: &'a [u8],
    /// What is to be said about it; nothing if empty.
    pub comment: &'a str,
}

/// What was counted at an interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Frames that were to be captured.
    pub received: u64,
    /// Of these, frames that were not, for want of room.
    pub dropped: u64,
}

/// Types of blocks (section 11.1).
mod block {
    pub const SECTION_HEADER: u32 = 0x0a0d_0d0a;
    pub const INTERFACE: u32 = 1;
    pub const STATISTICS: u32 = 5;
    pub const PACKET: u32 = 6;
}

/// Codes of options; those of the kinds of blocks overlap.
mod option {
    pub const END: u16 = 0;
    pub const COMMENT: u16 = 1;
    pub const SHB_USERAPPL: u16 = 4;
    pub const IF_NAME: u16 = 2;
    pub const IF_TSRESOL: u16 = 9;
    pub const EPB_FLAGS: u16 = 2;
    pub const ISB_IFRECV: u16 = 4;
    pub const ISB_IFDROP: u16 = 5;
}

/// Tells one byte order from the other (section 4.1).
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const LINKTYPE_ETHERNET: u16 = 1;
/// Time stamps count 10⁻⁹ seconds (section 4.2, `if_tsresol`).
const NANOSECONDS: u8 = 9;

/// A section that is being written.
#[derive(Debug)]
pub struct Pcapng {
    interfaces: u32,
}

impl Pcapng {
    /// Begins a section that `application` writes.
    pub fn begin(out: &mut Vec<u8>, application: &str) -> Self {
        write_block(out, block::SECTION_HEADER, |out| {
            out.extend_from_slice(&BYTE_ORDER.to_le_bytes());
            // Version 1.0, and a section of unknown length.
            out.extend_from_slice(&[1, 0, 0, 0]);
            out.extend_from_slice(&u64::MAX.to_le_bytes());
            write_option(out, option::SHB_USERAPPL, application.as_bytes());
            write_option(out, option::END, &[]);
        });
        Self { interfaces: 0 }
    }

    /// Describes an interface of Ethernet frames, of each of which at most `snap_bytes` are kept.
    pub fn interface(&mut self, out: &mut Vec<u8>, name: &str, snap_bytes: u32) -> InterfaceId {
        write_block(out, block::INTERFACE, |out| {
            out.extend_from_slice(&LINKTYPE_ETHERNET.to_le_bytes());
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(&snap_bytes.to_le_bytes());
            write_option(out, option::IF_NAME, name.as_bytes());
            write_option(out, option::IF_TSRESOL, &[NANOSECONDS]);
            write_option(out, option::END, &[]);
        });
        self.interfaces += 1;
        InterfaceId(self.interfaces - 1)
    }

    /// Writes a frame.
    pub fn frame(&self, out: &mut Vec<u8>, captured: &Captured<'_>) {
        let kept = u32::try_from(captured.bytes.len()).unwrap_or(u32::MAX);
        write_block(out, block::PACKET, |out| {
            out.extend_from_slice(&captured.interface.0.to_le_bytes());
            write_time(out, captured.at);
            out.extend_from_slice(&kept.to_le_bytes());
            out.extend_from_slice(&captured.frame_bytes.to_le_bytes());
            out.extend_from_slice(captured.bytes);
            pad(out, captured.bytes.len());
            let way: u32 = match captured.way {
                Way::Inbound => 1,
                Way::Outbound => 2,
            };
            write_option(out, option::EPB_FLAGS, &way.to_le_bytes());
            if !captured.comment.is_empty() {
                write_option(out, option::COMMENT, captured.comment.as_bytes());
            }
            write_option(out, option::END, &[]);
        });
    }

    /// Writes what was counted at an interface until `at`.
    pub fn statistics(
        &self,
        out: &mut Vec<u8>,
        interface: InterfaceId,
        at: Duration,
        counted: Statistics,
    ) {
        write_block(out, block::STATISTICS, |out| {
            out.extend_from_slice(&interface.0.to_le_bytes());
            write_time(out, at);
            write_option(out, option::ISB_IFRECV, &counted.received.to_le_bytes());
            write_option(out, option::ISB_IFDROP, &counted.dropped.to_le_bytes());
            write_option(out, option::END, &[]);
        });
    }
}

/// A block (section 3.1): its type, its length, its body, its length again.
fn write_block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = u32::try_from(out.len() - begin + 4).unwrap_or(u32::MAX).to_le_bytes();
    out[begin + 4..begin + 8].copy_from_slice(&length);
    out.extend_from_slice(&length);
}

/// An option (section 3.5); a text that is too long for one is cut.
fn write_option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&value[..usize::from(length)]);
    pad(out, usize::from(length));
}

/// Fills what has `length` bytes up to a multiple of four.
fn pad(out: &mut Vec<u8>, length: usize) {
    out.resize(out.len() + length.next_multiple_of(4) - length, 0);
}

/// A time stamp: its upper half, then its lower.
fn write_time(out: &mut Vec<u8>, at: Duration) {
    let nanoseconds = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX).to_le_bytes();
    out.extend_from_slice(&nanoseconds[4..]);
    out.extend_from_slice(&nanoseconds[..4]);
}

#[cfg(test)]
mod tests;
