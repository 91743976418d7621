//! Whatever a runtime writes to the plugin is understood or refused by a code of the specification: the first line is
//! `CNI_ARGS`, the rest the network configuration.
#![no_main]

use cni::{Args, NetConf, Outcome, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (line, input) = data.split_at(data.iter().position(|byte| *byte == b'\n').unwrap_or(0));
    let args: Args = String::from_utf8_lossy(line).parse().unwrap_or_default();
    let conf = match decode(input).and_then(NetConf::read) {
        Ok(conf) => conf,
        Err(error) => return assert!([1, 2, 6, 7].contains(&error.code()), "{error}"),
    };
    let _ = (conf.network(), conf.mac(&args), conf.requested_ips(&args), conf.dns());
    if let Some(previous) = &conf.previous {
        if let Ok(outcome) = Outcome::read(previous.clone()) {
            // What is said in one version is understood again.
            let said = outcome.after(None, conf.version);
            let serde_json::Value::Object(said) = said else { panic!("a result is an object") };
            Outcome::read(said).expect("a result of ours is one");
        }
    }
});
