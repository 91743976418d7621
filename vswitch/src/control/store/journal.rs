//! The journal: what changed since the state was last written whole, one line a change.
//!
//! ```text
//!   5f1c09aa {"revision":18,"steps":[{"put_nat":["up-8080-tcp",{"publish":{...}}]}]}
//!   checksum of the rest of the line (CRC-32C), a space, JSON
//! ```
//!
//! A line is on disk before its change is answered, and before the next one is begun. So whatever death leaves of the
//! last line was never answered, and is left out; anything else that is wrong is damage, and refused. A line says what
//! shall be and from which revision on: those that the state has already are skipped, and so it does not matter
//! whether the journal was emptied after the state was written.

use std::io;

use ctl::{Action, Config};
use serde::{Deserialize, Serialize};

#[derive(Serialize)]
struct Written<'a> {
    revision: u64,
    steps: &'a [Action],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    revision: u64,
    steps: Vec<Action>,
}

/// The line of a change, its newline included.
pub(super) fn line(revision: u64, steps: &[Action]) -> io::Result<Vec<u8>> {
    let json = serde_json::to_string(&Written { revision, steps })?;
    Ok(format!("{:08x} {json}\n", crc32c::crc32c(json.as_bytes())).into_bytes())
}

/// Makes the changes of a journal that a configuration does not have yet. An error says what is wrong with which
/// line.
pub(super) fn replay(config: &mut Config, journal: &[u8]) -> Result<(), String> {
    let lines: Vec<_> = journal.split_inclusive(|byte| *byte == b'\n').collect();
    for (number, line) in (1usize..).zip(&lines) {
        let Some(json) = intact(line) else {
            let is_last = lines[number..].iter().all(|line| intact(line).is_none());
            return if is_last { Ok(()) } else { Err(format!("line {number} is damaged")) };
        };
        let entry: Entry =
            serde_json::from_slice(json).map_err(|error| format!("line {number}: {error}"))?;
        if entry.revision <= config.revision {
            continue;
        }
        if entry.revision != config.revision + 1 {
            let (from, to) = (config.revision, entry.revision);
            return Err(format!(
                "line {number} goes on from {from} with {to}: changes are missing"
            ));
        }
        entry.steps.into_iter().for_each(|step| config.carry_out(step));
        config.revision = entry.revision;
    }
    Ok(())
}

/// The JSON of a line that was written whole.
fn intact(line: &[u8]) -> Option<&[u8]> {
    let (sum, json) = line.strip_suffix(b"\n")?.split_at_checked(9)?;
    let sum = std::str::from_utf8(sum.strip_suffix(b" ")?).ok()?;
    (format!("{:08x}", crc32c::crc32c(json)) == sum).then_some(json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctl::{Mutation, apply, plan};

    /// What requests make of nothing, step by step, and the journal of it with the ends of its lines.
    fn history() -> (Vec<Config>, Vec<u8>, Vec<usize>) {
        let (mut configs, mut journal, mut ends) = (vec![Config::default()], Vec::new(), vec![0]);
        for text in [
            r#"{"op":"bridge.add","args":{"name":"br0","gateways":["10.0.0.1/24"]}}"#,
            r#"{"op":"bridge.add","args":{"name":"up","gateways":["192.0.2.1/24"]}}"#,
            r#"{"op":"port.add","args":{"name":"p","port":{"bridge":"br0","kind":{"tap":{"netns":"web"}}}}}"#,
            r#"{"op":"nat.add","args":{"rule":{"publish":{"on":"up","forward":"8080:10.0.0.2:80/tcp"}}}}"#,
            r#"{"op":"flow.add","args":{"priority":1,"match":"in_port=p,tcp","actions":"drop"}}"#,
            r#"{"op":"nat.del","args":{"name":"up-8080-tcp"}}"#,
            r#"{"op":"nat.set","args":{"window_checks":false}}"#,
        ] {
            let mutation: Mutation = serde_json::from_str(text).unwrap();
            let old = configs.last().unwrap();
            let mut next = apply(old, &mutation).unwrap();
            next.revision = old.revision + 1;
            journal.extend(line(next.revision, &plan(old, &next)).unwrap());
            ends.push(journal.len());
            configs.push(next);
        }
        (configs, journal, ends)
    }

    #[test]
    fn wherever_a_journal_is_cut_off_the_changes_that_were_answered_are_there_and_no_others() {
        let (configs, journal, ends) = history();
        for cut in 0..=journal.len() {
            let answered = ends.iter().filter(|end| **end <= cut).count() - 1;
            let mut config = Config::default();
            replay(&mut config, &journal[..cut]).unwrap();
            assert_eq!(config, configs[answered], "cut off at {cut}");
            // A block of the file may have been allocated and never written.
            let zeros = [&journal[..cut], &[0; 100]].concat();
            let mut config = Config::default();
            replay(&mut config, &zeros).unwrap();
            assert_eq!(config, configs[answered], "cut off at {cut}, and zeros");
        }
    }

    #[test]
    fn changes_that_the_state_has_already_are_not_made_again() {
        let (configs, journal, _) = history();
        for written in &configs {
            let mut config = written.clone();
            replay(&mut config, &journal).unwrap();
            assert_eq!(Some(&config), configs.last(), "from {}", written.revision);
        }
    }

    #[test]
    fn damage_before_the_end_is_refused() {
        let (_, journal, ends) = history();
        for at in 0..ends[ends.len() - 2] - 1 {
            let mut damaged = journal.clone();
            damaged[at] ^= 1;
            let error = replay(&mut Config::default(), &damaged).unwrap_err();
            assert!(error.contains("damaged"), "at {at}: {error}");
        }
        let error = replay(&mut Config::default(), &journal[ends[1]..]).unwrap_err();
        assert!(error.contains("missing"), "{error}");
    }
}
