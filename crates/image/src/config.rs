//! What polyarch reads from an image config (image-spec, `config.md`).

use crate::platform::Platform;
use crate::strict::{Limits, StrictError, check_json};
use crate::text::fold;

/// A view of an image config blob.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// Platform as stated: keys match without regard to case and the last one wins, as in Docker; nothing is normalised.
    pub platform: Platform,
}

/// Why a config cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not acceptable JSON.
    #[error("image config: {0}")]
    Json(#[from] StrictError),
    /// A field of the wrong type.
    #[error("image config: `{field}` is not {want}")]
    WrongType {
        /// Which field.
        field: &'static str,
        /// What it should be.
        want: &'static str,
    },
}

impl ImageConfig {
    /// Reads a config blob. Fields that polyarch does not know are no concern here: the bytes keep them.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        check_json(bytes, Limits::default())?;
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| StrictError::from_json(&error))?;
        let serde_json::Value::Object(object) = value else {
            return Err(ConfigError::WrongType { field: "(document)", want: "an object" });
        };
        let mut platform = Platform::default();
        for (key, value) in &object {
            match fold(key).as_str() {
                "architecture" => set_text(&mut platform.architecture, value, "architecture")?,
                "os" => set_text(&mut platform.os, value, "os")?,
                "os.version" => set_text(&mut platform.os_version, value, "os.version")?,
                "variant" => set_text(&mut platform.variant, value, "variant")?,
                "os.features" => {
                    let wrong = ConfigError::WrongType { field: "os.features", want: "an array of strings" };
                    platform.os_features = match value {
                        serde_json::Value::Null => Vec::new(),
                        serde_json::Value::Array(items) => items
                            .iter()
                            .map(|item| item.as_str().map(str::to_owned))
                            .collect::<Option<_>>()
                            .ok_or(wrong)?,
                        _ => return Err(wrong),
                    };
                }
                _ => {}
            }
        }
        Ok(Self { platform })
    }
}

fn set_text(slot: &mut String, value: &serde_json::Value, field: &'static str) -> Result<(), ConfigError> {
    match value {
        serde_json::Value::Null => Ok(()),
        serde_json::Value::String(text) => {
            slot.clone_from(text);
            Ok(())
        }
        _ => Err(ConfigError::WrongType { field, want: "a string" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_match_without_case_and_the_last_wins() {
        let config = ImageConfig::parse(br#"{"architecture":"arm64","Architecture":"s390x","OS":"linux"}"#).unwrap();
        assert_eq!((config.platform.os.as_str(), config.platform.architecture.as_str()), ("linux", "s390x"));
    }

    #[test]
    fn wrong_types_are_named() {
        let error = ImageConfig::parse(br#"{"architecture":1}"#).unwrap_err();
        assert_eq!(error.to_string(), "image config: `architecture` is not a string");
    }
}
