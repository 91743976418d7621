//! Which namespace a port's interface is in. What a namespace is called (a name, a path, the number of a process) may
//! mean another one a moment later, so every port that is in one carries its identity ([`ctl::Port::place`]), and
//! nothing is opened or changed where the name leads to a namespace with another.
//!
//! * Whoever is attached by a name that means another namespace now is another container: the ports of the one before
//!   go, in the same step.
//! * A restarted daemon takes up what a daemon that kept running would still have. Only where the machine was restarted
//!   too are names in `/run/netns` believed: they are given by the operator, who gave them again, whereas numbers of
//!   processes and paths to them are given by chance. The daemon's own namespace is never taken for a container's.
//!
//! An interface that is handed over is known by its MAC address, wherever it is. Used by the control thread only.

use ctl::{
    Config, DiffItem, Mutation, NetnsIdentity, NetnsRef, Port, PortKind, PortName, RawNetns,
};
use hostnet::{Netlink, Netns};

use super::device::OpenError;

/// What the namespace is called that a port's interface has to be in.
fn called(port: &Port) -> Option<&NetnsRef> {
    match &port.kind {
        PortKind::Tap(tap) if tap.handover => None,
        kind => kind.interface().0,
    }
}

/// The namespace of a port's interface; `None` for the daemon's own.
///
/// # Errors
/// [`OpenError`], when it is not there any more, whether or not another is called like it.
pub fn enter(port: &Port) -> Result<Option<Netns>, OpenError> {
    let Some(netns) = called(port) else { return Ok(None) };
    let found = Netns::open(netns)?;
    if port.place.as_ref() == Some(&found.identity()?) {
        Ok(Some(found))
    } else {
        Err(OpenError::Another { netns: netns.clone() })
    }
}

