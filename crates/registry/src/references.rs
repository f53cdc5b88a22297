//! What of a manifest's references must be there, by repository.

use content::ReferencePolicy;
use image::RepositoryName;

use crate::access::Glob;

/// What of a manifest's references must be there: a policy for all repositories, and others for some of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReferenceRules {
    default: ReferencePolicy,
    rules: Vec<(Glob, ReferencePolicy)>,
}

/// A pattern that no repository name could match.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is no pattern of repository names; one has lower-case letters, digits, `.`, `_`, `-` and `/`, \
     `*` for what stays between slashes, `**` for what does not", .0.escape_debug()
)]
pub struct PatternError(pub String);

impl ReferenceRules {
    /// One policy for all repositories.
    pub fn new(default: ReferencePolicy) -> Self {
        Self { default, rules: Vec::new() }
    }

    /// Adds a policy for the repositories that a pattern means. Of several patterns that mean a repository, the first
    /// one that was added counts.
    ///
    /// # Errors
    /// [`PatternError`] if the pattern could mean none.
    pub fn with(mut self, repositories: &str, policy: ReferencePolicy) -> Result<Self, PatternError> {
        let glob = Glob::parse(repositories).ok_or_else(|| PatternError(repositories.to_owned()))?;
        self.rules.push((glob, policy));
        Ok(self)
    }

    /// What counts for a repository.
    pub fn of(&self, repository: &RepositoryName) -> &ReferencePolicy {
        let rule = self.rules.iter().find(|(glob, _)| glob.matches(repository));
        rule.map_or(&self.default, |(_, policy)| policy)
    }
}

impl From<ReferencePolicy> for ReferenceRules {
    fn from(default: ReferencePolicy) -> Self {
        Self::new(default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pattern_that_fits_counts() {
        let (strict, sparse) = (ReferencePolicy::Strict, ReferencePolicy::Sparse);
        let rules = ReferenceRules::new(strict.clone())
            .with("mirror/keep", strict.clone())
            .unwrap()
            .with("mirror/**", sparse.clone())
            .unwrap();
        for (name, want) in [("app", &strict), ("mirror/keep", &strict), ("mirror/a/b", &sparse), ("mirror", &strict)] {
            assert_eq!(rules.of(&name.parse().unwrap()), want, "{name}");
        }
        assert_eq!(ReferenceRules::from(sparse.clone()).of(&"app".parse().unwrap()), &sparse);
        let error = rules.with("A\n", sparse).unwrap_err().to_string();
        assert!(error.starts_with("`A\\n` is no pattern of repository names; "), "{error}");
    }
}
