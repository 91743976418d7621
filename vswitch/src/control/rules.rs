//! Rules: how much each was used, and which go away by themselves.

use ctl::FlowList;
use ctl::flow::FlowId;
use ctl::response::{FlowInfo, FlowPage};
use flows::Nanos;

use super::compile::rules::rule_id;
use super::switch::Switch;

impl Switch {
    /// Some of the rules, by their numbers.
    pub fn flow_page(&self, list: &FlowList) -> FlowPage {
        let (now, counters) = (self.fleet_ref().clock().now(), &self.fleet_ref().tables().rules);
        let seconds = |since: Nanos| u32::try_from(now.since(since).as_secs()).unwrap_or(u32::MAX);
        let is_behind = |id: &FlowId| list.after.is_none_or(|after| *id > after);
        let mut rules = self.config().flows.iter().filter(|(id, _)| is_behind(id));
        let limit = usize::try_from(list.limit.number()).unwrap_or(usize::MAX);
        let page = rules.by_ref().take(limit);
        let flows: Vec<_> = page
            .map(|(id, rule)| {
                let hits = counters.hits(rule_id(*id));
                FlowInfo {
                    id: *id,
                    rule: rule.clone(),
                    packets: hits.frames,
                    bytes: hits.bytes,
                    age_seconds: counters.begun(rule_id(*id)).map_or(0, seconds),
                    idle_seconds: hits.last_used.map(seconds),
                }
            })
            .collect();
        let is_more = rules.next().is_some();
        FlowPage { next: flows.last().filter(|_| is_more).map(|flow| flow.id), flows }
    }

    /// Whether some rules go away by themselves.
    pub fn has_mortal_rules(&self) -> bool {
        self.rules().mortal().next().is_some()
    }

    /// Removes the rules whose time is over.
    pub fn expire_rules(&mut self) {
        let now = self.fleet_ref().clock().now();
        let counters = &self.fleet_ref().tables().rules;
        let expired: Vec<_> = self
            .rules()
            .mortal()
            .filter(|(id, timeouts)| counters.is_over(rule_id(*id), *timeouts, now))
            .map(|(id, _)| id)
            .collect();
        if expired.is_empty() {
            return;
        }
        let mut next = self.config().clone();
        expired.iter().for_each(|id| drop(next.flows.remove(id)));
        if let Err(error) = self.advance(next) {
            self.note_problem(format!("rules whose time is over stay: {error}"));
        }
    }
}
