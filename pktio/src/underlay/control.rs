//! Control messages (`cmsg(3)`): the facts about a datagram that travel beside it. Written and read byte by
//! byte, so that none of it is `unsafe`.

use std::num::NonZeroU8;

/// Room for all control messages of one datagram: three of 24 bytes at most, either way.
const ROOM_BYTES: usize = 96;
/// `struct cmsghdr`: its length (a word), level and type.
const HEADER_BYTES: usize = size_of::<usize>() + 8;

/// The control messages of one datagram, aligned as the kernel wants them.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy)]
pub(super) struct Control {
    bytes: [u8; ROOM_BYTES],
    used: usize,
}

/// What the kernel says of a received datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Facts {
    /// TOS or traffic class.
    pub(super) tos: u8,
    /// Length of each of the datagrams that came as one; `None` when it is just one.
    pub(super) unit: Option<usize>,
}

impl Control {
    /// No messages.
    pub(super) const EMPTY: Self = Self { bytes: [0; ROOM_BYTES], used: 0 };

    /// The messages of a datagram that is to be sent, or of the datagrams of `unit` bytes that it is to be
    /// cut into. Without any, the socket's own values hold, and the kernel has nothing to read.
    pub(super) fn of(is_v4: bool, tos: u8, ttl: Option<NonZeroU8>, unit: Option<u16>) -> Self {
        let mut control = Self::EMPTY;
        let (level, tos_kind, ttl_kind) = if is_v4 {
            (libc::IPPROTO_IP, libc::IP_TOS, libc::IP_TTL)
        } else {
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS, libc::IPV6_HOPLIMIT)
        };
        if tos != 0 {
            control.put(level, tos_kind, &i32::from(tos).to_ne_bytes());
        }
        if let Some(ttl) = ttl {
            control.put(level, ttl_kind, &i32::from(ttl.get()).to_ne_bytes());
        }
        if let Some(unit) = unit {
            control.put(libc::SOL_UDP, libc::UDP_SEGMENT, &unit.to_ne_bytes());
        }
        control
    }

    fn put(&mut self, level: i32, kind: i32, value: &[u8]) {
        let length = HEADER_BYTES + value.len();
        let Some(room) = self.bytes.get_mut(self.used..self.used + length) else { return };
        let (header, data) = room.split_at_mut(HEADER_BYTES);
        let (word, rest) = header.split_at_mut(size_of::<usize>());
        word.copy_from_slice(&length.to_ne_bytes());
        rest[..4].copy_from_slice(&level.to_ne_bytes());
        rest[4..].copy_from_slice(&kind.to_ne_bytes());
        data.copy_from_slice(value);
        self.used += aligned(length);
    }

    /// The bytes in use.
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.used]
    }

    /// All bytes, for the kernel to fill.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Reads the first `bytes` bytes, as the kernel filled them.
    pub(super) fn facts(&self, bytes: usize) -> Facts {
        let mut facts = Facts::default();
        let mut rest = self.bytes.get(..bytes).unwrap_or_default();
        while let Some((level, kind, value, behind)) = split(rest) {
            match (level, kind) {
                (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    // A byte for IPv4, an int for IPv6.
                    facts.tos = int(value).and_then(|tos| u8::try_from(tos).ok()).unwrap_or(0);
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    facts.unit = int(value).and_then(|unit| usize::try_from(unit).ok());
                }
                _ => {}
            }
            rest = behind;
        }
        facts
    }
}

/// The first message of `bytes` (level, type, value), and what comes behind it.
fn split(bytes: &[u8]) -> Option<(i32, i32, &[u8], &[u8])> {
    let (word, rest) = bytes.split_first_chunk()?;
    let length = usize::from_ne_bytes(*word);
    let (level, rest) = rest.split_first_chunk()?;
    let (kind, _) = rest.split_first_chunk()?;
    let value = bytes.get(HEADER_BYTES..length)?;
    let behind = bytes.get(aligned(length)..).unwrap_or_default();
    Some((i32::from_ne_bytes(*level), i32::from_ne_bytes(*kind), value, behind))
}

/// A value of one byte or of four.
fn int(value: &[u8]) -> Option<i32> {
    match value {
        [byte] => Some(i32::from(*byte)),
        _ => Some(i32::from_ne_bytes(*value.first_chunk()?)),
    }
}

/// Where the next message begins.
fn aligned(length: usize) -> usize {
    length.next_multiple_of(size_of::<usize>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for (is_v4, tos) in [(true, 0xb9), (false, 3), (true, 0)] {
            let mut control = Control::of(is_v4, tos, NonZeroU8::new(7), Some(1450));
            let bytes = control.bytes().len();
            assert_eq!(bytes % 8, 0);
            assert_eq!(control.facts(bytes), Facts { tos, unit: None });
        }
        let mut control = Control::EMPTY;
        control.put(libc::IPPROTO_IP, libc::IP_TOS, &[0x2e]);
        control.put(libc::SOL_UDP, libc::UDP_GRO, &1472i32.to_ne_bytes());
        let bytes = control.bytes().len();
        assert_eq!(control.facts(bytes), Facts { tos: 0x2e, unit: Some(1472) });
    }

    #[test]
    fn nothing_to_say_takes_no_message() {
        assert!(Control::of(true, 0, None, None).bytes().is_empty());
    }

    #[test]
    fn messages_that_are_cut_off_or_lie_about_their_length_end_the_reading() {
        let mut control = Control::of(false, 9, NonZeroU8::new(1), Some(1));
        for bytes in 0..=ROOM_BYTES + 8 {
            control.facts(bytes);
        }
        for length in [0, 1, 15, 16, 97, usize::MAX - 6] {
            control.bytes[..8].copy_from_slice(&length.to_ne_bytes());
            control.facts(ROOM_BYTES);
        }
    }
}
