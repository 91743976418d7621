//! Many packets at once. With a million sessions nearly every packet needs a line that is in no
//! cache; a pass over the burst that does nothing but read lets the processor wait for all of them
//! at once.

use super::index::{Entry, Hash};
use super::key::Packed;
use super::table::{Found, Sessions};
use super::{Key, SessionRef};

/// Packets that are looked up together.
const TOGETHER: usize = 32;

impl Sessions {
    /// [Looks up](Self::lookup) many keys: `found` gets what is found by each, in order, as far as
    /// both go.
    pub fn lookup_burst(&self, keys: &[Key], found: &mut [Option<Found>]) {
        for (keys, found) in keys.chunks(TOGETHER).zip(found.chunks_mut(TOGETHER)) {
            self.lookup_some(keys, found);
        }
    }

    fn lookup_some(&self, keys: &[Key], found: &mut [Option<Found>]) {
        const NONE: (Packed, Hash, Option<Entry>) = (Packed::EMPTY, Hash::ZERO, None);
        let mut probes = [NONE; TOGETHER];
        let probes = &mut probes[..keys.len()];
        for ((packed, hash, _), key) in probes.iter_mut().zip(keys) {
            *packed = Packed::from(*key);
            *hash = self.index.hash(packed);
        }
        for (_, hash, _) in &*probes {
            self.index.warm(*hash);
        }
        for (_, hash, candidate) in &mut *probes {
            *candidate = self.index.candidate(*hash);
        }
        for Entry { slot, .. } in probes.iter().filter_map(|(.., candidate)| *candidate) {
            if let Some(record) = self.record(slot) {
                record.warm();
            }
        }
        for ((packed, hash, candidate), found) in probes.iter().zip(found) {
            let expected = candidate.and_then(|entry| self.check(entry, packed));
            *found = expected.or_else(|| self.find(packed, *hash));
        }
    }

    /// Reads what [`Self::track`] will need of a session. Whoever tracks many packets warms all
    /// their sessions first.
    #[inline]
    pub fn warm(&self, session: SessionRef) {
        if let Some(record) = self.record(session.slot) {
            record.warm();
        }
    }
}
