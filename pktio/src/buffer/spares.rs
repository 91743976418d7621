//! Buffers at hand for a receive that asks for many frames at once and may get few.

use super::{PktBuf, Pool};

/// What a receive did not fill waits here for the next one: to take dozens of buffers and give them back at every look
/// would cost as much as the look. While the pool is [short](Pool::is_short) nothing waits: ports that kept what
/// they do not need would starve all others.
#[derive(Debug)]
pub(crate) struct Spares {
    buffers: Vec<PktBuf>,
}

impl Spares {
    /// None yet, and room for so many.
    pub(crate) fn with_room_for(count: usize) -> Self {
        Self { buffers: Vec::with_capacity(count) }
    }

    /// As many as are wanted, or as the pool has.
    pub(crate) fn ready(&mut self, wanted: usize, pool: &mut Pool) -> &mut [PktBuf] {
        while self.buffers.len() < wanted {
            let Some(buffer) = pool.take_slab() else { break };
            self.buffers.push(buffer);
        }
        // The buffer that was used last is at the end, and still in the cache: it goes first.
        self.buffers.reverse();
        let count = wanted.min(self.buffers.len());
        &mut self.buffers[..count]
    }

    /// Takes out the first ones, which were filled.
    pub(crate) fn filled(&mut self, count: usize) -> impl Iterator<Item = PktBuf> + '_ {
        self.buffers.drain(..count)
    }

    /// Keeps the others, unless somebody else may need them. Call it after every receive.
    pub(crate) fn keep(&mut self, pool: &mut Pool) {
        if pool.is_short() {
            self.give_back(pool);
        }
    }

    /// Keeps none.
    pub(crate) fn give_back(&mut self, pool: &mut Pool) {
        self.buffers.drain(..).for_each(|buffer| pool.recycle(buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::{BURST_FRAMES, PoolConfig};

    #[test]
    fn however_many_ports_look_in_vain_the_next_one_finds_buffers() {
        let mut pool = Pool::new(PoolConfig::default()).unwrap();
        let mut ports: Vec<_> = (0..100).map(|_| Spares::with_room_for(BURST_FRAMES)).collect();
        for _ in 0..3 {
            for port in &mut ports {
                assert_eq!(port.ready(BURST_FRAMES, &mut pool).len(), BURST_FRAMES);
                port.keep(&mut pool);
            }
        }
        assert!(!pool.is_short());
        ports.iter_mut().for_each(|port| port.give_back(&mut pool));
        assert_eq!(pool.free(), PoolConfig::default());
    }

    #[test]
    fn while_there_is_plenty_what_was_not_filled_waits() {
        let mut pool = Pool::new(PoolConfig { small: 1, slabs: 17 }).unwrap();
        let mut spares = Spares::with_room_for(4);
        assert_eq!(spares.ready(4, &mut pool).len(), 4);
        assert_eq!(spares.filled(1).map(|buffer| pool.recycle(buffer)).count(), 1);
        spares.keep(&mut pool);
        assert_eq!(pool.free().slabs, 14);
        assert_eq!(spares.ready(4, &mut pool).len(), 4);
        assert_eq!(pool.free().slabs, 13);
        spares.give_back(&mut pool);
    }
}
