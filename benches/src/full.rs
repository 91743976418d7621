//! Everything that a report is made of, in one go.
//!
//! Each part is a run of this program by itself, so that none finds what another left behind. A part that fails is
//! told of, and the others go on: whoever has waited for minutes shall have what there is.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::record::{Record, command_line};

/// The parts, as they are asked for on the command line: on two cores that are idle, less than half an hour. No two
/// have a measure in common.
const PARTS: [&[&str]; 9] = [
    &["compare", "--only", "all", "--measure", OF_ALL, "--seconds", "0.2"],
    &["compare", "--only", MAIN, "--measure", OF_MAIN, "--seconds", "0.2"],
    &["pipeline", "--seconds", "0.1"],
    &["stages", "--seconds", "0.1"],
    &["null-ports", "--seconds", "0.2"],
    &["idle", "--seconds", "10"],
    &["rfc2544", "--only", SWITCHES, "--frame-bytes", SIZES, "--seconds", "0.2", "--rounds", "1"],
    &["rfc2889", "--only", LEARNERS, "--stations", "4096", "--seconds", "0.2", "--rounds", "1"],
    &["scale", "--seconds", "0.2"],
];
/// Of everything that is installed, what it is chosen by.
const OF_ALL: &str = "sessions,tcp,udp64,rr,crr";
/// Of the main subjects, the rest.
const OF_MAIN: &str = "latency,tcp-back,tcp4,tcp64,udp128,udp256,udp512,udp1024,udp1280,udp1518,\
                       udp9000,imix,flows1k,flows50k,udp-gso,rr-traffic";
const MAIN: &str = "bridge,veth,tap,gso,xdp,offload,ovs-tso,nft-nat,nat,linux-vxlan,vxlan";
const SWITCHES: &str = "bridge,tap,gso,xdp,offload";
const LEARNERS: &str = "bridge,tap,gso,xdp,nft-nat,nat";
const SIZES: &str = "64,512,1518";

/// Runs all parts, and returns them as one run; as shortly as they can be, if that is wanted.
pub(crate) fn run(is_quick: bool) -> Result<Record, Box<dyn Error>> {
    let directory = std::env::temp_dir().join(format!("benches-full-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let file = |number| directory.join(format!("{number}.json"));
    let files: Vec<_> = (0..PARTS.len()).map(file).collect();
    let parts = PARTS.map(|part| if is_quick { shortened(part) } else { part.to_vec() });
    parts.iter().zip(&files).try_for_each(|(part, file)| one(part, file))?;
    let all = merged(files.iter().filter(|file| file.exists()));
    std::fs::remove_dir_all(&directory)?;
    let mut all = all?;
    all.command = format!("{}: {}", command_line(), all.command);
    Ok(all)
}

/// Several runs as one.
///
/// # Errors
/// When there is none, one cannot be read, or they do not belong together.
pub(crate) fn merged<'a>(
    files: impl IntoIterator<Item = &'a PathBuf>,
) -> Result<Record, Box<dyn Error>> {
    let mut files = files.into_iter();
    let mut all = Record::read(files.next().ok_or("there is no run")?)?;
    for file in files {
        let taken_in = all.absorb(Record::read(file)?);
        taken_in.map_err(|why| format!("cannot take in {}: {why}", file.display()))?;
    }
    Ok(all)
}

/// A part whose figures mean nothing, and which shows that all of it works.
fn shortened<'a>(part: &[&'a str]) -> Vec<&'a str> {
    let mut short = part.to_vec();
    if let Some(at) = part.iter().position(|word| *word == "--seconds") {
        short[at + 1] = "0.05";
    }
    match part[0] {
        "compare" | "null-ports" => short.extend(["--rounds", "1"]),
        "scale" => short.push("--tenth"),
        "idle" => short.extend(["--ports", "10"]),
        _ => {}
    }
    short
}

/// Runs a part, which writes a file unless it fails.
fn one(part: &[&str], file: &Path) -> Result<(), Box<dyn Error>> {
    eprintln!("benches {}", part.join(" "));
    let mut command = Command::new(std::env::current_exe()?);
    let status = command.args(part).arg("--json").arg(file).status()?;
    if !status.success() {
        eprintln!("benches: {} ended with {status}", part[0]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::Arguments;

    #[test]
    fn every_part_is_a_command_line_that_writes_a_file() {
        for part in PARTS.into_iter().flat_map(|part| [part.to_vec(), shortened(part)]) {
            let all = ["benches"].iter().chain(&part).chain(&["--json", "run.json"]);
            assert!(Arguments::try_parse_from(all).is_ok(), "{part:?}");
        }
    }

    #[test]
    fn what_the_parts_name_exists() {
        let names = |list: &str| list.split(',').map(str::to_owned).collect::<Vec<_>>();
        for list in [MAIN, SWITCHES, LEARNERS] {
            assert!(crate::chosen_subjects(&names(list)).is_ok(), "{list}");
        }
        let measures = [names(OF_ALL), names(OF_MAIN)].concat();
        assert!(measures.iter().all(|name| crate::measure::by_name(name).is_some()));
        let different: std::collections::BTreeSet<_> = measures.iter().collect();
        assert_eq!(different.len(), measures.len(), "a figure that two parts have is nobody's");
    }
}
