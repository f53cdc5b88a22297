//! Ways in for the fuzz targets, to what reads the files of other programs. No part of the API.

use std::path::Path;

use image::{RegistryHost, RepositoryName};

use crate::credentials::Credentials;
use crate::serve::{ServeSettings, ServeSettingsError};
use crate::{config_edit, docker_config};

/// What `config.json` or `auth.json` says of a host and a repository, and the complaints about it.
pub fn credentials(json: &[u8], host: &RegistryHost, repository: &RepositoryName) -> (Credentials, Vec<String>) {
    let (config, faults) = docker_config::DockerConfig::parse(json);
    let _ = (config.helpers(host), config.is_silent(), config.auths.repository_key(host, repository));
    let _ = config.auths.find_repository(host, Some(repository));
    (config.auths.find(host), faults)
}

/// The file with an entry for a host.
pub fn with_entry(json: &[u8], key: &str, auth: &str) -> Option<Vec<u8>> {
    config_edit::set_entry(json, key, &[("auth", auth)]).ok()
}

/// The file without the entry for a host; `None` if it is not understood, or has none.
pub fn without_entry(json: &[u8], key: &str) -> Option<Vec<u8>> {
    config_edit::remove_entries(json, |known| known == key).ok().flatten()
}

/// The hosts that a file has entries for.
pub fn keys(json: &[u8]) -> Vec<String> {
    config_edit::keys(json)
}

/// What a settings file of `polyarch serve` says, as if it stood at the root.
///
/// # Errors
/// As [`ServeSettings::read`].
pub fn serve_settings(text: &str) -> Result<ServeSettings, ServeSettingsError> {
    let mut settings = ServeSettings::default();
    // Where it is if nobody says so depends on the user.
    settings.data.value = "/data".into();
    settings.take_file(Path::new("/settings.toml"), text, Path::new("/"))?;
    Ok(settings)
}
