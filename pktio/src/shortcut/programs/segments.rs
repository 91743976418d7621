//! Segments of TCP: which of them the filter lets go.
//!
//! What the switch's own tracking asks of a segment in an open connection (`flows::session`): nothing but data and
//! acknowledgments, and numbers within the windows of both ends, which it moves on. A segment by which more would change is left to
//! the switch: one that opens, closes or resets, that fits no window, or that offers a larger window than any before.

use super::super::trail::{CLASS_BITS, CLASS_SHIFT, MARK_SHIFT, SCALE_BITS};
use super::super::{CONNECTION, DIRECTION, MARK as WHOSE};
use super::*;
use crate::wire::field::tcp;

/// On the filter's stack: a segment's numbers, from its sequence number to its window, and how much data it has.
const SEGMENT: i16 = -128;
const SEGMENT_BYTES: i16 = 12;
const LENGTH: i16 = SEGMENT + SEGMENT_BYTES;

/// Where a field of the header is there.
fn field(position: usize) -> i16 {
    SEGMENT + at(position - tcp::SEQUENCE)
}

/// There is none yet.
pub(super) fn clear(code: &mut Code) {
    code.store(Size::Double, R10, SEGMENT, 0).store(Size::Double, R10, SEGMENT + 8, 0);
}

/// Reads the numbers of a segment. `R1` is the length of the packet behind the IP header.
pub(super) fn read(code: &mut Code, header_bytes: i16, leave: Label) {
    const LOOKED_AT: i32 = (tcp::SYN | tcp::ACK_FLAG | tcp::FIN | tcp::RST) as i32;
    code.store(Size::Word, R10, LENGTH, R1);
    code.mov(R1, R6).mov(R2, ETHERNET_BYTES + i32::from(header_bytes + at(tcp::SEQUENCE)));
    address(code, R3, SEGMENT).mov(R4, i32::from(SEGMENT_BYTES)).call(Helper::SkbLoadBytes);
    code.jump_if(If::NotEqual, R0, 0, leave);
    code.load(Size::Byte, R1, R10, field(tcp::DATA_OFFSET));
    code.alu(Alu::ShiftRight, R1, 4).alu(Alu::ShiftLeft, R1, 2);
    code.jump_if(If::Below, R1, i32::from(at(tcp::MIN_BYTES)), leave);
    code.load(Size::Word, R2, R10, LENGTH).jump_if(If::Below, R2, R1, leave);
    code.alu(Alu::Sub, R2, R1).store(Size::Word, R10, LENGTH, R2);
    code.load(Size::Byte, R1, R10, field(tcp::FLAGS)).alu(Alu::And, R1, LOOKED_AT);
    code.jump_if(If::NotEqual, R1, i32::from(tcp::ACK_FLAG), leave);
}

/// Lets a segment of a connection go by if it fits, and moves its sender's trail on. `R9` is the entry; `R8` is lost, and `R7`
/// stays 0, as the frame has no tag.
pub(super) fn check(code: &mut Code, trails: &Map, leave: Label) {
    let (fits, is_ahead) = (code.label(), code.label());
    code.load(Size::Word, R1, R9, WHOSE).jump_if(If::Equal, R1, 0, fits);
    code.load(Size::Word, R1, R9, CONNECTION).store(Size::Word, R10, INDEX, R1).map(R1, trails);
    address(code, R2, INDEX).call(Helper::MapLookup);
    code.jump_if(If::Equal, R0, 0, leave);
    // R2 = the sender's word, R0 = what is in it, R4 = what is in the receiver's.
    code.load(Size::Word, R1, R9, DIRECTION).alu(Alu::And, R1, 8);
    code.mov(R2, R0).alu(Alu::Add, R2, R1);
    code.alu(Alu::Xor, R1, 8).alu(Alu::Add, R0, R1).load(Size::Double, R4, R0, 0);
    code.load(Size::Double, R0, R2, 0).load(Size::Word, R1, R9, WHOSE);
    for trail in [R0, R4] {
        code.mov(R5, trail).alu(Alu::ShiftRight, R5, MARK_SHIFT);
        code.jump_if(If::NotEqual, R5, R1, leave);
    }
    // The sequence, within the window that the receiver offers.
    window(code, (R1, R5), R4);
    code.load(Size::Word, R3, R10, field(tcp::SEQUENCE)).swap(R3, 32);
    distance(code, R5, (R3, R0)).jump_if(If::Greater, R5, R1, leave);
    code.jump_if(If::Equal, R5, i32::MIN, leave); // half the circle: neither ahead nor behind
    code.load(Size::Word, R5, R10, LENGTH).alu(Alu::Add, R3, R5);
    distance(code, R5, (R0, R3)).jump_if(If::Greater, R5, R1, leave);
    // The acknowledgment, within that which the sender offers; and no larger one.
    window(code, (R1, R8), R0);
    code.load(Size::Word, R8, R10, field(tcp::ACK)).swap(R8, 32);
    distance(code, R8, (R8, R4)).jump_if(If::NotLess, R8, 0, is_ahead);
    code.mov(R7, 0).alu(Alu::Sub, R7, R8).mov(R8, R7).mov(R7, 0);
    code.place(is_ahead).jump_if(If::Above, R8, R1, leave);
    code.load(Size::Half, R8, R10, field(tcp::WINDOW)).swap(R8, 16);
    code.mov(R4, R0).alu(Alu::ShiftRight, R4, 32).alu(Alu::And, R4, SCALE_BITS);
    code.alu(Alu::ShiftLeft, R8, R4).jump_if(If::Above, R8, R1, leave);
    // R5 is how far the sender was before this.
    code.jump_if(If::NotLess, R5, 0, fits);
    code.mov(R1, R0).alu(Alu::ShiftRight, R1, 32).alu(Alu::ShiftLeft, R1, 32);
    code.alu(Alu::ShiftLeft, R3, 32).alu(Alu::ShiftRight, R3, 32).alu(Alu::Or, R1, R3);
    code.mov(R5, R0).compare_exchange(R2, 0, R1);
    code.jump_if(If::NotEqual, R0, R5, leave).place(fits);
}

/// `to` = the bytes of the window in a trail; `by` is lost.
fn window(code: &mut Code, (to, by): (Reg, Reg), trail: Reg) {
    const LEAST: i32 = 0x1_0000;
    code.mov(by, trail).alu(Alu::ShiftRight, by, CLASS_SHIFT).alu(Alu::And, by, CLASS_BITS);
    code.alu(Alu::ShiftLeft, by, 1).mov(to, LEAST).alu(Alu::ShiftLeft, to, by);
}

/// `to` = how far the sequence number in the lower half of `a` is ahead of that in `b`.
fn distance(code: &mut Code, to: Reg, (a, b): (Reg, Reg)) -> &mut Code {
    code.mov(to, a).alu(Alu::Sub, to, b);
    code.alu(Alu::ShiftLeft, to, 32).alu(Alu::ShiftSigned, to, 32)
}
