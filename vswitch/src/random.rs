//! Randomness for seeds and addresses.

/// Random bytes of the kernel's. Where it gives none (it always does once it has booted) they are zero,
/// which is a valid, if guessable, value for all uses here.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    bytes
}
