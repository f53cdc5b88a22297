//! What the fuzz targets do.
#![doc = include_str!("../README.md")]

mod answers;
mod documents;
mod files;
mod names;
mod policies;
mod requests;
mod settings_files;
mod tokens;

/// A fuzz target: takes any bytes, and panics if what is made of them is wrong.
pub type Target = fn(&[u8]);

/// All targets. Each has a seed corpus of its name in `fuzz/corpus`, and a program of its name in `fuzz/fuzz_targets`.
pub const TARGETS: [(&str, Target); 11] = [
    ("answers", answers::answers),
    ("digests", names::digests),
    ("documents", documents::documents),
    ("files", files::files),
    ("indexes", documents::indexes),
    ("names", names::names),
    ("policies", policies::policies),
    ("ranges", requests::ranges),
    ("requests", requests::requests),
    ("settings", settings_files::settings),
    ("tokens", tokens::tokens),
];

/// Runs the target of this name.
pub fn run(name: &str, bytes: &[u8]) {
    if let Some((_, target)) = TARGETS.iter().find(|(known, _)| *known == name) {
        target(bytes);
    }
}

/// An error's text is for a terminal and a log: nothing in it may command those, and it has an end.
fn assert_plain(error: &impl std::fmt::Display) {
    let text = error.to_string();
    assert!(text.len() < 8192, "{} bytes of error: {}", text.len(), text.chars().take(300).collect::<String>());
    assert!(!text.contains(|character: char| character.is_control()), "control characters: {text:?}");
}

/// The first line as text, and the rest.
fn line(bytes: &[u8]) -> (&str, &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    (std::str::from_utf8(&bytes[..end]).unwrap_or_default(), bytes.get(end + 1..).unwrap_or_default())
}
