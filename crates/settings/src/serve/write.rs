//! Settings as text: for people, for files, for the documentation.

use std::fmt::Write as _;
use std::path::Path;

use super::catalogue::{Origin, SETTINGS, ServeSettings};
use super::error::ServeSettingsError;
use super::lists::{IssuerSettings, Listed, RepositorySettings, WebhookSettings};
use super::value::Kind;

impl ServeSettings {
    /// The settings as a file that says the same, with a comment on where each value came from.
    ///
    /// # Errors
    /// [`ServeSettingsError::NotText`] for a path that TOML cannot hold.
    pub fn toml(&self, file: Option<&Path>) -> Result<String, ServeSettingsError> {
        let mut text = String::new();
        let mut table = "";
        for (setting, value, origin) in self.written() {
            if setting.table != table {
                table = setting.table;
                // Writing to a `String` does not fail, here and below.
                let _ = write!(text, "\n[{table}]\n");
            }
            let line = match (value, origin) {
                (Some(value), _) => format!("{} = {value}", setting.key),
                (None, Origin::Default) => format!("# {} is not set", setting.key),
                // A list that was said to be empty; whoever says nothing of it has none either.
                (None, _) if setting.kind == Kind::Several => format!("{} = []", setting.key),
                (None, _) => return Err(ServeSettingsError::NotText { name: setting.name() }),
            };
            let comment = match origin {
                Origin::Default => String::from("default"),
                Origin::File { line } => match file {
                    Some(file) => format!("`{}`, line {line}", file.display()),
                    None => format!("settings file, line {line}"),
                },
                Origin::Variable(name) => format!("`{name}`"),
                Origin::Flag(flag) => format!("`--{flag}`"),
            };
            if line.starts_with('#') {
                let _ = writeln!(text, "{line}");
            } else {
                // A path in a comment must not end it.
                let comment: String = comment.chars().filter(|character| !character.is_control()).collect();
                let _ = writeln!(text, "{line:<40} # {comment}");
            }
        }
        let comment = file.map(|file| format!(" # `{}`", file.display())).unwrap_or_default();
        let comment = comment.replace(char::is_control, "");
        list(&mut text, &self.repositories, &comment);
        list(&mut text, &self.issuers, &comment);
        list(&mut text, &self.webhooks, &comment);
        Ok(text)
    }
}

fn list<T: Listed>(text: &mut String, values: &[T], comment: &str) {
    for value in values {
        let _ = write!(text, "\n[[{}]]{comment}\n", T::TABLE);
        for (key, value) in value.written() {
            if let Some(value) = value {
                let _ = writeln!(text, "{key} = {value}");
            }
        }
    }
}

/// The tables of `docs/settings.md`.
pub fn settings_page() -> String {
    let mut text = String::new();
    let mut last = None;
    for setting in SETTINGS {
        if last != Some(setting.table) {
            last = Some(setting.table);
            let title = if setting.table.is_empty() {
                "At the top of the file".to_owned()
            } else {
                format!("`[{}]`", setting.table)
            };
            let _ = write!(
                text,
                "{}## {title}\n\n| key | flag | default | what it does |\n| --- | --- | --- | --- |\n",
                if text.is_empty() { "" } else { "\n" },
            );
        }
        let default = match setting.default {
            "" => String::new(),
            default => format!("`{default}`"),
        };
        let placeholder = match setting.placeholder {
            "" => String::new(),
            placeholder => format!(" {}", placeholder.replace('|', "\\|")),
        };
        let several = if setting.kind == Kind::Several { " A list; the flag may be given several times." } else { "" };
        let _ = writeln!(
            text,
            "| `{}` | `--{}{placeholder}` | {default} | {}.{several} |",
            setting.key,
            setting.flag,
            setting.doc.replace('|', "\\|"),
        );
    }
    list_page::<RepositorySettings>(&mut text);
    list_page::<IssuerSettings>(&mut text);
    list_page::<WebhookSettings>(&mut text);
    text
}

fn list_page<T: Listed>(text: &mut String) {
    let _ = write!(
        text,
        "\n## `[[{}]]`\n\n{}. Any number of them, in the file only.\n\n\
         | key | default | what it does |\n| --- | --- | --- |\n",
        T::TABLE,
        T::ABOUT
    );
    for key in T::KEYS {
        let default = match (key.required, key.default) {
            (true, _) => "needed".to_owned(),
            (false, "") => String::new(),
            (false, default) => format!("`{default}`"),
        };
        let _ = writeln!(text, "| `{}` | {default} | {}. |", key.key, key.doc);
    }
}

/// The variables of the settings, for `docs/environment.md`.
pub fn variables_table() -> String {
    let mut text = String::from("| variable | what it does |\n| --- | --- |\n");
    for setting in SETTINGS.iter().filter(|setting| setting.flag != super::DATA) {
        let table = match setting.table {
            "" => String::new(),
            table => format!(" in `[{table}]`"),
        };
        let _ = writeln!(
            text,
            "| `{}` | As `{}`{table} of the [settings file](settings.md). |",
            setting.variable(),
            setting.key
        );
    }
    text
}
