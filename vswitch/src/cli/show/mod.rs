//! Answers, for people.

mod bridge;
mod conn;
mod explain;
mod flow;
mod nat;
mod network;
mod port;
mod route;
mod service;
mod traffic;
mod vxlan;

use std::fmt::Write;

use ctl::ClientError;
use ctl::response::{
    BridgeInfo, Changed, ConnInfo, DropInfo, FdbInfo, LeaseInfo, NatInfo, NeighborInfo,
    NetworkInfo, PortInfo, PortState, ServiceInfo, Status, TableInfo, TopInfo, TraceInfo, Version,
    VxlanInfo, WorkerPerf,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::args::{
    BridgeCommand, Command, ConnCommand, FdbCommand, FlowCommand, IpamCommand, MasqueradeCommand,
    NatCommand, NeighborCommand, NetworkCommand, PortCommand, PrefixCommand, PublishCommand,
    RouteCommand, ServiceCommand, TimeoutsCommand, VxlanCommand,
};
pub use explain::{captured, follow_ended, followed};

use super::table::{Style, count, duration, facts, printable};

/// What a command is about, of an answer that tells of more: the rules of one kind.
pub fn narrowed(command: &Command, mut answer: Value) -> Value {
    let kind = match command {
        Command::Nat(NatCommand::Masquerade(MasqueradeCommand::List)) => "masquerade",
        Command::Nat(NatCommand::Publish(PublishCommand::List)) => "publish",
        Command::Nat(NatCommand::Prefix(PrefixCommand::List)) => "prefix",
        _ => return answer,
    };
    if let Value::Array(rules) = &mut answer {
        rules.retain(|info| info["rule"].get(kind).is_some());
    }
    answer
}

/// The text of an answer.
///
/// # Errors
/// [`ClientError::Answer`], when the answer is not of the form that the command expects.
pub fn text(command: &Command, answer: Value, style: Style) -> Result<String, ClientError> {
    Ok(match command {
        Command::Bridge(BridgeCommand::List) => bridge::all(&read::<Vec<BridgeInfo>>(answer)?),
        Command::Bridge(BridgeCommand::Show { .. }) => bridge::one(&read(answer)?),
        Command::Port(PortCommand::List { .. }) => port::all(&read::<Vec<PortInfo>>(answer)?),
        Command::Port(PortCommand::Show { .. }) => port::one(&read(answer)?, style),
        Command::Fdb(FdbCommand::Show(_)) => bridge::stations(&read::<Vec<FdbInfo>>(answer)?),
        Command::Route(RouteCommand::List) => route::routes(&read(answer)?),
        Command::Neighbor(NeighborCommand::Show(_)) => {
            route::neighbors(&read::<Vec<NeighborInfo>>(answer)?)
        }
        Command::Vxlan(VxlanCommand::List) => vxlan::all(&read::<Vec<VxlanInfo>>(answer)?),
        Command::Vxlan(VxlanCommand::Show { .. }) => vxlan::one(&read(answer)?, style),
        Command::Network(NetworkCommand::List) => network::all(&read::<Vec<NetworkInfo>>(answer)?),
        Command::Network(NetworkCommand::Inspect { .. }) => network::one(&read(answer)?, style),
        Command::Ipam(IpamCommand::List(_)) => network::leases(&read::<Vec<LeaseInfo>>(answer)?),
        Command::Ipam(IpamCommand::Audit { free: false, .. }) => network::unused(&read(answer)?),
        Command::Nat(
            NatCommand::List
            | NatCommand::Masquerade(MasqueradeCommand::List)
            | NatCommand::Publish(PublishCommand::List)
            | NatCommand::Prefix(PrefixCommand::List),
        ) => nat::rules(&read::<Vec<NatInfo>>(answer)?),
        Command::Nat(NatCommand::Timeouts(TimeoutsCommand::Show)) => nat::tracking(&read(answer)?),
        Command::Service(ServiceCommand::List) => service::all(&read::<Vec<ServiceInfo>>(answer)?),
        Command::Service(ServiceCommand::Show { .. }) => service::one(&read(answer)?, style),
        Command::Conn(ConnCommand::List { .. }) => conn::page(&read(answer)?),
        Command::Conn(ConnCommand::Show { .. }) => conn::one(&read::<ConnInfo>(answer)?),
        Command::Conn(ConnCommand::Top { .. }) => conn::top(&read::<Vec<TopInfo>>(answer)?),
        Command::Flow(FlowCommand::List { .. }) => flow::page(&read(answer)?),
        Command::Trace(_) => explain::traces(&read::<Vec<TraceInfo>>(answer)?, style),
        Command::Why(_) => explain::why(&read(answer)?, style),
        Command::Stats(_) => traffic::stats(&read(answer)?, style),
        Command::Drops(_) => traffic::drops(&read::<Vec<DropInfo>>(answer)?, style),
        Command::Perf => traffic::perf(&read::<Vec<WorkerPerf>>(answer)?, style),
        Command::Status => status(&read(answer)?, style),
        Command::Version => version(&read(answer)?),
        _ => changed(&read(answer)?),
    })
}

fn read<T: DeserializeOwned>(answer: Value) -> Result<T, ClientError> {
    serde_json::from_value(answer).map_err(|error| ClientError::Answer(error.to_string()))
}

/// Like other tools, says nothing when there is nothing to say.
fn changed(answer: &Changed) -> String {
    if !answer.each.is_empty() {
        return answer.each.iter().map(changed).collect();
    }
    if let Some(changes) = &answer.flows {
        return flow::changes(changes);
    }
    if let Some(endpoint) = &answer.endpoint {
        return network::connected(endpoint, answer.changed);
    }
    if let Some(network) = &answer.network {
        return network::created(network, answer.changed);
    }
    if let Some(pool) = &answer.pool {
        return network::subnet(pool) + "\n";
    }
    if !answer.leases.is_empty() {
        return network::leases(&answer.leases);
    }
    let port = answer.port.as_ref().map(ToString::to_string);
    let rule = answer.rule.as_ref().map(ToString::to_string);
    let made = port.or(rule).or(answer.flow.map(|id| format!("rule {id}")));
    match (made, answer.removed, answer.changed) {
        (_, Some(removed), _) => format!("{removed} removed\n"),
        (Some(name), _, true) => format!("{name}\n"),
        (Some(name), _, false) => format!("{name} (unchanged)\n"),
        (None, ..) => String::new(),
    }
}

/// What an answer says beside itself, for people: it is in its JSON too.
pub fn notes(answer: &Value) -> Vec<String> {
    let each = answer["each"].as_array().into_iter().flatten();
    let own = answer["notes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    own.map(printable).chain(each.flat_map(notes)).collect()
}

/// A list in one cell.
fn joined<T: ToString>(items: &[T]) -> String {
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    if items.is_empty() { "-".to_owned() } else { items.join(" ") }
}

/// A value in a cell, or that there is none.
fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Whether a port or a tunnel works, in one word.
fn state_word(state: &PortState) -> &'static str {
    match state {
        PortState::Up => "up",
        PortState::Down => "down",
        PortState::Waiting(_) => "waiting",
    }
}

/// Whether it works, and why not.
fn state(state: &PortState, style: Style) -> String {
    let word = state_word(state);
    match state {
        PortState::Up => style.good(word),
        PortState::Down => style.bad(&format!("{word}: its interface is switched off")),
        PortState::Waiting(why) => style.bad(&format!("{word}: {}", printable(why))),
    }
}

fn yes_or_no(is_so: bool) -> String {
    if is_so { "yes" } else { "no" }.to_owned()
}

/// How many ports work, and how many do not.
fn ports(status: &Status) -> String {
    let Status { ports_up, ports_down, ports_waiting, .. } = status;
    match ports_down {
        0 => format!("{ports_up} up, {ports_waiting} waiting"),
        down => format!("{ports_up} up, {down} down, {ports_waiting} waiting"),
    }
}

fn status(status: &Status, style: Style) -> String {
    let cores: Vec<_> = status.cores.iter().map(ToString::to_string).collect();
    let mut rows = vec![
        ("vswitchd", format!("{}, process {}", status.version, status.pid)),
        ("up for", duration(status.uptime_seconds.saturating_mul(1000))),
        ("workers", format!("{} on cores {}, {}", cores.len(), cores.join(" "), status.poll)),
        ("bridges", status.bridges.to_string()),
        ("ports", ports(status)),
        ("state", status.state_directory.clone().unwrap_or_else(|| "not kept".to_owned())),
    ];
    rows.extend(status.tables.iter().map(|table| (table.name.as_str(), fill(table))));
    let mut text = facts(&rows);
    text += &traffic::reconciled(status.discrepancy.as_deref(), style);
    for problem in &status.problems {
        let (since, what) = (printable(&problem.since), printable(&problem.text));
        let _ = writeln!(text, "{} {what} (since {since})", style.bad("problem:"));
    }
    text
}

/// How full a table is.
fn fill(table: &TableInfo) -> String {
    let room = table.capacity.map(|most| format!(" of at most {}", count(most)));
    let refused = (table.refused > 0).then(|| format!(", {} refused", count(table.refused)));
    format!("{}{}{}", count(table.used), room.unwrap_or_default(), refused.unwrap_or_default())
}

fn version(version: &Version) -> String {
    format!("vswitchd {}, protocol {}\n", printable(&version.version), version.protocol)
}

#[cfg(test)]
mod tests;
