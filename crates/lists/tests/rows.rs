//! `docs/docker-manifest.md` is true: no row is missing, and every test that it names exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn tests_below(directory: &Path, found: &mut BTreeSet<String>) {
    for item in fs::read_dir(directory).expect("a directory").flatten() {
        let path = item.path();
        if path.is_dir() && item.file_name() != "target" {
            tests_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file");
            let mut of_a_test = false;
            for line in text.lines().map(str::trim) {
                if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                    of_a_test = true;
                } else if of_a_test && let Some((_, rest)) = line.split_once("fn ") {
                    found.insert(rest.split('(').next().unwrap_or_default().to_owned());
                    of_a_test = false;
                }
            }
        }
    }
}

#[test]
fn every_row_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut tests = BTreeSet::new();
    for directory in ["crates", "testing"] {
        tests_below(&root.join(directory), &mut tests);
    }
    let page = fs::read_to_string(root.join("docs/docker-manifest.md")).expect("the page");
    let mut rows = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        // Other tables of the page have other columns.
        let (4, Some(row)) = (cells.len(), cells.first().and_then(|cell| cell.parse::<u32>().ok())) else { continue };
        assert!(cells.iter().all(|cell| !cell.is_empty()), "row {row}");
        let named: Vec<&str> = cells[3].split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "row {row} names no test");
        for name in named {
            assert!(tests.contains(name), "row {row} names the test `{name}`, which does not exist");
        }
        rows.push(row);
    }
    assert_eq!(rows, (1..=67).collect::<Vec<_>>());
}
