//! The scorecard as a document.

use std::fmt::Write as _;

use netlab::{Need, Test, TestResult, test};

use crate::linux::{self, Linux};
use crate::ours::Ours;
use crate::requirement::{Finding, Requirement};
use crate::subject::{Nat, Setup};
use crate::{rfc4787, rfc5382, rfc5508, rfc6888, rfc7857};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/NAT-SCORECARD.md");

const HEAD: &str = "# NAT scorecard

What the RFCs require of a NAT, and what is met: by the pipeline, and by a Linux router. Each line of the first table
is a test of the same name, which sends packets on one side and looks at what comes out on the other
(`flows/tests/scorecard`). This file is written from its results, and a test fails when it says anything else:

```sh
SCORECARD=write cargo test -p flows --test scorecard the_scorecard
```

The Linux router is a network namespace with nftables, masquerading as below, and everything else as the kernel has it
by default. It is sent the same packets. Where a check lets time pass, every connection that the kernel tracks is given so
much less time to live, by ctnetlink, and is removed where none is left. A check that asks for more than masquerading
gets the nearest that nftables has: a pool is `snat to 203.0.113.100-203.0.113.103 persistent`, one with gaps a map of `jhash ip saddr`, a single port
`masquerade to :5000`, a quota of sessions `ct count over 3`, an exception `ip daddr != 198.51.100.128/25`. There is no endpoint-independent filtering, and what asks
for it is not met.

";

/// How the line begins that says by what the column of Linux was measured. It may be another elsewhere.
const MEASURED: &str = "Measured with";

const TABLE: &str = "
| Requirement | It asks | Ours | Linux |
| --- | --- | --- | --- |
";

/// What has no check, and why.
const UNCHECKED: &[(&str, &str)] = &[
    ("RFC 4787 REQ-5a, REQ-6a", "options that a NAT may have"),
    ("RFC 4787 REQ-7", "not applicable: addresses are configured, and do not change by themselves"),
    ("RFC 4787 REQ-8a, RFC 5382 REQ-3a, REQ-3b, REQ-5a", "options that a NAT may have"),
    ("RFC 4787 REQ-10a", "not applicable: there are no application-level gateways to switch"),
    (
        "RFC 5382 REQ-4a",
        "not applicable: as its policy permits, an unsolicited SYN is never answered",
    ),
    (
        "RFC 5508 REQ-3d",
        "not applicable: checksums of what is quoted are not looked at (REQ-3c above)",
    ),
    ("RFC 5508 REQ-9, REQ-11", "options that a NAT may have"),
    (
        "RFC 5508 REQ-10b (others)",
        "options that a NAT may have: redirects, source routes, address masks and router discovery",
    ),
    ("RFC 6888 REQ-1, REQ-2", "those of RFC 4787, RFC 5382 and RFC 5508 above"),
    ("RFC 6888 REQ-4b", "an option that a NAT may have"),
    (
        "RFC 6888 REQ-8 (that it can be configured)",
        "not met: the 120 seconds are a constant, and no number of ports is an exception",
    ),
    (
        "RFC 6888 REQ-9",
        "not applicable: containers are no subscribers; who opens ports to the world is the operator, by `nat publish`, \
         and a program inside that could do it too would take that decision away",
    ),
    (
        "RFC 6888 REQ-10",
        "not applicable: the switch is managed by its own protocol (docs/PROTOCOL.md), in which everything of RFC 4008's \
         objects has its place, and no part of it speaks SNMP",
    ),
    (
        "RFC 6888 REQ-11b",
        "not applicable: for the same case RFC 5508 REQ-8 asks for another code, and is not updated by it",
    ),
    (
        "RFC 6888 REQ-11c",
        "not applicable: no management system is notified of anything; who asks sees what was refused (`nat list`, `stats`)",
    ),
    ("RFC 6888 REQ-12, REQ-14", "not applicable: no mapping is logged"),
    (
        "RFC 7857 section 3",
        "an option that a NAT may have, and not one with endpoint-independent mapping",
    ),
    ("RFC 7857 section 11", "an option that a NAT may have"),
    ("RFC 7857 section 12", "not applicable: it is about NATs that translate addresses only"),
];

fn all() -> impl Iterator<Item = &'static Requirement> {
    let tables = [
        rfc4787::REQUIREMENTS,
        rfc5382::REQUIREMENTS,
        rfc5508::REQUIREMENTS,
        rfc6888::REQUIREMENTS,
        rfc7857::REQUIREMENTS,
    ];
    tables.into_iter().flatten()
}

fn card() -> String {
    let mut card =
        format!("{HEAD}```text\n{}```\n\n{MEASURED} {}.\n{TABLE}", linux::RULES, linux::versions());
    for Requirement { name, text, check } in all() {
        let says = |finding: Finding| if finding.is_ok() { "met" } else { "not met" };
        let ours = says(check(&mut Ours::new()));
        let linux = says(measure(*check));
        writeln!(card, "| {name} | {} | {ours} | {linux} |", text.trim()).unwrap();
    }
    card.push_str("\nWithout a check:\n\n| Requirement | Why |\n| --- | --- |\n");
    for (name, why) in UNCHECKED {
        writeln!(card, "| {name} | {why} |").unwrap();
    }
    card
}

/// What a check finds at a Linux router that was never asked before.
fn measure(check: fn(&mut dyn Nat) -> Finding) -> Finding {
    let mut linux = Linux::new().unwrap();
    linux.set_up(Setup::Plain).unwrap();
    check(&mut linux)
}

fn the_scorecard_says_what_the_tests_say() -> TestResult {
    let card = card();
    if std::env::var("SCORECARD").is_ok_and(|what| what == "write") {
        std::fs::write(PATH, &card)?;
    }
    let written = std::fs::read_to_string(PATH)?;
    let said = |card: &str| -> Vec<String> {
        card.lines().filter(|line| !line.starts_with(MEASURED)).map(str::to_owned).collect()
    };
    for (written, found) in said(&written).iter().zip(&said(&card)) {
        assert_eq!(written, found);
    }
    assert_eq!(said(&written).len(), said(&card).len());
    Ok(())
}

pub fn tests() -> Vec<Test> {
    vec![test!(the_scorecard_says_what_the_tests_say).needs(Need::Nft)]
}
