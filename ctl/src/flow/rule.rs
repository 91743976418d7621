//! [`FlowRule`]: a rule whole, and [`FlowId`], its number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::error::{Complaint, FlowSyntax, Token};
use super::value::number;
use super::{Actions, Match};
use crate::Table;
use crate::names::{BadName, bad, digits};

/// The number of a rule: dense, because its counters are found by it. Of rules with equal priority, the
/// one with the lower number goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct FlowId(u32);

impl FlowId {
    /// Numbers are below this, and so are rules.
    pub const LIMIT: u32 = 1 << 20;
    const RULE: &str = "use 0 to 1048575; `flow list` shows the numbers";

    /// The number.
    pub fn number(self) -> u32 {
        self.0
    }

    /// The number for the next rule: behind all others, so that it goes last among equals. When the
    /// numbers have run out at that end, the lowest that is free; `None` when none is.
    pub fn next<T>(rules: &Table<Self, T>) -> Option<Self> {
        let behind = rules.get_max().map_or(0, |(last, _)| last.0 + 1);
        if behind < Self::LIMIT {
            return Some(Self(behind));
        }
        (0..Self::LIMIT)
            .zip(rules.keys())
            .find(|(free, used)| *free != used.0)
            .map(|(free, _)| Self(free))
    }
}

impl TryFrom<u32> for FlowId {
    type Error = BadName;

    fn try_from(number: u32) -> Result<Self, BadName> {
        if number < Self::LIMIT {
            Ok(Self(number))
        } else {
            Err(bad("number of a rule", &number.to_string(), Self::RULE))
        }
    }
}

impl FromStr for FlowId {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let wrong = || bad("number of a rule", text, Self::RULE);
        Self::try_from(digits::<u32>(text).ok_or_else(wrong)?)
    }
}

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for FlowId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(u32::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// A rule: `100 tcp,dport=80 limit:10mbit,allow idle_timeout=60`. Priority and match are what it is
/// known by: two rules with equal ones are two versions of one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowRule {
    /// The higher goes first.
    pub priority: u32,
    /// What it is for.
    #[serde(rename = "match")]
    pub matches: Match,
    /// What becomes of that.
    pub actions: Actions,
    /// Seconds after its last use at which it goes away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<u32>,
    /// Seconds at which it goes away in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hard_timeout: Option<u32>,
}

impl FlowRule {
    /// The priority of a rule in OVS's form that gives none.
    const OVS_PRIORITY: u32 = 32_768;

    /// A rule that stays.
    pub fn new(priority: u32, matches: Match, actions: Actions) -> Self {
        Self { priority, matches, actions, idle_timeout: None, hard_timeout: None }
    }

    /// `PRIORITY MATCH ACTIONS [idle_timeout=S] [hard_timeout=S]`.
    fn from_words(words: &[Token<'_>]) -> Result<Self, FlowSyntax> {
        let form = |token: &Token<'_>| {
            let advice = "write PRIORITY MATCH ACTIONS, such as `100 tcp,dport=80 allow`, and perhaps \
                          idle_timeout=S and hard_timeout=S";
            Complaint::new("a rule is a priority, a match and actions", advice).at(token)
        };
        let [priority, matches, actions, options @ ..] = words else {
            return Err(form(words.last().unwrap_or(&Token::whole(""))));
        };
        let number = number(priority.text).map_err(|_| form(priority))?;
        let matches = Match::from_tokens(&matches.split(is_comma))?;
        let actions = Actions::from_tokens(&actions.split(is_comma))?;
        let mut rule = Self::new(number, matches, actions);
        for option in options {
            let known = rule.set_timeout(option.text).map_err(|wrong| wrong.at(option))?;
            known.then_some(()).ok_or_else(|| form(option))?;
        }
        Ok(rule)
    }

    /// OVS's `priority=N,MATCH,actions=ACTIONS`.
    fn from_ovs(head: &Token<'_>, actions: &Token<'_>) -> Result<Self, FlowSyntax> {
        let actions = Actions::from_tokens(&actions.split(is_comma))?;
        let mut rule = Self::new(Self::OVS_PRIORITY, Match::default(), actions);
        let mut matches = Vec::new();
        let tokens = head.split(|c| is_comma(c) || c.is_whitespace());
        for token in tokens.into_iter().filter(|token| !token.text.is_empty()) {
            match token.text.strip_prefix("priority=") {
                Some(priority) => {
                    rule.priority = number(priority).map_err(|wrong| wrong.at(&token))?;
                }
                None if rule.set_timeout(token.text).map_err(|wrong| wrong.at(&token))? => {}
                None => matches.push(token),
            }
        }
        rule.matches = Match::from_tokens(&matches)?;
        Ok(rule)
    }

    /// Sets a timeout, if the text is one.
    fn set_timeout(&mut self, text: &str) -> Result<bool, Complaint> {
        let (timeout, value) = match text.split_once('=') {
            Some(("idle_timeout", value)) => (&mut self.idle_timeout, value),
            Some(("hard_timeout", value)) => (&mut self.hard_timeout, value),
            _ => return Ok(false),
        };
        // Zero is OVS's way to say that there is none.
        *timeout = Some(number::<u32>(value)?).filter(|seconds| *seconds > 0);
        Ok(true)
    }
}

fn is_comma(c: char) -> bool {
    c == ','
}

impl FromStr for FlowRule {
    type Err = FlowSyntax;

    fn from_str(text: &str) -> Result<Self, FlowSyntax> {
        let whole = Token::whole(text);
        if let Some((head, actions)) = whole.around("actions=") {
            return Self::from_ovs(&head, &actions);
        }
        let mut words = whole.split(char::is_whitespace);
        words.retain(|word| !word.text.is_empty());
        Self::from_words(&words)
    }
}

impl fmt::Display for FlowRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.priority, self.matches, self.actions)?;
        for (name, seconds) in
            [("idle_timeout", self.idle_timeout), ("hard_timeout", self.hard_timeout)]
        {
            if let Some(seconds) = seconds {
                write!(f, " {name}={seconds}")?;
            }
        }
        Ok(())
    }
}
