//! `inspect`.

use super::plain;
use crate::script::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        plain(
            "single images",
            "inspect --insecure R/t/app:amd64
             inspect --insecure -v R/t/app:amd64
             inspect --insecure R/t/app@arm64@
             inspect --insecure -v R/t/app@arm64@
             inspect --insecure -v R/t/oci:arm64
             inspect --insecure -v R/t/app-win:ltsc
             inspect --insecure R/t/odd:unknown",
        ),
        plain(
            "lists and indexes",
            "inspect --insecure R/t/idx:oci
             inspect --insecure R/t/idx:list
             inspect --insecure R/t/idx:untyped
             inspect --insecure R/t/idx:docker-of-oci
             inspect --insecure R/t/idx:oci-of-docker
             inspect --insecure R/t/idx:noplatform
             inspect --insecure R/t/idx:attested",
        ),
        plain(
            "lists and indexes, verbose",
            "inspect --insecure -v R/t/idx:oci
             inspect --insecure -v R/t/idx:list
             inspect --insecure -v R/t/idx:untyped
             inspect --insecure -v R/t/idx:docker-of-oci
             inspect --insecure -v R/t/idx:noplatform
             inspect --insecure -v R/t/idx:attested
             inspect --insecure -v R/t/idx@oci@
             inspect --insecure -v R/t/idx:oci@oci@",
        ),
        plain(
            "an index with an artifact, and of images without platform",
            "inspect --insecure R/t/idx:noplatform
             create --insecure R/t/odd:l R/t/odd:noplatform R/t/odd:unknown
             inspect R/t/odd:l
             inspect -v R/t/odd:l
             push R/t/odd:l",
        ),
        plain(
            "indexes that docker cannot show",
            "inspect --insecure R/t/idx:empty
             inspect --insecure R/t/idx:sparse
             inspect --insecure R/t/idx:nested",
        ),
        plain(
            "what is not there",
            "inspect --insecure R/t/app:nope
             inspect --insecure R/t/nope:nope
             inspect --insecure -v R/t/app:nope
             inspect R/t/app:l R/t/app:amd64
             inspect --insecure R/t/app:l R/t/app:amd64
             inspect --insecure R/t/app@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        plain(
            "a local list hides the one of the registry",
            "create --insecure R/t/idx:oci R/t/app:amd64
             inspect --insecure R/t/idx:oci
             rm R/t/idx:oci
             inspect --insecure R/t/idx:oci",
        ),
        plain(
            "an image of a list by another spelling",
            "create --insecure R/t/app:l R/t/app:amd64
             inspect R/t/app:l R/t/app@amd64@
             inspect R/t/app:l L/t/app:amd64
             inspect R/t/app R/t/app:amd64",
        ),
    ]
}
