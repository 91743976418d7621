//! Packets of flows that are routed: which of them the filter lets go, and how they are rewritten.
//!
//! The filter reads what [`crate::wire::Layers`] would, and leaves everything to the switch that is not the plainest
//! form: a whole packet that is not to be fragmented, without options, with a hop left and a sound header. So the program at
//! tcx knows where the fields are. What may be fragmented would need an identification among those of its new source (RFC 6864
//! section 5.3.1), which the switch has; Linux lets nothing of its own be fragmented by default.

use super::super::rewriting::{ADDRESSES, BEFORE, HEADER, IS_IPV6, IS_TCP, OWN, PORTS, PSEUDO};
use super::*;
use crate::wire::field::{ipv4, ipv6, tcp, udp};

/// `BPF_F_INVALIDATE_HASH`: the flow is another one.
const INVALIDATE_HASH: i32 = 1 << 1;
/// `BPF_F_PSEUDO_HDR`: what changes is in a checksum that is half done, too.
const PSEUDO_HEADER: i32 = 1 << 4;
/// `BPF_F_MARK_MANGLED_0`: no checksum stays none, and one that becomes 0 is sent as 0xffff (RFC 768).
const UDP_CHECKSUM: i32 = 1 << 5;

const UDP: i32 = 17;
const IPV4_BYTES: i16 = 20;
const IPV6_BYTES: i16 = 40;
const UDP_BYTES: i16 = 8;
const PORTS_BYTES: i16 = 4;

/// Of the key, the kind of flow.
const PROTOCOL_IN_KEY: i16 = KEY + 14;
const VERSION_IN_KEY: i16 = KEY + 15;
/// On the filter's stack, from the IP header to the ports.
const PACKET: i16 = -112;
/// On the other program's stack, from the destination to the ports, so that the IP header is aligned.
const FRAME: i16 = -78;
const IP: i16 = FRAME + 14;

/// Completes the key by the flow of the packet in the frame, and reads its numbers if that is TCP. `R8` is the frame's type, `R7`
/// its tag.
pub(super) fn read(code: &mut Code, leave: Label) {
    let (v6, done) = (code.label(), code.label());
    code.jump_if(If::NotEqual, R7, 0, leave);
    code.jump_if(If::Equal, R8, from_wire(IPV6), v6);
    code.jump_if(If::NotEqual, R8, from_wire(IPV4), leave);
    read_v4(code, leave);
    code.jump(done).place(v6);
    read_v6(code, leave);
    code.place(done);
}

fn read_v4(code: &mut Code, leave: Label) {
    const VERSION_AND_BYTES: i32 = 0x45;
    load_packet(code, IPV4_BYTES, leave);
    code.load(Size::Byte, R1, R10, PACKET);
    code.jump_if(If::NotEqual, R1, VERSION_AND_BYTES, leave);
    is_of_a_flow_with_a_hop_left(code, (ipv4::PROTOCOL, ipv4::TTL), leave);
    code.load(Size::Half, R1, R10, PACKET + at(ipv4::FRAGMENT));
    code.jump_if(If::AnyBit, R1, from_wire(ipv4::FRAGMENTED), leave);
    code.alu(Alu::And, R1, from_wire(ipv4::DONT_FRAGMENT)).jump_if(If::Equal, R1, 0, leave);
    code.load(Size::Half, R1, R10, PACKET + at(ipv4::TOTAL_LENGTH)).swap(R1, 16);
    fits(code, IPV4_BYTES, leave);
    check_header(code, leave);
    code.store(Size::Byte, R10, VERSION_IN_KEY, 4);
    copy(code, Size::Word, (PACKET + at(ipv4::ADDRESSES.start), KEY + 24), 8);
    copy(code, Size::Word, (PACKET + IPV4_BYTES, KEY + 20), PORTS_BYTES);
    read_segment(code, IPV4_BYTES, leave);
}

