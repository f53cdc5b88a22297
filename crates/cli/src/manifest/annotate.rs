//! `polyarch manifest annotate`.

use image::{Platform, PlatformError};
use lists::{AnnotateRequest, ClearField};

use super::scratch::Scratch;
use super::{Arity, Flag, Kind, Values, Verb};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{Failure, Outcome};

/// Usage and flags.
pub(super) const VERB: Verb = Verb {
    name: "annotate",
    synopsis: "[OPTIONS] MANIFEST_LIST MANIFEST",
    about: "Say more about one image of a draft",
    details: "",
    arity: Arity::Exactly(2),
    flags: &[
        Flag {
            name: "annotation",
            short: None,
            kind: Kind::Each("name=value"),
            help: "Set an annotation of the image's entry",
        },
        Flag { name: "arch", short: None, kind: Kind::Text("string"), help: "Set the architecture" },
        Flag {
            name: "clear",
            short: None,
            kind: Kind::Commas("fields"),
            help: "Empty a field: os-version, os-features, variant, annotations, annotation=NAME",
        },
        Flag { name: "dry-run", short: None, kind: Kind::Switch, help: "Print the entry that would result, and stop" },
        Flag { name: "os", short: None, kind: Kind::Text("string"), help: "Set the operating system" },
        Flag {
            name: "os-features",
            short: None,
            kind: Kind::Commas("strings"),
            help: "Add features that the operating system must have",
        },
        Flag {
            name: "os-version",
            short: None,
            kind: Kind::Text("string"),
            help: "Set the version of the operating system",
        },
        Flag {
            name: "platform",
            short: None,
            kind: Kind::Text("platform"),
            help: "Set all at once: os/arch[/variant]",
        },
        Flag { name: "variant", short: None, kind: Kind::Text("string"), help: "Set the variant of the architecture" },
    ],
};

/// Edits the entry.
pub(super) fn run(values: &Values, context: &mut Context) -> Outcome {
    let [list, image] = values.arguments() else { return Ok(()) };
    let text = |name| values.text(name).unwrap_or_default().to_owned();
    let refuse = |error: &dyn std::error::Error| Failure::new(Exit::Failure, error.to_string());
    let request = AnnotateRequest {
        list: list.clone(),
        image: image.clone(),
        os: text("os"),
        architecture: text("arch"),
        os_version: text("os-version"),
        variant: text("variant"),
        os_features: values.list("os-features").to_vec(),
        platform: values.text("platform").map(platform).transpose().map_err(|error| refuse(&error))?,
        annotations: values.list("annotation").iter().map(|text| annotation(text)).collect::<Outcome<_>>()?,
        clear: values
            .list("clear")
            .iter()
            .map(|field| field.parse::<ClearField>().map_err(|error| refuse(&error)))
            .collect::<Outcome<_>>()?,
    };
    let drafts = context.drafts()?;
    if values.switch("dry-run") {
        let scratch = Scratch::of(list, &drafts)?;
        let report = lists::annotate(&request, &scratch.drafts)?;
        return context.output.json(&report.entry.published());
    }
    lists::annotate(&request, &drafts)?;
    Ok(())
}

/// The platform to set. A variant that goes without saying, as `v8` of `arm64`, is set if somebody says it: the list is
/// to have what its maker wrote, as with `--variant`.
fn platform(text: &str) -> Result<Platform, PlatformError> {
    let mut platform = Platform::parse(text)?;
    if platform.variant.is_empty() && text.split('/').nth(2).is_some() {
        let said = match platform.architecture.as_str() {
            "arm64" => "v8",
            "amd64" => "v1",
            _ => "",
        };
        said.clone_into(&mut platform.variant);
    }
    Ok(platform)
}

/// `name=value`.
fn annotation(text: &str) -> Outcome<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Failure::new(Exit::Failure, format!("`{text}` is not an annotation: expected `NAME=VALUE`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::platform;

    #[test]
    fn a_variant_that_is_written_out_is_not_dropped() {
        let variant = |text| platform(text).unwrap().variant;
        assert_eq!(variant("linux/arm64/v8"), "v8");
        assert_eq!(variant("linux/aarch64/8"), "v8");
        assert_eq!(variant("linux/amd64/v1"), "v1");
        assert_eq!(variant("linux/amd64/v3"), "v3");
        assert_eq!(variant("linux/arm/7"), "v7");
        assert_eq!(variant("linux/arm64"), "");
        assert_eq!(variant("linux/amd64"), "");
    }
}
