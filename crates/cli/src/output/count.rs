//! Numbers of things, in words.

use std::fmt::Display;

/// A number of things, of one too.
pub(crate) fn count<N: Copy + Display + PartialEq + From<u8>>(number: N, one: &str, many: &str) -> String {
    let name = if number == N::from(1) { one } else { many };
    format!("{number} {name}")
}
