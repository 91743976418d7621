//! CHECK: whether an attachment is as ADD left it.

use ctl::NatRule;
use ctl::response::{EndpointInfo, PortInfo, PortState};
use hostnet::{HostError, Link, Netlink};

use crate::remove::pass;
use crate::switch::Switch;
use crate::wanted::Wanted;
use crate::{Attachment, Call, CniError, Interface, Label, Outcome, Route, Sandbox};

/// Carries CHECK out. All that is not as it was is told at once.
pub(crate) fn check(
    call: &Call,
    attachment: &Attachment,
    sandbox: &Sandbox,
) -> Result<(), CniError> {
    let Some(previous) = call.conf.previous.clone() else {
        return Err(CniError::invalid("prevResult", "CHECK needs it, and it is missing"));
    };
    let expected = Outcome::read(previous)?;
    let mut found = in_container(&expected, attachment, sandbox)?;
    found.extend(in_switch(call, &expected, attachment, sandbox)?);
    if !found.is_empty() {
        return Err(CniError::Differs(found));
    }
    pass(call, "CHECK")
}

/// What is not as it was in the container. Plugins after us may have added something.
fn in_container(
    expected: &Outcome,
    attachment: &Attachment,
    sandbox: &Sandbox,
) -> Result<Vec<String>, CniError> {
    let ifname = attachment.ifname.as_str();
    let Some((index, interface)) = expected.interface(ifname, &sandbox.path) else {
        let why = format!("it has no interface {ifname} in {}", sandbox.path);
        return Err(CniError::invalid("prevResult", why));
    };
    let netlink = Netlink::open_in(&sandbox.open()?)?;
    let link = match netlink.link(ifname) {
        Err(HostError::NoSuchLink { .. }) => return Ok(vec![format!("there is no {ifname}")]),
        link => link?,
    };
    let mut found = of_link(interface, &link);
    let present = netlink.addresses(link.index)?;
    let its = expected.ips.iter().filter(|ip| ip.interface == Some(index));
    let missing = its.filter(|ip| !present.contains(&ip.address));
    found.extend(missing.map(|ip| format!("{ifname} has not the address {}", ip.address)));
    Ok(found)
}

fn of_link(expected: &Interface, link: &Link) -> Vec<String> {
    let mac = link.mac.map(|mac| ctl::MacAddr(mac).to_string()).unwrap_or_default();
    let name = &link.name;
    let is_other_mac = !expected.mac.is_empty() && !expected.mac.eq_ignore_ascii_case(&mac);
    let other_mtu = expected.mtu.filter(|mtu| *mtu != link.mtu);
    [
        (!link.up).then(|| format!("{name} is switched off")),
        is_other_mac.then(|| format!("{name} has the MAC address {mac}, not {}", expected.mac)),
        other_mtu.map(|mtu| format!("{name} has the MTU {}, not {mtu}", link.mtu)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What is not as it was in the switch.
fn in_switch(
    call: &Call,
    expected: &Outcome,
    attachment: &Attachment,
    sandbox: &Sandbox,
) -> Result<Vec<String>, CniError> {
    let wanted = Wanted::new(&call.conf, &call.args)?;
    let label = Label::new(&call.conf.keys.name, attachment);
    let mut switch = Switch::connect(&call.conf.keys.socket)?;
    let network = switch.networks()?.into_iter().find(|network| network.name == *wanted.network());
    let Some(network) = network else {
        return Ok(vec![format!("the switch has no network {}", wanted.network())]);
    };
    let is_it = |endpoint: &&EndpointInfo| Label::read(&endpoint.owner) == Some(label);
    let Some(endpoint) = network.endpoints.iter().find(is_it) else {
        return Ok(vec!["the switch has no endpoint for it".to_owned()]);
    };
    let mut found = of_port(switch.port(&endpoint.port)?, &wanted, endpoint);
    found.extend(missing_routes(
        &wanted.outcome(endpoint, sandbox),
        expected,
        attachment,
        sandbox,
    )?);
    let outside = switch.outside(&wanted)?;
    for add in wanted.publications(&network, endpoint, &outside)? {
        if !outside.rules.iter().any(|rule| rule.rule == add.rule) {
            let NatRule::Publish(publish) = &add.rule else { continue };
            found.push(format!("{} is not published on {}", publish.forward, publish.on));
        }
    }
    Ok(found)
}

/// The routes that are not there any more. Plugins after us may have taken some away, and then do not report them.
fn missing_routes(
    ours: &Outcome,
    expected: &Outcome,
    attachment: &Attachment,
    sandbox: &Sandbox,
) -> Result<Vec<String>, CniError> {
    let ifname = attachment.ifname.as_str();
    let netlink = Netlink::open_in(&sandbox.open()?)?;
    let present = match netlink.link(ifname) {
        // That it is not there is told already.
        Err(HostError::NoSuchLink { .. }) => return Ok(Vec::new()),
        link => netlink.routes_by(link?.index)?,
    };
    let is_there =
        |route: &Route| present.iter().any(|has| has.to == route.dst && Some(has.via) == route.gw);
    let listed = ours.routes.iter().filter(|route| expected.routes.contains(route));
    let missing = listed.filter(|route| !is_there(route));
    Ok(missing.map(|route| format!("{ifname} has not the route to {}", route.dst)).collect())
}

fn of_port(port: Option<PortInfo>, wanted: &Wanted, endpoint: &EndpointInfo) -> Vec<String> {
    let Some(port) = port else { return vec!["the switch has no port for it".to_owned()] };
    let mut found = Vec::new();
    if let PortState::Waiting(why) = &port.state {
        found.push(format!("its port does not work: {why}"));
    }
    if let Some(wanted) = wanted.shape(endpoint) {
        let differs = wanted.egress.is_some_and(|egress| port.settings.egress != egress)
            || wanted.ingress.is_some_and(|ingress| port.settings.ingress != ingress);
        found.extend(differs.then(|| "its port has another rate".to_owned()));
    }
    found
}
