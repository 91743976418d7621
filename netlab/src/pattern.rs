//! Bytes that look random and can be made again: what a transfer sends, and what has to arrive.

/// An endless sequence of bytes that its seed determines (`SplitMix64`: Steele, Lea and Flood, "Fast
/// splittable pseudorandom number generators", 2014).
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    state: u64,
}

impl Pattern {
    /// The sequence of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Writes the next bytes of the sequence. Each call begins with a fresh word: bytes are the same
    /// only if the calls have the same lengths, or multiples of eight.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Where two equally long pieces differ first: the place, the byte in `got`, and the one in `sent`.
pub(crate) fn first_difference(got: &[u8], sent: &[u8]) -> Option<(usize, u8, u8)> {
    if got == sent {
        return None;
    }
    let place = got.iter().zip(sent).position(|(got, sent)| got != sent)?;
    Some((place, got[place], sent[place]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_one_others() {
        let bytes = |seed| {
            let mut bytes = [0; 21];
            Pattern::new(seed).fill(&mut bytes);
            bytes
        };
        assert_eq!(bytes(1), bytes(1));
        assert_ne!(bytes(1), bytes(2));
    }

    #[test]
    fn the_first_difference_is_found() {
        assert_eq!(first_difference(b"same", b"same"), None);
        assert_eq!(first_difference(b"abcd", b"abxx"), Some((2, b'c', b'x')));
    }
}
