//! Whether a port that is there is the one that a request describes. What is chosen for a port is no difference, nor where its engine
//! took it.

use super::{difference, list};
use crate::{Egress, Ingress, NetnsRef, Port, PortKind, Tap};

/// In what a port is not as it is asked for.
pub(crate) fn differences(has: &Port, asked: &Port) -> Vec<String> {
    let own = |value: Option<String>| value.unwrap_or_else(|| "the bridge's".to_owned());
    let limit = |port: &Port| own(port.mac_limit.map(|limit| limit.to_string()));
    let mtu = |port: &Port| own(port.mtu.map(|mtu| mtu.to_string()));
    let bridge = difference("bridge", &has.bridge, &asked.bridge);
    let settings = [
        difference("VLANs", &has.vlan, &asked.vlan),
        difference("MTU", mtu(has), mtu(asked)),
        difference("isolated", has.isolated, asked.isolated),
        difference("hairpin", has.hairpin, asked.hairpin),
        difference("MAC limit", limit(has), limit(asked)),
        difference("guard", has.guard, asked.guard),
        difference("egress rate", egress(has.egress), egress(asked.egress)),
        difference("ingress rate", ingress(has.ingress), ingress(asked.ingress)),
        difference("DHCP", has.dhcp, asked.dhcp),
        difference("shared with the host", has.shared, asked.shared),
    ];
    bridge
        .into_iter()
        .chain(of_kind(&has.kind, &asked.kind))
        .chain(settings.into_iter().flatten())
        .collect()
}

fn egress(limit: Option<Egress>) -> String {
    let text = |limit: Egress| format!("{} with {} bytes waiting", limit.rate, limit.queue_bytes());
    limit.map_or("none".to_owned(), text)
}

fn ingress(limit: Option<Ingress>) -> String {
    let text =
        |limit: Ingress| format!("{} with {} bytes at once", limit.rate, limit.burst_bytes());
    limit.map_or("none".to_owned(), text)
}

fn of_kind(has: &PortKind, asked: &PortKind) -> Vec<String> {
    let place =
        |netns: Option<&NetnsRef>| netns.map_or("the daemon's".to_owned(), ToString::to_string);
    let ((in_ns, ifname), (asked_ns, asked_name)) = (has.interface(), asked.interface());
    let is_handed_over = |kind: &PortKind| matches!(kind, PortKind::Tap(tap) if tap.handover);
    let namespace = difference("namespace", place(in_ns), place(asked_ns));
    let namespace = namespace.filter(|_| !is_handed_over(has) || !is_handed_over(asked));
    let place = namespace.into_iter().chain(difference("interface", ifname, asked_name));
    match (has, asked) {
        (PortKind::Tap(has), PortKind::Tap(asked)) => {
            place.chain(of_taps(has, asked).into_iter().flatten()).collect()
        }
        (PortKind::Netdev { mode, .. }, PortKind::Netdev { mode: asked, .. }) => {
            place.chain(difference("mode", mode, asked)).collect()
        }
        (PortKind::Tap(_), PortKind::Netdev { .. }) => {
            vec!["an interface that the switch made, not one that is there without it".to_owned()]
        }
        (PortKind::Netdev { .. }, PortKind::Tap(_)) => {
            vec!["an interface that is there without the switch, not one that it makes".to_owned()]
        }
    }
}

fn of_taps(has: &Tap, asked: &Tap) -> [Option<String>; 6] {
    [
        asked.mac.zip(has.mac).and_then(|(asked, has)| difference("MAC", has, asked)),
        difference("addresses", list(&has.ips), list(&asked.ips)),
        difference("gateways", list(&has.gateways), list(&asked.gateways)),
        difference("routes", list(&has.routes), list(&asked.routes)),
        difference("queues", has.queues, asked.queues),
        difference("handover", has.handover, asked.handover),
    ]
}