fn read_v6(code: &mut Code, leave: Label) {
    const VERSION: i32 = 0x60;
    load_packet(code, IPV6_BYTES, leave);
    code.load(Size::Byte, R1, R10, PACKET).alu(Alu::And, R1, 0xf0);
    code.jump_if(If::NotEqual, R1, VERSION, leave);
    is_of_a_flow_with_a_hop_left(code, (ipv6::NEXT_HEADER, ipv6::HOP_LIMIT), leave);
    code.load(Size::Half, R1, R10, PACKET + at(ipv6::PAYLOAD_LENGTH)).swap(R1, 16);
    code.alu(Alu::Add, R1, i32::from(IPV6_BYTES));
    fits(code, IPV6_BYTES, leave);
    code.store(Size::Byte, R10, VERSION_IN_KEY, 6);
    copy(code, Size::Double, (PACKET + at(ipv6::ADDRESSES.start), KEY + 24), 32);
    copy(code, Size::Word, (PACKET + IPV6_BYTES, KEY + 20), PORTS_BYTES);
    read_segment(code, IPV6_BYTES, leave);
}

/// The IP header and the ports, on the stack.
fn load_packet(code: &mut Code, header_bytes: i16, leave: Label) {
    let bytes = i32::from(header_bytes + PORTS_BYTES);
    code.mov(R1, R6).mov(R2, ETHERNET_BYTES);
    address(code, R3, PACKET).mov(R4, bytes).call(Helper::SkbLoadBytes);
    code.jump_if(If::NotEqual, R0, 0, leave);
}

/// That it is TCP or UDP, and may be passed on. Its protocol is part of the key.
fn is_of_a_flow_with_a_hop_left(code: &mut Code, (protocol, hops): (usize, usize), leave: Label) {
    let is_one = code.label();
    code.load(Size::Byte, R1, R10, PACKET + at(protocol));
    code.store(Size::Byte, R10, PROTOCOL_IN_KEY, R1).jump_if(If::Equal, R1, TCP, is_one);
    code.jump_if(If::NotEqual, R1, UDP, leave).place(is_one);
    code.load(Size::Byte, R1, R10, PACKET + at(hops)).jump_if(If::AtMost, R1, 1, leave);
}

/// That a packet which says that it is of `R1` bytes has at least those of UDP's header behind its own, and is all in the
/// frame. How many are behind its own is noted.
fn fits(code: &mut Code, header_bytes: i16, leave: Label) {
    code.jump_if(If::Below, R1, i32::from(header_bytes + UDP_BYTES), leave);
    code.load(Size::Word, R2, R6, LEN).alu(Alu::Sub, R2, ETHERNET_BYTES);
    code.jump_if(If::Above, R1, R2, leave);
    code.alu(Alu::Sub, R1, i32::from(header_bytes)).store(Size::Word, R10, PEEK, R1);
}

/// Reads what is to be known of a segment, if it is one.
fn read_segment(code: &mut Code, header_bytes: i16, leave: Label) {
    let is_none = code.label();
    code.load(Size::Byte, R1, R10, PROTOCOL_IN_KEY).jump_if(If::NotEqual, R1, TCP, is_none);
    code.load(Size::Word, R1, R10, PEEK);
    segments::read(code, header_bytes, leave);
    code.place(is_none);
}

/// That the checksum of an IPv4 header is right (RFC 1071).
fn check_header(code: &mut Code, leave: Label) {
    code.mov(R1, 0);
    for word in (0..IPV4_BYTES).step_by(2) {
        code.load(Size::Half, R2, R10, PACKET + word).alu(Alu::Add, R1, R2);
    }
    fold(code);
    fold(code);
    code.jump_if(If::NotEqual, R1, 0xffff, leave);
}

/// Adds what is above the lower 16 bits of `R1` to these.
fn fold(code: &mut Code) {
    code.mov(R2, R1).alu(Alu::ShiftRight, R2, 16);
    code.alu(Alu::And, R1, 0xffff).alu(Alu::Add, R1, R2);
}

