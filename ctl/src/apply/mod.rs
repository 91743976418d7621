//! [`apply`]: the next configuration. Pure: what can be checked without the host is checked here. One
//! module for each noun changes the configuration; [`check`] then says whether the result is one.

mod bridge;
mod fdb;
mod flow;
mod host;
mod ipam;
mod nat;
mod neighbor;
mod network;
mod port;
mod route;
mod service;
mod vxlan;

use crate::attach::attach;
use crate::check::{check_change, no_port};
use crate::loopback;
use crate::network::{protect, settle};
use crate::{Batch, Config, CtlError, ErrorCode, Mutation};

/// The configuration after a change.
///
/// # Errors
/// [`CtlError`], when the change cannot be made; `config` is untouched in any case.
pub fn apply(config: &Config, mutation: &Mutation) -> Result<Config, CtlError> {
    let next = changed(config, mutation)?;
    check_change(config, &next)?;
    Ok(next)
}

/// The configurations after each of several changes. Only the last of them has to be one that can be carried out.
///
/// # Errors
/// [`CtlError`], when one of the changes cannot be made, which it names by its position, counted from 1, if there are
/// several; or when the outcome cannot be carried out.
pub fn apply_all(config: &Config, batch: &Batch) -> Result<Vec<Config>, CtlError> {
    let many = batch.changes.len();
    let mut steps: Vec<Config> = Vec::with_capacity(many);
    for (number, mutation) in (1usize..).zip(&batch.changes) {
        let before = steps.last().unwrap_or(config);
        let next = one_of_many(before, mutation).map_err(|error| error.of_change(number, many))?;
        steps.push(next);
    }
    check_change(config, steps.last().unwrap_or(config)).map_err(|error| {
        // What is wrong in the end is so from one of the changes on; the advice may have changed since.
        let problem = |error: &CtlError| error.message.split(';').next().map(str::to_owned);
        let is_fine = |step: &Config| match check_change(config, step) {
            Ok(()) => true,
            Err(other) => problem(&other) != problem(&error),
        };
        let number = 1 + steps.partition_point(is_fine);
        error.of_change(number, many)
    })?;
    Ok(steps)
}

fn one_of_many(config: &Config, mutation: &Mutation) -> Result<Config, CtlError> {
    if !mutation.is_kept() {
        let message = "a batch changes what is kept, all of it or nothing; send this one alone";
        return Err(CtlError::invalid(message));
    }
    let next = changed(config, mutation)?;
    let forgets = matches!(mutation, Mutation::FdbDel(_) | Mutation::NeighborDel(_));
    if forgets && next.bridges == config.bridges {
        let message = "that was not entered by hand, which is what a batch can remove";
        return Err(CtlError::not_found(message));
    }
    Ok(next)
}

/// What a change makes of a configuration, which may not fit together then.
fn changed(config: &Config, mutation: &Mutation) -> Result<Config, CtlError> {
    protect(config, mutation)?;
    let mut next = config.clone();
    match mutation {
        Mutation::BridgeAdd(add) => bridge::add(&mut next, add)?,
        Mutation::BridgeDel(named) => bridge::del(&mut next, named)?,
        Mutation::BridgeSet(set) => bridge::set(&mut next, set)?,
        Mutation::PortAdd(add) => port::add(&mut next, add)?,
        Mutation::PortDel(named) => port::del(&mut next, named)?,
        Mutation::PortSet(set) => port::set(&mut next, set)?,
        Mutation::PortMove(to) if next.ports.contains_key(&to.name) => {}
        Mutation::PortMove(to) => return Err(no_port(&next, &to.name)),
        Mutation::Attach(request) => attach(&mut next, request)?,
        Mutation::Detach(request) => port::detach(&mut next, request),
        Mutation::FdbAdd(add) => fdb::add(&mut next, add)?,
        Mutation::FdbDel(key) => fdb::del(&mut next, key)?,
        Mutation::FdbFlush(filter) => fdb::flush(&next, filter)?,
        Mutation::RouteAdd(add) => route::add(&mut next, add)?,
        Mutation::RouteDel(del) => route::del(&mut next, del)?,
        Mutation::RouteAllow(allowance) => route::allow(&mut next, allowance)?,
        Mutation::RouteDeny(allowance) => route::deny(&mut next, allowance)?,
        Mutation::NeighborAdd(add) => neighbor::add(&mut next, add)?,
        Mutation::NeighborDel(key) => neighbor::del(&mut next, key)?,
        Mutation::NeighborFlush(filter) => neighbor::flush(&next, filter)?,
        Mutation::VxlanAdd(add) => vxlan::add(&mut next, add)?,
        Mutation::VxlanDel(named) => vxlan::del(&mut next, named)?,
        Mutation::VxlanSet(set) => vxlan::set(&mut next, set)?,
        Mutation::NatAdd(add) => nat::add(&mut next, add)?,
        Mutation::NatDel(named) => nat::del(&mut next, named)?,
        Mutation::NatSet(set) => nat::set(&mut next, set),
        Mutation::ServiceAdd(add) => service::add(&mut next, add)?,
        Mutation::ServiceDel(named) => service::del(&mut next, named)?,
        Mutation::ServiceSet(set) => service::set(&mut next, set)?,
        Mutation::ServiceBackends(change) => service::backends(&mut next, change)?,
        Mutation::ConnFlush(filter) => nat::flush(&next, filter)?,
        Mutation::FlowAdd(rule) => flow::add(&mut next, rule)?,
        Mutation::FlowDel(key) => flow::del(&mut next, key)?,
        Mutation::FlowReplace(rules) => flow::replace(&mut next, rules)?,
        Mutation::NetworkCreate(create) => network::create(&mut next, create)?,
        Mutation::NetworkRm(request) => network::rm(&mut next, request)?,
        Mutation::NetworkSet(set) => network::set(&mut next, set)?,
        Mutation::NetworkConnect(connect) => network::connect(&mut next, connect)?,
        Mutation::NetworkHandover(handover) => network::handover(&mut next, handover)?,
        Mutation::NetworkDisconnect(request) => network::disconnect(&mut next, request)?,
        Mutation::PoolAdd(add) => ipam::pool_add(&mut next, add)?,
        Mutation::PoolDel(named) => ipam::pool_del(&mut next, named)?,
        Mutation::IpamRequest(request) => ipam::request(&mut next, request)?,
        Mutation::IpamRelease(release) => ipam::release(&mut next, release)?,
        Mutation::IpamFree(filter) => ipam::free(&mut next, filter)?,
        Mutation::Batch(batch) => {
            if let Some(last) = apply_all(config, batch)?.pop() {
                next = last;
            }
        }
    }
    settle(config, &mut next);
    loopback::settle(config, &mut next);
    Ok(next)
}

/// That something is there already, but otherwise.
fn otherwise(what: &str, name: impl std::fmt::Display, remedy: &str) -> CtlError {
    let message = format!("{what} {name} exists already, and is another one; {remedy}");
    CtlError::new(ErrorCode::Exists, message)
}
