//! Settings of the SQLite sink.

use std::path::PathBuf;

use serde::Deserialize;
use tidemill_core::Settings;
use tidemill_core::settings::SettingsError;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub(super) path: PathBuf,
    /// How long to wait for another process that holds the file.
    #[serde(default = "busy_timeout_ms")]
    pub(super) busy_timeout_ms: u64,
    pub(super) colour: Option<String>,
}

impl Config {
    /// `read-model.green.db` beside `read-model.db`.
    pub(super) fn file(&self) -> PathBuf {
        self.colour.as_ref().map_or_else(|| self.path.clone(), |colour| self.beside(colour))
    }

    /// What readers open: a link to the file of the pipeline that is live.
    pub(super) fn pointer(&self) -> PathBuf {
        self.beside("live")
    }

    fn beside(&self, name: &str) -> PathBuf {
        match self.path.extension().and_then(|extension| extension.to_str()) {
            Some(extension) => self.path.with_extension(format!("{name}.{extension}")),
            None => self.path.with_extension(name),
        }
    }
}

fn busy_timeout_ms() -> u64 {
    5_000
}

pub(super) fn read(settings: &Settings) -> Result<Config, Vec<SettingsError>> {
    let config: Config = settings.parse()?;
    if config.path.as_os_str().is_empty() {
        return Err(vec![SettingsError::new("path", "is empty").hint("name a file, for example read-models.db")]);
    }
    if config.path.is_dir() {
        return Err(vec![SettingsError::new("path", "is a folder").hint("name a file in it")]);
    }
    Ok(config)
}
