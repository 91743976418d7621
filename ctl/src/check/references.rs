//! [`Reference`]: what needs a bridge, so that as long as it is there the bridge is.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;

use crate::flow::{FlowId, FlowRule};
use crate::{
    Allowance, BridgeName, Config, Destination, FlowKey, Mutation, Named, NatRule, PortName,
    Prefix, Publish, RouteDel, RuleName, Service, ServiceBackends, ServiceName, ServiceSet, Target,
};

/// What needs a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reference {
    Port(PortName),
    Vxlan(PortName),
    /// A VLAN of it that is a bridge to the router.
    Vlan(BridgeName),
    Route(Prefix, BridgeName),
    Allowance(Allowance),
    Nat(RuleName),
    Service(ServiceName),
    /// A service that it finds, as these others do.
    Finding(ServiceName, BTreeSet<BridgeName>),
    /// A service that does not name the bridge, but has a backend on it.
    Backend(ServiceName, SocketAddr),
    Rule(FlowId),
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(name) => write!(f, "port {name}"),
            Self::Vxlan(name) => write!(f, "vxlan {name}"),
            Self::Vlan(name) => write!(f, "bridge {name}"),
            Self::Route(to, on) => write!(f, "route {to} on {on}"),
            Self::Allowance(Allowance { from, to }) => write!(f, "route allow {from} {to}"),
            Self::Nat(name) => write!(f, "nat rule {name}"),
            Self::Service(name) => write!(f, "service {name}"),
            Self::Finding(name, _) => write!(f, "service {name} (--on)"),
            Self::Backend(name, at) => write!(f, "backend {at} of service {name}"),
            Self::Rule(id) => write!(f, "rule {id}"),
        }
    }
}

impl Reference {
    /// What removes it.
    pub(crate) fn removal(self) -> Mutation {
        match self {
            Self::Port(name) => Mutation::PortDel(Named::new(name)),
            Self::Vxlan(name) => Mutation::VxlanDel(Named::new(name)),
            Self::Vlan(name) => Mutation::BridgeDel(Named::new(name)),
            Self::Route(to, on) => {
                let to = Destination::Network(to);
                Mutation::RouteDel(RouteDel { to, on, if_exists: false })
            }
            Self::Allowance(allowance) => Mutation::RouteDeny(allowance),
            Self::Nat(name) => Mutation::NatDel(Named::new(name)),
            Self::Service(name) => Mutation::ServiceDel(Named::new(name)),
            Self::Finding(name, others) => {
                Mutation::ServiceSet(ServiceSet { on: Some(others), ..ServiceSet::new(name) })
            }
            Self::Backend(name, at) => {
                let target = Target { ip: at.ip(), port: Some(at.port()) };
                let (add, drain, del) = (Vec::new(), Vec::new(), vec![target]);
                Mutation::ServiceBackends(ServiceBackends { name, add, drain, del })
            }
            Self::Rule(id) => Mutation::FlowDel(FlowKey::Id(id)),
        }
    }
}

/// What needs a bridge.
pub(crate) fn references(config: &Config, bridge: &BridgeName) -> Vec<Reference> {
    let ports = config.ports_of(bridge).map(|(name, _)| Reference::Port(name.clone()));
    let vxlans = config.vxlans_of(bridge).chain(config.vxlans_over(bridge));
    let vxlans = vxlans.map(|(name, _)| Reference::Vxlan(name.clone()));
    let vlans = config.vlans_of(bridge).map(|(name, _)| Reference::Vlan(name.clone()));
    let routes = config.routes.get(bridge).into_iter().flatten();
    let routes = routes.map(|(to, _)| Reference::Route(*to, bridge.clone()));
    let allowed = config.allowed.iter().flat_map(|(from, reached)| {
        let concerned = reached.iter().filter(move |to| from == bridge || *to == bridge);
        concerned.map(move |to| Allowance { from: from.clone(), to: to.clone() })
    });
    let nat = config.nat.iter().filter(|(_, rule)| concerns(config, rule, bridge));
    let nat = nat.map(|(name, _)| Reference::Nat(name.clone()));
    let named = |rule: &FlowRule| rule.matches.criteria().bridge.as_ref() == Some(bridge);
    let flows = config.flows.iter().filter(|(_, rule)| named(rule));
    let flows = flows.map(|(id, _)| Reference::Rule(*id));
    let services = config.services.iter();
    let services = services.flat_map(|(name, service)| of_service(config, name, service, bridge));
    let rules = allowed.map(Reference::Allowance).chain(nat).chain(services).chain(flows);
    ports.chain(vxlans).chain(vlans).chain(routes).chain(rules).collect()
}

/// Whether a rule names a bridge, or leads to a container that is on it, as far as its address tells.
fn concerns(config: &Config, rule: &NatRule, bridge: &BridgeName) -> bool {
    let leads_there = |rule: &Publish| {
        config.gateway_for(bridge, rule.forward.container).is_some()
            && config.container_bridge(rule) == Some(bridge)
    };
    rule.bridges().any(|name| name == bridge)
        || matches!(rule, NatRule::Publish(rule) if leads_there(rule))
}

fn of_service(
    config: &Config,
    name: &ServiceName,
    service: &Service,
    bridge: &BridgeName,
) -> Vec<Reference> {
    if service.bridges().any(|own| own == bridge) {
        let others: BTreeSet<_> = service.on.iter().filter(|on| *on != bridge).cloned().collect();
        let is_whole = service.to.as_ref() == Some(bridge) || others.is_empty();
        return vec![match is_whole {
            true => Reference::Service(name.clone()),
            false => Reference::Finding(name.clone(), others),
        }];
    }
    let holds = |ip| config.gateway_for(bridge, ip).is_some();
    let is_there = |ip| holds(ip) && config.backend_bridges(service, ip).eq([bridge]);
    let there = service.backends.iter().filter(|backend| is_there(backend.at.ip()));
    there.map(|backend| Reference::Backend(name.clone(), backend.at)).collect()
}
