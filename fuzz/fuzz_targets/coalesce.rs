//! Receive coalescing: whatever is done to a train of TCP segments, segmenting what was coalesced gives the very
//! frames that went in, and no buffer is lost.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pktio::offload::{checksum, coalesce, fit};
use pktio::wire::Layers;
use pktio::{Accepts, Burst, Csum, Gso, PktBuf, Pool, PoolConfig};

const POOL: PoolConfig = PoolConfig { small: 256, slabs: 32 };
const FRAMES: usize = 24;

/// Bytes of input, zero when they run out.
struct Dice<'a>(&'a [u8]);

impl Dice<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }
}

/// A train of segments of one connection: what a receiver would merge, if nothing were done to it.
struct Train {
    is_v6: bool,
    options: u8,
    payload: u16,
    sequence: u32,
    id: u16,
}

impl Train {
    fn begin(dice: &mut Dice) -> Self {
        let shape = dice.byte();
        let payload = 480 + dice.word() % 980;
        let sequence = if shape & 4 == 0 { 1000 } else { u32::MAX - 2000 };
        Self { is_v6: shape & 1 == 1, options: shape >> 3 & 3, payload, sequence, id: u16::MAX - 3 }
    }

    /// The next segment, with so much payload.
    fn next(&mut self, payload: u16, is_push: bool) -> Vec<u8> {
        let tcp_bytes = 20 + 4 * u16::from(self.options);
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        if self.is_v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((tcp_bytes + payload).to_be_bytes());
            frame.extend([6, 64]);
            frame.extend([0xfd; 32]);
        } else {
            frame.extend([8, 0, 0x45, 0]);
            frame.extend((20 + tcp_bytes + payload).to_be_bytes());
            frame.extend(self.id.to_be_bytes());
            frame.extend([0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        }
        frame.extend([0x30, 0x39, 0, 80]);
        frame.extend(self.sequence.to_be_bytes());
        let flags = if is_push { 0x18 } else { 0x10 };
        frame.extend([0, 0, 0, 1, (5 + self.options) << 4, flags, 0x10, 0, 0, 0, 0, 0]);
        frame.extend(vec![1; 4 * usize::from(self.options)]);
        let fill = self.sequence.to_be_bytes()[3];
        frame.resize(frame.len() + usize::from(payload), fill);
        self.sequence = self.sequence.wrapping_add(u32::from(payload));
        self.id = self.id.wrapping_add(1);
        frame
    }
}

/// Gives a frame the checksums that its bytes ask for: IPv4's, and TCP's whole or half done.
fn seal(frame: &mut PktBuf, is_partial: bool) {
    let Ok(Some(layers)) = Layers::parse(frame.data()) else { return };
    let (l3, l4) = (usize::from(layers.l3), usize::from(layers.l4));
    let data = frame.data_mut();
    if data[l3] >> 4 == 4 {
        data[l3 + 10..l3 + 12].fill(0);
        let sum = !fold(&data[l3..l4], 0);
        data[l3 + 10..l3 + 12].copy_from_slice(&sum.to_be_bytes());
    }
    let addresses = if data[l3] >> 4 == 4 { l3 + 12..l3 + 20 } else { l3 + 8..l3 + 40 };
    let length = u32::try_from(data.len() - l4).unwrap_or(0) + 6;
    let pseudo = fold(&data[addresses], length);
    let Some(field) = data.get_mut(l4 + 16..l4 + 18) else { return };
    field.copy_from_slice(&pseudo.to_be_bytes());
    frame.offload.csum = Csum::Partial { start: layers.l4, offset: 16 };
    if !is_partial && checksum::complete(frame) {
        frame.offload.csum = Csum::None;
    }
}

/// The ones' complement sum, written as the standard has it and not as the switch does.
fn fold(bytes: &[u8], initial: u32) -> u16 {
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum::<u32>() + initial;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(0)
}

/// One frame of the train, perhaps damaged, before or after its checksums were made.
fn make(train: &mut Train, dice: &mut Dice, pool: &mut Pool) -> Option<PktBuf> {
    let how = dice.byte();
    let payload = if how & 1 == 0 { train.payload } else { dice.word() % 1460 };
    let mut bytes = train.next(payload, how & 6 == 6);
    let damage = |bytes: &mut [u8], dice: &mut Dice| {
        let at = usize::from(dice.byte()) % bytes.len();
        bytes[at] ^= dice.byte();
    };
    if how & 0x18 == 0x18 {
        damage(&mut bytes, dice);
    }
    let mut frame = pool.frame_from(&bytes)?;
    seal(&mut frame, how & 0x20 != 0);
    if how & 0xc0 == 0xc0 {
        damage(frame.data_mut(), dice);
    }
    Some(frame)
}

fuzz_target!(|data: &[u8]| {
    let mut dice = Dice(data);
    let Ok(mut pool) = Pool::new(POOL) else { return };
    let mut train = Train::begin(&mut dice);
    let mut frames = Burst::new();
    frames.extend((0..FRAMES).map_while(|_| make(&mut train, &mut dice, &mut pool)));
    let before: Vec<_> = frames.iter().map(|f| (f.data().to_vec(), f.offload)).collect();
    let mut scratch = Burst::new();
    let merged = coalesce(&mut frames, &mut scratch, &mut pool);
    assert_eq!((frames.len() + merged, scratch.len()), (before.len(), 0));

    let mut expected = before.iter();
    for frame in frames.drain(..) {
        let was_merged = frame.offload.gso != Gso::None;
        if !was_merged {
            assert_eq!(expected.next(), Some(&(frame.data().to_vec(), frame.offload)));
            pool.recycle(frame);
            continue;
        }
        let mut segments = Burst::new();
        if let Err((_, refusal)) = fit(frame, &Accepts::PLAIN, &mut pool, &mut segments) {
            panic!("what was coalesced is refused: {refusal}");
        }
        for segment in segments.drain(..) {
            let (mut bytes, offload) = expected.next().expect("no more than went in").clone();
            if let Csum::Partial { .. } = offload.csum {
                let mut whole = pool.frame_from(&bytes).expect("there are buffers");
                whole.offload = offload;
                assert!(checksum::complete(&mut whole));
                bytes = whole.data().to_vec();
                pool.recycle(whole);
            }
            assert_eq!(segment.data(), bytes);
            pool.recycle(segment);
        }
    }
    assert_eq!(expected.next(), None);
    pool.reclaim();
    assert_eq!(pool.free(), POOL);
});
