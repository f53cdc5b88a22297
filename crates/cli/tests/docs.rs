//! What pages say of the repository is true: their links lead somewhere, the lists in them are whole, and crates stand on
//! the floors that the architecture page gives them.
//!
//! Other tests see to other pages: `reference.rs` to those made of the program, `book.rs` to examples, and `rows.rs` of
//! `lists` to the table of `docker-manifest.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("`{}`: {error}", path.display()))
}

/// Every page of the repository.
fn pages(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if name != "target" && name != ".git" {
                pages(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// The lines of a page that are not in a fenced block.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// Targets of the links in a page.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        // What is between backticks is no link, but a link's text may stand between them.
        let mut rest = line;
        while let Some(at) = rest.find("](") {
            let code = rest[..at].matches('`').count() % 2 == 1;
            rest = &rest[at + 2..];
            if let Some((target, _)) = rest.split_once(')').filter(|_| !code) {
                found.push(target.to_owned());
            }
        }
    }
    found
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    let anchor = |line: &str| -> String {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let text = line.trim_start_matches('#').trim().to_lowercase();
        text.chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

/// What is wrong with the links of a page at `path`.
fn broken_links(path: &Path, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    for link in links(text) {
        // Elsewhere, or an item that rustdoc looks up.
        if link.contains("://") || link.contains("::") {
            continue;
        }
        let (file, anchor) = link.split_once('#').unwrap_or((link.as_str(), ""));
        let target = if file.is_empty() { path.to_owned() } else { path.with_file_name("").join(file) };
        if !target.exists() {
            broken.push(format!("`{link}`: no such file"));
        } else if !anchor.is_empty() && !anchors(&read(&target)).contains(anchor) {
            broken.push(format!("`{link}`: no such heading"));
        }
    }
    broken
}

#[test]
fn links_lead_somewhere() {
    let mut found = Vec::new();
    pages(&root(), &mut found);
    assert!(found.len() > 30, "{found:?}");
    let mut broken = Vec::new();
    for path in found {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        broken.extend(broken_links(&path, &read(&path)).into_iter().map(|why| format!("{name}: {why}")));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn a_broken_link_is_found() {
    let page = root().join("docs/style.md");
    let broken = |text: &str| broken_links(&page, text).len();
    assert_eq!(broken("[a](architecture.md) [b](#errors) [c](architecture.md#the-floors) [d](https://x/y)"), 0);
    assert_eq!(broken("[a](nothing.md) and [b](#nothing)\n```\n[c](nothing.md)\n```\n`[d](nothing.md)`"), 2);
    assert_eq!(broken("[`a`](nothing.md)"), 1);
}

/// The rows of a table whose first cell is a link to `directory/NAME.md`: name and text.
fn commands(page: &str, directory: &str) -> Vec<(String, String)> {
    let row = |line: &str| {
        let (name, rest) = line.strip_prefix("| [`")?.split_once("`](")?;
        let text = rest.strip_prefix(&format!("{directory}{name}.md) | "))?;
        Some((name.to_owned(), text.trim_end_matches(" |").to_owned()))
    };
    page.lines().filter_map(row).collect()
}

#[test]
fn readme_lists_every_command_in_its_own_words() {
    let made = commands(&read("docs/commands/README.md"), "");
    assert!(made.len() > 10, "{made:?}");
    assert_eq!(commands(&read("README.md"), "docs/commands/"), made);
}

#[test]
fn the_book_lists_every_chapter() {
    let contents = links(&read("docs/book/README.md"));
    for entry in fs::read_dir(root().join("docs/book")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(name == "README.md" || contents.contains(&name), "`{name}` is in no table of contents");
    }
}

/// The tests that a page names in backticks.
fn tests_named_by(page: &str) -> Vec<String> {
    let text = read(page);
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter(|word| word.matches('_').count() >= 3).map(str::to_owned).collect()
}

#[test]
fn the_tests_that_count_requests_exist() {
    let mut sources = String::new();
    for crate_name in ["lists", "load", "registry-client", "transfer"] {
        let mut directories = vec![root().join("crates").join(crate_name).join("tests")];
        while let Some(directory) = directories.pop() {
            for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    directories.push(path);
                } else {
                    sources.push_str(&read(path));
                }
            }
        }
    }
    let named = tests_named_by("docs/performance.md");
    assert!(named.len() >= 4, "{named:?}");
    for test in named {
        assert!(sources.contains(&format!("fn {test}(")), "docs/performance.md names `{test}`, which is no test");
    }
}

/// The floor of each crate in the picture of the architecture page.
fn floors() -> BTreeMap<String, u32> {
    let page = read("docs/architecture.md");
    let picture = page.split("```text").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let mut floors = BTreeMap::new();
    for line in picture.lines() {
        let mut words = line.split_whitespace();
        let Some(floor) = words.next().and_then(|word| word.parse().ok()) else { continue };
        for name in words.take_while(|word| !word.starts_with('─')) {
            floors.insert(name.to_owned(), floor);
        }
    }
    floors
}

#[test]
fn crates_use_only_what_is_on_lower_floors() {
    let floors = floors();
    let mut crates = BTreeSet::new();
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        let floor = floors.get(&name).unwrap_or_else(|| panic!("`{name}` is on no floor of docs/architecture.md"));
        let manifest = read(format!("crates/{name}/Cargo.toml"));
        let mut of_the_crate = false;
        for line in manifest.lines() {
            if line.starts_with('[') {
                // Tests may use what they like.
                of_the_crate = line.ends_with("dependencies]") && !line.contains("dev-dependencies");
            } else if of_the_crate {
                let used = line.split(['.', ' ', '=']).next().unwrap_or_default();
                assert_ne!(used, "lab", "`{name}` uses what is for tests");
                if let Some(below) = floors.get(used) {
                    assert!(below < floor, "`{name}` on floor {floor} uses `{used}` on floor {below}");
                }
            }
        }
        crates.insert(name);
    }
    let drawn: BTreeSet<String> = floors.into_keys().collect();
    assert_eq!(drawn, crates, "docs/architecture.md draws other crates than there are");
}
