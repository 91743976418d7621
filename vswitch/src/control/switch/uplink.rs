//! Interfaces that are shared with the host: what the switch takes from them, and what it follows of the host.
//!
//! **The order of a change.** What is given up is first given back to the host, then the workers hear of the change, then
//! what is new is taken. So a packet is never taken that the workers do not know: in the microseconds between it is the
//! host's, which refuses what it does not know, as it would have before the change or will after it.

use std::net::IpAddr;
use std::sync::Arc;

use ctl::{BridgeName, Config, HostUplink, MacAddr, PortKind, PortName, PortRange};
use flows::BridgeIndex;
use flows::router::Claim;
use hostnet::{Netlink, Uplink, UplinkEvent};
use pktio::shared::Sharing;
use pktio::wire;

use super::Switch;
use super::commit::Prepared;
use crate::control::compile;
use crate::control::problems::Cause;

impl Switch {
    /// Whether any interface is shared with the host.
    pub fn shares(&self) -> bool {
        self.shared().next().is_some()
    }

    /// The open ports that share an interface: name, bridge, device and what they take.
    fn shared(&self) -> impl Iterator<Item = (&PortName, &BridgeName, &str, &Arc<Sharing>)> + '_ {
        self.facts.iter().filter_map(|(name, facts)| {
            let port = self.config.ports.get(name)?;
            let PortKind::Netdev { device, .. } = &port.kind else { return None };
            Some((name, &port.bridge, device.as_str(), facts.sharing.as_ref()?))
        })
    }

    /// Gives back to the host what the switch takes and is not to take any more.
    pub(super) fn narrow_claims(&mut self, next: &Config) {
        let narrowed = self.shared().filter_map(|(name, bridge, _, sharing)| {
            let done = sharing.narrow(&compile::claims(next, bridge));
            done.err().map(|error| format!("port {name}: {error}"))
        });
        let failed: Vec<_> = narrowed.collect();
        failed.into_iter().for_each(|problem| self.note_problem(problem));
    }

    /// Takes from the host what is the switch's.
    pub(super) fn widen_claims(&mut self) {
        let lent = compile::lent(&self.config);
        let reserved = self.reservation.put(compile::reserved(&self.config, &lent));
        match reserved {
            Ok(()) => self.problems.keep(|cause| *cause != Cause::Unreserved),
            Err(error) => self.note_standing(Cause::Unreserved, error.to_string()),
        }
        self.look_for_programs_at_lent_ports(lent);
        let widened = self.shared().filter_map(|(name, bridge, _, sharing)| {
            let done = sharing.claim(&compile::claims(&self.config, bridge));
            done.err().map(|error| format!("port {name}: {error}"))
        });
        let failed: Vec<_> = widened.collect();
        failed.into_iter().for_each(|problem| self.note_problem(problem));
    }

    /// Says which programs of the host have sockets at ports that masquerading takes from now on.
    fn look_for_programs_at_lent_ports(&mut self, lent: Vec<PortRange>) {
        let new = PortRange::without(&lent, &self.lent);
        self.lent = lent;
        if new.is_empty() {
            return;
        }
        let sockets = hostnet::sockets::at(&new).unwrap_or_default();
        let Some((protocol, first)) = sockets.first() else { return };
        let ports: Vec<_> = new.iter().map(ToString::to_string).collect();
        self.note_problem(format!(
            "masquerading takes ports {} of the host's addresses, where programs of the host have sockets ({} of them, such as {first}/{protocol}): \
             what comes to these by an interface that is shared does not reach them any more; have them use other ports, or masquerade \
             by others, with `nat masquerade add --ports`",
            ports.join(","),
            sockets.len()
        ));
    }

    /// Takes what a configuration reserves, and is reserved already, for left behind by a daemon that was killed.
    pub(super) fn inherit_reservation(&mut self, kept: &Config) {
        self.reservation.inherit(compile::reserved(kept, &compile::lent(kept)));
    }

    /// Reserves nothing on the host any more.
    pub(super) fn end_reservation(&mut self) {
        if let Err(error) = self.reservation.put(Vec::new()) {
            tracing::warn!("{error}");
        }
    }

    /// Makes the bridges of interfaces that were opened lately what the host is there; and those that could not follow it, as
    /// what was in the way may be gone.
    pub(super) fn follow_new_hosts(&mut self) {
        let is_behind = self.problems.stands(|cause| matches!(cause, Cause::Unfollowed(_)));
        if std::mem::take(&mut self.has_new_host) || is_behind {
            self.follow_hosts();
        }
    }

    /// Makes the bridges of all shared interfaces what the host is there.
    pub fn follow_hosts(&mut self) {
        let shared: Vec<_> = self
            .shared()
            .map(|(name, bridge, device, sharing)| {
                (name.clone(), bridge.clone(), device.to_owned(), Arc::clone(sharing))
            })
            .collect();
        for (name, bridge, device, sharing) in shared {
            match Netlink::open().and_then(|netlink| netlink.uplink(&device)) {
                Ok(uplink) => self.follow_host(&name, &bridge, uplink, &sharing),
                // Its sockets go by its number, and would not notice that it is called something else now.
                Err(error) if error.is_absence() => {
                    self.lose_device(
                        &name,
                        &format!("{error} any more: it was removed or renamed"),
                    );
                }
                Err(error) => self.note_unfollowed(&name, &error.to_string()),
            }
        }
    }

    fn note_unfollowed(&mut self, name: &PortName, why: &str) {
        self.note_standing(Cause::Unfollowed(name.clone()), format!("port {name}: {why}"));
    }

    fn follow_host(
        &mut self,
        name: &PortName,
        bridge: &BridgeName,
        uplink: Uplink,
        sharing: &Sharing,
    ) {
        match self.become_host(name, bridge, uplink, sharing) {
            Ok(()) => self.problems.keep(|cause| *cause != Cause::Unfollowed(name.clone())),
            Err(why) => self.note_unfollowed(name, &why),
        }
    }

    /// Makes a bridge what the host is on its interface.
    fn become_host(
        &mut self,
        name: &PortName,
        bridge: &BridgeName,
        uplink: Uplink,
        sharing: &Sharing,
    ) -> Result<(), String> {
        let Some(mac) = uplink.link.mac else { return Ok(()) };
        let is_resized = self.facts.get_mut(name).is_some_and(|facts| {
            let before = std::mem::replace(&mut facts.mtu, uplink.link.mtu);
            before != uplink.link.mtu
        });
        let (addresses, routes) = (uplink.addresses, uplink.routes);
        let host = HostUplink { mac: MacAddr(mac), addresses, routes };
        let next = self.config.following(bridge, &host);
        let next = next.map_err(|error| {
            format!("its bridge cannot follow the host, and stays as it was: {error}")
        })?;
        let followed = self.advance(next).and_then(|differs| match differs || !is_resized {
            true => Ok(()),
            // The workers hear of the MTU, which is no part of the configuration.
            false => self.commit(self.config.clone(), Prepared::default()),
        });
        followed.map_err(|error| error.to_string())?;
        self.retry_loopback();
        sharing.readdress(wire::MacAddr(mac)).map_err(|error| error.to_string())
    }

    /// Hears what the host says of its interfaces.
    pub fn heed_hosts(&mut self, events: &[UplinkEvent]) {
        for event in events {
            if let UplinkEvent::Neighbor { interface, ip, mac, is_confirmed } = *event {
                let claim =
                    Claim { solicited: is_confirmed, ..Claim::announcing(wire::MacAddr(mac)) };
                self.note_neighbor(interface, ip, &claim);
            }
        }
        if events.contains(&UplinkEvent::Changed) {
            self.follow_hosts();
        }
    }

    /// Has the kernel find the neighbours that workers ask for.
    pub(super) fn heed_questions(&mut self) {
        while let Some((interface, ip)) = self.questions.take() {
            match Netlink::open().and_then(|netlink| netlink.resolve(interface, ip)) {
                Ok(Some(mac)) => {
                    self.note_neighbor(interface, ip, &Claim::answering(wire::MacAddr(mac)))
                }
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, %ip, "the host cannot resolve a neighbour"),
            }
        }
    }

    fn note_neighbor(&self, interface: u32, ip: IpAddr, claim: &Claim) {
        if let Some(bridge) = self.bridge_on(interface) {
            let now = self.fleet.clock().now();
            self.fleet.tables().neighbors.learn(bridge, ip, claim, now);
        }
    }

    fn bridge_on(&self, interface: u32) -> Option<BridgeIndex> {
        let is_it =
            |name: &PortName| self.facts.get(name).is_some_and(|facts| facts.index == interface);
        let (_, bridge, ..) = self.shared().find(|(name, ..)| is_it(name))?;
        self.numbering.bridges.get(bridge).map(|slot| slot.index)
    }
}
