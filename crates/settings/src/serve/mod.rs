//! The settings of `polyarch serve`: flags, variables, a file, and defaults, in this order.

mod catalogue;
mod error;
mod file;
mod lists;
mod value;
mod write;

use std::path::{Path, PathBuf};

pub use catalogue::{Given, Origin, SETTINGS, ServeSettings, Setting};
pub use error::{Place, ServeSettingsError};
pub use lists::{IssuerSettings, RepositorySettings, WebhookSettings};
pub use value::{
    Address, AuditSync, Count, FileOrAddress, ForwardedBy, KeyAlgorithm, Kind, LogFormat, OrOff, References, Size,
    Target, duration, size,
};
pub use write::{settings_page, variables_table};

use crate::environment::{EnvVar, Environment};
use crate::paths::{PathFlags, Paths};
use crate::shown::Shown;
use value::Raw;

/// Largest settings file.
const LARGEST: u64 = 1 << 20;

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub struct ServeFlags {
    /// `--config`: the settings file.
    pub config: Option<PathBuf>,
    /// `--data`, which all commands have.
    pub data: Option<PathBuf>,
    /// The others that were given: each flag of [`SETTINGS`], without `--`, with its values.
    pub values: Vec<(&'static str, Vec<String>)>,
}

/// Settings, and what was not understood and did not stop them from being used.
#[derive(Clone, Debug)]
pub struct ServeSettingsRead {
    /// The settings.
    pub settings: ServeSettings,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// Lines for stderr.
    pub warnings: Vec<String>,
}

impl ServeSettings {
    /// What is different from `other`, each as it is called in messages.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let pairs = self.written().into_iter().zip(other.written());
        let changed = pairs.filter(|((_, new, _), (_, old, _))| new != old);
        let mut names: Vec<String> = changed.map(|((setting, ..), _)| setting.name()).collect();
        let lists = [
            ("repositories", self.repositories != other.repositories),
            ("issuers", self.issuers != other.issuers),
            ("webhooks", self.webhooks != other.webhooks),
        ];
        names.extend(lists.into_iter().filter(|(_, differ)| *differ).map(|(name, _)| name.to_owned()));
        names
    }

    /// Puts together what flags, variables and the settings file say. Reads the file. Relative paths in the file are below
    /// the directory that it is in, others below `directory`.
    ///
    /// # Errors
    /// [`ServeSettingsError`] for the first thing that is not understood: nothing is left out.
    pub fn read(
        flags: &ServeFlags,
        environment: &Environment,
        directory: &Path,
    ) -> Result<ServeSettingsRead, ServeSettingsError> {
        let mut settings = Self::default();
        let config = flags.config.as_deref().filter(|path| !path.as_os_str().is_empty());
        let file = config.or_else(|| environment.path(EnvVar::PolyarchConfig)).map(Path::to_owned);
        if let Some(path) = &file {
            let text = read_file(path)?;
            let parent = directory.join(path);
            settings.take_file(path, &text, parent.parent().unwrap_or(directory))?;
        }
        for setting in SETTINGS {
            let name = setting.variable();
            let Some(value) = environment.named(&name).filter(|_| setting.flag != DATA) else { continue };
            let found = || Shown(&value.to_string_lossy()).to_string();
            let wrong = |reason| ServeSettingsError::Variable { name: name.clone(), reason, found: found() };
            let text = value.to_str().ok_or_else(|| wrong("expected a text".to_owned()))?;
            let origin = Origin::Variable(name.clone());
            settings.set(setting.flag, &Raw::Text(text.to_owned()), directory, origin).map_err(wrong)?;
        }
        for (flag, values) in &flags.values {
            let raw = match values.as_slice() {
                [one] => Raw::Text(one.clone()),
                several => Raw::Texts(several.to_vec()),
            };
            settings.set(flag, &raw, directory, Origin::Flag(flag)).map_err(|reason| {
                let found = Shown(&values.join(" ")).to_string();
                ServeSettingsError::Flag { flag, reason, found }
            })?;
        }
        settings.take_data(flags, environment, directory)?;
        let warnings = unknown_variables(environment);
        Ok(ServeSettingsRead { settings, file, warnings })
    }

    pub(crate) fn take_file(&mut self, path: &Path, text: &str, parent: &Path) -> Result<(), ServeSettingsError> {
        let wrong = |file::Wrong { place, reason }| ServeSettingsError::File { path: path.to_owned(), place, reason };
        let contents = file::read(text, parent).map_err(wrong)?;
        self.repositories = contents.repositories;
        self.issuers = contents.issuers;
        self.webhooks = contents.webhooks;
        for file::Entry { flag, raw, place } in contents.entries {
            let origin = Origin::File { line: place.line };
            self.set(flag, &raw, parent, origin).map_err(|reason| wrong(file::Wrong { place, reason }))?;
        }
        Ok(())
    }

    /// The data directory has a flag and a variable that all commands know, and its default depends on the user.
    fn take_data(
        &mut self,
        flags: &ServeFlags,
        environment: &Environment,
        directory: &Path,
    ) -> Result<(), ServeSettingsError> {
        let given = flags.data.as_deref().filter(|path| !path.as_os_str().is_empty());
        let origin = match (given, environment.path(EnvVar::PolyarchData)) {
            (Some(_), _) => Origin::Flag(DATA),
            (None, Some(_)) => Origin::Variable(EnvVar::PolyarchData.name().to_owned()),
            (None, None) if self.data.origin != Origin::Default => return Ok(()),
            (None, None) => Origin::Default,
        };
        let path_flags = PathFlags { data: given.map(Path::to_owned), ..PathFlags::default() };
        let path = Paths::data_dir(environment, &path_flags)?;
        self.data = Given { value: directory.join(path), origin };
        Ok(())
    }
}

/// The flag of the data directory.
const DATA: &str = "data";

fn read_file(path: &Path) -> Result<String, ServeSettingsError> {
    use std::io::{Error, ErrorKind, Read as _};

    let failed = |source| ServeSettingsError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    // A device may have no end.
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(LARGEST + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > LARGEST {
        return Err(failed(Error::new(ErrorKind::InvalidData, "it has more than 1 MiB")));
    }
    Ok(text)
}

/// Variables that look as if they were ours. They are no error: others set some of that form, as Kubernetes does for a
/// service that is called `polyarch-serve`.
fn unknown_variables(environment: &Environment) -> Vec<String> {
    let known: Vec<String> = SETTINGS.iter().map(Setting::variable).collect();
    let mut warnings = Vec::new();
    for (name, _) in environment.variables() {
        let Some(name) = name.to_str().filter(|name| name.starts_with(catalogue::VARIABLES)) else { continue };
        if !known.iter().any(|known| known == name) {
            let meant = file::nearest(name, known.iter().map(String::as_str));
            let meant = meant.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            warnings.push(format!("the variable `{}` sets nothing{meant}", Shown(name)));
        }
    }
    warnings
}

#[cfg(test)]
mod tests;
