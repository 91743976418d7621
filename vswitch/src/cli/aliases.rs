//! Names that people know from other switches, and what they are called here.

use std::ffi::OsString;

/// The names, from Open vSwitch and brctl. (`pmd-perf-show` and the like, of one word here too, are aliases in
/// `args`.)
pub const ALIASES: [(&str, &[&str]); 19] = [
    ("fdb/show", &["fdb", "show"]),
    ("fdb/add", &["fdb", "add"]),
    ("fdb/del", &["fdb", "del"]),
    ("fdb/flush", &["fdb", "flush"]),
    ("add-br", &["bridge", "add"]),
    ("addbr", &["bridge", "add"]),
    ("del-br", &["bridge", "del"]),
    ("delbr", &["bridge", "del"]),
    ("list-br", &["bridge", "list"]),
    ("del-port", &["port", "del"]),
    ("list-ports", &["port", "list"]),
    ("dump-flows", &["flow", "list"]),
    ("dpif-netdev/pmd-perf-show", &["perf"]),
    ("dpif-netdev/pmd-stats-show", &["perf"]),
    ("coverage/show", &["drops"]),
    ("dpctl/dump-conntrack", &["conn", "list"]),
    ("ovs/route/show", &["route", "list"]),
    ("tnl/neigh/show", &["neighbor", "show"]),
    ("tnl/ports/show", &["vxlan", "list"]),
];

/// Options before the command whose value is the next word.
const WITH_VALUE: [&str; 2] = ["--socket", "--color"];

/// Replaces the command by what it is called here, if it has a name from another switch.
pub fn translate(words: Vec<OsString>) -> Vec<OsString> {
    let Some(at) = command_place(&words) else { return words };
    let Some((_, names)) = ALIASES.iter().find(|(alias, _)| words[at] == *alias) else {
        return words;
    };
    let names = names.iter().map(OsString::from);
    words[..at].iter().cloned().chain(names).chain(words[at + 1..].iter().cloned()).collect()
}

/// Where the command is: what follows it may be anybody's name.
fn command_place(words: &[OsString]) -> Option<usize> {
    let mut at = 1;
    loop {
        let word = words.get(at)?;
        match word.to_str() {
            Some(option) if WITH_VALUE.contains(&option) => at += 2,
            Some(option) if option.starts_with('-') => at += 1,
            _ => return Some(at),
        }
    }
}
