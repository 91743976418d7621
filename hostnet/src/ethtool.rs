//! Offloads of a device, as `ethtool -k` and `-K` show and set them, in the calling thread's namespace.

use crate::{HostError, sys};

/// An offload that can be switched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Feature {
    /// Checksums of sent frames are left to the device.
    TxChecksum,
    /// The device says which received checksums are right.
    RxChecksum,
    /// Frames may lie in several pieces of memory.
    ScatterGather,
    /// The device cuts TCP super-frames.
    Tso,
    /// The stack keeps super-frames whole until just before the device.
    Gso,
    /// The stack merges received segments.
    Gro,
}

impl Feature {
    /// All features, in an order in which they can be switched on: some need the ones before.
    pub const ALL: [Self; 6] =
        [Self::TxChecksum, Self::RxChecksum, Self::ScatterGather, Self::Tso, Self::Gso, Self::Gro];

    /// The commands that get and set it (linux/ethtool.h).
    fn commands(self) -> (u32, u32) {
        match self {
            Self::RxChecksum => (0x14, 0x15),
            Self::TxChecksum => (0x16, 0x17),
            Self::ScatterGather => (0x18, 0x19),
            Self::Tso => (0x1e, 0x1f),
            Self::Gso => (0x23, 0x24),
            Self::Gro => (0x2b, 0x2c),
        }
    }
}

/// Whether a feature of an interface is on.
///
/// # Errors
/// [`HostError::Device`].
pub fn is_on(interface: &str, feature: Feature) -> Result<bool, HostError> {
    sys::ethtool_value(interface, feature.commands().0, 0).map(|value| value != 0).map_err(
        |source| HostError::Device {
            operation: "read the offloads",
            name: interface.to_owned(),
            source,
        },
    )
}

/// Switches a feature of an interface.
///
/// # Errors
/// [`HostError::Device`], when the device does not have it.
pub fn set(interface: &str, feature: Feature, on: bool) -> Result<(), HostError> {
    sys::ethtool_value(interface, feature.commands().1, u32::from(on)).map(|_| ()).map_err(
        |source| HostError::Device {
            operation: "change the offloads",
            name: interface.to_owned(),
            source,
        },
    )
}

/// Switches every feature of an interface that its device lets be switched. Others stay as the device
/// has them. Without checksums the kernel does not leave TCP or UDP segmentation to the device either.
///
/// # Errors
/// [`HostError::Device`], when the interface is not there, or for want of rights.
pub fn set_all(interface: &str, on: bool) -> Result<(), HostError> {
    let mut features = Feature::ALL;
    if !on {
        features.reverse();
    }
    features.into_iter().try_for_each(|feature| match set(interface, feature, on) {
        Err(HostError::Device { source, .. })
            if source.raw_os_error() == Some(libc::EOPNOTSUPP) =>
        {
            Ok(())
        }
        result => result,
    })
}
