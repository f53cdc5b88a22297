//! Where polyarch differs from docker by design. Numbers are those of the rows of `docs/docker-manifest.md`.
//!
//! A rule excuses one kind of difference and nothing beside it: what it does not name must be equal. A rule that excuses
//! nothing in a whole run fails the test, so that the table stays true.

use crate::compare::{Seen, Store};
use crate::script::file_name;

/// A command after which the two programs were seen to differ.
pub(crate) struct Difference<'a> {
    /// Name of the scenario.
    pub(crate) scenario: &'a str,
    /// The line of the scenario.
    pub(crate) line: &'a str,
    /// The command line of polyarch.
    pub(crate) words: &'a [String],
    pub(crate) docker: &'a Seen,
    pub(crate) ours: &'a Seen,
    /// The store before the command, the same for both.
    pub(crate) store_before: &'a Store,
}

/// A deviation.
pub(crate) struct Rule {
    /// Row and reason.
    pub(crate) name: &'static str,
    /// Whether it is this that is seen.
    pub(crate) excuses: fn(&Difference<'_>) -> bool,
}

/// All of them, the narrow ones first.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "12: `repo:tag@digest` is asked for by digest, so a moved tag does no harm",
        excuses: |d| {
            (d.docker_fails_with("manifest verification failed for digest")
                || d.docker_fails_with("unsupported manifest format: &{"))
                && d.words.iter().any(|word| word.contains(":moved@sha256:"))
                && d.works()
        },
    },
    Rule {
        name: "16: two images with one file name are refused instead of one being lost",
        excuses: |d| {
            d.is("create")
                && d.docker.code == Some(0)
                && d.fails_with("have one name in docker's store")
                && d.leaves_the_store()
                && d.same_registry()
        },
    },
    Rule {
        name: "19: a damaged list can be removed",
        excuses: |d| {
            d.is("rm")
                && d.docker.code == Some(1)
                && !["No such manifest", "invalid reference format"].iter().any(|text| d.docker.stderr.contains(text))
                && d.works()
                && d.ours.stdout == d.docker.stdout
                && d.only_its_list_is_gone()
                && d.same_registry()
        },
    },
    Rule {
        name: "19: a damaged list is called damaged, and crashes nothing",
        excuses: |d| {
            (d.docker.stderr.starts_with("panic: ") || d.docker.code == Some(1))
                && (d.docker.stderr.starts_with("panic: ")
                    || d.fails_with("is damaged")
                    || (d.is("create") && d.fails_with("refusing to amend an existing")))
                && d.ours.code == Some(1)
                && d.leaves_the_store()
                && d.same_registry()
        },
    },
    Rule {
        name: "20: a create that fails leaves no part of a list",
        excuses: |d| {
            d.is("create") && d.same_output() && d.ours.code == Some(1) && d.leaves_the_store() && d.same_registry()
        },
    },
    Rule {
        name: "20: of several mistakes those in references are told first, before anything is asked",
        excuses: |d| {
            d.is("create")
                && d.docker.code == Some(1)
                && d.ours.code == Some(1)
                && d.ours.stderr.starts_with("invalid reference format")
                && WRONG_REFERENCES.iter().any(|wrong| d.is(wrong))
                && d.leaves_the_store()
                && d.same_registry()
        },
    },
    Rule {
        name: "27: a list as source is flattened",
        excuses: |d| {
            d.is("create")
                && !d.is("--strict")
                && d.docker_fails_with(" is a manifest list\n")
                && d.works()
                && d.same_registry()
        },
    },
    Rule {
        name: "34: platforms that docker's table does not know yet",
        excuses: |d| {
            d.is("annotate")
                && d.docker_fails_with("unsupported os/arch combination")
                && !NOBODY_KNOWS.iter().any(|word| d.is(word))
                && !(d.is("solaris") && d.is("386"))
                && d.works()
                && d.same_registry()
        },
    },
    Rule {
        name: "44: nested, empty and sparse indexes are printed",
        excuses: |d| {
            d.is("inspect")
                && ["idx:empty", "idx:sparse", "idx:nested"].iter().any(|name| d.line.contains(name))
                && d.works()
                && d.leaves_the_store()
        },
    },
    Rule {
        name: "46: what is no image is printed, or refused in words",
        excuses: |d| {
            ["unsupported manifest format: &{", "json: cannot unmarshal", "invalid character"]
                .iter()
                .any(|text| d.docker_fails_with(text))
                && ((d.is("inspect") && d.works()) || d.fails_with("cannot tell the platform of "))
                && d.leaves_the_store()
                && d.same_registry()
        },
    },
    Rule {
        name: "55: where a blob cannot be mounted it is copied",
        excuses: |d| d.docker_fails_with("error mounting ") && d.works() && d.same_store(),
    },
    Rule {
        name: "55: a blob that is gone is named, and what was pushed before",
        excuses: |d| {
            d.docker_fails_with("error mounting ")
                && d.fails_with("not found")
                && d.fails_with("\nhint: ")
                && d.same_store()
        },
    },
    Rule {
        name: "beyond: images of another registry are shown and pushed",
        excuses: |d| {
            d.docker_fails_with("cannot use source images from a different registry than the target image")
                && (d.works() || d.fails_with("must have an OS and Architecture"))
                && (d.same_store() || d.is("--purge") || d.is("-p"))
        },
    },
    Rule {
        name: "57: a push that fails says what was pushed before",
        excuses: |d| {
            d.is("push")
                && d.ours.code == Some(1)
                && d.ours.stderr.strip_prefix(&d.docker.stderr).is_some_and(|rest| rest.contains("were pushed before"))
                && d.ours.stdout == d.docker.stdout
                && d.same_store()
                && d.same_registry()
        },
    },
    Rule {
        name: "58: a registry that reports no digest has still been pushed to",
        excuses: |d| d.docker_fails_with("invalid checksum digest format") && d.works() && d.same_registry(),
    },
    Rule {
        name: "60: plain HTTP on loopback works for all verbs",
        excuses: |d| {
            !d.is("--insecure") && d.docker_fails_with("no such manifest: 127.0.0.1:") && d.works() && d.same_registry()
        },
    },
    Rule {
        name: "60: TLS on loopback works for all verbs",
        excuses: |d| d.is("push") && d.docker_fails_with("Client sent an HTTP request to an HTTPS server") && d.works(),
    },
    Rule {
        name: "63: a challenge is honoured wherever it comes",
        excuses: |d| d.scenario.contains("challenge") && d.docker_fails_with("no such manifest: ") && d.works(),
    },
    Rule {
        name: "65: `no such manifest` is said only of what is not there",
        excuses: |d| {
            d.docker_fails_with("no such manifest: ")
                && (d.fails_with("unauthorized") || d.fails_with("error parsing HTTP 400 response body"))
                && !d.ours.stderr.contains("o such manifest")
                && d.same_store()
                && d.same_registry()
        },
    },
    Rule {
        name: "notes: what may surprise is said on stderr",
        excuses: |d| d.adds_only(|d| d.ours.stderr.strip_suffix(&*d.docker.stderr).is_some_and(is_notes)),
    },
    Rule {
        name: "hints: a failure says what to try",
        excuses: |d| d.adds_only(|d| d.ours.stderr.strip_prefix(&*d.docker.stderr).is_some_and(is_hints)),
    },
];