/// Copies bytes of the stack.
fn copy(code: &mut Code, size: Size, (from, to): (i16, i16), bytes: i16) {
    let step = if size == Size::Double { 8 } else { 4 };
    for at in (0..bytes).step_by(step) {
        code.load(size, R1, R10, from + at).store(size, R10, to + at, R1);
    }
}

/// Rewrites the packet in the frame `R6` as the entry `R8` says.
pub(super) fn rewrite(code: &mut Code, end: Label) {
    let (v6, done) = (code.label(), code.label());
    code.load(Size::Half, R7, R8, IS_TCP);
    code.load(Size::Half, R1, R8, IS_IPV6).jump_if(If::NotEqual, R1, 0, v6);
    rewrite_v4(code, end);
    code.jump(done).place(v6);
    rewrite_v6(code, end);
    code.place(done);
}

fn rewrite_v4(code: &mut Code, end: Label) {
    update_checksum(code, IPV4_BYTES, end);
    load_frame(code, IPV4_BYTES, end);
    take_a_hop(code, ipv4::TTL);
    let checksum = IP + at(ipv4::CHECKSUM);
    code.load(Size::Half, R1, R10, checksum).alu(Alu::Xor, R1, 0xffff);
    code.load(Size::Word, R2, R8, HEADER).alu(Alu::Add, R1, R2);
    fold(code);
    code.alu(Alu::Xor, R1, 0xffff).store(Size::Half, R10, checksum, R1);
    write(code, Size::Word, (ADDRESSES, IP + at(ipv4::ADDRESSES.start)), 8);
    store_frame(code, IPV4_BYTES, end);
}

fn rewrite_v6(code: &mut Code, end: Label) {
    update_checksum(code, IPV6_BYTES, end);
    load_frame(code, IPV6_BYTES, end);
    take_a_hop(code, ipv6::HOP_LIMIT);
    write(code, Size::Double, (ADDRESSES, IP + at(ipv6::ADDRESSES.start)), 32);
    store_frame(code, IPV6_BYTES, end);
    // Where a device has summed up the whole packet. The kernel took off what the header of IPv4 would have made up for.
    code.mov(R1, R6).load(Size::Word, R2, R8, HEADER).call(Helper::CsumUpdate);
}

/// Changes the checksum by what the addresses and the ports change it by. `R7` says whether it is that of TCP.
fn update_checksum(code: &mut Code, header_bytes: i16, end: Label) {
    let (tcp, done) = (code.label(), code.label());
    code.jump_if(If::NotEqual, R7, 0, tcp);
    update_datagram(code, header_bytes, (done, end));
    code.jump(done).place(tcp);
    change_checksum(code, header_bytes + at(tcp::CHECKSUM), 0, end);
    code.place(done);
}

/// The same of a datagram. The kernel's function goes by whether a checksum of the frame is half done. That may be one of a packet
/// inside a tunnel, and the tunnel's own is finished then (`Documentation/networking/checksum-offloads.rst`, LCO). So the
/// function is left those that look half done: the sum of the pseudo-header, and nothing else.
fn update_datagram(code: &mut Code, header_bytes: i16, (done, end): (Label, Label)) {
    const SUM: i16 = PEEK + 2;
    let half_done = code.label();
    code.load(Size::Word, R1, R8, PSEUDO).load(Size::Word, R2, R8, OWN).alu(Alu::Or, R1, R2);
    code.jump_if(If::Equal, R1, 0, done);
    code.mov(R1, R6).mov(R2, ETHERNET_BYTES + i32::from(header_bytes + at(udp::LENGTH)));
    address(code, R3, PEEK).mov(R4, 4).call(Helper::SkbLoadBytes);
    code.jump_if(If::NotEqual, R0, 0, end);
    code.load(Size::Half, R9, R10, SUM).jump_if(If::Equal, R9, 0, done);
    code.load(Size::Half, R1, R10, PEEK).load(Size::Word, R2, R8, BEFORE).alu(Alu::Add, R1, R2);
    fold(code);
    code.jump_if(If::Equal, R1, R9, half_done);
    change_finished(code, header_bytes + at(udp::CHECKSUM), end);
    code.jump(done).place(half_done);
    change_checksum(code, header_bytes + at(udp::CHECKSUM), UDP_CHECKSUM, end);
}

