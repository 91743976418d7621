//! Address translation.

use ctl::response::NatInfo;
use ctl::{Filtering, Masquerade, NatRule, Tracking};

use crate::cli::table::{aligned, count, duration, facts};

pub(super) fn rules(rules: &[NatInfo]) -> String {
    let rows = rules.iter().map(|info| {
        vec![
            info.name.to_string(),
            what(info) + of_network(info),
            count(info.sessions),
            count(info.mappings),
            count(info.exhausted),
        ]
    });
    let headings = ["rule", "does", "sessions", "mappings", "refused"];
    aligned(&headings, &[2, 3, 4], rows.collect())
}

/// That a rule is a network's, which it follows.
fn of_network(info: &NatInfo) -> &'static str {
    if info.network.is_some() { " (network)" } else { "" }
}

fn what(info: &NatInfo) -> String {
    match &info.rule {
        NatRule::Masquerade(rule) => {
            let words = format!("masquerade {} to {}", rule.from, rule.to);
            std::iter::once(words).chain(particulars(rule)).collect::<Vec<_>>().join(" ")
        }
        NatRule::Publish(rule) => {
            let bridge = info.container_bridge.as_ref();
            let to = bridge.map_or_else(String::new, |bridge| format!(" to {bridge}"));
            format!("publish {} on {}{to}", rule.forward, rule.on)
        }
        NatRule::Prefix(rule) => {
            format!("prefix {} as {}, {} to {}", rule.inside, rule.outside, rule.from, rule.to)
        }
    }
}

/// What is not as it usually is.
fn particulars(rule: &Masquerade) -> Vec<String> {
    let plain = Masquerade::new(rule.from.clone(), rule.to.clone());
    let mut words = Vec::new();
    words.extend(rule.addresses.iter().map(|addresses| format!("as {addresses}")));
    words.extend((rule.ports != plain.ports).then(|| format!("ports {}", rule.ports)));
    let open = rule.filtering == Filtering::EndpointIndependent;
    words.extend(open.then(|| "open to all".to_owned()));
    words.extend(rule.port_quota.map(|most| format!("{most} ports each")));
    words.extend(rule.session_quota.map(|most| format!("{most} sessions each")));
    words.extend(rule.except.iter().map(|network| format!("except {network}")));
    words.extend((rule.ipv6 && rule.addresses.is_none()).then(|| "with IPv6".to_owned()));
    words
}

pub(super) fn tracking(tracking: &Tracking) -> String {
    let named = tracking.timeouts.named();
    let timeouts = named.map(|(name, seconds)| (name, duration(u64::from(seconds) * 1000)));
    let windows = if tracking.window_checks { "on" } else { "off" };
    let mut rows = timeouts.to_vec();
    rows.push(("window checks", windows.to_owned()));
    facts(&rows)
}
