//! `docs/registry-conformance.md` is true: no row is missing or empty, and every test that it names exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn tests_below(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "target" {
            tests_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut lines = text.lines().map(str::trim);
            while let Some(line) = lines.next() {
                // Attributes and comments may stand between.
                if (line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
                    && let Some(line) = lines.find(|line| line.starts_with("fn ") || line.starts_with("async fn "))
                    && let Some((_, name)) = line.split_once("fn ")
                {
                    found.insert(name.split('(').next().unwrap().to_owned());
                }
            }
        }
    }
}

#[test]
fn every_row_says_what_is_done_and_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut tests = BTreeSet::new();
    for directory in ["crates", "testing"] {
        tests_below(&root.join(directory), &mut tests);
    }
    let page = fs::read_to_string(root.join("docs/registry-conformance.md")).unwrap();
    let mut rows = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let Some(row) = cells.first().and_then(|cell| cell.parse::<u32>().ok()) else { continue };
        assert_eq!(cells.len(), 4, "row {row}");
        assert!(cells.iter().all(|cell| cell.len() > 1 || *cell == cells[0]), "row {row} has an empty cell");
        let named: Vec<&str> = cells[3].split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "row {row} names no test");
        for name in named {
            assert!(tests.contains(name), "row {row} names the test `{name}`, which does not exist");
        }
        rows.push(row);
    }
    assert_eq!(rows, (1..=51).collect::<Vec<_>>());
}
