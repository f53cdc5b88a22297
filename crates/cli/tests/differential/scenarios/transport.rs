//! TLS, credentials, and registries that go wrong.

use lab::{Auth, Quirks};

use super::plain;
use crate::script::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    let all = "create R/t/target:l R/t/app-amd64:v1 R/t/oci:arm64
               inspect R/t/target:l
               inspect -v R/t/oci:arm64
               inspect R/t/idx:attested
               inspect R/t/app:nope";
    vec![
        plain("TLS with a known authority", all).tls(),
        plain("TLS, Basic", all).tls().auth(Auth::basic("user", "secret")).logged_in(),
        plain("TLS, Bearer", all).tls().auth(Auth::bearer("user", "secret")).logged_in(),
        plain("TLS, Bearer without login", all).tls().auth(Auth::anonymous_bearer()),
        plain(
            "TLS and --insecure",
            "create --insecure R/t/target:l R/t/app-amd64:v1\ninspect --insecure R/t/app:amd64",
        )
        .tls(),
        plain("push over TLS", "create R/t/target:l R/t/app-amd64:v1\npush R/t/target:l").tls(),
        plain(
            "plain HTTP, Bearer",
            "create --insecure R/t/target:l R/t/app-amd64:v1 R/t/app-arm64:v1
             inspect R/t/target:l
             push --insecure R/t/target:l
             rm R/t/target:l
             inspect --insecure R/t/target:l",
        )
        .auth(Auth::bearer("user", "secret"))
        .logged_in(),
        plain(
            "plain HTTP, Basic",
            "create --insecure R/t/target:l R/t/app-amd64:v1
             push R/t/target:l",
        )
        .auth(Auth::basic("user", "secret"))
        .logged_in(),
        plain(
            "not logged in",
            "inspect --insecure R/t/app:amd64
             create --insecure R/t/target:l R/t/app-amd64:v1",
        )
        .auth(Auth::bearer("user", "secret")),
        plain(
            "logged in with another password, Basic",
            "inspect --insecure R/t/app:amd64
             create --insecure R/t/target:l R/t/app-amd64:v1",
        )
        .auth(Auth::basic("user", "changed"))
        .logged_in(),
        plain("not logged in, Basic", "inspect --insecure R/t/app:amd64").auth(Auth::basic("user", "secret")),
        plain(
            "plain HTTP on loopback without --insecure",
            "inspect R/t/app:amd64
             create R/t/app:l R/t/app:amd64
             inspect R/t/idx:oci",
        ),
        plain("a challenge on manifests alone", "inspect --insecure R/t/app:amd64")
            .auth(Auth::bearer("user", "secret"))
            .logged_in()
            .quirks(Quirks::challenge_on_manifests_only()),
        plain(
            "a registry with plain errors",
            "inspect --insecure R/t/app:nope
             inspect --insecure R/t/app:amd64",
        )
        .quirks(Quirks::plain_errors()),
        plain("nobody listens", "inspect --insecure 127.0.0.1:9/x:y\ncreate --insecure R/t/app:l 127.0.0.1:9/x:y"),
    ]
}
