//! What the daemon may not do, told at once: without a right it begins all the same, and fails with what needs it much later.

use rustix::thread::{CapabilitySet, capabilities};

/// The rights that it needs (capabilities(7)), by what cannot be done without.
const NEEDED: [(CapabilitySet, &str, &str); 3] = [
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN", "no interface is made or changed"),
    (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN", "no namespace of a container is entered"),
    (CapabilitySet::NET_RAW, "CAP_NET_RAW", "no interface that is there already becomes a port"),
];

/// What it may not do, if it is so.
pub fn missing() -> Option<String> {
    // Where they cannot be read nothing is known of them.
    lack(capabilities(None).ok()?.effective)
}

fn lack(rights: CapabilitySet) -> Option<String> {
    let lacking = NEEDED.iter().filter(|(right, ..)| !rights.contains(*right));
    let lacking = lacking.map(|(_, name, without)| format!("{name} (without it {without})"));
    let lacking: Vec<_> = lacking.collect();
    (!lacking.is_empty()).then(|| {
        format!(
            "rights are missing: {}; start vswitchd as root, or with these rights",
            lacking.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_right_that_is_missing_is_told_with_what_needs_it() {
        assert_eq!(lack(CapabilitySet::all()), None);
        let told = lack(CapabilitySet::all() - CapabilitySet::SYS_ADMIN);
        let text = "rights are missing: CAP_SYS_ADMIN (without it no namespace of a container is entered); start vswitchd as root, or with \
                    these rights";
        assert_eq!(told.as_deref(), Some(text));
        let told = lack(CapabilitySet::empty()).unwrap();
        assert!(NEEDED.iter().all(|(_, name, _)| told.contains(name)), "{told}");
    }
}
