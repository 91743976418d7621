//! What [`Claims::take`](super::Claims::take) says, as instructions.
//!
//! ```text
//!   R6  the context              R7  where the header in question begins
//!   R8  1 for IPv4, 0 for IPv6   R9  what part of a datagram the packet is: 0 whole, 1 first, 2 later
//! ```
//!
//! Packets are read by copying pieces to the stack, which the helpers of all kinds of programs can do, however a packet lies
//! in memory.

use super::claims::{FRAGMENTS_NS, MAX_EXTENSIONS, REPLIES, V6_REPLIES};
use crate::bpf::code::Reg::{R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10};
use crate::bpf::code::{Alu, Code, If, Label, Size};
use crate::bpf::{Helper, Map, ProgramKind};
use crate::wire::ETHERNET_BYTES;
use crate::wire::field::{ethertype, icmp, ipv4, ipv6, protocol};

/// `offsetof(struct __sk_buff, vlan_present)`.
const VLAN_PRESENT: i16 = 20;

/// Where things are on the stack, counted from its end.
mod at {
    /// A header, up to 40 bytes.
    pub(super) const HEADER: i16 = -40;
    /// The key of the claims: address 16, protocol 1, zero 3.
    pub(super) const CLAIM: i16 = -64;
    pub(super) const CLAIM_PROTOCOL: i16 = CLAIM + 16;
    /// The key of fragments: source 16, destination 16, identification 4, protocol 1, zero 3.
    pub(super) const DATAGRAM: i16 = -104;
    pub(super) const DATAGRAM_ID: i16 = DATAGRAM + 32;
    pub(super) const DATAGRAM_PROTOCOL: i16 = DATAGRAM + 36;
    /// A number: the key of the station, a time.
    pub(super) const NUMBER: i16 = -112;
}

/// The maps that are looked into.
#[derive(Debug, Clone, Copy)]
pub(super) struct Maps<'a> {
    pub(super) claims: &'a Map,
    pub(super) fragments: &'a Map,
    pub(super) station: &'a Map,
}

/// Which of a packet's addresses it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Destination,
    Source,
}

/// The decision: goes on behind the code with the packet that is claimed, and to `pass` with every other. The context is
/// in `R6` then.
pub(super) fn decide(code: &mut Code, kind: ProgramKind, maps: Maps<'_>, pass: Label) {
    let mut writer = Writer { code, kind, maps, pass };
    writer.ethernet();
    let (ipv6, known, taken) = (writer.code.label(), writer.code.label(), writer.code.label());
    writer.code.mov(R7, bytes(ETHERNET_BYTES)).mov(R9, 0);
    writer.code.jump_if(If::Equal, R8, 0, ipv6);
    writer.v4(Side::Destination);
    writer.code.jump(known).place(ipv6);
    writer.v6(Side::Destination);
    writer.code.place(known);
    let not_later = writer.code.label();
    writer.code.jump_if(If::NotEqual, R9, 2, not_later);
    writer.later_fragment(taken);
    writer.code.place(not_later);
    let refused = writer.code.label();
    writer.transport(refused);
    // Claimed, or not; a first fragment speaks for those that follow.
    writer.code.jump_if(If::Equal, R9, 0, taken);
    writer.remember();
    writer.code.jump(taken);
    writer.code.place(refused).jump_if(If::Equal, R9, 0, pass);
    writer.forget();
    writer.code.jump(pass);
    writer.code.place(taken);
}

struct Writer<'a, 'm> {
    code: &'a mut Code,
    kind: ProgramKind,
    maps: Maps<'m>,
    pass: Label,
}

impl Writer<'_, '_> {
    /// Copies `count` bytes from `R7 + offset` to the stack; to `failed` if they are not there.
    fn read(&mut self, offset: i32, to: i16, count: i32, failed: Label) {
        let helper = match self.kind {
            ProgramKind::Xdp => Helper::XdpLoadBytes,
            _ => Helper::SkbLoadBytes,
        };
        self.code.mov(R1, R6).mov(R2, R7).alu(Alu::Add, R2, offset);
        self.point(R3, to).mov(R4, count).call(helper);
        self.code.jump_if(If::NotEqual, R0, 0, failed);
    }

    /// `reg = &stack[at]`.
    fn point(&mut self, reg: crate::bpf::code::Reg, at: i16) -> &mut Code {
        self.code.mov(reg, R10).alu(Alu::Add, reg, i32::from(at))
    }

    /// `R0 = lookup(map, key)`.
    fn lookup(&mut self, map: &Map, key: i16) {
        self.point(R2, key);
        self.code.map(R1, map).call(Helper::MapLookup);
    }

