//! [`Traffic`]: what was counted of one direction of a session.

use super::Volume;
use super::bits::{halves, high32, joined};

const TAG: u64 = (1 << Tag::BITS) - 1;
const BYTES: u64 = (1 << 47) - 1;
const BYTES_SHIFT: u32 = Tag::BITS;
const PACKETS: u64 = (1 << 36) - 1;
const PACKETS_SHIFT: u32 = BYTES_SHIFT + 47;
/// The highest bit of the packets, within the upper word, and of the bytes, within the lower.
const MANY: [u64; 2] = [1 << (PACKETS_SHIFT + 35 - u64::BITS), 1 << (PACKETS_SHIFT - 1)];
/// Within the upper word.
const END_SHIFT: u32 = 25;
const HAS_END: u64 = 1 << 57;
const TAG_SHIFT: u32 = 58;

/// What marks counts as those of one session: the lower bits of its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag(u64);

impl Tag {
    const BITS: u32 = 6;

    #[inline]
    pub(super) fn of(version: u32) -> Self {
        Self(u64::from(version) & TAG)
    }
}

/// What was counted of one direction: `tag 6 | end is known 1 | end of the TCP sequence 32 |
/// packets 36 | bytes 47 | tag 6`, in two words. Each has the tag, because one may be stored
/// without the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Traffic {
    pub(super) end: Option<u32>,
    pub(super) volume: Volume,
}

impl Traffic {
    /// What the words say of the session of that tag.
    #[inline]
    pub(super) fn from_words(words: [u64; 2], tag: Tag) -> Self {
        let [upper, lower] = words;
        let is_counted = upper >> TAG_SHIFT == tag.0 && lower & TAG == tag.0;
        let packets = halves(joined(words) >> PACKETS_SHIFT)[1] & PACKETS;
        let volume = Volume { packets, bytes: lower >> BYTES_SHIFT & BYTES };
        Self {
            end: Self::end_in(upper, tag),
            volume: if is_counted { volume } else { Volume::default() },
        }
    }

    /// The end of the TCP sequence, by the upper word alone.
    #[inline]
    pub(super) fn end_in(upper: u64, tag: Tag) -> Option<u32> {
        let is_known = upper >> TAG_SHIFT == tag.0 && upper & HAS_END != 0;
        is_known.then_some(high32(upper << (32 - END_SHIFT)))
    }

    #[inline]
    pub(super) fn into_words(self, tag: Tag) -> [u64; 2] {
        let Volume { packets, bytes } = self.volume;
        let [upper, lower] = halves(u128::from(packets & PACKETS) << PACKETS_SHIFT);
        let end = self.end.map_or(0, |end| HAS_END | u64::from(end) << END_SHIFT);
        [tag.0 << TAG_SHIFT | end | upper, lower | (bytes & BYTES) << BYTES_SHIFT | tag.0]
    }

    /// What the words of a session of that tag become with one packet more, if that is a matter of adding: they
    /// count this session already, and no count is near the one at which it begins anew.
    #[inline]
    pub(super) fn with_packet_added(words: [u64; 2], tag: Tag, bytes: u32) -> Option<[u64; 2]> {
        let [upper, lower] = words;
        let is_anothers = upper >> TAG_SHIFT ^ tag.0 | lower & TAG ^ tag.0;
        let are_many = upper & MANY[0] | lower & MANY[1];
        let packet = u128::from(bytes) << BYTES_SHIFT | 1 << PACKETS_SHIFT;
        (is_anothers | are_many == 0).then(|| halves(joined(words) + packet))
    }

    /// With one packet more.
    #[inline]
    pub(super) fn with_packet(self, bytes: u32) -> Self {
        let Volume { packets, bytes: before } = self.volume;
        let volume = Volume { packets: packets + 1, bytes: before + u64::from(bytes) };
        Self { volume, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: Option<u32> = Some(0xdead_beef);

    #[test]
    fn counts_survive_being_packed_and_start_anew_when_they_overflow() {
        for (packets, bytes) in [(0, 0), (1, 60), (PACKETS, BYTES), (0x8_1234_5678, 1 << 40)] {
            for end in [None, Some(0), END, Some(u32::MAX)] {
                let traffic = Traffic { end, volume: Volume { packets, bytes } };
                let words = traffic.into_words(Tag::of(63));
                assert_eq!(Traffic::from_words(words, Tag::of(63)), traffic);
            }
        }
        let full = Traffic { end: END, volume: Volume { packets: PACKETS, bytes: BYTES } };
        let words = full.with_packet(1).into_words(Tag::of(1));
        let anew = Traffic { end: END, ..Traffic::default() };
        assert_eq!(Traffic::from_words(words, Tag::of(1)), anew);
    }

    #[test]
    fn a_packet_is_added_in_place_unless_a_count_begins_anew_or_is_another_sessions() {
        let tag = Tag::of(7);
        for end in [None, Some(0), END, Some(u32::MAX)] {
            for (packets, bytes) in
                [(0, 0), (1, 60), (PACKETS, 0), (0, BYTES), (0x7ff, BYTES / 2), (PACKETS / 2, 1)]
            {
                let traffic = Traffic { end, volume: Volume { packets, bytes } };
                let words = traffic.into_words(tag);
                let slowly = traffic.with_packet(1514).into_words(tag);
                let is_adding = packets <= PACKETS / 2 && bytes <= BYTES / 2;
                let expected = is_adding.then_some(slowly);
                assert_eq!(Traffic::with_packet_added(words, tag, 1514), expected);
                assert_eq!(Traffic::with_packet_added(words, Tag::of(8), 1514), None);
            }
        }
    }

    #[test]
    fn a_word_of_another_session_counts_as_none() {
        let volume = Volume { packets: 5, bytes: 500 };
        let [old, new] = [1, 2].map(|tag| Traffic { end: END, volume }.into_words(Tag::of(tag)));
        let read = |upper: u64, lower: u64| Traffic::from_words([upper, lower], Tag::of(2));
        assert_eq!(read(old[0], new[1]), Traffic::default());
        assert_eq!(read(new[0], old[1]), Traffic { end: END, ..Traffic::default() });
    }
}
