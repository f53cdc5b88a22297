//! Patterns of repository names.

use image::RepositoryName;

/// A pattern: `*` stands for any characters but `/`, `**` for any characters, everything else for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Byte(u8),
    /// `*`
    Segment,
    /// `**`
    Anything,
}

impl Glob {
    /// Reads a pattern. `None`: no repository name could match it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-/*".contains(&byte);
        if text.is_empty() || text.len() > 255 || !text.bytes().all(fits) || text.contains("***") {
            return None;
        }
        let mut parts = Vec::with_capacity(text.len());
        for byte in text.bytes() {
            match (byte, parts.last()) {
                (b'*', Some(Part::Segment)) => {
                    parts.pop();
                    parts.push(Part::Anything);
                }
                (b'*', _) => parts.push(Part::Segment),
                (byte, _) => parts.push(Part::Byte(byte)),
            }
        }
        Some(Self(parts))
    }

    /// Whether a name is one of those that are meant.
    pub(crate) fn matches(&self, name: &RepositoryName) -> bool {
        let name = name.as_str().as_bytes();
        // `reached[n]`: the parts so far can stand for the first n bytes. No backtracking, whatever the pattern is.
        let mut reached = vec![false; name.len() + 1];
        reached[0] = true;
        for part in &self.0 {
            match part {
                Part::Byte(byte) => {
                    for end in (1..=name.len()).rev() {
                        reached[end] = reached[end - 1] && name[end - 1] == *byte;
                    }
                    reached[0] = false;
                }
                Part::Segment | Part::Anything => {
                    let all = *part == Part::Anything;
                    for end in 1..=name.len() {
                        reached[end] |= reached[end - 1] && (all || name[end - 1] != b'/');
                    }
                }
            }
        }
        reached[name.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_star_stays_between_slashes_and_two_do_not() {
        for (glob, name, want) in [
            ("app", "app", true),
            ("app", "app2", false),
            ("app", "team/app", false),
            ("team/*", "team/app", true),
            ("team/*", "team/app/deep", false),
            ("team/*", "team", false),
            ("team/*", "teams/app", false),
            ("team/**", "team/app/deep", true),
            ("team/**", "team", false),
            ("team/**", "team2/app", false),
            ("**", "a/b/c", true),
            ("*", "a", true),
            ("*", "a/b", false),
            ("**/cache", "a/b/cache", true),
            ("**/cache", "cache", false),
            ("*-dev", "app-dev", true),
            ("*-dev", "team/app-dev", false),
        ] {
            assert_eq!(Glob::parse(glob).unwrap().matches(&name.parse().unwrap()), want, "{glob} {name}");
        }
    }

    #[test]
    fn a_pattern_that_no_name_matches_is_none() {
        for bad in ["", "Team/*", "a b", "a***", "a?", "[ab]", "a\\b", &"a".repeat(256)] {
            assert_eq!(Glob::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn many_stars_cost_no_more_than_their_number() {
        let glob = Glob::parse(&"a*".repeat(127)).unwrap();
        assert!(!glob.matches(&format!("{}b/c", "a".repeat(200)).parse().unwrap()));
    }
}
