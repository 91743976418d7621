//! The scorecard as a document.

use std::fmt::Write as _;

use crate::ours::Ours;
use crate::requirement::Requirement;
use crate::{rfc4787, rfc5382, rfc5508, rfc6888};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/NAT-SCORECARD.md");

const HEAD: &str = "# NAT scorecard

What the RFCs require of a NAT, and what is met. Each line of the first table is a test of the same name, which sends
packets on one side and looks at what comes out on the other (`flows/tests/scorecard`). This file is written from
its results, and a test fails when it says anything else:

```sh
SCORECARD=write cargo test -p flows --test scorecard the_scorecard
```

The column of Linux (nftables masquerade in a network namespace) is not measured yet.

| Requirement | It asks | Ours | Linux |
| --- | --- | --- | --- |
";

/// What has no check, and why.
const UNCHECKED: &[(&str, &str)] = &[
    ("RFC 4787 REQ-7", "not applicable: addresses are configured, and do not change by themselves"),
    (
        "RFC 4787 REQ-10",
        "no check: there are no application-level gateways, but payloads are not compared",
    ),
    ("RFC 5382 REQ-6", "not applicable: there are no application-level gateways"),
    ("RFC 5508 REQ-9", "optional: ICMP towards an interface is a matter of rules"),
    ("RFC 6888 REQ-1, REQ-2, REQ-3", "those of RFC 4787, RFC 5382 and RFC 5508 above"),
    ("RFC 6888 REQ-6", "no check: what is not masqueraded is a matter of routes"),
    ("RFC 6888 REQ-9", "not met: there is no PCP server"),
    ("RFC 6888 REQ-10", "not met: there is no MIB"),
    ("RFC 6888 REQ-12, REQ-13, REQ-14", "no check: logging and the allocation of ports in blocks"),
    ("RFC 7857 sections 3 to 10", "no check of their own"),
];

fn all() -> impl Iterator<Item = &'static Requirement> {
    let tables = [
        rfc4787::REQUIREMENTS,
        rfc5382::REQUIREMENTS,
        rfc5508::REQUIREMENTS,
        rfc6888::REQUIREMENTS,
    ];
    tables.into_iter().flatten()
}

fn card() -> String {
    let mut card = HEAD.to_owned();
    for Requirement { name, text, check } in all() {
        let met = if check(&mut Ours::new()).is_ok() { "met" } else { "not met" };
        writeln!(card, "| {name} | {} | {met} | not measured |", text.trim()).unwrap();
    }
    card.push_str("\nWithout a check:\n\n| Requirement | Why |\n| --- | --- |\n");
    for (name, why) in UNCHECKED {
        writeln!(card, "| {name} | {why} |").unwrap();
    }
    card
}

#[test]
fn the_scorecard_says_what_the_tests_say() {
    if std::env::var("SCORECARD").is_ok_and(|what| what == "write") {
        std::fs::write(PATH, card()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(PATH).unwrap(), card());
}
