//! What the documentation lists is what there is.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const ARCHITECTURE: &str = include_str!("../../docs/ARCHITECTURE.md");
const DEPENDENCIES: &str = include_str!("../../docs/DEPENDENCIES.md");
const PERFORMANCE: &str = include_str!("../../docs/PERFORMANCE.md");
const README: &str = include_str!("../../README.md");

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The rows of a document's tables, without their outer bars, by their columns.
fn rows(document: &str) -> impl Iterator<Item = Vec<&str>> {
    let rows = document.lines().filter_map(|line| line.strip_prefix('|'));
    rows.map(|row| row.split('|').map(str::trim).collect())
}

/// What stands in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// All files of Rust in a directory and those in it.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let (directories, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let files = files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs"));
    files.chain(directories.iter().flat_map(|path| sources(path))).collect()
}

/// The crates of the workspace, by their directories.
fn crates() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(top()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.join("Cargo.toml").is_file()).collect()
}

/// The names in the tables of dependencies of a manifest.
fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let mut is_inside = false;
    manifest.lines().filter_map(move |line| {
        if line.starts_with('[') {
            is_inside = line.ends_with("dependencies]");
        }
        let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
        let is_name = is_inside && !name.is_empty() && !name.starts_with(['#', '[']);
        is_name.then_some(name)
    })
}

#[test]
fn the_architecture_lists_every_file_with_unsafe_code() {
    let table: BTreeSet<_> = rows(ARCHITECTURE)
        .filter(|row| row.len() > 2)
        .flat_map(|row| {
            let files = quoted(row[2]).filter(|file| file.ends_with(".rs"));
            let source = row[0].trim_matches('`').to_owned() + "/src/";
            files.map(|file| source.clone() + file).collect::<Vec<_>>()
        })
        .collect();
    let has_unsafe = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        code.flat_map(str::split_whitespace).any(|word| word == "unsafe")
    };
    let found = crates().into_iter().map(|path| path.join("src")).filter(|path| path.is_dir());
    let found = found.flat_map(|path| sources(&path)).filter(has_unsafe);
    let found: BTreeSet<_> =
        found.map(|path| path.strip_prefix(top()).unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(table, found);
}

#[test]
fn every_dependency_has_its_reason_and_every_reason_a_dependency() {
    let explained: BTreeSet<_> =
        rows(DEPENDENCIES).skip(2).flat_map(|row| quoted(row[0]).collect::<Vec<_>>()).collect();
    let manifests = crates().into_iter().map(|path| path.join("Cargo.toml"));
    let manifests = manifests.chain([top().join("Cargo.toml")]);
    let texts: Vec<_> = manifests.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let crates = crates();
    let is_ours = |name: &&str| crates.iter().any(|path| path.ends_with(name));
    let used: BTreeSet<_> =
        texts.iter().flat_map(|text| dependencies(text)).filter(|name| !is_ours(name)).collect();
    assert_eq!(explained, used);
}

/// The row of a document that begins so.
fn row<'a>(document: &'a str, begins: &str) -> Vec<&'a str> {
    rows(document).find(|row| row[0].starts_with(begins)).unwrap()
}

#[test]
fn the_figures_of_the_readme_are_those_of_the_performance_document() {
    let (_, figures) = README.split_once("\n## Figures\n").unwrap();
    let ports: Vec<_> =
        rows(figures).next().unwrap().into_iter().filter(|it| !it.is_empty()).collect();
    let (_, measured) = PERFORMANCE.split_once("Two cores, placed by the scheduler").unwrap();
    let columns = rows(measured).next().unwrap();
    for shown in rows(figures).skip(2).take(4) {
        let all = row(measured, shown[0]);
        for (port, ratio) in ports.iter().zip(&shown[1..]) {
            let column = columns.iter().position(|column| column == port).unwrap();
            assert!(all[column].ends_with(&format!("({ratio})")), "{}, {port}: {all:?}", shown[0]);
        }
    }
}
