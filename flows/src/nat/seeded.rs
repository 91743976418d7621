//! [`Seeded`]: hashes that nobody outside can foresee.

use std::hash::{BuildHasher, DefaultHasher, Hasher};

/// Hashes with a secret: the standard library's SipHash, which takes in the seed before the key. The same
/// seed gives the same hashes, so that a simulation can be repeated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seeded(pub u64);

impl BuildHasher for Seeded {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}
