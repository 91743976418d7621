//! Examples in the help of every command: a group of commands shows the first one of each of its own.

use clap::{Command, CommandFactory};

use super::Arguments;

const HEADING: &str = "Examples:\n";

/// What `vswitchctl` understands, with examples in every help.
pub fn illustrated() -> Command {
    Arguments::command().mut_subcommands(illustrate)
}

fn illustrate(command: Command) -> Command {
    if !command.has_subcommands() {
        return command;
    }
    let command = command.mut_subcommands(illustrate);
    let firsts: Vec<_> = command.get_subcommands().filter_map(first_example).collect();
    match command.get_after_help() {
        None => command.after_help(format!("{HEADING}{}", firsts.join("\n"))),
        Some(_) => command,
    }
}

fn first_example(command: &Command) -> Option<String> {
    let help = command.get_after_help()?.to_string();
    let (_, examples) = help.split_once(HEADING)?;
    examples.lines().next().map(str::to_owned)
}
