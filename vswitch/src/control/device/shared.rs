//! Interfaces that stay the host's, and from which only what is the switch's is taken.

use std::sync::Arc;

use ctl::{IfName, NetdevMode};
use hostnet::{Link, Netlink};
use pktio::buffer::Memory;
use pktio::packet::PacketPort;
use pktio::shared::{Questions, SharedPort, Sharing};
use pktio::wire::MacAddr;
use pktio::xdp;

use super::{Facts, Home, OpenDevice, OpenError, Queues, check_fit, facts_of, host_stack};

/// Shares an interface of the calling thread's namespace with the host, and leaves it as it is.
pub(super) fn open(
    device: &IfName,
    mode: NetdevMode,
    home: Home,
    questions: &Arc<Questions>,
) -> Result<OpenDevice, OpenError> {
    let link = Netlink::open()?.link(device.as_str())?;
    check_fit(device, &link)?;
    let no_mac = OpenError::Unfit { device: device.clone(), why: "it is no Ethernet interface" };
    let sharing = Arc::new(Sharing::new(MacAddr(link.mac.ok_or(no_mac)?))?);
    let (queues, facts) = match mode {
        NetdevMode::Xdp => open_xdp(&link, home.memory, &sharing, questions)?,
        NetdevMode::Auto | NetdevMode::Gso => open_packet(&link, &sharing, questions)?,
    };
    let home = facts.is_bound.then_some(home.worker);
    // It is the host's, whatever it is, and does not go with a container.
    let gate = Err("the host keeps the interface".into());
    let mut facts = Facts { sharing: Some(sharing), is_veth: false, gate, ..facts };
    facts.heed(&link);
    Ok(OpenDevice { queues, facts, home })
}

fn open_packet(
    link: &Link,
    sharing: &Sharing,
    questions: &Arc<Questions>,
) -> Result<(Queues, Facts), OpenError> {
    let port = PacketPort::open_shared(link.index, sharing)?;
    let offloads = ["checksum", "tcp4-segmentation", "tcp6-segmentation", "udp-segmentation"];
    let facts = Facts {
        mode: "gso, shared with the host".to_owned(),
        offloads: offloads.map(str::to_owned).to_vec(),
        notes: vec![host_stack(&port)],
        ..facts_of(link)
    };
    Ok((vec![shared(port, link, questions)], facts))
}

fn open_xdp(
    link: &Link,
    memory: Memory,
    sharing: &Sharing,
    questions: &Arc<Questions>,
) -> Result<(Queues, Facts), OpenError> {
    let ports = xdp::open_shared(link.index, link.rx_queues, memory, sharing)?;
    let facts = Facts {
        mode: "xdp, shared with the host".to_owned(),
        offloads: vec!["checksum".to_owned()],
        notes: vec![
            "the host keeps the interface; an XDP program takes what is the switch's".to_owned(),
        ],
        is_bound: true,
        ..facts_of(link)
    };
    Ok((ports.into_iter().map(|port| shared(port, link, questions)).collect(), facts))
}

fn shared(
    port: impl pktio::Port + 'static,
    link: &Link,
    questions: &Arc<Questions>,
) -> Box<dyn pktio::Port> {
    Box::new(SharedPort::new(port, link.index, Arc::clone(questions)))
}
