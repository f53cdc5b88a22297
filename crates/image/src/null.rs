//! Go writes `null` for an empty slice or map, and reads it as one.

use serde::{Deserialize, Deserializer};

/// For `#[serde(deserialize_with)]`: `null` is the empty value.
pub(crate) fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