    /// Frames to the interface itself, without a tag, of IP. `R8` says which.
    fn ethernet(&mut self) {
        let (pass, is_ip) = (self.pass, self.code.label());
        self.code.mov(R6, R1).mov(R7, 0);
        if self.kind != ProgramKind::Xdp {
            self.code.load(Size::Word, R1, R6, VLAN_PRESENT).jump_if(If::NotEqual, R1, 0, pass);
        }
        self.read(0, at::HEADER, bytes(ETHERNET_BYTES), pass);
        self.code.store(Size::Word, R10, at::NUMBER, 0);
        self.lookup(self.maps.station, at::NUMBER);
        self.code.jump_if(If::Equal, R0, 0, pass);
        for (size, offset) in [(Size::Word, 0), (Size::Half, 4)] {
            self.code.load(size, R1, R0, offset).load(size, R2, R10, at::HEADER + offset);
            self.code.jump_if(If::NotEqual, R1, R2, pass);
        }
        self.code.load(Size::Half, R1, R10, at::HEADER + 12).swap(R1, 16);
        self.code.mov(R8, 1).jump_if(If::Equal, R1, i32::from(ethertype::IPV4), is_ip);
        self.code.mov(R8, 0).jump_if(If::NotEqual, R1, i32::from(ethertype::IPV6), pass);
        self.code.place(is_ip);
    }

    /// Copies words of the header to the stack.
    fn copy(&mut self, from: usize, to: i16, words: i16) {
        for word in 0..words {
            self.code.load(Size::Word, R1, R10, at::HEADER + offset(from) + word * 4);
            self.code.store(Size::Word, R10, to + word * 4, R1);
        }
    }

    /// An IPv4 address as IPv6 has it (RFC 4291, section 2.5.5.2).
    fn copy_mapped(&mut self, from: usize, to: i16) {
        self.code.store(Size::Double, R10, to, 0);
        self.code.mov(R1, 0xffff).swap(R1, 32).store(Size::Word, R10, to + 8, R1);
        self.copy(from, to + 12, 1);
    }

    fn v4(&mut self, side: Side) {
        let (pass, source) = (self.pass, ipv4::ADDRESSES.start);
        self.read(0, at::HEADER, bytes(ipv4::MIN_BYTES), pass);
        self.code.load(Size::Byte, R2, R10, at::HEADER).mov(R1, R2).alu(Alu::ShiftRight, R1, 4);
        self.code.jump_if(If::NotEqual, R1, 4, pass);
        self.code.alu(Alu::And, R2, 0x0f).alu(Alu::ShiftLeft, R2, 2);
        self.code.jump_if(If::Below, R2, bytes(ipv4::MIN_BYTES), pass).alu(Alu::Add, R7, R2);
        self.code.load(Size::Half, R1, R10, at::HEADER + offset(ipv4::FRAGMENT)).swap(R1, 16);
        self.part(i32::from(ipv4::OFFSET), i32::from(ipv4::FRAGMENTED), side);
        self.code.load(Size::Byte, R5, R10, at::HEADER + offset(ipv4::PROTOCOL));
        self.code.store(Size::Word, R10, at::CLAIM_PROTOCOL, 0);
        self.code.store(Size::Byte, R10, at::CLAIM_PROTOCOL, R5);
        if side == Side::Source {
            return self.copy_mapped(source, at::CLAIM);
        }
        self.copy_mapped(source + 4, at::CLAIM);
        self.copy_mapped(source, at::DATAGRAM);
        self.copy_mapped(source + 4, at::DATAGRAM + 16);
        self.code.load(Size::Half, R1, R10, at::HEADER + offset(ipv4::ID)).swap(R1, 16);
        self.code.store(Size::Word, R10, at::DATAGRAM_ID, R1);
        self.code.store(Size::Word, R10, at::DATAGRAM_PROTOCOL, 0);
        self.code.store(Size::Byte, R10, at::DATAGRAM_PROTOCOL, R5);
    }

    /// `R9`, from the fragment field in `R1`. Of a quoted packet only whether it is a later fragment matters, and that of
    /// the packet around it stays: a later one is not claimed.
    fn part(&mut self, offset: i32, fragmented: i32, side: Side) {
        let (first, end) = (self.code.label(), self.code.label());
        if side == Side::Source {
            self.code.alu(Alu::And, R1, offset).jump_if(If::NotEqual, R1, 0, self.pass);
            return;
        }
        self.code.jump_if(If::AnyBit, R1, fragmented, first).mov(R9, 0).jump(end);
        self.code.place(first).mov(R9, 1).alu(Alu::And, R1, offset);
        self.code.jump_if(If::Equal, R1, 0, end).mov(R9, 2).place(end);
    }

