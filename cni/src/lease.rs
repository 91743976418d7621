//! Addresses that another plugin asks for through the container's interface: `dhcp`, whose daemon is a client in the
//! container's namespace and looks after the lease.
//!
//! The switch makes the interface without them. What the plugin was told is configured here, as the specification leaves it to the plugin
//! that delegates: the switch's own server is one of those that may have been asked, and knows the address; one on a wire outside
//! is not, and then the switch does not know it.

use ctl::response::EndpointInfo;
use ctl::{IpCidr, Prefix, TapRoute};
use hostnet::{Interface, Netlink};

use crate::wanted::Wanted;
use crate::{Address, CniError, Delegate, Outcome, Route, Sandbox};

/// Asks for addresses, and configures the interface with them. When something fails they are given back.
pub(crate) fn ask(
    delegate: &Delegate,
    wanted: &Wanted,
    endpoint: &EndpointInfo,
    sandbox: &Sandbox,
) -> Result<Outcome, CniError> {
    let given = delegate.add()?;
    let configured = routes(&given, wanted.conf.keys.is_default_gateway)
        .and_then(|routes| configure(&given, routes, endpoint, sandbox));
    let routes = configured.inspect_err(|_| delegate.undo())?;
    let ours = wanted.clone().with(Some(&given)).outcome(endpoint, sandbox);
    Ok(told(ours, &given, &routes))
}

/// The routes that were given, each with the router that it leads by.
fn routes(given: &Outcome, leads_out: bool) -> Result<Vec<TapRoute>, CniError> {
    let gateways = || given.ips.iter().filter_map(|ip| ip.gateway);
    let router = |ipv4: bool| gateways().find(|gateway| gateway.is_ipv4() == ipv4);
    let mut routes = Vec::new();
    for Route { dst, gw } in &given.routes {
        let why = "it has no gw, and no address that was given has a gateway of its IP version";
        let no_router = || CniError::invalid(format!("route to {dst}"), why);
        let via = gw.or_else(|| router(dst.is_ipv4())).ok_or_else(no_router)?;
        routes.push(TapRoute { to: *dst, via });
    }
    for via in gateways().filter(|_| leads_out) {
        let to = Prefix::everything(via.is_ipv4());
        if routes.iter().all(|route| route.to != to) {
            routes.push(TapRoute { to, via });
        }
    }
    Ok(routes)
}

/// Configures what was given, but for routes to where other interfaces of the container lead. The routes that it has by this
/// one are returned.
fn configure(
    given: &Outcome,
    mut routes: Vec<TapRoute>,
    endpoint: &EndpointInfo,
    sandbox: &Sandbox,
) -> Result<Vec<TapRoute>, CniError> {
    let (netns, name) = (sandbox.open()?, endpoint.ifname.as_str());
    let elsewhere = Netlink::open_in(&netns)?.routes_elsewhere(name)?;
    routes.retain(|route| !elsewhere.contains(&route.to));
    let ips: Vec<IpCidr> = given.ips.iter().map(|ip| ip.address).collect();
    let wanted = Interface { ips: &ips, routes: &routes, ..Interface::default() };
    netns.run(|| hostnet::configure(name, &wanted).map(drop))?;
    Ok(routes)
}

/// What ADD reports: of the switch's own what it configured itself, and what was given.
fn told(ours: Outcome, given: &Outcome, routes: &[TapRoute]) -> Outcome {
    let is_new = |ip: &Address| given.ips.iter().all(|other| other.address.addr != ip.address.addr);
    let mut ips: Vec<_> = ours.ips.into_iter().filter(is_new).collect();
    ips.extend(given.ips.iter().map(|ip| Address { interface: Some(0), ..ip.clone() }));
    let given_routes = routes.iter().map(|route| Route { dst: route.to, gw: Some(route.via) });
    let mut all: Vec<_> = ours.routes.into_iter().filter(|route| !route.dst.is_ipv4()).collect();
    all.extend(given_routes);
    Outcome { ips, routes: all, ..ours }
}
