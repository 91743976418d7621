//! Interfaces that stay the host's, and from which only what is the switch's is taken.

use std::sync::Arc;

use ctl::{IfName, NetdevMode};
use hostnet::Netlink;
use pktio::packet::PacketPort;
use pktio::shared::{Questions, SharedPort, Sharing};
use pktio::wire::MacAddr;

use super::{Facts, OpenDevice, OpenError, check_fit, facts_of, host_stack};

/// Shares an interface of the calling thread's namespace with the host, and leaves it as it is.
pub(super) fn open(
    device: &IfName,
    mode: NetdevMode,
    questions: &Arc<Questions>,
) -> Result<OpenDevice, OpenError> {
    let link = Netlink::open()?.link(device.as_str())?;
    check_fit(device, &link)?;
    let unfit = |why| OpenError::Unfit { device: device.clone(), why };
    if mode == NetdevMode::Xdp {
        return Err(unfit("an interface is shared in gso mode; use --mode gso"));
    }
    let mac = link.mac.ok_or_else(|| unfit("it is no Ethernet interface"))?;
    let sharing = Arc::new(Sharing::new(MacAddr(mac))?);
    let port = PacketPort::open_shared(link.index, &sharing)?;
    let offloads = ["checksum", "tcp4-segmentation", "tcp6-segmentation", "udp-segmentation"];
    let facts = Facts {
        mode: "gso, shared with the host".to_owned(),
        offloads: offloads.map(str::to_owned).to_vec(),
        notes: vec![host_stack(&port)],
        sharing: Some(sharing),
        // It is the host's, whatever it is, and does not go with a container.
        is_veth: false,
        ..facts_of(&link)
    };
    let port = SharedPort::new(port, link.index, Arc::clone(questions));
    Ok(OpenDevice { queues: vec![Box::new(port)], facts, home: None })
}
