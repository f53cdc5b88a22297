//! How a reference becomes the name of a file or directory in docker's store.

use image::Reference;

/// The name under which docker keeps `reference`: the whole reference with `:` as `-` and `/` as `_`; `@` stays.
///
/// The encoding loses information: `app:a-b` and `app-a:b` have one name. Nothing leads back to the reference except
/// the `Ref` in an entry's file.
pub(crate) fn file_name(reference: &Reference) -> String {
    encode(&reference.to_string())
}

/// As [`file_name`], for a part of a reference.
pub(crate) fn encode(text: &str) -> String {
    text.replace(':', "-").replace('/', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_docker() {
        let hex = "80c3".repeat(16);
        for (reference, want) in [
            ("127.0.0.1:5111/t/app:multi", "127.0.0.1-5111_t_app-multi".to_owned()),
            ("bob/app", "docker.io_bob_app-latest".to_owned()),
            (&format!("127.0.0.1:5111/t/app@sha256:{hex}"), format!("127.0.0.1-5111_t_app@sha256-{hex}")),
            (&format!("127.0.0.1:5111/t/app:amd64@sha256:{hex}"), format!("127.0.0.1-5111_t_app-amd64@sha256-{hex}")),
            ("[::1]:5000/x:y", "[--1]-5000_x-y".to_owned()),
        ] {
            assert_eq!(file_name(&Reference::parse(reference).unwrap()), want);
        }
    }

    #[test]
    fn two_references_can_have_one_name() {
        let name = |text: &str| file_name(&Reference::parse(text).unwrap());
        assert_eq!(name("app:amd64-v1"), name("app-amd64:v1"));
    }
}
