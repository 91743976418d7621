//! [`Label`]: how an endpoint of the daemon says which attachment of which network it is.

use ctl::Owner;

use crate::{Attachment, CniError};

/// The owner of everything that one ADD makes: `cni/NETWORK/CONTAINER/INTERFACE`, the key that the specification
/// gives to plugins with state. None of its parts has a slash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Label<'a> {
    /// The network, by the name in its configuration.
    pub network: &'a str,
    /// The container.
    pub container: &'a str,
    /// The interface in it.
    pub ifname: &'a str,
}

impl<'a> Label<'a> {
    /// The label of an attachment.
    pub fn new(network: &'a str, attachment: &'a Attachment) -> Self {
        let Attachment { container, ifname } = attachment;
        Self { network, container: container.as_str(), ifname: ifname.as_str() }
    }

    /// What an owner says, if it is one of ours.
    pub fn read(owner: &'a Owner) -> Option<Self> {
        let mut parts = owner.as_str().strip_prefix("cni/")?.split('/');
        let (network, container, ifname) = (parts.next()?, parts.next()?, parts.next()?);
        parts.next().is_none().then_some(Self { network, container, ifname })
    }

    /// The owner that says it.
    ///
    /// # Errors
    /// [`CniError::Invalid`], when the names are longer than an owner's may be together.
    pub fn owner(&self) -> Result<Owner, CniError> {
        let Self { network, container, ifname } = self;
        let text = format!("cni/{network}/{container}/{ifname}");
        text.parse().map_err(|error| CniError::invalid("name and CNI_CONTAINERID", error))
    }
}