/// What scenarios name as sources beside other mistakes, and no reference may be.
const WRONG_REFERENCES: &[&str] = &["UPPER", "a:b:c", ""];

/// What scenarios name as operating systems and architectures, and no machine has.
const NOBODY_KNOWS: &[&str] = &["foo", "bar", "nonsense", "z80", "unknown"];

fn is_notes(text: &str) -> bool {
    !text.is_empty() && text.lines().all(|line| line.starts_with("note: "))
}

fn is_hints(text: &str) -> bool {
    !text.is_empty() && text.lines().all(|line| line.starts_with("hint: "))
}

impl Difference<'_> {
    /// Whether it is this verb, or has this flag.
    fn is(&self, verb: &str) -> bool {
        self.words.iter().any(|word| word == verb)
    }

    fn docker_fails_with(&self, text: &str) -> bool {
        self.docker.code != Some(0) && self.docker.stderr.contains(text)
    }

    fn fails_with(&self, text: &str) -> bool {
        self.ours.code == Some(1) && self.ours.stderr.contains(text)
    }

    fn works(&self) -> bool {
        self.ours.code == Some(0)
    }

    /// Whether nothing differs but stderr, and that in an allowed way.
    fn adds_only(&self, allowed: fn(&Self) -> bool) -> bool {
        self.ours.code == self.docker.code
            && self.ours.stdout == self.docker.stdout
            && self.same_store()
            && self.same_registry()
            && allowed(self)
    }

    fn same_output(&self) -> bool {
        (&self.ours.code, &self.ours.stdout, &self.ours.stderr)
            == (&self.docker.code, &self.docker.stdout, &self.docker.stderr)
    }

    fn same_store(&self) -> bool {
        self.ours.store == self.docker.store
    }

    fn same_registry(&self) -> bool {
        self.ours.registry == self.docker.registry
    }

    /// Whether nothing changed in the store but that the list that the command names last is not there any more.
    fn only_its_list_is_gone(&self) -> bool {
        let (before, now) = (self.store_before, &self.ours.store);
        let Some(list) = self.words.last().map(|list| file_name(list)) else { return false };
        // A directory and what is in it, or a file in its place.
        let is_its = |name: &str| name.strip_prefix(&list).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        now.iter().all(|(name, file)| before.get(name) == Some(file))
            && before.keys().all(|name| now.contains_key(name) != is_its(name))
            && before.keys().any(|name| is_its(name))
    }

    fn leaves_the_store(&self) -> bool {
        self.ours.store == *self.store_before
    }
}
