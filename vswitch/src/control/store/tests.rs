//! A state directory, whatever happens to whoever uses it.

use super::*;
use ctl::{BridgeAdd, Mutation, apply, plan};

/// A directory of its own, which goes with it.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vswitch-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn size(&self, file: &str) -> u64 {
        fs::metadata(self.0.join(file)).map_or(0, |found| found.len())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn with_bridge(config: &Config, name: &str) -> Config {
    let add = Mutation::BridgeAdd(BridgeAdd::new(name.parse().unwrap()));
    Config { revision: config.revision + 1, ..apply(config, &add).unwrap() }
}

fn keep(store: &mut Store, old: &Config, next: &Config) {
    store.keep(next, &plan(old, next)).unwrap();
}

#[test]
fn a_change_costs_a_line_until_the_journal_is_longer_than_the_state() {
    let directory = Directory::new("journal");
    let mut config = Config::default();
    let mut store = Store::open(&directory.0).unwrap();
    store.write(&config).unwrap();
    let (mut written, mut longest) = (0, 0);
    for number in 0..6000 {
        let before = directory.size(STATE_FILE);
        let next = with_bridge(&config, &format!("b{number}"));
        keep(&mut store, &config, &next);
        config = next;
        written += u32::from(directory.size(STATE_FILE) != before);
        longest = longest.max(directory.size(JOURNAL_FILE));
    }
    assert!((1..6).contains(&written), "written whole {written} times");
    assert!(longest <= directory.size(STATE_FILE).max(JOURNAL_BYTES));
    drop(store);
    assert_eq!(Store::open(&directory.0).unwrap().load().unwrap(), config);
}

#[test]
fn death_between_the_state_and_the_emptying_of_its_journal_is_harmless() {
    let directory = Directory::new("stale");
    let first = with_bridge(&Config::default(), "a");
    let second = with_bridge(&first, "b");
    let mut store = Store::open(&directory.0).unwrap();
    store.write(&first).unwrap();
    keep(&mut store, &first, &second);
    let stale = fs::read(directory.0.join(JOURNAL_FILE)).unwrap();
    assert!(!stale.is_empty());
    let next = Mutation::BridgeDel(ctl::Named::new("b".parse().unwrap()));
    let third = Config { revision: second.revision + 1, ..apply(&second, &next).unwrap() };
    store.write(&third).unwrap();
    fs::write(directory.0.join(JOURNAL_FILE), stale).unwrap();
    drop(store);
    assert_eq!(Store::open(&directory.0).unwrap().load().unwrap(), third);
}

#[test]
fn a_change_that_does_not_go_on_from_the_last_one_that_was_kept_is_written_whole() {
    let directory = Directory::new("again");
    let first = with_bridge(&Config::default(), "a");
    let (lost, instead) = (with_bridge(&first, "b"), with_bridge(&first, "c"));
    let mut store = Store::open(&directory.0).unwrap();
    store.write(&first).unwrap();
    // Kept, and then not made after all.
    keep(&mut store, &first, &lost);
    keep(&mut store, &first, &instead);
    drop(store);
    assert_eq!(Store::open(&directory.0).unwrap().load().unwrap(), instead);
}
