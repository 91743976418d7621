//! Rules.

use std::path::Path;

use ctl::flow::{FlowRule, parse_rules};
use ctl::{FlowList, FlowReplace, Mutation, Query, Request};

use super::{NoRequest, text_of};
use crate::cli::args::FlowCommand;

pub(super) fn request(command: &FlowCommand) -> Result<Request, NoRequest> {
    Ok(match command {
        FlowCommand::Add { rule } => {
            let rule: FlowRule = rule.join(" ").parse()?;
            Request::Mutation(Mutation::FlowAdd(Box::new(rule)))
        }
        FlowCommand::Del { which } => Request::Mutation(Mutation::FlowDel(which.clone())),
        FlowCommand::List { limit, after } => {
            Request::Query(Query::FlowList(FlowList { limit: *limit, after: *after }))
        }
        FlowCommand::Replace { file } => {
            let rules = rules_of(file)?;
            Request::Mutation(Mutation::FlowReplace(FlowReplace { rules }))
        }
    })
}

fn rules_of(path: &Path) -> Result<Vec<FlowRule>, NoRequest> {
    parse_rules(&text_of(path)?).map_err(|wrong| NoRequest::Rules { path: path.to_owned(), wrong })
}
