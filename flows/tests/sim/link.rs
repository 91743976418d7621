//! Links with seeded faults.

use std::collections::BTreeMap;

/// A small generator (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Whether something happens that happens so often in a thousand.
    pub fn in_a_thousand(&mut self, times: u64) -> bool {
        self.next() % 1000 < times
    }
}

/// How bad a link is.
#[derive(Debug, Clone, Copy)]
pub struct Quality {
    /// Of a thousand frames, lost.
    pub lost: u64,
    /// Of a thousand frames, delivered twice.
    pub doubled: u64,
    /// Of a thousand frames, overtaken by later ones.
    pub late: u64,
    /// Microseconds that a frame takes.
    pub delay_us: u64,
}

impl Quality {
    pub const PERFECT: Self = Self { lost: 0, doubled: 0, late: 0, delay_us: 10 };
    pub const BAD: Self = Self { lost: 10, doubled: 10, late: 20, delay_us: 500 };
}

/// One direction of a link: frames in flight by the time of their arrival.
#[derive(Default)]
pub struct Link {
    flying: BTreeMap<(u64, u64), Vec<u8>>,
    sent: u64,
}

impl Link {
    pub fn send(&mut self, now_us: u64, frame: Vec<u8>, quality: Quality, random: &mut Random) {
        if random.in_a_thousand(quality.lost) {
            return;
        }
        let copies = 1 + u64::from(random.in_a_thousand(quality.doubled));
        for _ in 0..copies {
            let late = if random.in_a_thousand(quality.late) { 3 * quality.delay_us } else { 0 };
            self.sent += 1;
            self.flying.insert((now_us + quality.delay_us + late, self.sent), frame.clone());
        }
    }

    /// The frames that have arrived by now.
    pub fn arrived(&mut self, now_us: u64) -> Vec<Vec<u8>> {
        let later = self.flying.split_off(&(now_us + 1, 0));
        std::mem::replace(&mut self.flying, later).into_values().collect()
    }
}
