//! The pages of `docs/` that are made of the program are current.

use std::path::{Path, PathBuf};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

#[test]
fn generated_pages_are_current() {
    let write = std::env::var_os("POLYARCH_REGENERATE").is_some();
    let mut stale = Vec::new();
    for page in polyarch_cli::reference::pages() {
        let path = docs().join(&page.path);
        if std::fs::read_to_string(&path).is_ok_and(|text| text == page.text) {
            continue;
        }
        if write {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &page.text).unwrap();
        } else {
            stale.push(page.path);
        }
    }
    assert!(stale.is_empty(), "not current: {stale:?}; run this test with POLYARCH_REGENERATE=1");
}

#[test]
fn no_page_of_a_command_that_is_gone() {
    let pages = polyarch_cli::reference::pages();
    for entry in std::fs::read_dir(docs().join("commands")).unwrap() {
        let name = format!("commands/{}", entry.unwrap().file_name().to_string_lossy());
        assert!(pages.iter().any(|page| page.path == name), "`docs/{name}` describes no command");
    }
}
