//! The local store, also damaged, and `rm`.

use super::plain;
use crate::script::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        plain(
            "rm of several, of which some are missing",
            "create --insecure R/t/app:a R/t/app:amd64
             create --insecure R/t/app:b R/t/app:amd64
             rm R/t/app:a R/t/app:nope R/t/app:b BAD:x:
             rm R/t/app:a R/t/app:b",
        ),
        plain(
            "an empty list",
            "!empty R/t/app:e
             inspect R/t/app:e
             inspect -v R/t/app:e
             inspect R/t/app:e R/t/app:amd64
             push R/t/app:e
             create --insecure R/t/app:e R/t/app:amd64
             rm R/t/app:e
             rm R/t/app:e",
        ),
        plain(
            "a file that is no JSON",
            "create --insecure R/t/app:other R/t/app:amd64
             create --insecure R/t/app:l R/t/app:amd64
             !file R/t/app:l R/t/app:arm64 '{bad'
             push R/t/app:l
             create --insecure --amend R/t/app:l R/t/app:s390x
             inspect --insecure R/t/app:l
             annotate R/t/app:l R/t/app:arm64 --os linux
             rm R/t/app:l",
        ),
        plain(
            "a file that is an empty object",
            "!file R/t/app:l R/t/app:amd64 '{}'
             inspect R/t/app:l
             push R/t/app:l
             rm R/t/app:l",
        ),
        plain(
            "a file where a list would be",
            "!plain R/t/app:l
             create --insecure R/t/app:l R/t/app:amd64
             push R/t/app:l
             rm R/t/app:l
             inspect --insecure R/t/app:l",
        ),
        plain(
            "list names of every shape are files of docker's store",
            "create --insecure foo R/t/app:amd64
             create --insecure bob/app:x R/t/app:amd64
             create --insecure L/t/app:x L/t/app:amd64
             inspect L/t/app:x
             rm foo bob/app:x",
        ),
    ]
}
