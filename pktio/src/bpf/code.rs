//! [`Code`]: eBPF instructions, written one by one (`Documentation/bpf/standardization/instruction-set.rst`).
//!
//! Pure: nothing here speaks with the kernel, whose verifier judges the result.

use std::os::fd::{AsFd, AsRawFd};

use super::{Helper, Map};

/// One instruction (`struct bpf_insn`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    code: u8,
    /// Destination register in the lower four bits, source in the upper.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// A register. `R0` has results; `R1` to `R5` have arguments and are lost with every call; `R6` to `R9` stay; `R10` is
/// the end of the stack, and only read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Reg {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
}

/// The second operand of an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// A register.
    Reg(Reg),
    /// A number, sign-extended to 64 bits.
    Imm(i32),
}

impl From<Reg> for Operand {
    fn from(reg: Reg) -> Self {
        Self::Reg(reg)
    }
}

impl From<i32> for Operand {
    fn from(number: i32) -> Self {
        Self::Imm(number)
    }
}

impl Operand {
    /// The source bit of the code, the source register and the number.
    fn parts(self) -> (u8, u8, i32) {
        match self {
            Self::Reg(reg) => (0x08, reg as u8, 0),
            Self::Imm(number) => (0, 0, number),
        }
    }
}

/// How much is loaded or stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Size {
    /// 8 bits.
    Byte = 0x10,
    /// 16 bits.
    Half = 0x08,
    /// 32 bits.
    Word = 0x00,
    /// 64 bits.
    Double = 0x18,
}

/// Arithmetic on 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Alu {
    Add = 0x00,
    Sub = 0x10,
    Mul = 0x20,
    Div = 0x30,
    Or = 0x40,
    And = 0x50,
    ShiftLeft = 0x60,
    ShiftRight = 0x70,
    Mod = 0x90,
    Xor = 0xa0,
    Mov = 0xb0,
    /// To the right, with copies of the sign.
    ShiftSigned = 0xc0,
}

/// When a jump is taken; numbers are compared as unsigned ones of 64 bits, unless it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum If {
    /// Equal.
    Equal = 0x10,
    /// Not equal.
    NotEqual = 0x50,
    /// Above.
    Above = 0x20,
    /// Above or equal.
    AtLeast = 0x30,
    /// Below.
    Below = 0xa0,
    /// Below or equal.
    AtMost = 0xb0,
    /// They have a bit in common.
    AnyBit = 0x40,
    /// Greater, as numbers with a sign.
    Greater = 0x60,
    /// Greater or equal, as numbers with a sign.
    NotLess = 0x70,
}

/// A place to jump to. Made by [`Code::label`], put somewhere by [`Code::place`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label(usize);

/// Why code cannot be a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// A label is jumped to that was put nowhere.
    #[error("instruction {at} jumps to a label that was put nowhere")]
    NoSuchPlace {
        /// The instruction's number.
        at: usize,
    },
    /// A jump leads further than its 16 bits say.
    #[error("instruction {at} jumps further than 32 767 instructions")]
    TooFar {
        /// The instruction's number.
        at: usize,
    },
}

/// A program in the making.
#[derive(Debug, Clone, Default)]
pub struct Code {
    instructions: Vec<Instruction>,
    /// Where each label was put.
    places: Vec<Option<usize>>,
    /// Jumps, and the labels that they lead to.
    jumps: Vec<(usize, Label)>,
}

