//! The settings file of `polyarch serve`.

use settings::fuzzing;

use crate::assert_plain;

/// A settings file: what is understood is written as it was meant.
pub(crate) fn settings(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let read = match fuzzing::serve_settings(text) {
        Ok(read) => read,
        Err(error) => return assert_plain(&error),
    };
    let written = read.toml(None).expect("a file can say what a file said");
    let again = fuzzing::serve_settings(&written).unwrap_or_else(|error| panic!("{error} in\n{written}"));
    let differ = again.differences(&read);
    assert!(differ.is_empty(), "{differ:?} in\n{written}");
}
