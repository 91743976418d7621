//! Instructions of a case, by callgrind: this program again, with one case, where only the work that is measured is
//! counted. They are those of the machine code as it is, whatever else the machine does meanwhile.

use std::error::Error;
use std::process::Command;

use super::{Kind, meter};

/// Items that are counted: enough that what comes once in a while has its share.
const ITEMS: usize = 1 << 13;
/// The subcommand by which this program does one case.
pub(crate) const COUNT_ALONE: &str = "count-alone";

/// Instructions per item.
pub(super) fn of(case: &str) -> Result<f64, Box<dyn Error>> {
    let file = std::env::temp_dir().join(format!("benches-callgrind-{}", std::process::id()));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*benches_counted_region*"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(std::env::current_exe()?)
        .args([COUNT_ALONE, case])
        .output()
        .map_err(|error| format!("cannot run valgrind, which counts instructions: {error}"))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(format!("valgrind failed: {}", why.lines().last().unwrap_or("")).into());
    }
    let items: f64 = String::from_utf8(output.stdout)?.trim().parse()?;
    let profile = std::fs::read_to_string(&file)?;
    std::fs::remove_file(&file)?;
    let counted = counted(&profile).ok_or("callgrind's file has no totals")?;
    Ok(counted / items)
}

/// What callgrind counted in all ("Callgrind Format Specification", 3.1.5: `totals`).
fn counted(profile: &str) -> Option<f64> {
    let line = profile.lines().find_map(|line| line.strip_prefix("totals: "))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Does one case where callgrind counts, and returns how many items that were.
pub(crate) fn count_alone(name: &str) -> Result<usize, Box<dyn Error>> {
    let mut all = Kind::ALL.into_iter().flat_map(Kind::cases);
    let case = all.find(|case| case.name() == name);
    let case = case.ok_or_else(|| format!("there is no case {name:?}"))?;
    Ok(meter::counted(&mut (case.build)()?, ITEMS)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_a_profile_is_found() {
        let profile = "version: 1\nevents: Ir\nfn=(1) x\n12 34\n\ntotals: 123456\n";
        assert_eq!(counted(profile), Some(123_456.0));
        assert_eq!(counted("version: 1\n"), None);
    }
}
