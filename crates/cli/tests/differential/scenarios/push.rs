//! `push`.

use lab::Quirks;

use super::plain;
use crate::script::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        plain(
            "from other repositories",
            "create --insecure R/t/target:l R/t/app-amd64:v1 R/t/app-arm64:v1 R/t/app-armv7:v1
             push R/t/target:l
             push R/t/target:l
             rm R/t/target:l
             inspect --insecure R/t/target:l",
        ),
        plain(
            "from other repositories and the own one",
            "create --insecure R/t/app:l R/t/app-amd64:v1 R/t/app:arm64 R/t/oci:ppc64le
             push --insecure R/t/app:l",
        ),
        plain(
            "several versions of a list",
            "create --insecure R/t/target:l R/t/app-amd64:v1 R/t/app-arm64:v1
             push R/t/target:l --purge
             create --insecure R/t/target:l R/t/app-amd64:v2 R/t/app-arm64:v2
             push R/t/target:l --purge
             inspect R/t/target:l R/t/app-amd64:v2",
        ),
        plain(
            "what cannot be pushed",
            "push R/t/app:l
             !empty R/t/app:e
             push R/t/app:e
             create --insecure R/t/odd:l R/t/odd:noplatform R/t/app:amd64
             push R/t/odd:l
             push --purge R/t/odd:l
             annotate R/t/odd:l R/t/odd:noplatform --os linux --arch amd64
             push R/t/odd:l",
        ),
        plain(
            "an image has gone meanwhile",
            "create --insecure R/t/app:l R/t/app:amd64 R/t/app:arm64
             !delete t/app arm64
             push R/t/app:l
             push --purge R/t/app:l
             inspect R/t/app:l",
        ),
        plain(
            "an image of the own repository has gone meanwhile, others are pushed",
            "create --insecure R/t/app:l R/t/app-amd64:v1 R/t/app:arm64 R/t/oci:ppc64le
             !delete t/app arm64
             push R/t/app:l",
        ),
        plain(
            "from another registry",
            "create --insecure R/t/target:l L/t/app:amd64 L/t/app:arm64
             inspect -v R/t/target:l
             inspect R/t/target:l
             push --insecure R/t/target:l",
        ),
        plain(
            "a registry that mounts nothing",
            "create --insecure R/t/target:l R/t/app-amd64:v1
             push R/t/target:l",
        )
        .quirks(Quirks::no_mounts()),
        plain(
            "a layer has gone meanwhile",
            "create --insecure R/t/target:l R/t/app-amd64:v1 R/t/app-arm64:v1
             !drop t/app-arm64 v1
             push R/t/target:l",
        ),
        plain(
            "a registry that reports no digest",
            "create --insecure R/t/app:l R/t/app:amd64
             push R/t/app:l",
        )
        .quirks(Quirks::no_content_digest()),
        plain(
            "to the default tag",
            "create --insecure R/t/target R/t/app-amd64:v1
             push R/t/target
             inspect --insecure R/t/target:latest
             inspect --insecure R/t/target",
        ),
    ]
}