/// Whether a container's interface is still where it was made, by its name: within a namespace anybody who may can rename it, and
/// move it away. One that was handed over may be anywhere.
///
/// # Errors
/// [`OpenError`], when the namespace is not there any more.
pub fn has_interface(port: &Port, index: u32) -> Result<bool, OpenError> {
    let (Some(netns), (_, name)) = (enter(port)?, port.kind.interface()) else { return Ok(true) };
    match Netlink::open_in(&netns).and_then(|netlink| netlink.link(name.as_str())) {
        Ok(link) => Ok(link.index == index),
        Err(error) if error.is_absence() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Notes where the ports are that a change makes. What cannot be found now cannot be opened either.
pub fn note(before: &Config, next: &mut Config) {
    let placed = |item| match item {
        DiffItem::Add(name, port) | DiffItem::Update { new: (name, port), .. } => {
            let netns = called(port).filter(|_| port.place.is_none())?;
            let place = Netns::open(netns).ok()?.identity().ok();
            Some((PortName::clone(name), Port { place, ..port.clone() }))
        }
        DiffItem::Remove(..) => None,
    };
    let placed: Vec<_> = before.ports.diff(&next.ports).filter_map(placed).collect();
    next.ports.extend(placed);
}

/// Finds the place of a port that a daemon before had, and notes it.
///
/// # Errors
/// [`OpenError`], when the port was in another namespace than the one that is called so now, or there is none.
pub fn renew(port: &mut Port) -> Result<(), OpenError> {
    let Some(netns) = called(port) else { return Ok(()) };
    let found = Netns::open(netns)?.identity()?;
    let own = Netns::current()?.identity()?;
    if !is_taken_up(netns, port.place.as_ref(), &found, &own) {
        return Err(OpenError::Another { netns: netns.clone() });
    }
    port.place = Some(found);
    Ok(())
}

/// Whether a port that was at `noted` is taken up at `found`, where the name leads now.
fn is_taken_up(
    netns: &NetnsRef,
    noted: Option<&NetnsIdentity>,
    found: &NetnsIdentity,
    own: &NetnsIdentity,
) -> bool {
    let is_named = matches!(netns.raw(), RawNetns::Name(_));
    let is_of_another_boot = noted.is_none_or(|noted| noted.boot != found.boot);
    noted == Some(found) || (is_named && is_of_another_boot && found != own)
}

/// The ports of those who had the names before by which a request means containers. All of them: what a container left takes
/// names and addresses from the one that is called like it.
pub fn predecessors(mutation: &Mutation, config: &Config) -> Vec<PortName> {
    let netns = match mutation {
        Mutation::Attach(attach) => Some(&attach.netns),
        Mutation::NetworkConnect(connect) => Some(&connect.netns),
        Mutation::PortAdd(add) => called(&add.port),
        Mutation::Batch(batch) => {
            let each = batch.changes.iter().flat_map(|change| predecessors(change, config));
            return each.collect();
        }
        _ => None,
    };
    netns.map_or_else(Vec::new, |netns| left_behind(netns, config))
}

/// The ports that were made where the name led before. One look at where it leads now, however many they are: it takes a thread.
fn left_behind(netns: &NetnsRef, config: &Config) -> Vec<PortName> {
    let mut ports = config.ports.iter().filter(|(_, port)| called(port) == Some(netns)).peekable();
    if ports.peek().is_none() {
        return Vec::new();
    }
    let found = Netns::open(netns).and_then(|found| found.identity());
    let is_left = |port: &Port| match &found {
        Ok(found) => port.place.as_ref() != Some(found),
        Err(error) => error.is_absence(),
    };
    ports.filter(|(_, port)| is_left(port)).map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctl::Tap;

    #[test]
    fn those_who_had_the_name_before_are_left_behind_and_nobody_else() {
        let own: NetnsRef = "/proc/self/ns/net".parse().unwrap();
        let here = Netns::open(&own).unwrap().identity().unwrap();
        let before = NetnsIdentity { cookie: here.cookie + 1, ..here.clone() };
        let gone = "/run/netns/of-nobody".parse().unwrap();
        let mut config = Config::default();
        let ports = [("same", &own, &here), ("first", &own, &before), ("second", &own, &before)];
        for (name, netns, place) in ports.into_iter().chain([("absent", &gone, &here)]) {
            let tap = Tap { netns: Some(netns.clone()), ..Tap::new("eth0".parse().unwrap()) };
            let port = Port::new("br0".parse().unwrap(), PortKind::Tap(tap));
            let port = Port { place: Some(place.clone()), ..port };
            config.ports.insert(name.parse().unwrap(), port);
        }
        let left = |netns| {
            let left = left_behind(netns, &config);
            left.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(left(&own), ["first", "second"]);
        assert_eq!(left(&gone), ["absent"]);
        assert!(left(&"/run/netns/others".parse().unwrap()).is_empty());
    }

    #[test]
    fn a_port_is_taken_up_where_it_was_and_by_an_operators_name_after_a_reboot() {
        let at = |boot: &str, cookie| NetnsIdentity { boot: boot.to_owned(), cookie };
        let (own, found) = (at("now", 1), at("now", 9));
        let cases = [
            ("web", Some(at("now", 9)), true, "where it was"),
            ("4711", Some(at("now", 9)), true, "where it was"),
            ("web", Some(at("now", 8)), false, "made anew under the same name"),
            ("4711", Some(at("now", 8)), false, "the number is another process's"),
            ("web", Some(at("before", 9)), true, "made anew after a reboot"),
            ("/run/netns/web", Some(at("before", 8)), true, "the same, by its path"),
            ("4711", Some(at("before", 9)), false, "a number of another boot"),
            ("/run/docker/netns/0a1b", Some(at("before", 9)), false, "a path of another boot"),
            ("web", None, true, "a state that an earlier version wrote"),
            ("4711", None, false, "the same, by its process"),
        ];
        for (netns, noted, is_so, why) in cases {
            let netns = netns.parse().unwrap();
            assert_eq!(is_taken_up(&netns, noted.as_ref(), &found, &own), is_so, "{netns}: {why}");
        }
        let web = "web".parse().unwrap();
        assert!(!is_taken_up(&web, Some(&at("before", 9)), &own, &own), "the daemon's own");
        assert!(is_taken_up(&web, Some(&own), &own, &own), "it was asked for");
    }
}
