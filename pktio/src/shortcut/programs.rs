//! The programs: what a gate's filter decides, and what the program at tcx does about it.

mod routed;
mod segments;

use super::{BYTES, FRAMES, INTERFACE, MTU, REWRITING, SEEN, UNTIL};
use crate::bpf::code::Reg::{R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10};
use crate::bpf::code::{Alu, Code, CodeError, If, Instruction, Label, Reg, Size};
use crate::bpf::{Helper, Map, TCX_DROP};

// struct __sk_buff (linux/bpf.h)
const LEN: i16 = 0;
const VLAN_PRESENT: i16 = 20;
const VLAN_TCI: i16 = 24;
const VLAN_PROTO: i16 = 28;
const GSO_SIZE: i16 = 176;
/// Of `cb`: the interface to go to, the mark, and the number of the rewriting or 0.
const CB: i16 = 48;
const MARK: [i16; 2] = [CB + 4, CB + 8];
const NUMBER: i16 = CB + 12;

/// `PACKET_HOST` (linux/if_packet.h).
const PACKET_HOST: i32 = 0;

/// On the stack: the key, a number of a map's entry, and a few bytes of the frame.
const KEY: i16 = -56;
const INDEX: i16 = -60;
const PEEK: i16 = -64;
/// The time, where the key was.
const NOW: i16 = KEY;

const ETHERNET_BYTES: i32 = 14;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TCP: i32 = 6;

/// A position within a header.
fn at(position: usize) -> i16 {
    i16::try_from(position).unwrap_or(i16::MAX)
}

/// A field of a frame as a program of this machine loads it.
fn from_wire(field: u16) -> i32 {
    i32::from(u16::from_ne_bytes(field.to_be_bytes()))
}

/// The filter of a gate's socket. Returns how much of the frame the socket is to have: all or nothing.
pub(super) fn filter(
    (in_force, connections): (&Map, &Map),
    secret: [i32; 2],
    gate: u32,
) -> Result<Vec<Instruction>, CodeError> {
    let mut code = Code::new();
    let (leave, found) = (code.label(), code.label());
    code.mov(R6, R1);
    segments::clear(&mut code);
    read_tag(&mut code, leave); // R7 = tag
    read_key(&mut code, gate, leave); // R8 = type
    code.store(Size::Word, R10, INDEX, 0).map(R1, in_force);
    address(&mut code, R2, INDEX).call(Helper::MapLookup);
    code.jump_if(If::Equal, R0, 0, leave).mov(R9, R0); // R9 = table
    find(&mut code).jump_if(If::NotEqual, R0, 0, found);
    routed::read(&mut code, leave);
    find(&mut code).jump_if(If::Equal, R0, 0, leave);
    code.place(found).mov(R9, R0); // R9 = entry
    measure(&mut code, leave); // R2 = bytes of the longest packet
    code.load(Size::Word, R3, R9, MTU).jump_if(If::Above, R2, R3, leave);
    code.call(Helper::KtimeGetCoarseNs);
    code.load(Size::Double, R1, R9, UNTIL).jump_if(If::Above, R0, R1, leave);
    code.store(Size::Double, R10, NOW, R0);
    segments::check(&mut code, connections, leave);
    code.load(Size::Double, R0, R10, NOW).store(Size::Double, R9, SEEN, R0);
    count(&mut code);
    for (from, to) in [(INTERFACE, CB), (REWRITING, NUMBER)] {
        code.load(Size::Word, R1, R9, from).store(Size::Word, R6, to, R1);
    }
    for (at, number) in MARK.into_iter().zip(secret) {
        code.mov(R1, number).store(Size::Word, R6, at, R1);
    }
    code.mov(R0, 0).exit();
    code.place(leave).mov(R0, i32::MAX).exit();
    code.finish()
}

/// `R0 = R9[key]`.
fn find(code: &mut Code) -> &mut Code {
    code.mov(R1, R9);
    address(code, R2, KEY).call(Helper::MapLookup)
}

/// The program at tcx: a frame with the mark goes where it is said, in the form that is said; any other ends here.
pub(super) fn obey(secret: [i32; 2], rewritings: &Map) -> Result<Vec<Instruction>, CodeError> {
    let mut code = Code::new();
    let (as_it_is, end) = (code.label(), code.label());
    code.mov(R6, R1);
    for (at, number) in MARK.into_iter().zip(secret) {
        code.load(Size::Word, R1, R6, at).jump_if(If::NotEqual, R1, number, end);
    }
    code.load(Size::Word, R7, R6, NUMBER).jump_if(If::Equal, R7, 0, as_it_is);
    code.store(Size::Word, R10, INDEX, R7).map(R1, rewritings);
    address(&mut code, R2, INDEX).call(Helper::MapLookup);
    code.jump_if(If::Equal, R0, 0, end).mov(R8, R0);
    routed::rewrite(&mut code, end);
    // Wherever it comes next, it is a frame like any other.
    code.place(as_it_is).mov(R1, 0).store(Size::Word, R6, MARK[0], R1);
    // Here it is for another station than the host end. Kernels before 6.16 leave it so, and the container's stack would not
    // have it; later ones do this by themselves (`skb_scrub_packet` in `skb_do_redirect`).
    code.mov(R1, R6).mov(R2, PACKET_HOST).call(Helper::SkbChangeType);
    code.load(Size::Word, R1, R6, CB).mov(R2, 0).call(Helper::RedirectPeer).exit();
    code.place(end).mov(R0, TCX_DROP).exit();
    code.finish()
}