    fn v6(&mut self, side: Side) {
        let (pass, end, source) = (self.pass, self.code.label(), ipv6::ADDRESSES.start);
        self.read(0, at::HEADER, bytes(ipv6::BYTES), pass);
        self.code.load(Size::Byte, R1, R10, at::HEADER).alu(Alu::ShiftRight, R1, 4);
        self.code.jump_if(If::NotEqual, R1, 6, pass);
        self.code.alu(Alu::Add, R7, bytes(ipv6::BYTES));
        self.code.load(Size::Byte, R5, R10, at::HEADER + offset(ipv6::NEXT_HEADER));
        let (claimed, datagram) = match side {
            Side::Source => (source, false),
            Side::Destination => (source + 16, true),
        };
        self.copy(claimed, at::CLAIM, 4);
        self.code.store(Size::Word, R10, at::CLAIM_PROTOCOL, 0);
        self.code.store(Size::Byte, R10, at::CLAIM_PROTOCOL, R5);
        if datagram {
            self.copy(source, at::DATAGRAM, 4);
            self.copy(source + 16, at::DATAGRAM + 16, 4);
            self.code.store(Size::Word, R10, at::DATAGRAM_ID, 0);
            self.code.store(Size::Word, R10, at::DATAGRAM_PROTOCOL, 0);
        }
        for _ in 0..MAX_EXTENSIONS {
            self.extension(side, end);
        }
        self.code.place(end);
        if datagram {
            self.code.load(Size::Byte, R1, R10, at::CLAIM_PROTOCOL);
            self.code.store(Size::Byte, R10, at::DATAGRAM_PROTOCOL, R1);
        }
    }

    /// Goes over one extension header; to `end` if there is none.
    fn extension(&mut self, side: Side, end: Label) {
        let (pass, other, next) = (self.pass, self.code.label(), self.code.label());
        self.code.load(Size::Byte, R1, R10, at::CLAIM_PROTOCOL);
        for number in [protocol::HOP_BY_HOP, protocol::ROUTING, protocol::DESTINATION] {
            self.code.jump_if(If::Equal, R1, i32::from(number), other);
        }
        self.code.jump_if(If::NotEqual, R1, i32::from(protocol::FRAGMENT), end);
        self.read(0, at::HEADER, 8, pass);
        self.code.load(Size::Byte, R1, R10, at::HEADER);
        self.code.store(Size::Byte, R10, at::CLAIM_PROTOCOL, R1).alu(Alu::Add, R7, 8);
        if side == Side::Destination {
            self.code.load(Size::Word, R1, R10, at::HEADER + 4).swap(R1, 32);
            self.code.store(Size::Word, R10, at::DATAGRAM_ID, R1);
        }
        self.code.load(Size::Half, R1, R10, at::HEADER + 2).swap(R1, 16);
        self.part(0xfff8, 0xfff9, side);
        if side == Side::Destination {
            self.code.jump_if(If::Equal, R9, 2, end);
        }
        self.code.jump(next).place(other);
        self.read(0, at::HEADER, 8, pass);
        self.code.load(Size::Byte, R1, R10, at::HEADER);
        self.code.store(Size::Byte, R10, at::CLAIM_PROTOCOL, R1);
        self.code.load(Size::Byte, R1, R10, at::HEADER + 1).alu(Alu::Add, R1, 1);
        self.code.alu(Alu::ShiftLeft, R1, 3).alu(Alu::Add, R7, R1);
        self.code.place(next);
    }

