//! Address translation.

use ctl::{
    Masquerade, Mutation, Named, NatAdd, NatRule, NatSet, PrefixTranslation, Publish, Query,
    Request, RuleName, TimeoutsSet,
};

use crate::cli::args::{
    MasqueradeCommand, MasqueradeOptions, NatCommand, PrefixCommand, PublishCommand,
    TimeoutsCommand,
};

pub(super) fn request(command: &NatCommand) -> Request {
    match command {
        NatCommand::Masquerade(MasqueradeCommand::Add(options)) => {
            add(&options.name, NatRule::Masquerade(masquerade(options)))
        }
        NatCommand::Publish(PublishCommand::Add { forward, on, to, port, name }) => {
            let (on, to, port) = (on.clone(), to.clone(), port.clone());
            let publish = Publish { on, forward: *forward, to, port };
            add(name, NatRule::Publish(publish))
        }
        NatCommand::Prefix(PrefixCommand::Add { inside, outside, from, to, name }) => {
            let (from, to) = (from.clone(), to.clone());
            let prefix = PrefixTranslation { from, to, inside: *inside, outside: *outside };
            add(name, NatRule::Prefix(prefix))
        }
        NatCommand::List
        | NatCommand::Masquerade(MasqueradeCommand::List)
        | NatCommand::Publish(PublishCommand::List)
        | NatCommand::Prefix(PrefixCommand::List) => Request::Query(Query::NatList),
        NatCommand::Del(removal)
        | NatCommand::Masquerade(MasqueradeCommand::Del(removal))
        | NatCommand::Publish(PublishCommand::Del(removal))
        | NatCommand::Prefix(PrefixCommand::Del(removal)) => {
            let named = Named { name: removal.name.clone(), if_exists: removal.if_exists };
            Request::Mutation(Mutation::NatDel(named))
        }
        NatCommand::Timeouts(TimeoutsCommand::Show) => Request::Query(Query::NatSettings),
        NatCommand::Timeouts(TimeoutsCommand::Set { timeouts }) => {
            // Of two for the same, the last one counts.
            let timeouts =
                timeouts.iter().rev().fold(TimeoutsSet::default(), |all, one| all.or(*one));
            set(NatSet { timeouts: Some(timeouts), window_checks: None })
        }
        NatCommand::Set { window_checks } => {
            set(NatSet { timeouts: None, window_checks: Some(*window_checks) })
        }
    }
}

fn add(name: &Option<RuleName>, rule: NatRule) -> Request {
    Request::Mutation(Mutation::NatAdd(NatAdd { name: name.clone(), rule }))
}

fn set(set: NatSet) -> Request {
    Request::Mutation(Mutation::NatSet(set))
}

fn masquerade(options: &MasqueradeOptions) -> Masquerade {
    Masquerade {
        from: options.from.clone(),
        to: options.to.clone(),
        addresses: options.addresses.clone(),
        ports: options.ports,
        filtering: options.filtering,
        port_quota: options.port_quota,
        session_quota: options.session_quota,
        ipv6: options.ipv6,
        except: options.except.clone(),
    }
}
