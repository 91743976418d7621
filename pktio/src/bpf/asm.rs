//! Writing a program: instructions, and jumps to places that are known later.
//!
//! Source: `Documentation/bpf/standardization/instruction-set.rst` of the kernel.

use std::os::fd::{AsFd, AsRawFd};

use super::Instruction;
use super::map::Map;

/// A register. The first is a call's result, the next five its arguments; calls keep 6 to 9.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reg(u8);

pub(crate) const R0: Reg = Reg(0);
pub(crate) const R1: Reg = Reg(1);
pub(crate) const R2: Reg = Reg(2);
pub(crate) const R3: Reg = Reg(3);
pub(crate) const R4: Reg = Reg(4);
pub(crate) const R5: Reg = Reg(5);
pub(crate) const R6: Reg = Reg(6);
pub(crate) const R7: Reg = Reg(7);
pub(crate) const R8: Reg = Reg(8);
pub(crate) const R9: Reg = Reg(9);
/// The end of the stack; read only.
pub(crate) const FP: Reg = Reg(10);

/// How much is loaded or stored.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Size {
    /// Four bytes.
    Word = 0x00,
    /// Two bytes.
    Half = 0x08,
    /// One byte.
    Byte = 0x10,
    /// Eight bytes.
    Double = 0x18,
}

/// A place that can be jumped to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Label(usize);

/// `BPF_PSEUDO_MAP_FD`.
const PSEUDO_MAP_FD: u8 = 1;

/// A program that is being written.
#[derive(Default)]
pub(crate) struct Assembler {
    code: Vec<Instruction>,
    /// Jumps, and where they lead.
    jumps: Vec<(usize, Label)>,
    /// Where the labels are, once they are placed.
    places: Vec<usize>,
}

impl Assembler {
    fn put(&mut self, code: u8, to: Reg, from: Reg, offset: i16, immediate: i32) {
        self.code.push(Instruction { code, registers: to.0 | from.0 << 4, offset, immediate });
    }

    /// A label, to be placed later.
    pub(crate) fn label(&mut self) -> Label {
        self.places.push(usize::MAX);
        Label(self.places.len() - 1)
    }

    /// What comes next is where the label leads.
    pub(crate) fn place(&mut self, label: Label) {
        self.places[label.0] = self.code.len();
    }

    /// `to = immediate`.
    pub(crate) fn set(&mut self, to: Reg, immediate: i32) {
        self.put(0xb7, to, R0, 0, immediate);
    }

    /// `to = from`.
    pub(crate) fn copy(&mut self, to: Reg, from: Reg) {
        self.put(0xbf, to, from, 0, 0);
    }

    /// `to = to + immediate`.
    pub(crate) fn add(&mut self, to: Reg, immediate: i32) {
        self.put(0x07, to, R0, 0, immediate);
    }

    /// `to = to + from`.
    pub(crate) fn add_reg(&mut self, to: Reg, from: Reg) {
        self.put(0x0f, to, from, 0, 0);
    }

    /// `to = to & immediate`.
    pub(crate) fn and(&mut self, to: Reg, immediate: i32) {
        self.put(0x57, to, R0, 0, immediate);
    }

    /// `to = to << bits`.
    pub(crate) fn shift_left(&mut self, to: Reg, bits: i32) {
        self.put(0x67, to, R0, 0, bits);
    }

    /// `to = to >> bits`.
    pub(crate) fn shift_right(&mut self, to: Reg, bits: i32) {
        self.put(0x77, to, R0, 0, bits);
    }

    /// `to = *(base + offset)`.
    pub(crate) fn load(&mut self, size: Size, to: Reg, (base, offset): (Reg, i16)) {
        self.put(0x61 | size as u8, to, base, offset, 0);
    }

    /// `*(base + offset) = from`.
    pub(crate) fn store(&mut self, size: Size, (base, offset): (Reg, i16), from: Reg) {
        self.put(0x63 | size as u8, base, from, offset, 0);
    }

    /// `*(base + offset) = immediate`.
    pub(crate) fn store_immediate(&mut self, size: Size, (base, offset): (Reg, i16), value: i32) {
        self.put(0x62 | size as u8, base, R0, offset, value);
    }

    /// `*(base + offset) += from`, eight bytes, atomically.
    pub(crate) fn add_atomically(&mut self, (base, offset): (Reg, i16), from: Reg) {
        self.put(0xdb, base, from, offset, 0);
    }

    /// Goes on elsewhere.
    pub(crate) fn jump(&mut self, to: Label) {
        self.branch(0x05, R0, R0, 0, to);
    }

    /// Goes on elsewhere if `a == immediate`.
    pub(crate) fn jump_if_equal(&mut self, a: Reg, immediate: i32, to: Label) {
        self.branch(0x15, a, R0, immediate, to);
    }

    /// Goes on elsewhere if `a != immediate`, of the lower four bytes.
    pub(crate) fn jump_unless_equal(&mut self, a: Reg, immediate: i32, to: Label) {
        self.branch(0x56, a, R0, immediate, to);
    }

    /// Goes on elsewhere if `a > b`, unsigned.
    pub(crate) fn jump_if_greater(&mut self, a: Reg, b: Reg, to: Label) {
        self.branch(0x2d, a, b, 0, to);
    }

    fn branch(&mut self, code: u8, a: Reg, b: Reg, immediate: i32, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.put(code, a, b, 0, immediate);
    }

    /// `to = map`. The program holds the map from when it is loaded.
    pub(crate) fn load_map(&mut self, to: Reg, map: &Map) {
        self.put(0x18, to, Reg(PSEUDO_MAP_FD), 0, map.as_fd().as_raw_fd());
        self.put(0, R0, R0, 0, 0);
    }

    /// `r0 = function(r1, ...)`.
    pub(crate) fn call(&mut self, function: i32) {
        self.put(0x85, R0, R0, 0, function);
    }

    /// `return r0`.
    pub(crate) fn exit(&mut self) {
        self.put(0x95, R0, R0, 0, 0);
    }

    /// The program. A jump whose label was never placed leads nowhere, and the kernel refuses the program.
    pub(crate) fn finish(mut self) -> Vec<Instruction> {
        for (at, label) in self.jumps {
            let distance = self.places[label.0].wrapping_sub(at + 1);
            self.code[at].offset = i16::try_from(distance).unwrap_or(i16::MAX);
        }
        self.code
    }
}