/// Changes the finished checksum `R9` that is there behind the Ethernet header (RFC 1624).
fn change_finished(code: &mut Code, checksum: i16, end: Label) {
    let stays = code.label();
    code.mov(R1, R9).alu(Alu::Xor, R1, 0xffff);
    for change in [PSEUDO, OWN] {
        code.load(Size::Word, R2, R8, change).alu(Alu::Add, R1, R2);
    }
    fold(code);
    fold(code);
    // 0 is no checksum (RFC 768).
    code.jump_if(If::Equal, R1, 0xffff, stays).alu(Alu::Xor, R1, 0xffff).place(stays);
    code.store(Size::Half, R10, PEEK, R1).mov(R1, R6);
    code.mov(R2, ETHERNET_BYTES + i32::from(checksum));
    address(code, R3, PEEK).mov(R4, 2).mov(R5, 0).call(Helper::SkbStoreBytes);
    code.jump_if(If::NotEqual, R0, 0, end);
    // What a device has summed up changes by what only the pseudo-header does not make up for.
    code.mov(R1, R6).load(Size::Word, R2, R8, PSEUDO).alu(Alu::Xor, R2, 0xffff);
    code.call(Helper::CsumUpdate);
}

/// The same of the checksum there behind the Ethernet header, which is of that kind.
fn change_checksum(code: &mut Code, checksum: i16, kind: i32, end: Label) {
    let checksum = ETHERNET_BYTES + i32::from(checksum);
    for (change, flags) in [(PSEUDO, PSEUDO_HEADER | kind), (OWN, kind)] {
        let same = code.label();
        code.load(Size::Word, R4, R8, change).jump_if(If::Equal, R4, 0, same);
        code.mov(R1, R6).mov(R2, checksum).mov(R3, 0).mov(R5, flags).call(Helper::L4CsumReplace);
        code.jump_if(If::NotEqual, R0, 0, end).place(same);
    }
}

/// The frame up to its ports, on the stack.
fn load_frame(code: &mut Code, header_bytes: i16, end: Label) {
    code.mov(R1, R6).mov(R2, 0);
    address(code, R3, FRAME).mov(R4, frame_bytes(header_bytes)).call(Helper::SkbLoadBytes);
    code.jump_if(If::NotEqual, R0, 0, end);
}

/// Writes stations and ports, and the frame back from the stack.
fn store_frame(code: &mut Code, header_bytes: i16, end: Label) {
    write(code, Size::Half, (0, FRAME), 12);
    write(code, Size::Word, (PORTS, IP + header_bytes), PORTS_BYTES);
    code.mov(R1, R6).mov(R2, 0);
    address(code, R3, FRAME).mov(R4, frame_bytes(header_bytes));
    code.mov(R5, INVALIDATE_HASH).call(Helper::SkbStoreBytes);
    code.jump_if(If::NotEqual, R0, 0, end);
}

fn frame_bytes(header_bytes: i16) -> i32 {
    ETHERNET_BYTES + i32::from(header_bytes + PORTS_BYTES)
}

fn take_a_hop(code: &mut Code, hops: usize) {
    let hops = IP + at(hops);
    code.load(Size::Byte, R1, R10, hops).alu(Alu::Sub, R1, 1).store(Size::Byte, R10, hops, R1);
}

/// Writes bytes of the entry to the stack.
fn write(code: &mut Code, size: Size, (from, to): (i16, i16), bytes: i16) {
    let step = match size {
        Size::Double => 8,
        Size::Word => 4,
        _ => 2,
    };
    for at in (0..bytes).step_by(step) {
        code.load(size, R1, R8, from + at).store(size, R10, to + at, R1);
    }
}
