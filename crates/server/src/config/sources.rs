//! Where settings come from, and which wins: flags over variables over the file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::raw::RawConfig;
use super::settings::{SETTINGS, Setting, ValueKind};
use super::{Config, ConfigError, toml_text};

/// The file that is read when no other is named and it exists.
pub const DEFAULT_FILE: &str = "sealpost.toml";

/// Where the configuration comes from.
#[derive(Debug, Default)]
pub struct Sources {
    /// The file named by a flag or by `SEALPOST_CONFIG`; must exist. Else [`DEFAULT_FILE`] if it exists.
    pub file: Option<PathBuf>,
    /// The `SEALPOST_*` variables that name settings, by name.
    pub variables: BTreeMap<String, String>,
    /// Keys set by flags.
    pub flags: Vec<(&'static str, String)>,
}

impl Config {
    /// Reads and checks the configuration.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut table = match &sources.file {
            Some(path) => read_file(path)?,
            None if Path::new(DEFAULT_FILE).exists() => read_file(Path::new(DEFAULT_FILE))?,
            None => toml::Table::new(),
        };
        for (name, text) in &sources.variables {
            let setting = SETTINGS
                .iter()
                .find(|setting| setting.variable() == *name)
                .ok_or_else(|| ConfigError::UnknownVariable(name.clone()))?;
            set(&mut table, setting, text, name)?;
        }
        for (key, text) in &sources.flags {
            let origin = format!("--{}", key.replace(['.', '_'], "-"));
            let setting = SETTINGS
                .iter()
                .find(|setting| setting.key == *key)
                .ok_or_else(|| ConfigError::UnknownVariable(origin.clone()))?;
            set(&mut table, setting, text, &origin)?;
        }
        let raw: RawConfig =
            toml::Value::Table(table)
                .try_into()
                .map_err(|error: toml::de::Error| ConfigError::Value {
                    origin: "a setting".to_owned(),
                    reason: toml_text::reason(&error),
                })?;
        raw.check()
    }
}

/// Reads the file and checks its keys and types at once, so that the error names the line.
fn read_file(path: &Path) -> Result<toml::Table, ConfigError> {
    let name = || path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: name(),
        source,
    })?;
    let wrong = |wrong| ConfigError::File {
        path: name(),
        wrong,
    };
    let known = |key: &str| SETTINGS.iter().any(|setting| setting.key == key);
    toml_text::read::<RawConfig>(&text, known).map_err(wrong)?;
    toml_text::read(&text, known).map_err(wrong)
}

/// Sets one key from the text of a variable or flag.
fn set(
    table: &mut toml::Table,
    setting: &Setting,
    text: &str,
    origin: &str,
) -> Result<(), ConfigError> {
    let wrong = |reason: &str| ConfigError::Value {
        origin: origin.to_owned(),
        reason: reason.to_owned(),
    };
    let value = match setting.kind {
        ValueKind::Text => text.into(),
        ValueKind::Integer => {
            toml::Value::Integer(text.parse().map_err(|_| wrong("it must be an integer"))?)
        }
        ValueKind::Switch => toml::Value::Boolean(
            text.parse()
                .map_err(|_| wrong("it must be true or false"))?,
        ),
        ValueKind::List => text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .into(),
    };
    match setting.key.split_once('.') {
        None => {
            table.insert(setting.key.to_owned(), value);
        }
        Some((section, key)) => {
            let section = table
                .entry(section)
                .or_insert_with(|| toml::Table::new().into());
            if let Some(section) = section.as_table_mut() {
                section.insert(key.to_owned(), value);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_listed_setting_is_known_to_the_file_and_the_other_way_round() {
        let mut table = toml::Table::new();
        for setting in SETTINGS {
            let text = match setting.kind {
                ValueKind::Integer => "5",
                ValueKind::Switch => "true",
                ValueKind::Text | ValueKind::List => "x",
            };
            set(&mut table, setting, text, "test").unwrap();
        }
        let raw: RawConfig = toml::Value::Table(table).try_into().unwrap();
        let shown = format!("{raw:?}");
        assert!(
            !shown.contains("None"),
            "a key of the file is not in SETTINGS: {shown}"
        );
    }
}
