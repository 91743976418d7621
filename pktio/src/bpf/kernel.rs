//! What programs call, and what they return: the kernel's numbers (`linux/bpf.h`).

/// A function of the kernel that programs call (`enum bpf_func_id`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
#[allow(missing_docs)]
pub enum Helper {
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    KtimeGetNs = 5,
    SkbStoreBytes = 9,
    L4CsumReplace = 11,
    SkbLoadBytes = 26,
    SkbChangeType = 32,
    CsumUpdate = 40,
    RedirectMap = 51,
    SkRelease = 86,
    SkAssign = 124,
    RedirectPeer = 155,
    KtimeGetCoarseNs = 160,
    XdpLoadBytes = 189,
}

/// What a program at tcx returns for the next one to decide (`TCX_NEXT`).
pub const TCX_NEXT: i32 = -1;
/// What a program at tcx drops a frame by (`TCX_DROP`).
pub const TCX_DROP: i32 = 2;
/// What an XDP program leaves a frame to the host by (`XDP_PASS`).
pub(crate) const XDP_PASS: i32 = 2;
/// The socket that was assigned has it or, if none was, whichever the kernel finds (`SK_PASS`).
pub(super) const SK_PASS: i32 = 1;
