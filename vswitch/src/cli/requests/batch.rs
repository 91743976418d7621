//! Several commands, one a line, as one request.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, FromArgMatches};
use ctl::{Batch, CtlError, ErrorCode, Mutation, Request};

use super::{NoRequest, text_of};
use crate::cli::aliases;
use crate::cli::args::{Arguments, Command, FlowCommand};

/// All that is wrong with a file of commands, by lines, which are counted from 1.
#[derive(Debug)]
pub struct BadLines(Vec<(usize, String)>);

impl fmt::Display for BadLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.0.iter().map(|(line, wrong)| format!("line {line}: {wrong}"));
        f.write_str(&lines.collect::<Vec<_>>().join("\n"))
    }
}

/// A file of commands as one request, and the line of each.
#[derive(Debug)]
pub struct Script {
    /// The request.
    pub request: Request,
    /// What its changes are of.
    pub lines: Lines,
}

/// The lines of a file that ask for changes.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    numbers: Vec<usize>,
}

/// The daemon refuses a file of commands.
#[derive(Debug, thiserror::Error)]
#[error("the commands of {path} are refused, and none is carried out: {line}{wrong}", path = .path.display())]
pub struct Refused {
    path: PathBuf,
    /// The line that is to blame, if one is.
    line: String,
    wrong: String,
    /// What kind of thing went wrong.
    pub code: ErrorCode,
}

impl Script {
    /// Reads a file.
    ///
    /// # Errors
    /// [`NoRequest`].
    pub fn read(path: &Path) -> Result<Self, NoRequest> {
        let changes = changes(&text_of(path)?)
            .map_err(|wrong| NoRequest::Commands { path: path.to_owned(), wrong })?;
        let (numbers, changes) = changes.into_iter().unzip();
        let request = Request::Mutation(Mutation::Batch(Batch { changes }));
        Ok(Self { request, lines: Lines { path: path.to_owned(), numbers } })
    }
}

impl Lines {
    /// What the daemon's refusal means, in lines of the file.
    pub fn refused(self, error: &CtlError) -> Refused {
        let told = error.change(self.numbers.len());
        let told = told.and_then(|(at, wrong)| Some((self.numbers.get(at - 1)?, wrong)));
        let (line, wrong) = match told {
            Some((line, wrong)) => (format!("line {line}: "), wrong),
            None => (String::new(), &*error.message),
        };
        Refused { path: self.path, line, wrong: wrong.to_owned(), code: error.code }
    }
}

/// The changes that the lines of a text ask for, each with its line.
pub(in crate::cli) fn changes(text: &str) -> Result<Vec<(usize, Mutation)>, BadLines> {
    // Made once: it is a large tree.
    let mut parser = Arguments::command();
    let (mut changes, mut wrong) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        match words(line) {
            Ok(words) if words.is_empty() => {}
            Ok(words) => match change(&mut parser, words) {
                Ok(mutation) => changes.push((number, mutation)),
                Err(why) => wrong.push((number, why)),
            },
            Err(why) => wrong.push((number, why.to_owned())),
        }
    }
    if wrong.is_empty() { Ok(changes) } else { Err(BadLines(wrong)) }
}

/// The change that a line asks for.
fn change(parser: &mut clap::Command, words: Vec<String>) -> Result<Mutation, String> {
    let words = std::iter::once("vswitchctl".to_owned()).chain(words);
    let words = aliases::translate(words.map(Into::into).collect());
    let matches = parser.try_get_matches_from_mut(words);
    let parsed = matches.and_then(|matches| Arguments::from_arg_matches(&matches));
    let parsed = parsed.map_err(|error| first_line(&error))?;
    match &parsed.command {
        Command::Batch { .. } => return Err("a batch cannot contain another one".to_owned()),
        Command::Flow(FlowCommand::Replace { file }) if file == Path::new("-") => {
            return Err("name a file: standard input is read already".to_owned());
        }
        _ => {}
    }
    match super::of(&parsed.command) {
        Ok(Request::Mutation(mutation)) => Ok(mutation),
        Ok(Request::Query(_)) | Err(NoRequest::NotOne) => Err("this changes nothing".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// What is wrong, without the hints that follow on lines of their own.
fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// The words of a line, as a shell divides them: by blanks, but for those in quotes, up to a word that begins with `#`.
fn words(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '#' if word.is_none() => break,
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next() {
                        Some(end) if end == letter => break,
                        Some(quoted) => word.push(quoted),
                        None => return Err("a quotation mark is not closed"),
                    }
                }
            }
            blank if blank.is_whitespace() => words.extend(word.take()),
            plain => word.get_or_insert_default().push(plain),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_divided_as_a_shell_does() {
        let divided = |line| words(line).unwrap();
        assert_eq!(divided("  bridge add\tbr0  # the first"), ["bridge", "add", "br0"]);
        assert_eq!(
            divided(r#"flow add '1 any'" drop" x#y ''"#),
            ["flow", "add", "1 any drop", "x#y", ""]
        );
        assert!(divided(" # nothing").is_empty());
        assert!(words("flow add 'any").is_err());
    }

    #[test]
    fn a_file_is_a_change_a_line() {
        let text =
            "bridge add br0\n\n# a container\naddbr br1\nflow add 100 'tcp,dport={80,443}' allow\n";
        let changes = changes(text).unwrap();
        let json: Vec<_> =
            changes.iter().map(|(_, one)| serde_json::to_string(one).unwrap()).collect();
        assert!(json[1].contains(r#""name":"br1""#), "{json:?}");
        assert!(json[2].contains("{80,443}"), "{json:?}");
        let lines: Vec<_> = changes.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 4, 5]);
    }

    #[test]
    fn all_lines_that_are_wrong_are_named() {
        let text = "bridge add br0\nbridge ad br1\nstats\nbatch x\nflow replace -\nflow add 1 any 'drop\nversion";
        let wrong = changes(text).unwrap_err();
        let lines: Vec<_> = wrong.0.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6, 7], "{wrong}");
    }
}
