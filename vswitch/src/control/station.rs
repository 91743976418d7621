//! The namespace in which the daemon itself is a station of the switch: alone with one interface, and seen by nobody else.
//! It is made when it is first needed, and goes with the daemon. Used by the control thread only.

use std::sync::OnceLock;

use hostnet::{HostError, Netns};

/// The namespace of the daemon's own station.
#[derive(Debug, Default)]
pub struct Station(OnceLock<Netns>);

impl Station {
    /// A handle of the namespace.
    ///
    /// # Errors
    /// [`HostError`], when there cannot be one.
    pub fn namespace(&self) -> Result<Netns, HostError> {
        if let Some(namespace) = self.0.get() {
            return namespace.try_clone();
        }
        let namespace = Netns::create()?;
        self.0.get_or_init(|| namespace).try_clone()
    }
}