impl Code {
    /// No instruction yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn push(&mut self, code: u8, registers: (u8, u8), offset: i16, immediate: i32) -> &mut Self {
        let registers = registers.0 | registers.1 << 4;
        self.instructions.push(Instruction { code, registers, offset, immediate });
        self
    }

    /// `to = from`.
    pub fn mov(&mut self, to: Reg, from: impl Into<Operand>) -> &mut Self {
        self.alu(Alu::Mov, to, from)
    }

    /// `to = to op by`, on 64 bits.
    pub fn alu(&mut self, op: Alu, to: Reg, by: impl Into<Operand>) -> &mut Self {
        let (source, reg, number) = by.into().parts();
        self.push(0x07 | source | op as u8, (to as u8, reg), 0, number)
    }

    /// Turns the lower 16, 32 or 64 bits of a register from network into host order or back; what is above them is zero.
    pub fn swap(&mut self, reg: Reg, bits: i32) -> &mut Self {
        self.push(0xdc, (reg as u8, 0), 0, bits)
    }

    /// `to = *(size *)(base + offset)`.
    pub fn load(&mut self, size: Size, to: Reg, base: Reg, offset: i16) -> &mut Self {
        self.push(0x61 | size as u8, (to as u8, base as u8), offset, 0)
    }

    /// `*(size *)(base + offset) = from`.
    pub fn store(
        &mut self,
        size: Size,
        base: Reg,
        offset: i16,
        from: impl Into<Operand>,
    ) -> &mut Self {
        let (source, reg, number) = from.into().parts();
        let class = if source == 0 { 0x62 } else { 0x63 };
        self.push(class | size as u8, (base as u8, reg), offset, number)
    }

    /// `*(u64 *)(base + offset) += by`, atomically.
    pub fn count(&mut self, base: Reg, offset: i16, by: Reg) -> &mut Self {
        self.push(0xdb, (base as u8, by as u8), offset, 0)
    }

    /// If `*(u64 *)(base + offset)` is `r0`, it becomes `new`, atomically; `r0` = what it was.
    pub fn compare_exchange(&mut self, base: Reg, offset: i16, new: Reg) -> &mut Self {
        const COMPARE_EXCHANGE: i32 = 0xf1;
        self.push(0xdb, (base as u8, new as u8), offset, COMPARE_EXCHANGE)
    }

    /// `to = map`, for the helpers that want one.
    pub fn map(&mut self, to: Reg, map: &Map) -> &mut Self {
        const PSEUDO_MAP_FD: u8 = 1;
        self.push(0x18, (to as u8, PSEUDO_MAP_FD), 0, map.as_fd().as_raw_fd());
        self.push(0, (0, 0), 0, 0)
    }

    /// Calls a function of the kernel.
    pub fn call(&mut self, helper: Helper) -> &mut Self {
        self.push(0x85, (0, 0), 0, helper as i32)
    }

    /// `return r0`.
    pub fn exit(&mut self) -> &mut Self {
        self.push(0x95, (0, 0), 0, 0)
    }

    /// A label that is put nowhere yet.
    pub fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    /// Puts a label in front of the next instruction.
    pub fn place(&mut self, label: Label) -> &mut Self {
        self.places[label.0] = Some(self.instructions.len());
        self
    }

    /// Goes on at a label.
    pub fn jump(&mut self, to: Label) -> &mut Self {
        self.jumps.push((self.instructions.len(), to));
        self.push(0x05, (0, 0), 0, 0)
    }

    /// Goes on at a label if the comparison is true.
    pub fn jump_if(
        &mut self,
        condition: If,
        left: Reg,
        right: impl Into<Operand>,
        to: Label,
    ) -> &mut Self {
        let (source, reg, number) = right.into().parts();
        self.jumps.push((self.instructions.len(), to));
        self.push(0x05 | source | condition as u8, (left as u8, reg), 0, number)
    }

    /// The instructions, with all jumps knowing where they lead.
    ///
    /// # Errors
    /// [`CodeError`].
    pub fn finish(mut self) -> Result<Vec<Instruction>, CodeError> {
        for (at, label) in self.jumps {
            let place = self.places.get(label.0).copied().flatten();
            let place = place.ok_or(CodeError::NoSuchPlace { at })?;
            let offset = i64::try_from(place).unwrap_or(i64::MAX)
                - i64::try_from(at + 1).unwrap_or(i64::MAX);
            self.instructions[at].offset =
                i16::try_from(offset).map_err(|_| CodeError::TooFar { at })?;
        }
        Ok(self.instructions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_as_the_instruction_set_has_them() {
        let mut code = Code::new();
        code.mov(Reg::R0, 2).mov(Reg::R6, Reg::R1).alu(Alu::And, Reg::R2, 0xff);
        code.load(Size::Word, Reg::R2, Reg::R1, 16).store(Size::Byte, Reg::R10, -8, 7);
        code.store(Size::Double, Reg::R10, -16, Reg::R3)
            .swap(Reg::R4, 16)
            .call(Helper::RedirectMap)
            .exit();
        let bytes =
            |code, registers, offset, immediate| Instruction { code, registers, offset, immediate };
        assert_eq!(
            code.finish().unwrap(),
            [
                bytes(0xb7, 0x00, 0, 2),
                bytes(0xbf, 0x16, 0, 0),
                bytes(0x57, 0x02, 0, 0xff),
                bytes(0x61, 0x12, 16, 0),
                bytes(0x72, 0x0a, -8, 7),
                bytes(0x7b, 0x3a, -16, 0),
                bytes(0xdc, 0x04, 0, 16),
                bytes(0x85, 0x00, 0, 51),
                bytes(0x95, 0x00, 0, 0),
            ]
        );
    }

    #[test]
    fn jumps_lead_to_their_labels_forwards_and_backwards() {
        let mut code = Code::new();
        let (back, end) = (code.label(), code.label());
        code.place(back).jump_if(If::Above, Reg::R1, Reg::R2, end).jump(back).place(end).exit();
        let offsets: Vec<_> =
            code.finish().unwrap().iter().map(|instruction| instruction.offset).collect();
        assert_eq!(offsets, [1, -2, 0]);
    }

    #[test]
    fn a_jump_to_nowhere_and_one_too_far_are_refused() {
        let mut code = Code::new();
        let nowhere = code.label();
        code.jump(nowhere);
        assert_eq!(code.clone().finish(), Err(CodeError::NoSuchPlace { at: 0 }));
        for _ in 0..32_768 {
            code.exit();
        }
        code.place(nowhere);
        assert_eq!(code.finish(), Err(CodeError::TooFar { at: 0 }));
    }
}