/// `to` = the address of what is at `at` on the stack.
fn address(code: &mut Code, to: Reg, at: i16) -> &mut Code {
    code.mov(to, R10).alu(Alu::Add, to, i32::from(at))
}

/// `R7` = the VLAN that the frame's tag names, 0 without one.
fn read_tag(code: &mut Code, leave: Label) {
    const CUSTOMER: u16 = 0x8100;
    let untagged = code.label();
    code.mov(R7, 0);
    code.load(Size::Word, R2, R6, VLAN_PRESENT).jump_if(If::Equal, R2, 0, untagged);
    code.load(Size::Word, R2, R6, VLAN_PROTO);
    code.jump_if(If::NotEqual, R2, from_wire(CUSTOMER), leave);
    code.load(Size::Word, R7, R6, VLAN_TCI).alu(Alu::And, R7, 0xfff);
    code.jump_if(If::Equal, R7, 0, leave).place(untagged);
}

/// The key of all frames between two stations, on the stack; `R8` = the frame's type, as it is there.
fn read_key(code: &mut Code, gate: u32, leave: Label) {
    const TAGS: [u16; 2] = [0x8100, 0x88a8];
    code.mov(R1, R6).mov(R2, 0);
    address(code, R3, KEY).mov(R4, ETHERNET_BYTES).call(Helper::SkbLoadBytes);
    code.jump_if(If::NotEqual, R0, 0, leave).load(Size::Half, R8, R10, KEY + 12);
    for tag in TAGS {
        code.jump_if(If::Equal, R8, from_wire(tag), leave);
    }
    code.store(Size::Half, R10, KEY + 12, R7).store(Size::Half, R10, KEY + 14, 0);
    code.store(Size::Word, R10, KEY + 16, gate.cast_signed()).store(Size::Word, R10, KEY + 20, 0);
    (24..56).step_by(8).for_each(|at| _ = code.store(Size::Double, R10, KEY + at, 0));
}

/// `R2` = the bytes of the longest packet that the frame becomes on the wire. Super-frames of others than TCP are left.
fn measure(code: &mut Code, leave: Label) {
    let (plain, done, ipv6, transport) = (code.label(), code.label(), code.label(), code.label());
    code.load(Size::Word, R3, R6, GSO_SIZE).jump_if(If::Equal, R3, 0, plain);
    code.jump_if(If::Equal, R8, from_wire(IPV6), ipv6);
    code.jump_if(If::NotEqual, R8, from_wire(IPV4), leave);
    code.mov(R2, ETHERNET_BYTES + 9); // the protocol
    peek(code, leave).jump_if(If::NotEqual, R1, TCP, leave);
    code.mov(R2, ETHERNET_BYTES); // the version, and the header's length in words
    peek(code, leave).alu(Alu::And, R1, 0xf).alu(Alu::ShiftLeft, R1, 2);
    code.mov(R8, R1).jump(transport);
    code.place(ipv6).mov(R2, ETHERNET_BYTES + 6); // the next header
    peek(code, leave).jump_if(If::NotEqual, R1, TCP, leave).mov(R8, 40);
    code.place(transport).mov(R2, R8).alu(Alu::Add, R2, ETHERNET_BYTES + 12);
    peek(code, leave); // TCP's header's length in words, and flags
    code.alu(Alu::ShiftRight, R1, 4).alu(Alu::ShiftLeft, R1, 2);
    code.load(Size::Word, R2, R6, GSO_SIZE).alu(Alu::Add, R2, R1).alu(Alu::Add, R2, R8);
    code.jump(done);
    code.place(plain).load(Size::Word, R2, R6, LEN).alu(Alu::Sub, R2, ETHERNET_BYTES);
    code.place(done);
}

/// `R1` = the byte at `R2` of the frame.
fn peek(code: &mut Code, leave: Label) -> &mut Code {
    code.mov(R1, R6);
    address(code, R3, PEEK).mov(R4, 1).call(Helper::SkbLoadBytes);
    code.jump_if(If::NotEqual, R0, 0, leave).load(Size::Byte, R1, R10, PEEK)
}

/// Counts the frame, with its tag.
fn count(code: &mut Code) {
    const TAG_BYTES: i32 = 4;
    let untagged = code.label();
    code.mov(R1, 1).count(R9, FRAMES, R1);
    code.load(Size::Word, R5, R6, LEN).jump_if(If::Equal, R7, 0, untagged);
    code.alu(Alu::Add, R5, TAG_BYTES).place(untagged).count(R9, BYTES, R5);
}