    /// The port that decides; goes on if it is claimed, and otherwise to `refused`.
    fn transport(&mut self, refused: Label) {
        let (ports, quoted, quote_v6, look) =
            (self.code.label(), self.code.label(), self.code.label(), self.code.label());
        let error = self.code.label();
        let id = self.code.label();
        let outer = std::mem::replace(&mut self.pass, refused);
        self.protocol(R5, ports, refused, id);
        self.code.place(ports);
        self.read(0, at::HEADER, 8, refused);
        self.code.load(Size::Half, R5, R10, at::HEADER + 2).jump(look);

        // An ICMP message: a reply, or an error.
        self.code.place(id);
        self.read(0, at::HEADER, bytes(icmp::BYTES), refused);
        self.code.load(Size::Half, R5, R10, at::HEADER + offset(icmp::ID));
        self.code.load(Size::Byte, R1, R10, at::HEADER);
        let v6 = self.code.label();
        self.code.jump_if(If::Equal, R8, 0, v6);
        self.one_of(&REPLIES, look);
        self.one_of(&icmp::ERRORS, error);
        self.code.jump(refused).place(v6);
        self.one_of(&V6_REPLIES, look);
        self.one_of(&icmp::V6_ERRORS, error);
        self.code.jump(refused);

        // The packet that it quotes, by where that came from.
        self.code.place(error).alu(Alu::Add, R7, bytes(icmp::BYTES));
        self.code.jump_if(If::Equal, R8, 0, quote_v6);
        self.v4(Side::Source);
        self.code.jump(quoted).place(quote_v6);
        self.v6(Side::Source);
        self.code.place(quoted);
        let (quoted_ports, quoted_id) = (self.code.label(), self.code.label());
        self.protocol(R5, quoted_ports, refused, quoted_id);
        self.code.place(quoted_ports);
        self.read(0, at::HEADER, 8, refused);
        self.code.load(Size::Half, R5, R10, at::HEADER).jump(look);
        self.code.place(quoted_id);
        self.read(0, at::HEADER, 8, refused);
        self.code.load(Size::Half, R5, R10, at::HEADER + offset(icmp::ID));

        self.code.place(look);
        self.claimed(refused);
        self.pass = outer;
    }

    /// To `ports`, to `id` or to `refused` by the protocol.
    fn protocol(&mut self, reg: crate::bpf::code::Reg, ports: Label, refused: Label, id: Label) {
        self.code.load(Size::Byte, reg, R10, at::CLAIM_PROTOCOL);
        for number in [protocol::TCP, protocol::UDP, protocol::SCTP] {
            self.code.jump_if(If::Equal, reg, i32::from(number), ports);
        }
        // ICMP belongs to IPv4, where R8 is 1, and ICMPv6 to IPv6.
        let v6 = self.code.label();
        self.code.jump_if(If::Equal, R8, 0, v6);
        self.code.jump_if(If::Equal, reg, i32::from(protocol::ICMP), id).jump(refused);
        self.code.place(v6).jump_if(If::Equal, reg, i32::from(protocol::ICMPV6), id);
        self.code.jump(refused);
    }

    /// To `to` if `R1` is one of the numbers.
    fn one_of(&mut self, numbers: &[u8], to: Label) {
        for number in numbers {
            self.code.jump_if(If::Equal, R1, i32::from(*number), to);
        }
    }

    /// Goes on if the port in `R5`, in network order, is in the set of the claim's key, and otherwise to `refused`.
    fn claimed(&mut self, refused: Label) {
        self.code.swap(R5, 16).mov(R7, R5);
        self.lookup(self.maps.claims, at::CLAIM);
        self.code.jump_if(If::Equal, R0, 0, refused);
        self.code.mov(R1, R7).alu(Alu::And, R1, 0xffff).alu(Alu::ShiftRight, R1, 3);
        self.code.alu(Alu::Add, R0, R1).load(Size::Byte, R1, R0, 0);
        self.code.alu(Alu::And, R7, 7).alu(Alu::ShiftRight, R1, R7).alu(Alu::And, R1, 1);
        self.code.jump_if(If::Equal, R1, 0, refused);
    }

    /// To `taken` if the first fragment was, and not long ago.
    fn later_fragment(&mut self, taken: Label) {
        let pass = self.pass;
        self.lookup(self.maps.fragments, at::DATAGRAM);
        self.code.jump_if(If::Equal, R0, 0, pass).load(Size::Double, R7, R0, 0);
        self.code.call(Helper::KtimeGetNs).alu(Alu::Sub, R0, R7);
        // The bound does not fit a number: 30 s in units of 2^10 ns do.
        self.code.alu(Alu::ShiftRight, R0, 10);
        let bound = i32::try_from(FRAGMENTS_NS >> 10).unwrap_or(i32::MAX);
        self.code.jump_if(If::AtMost, R0, bound, taken).jump(pass);
    }

    fn remember(&mut self) {
        self.code.call(Helper::KtimeGetNs).store(Size::Double, R10, at::NUMBER, R0);
        self.point(R2, at::DATAGRAM);
        self.point(R3, at::NUMBER).mov(R4, 0);
        self.code.map(R1, self.maps.fragments).call(Helper::MapUpdate);
    }

    fn forget(&mut self) {
        self.point(R2, at::DATAGRAM);
        self.code.map(R1, self.maps.fragments).call(Helper::MapDelete);
    }
}

/// A length or position of a header, which is small.
fn bytes(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn offset(at: usize) -> i16 {
    i16::try_from(at).unwrap_or(i16::MAX)
}
