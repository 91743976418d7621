//! [`FlowSyntax`]: what is wrong with the text of a rule, where, and what to write instead.

use std::fmt;

/// A rule, or a part of one, that cannot be understood or contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{token:?} at character {position}: {problem}; {advice}")]
pub struct FlowSyntax {
    /// The part that is wrong.
    pub token: String,
    /// Where it begins, counted in characters from 1.
    pub position: usize,
    /// What is wrong with it.
    pub problem: String,
    /// What would be right.
    pub advice: String,
}

/// What is wrong with a part, and what would be right; whoever knows where the part is says so.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    pub problem: String,
    pub advice: String,
}

impl Complaint {
    pub fn new(problem: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { problem: problem.into(), advice: advice.into() }
    }

    /// The complaint about that part.
    pub fn at(self, token: &Token<'_>) -> FlowSyntax {
        /// Of a token that is far too long only so much is repeated.
        const SHOWN: usize = 64;
        FlowSyntax {
            token: token.text.chars().take(SHOWN).collect(),
            position: token.position,
            problem: self.problem,
            advice: self.advice,
        }
    }
}

impl From<crate::BadName> for Complaint {
    fn from(bad: crate::BadName) -> Self {
        Self::new(format!("{:?} is no {}", bad.text, bad.what), bad.rule)
    }
}

/// A piece of a text, and where it begins, in characters from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub text: &'a str,
    pub position: usize,
}

impl<'a> Token<'a> {
    /// A whole text.
    pub fn whole(text: &'a str) -> Self {
        Self { text, position: 1 }
    }

    /// The part of it from one byte to another, without blanks around.
    fn part(&self, from: usize, to: usize) -> Self {
        let part = &self.text[from..to];
        let text = part.trim();
        let before = part.len() - part.trim_start().len();
        Self { text, position: self.position + self.text[..from + before].chars().count() }
    }

    /// The parts between separators that are not in braces or, as OVS's `resubmit(,1)`, brackets.
    pub fn split(&self, is_separator: impl Fn(char) -> bool) -> Vec<Self> {
        let (mut parts, mut from, mut depth) = (Vec::new(), 0, 0u32);
        for (at, c) in self.text.char_indices() {
            match c {
                '{' | '(' => depth += 1,
                '}' | ')' => depth = depth.saturating_sub(1),
                _ if depth == 0 && is_separator(c) => {
                    parts.push(self.part(from, at));
                    from = at + c.len_utf8();
                }
                _ => {}
            }
        }
        parts.push(self.part(from, self.text.len()));
        parts
    }

    /// What is before the first byte of `needle` and what is behind its last.
    pub fn around(&self, needle: &str) -> Option<(Self, Self)> {
        let at = self.text.find(needle)?;
        Some((self.part(0, at), self.part(at + needle.len(), self.text.len())))
    }
}

/// Writes things with a separator between them.
pub(super) fn joined<T: fmt::Display>(things: impl IntoIterator<Item = T>, by: &str) -> String {
    let things: Vec<_> = things.into_iter().map(|thing| thing.to_string()).collect();
    things.join(by)
}
