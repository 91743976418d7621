//! Whatever is written as a rule is understood or refused, and what is understood prints as something
//! that means the same.
#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use ctl::flow::{Actions, FlowRule, FlowSyntax, Match, parse_rules};
use libfuzzer_sys::fuzz_target;

fn read<T: FromStr<Err = FlowSyntax> + Display + Debug + PartialEq>(text: &str) {
    match text.parse::<T>() {
        Ok(value) => assert_eq!(value.to_string().parse(), Ok(value)),
        Err(error) => {
            assert!(!error.advice.is_empty() && error.position <= text.chars().count() + 1)
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    read::<Match>(text);
    read::<Actions>(text);
    read::<FlowRule>(text);
    if let Ok(rules) = parse_rules(text) {
        let lines: Vec<_> = rules.iter().map(ToString::to_string).collect();
        assert_eq!(parse_rules(&lines.join("\n")), Ok(rules));
    }
});
